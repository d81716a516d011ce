//! Checks whether a run could begin in AWS. It asks what a run asks first, and creates nothing.

use super::{Check, LIMIT, Outcome, Problem, State};
use crate::base::instance_spec::InstanceSpec;
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::measurement::estimate::Estimate;
use crate::measurement::pricing::Budget;
use crate::targets::ec2::{Outlook, PreflightFailure};

/// The remedy if the finding itself says how to fix it.
const THEN: &str = "then ask again";

/// Asks AWS, in the order of need.
pub async fn checks(settings: &Settings, progress: &Progress) -> Vec<Check> {
    let order = InstanceSpec::default();
    let Ok(outlook) = tokio::time::timeout(LIMIT, Outlook::open(&order, settings)).await else {
        let late = format!("its settings cannot be read within {} s", LIMIT.as_secs());
        return vec![check("AWS", Err(Problem::missing(late)), "see what `aws configure list` says")];
    };
    progress.say("asking AWS");
    let mut checks = Vec::new();
    if let Some(endpoint) = &settings.stand_in.endpoint {
        let problem = Problem::warning(format!("none: {endpoint} stands in for it"));
        checks.push(check("AWS", Err(problem), "unset AWS_ENDPOINT_URL to ask AWS itself"));
    }
    checks.extend(place(outlook.region(), &order, settings));
    let (account, address) = tokio::join!(account(&outlook, &order), ask("this host's address", outlook.address()));
    checks.extend(account.into_iter().chain([address.0]));
    checks
}

/// Checks that a region is set and that there is a price for what is ordered there.
fn place(region: Option<&str>, order: &InstanceSpec, settings: &Settings) -> Vec<Check> {
    let remedy = "set AWS_REGION, or `region` of your AWS profile";
    let Some(region) = region else {
        return vec![check("region", Err(Problem::missing("none is set")), remedy)];
    };
    let from = match settings.region.as_deref() == Some(region) {
        true => "by AWS_REGION or AWS_DEFAULT_REGION",
        false => "by the AWS profile, or by the machine this is",
    };
    let price = Estimate::make(&settings.root, Some(region), order.clone(), Budget::default());
    let minutes = order.time_limit.as_secs() / 60;
    let price = price.map(|quote| format!("{} at most, for {minutes} minutes", quote.at_most.total()));
    vec![
        check("region", Ok(format!("{region} ({from})")), remedy),
        check("price of a run", price.map_err(Problem::from), "or take a region that has one (AWS_REGION)"),
    ]
}

/// Checks who the caller is, and what the caller may use of EC2 and of ECR Public.
async fn account(outlook: &Outlook, order: &InstanceSpec) -> Vec<Check> {
    let not_tried =
        |name, why: &str| check(name, Err(Problem::warning(format!("not tried: {why}"))), "mend that first");
    let (credentials, known) = ask("credentials", outlook.credentials()).await;
    if !known {
        return vec![credentials, not_tried("EC2 and ECR Public", "there are no credentials")];
    }
    let ec2 = async {
        if outlook.region().is_none() {
            return vec![not_tried("EC2", "there is no region")];
        }
        let (image, answers) = ask("Ubuntu 24.04 for arm64", outlook.image()).await;
        if !answers {
            return vec![image, not_tried("the rest of EC2", "EC2 has not answered that")];
        }
        let zones = format!("zones with a {}", order.instance_type);
        let (places, _) = ask(&zones, outlook.places()).await;
        let making = match places.state {
            State::Ok => ask("may make things", outlook.making()).await.0,
            _ => not_tried("may make things", "there is no zone to make them in"),
        };
        vec![image, places, making]
    };
    let (ec2, public) = tokio::join!(ec2, ask("ECR Public", outlook.repositories()));
    [credentials].into_iter().chain(ec2).chain([public.0]).collect()
}

/// Makes a check of an answer, and returns whether further questions can be answered.
async fn ask(name: &str, answer: impl Future<Output = Result<String, PreflightFailure>>) -> (Check, bool) {
    let (outcome, others) = match tokio::time::timeout(LIMIT, answer).await {
        Ok(Ok(found)) => (Ok(found), true),
        Ok(Err(PreflightFailure { found, remedy, only_here })) => {
            (Err(Problem { remedy, ..Problem::missing(found) }), only_here)
        }
        Err(_) => (Err(Problem::late(LIMIT)), false),
    };
    (check(name, outcome, THEN), others)
}

/// Names a check of AWS so that it differs from the checks of this host.
fn check(name: &str, outcome: Outcome, remedy: &str) -> Check {
    Check::of(format!("ec2: {name}"), remedy.to_owned(), true, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_obstacle_has_its_own_remedy_or_the_general_one() {
        let obstacle = |remedy: Option<&str>, only_here| PreflightFailure {
            found: "AccessDenied".to_owned(),
            remedy: remedy.map(str::to_owned),
            only_here,
        };
        let (named, others) = ask("x", std::future::ready(Err(obstacle(Some("allow it"), true)))).await;
        assert_eq!(
            (named.name.as_str(), named.state, named.remedy.as_deref()),
            ("ec2: x", State::Missing, Some("allow it"))
        );
        assert!(others);
        let (unnamed, others) = ask("x", std::future::ready(Err(obstacle(None, false)))).await;
        assert_eq!((unnamed.found.as_str(), unnamed.remedy.as_deref(), others), ("AccessDenied", Some(THEN), false));
        let (fine, others) = ask("x", std::future::ready(Ok("ami-1".to_owned()))).await;
        assert_eq!((fine.state, fine.remedy, others), (State::Ok, None, true));
    }

    #[test]
    fn a_region_that_is_not_set_or_has_no_price_is_missing() {
        let settings = Settings { region: Some("eu-central-1".to_owned()), ..Settings::read().unwrap() };
        let at = |region: Option<&str>| place(region, &InstanceSpec::default(), &settings);
        let there = at(Some("eu-central-1"));
        assert!(there.iter().all(|check| check.state == State::Ok), "{there:?}");
        assert_eq!(there[0].found, "eu-central-1 (by AWS_REGION or AWS_DEFAULT_REGION)");
        assert_eq!(at(Some("us-east-1"))[0].found, "us-east-1 (by the AWS profile, or by the machine this is)");
        let mars = at(Some("mars-1")).remove(1);
        assert_eq!(mars.state, State::Missing);
        assert!(mars.found.contains("no price of anything in mars-1"), "{mars:?}");
        let none = at(None).remove(0);
        assert_eq!(
            (none.state, none.remedy.as_deref()),
            (State::Missing, Some("set AWS_REGION, or `region` of your AWS profile"))
        );
    }
}
