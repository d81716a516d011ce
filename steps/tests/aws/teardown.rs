//! What a run has made in EC2 is removed, whatever happens, and nothing else is.

use std::time::Duration;

use assay::Progress;
use assay::internal::ec2::gc;
use assay::internal::ec2::teardown::{NotGone, Pauses, teardown};
use serde_json::json;

use super::stand_in::{FakeServer, REGION, tagged};

const LATER: &str = "4102444800";

fn pauses() -> Pauses {
    Pauses { look: Duration::from_millis(50), instances: Duration::from_secs(20), rest: Duration::from_secs(60) }
}

async fn tear_down(stand_in: &FakeServer, run: &str, known: &[String], pauses: &Pauses) -> Result<(), NotGone> {
    let client = gc::stand_in(&stand_in.endpoint, REGION);
    teardown(&client, run, known, pauses, &Progress::to(|_| ())).await
}

#[tokio::test]
async fn everything_of_a_run_goes_in_the_order_that_is_allowed_and_nothing_else() {
    let stand_in = FakeServer::start(&[]);
    let instance = stand_in.everything("one", LATER);
    stand_in.key("two", LATER);
    let untagged = stand_in.ec2("CreateKeyPair", &[("KeyName", "somebodys")], "keyPairId");
    assert_eq!(
        stand_in.kinds_left("one").len(),
        8,
        "the instance brings a disk and an interface: {:?}",
        stand_in.left("one")
    );

    tear_down(&stand_in, "one", &[instance], &pauses()).await.unwrap();

    assert_eq!(stand_in.left("one"), []);
    assert_eq!(stand_in.kinds_left("two"), ["key-pair"]);
    let there = stand_in.ec2("DescribeKeyPairs", &[("KeyName.1", "somebodys")], "keyPairId");
    assert_eq!(there, untagged);
    let calls = stand_in.calls();
    let order = [
        "TerminateInstances",
        "DeleteVolume",
        "DeleteNetworkInterface",
        "ReleaseAddress",
        "DeleteKeyPair",
        "DeleteSecurityGroup",
    ];
    let first = order.map(|action| calls.iter().position(|call| call == action).expect(action));
    assert!(first.is_sorted(), "{calls:?}");
    assert!(!calls.iter().any(|call| call == "DescribeTags"), "it lists deleted things for a while");
}

#[tokio::test]
async fn what_is_gone_already_is_fine() {
    let stand_in = FakeServer::start(&[]);
    let instance = stand_in.everything("one", LATER);
    let never = "i-0123456789abcdef0".to_owned();
    for _ in 0..2 {
        tear_down(&stand_in, "one", &[instance.clone(), never.clone()], &pauses()).await.unwrap();
        assert_eq!(stand_in.left("one"), []);
    }
    // These are listed, but gone by the time they are removed.
    stand_in.everything("two", LATER);
    let gone = |action: &str, code: &str| json!({"action": action, "code": code, "message": "does not exist"});
    stand_in.faults(&json!([
        gone("TerminateInstances", "InvalidInstanceID.NotFound"),
        gone("DeleteVolume", "InvalidVolume.NotFound"),
        gone("DeleteNetworkInterface", "InvalidNetworkInterfaceID.NotFound"),
        gone("ReleaseAddress", "InvalidAllocationID.NotFound"),
        gone("DeleteKeyPair", "InvalidKeyPair.NotFound"),
        gone("DeleteSecurityGroup", "InvalidGroup.NotFound"),
    ]));
    tear_down(&stand_in, "two", &[], &pauses()).await.unwrap();
    assert_eq!(stand_in.left("two"), [], "what is listed still is removed all the same");
}

#[tokio::test]
async fn an_instance_that_lost_its_tag_goes_by_its_id() {
    let stand_in = FakeServer::start(&[]);
    let group = stand_in.group("one", LATER);
    let other = stand_in.instance(&stand_in.group("two", LATER), &[]);
    let known = stand_in.instance(&group, &[]);
    tear_down(&stand_in, "one", std::slice::from_ref(&known), &pauses()).await.unwrap();
    assert!(!stand_in.lives(&known) && stand_in.lives(&other));
    assert_eq!(stand_in.left("one"), []);
}

#[tokio::test]
async fn a_termination_that_is_refused_once_is_tried_again() {
    let stand_in = FakeServer::start(&[]);
    let instance = stand_in.everything("one", LATER);
    stand_in.faults(&json!([{"action": "TerminateInstances", "code": "OperationNotPermitted", "message": "not now"}]));
    tear_down(&stand_in, "one", &[instance], &pauses()).await.unwrap();
    assert_eq!(stand_in.left("one"), []);
}

#[tokio::test]
async fn every_call_may_be_throttled_once() {
    let stand_in = FakeServer::start(&[]);
    stand_in.everything("one", LATER);
    stand_in.faults(&json!([{"action": "*", "once_each": true, "status": 503, "code": "RequestLimitExceeded"}]));
    tear_down(&stand_in, "one", &[], &pauses()).await.unwrap();
    assert_eq!(stand_in.left("one"), []);
}

#[tokio::test]
async fn a_group_that_stays_in_use_is_named_with_the_command_that_removes_it() {
    let stand_in = FakeServer::start(&[]);
    stand_in.key("one", LATER);
    let group = stand_in.group("one", LATER);
    let user = stand_in.instance(&group, &tagged("instance", "two", LATER));
    let impatient = Pauses { rest: Duration::from_millis(300), ..pauses() };
    let not_gone = tear_down(&stand_in, "one", &[], &impatient).await.unwrap_err();
    assert_eq!(stand_in.kinds_left("one"), ["security-group"], "the rest is gone");
    let said = not_gone.to_string();
    for part in [
        &format!("security-group {group} (assay-one) is left"),
        "DependencyViolation",
        "cargo run --features aws -- gc --all",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(stand_in.lives(&user), "another run's is not touched");
}

#[tokio::test]
async fn a_missing_permission_is_named_and_the_rest_goes() {
    let stand_in = FakeServer::start(&[]);
    stand_in.everything("one", LATER);
    let refused = "not authorized to perform: ec2:DeleteKeyPair on resource: arn:aws:ec2:us-east-1:1:key-pair/k";
    let unseen = "You are not authorized to perform this operation.";
    stand_in.faults(&json!([
        {"action": "DeleteKeyPair", "times": 1000, "status": 403, "code": "UnauthorizedOperation", "message": refused},
        {"action": "DescribeAddresses", "times": 1000, "status": 403, "code": "UnauthorizedOperation", "message": unseen},
    ]));
    let started = std::time::Instant::now();
    let not_gone = tear_down(&stand_in, "one", &[], &pauses()).await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "what is forbidden is not waited for: {:?}",
        started.elapsed()
    );
    assert_eq!(stand_in.kinds_left("one"), ["address", "key-pair"]);
    let said = not_gone.to_string();
    for part in ["must allow ec2:DeleteKeyPair: see ci/aws/policy.json", "must allow ec2:DescribeAddresses"] {
        assert!(said.contains(part), "{said}");
    }
}
