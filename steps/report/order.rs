//! Shows what would be created in AWS before the scenarios of a plan run, and what it would cost.

use crate::base::instance_spec::EXPECTED;
use crate::base::settings::FakeAws;
use crate::measurement::pricing::{Bill, Billed, DEFAULT_REGION, Estimate, FILE, Item};

/// Formats a line for each resource that would be created, with its hourly and maximum price; their sum, and the
/// budget. If a stand-in replaces AWS, nothing is paid.
pub fn order(quote: &Estimate, fake_aws: &FakeAws) -> String {
    let Estimate { order, items, budget, at_most, surplus, date, .. } = quote;
    let region = match &quote.region {
        Some(region) => format!("in {region}"),
        None => format!("in the region of your AWS configuration, priced as {DEFAULT_REGION}"),
    };
    let expected = Bill::of(items, EXPECTED.min(order.time_limit));
    let minutes = order.time_limit.as_secs().div_ceil(60);
    let free = |what: &str| format!("{:>37}  {what}", "free");
    let billed = |item: &Item| {
        let what = what(item, quote, &region);
        format!("{:>10} an hour, {:>9} at most  {what}", item.per_hour, at_most.cost(item))
    };
    let mut lines =
        vec![free("key pair, of this run only"), free("security group, open to SSH from this machine's address only")];
    lines.extend(items.iter().map(billed));
    lines.push(free("repository in ECR Public, removed with its images (AWS gives 50 GB a month)"));
    let all: String = lines.into_iter().map(|line| format!("  {line}\n")).collect();
    let spot = if order.spot { "; the price of Spot varies, and is never higher" } else { "" };
    let unbilled = if fake_aws.any() { "a stand-in replaces AWS: nothing is billed\n" } else { "" };
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
    fn everything_that_would_be_made_is_shown_with_its_price() {
        let subnet = Some("subnet-0123abcd".to_owned());
        let short =
            InstanceSpec { spot: true, subnet, time_limit: Duration::from_secs(1200), ..InstanceSpec::default() };
        let orders = [shown(None, InstanceSpec::default()), shown(Some("eu-west-1"), short)];
        insta::assert_snapshot!("order", orders.join("\n"));
    }
}
