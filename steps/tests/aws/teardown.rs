//! What a run has made in EC2 is removed, whatever happens, and nothing else is.

use std::time::Duration;

use assay::Progress;
use assay::targets::ec2::teardown::{Pauses, teardown};
use assay::targets::ec2::{Patience, configuration};
use aws_sdk_ec2::Client;
use serde_json::{Value, json};

use super::fake_server::{FakeServer, LATER, REGION, tagged};

/// The calls that remove something, in the order of removal.
const REMOVALS: [&str; 6] = [
    "TerminateInstances",
    "DeleteVolume",
    "DeleteNetworkInterface",
    "ReleaseAddress",
    "DeleteKeyPair",
    "DeleteSecurityGroup",
];

const PAUSES: Pauses = Pauses { look: Duration::from_millis(50), limit: Duration::from_secs(60) };

async fn tear_down(server: &FakeServer, run: &str, known: &[String], pauses: &Pauses) -> anyhow::Result<()> {
    let config = configuration(Patience::default(), Some(REGION), Some(&server.endpoint)).await;
    teardown(&Client::new(&config), run, known, pauses, &Progress::to(|_| ())).await
}

#[tokio::test]
async fn everything_of_a_run_goes_in_the_order_that_is_allowed_and_nothing_else() {
    for server in FakeServer::both() {
        let instance = server.everything("one", LATER);
        server.key("two", LATER);
        let untagged = server.ec2("CreateKeyPair", &[("KeyName", "somebodys")], "keyPairId");
        // An instance brings a disk and an interface, which plain moto gives no tags.
        let made = server.kinds_left("one");
        assert_eq!(made.len(), if server.is_plain { 6 } else { 8 }, "{made:?}");

        tear_down(&server, "one", &[instance], &PAUSES).await.unwrap();

        assert!(server.left("one").is_empty());
        assert_eq!(server.kinds_left("two"), ["key-pair"]);
        let there = server.ec2("DescribeKeyPairs", &[("KeyName.1", "somebodys")], "keyPairId");
        assert_eq!(there, untagged);
        let calls = server.calls();
        let first = REMOVALS.map(|action| calls.iter().position(|call| call == action).expect(action));
        assert!(first.is_sorted(), "{calls:?}");
        assert!(!calls.iter().any(|call| call == "DescribeTags"), "it lists deleted things for a while");
    }
}

#[tokio::test]
async fn what_is_gone_already_is_fine() {
    for server in FakeServer::both() {
        let instance = server.everything("one", LATER);
        let never = "i-0123456789abcdef0".to_owned();
        for _ in 0..2 {
            tear_down(&server, "one", &[instance.clone(), never.clone()], &PAUSES).await.unwrap();
            assert!(server.left("one").is_empty());
        }
        let ended =
            |call: &&Value| call["action"] == "TerminateInstances" && call["parameters"]["InstanceId.1"] == *instance;
        assert_eq!(server.requests().iter().filter(ended).count(), 1, "what is over is not ended again");
        // These are listed, but gone by the time they are removed.
        server.everything("two", LATER);
        let gone = REMOVALS.map(|action| json!({"action": action, "code": "InvalidResource.NotFound"}));
        server.faults(&json!(gone));
        tear_down(&server, "two", &[], &PAUSES).await.unwrap();
        assert!(server.left("two").is_empty(), "what is listed still is removed all the same");
    }
}

#[tokio::test]
async fn an_instance_that_lost_its_tag_goes_by_its_id() {
    for server in FakeServer::both() {
        let group = server.group("one", LATER);
        let other = server.instance(&server.group("two", LATER), &[]);
        let known = server.instance(&group, &[]);
        tear_down(&server, "one", std::slice::from_ref(&known), &PAUSES).await.unwrap();
        assert!(!server.lives(&known) && server.lives(&other));
        assert!(server.left("one").is_empty());
    }
}

#[tokio::test]
async fn a_group_that_stays_in_use_is_named_with_the_command_that_removes_it() {
    let server = FakeServer::start();
    server.key("one", LATER);
    let group = server.group("one", LATER);
    let user = server.instance(&group, &tagged("instance", "two", LATER));
    let impatient = Pauses { limit: Duration::from_millis(300), ..PAUSES };
    let not_gone = tear_down(&server, "one", &[], &impatient).await.unwrap_err();
    assert_eq!(server.kinds_left("one"), ["security-group"], "the rest is gone");
    let error = not_gone.to_string();
    for part in [
        &format!("security-group {group} (assay-one) is left"),
        "DependencyViolation",
        "cargo run --features aws -- gc --all",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(server.lives(&user), "another run's is not touched");
}

#[tokio::test]
async fn a_missing_permission_is_named_and_the_rest_goes() {
    for server in FakeServer::both() {
        server.everything("one", LATER);
        let refused = "not authorized to perform: ec2:DeleteKeyPair on resource: arn:aws:ec2:us-east-1:1:key-pair/k";
        let unseen = "You are not authorized to perform this operation.";
        server.faults(&json!([
            {"action": "DeleteKeyPair", "times": 1000, "status": 403, "code": "UnauthorizedOperation", "message": refused},
            {"action": "DescribeAddresses", "times": 1000, "status": 403, "code": "UnauthorizedOperation", "message": unseen},
        ]));
        let started = std::time::Instant::now();
        let not_gone = tear_down(&server, "one", &[], &PAUSES).await.unwrap_err();
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "what is forbidden is not waited for: {:?}",
            started.elapsed()
        );
        assert_eq!(server.kinds_left("one"), ["address", "key-pair"]);
        let error = not_gone.to_string();
        for part in ["must allow ec2:DeleteKeyPair: see ci/aws/policy.json", "must allow ec2:DescribeAddresses"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
