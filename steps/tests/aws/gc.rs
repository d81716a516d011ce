//! Cleaning up in the cloud with the real program: from this machine, and from another that has no cleanup journal.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use assay::exec::cleanup::{CleanupJournal, Resource};
use assay::exec::cleanup::{remove_stale, stale_journals};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fake_server::{FakeServer, LATER, LONG_AGO, REGION, account, tagged};

/// A machine with a separate cache, and an account.
struct Workplace {
    cache: TempDir,
    endpoint: String,
}

impl Workplace {
    fn with(server: &FakeServer) -> Workplace {
        Workplace { cache: tempfile::tempdir().unwrap(), endpoint: server.endpoint.clone() }
    }

    fn journals(&self) -> PathBuf {
        self.cache.path().join("journals")
    }

    fn gc(&self, arguments: &[&str]) -> Command {
        let mut gc = Command::new(env!("CARGO_BIN_EXE_assay"));
        gc.arg("gc").args(arguments).env("ASSAY_ROOT", env!("CARGO_MANIFEST_DIR"));
        account(&mut gc, &self.endpoint).env_remove("AWS_REGION");
        gc.env("ASSAY_CACHE", self.cache.path()).env("HOME", self.cache.path());
        gc
    }

    /// Writes the cleanup journal of a run that was killed, with an entry for what it made in the cloud.
    fn killed(&self, run: &str) {
        fs::create_dir_all(self.journals()).unwrap();
        let entry = serde_json::to_string(&self.resource(run)).unwrap();
        fs::write(self.journals().join(format!("{run}.jsonl")), entry + "\n").unwrap();
    }

    fn resource(&self, run: &str) -> Resource {
        Resource::Cloud { run: run.to_owned(), region: REGION.to_owned(), endpoint: Some(self.endpoint.clone()) }
    }
}

/// Runs a command, asserts its exit status and the texts that it prints, and returns its output.
fn ends(command: &mut Command, status: i32, texts: &[&str]) -> String {
    let Output { status: ended, stdout, stderr } = command.output().unwrap();
    let output = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert_eq!(ended.code(), Some(status), "{output}");
    texts.iter().for_each(|text| assert!(output.contains(text), "no {text:?} in {output}"));
    output
}

#[test]
fn another_machine_removes_what_is_expired_and_everything_only_with_all() {
    for server in FakeServer::both() {
        let machine = Workplace::with(&server);
        server.everything("old", LONG_AGO);
        server.repository("assay/old", "old", LONG_AGO);
        server.everything("new", LATER);
        server.repository("assay/new", "new", LATER);
        server.ec2("CreateKeyPair", &[("KeyName", "somebodys")], "keyPairId");
        let region = ["--region", REGION];

        let before = (server.left("old"), server.left("new"));
        let texts =
            ["key-pair assay-old", "goes: it is expired", "stays until it expires", "would remove security-group sg-"];
        let dry = ends(&mut machine.gc(&[&region[..], &["--dry-run"]].concat()), 0, &texts);
        assert!(!dry.contains("somebodys"), "{dry}");
        assert_eq!(before, (server.left("old"), server.left("new")), "a dry run removes nothing");
        assert_eq!(server.repositories(), ["assay/new", "assay/old"]);

        let json = machine.gc(&[&region[..], &["--json"]].concat()).output().unwrap();
        let found: Value = serde_json::from_slice(&json.stdout).unwrap();
        let rows = found["cloud"].as_array().unwrap();
        let of = |run: &str, kind: &str| rows.iter().find(|row| row["run"] == run && row["kind"] == kind).unwrap();
        assert_eq!(of("old", "instance")["fate"], "expired");
        assert_eq!(of("new", "repository")["fate"], "not-expired");
        assert!(rows.iter().all(|row| row["run"] == "old" || row["run"] == "new"), "{found}");
        assert!(server.left("old").is_empty());
        assert_eq!(server.left("new"), before.1);
        assert_eq!(server.repositories(), ["assay/new"]);

        ends(&mut machine.gc(&["--region", REGION]), 0, &["nothing to remove"]);
        ends(
            &mut machine.gc(&["--region", REGION, "--all"]),
            0,
            &["goes, as everything", "removed repository assay/new"],
        );
        assert!(server.left("new").is_empty());
        assert_eq!(server.repositories(), Vec::<String>::new());
        server.ec2("DescribeKeyPairs", &[("KeyName.1", "somebodys")], "keyPairId");
    }
}

#[test]
fn what_a_killed_run_left_goes_with_its_journal_entry_before_it_expires() {
    for server in FakeServer::both() {
        let machine = Workplace::with(&server);
        machine.killed("killed");
        server.everything("killed", LATER);
        server.repository("assay/killed", "killed", LATER);
        server.everything("elsewhere", LATER);
        let elsewhere = server.left("elsewhere");

        let kept = remove_stale(&machine.journals()).unwrap();
        let says = "what run killed made in us-east-1 at http";
        assert!(kept.errors[0].contains(says) && kept.errors[0].contains("--features aws -- gc"), "{kept:?}");
        ends(&mut machine.gc(&["--dry-run"]), 0, &["goes: its run is over"]);
        assert_eq!(stale_journals(&machine.journals()).unwrap(), 1);

        ends(&mut machine.gc(&[]), 0, &["removed instance i-", "removed repository assay/killed"]);
        assert!(server.left("killed").is_empty());
        assert_eq!(server.repositories(), Vec::<String>::new());
        assert_eq!(server.left("elsewhere"), elsewhere);
        assert_eq!(stale_journals(&machine.journals()).unwrap(), 0, "nothing is left that it could list");
        let calls = server.calls().len();
        ends(&mut machine.gc(&[]), 0, &["nothing to remove"]);
        assert_eq!(server.calls().len(), calls, "without a journal entry, AWS is not asked");
    }
}

#[test]
fn what_belongs_to_a_run_under_way_here_is_never_touched() {
    for server in FakeServer::both() {
        let machine = Workplace::with(&server);
        let cleanup = CleanupJournal::open(&machine.journals(), "living").unwrap();
        cleanup.register(machine.resource("living")).unwrap();
        server.everything("living", LONG_AGO);
        let before = server.left("living");
        ends(&mut machine.gc(&["--region", REGION, "--all"]), 0, &["its run is under way here"]);
        assert_eq!(server.left("living"), before);
        cleanup.mark_gone(&machine.resource("living")).unwrap();
        assert_eq!(cleanup.close(), Vec::<String>::new());
    }
}

#[test]
fn what_cannot_be_removed_is_named_and_its_journal_entry_kept() {
    for server in FakeServer::both() {
        let machine = Workplace::with(&server);
        machine.killed("killed");
        server.key("killed", LATER);
        server.instance(&server.group("other", LATER), &tagged("instance", "killed", LATER));
        let refused = json!([{
            "action": "TerminateInstances", "times": 1000, "status": 403, "code": "UnauthorizedOperation",
            "message": "not authorized to perform: ec2:TerminateInstances on resource: *"
        }]);
        server.faults(&refused);
        ends(&mut machine.gc(&[]), 3, &["is left: ec2:TerminateInstances failed", "see ci/aws/policy.json"]);
        assert!(!server.kinds_left("killed").contains(&"key-pair".to_owned()), "what may go is gone");
        assert_eq!(stale_journals(&machine.journals()).unwrap(), 1);
    }
}

#[test]
fn without_credentials_it_says_what_to_set_and_keeps_the_journal_entry() {
    let server = FakeServer::start();
    let machine = Workplace::with(&server);
    machine.killed("killed");
    let with = |key: Option<&str>| {
        let mut gc = machine.gc(&[]);
        match key {
            Some(key) => gc.env("AWS_ACCESS_KEY_ID", key),
            None => gc.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY"),
        };
        gc
    };
    let output = ends(&mut with(None), 3, &["set AWS_PROFILE, or AWS_ACCESS_KEY_ID"]);
    assert_eq!(output.matches("set AWS_PROFILE").count(), 1, "it is said once: {output}");
    ends(&mut with(Some("INVALIDKEY")), 3, &["AuthFailure", "set AWS_PROFILE"]);
    ends(&mut with(Some("EXPIREDKEY")), 3, &["RequestExpired", "log in again"]);
    assert_eq!(stale_journals(&machine.journals()).unwrap(), 1);
    let nowhere = Workplace::with(&server);
    ends(nowhere.gc(&["--aws"]).env_remove("AWS_ENDPOINT_URL"), 3, &["set AWS_REGION"]);
}

#[test]
fn what_is_in_aws_itself_is_not_considered_gone_because_a_stand_in_has_nothing() {
    let server = FakeServer::start();
    let machine = Workplace::with(&server);
    machine.killed("killed");
    let cleanup = machine.journals().join("killed.jsonl");
    let real = Resource::Cloud { run: "killed".to_owned(), region: REGION.to_owned(), endpoint: None };
    fs::write(&cleanup, serde_json::to_string(&real).unwrap() + "\n").unwrap();
    ends(&mut machine.gc(&[]), 3, &["AWS_ENDPOINT_URL names something else: unset it"]);
    assert!(cleanup.exists());
}

#[test]
fn where_nothing_answers_it_says_so_once() {
    let server = FakeServer::start();
    let machine = Workplace::with(&server);
    machine.killed("killed");
    drop(server);
    let output = ends(&mut machine.gc(&[]), 3, &["Connection refused", "AWS_ENDPOINT_URL"]);
    assert_eq!(output.matches("ec2:Describe").count(), 1, "{output}");
    assert_eq!(stale_journals(&machine.journals()).unwrap(), 1);
}
