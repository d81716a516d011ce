//! Shows what would be created in AWS before the scenarios of a plan run, and what it would cost.

use crate::base::instance_spec::EXPECTED;
use crate::base::settings::FakeAws;
use crate::measurement::estimate::Estimate;
use crate::measurement::pricing::{Bill, Billed, DEFAULT_REGION, FILE, Item};

/// Formats a line for each resource that would be created, with its hourly and maximum price; their sum, and the
/// budget. If a stand-in replaces AWS, nothing is paid.
pub fn order(quote: &Estimate, stand_in: &FakeAws) -> String {
    let Estimate { order, items, budget, at_most, surplus, date, .. } = quote;
    let region = match &quote.region {
        Some(region) => format!("in {region}"),
        None => format!("in the region of your AWS configuration, priced as {DEFAULT_REGION}"),
    };
    let expected = Bill::of(items, EXPECTED.min(order.time_limit));
    let minutes = order.time_limit.as_secs().div_ceil(60);
    let mut lines =
        vec![free("key pair, of this run only"), free("security group, open to SSH from this machine's address only")];
    for item in items {
        lines.push(billed(item, &what(item, quote, &region), at_most));
    }
    lines.push(free("repository in ECR Public, removed with its images (AWS gives 50 GB a month)"));
    let all: String = lines.into_iter().map(|line| format!("  {line}\n")).collect();
    let spot = if order.spot { "; Spot costs what the moment asks, and never more than this" } else { "" };
    let unbilled = if stand_in.any() { "a stand-in replaces AWS: nothing is billed\n" } else { "" };
    let subnet = order.subnet.as_deref().map_or_else(String::new, |subnet| format!(", in {subnet}"));
    format!(
        "would be made, for {minutes} minutes at most{subnet}, and removed at the end of the run:\n{all}\
         costs {} in {} minutes, {} at most{spot}; the budget is {}\n\
         prices of {date}: {FILE}; CPU time beyond the instance's baseline is billed too, {} for a vCPU-hour\n{unbilled}",
        expected.total(),
        expected.seconds.div_ceil(60),
        at_most.total(),
        budget.0,
        surplus.per_hour,
    )
}

/// Describes a resource in the words by which a user finds it in the AWS account.
fn what(item: &Item, quote: &Estimate, region: &str) -> String {
    match &item.billed {
        Billed::Instance(kind) => {
            let spot = if quote.order.spot { "Spot " } else { "" };
            format!("{spot}instance {kind} with Ubuntu 24.04 arm64 {region}")
        }
        Billed::Disk(size) => format!("disk of {size} GiB, gp3, encrypted, gone with the instance"),
        Billed::Address => "public IPv4 address".to_owned(),
    }
}

fn billed(item: &Item, what: &str, at_most: &Bill) -> String {
    format!("{:>10} an hour, {:>9} at most  {what}", item.per_hour, at_most.cost(item))
}

fn free(what: &str) -> String {
    format!("{:>37}  {what}", "free")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::base::instance_spec::InstanceSpec;
    use crate::measurement::pricing::Budget;

    fn shown(region: Option<&str>, ordered: InstanceSpec) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        order(&Estimate::make(root, region, ordered, Budget::default()).unwrap(), &FakeAws::default())
    }

    #[test]
    fn everything_that_would_be_made_is_told_with_its_price() {
        let told = shown(Some("us-east-1"), InstanceSpec::default());
        let expected = "\
would be made, for 60 minutes at most, and removed at the end of the run:
                                   free  key pair, of this run only
                                   free  security group, open to SSH from this machine's address only
     $0.0042 an hour,   $0.0042 at most  instance t4g.nano with Ubuntu 24.04 arm64 in us-east-1
      $0.005 an hour,    $0.005 at most  public IPv4 address
   $0.000877 an hour, $0.000877 at most  disk of 8 GiB, gp3, encrypted, gone with the instance
                                   free  repository in ECR Public, removed with its images (AWS gives 50 GB a month)
costs $0.00756 in 45 minutes, $0.0101 at most; the budget is $0.05
";
        let (things, prices) = told.split_at(told.find("prices of ").unwrap());
        assert_eq!(things, expected);
        assert!(prices.starts_with("prices of 2026-11-24: fixtures/prices/aws.toml; CPU time beyond "), "{prices}");
        assert!(prices.contains("is billed too, $0.04 for a vCPU-hour\n"), "{prices}");
    }

    #[test]
    fn what_is_not_known_or_asked_for_is_said() {
        let nowhere = shown(None, InstanceSpec::default());
        assert!(nowhere.contains("arm64 in the region of your AWS configuration, priced as us-east-1\n"), "{nowhere}");
        let subnet = Some("subnet-0123abcd".to_owned());
        let short =
            InstanceSpec { spot: true, subnet, time_limit: Duration::from_secs(1200), ..InstanceSpec::default() };
        let short = shown(Some("eu-west-1"), short);
        for said in [
            "would be made, for 20 minutes at most, in subnet-0123abcd, and removed",
            "Spot instance t4g.nano with Ubuntu 24.04 arm64 in eu-west-1",
            "costs $0.00352 in 20 minutes, $0.00352 at most; Spot costs what the moment asks, and never more than this; ",
        ] {
            assert!(short.contains(said), "no {said:?} in {short}");
        }
    }
}
