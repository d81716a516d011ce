//! What users type, and what they read: the real programs, with neither a machine nor a network.

mod benches;
mod bundles;
mod doctor;
mod editors;
mod installed;
mod merged;
mod own;
mod plans;
mod steps;
mod words;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// A program that takes longer hangs; a busy host is slow, which is not the program's fault.
const LIMIT: Duration = Duration::from_secs(180);

/// A copy of the project's files in a folder for one test, with an empty cache beside it.
struct Project(TempDir);

impl Project {
    fn new() -> Project {
        let folder = tempfile::tempdir().unwrap();
        let parts = ["features", "fixtures"].map(|part| Path::new(PROJECT).join(part));
        let copied = std::process::Command::new("cp").arg("-r").args(parts).arg(folder.path()).status();
        assert!(copied.unwrap().success());
        Project(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces the first occurrence of a text in one of the files.
    fn change(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}");
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    fn assay(&self, arguments: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_assay"), arguments)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path()).timeout(LIMIT);
        command.env("ASSAY_ROOT", self.0.path()).env("ASSAY_CACHE", self.path("cache"));
        let ours = ["ASSAY_TARGET", "ASSAY_MIRROR", "ASSAY_REGISTRY_IMAGE", "ASSAY_EC2_SSH", "ASSAY_ECR_REGISTRY"];
        let of_aws = ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2"];
        for name in ours.into_iter().chain(of_aws) {
            command.env_remove(name);
        }
        command
    }

    fn verdicts(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("target/assay/latest/verdicts.json")).unwrap()).unwrap()
    }

    fn run(&self, options: &[&str]) -> Command {
        self.assay(&[&["run"], options].concat())
    }

    /// Asserts that a command has written neither evidence nor anything into the cache.
    fn assert_unused(&self) {
        assert!(!self.path("target").exists() && !self.path("cache").exists());
    }

    /// Returns a `PATH` that has these programs and no others. What they do does not matter, because none of them is
    /// started.
    fn only(&self, programs: &[&str]) -> PathBuf {
        let folder = self.path("bin");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        programs.iter().for_each(|program| fake(&folder, program, "exit 9"));
        folder
    }
}

/// However a program ended, it leaves nothing outside its folder of evidence.
impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let names =
            |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        for run in names(self.path("target/assay")) {
            let build_dir = Path::new("/tmp").join(format!("assay-{}", run.display()));
            assert!(!build_dir.exists(), "{} is left", build_dir.display());
        }
        assert_eq!(names(self.path("cache/journals")).count(), 0, "a cleanup journal is left");
    }
}

/// Writes a program that runs this script.
fn fake(folder: &Path, program: &str, script: &str) {
    fs::write(folder.join(program), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns all files below a folder, which need not exist.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let (folders, mut found): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    found.extend(folders.iter().flat_map(|inner| files(inner)));
    found
}

/// Asserts how a program ended and that it printed all these texts, and returns its standard output.
fn prints(command: &mut Command, code: i32, texts: &[&str]) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(status.code(), Some(code), "{command:?}: {status}\n{stdout}\n{stderr}");
    for text in texts {
        assert!(format!("{stdout}\n{stderr}").contains(text), "{command:?} does not say {text:?}:\n{stdout}\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    stdout
}

fn qemu() -> &'static str {
    if cfg!(target_arch = "aarch64") { "qemu-system-aarch64" } else { "qemu-system-x86_64" }
}

#[test]
fn a_machine_that_does_not_answer_is_told_at_once_and_nothing_is_begun() {
    let project = Project::new();
    // A port on which nothing listens, and which the kernel gives to no other test.
    let port = 1;
    let target = format!("ssh://nobody@127.0.0.1:{port}");
    let printed = format!("assay: nobody@127.0.0.1:{port}: no SSH connection to 127.0.0.1:{port}: ");
    let remedy = format!("; `cargo run -- doctor --target {target}` tries all that a run needs");
    for more in [&["--plan"][..], &[]] {
        prints(&mut project.run(&[&["--target", target.as_str()], more].concat()), 3, &[&printed, &remedy]);
    }
    let mut doctor = project.assay(&["doctor", "--target", &target]);
    let printed =
        prints(&mut doctor, 1, &[&format!("✘ {target}: login"), "no SSH connection to ", "does not work here: "]);
    assert!(printed.contains("is that its port? then ask again"), "{printed}");
    let lacking = "ssh is not installed: ci/setup ssh://a@b does that";
    prints(project.run(&["--target", "ssh://a@b"]).env("PATH", project.only(&["setsid"])), 3, &[lacking]);
    assert!(!project.path("target/assay").exists(), "there is evidence of nothing");
}

#[test]
fn a_mirror_that_does_not_answer_is_told_by_its_address() {
    let project = Project::new();
    let makers = [qemu(), "qemu-img", "setpriv", "mmdebstrap", "mke2fs", "dpkg-query", "unshare", "podman"];
    let path = project.only(&makers);
    // These are started before the mirror is asked: Podman gives an ordinary user a namespace to make the image in.
    fake(&path, "podman", "echo '0 1000 1'; echo '1 100000 65536'");
    fake(&path, qemu(), "echo QEMU emulator version 10.0.2");
    let mirror = "http://127.0.0.1:9/debian";
    let printed = ["mirror http://127.0.0.1:9/debian does not give debian-13", "set ASSAY_MIRROR to one that does"];
    prints(project.assay(&["setup"]).env("ASSAY_MIRROR", mirror).env("PATH", &path), 3, &printed);
    let mut run = project.run(&["--tags", "@A5-4"]);
    prints(run.env("ASSAY_MIRROR", mirror).env("PATH", &path), 3, &[printed[0], printed[1], "1 inconclusive"]);
}

#[test]
fn both_programs_plan_alike() {
    let project = Project::new();
    let plan =
        prints(&mut project.assay(&["plan", "--target", "vm:arm64"]), 0, &["on vm:arm64:", "scenarios would run"]);
    assert_eq!(prints(&mut project.run(&["--plan", "--target", "vm:arm64"]), 0, &[]), plan);
    let rows: Value = serde_json::from_str(&prints(&mut project.assay(&["plan", "--json"]), 0, &[])).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len() + 2, plan.lines().count());
    assert_eq!(rows[0]["claim"], "A2-1");
    for row in rows {
        let decision = row["decision"].as_str().unwrap();
        assert!(["run", "record", "skip"].contains(&decision), "{row}");
        assert_eq!(row["reason"].is_null(), decision == "run", "{row}");
        let text = fs::read_to_string(project.path(row["feature"].as_str().unwrap())).unwrap();
        let line = text.lines().nth(row["line"].as_u64().unwrap() as usize - 1).unwrap();
        let is_row = line.trim_start().starts_with('|');
        assert!(is_row || line.ends_with(row["scenario"].as_str().unwrap()), "{row}: {line}");
    }
    project.assert_unused();
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_build_without_aws_says_which_command_looks_there() {
    let project = Project::new();
    let command = "`cargo run --features aws -- gc`";
    prints(&mut project.assay(&["gc", "--region", "us-east-1"]), 2, &["this build has no AWS", command]);
    let cache = project.path("another");
    let cleanup = cache.join("journals/killed.jsonl");
    fs::create_dir_all(cleanup.parent().unwrap()).unwrap();
    fs::write(&cleanup, "{\"kind\":\"cloud\",\"run\":\"killed\",\"region\":\"us-east-1\",\"endpoint\":null}\n")
        .unwrap();
    let mut gc = project.assay(&["gc"]);
    prints(gc.env("ASSAY_CACHE", &cache), 3, &["what run killed made in us-east-1 may be left", command]);
    assert!(cleanup.exists());
}

#[test]
fn a_missing_tool_is_told_at_once_with_its_remedy() {
    let project = Project::new();
    let says = |command: &mut Command, missing: &str| {
        let printed = format!("assay: {missing} is not installed: ci/setup");
        prints(command, 3, &[&printed, " does that; `cargo run -- doctor --target "]);
    };
    let [amd64, arm64] = ["qemu-system-x86_64", "qemu-system-aarch64"];
    let machine = [amd64, "qemu-img", "setpriv"];
    for (target, tags, programs, missing) in [
        ("vm:amd64", "@A5-4", &[][..], amd64),
        ("vm:amd64", "@A2-4", &["podman"], amd64),
        ("vm:amd64", "@A6-4", &["podman"], amd64),
        ("vm:amd64", "@A10-1", &["podman"], amd64),
        ("vm:amd64", "@A5-4", &machine, "mmdebstrap"),
        ("vm:amd64", "@A5-6", &machine, "podman"),
        ("vm:amd64", "@A3-1", &machine, "podman"),
        ("vm:amd64", "@A4-2", &machine, "podman"),
        ("vm:arm64", "@A5-4", &["podman"], arm64),
        // The control of an arm64 claim needs a machine of another architecture.
        ("vm:arm64", "@A5-2", &["podman"], amd64),
    ] {
        let mut run = project.run(&["--target", target, "--tags", tags]);
        says(run.env("PATH", project.only(programs)), missing);
    }
    let mut given = project.run(&["--tags", "@A8-4", "--image", "localhost/hello:1"]);
    says(given.env("PATH", project.only(&[])), "podman");
    let mut setup = project.assay(&["setup", "vm:amd64"]);
    assert!(!project.path("target").exists(), "no run has begun");
    says(setup.env("PATH", project.only(&machine)), "mmdebstrap");
}

#[test]
fn every_claim_is_told_with_where_it_is_covered() {
    let project = Project::new();
    let rows: Value = serde_json::from_str(&prints(&mut project.assay(&["plan", "--json"]), 0, &[])).unwrap();
    let count = |control: bool| rows.as_array().unwrap().iter().filter(|row| row["control"] == control).count();
    let claims = prints(&mut project.assay(&["coverage", "--json"]), 0, &[]);
    let claims: Vec<Value> = serde_json::from_str(&claims).unwrap();
    let all = |list: &str| claims.iter().map(|claim| claim[list].as_array().unwrap().len()).sum::<usize>();
    assert_eq!((all("scenarios"), all("controls")), (count(false), count(true)));
    assert!(claims.iter().all(|claim| claim["targets"]["vm:arm64"]["decision"].is_string()));
    let aws = "needs an AWS account: ci/e2e --target ec2";
    for target in ["podman", "ssh://a@b"] {
        prints(&mut project.assay(&["coverage", "--target", target]), 0, &[target, aws]);
    }
    let arm64 = ["judged on vm:arm64", "not covered: A4-1", aws];
    let one = prints(&mut project.assay(&["coverage", "--target", "vm:arm64"]), 0, &arm64);
    assert!(!one.contains("vm:amd64"), "{one}");
    let ec2 = ["judged on ec2, 0 only recorded", "0 NOT covered"];
    prints(&mut project.assay(&["coverage", "--target", "ec2"]), 0, &ec2);
    project.assert_unused();
}

#[test]
fn what_runs_have_left_is_removed() {
    let project = Project::new();
    prints(&mut project.assay(&["gc"]), 0, &["nothing to remove"]);
    let [left, journals, image] = ["left", "cache/journals", "cache/machines/0123"].map(|name| project.path(name));
    [&left, &journals, &image].iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    fs::write(image.join("manifest.json"), "{}").unwrap();
    let resource = json!({ "kind": "path", "path": left });
    fs::write(journals.join("killed.jsonl"), format!("{resource}\n")).unwrap();

    let would = ["would remove ", "/left", "/cache/machines/0123"];
    prints(&mut project.assay(&["gc", "--images", "--dry-run"]), 0, &would);
    assert!(left.exists() && image.exists());
    let printed = |command: &mut Command| serde_json::from_str::<Value>(&prints(command, 0, &[])).unwrap();
    assert_eq!(printed(&mut project.assay(&["gc", "--json"])), json!({ "removed": [left], "cleanup_errors": [] }));
    assert!(!left.exists() && image.exists());
    let live = assay::exec::cleanup::CleanupJournal::open(&journals, "live").unwrap();
    prints(&mut project.assay(&["gc", "--images"]), 3, &["cache/machines/0123 is left, for a run is under way"]);
    drop(live);
    let removed = json!({ "removed": [image], "cleanup_errors": [] });
    assert_eq!(printed(&mut project.assay(&["gc", "--images", "--json"])), removed);
    assert!(!image.exists());
}

#[test]
fn selfcheck_gives_its_score() {
    let project = Project::new();
    let score: Value = serde_json::from_str(&prints(&mut project.assay(&["selfcheck", "--json"]), 0, &[])).unwrap();
    assert!(score["mutants"].as_u64() > Some(1000) && score["caught"] == score["mutants"], "{score}");
    assert_eq!(score["survivors"], json!([]));
    prints(&mut project.assay(&["selfcheck"]), 0, &["A2-2", "over its bound", "0 survived: 100.0 %"]);
}

#[test]
fn what_fails_is_tried_again_where_asked_and_every_attempt_is_kept() {
    let project = Project::new();
    project.change("features/a8_findings.feature", "72 %", "82 %");
    let again = ["✘ A8-4", "retrying 1 scenarios (attempt 2)", "fails (attempt 2)"];
    prints(&mut project.run(&["--tags", "@A8-4", "--retries", "1"]), 1, &again);
    let verdicts = project.verdicts();
    let claim = verdicts["claims"].as_array().unwrap().iter().find(|claim| claim["id"] == "A8-4").unwrap();
    let tried = |scenario: &Value| scenario["attempts"].as_array().unwrap().len();
    assert_eq!(
        (tried(&claim["scenarios"][0]), tried(&claim["controls"][0])),
        (2, 1),
        "the control was caught the first time"
    );
    let alone =
        ["? A8-4", "its control \"A wrong figure is rejected\" did not run", "0 hold, 0 fail", "1 inconclusive"];
    prints(&mut Project::new().run(&["--tags", "@A8-4 and not @control"]), 3, &alone);
}

#[test]
fn errors_that_end_scenarios_point_to_the_doctor_once() {
    let project = Project::new();
    // Without cargo, neither guest can be built.
    let mut run = project.run(&["--tags", "@A2-1 or @A2-2"]);
    let printed = prints(run.env("PATH", project.only(&[])), 3, &["2 inconclusive"]);
    assert_eq!(printed.matches("-- doctor").count(), 1, "{printed}");
    assert!(printed.contains("were ended by errors, not by a check: `cargo run -- doctor --target "), "{printed}");
}
