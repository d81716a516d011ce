//! The doctor asks a fake AWS server what a run asks first: each problem is reported with its remedy, nothing is
//! created.

use std::process::Command;

use serde_json::{Value, json};

use super::fake_server::{FakeServer, account};

struct Diagnosis {
    status: i32,
    diagnosis: Value,
}

impl Diagnosis {
    /// Examines this host, with some variables changed or removed.
    fn by(endpoint: &str, otherwise: &[(&str, Option<&str>)]) -> Diagnosis {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_assay"));
        account(doctor.args(["doctor", "--target", "ec2", "--json"]), endpoint);
        doctor.env("AWS_ENDPOINT_URL_ECR_PUBLIC", endpoint).env("ASSAY_EC2_CALLER", "192.0.2.7");
        for (name, value) in otherwise {
            match value {
                Some(value) => doctor.env(name, value),
                None => doctor.env_remove(name),
            };
        }
        let output = doctor.output().unwrap();
        let diagnosis = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Diagnosis { status: output.status.code().unwrap(), diagnosis }
    }

    /// Does the same where this host appears to have no programs.
    fn of_aws(endpoint: &str, otherwise: &[(&str, Option<&str>)]) -> Diagnosis {
        Diagnosis::by(endpoint, &[otherwise, &[("PATH", Some("/nowhere"))]].concat())
    }

    fn checks(&self) -> &Vec<Value> {
        self.diagnosis["checks"].as_array().unwrap()
    }

    /// Returns the state of a check of AWS, and its texts.
    fn of(&self, name: &str) -> (&str, String) {
        let name = format!("ec2: {name}");
        let check = self.checks().iter().find(|check| check["name"] == name.as_str());
        let check = check.unwrap_or_else(|| panic!("no {name} in {}", self.diagnosis));
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        (check["state"].as_str().unwrap(), format!("{}; {}", text("found"), text("remedy")))
    }

    fn missing(&self, name: &str, texts: &[&str]) {
        let (state, found) = self.of(name);
        assert_eq!((state, self.status), ("missing", 1), "{found}");
        texts.iter().for_each(|text| assert!(found.contains(text), "no {text:?} in {name}: {found}"));
    }
}

#[test]
fn a_cloud_that_answers_works_if_this_host_does_and_nothing_is_made_there() {
    let cloud = FakeServer::start();
    let doctor = Diagnosis::by(&cloud.endpoint, &[]);
    for name in ["AWS's SDK", "region", "price of a run", "credentials", "ECR Public", "this host's address"] {
        assert_eq!(doctor.of(name).0, "ok", "{}", doctor.diagnosis);
    }
    assert_eq!(doctor.of("region").1, "us-east-1 (by AWS_REGION or AWS_DEFAULT_REGION); ");
    assert!(doctor.of("Ubuntu 24.04 for arm64").1.starts_with("ami-"), "{}", doctor.diagnosis);
    assert!(doctor.of("zones with a t4g.nano").1.starts_with("us-east-1a, "), "{}", doctor.diagnosis);
    assert!(doctor.of("credentials").1.contains("ends with TEST"), "{}", doctor.diagnosis);
    assert_eq!(doctor.of("AWS").0, "warning", "it names what stands in for AWS");
    let missing: Vec<_> = doctor.checks().iter().filter(|check| check["state"] == "missing").collect();
    assert_eq!(
        (doctor.status, &doctor.diagnosis["works"]),
        (i32::from(!missing.is_empty()), &missing.is_empty().into())
    );
    assert!(missing.iter().all(|check| !check["name"].as_str().unwrap().starts_with("ec2: ")), "{missing:?}");

    assert!(cloud.kinds_left("doctor").is_empty() && cloud.instances().is_empty());
    for call in cloud.requests() {
        let action = call["action"].as_str().unwrap();
        let looks = action.starts_with("Describe") || action == "GetAuthorizationToken";
        assert!(looks || call["parameters"]["DryRun"] == "true", "{call}");
    }
}

#[test]
fn a_region_that_is_not_set_or_unknown_is_reported_with_the_setting() {
    let cloud = FakeServer::start();
    let none = Diagnosis::of_aws(&cloud.endpoint, &[("AWS_REGION", None)]);
    none.missing("region", &["none is set; set AWS_REGION, or `region` of your AWS profile"]);
    assert_eq!(none.of("EC2").1, "not tried: there is no region; mend that first");
    assert_eq!(none.of("ECR Public").0, "ok", "it has a region of its own");
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("config");
    std::fs::write(&profile, "[default]\nregion = us-east-2\n").unwrap();
    let profile = Diagnosis::of_aws(&cloud.endpoint, &[("AWS_REGION", None), ("AWS_CONFIG_FILE", profile.to_str())]);
    assert_eq!(profile.of("region").1, "us-east-2 (by the AWS profile, or by the machine this is); ");
    let mars = Diagnosis::of_aws(&cloud.endpoint, &[("AWS_REGION", Some("mars-1"))]);
    mars.missing("price of a run", &["no price of anything in mars-1", "take a region that has one (AWS_REGION)"]);
}

#[test]
fn credentials_that_are_missing_expired_or_unknown_are_reported_with_the_remedy() {
    let cloud = FakeServer::start();
    let none = Diagnosis::of_aws(&cloud.endpoint, &[("AWS_ACCESS_KEY_ID", None), ("AWS_SECRET_ACCESS_KEY", None)]);
    none.missing("credentials", &["no credentials found", "set AWS_PROFILE, or AWS_ACCESS_KEY_ID"]);
    assert_eq!(none.of("EC2 and ECR Public").0, "warning");
    for (key, of_ec2, of_ecr) in [
        ("EXPIRED1", "RequestExpired: Request has expired; log in again", "ExpiredTokenException"),
        ("INVALID1", "AuthFailure: AWS was not able to validate", "UnrecognizedClientException"),
    ] {
        let doctor = Diagnosis::of_aws(&cloud.endpoint, &[("AWS_ACCESS_KEY_ID", Some(key))]);
        doctor.missing("Ubuntu 24.04 for arm64", &[of_ec2]);
        doctor.missing("ECR Public", &[of_ecr]);
        assert!(doctor.of("the rest of EC2").1.starts_with("not tried: "));
    }
}

#[test]
fn what_the_credentials_do_not_allow_is_named() {
    let cloud = FakeServer::start();
    let refused = |action: &str, code: &str| json!({ "action": action, "times": 99, "status": 403, "code": code });
    cloud.faults(&json!([
        refused("CreateSecurityGroup", "UnauthorizedOperation"),
        refused("GetAuthorizationToken", "AccessDeniedException"),
    ]));
    let doctor = Diagnosis::of_aws(&cloud.endpoint, &[]);
    assert_eq!(doctor.of("zones with a t4g.nano").0, "ok");
    doctor.missing("may make things", &["the credentials must allow ec2:CreateSecurityGroup: see ci/aws/policy.json"]);
    doctor.missing(
        "ECR Public",
        &["the credentials must allow ecr-public:GetAuthorizationToken: see ci/aws/policy.json"],
    );
    cloud.faults(&json!([refused("DescribeSubnets", "UnauthorizedOperation")]));
    let doctor = Diagnosis::of_aws(&cloud.endpoint, &[]);
    doctor.missing("zones with a t4g.nano", &["the credentials must allow ec2:DescribeSubnets"]);
    assert!(doctor.of("may make things").1.starts_with("not tried: "));
}

#[test]
fn an_endpoint_that_is_dead_or_never_answers_is_named() {
    let dead = Diagnosis::of_aws("http://127.0.0.1:9", &[]);
    let way = ["DescribeImages failed", "Connection refused", "see that http://127.0.0.1:9 can be reached"];
    dead.missing("Ubuntu 24.04 for arm64", &way);
    dead.missing("ECR Public", &["GetAuthorizationToken failed", "see that http://127.0.0.1:9 can be reached"]);
    let cloud = FakeServer::start();
    cloud.faults(&json!([{ "action": "DescribeImages", "times": 99, "hold": true }]));
    let doctor = Diagnosis::of_aws(&cloud.endpoint, &[]);
    doctor.missing("Ubuntu 24.04 for arm64", &["DescribeImages failed", &format!("{} can be reached", cloud.endpoint)]);
}

#[test]
fn an_invalid_address_is_reported_with_its_setting() {
    let doctor = Diagnosis::of_aws("http://127.0.0.1:9", &[("ASSAY_EC2_CALLER", Some("here"))]);
    doctor.missing("this host's address", &["ASSAY_EC2_CALLER: \"here\" is not an IPv4 address", "; then ask again"]);
}
