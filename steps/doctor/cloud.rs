//! Checks whether a run could begin in AWS. It asks what a run asks first, and creates nothing.

use super::{Fault, HostCheck, LIMIT, State, Tried};
use assay::base::instance_spec::InstanceSpec;
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::measurement::pricing::{Budget, Estimate};
use assay::targets::ec2::AwsPreflight;

/// The remedy if the finding itself says how to fix it.
const THEN: &str = "then ask again";

/// Asks AWS, in the order of need.
pub async fn checks(settings: &Settings, progress: &Progress) -> Vec<HostCheck> {
    let order = InstanceSpec::default();
    let Ok(preflight) = tokio::time::timeout(LIMIT, AwsPreflight::open(&order, settings)).await else {
        let late = format!("its settings cannot be read within {} s", LIMIT.as_secs());
        return vec![check("AWS", Err(Fault::missing(late)), "see what `aws configure list` says")];
    };
    progress.note("asking AWS");
    let mut checks = Vec::new();
    if let Some(endpoint) = &settings.fake_aws.endpoint {
        let problem = Fault::warning(format!("none: {endpoint} stands in for it"));
        checks.push(check("AWS", Err(problem), "unset AWS_ENDPOINT_URL to ask AWS itself"));
    }
    checks.extend(place(preflight.region(), &order, settings));
    let address = ask(&preflight, "this host's address", preflight.address());
    let (account, address) = tokio::join!(account(&preflight, &order), address);
    checks.extend(account.into_iter().chain([address.0]));
    checks
}

/// Checks that a region is set and that there is a price for what is ordered there.
fn place(region: Option<&str>, order: &InstanceSpec, settings: &Settings) -> Vec<HostCheck> {
    let remedy = "set AWS_REGION, or `region` of your AWS profile";
    let Some(region) = region else {
        return vec![check("region", Err(Fault::missing("none is set")), remedy)];
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
        check("price of a run", price.map_err(Fault::from), "or take a region that has one (AWS_REGION)"),
    ]
}

/// Checks who the caller is, and what the caller may use of EC2 and of ECR Public.
async fn account(preflight: &AwsPreflight, order: &InstanceSpec) -> Vec<HostCheck> {
    let not_tried = |name, why: &str| check(name, Err(Fault::warning(format!("not tried: {why}"))), "mend that first");
    let (credentials, known) = ask(preflight, "credentials", preflight.credentials()).await;
    if !known {
        return vec![credentials, not_tried("EC2 and ECR Public", "there are no credentials")];
    }
    let ec2 = async {
        if preflight.region().is_none() {
            return vec![not_tried("EC2", "there is no region")];
        }
        let (image, answers) = ask(preflight, "Ubuntu 24.04 for arm64", preflight.image()).await;
        if !answers {
            return vec![image, not_tried("the rest of EC2", "EC2 has not answered that")];
        }
        let zones = format!("zones with a {}", order.instance_type);
        let (places, _) = ask(preflight, &zones, preflight.places()).await;
        let making = match places.state {
            State::Ok => ask(preflight, "may make things", preflight.making()).await.0,
            _ => not_tried("may make things", "there is no zone to make them in"),
        };
        vec![image, places, making]
    };
    let (ec2, public) = tokio::join!(ec2, ask(preflight, "ECR Public", preflight.repositories()));
    [credentials].into_iter().chain(ec2).chain([public.0]).collect()
}

/// Makes a check of an answer, and returns whether further questions can be answered.
async fn ask(
    preflight: &AwsPreflight,
    name: &str,
    answer: impl Future<Output = anyhow::Result<String>>,
) -> (HostCheck, bool) {
    let (outcome, others) = match tokio::time::timeout(LIMIT, answer).await {
        Ok(Ok(found)) => (Ok(found), true),
        Ok(Err(error)) => {
            let (found, remedy, only_here) = preflight.failure(&error);
            (Err(Fault { remedy, ..Fault::missing(found) }), only_here)
        }
        Err(_) => (Err(Fault::late(LIMIT)), false),
    };
    (check(name, outcome, THEN), others)
}

/// Names a check of AWS so that it differs from the checks of this host.
fn check(name: &str, outcome: Tried, remedy: &str) -> HostCheck {
    HostCheck::of(format!("ec2: {name}"), remedy.to_owned(), true, outcome)
}
