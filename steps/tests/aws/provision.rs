//! Instances on a fake AWS server that fails on demand: whatever happens, the server itself lists nothing that is left.
//!
//! Each order is placed by a separate process, as in a run: this very program, which reads the order from its standard
//! input.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use assay::base::instance_spec::InstanceSpec;
use assay::exec::cleanup::CleanupJournal;
use assay::exec::shell::{NoopObserver, Reply, Server, new_key};
use assay::targets::Context;
use assay::targets::cloud::{Cloud as _, Keeper};
use assay::targets::ec2::{Ec2, Patience};
use assay::{Progress, Settings};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::fake_server::{FakeServer, account};

/// What a process must order.
#[derive(Serialize, Deserialize)]
struct Order {
    run: String,
    folder: std::path::PathBuf,
    /// What the process does with the machine.
    then: Then,
    /// If set, a subnet of the user's, in which a spot instance is ordered.
    spot_in: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
enum Then {
    /// It runs one command and closes.
    Close,
    Panic,
    Measure,
}

/// Started by the tests of this file, and never run by itself: without a job there is nothing to do.
#[test]
#[ignore = "the process that the tests of this file start"]
fn an_order_is_placed() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    let Ok(job) = serde_json::from_str::<Order>(&text) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match runtime.block_on(place(job)) {
        Ok(outcome) => println!("OUTCOME ok: {outcome}"),
        Err(error) => println!("OUTCOME error: {error:#}"),
    }
}

async fn place(job: Order) -> anyhow::Result<String> {
    let journals = job.folder.join("cache/journals");
    let context = Context {
        settings: Settings { cache: job.folder.join("cache"), ..Settings::read()? },
        cleanup: Arc::new(CleanupJournal::open(&journals, &job.run)?),
        observer: Arc::new(NoopObserver),
        evidence: job.folder.clone(),
        run: job.run.clone(),
        progress: Progress::to_stderr(),
    };
    let patience =
        Patience { answer: Duration::from_secs(3), running: Duration::from_secs(8), login: Duration::from_secs(12) };
    let order = InstanceSpec { spot: job.spot_in.is_some(), subnet: job.spot_in, ..InstanceSpec::default() };
    let cloud = Arc::new(Ec2::open(order, patience, &context).await?);
    let _keeper = Keeper { cloud: cloud.clone(), progress: Progress::to_stderr() };
    let outcome = match cloud.provision("nano").await {
        Ok(_) if job.then == Then::Panic => panic!("as ordered"),
        Ok(machine) => {
            let command = if job.then == Then::Measure { "measure" } else { "look" };
            let output = machine.shell.read(&assay::Command::new(command)).await;
            machine.shut_down().await;
            let image = machine.facts.image.as_deref().unwrap_or_default();
            output.map(|_| format!("{} has booted from {image}", machine.name))
        }
        Err(error) => Err(error),
    };
    cloud.close().await?;
    outcome
}

struct Ordering {
    child: Child,
    run: String,
    folder: tempfile::TempDir,
}

/// The recorded answers of a machine to the commands that read its machine info.
const FACTS: &str = include_str!("../../../fixtures/facts/debian-13-amd64.txt");

fn answer(line: &str) -> Reply {
    match line {
        _ if line.starts_with("cloud-init") => Reply::Ends(0, b"status: done\n".to_vec()),
        _ if line.starts_with("sh -s") => Reply::Ends(0, FACTS.as_bytes().to_vec()),
        _ if line.starts_with("systemd-detect-virt") => Reply::Ends(0, b"amazon\n".to_vec()),
        "measure" => Reply::Hangs,
        _ => Reply::Ends(0, Vec::new()),
    }
}

impl Ordering {
    fn start(
        cloud: &FakeServer,
        ssh: u16,
        then: Then,
        spot_in: Option<String>,
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Ordering {
        let folder = tempfile::tempdir().unwrap();
        let run = format!("t{}-{ssh}", std::process::id());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "provision::an_order_is_placed", "--ignored", "--nocapture"]);
        account(&mut command, &cloud.endpoint).env("HOME", folder.path());
        command.env("ASSAY_EC2_SSH", format!("127.0.0.1:{ssh}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let job = Order { run: run.clone(), folder: folder.path().to_owned(), then, spot_in };
        let text = serde_json::to_string(&job).unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Ordering { child, run, folder }
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A fake machine, which ends with its runtime. It reports each command that it is asked to run.
struct Played {
    runtime: tokio::runtime::Runtime,
    asked: Receiver<String>,
}

/// Runs a fake machine at a port once the server has an order. It shows the host key that it was given, or another.
fn machine(cloud: &FakeServer, port: u16, host_key: Option<String>) -> Played {
    let deadline = Instant::now() + Duration::from_secs(120);
    let instance = loop {
        if let Some(instance) = cloud.instances().into_iter().next() {
            break instance;
        }
        assert!(Instant::now() < deadline, "no instance was ordered");
        std::thread::sleep(Duration::from_millis(50));
    };
    let user_data = instance["user_data"].as_str().unwrap();
    let given: String = user_data
        .lines()
        .skip_while(|line| !line.contains("ed25519_private"))
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let user = instance["public_key"].as_str().unwrap().to_owned();
    let (tell, asked) = channel();
    let answer = move |line: &str| {
        let _ = tell.send(line.to_owned());
        answer(line)
    };
    let server = runtime.block_on(Server::start_as(port, &host_key.unwrap_or(given), &user, Arc::new(answer))).unwrap();
    runtime.spawn(async move {
        let _server = server;
        std::future::pending::<()>().await;
    });
    Played { runtime, asked }
}

/// Places an order, runs a machine that answers, asserts that nothing is left; returns the outcome and the run.
fn ordered(cloud: &FakeServer, then: Then, host_key: Option<String>, spot_in: Option<String>) -> (String, String) {
    let port = free_port();
    let ordering = Ordering::start(cloud, port, then, spot_in, |command| command);
    let _machine = machine(cloud, port, host_key);
    nothing_is_left(cloud, ordering)
}

/// Places an order that no machine answers, asserts that nothing is left, and returns the outcome.
fn unanswered(cloud: &FakeServer, change: impl FnOnce(&mut Command) -> &mut Command) -> String {
    nothing_is_left(cloud, Ordering::start(cloud, free_port(), Then::Close, None, change)).0
}

/// Waits for the process to end, asserts that nothing is left, and returns the outcome and the run.
fn nothing_is_left(cloud: &FakeServer, ordering: Ordering) -> (String, String) {
    let output = ordering.child.wait_with_output().unwrap();
    cloud.no_faults();
    assert_eq!(cloud.kinds_left(&ordering.run), Vec::<String>::new());
    let all = [output.stdout, output.stderr].concat();
    let all = String::from_utf8_lossy(&all);
    let outcome = all.lines().find_map(|line| Some(line.split_once("OUTCOME ")?.1));
    (outcome.unwrap_or(&all).to_owned(), ordering.run)
}

#[test]
fn an_instance_is_ordered_as_in_the_annex_and_nothing_is_left() {
    for cloud in FakeServer::both() {
        let (outcome, run) = ordered(&cloud, Then::Close, None, None);
        assert!(outcome.starts_with("ok: nano has booted from ami-"), "{outcome}");
        let calls = cloud.requests();
        let order = calls.iter().find(|call| call["action"] == "RunInstances").expect("an order");
        let parameter = |name: &str| order["parameters"][name].as_str().unwrap_or_default().to_owned();
        for (name, value) in [
            ("InstanceType", "t4g.nano"),
            ("MetadataOptions.HttpTokens", "required"),
            ("InstanceInitiatedShutdownBehavior", "terminate"),
            ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
            ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
            ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
            ("NetworkInterface.1.AssociatePublicIpAddress", "true"),
        ] {
            assert_eq!(parameter(name), value, "{name}");
        }
        assert!(parameter("ClientToken").starts_with(&format!("assay-{run}")), "{order}");
        let ingress = calls.iter().find(|call| call["action"] == "AuthorizeSecurityGroupIngress").expect("a way in");
        let text = ingress["parameters"].to_string();
        assert!(text.contains("127.0.0.1/32") && !text.contains("0.0.0.0/0"), "{text}");
    }
}

#[test]
fn a_spot_instance_is_ordered_in_the_subnet_that_was_named() {
    let cloud = FakeServer::start();
    // Not the first subnet, which would be used anyway.
    let zone = [("Filter.1.Name", "availability-zone"), ("Filter.1.Value.1", "us-east-1c")];
    let subnet = cloud.ec2("DescribeSubnets", &zone, "subnetId");
    let (outcome, _) = ordered(&cloud, Then::Close, None, Some(subnet.clone()));
    assert!(outcome.starts_with("ok: "), "{outcome}");
    let requests = cloud.requests();
    let order = requests.iter().find(|call| call["action"] == "RunInstances").expect("an order");
    assert_eq!(order["parameters"]["InstanceMarketOptions.MarketType"], "spot", "{order}");
    assert_eq!(order["parameters"]["NetworkInterface.1.SubnetId"], subnet.as_str(), "{order}");
}

#[test]
fn another_host_key_a_panic_and_a_refused_termination_leave_nothing() {
    let refused = json!([{ "action": "TerminateInstances", "times": 2, "code": "OperationNotPermitted" }]);
    let another = new_key("another").unwrap().1;
    for (faults, then, host_key, expected) in [
        (&json!([]), Then::Close, Some(&another), "shows another host key (SHA256:"),
        (&json!([]), Then::Panic, None, "as ordered"),
        (&refused, Then::Close, None, "ok: "),
    ] {
        for cloud in FakeServer::both() {
            cloud.faults(faults);
            let (outcome, _) = ordered(&cloud, then, host_key.cloned(), None);
            assert!(outcome.contains(expected), "{outcome}");
        }
    }
}

#[test]
fn a_machine_that_never_answers_and_one_that_never_runs_are_removed() {
    let no_login = "a login timed out after 12 s; last seen: nano: no SSH connection";
    // Moto refuses to end an instance twice, and ignores the id of a key pair.
    let [cloud, plain] = FakeServer::both();
    for cloud in [&plain, &cloud] {
        let outcome = unanswered(cloud, |command| command);
        assert!(outcome.contains(no_login) && !outcome.contains("is left"), "{outcome}");
    }
    cloud.faults(&json!([{ "action": "DescribeInstances", "state": "pending", "times": 1000 }]));
    let outcome = unanswered(&cloud, |command| command);
    assert!(outcome.contains("does not run within 8s: it is pending"), "{outcome}");
}

#[test]
fn a_machine_that_dies_while_it_is_measured_is_reported_and_removed() {
    for cloud in FakeServer::both() {
        let port = free_port();
        let ordering = Ordering::start(&cloud, port, Then::Measure, None, |command| command);
        let machine = machine(&cloud, port, None);
        while machine.asked.recv_timeout(Duration::from_secs(60)).expect("it is never measured") != "measure" {}
        machine.runtime.shutdown_background();
        let (outcome, _) = nothing_is_left(&cloud, ordering);
        assert!(outcome.contains("nano: connection lost during `measure`"), "{outcome}");
    }
}

#[test]
fn a_full_zone_is_skipped_and_if_all_are_full_the_error_names_them() {
    for cloud in FakeServer::both() {
        let full =
            |times: u32| json!([{ "action": "RunInstances", "times": times, "code": "InsufficientInstanceCapacity" }]);
        cloud.faults(&full(1));
        let (outcome, _) = ordered(&cloud, Then::Close, None, None);
        assert!(outcome.starts_with("ok: "), "{outcome}");
        cloud.faults(&full(1000));
        let outcome = unanswered(&cloud, |command| command);
        assert!(outcome.starts_with("error: there is no capacity for a t4g.nano in us-east-1a, "), "{outcome}");
    }
}

#[test]
fn every_call_throttled_once_goes_through_and_a_lost_answer_makes_no_second_instance() {
    for cloud in FakeServer::both() {
        cloud.faults(&json!([
            { "action": "*", "once_each": true, "status": 503, "code": "RequestLimitExceeded" },
            { "action": "RunInstances", "times": 1, "lose_answer": true, "delay": 0 },
        ]));
        let (outcome, _) = ordered(&cloud, Then::Close, None, None);
        assert!(outcome.starts_with("ok: "), "{outcome}");
        if !cloud.is_plain {
            assert_eq!(cloud.instances().len(), 1, "one order, one instance");
        }
        let asked = cloud.calls().iter().filter(|call| *call == "RunInstances").count();
        assert!(asked >= 2, "the answer was lost, so it was asked again: {asked}");
    }
}

#[test]
fn credentials_that_are_expired_or_without_permission_are_reported_with_the_remedy() {
    for cloud in FakeServer::both() {
        let expired = unanswered(&cloud, |command| command.env("AWS_ACCESS_KEY_ID", "EXPIRED1"));
        assert!(expired.contains("expired"), "{expired}");
        let nowhere = unanswered(&cloud, |command| command.env_remove("AWS_REGION"));
        assert!(nowhere.starts_with("error: no region is set: set AWS_REGION"), "{nowhere}");
        cloud.faults(
            &json!([{ "action": "ImportKeyPair", "times": 9, "status": 403, "code": "UnauthorizedOperation" }]),
        );
        let forbidden = unanswered(&cloud, |command| command);
        assert!(forbidden.contains("ec2:ImportKeyPair") && forbidden.contains("ci/aws/policy.json"), "{forbidden}");
    }
}

/// Kills a run at a call: whether or not the call was carried out, `assay gc` removes what exists by then.
fn killed_at(action: &str) {
    let faults = ["hold", "lose_answer"].into_iter().flat_map(|fault| FakeServer::both().map(|cloud| (fault, cloud)));
    for (fault, cloud) in faults {
        cloud.faults(&json!([{ "action": action, "times": 99, fault: true, "delay": 100 }]));
        let port = free_port();
        let mut ordering = Ordering::start(&cloud, port, Then::Close, None, |command| command);
        let late = ["DescribeInstances", "TerminateInstances", "GetConsoleOutput"].contains(&action);
        let _machine = late.then(|| machine(&cloud, port, None));
        let deadline = Instant::now() + Duration::from_secs(120);
        while !cloud.calls().iter().any(|call| call == action) {
            assert!(Instant::now() < deadline, "{action} is never called");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(200));
        ordering.child.kill().unwrap();
        ordering.child.wait().unwrap();
        cloud.no_faults();
        let mut gc = Command::new(env!("CARGO_BIN_EXE_assay"));
        gc.arg("gc").env("ASSAY_CACHE", ordering.folder.path().join("cache")).env("HOME", ordering.folder.path());
        let output = account(&mut gc, &cloud.endpoint).output().unwrap();
        assert!(output.status.success(), "{action}, {fault}: {output:?}");
        assert_eq!(cloud.kinds_left(&ordering.run), Vec::<String>::new(), "{action}, {fault}");
    }
}

#[test]
fn gc_finds_all_that_a_run_leaves_wherever_it_is_killed() {
    std::thread::scope(|scope| {
        for action in [
            "ImportKeyPair",
            "CreateSecurityGroup",
            "AuthorizeSecurityGroupIngress",
            "RunInstances",
            "DescribeInstances",
            "GetConsoleOutput",
            "TerminateInstances",
        ] {
            scope.spawn(move || killed_at(action));
        }
    });
}
