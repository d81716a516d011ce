//! What users type, and what they read: the real programs, with neither a machine nor a network.

mod benches;
mod bundles;
mod cannot;
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
use serde_json::Value;
use tempfile::TempDir;

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// A program that takes longer hangs; a busy host is slow, which is not the program's fault.
const LIMIT: Duration = Duration::from_secs(180);

/// A copy of the project's files in a folder for one test, with an empty cache beside it.
struct Project(TempDir);

impl Project {
    fn new() -> Project {
        let folder = tempfile::tempdir().unwrap();
        for part in ["features", "fixtures"] {
            copy(&Path::new(PROJECT).join(part), &folder.path().join(part));
        }
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
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

    /// Returns a `PATH` that has these programs and no others. What they do does not matter, because none of them is
    /// started.
    fn only(&self, programs: &[&str]) -> PathBuf {
        let folder = self.path("bin");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for program in programs {
            fs::write(folder.join(program), "#!/bin/sh\nexit 9\n").unwrap();
            fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
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

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Asserts how a program ended and that it printed all these texts, and returns its standard output.
fn told(command: &mut Command, code: i32, texts: &[&str]) -> String {
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

const TARGETS: &str = "is not a target: write vm, vm:amd64, vm:arm64, podman, ssh://user@host[:port] or ec2";

#[test]
fn a_wrong_target_is_told_which_there_are() {
    let project = Project::new();
    told(&mut project.run(&["--target", "docker"]), 2, &["assay: \"docker\"", TARGETS]);
    told(project.run(&[]).env("ASSAY_TARGET", "vm:vax"), 2, &["assay: ASSAY_TARGET: \"vm:vax\"", TARGETS]);
    told(&mut project.assay(&["plan", "--target", "docker"]), 2, &["assay: \"docker\"", TARGETS]);
    told(project.assay(&["setup"]).env("ASSAY_TARGET", "vm:vax"), 2, &["assay: ASSAY_TARGET: \"vm:vax\"", TARGETS]);
    let elsewhere = "assay: target ec2 is not a virtual machine on this host: use vm, vm:amd64 or vm:arm64";
    told(&mut project.assay(&["setup", "ec2"]), 2, &[elsewhere]);
    for target in ["podman", "ssh://a@b"] {
        let unseen =
            format!("assay: the architecture of {target} is not known yet: run `ci/e2e --target {target} --plan`");
        told(&mut project.assay(&["plan", "--target", target]), 2, &[&unseen]);
        told(&mut project.assay(&["setup", target]), 2, &[&elsewhere.replace("ec2", target)]);
        told(&mut project.assay(&["coverage", "--target", target]), 0, &[target, "needs an AWS account"]);
    }
}

#[test]
fn a_machine_that_does_not_answer_is_told_at_once_and_nothing_is_begun() {
    let project = Project::new();
    // A port on which nothing listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = format!("ssh://nobody@127.0.0.1:{port}");
    for more in [&["--plan"][..], &[]] {
        let mut run = project.run(&[&["--target", target.as_str()], more].concat());
        let said = format!("assay: nobody@127.0.0.1:{port}: no SSH connection to 127.0.0.1:{port}: ");
        told(&mut run, 3, &[&said, &format!("; `cargo run -- doctor --target {target}` tries all that a run needs")]);
    }
    let mut doctor = project.assay(&["doctor", "--target", &target]);
    let said = told(&mut doctor, 1, &[&format!("✘ {target}: login"), "no SSH connection to ", "does not work here: "]);
    assert!(said.contains("is that its port? then ask again"), "{said}");
    assert!(!project.path("target/assay").exists(), "there is evidence of nothing");
}

#[test]
fn what_is_about_somebody_elses_machine_is_for_no_other() {
    let project = Project::new();
    let said = "only applies to --target ssh://…";
    told(&mut project.run(&["--provision"]), 2, &["--provision", said]);
    told(&mut project.run(&["--target", "podman", "--host-key", "SHA256:x"]), 2, &["--host-key", said]);
    let wrong = ["--target", "ssh://a@127.0.0.1:1", "--host-key", "MD5:00", "--plan"];
    told(
        &mut project.run(&wrong),
        2,
        &["assay: --host-key MD5:00 is not a fingerprint: give SHA256: and 43 characters"],
    );
}

#[test]
fn wrong_options_are_told_what_is_right() {
    let project = Project::new();
    for (arguments, said) in [
        (&["--targt", "vm"][..], "unexpected argument '--targt'"),
        (&["--shard", "4/3"], "\"4/3\" is not a shard: write the first of three as 1/3"),
        (&["--shard", "one"], "\"one\" is not a shard"),
        (&["--runs", "0"], "0 is not in 1..=100"),
        (&["--concurrency", "0"], "invalid value '0'"),
        (&["--tags", "@A6-4 or"], "invalid value '@A6-4 or'"),
        (&["--name", "("], "invalid value '('"),
        (&["--tags", "@A6-4", "--name", "x"], "cannot be used with"),
        (&["--tags", "@A99-1"], "matches: --plan shows them all"),
        (&["--name", "no such scenario"], "matches: --plan shows them all"),
    ] {
        told(&mut project.run(arguments), 2, &[said]);
    }
    told(&mut project.assay(&[]), 2, &["Usage: assay"]);
    told(&mut project.assay(&["conquer"]), 2, &["unrecognized subcommand 'conquer'"]);
    told(&mut project.assay(&["gc", "--imgs"]), 2, &["unexpected argument '--imgs'"]);
    assert!(!project.path("target").exists() && !project.path("cache").exists(), "bad input leaves nothing");
}

#[test]
fn an_image_that_is_none_is_refused_before_anything_runs() {
    let project = Project::new();
    let path = project.only(&["podman"]);
    told(&mut project.run(&["--image", "oci:/nowhere"]), 2, &["there is no folder /nowhere"]);
    told(&mut project.run(&["--image", "oci-archive:/nowhere.tar"]), 2, &["there is no file /nowhere.tar"]);
    told(&mut project.run(&["--image", "Hello world"]), 2, &["write oci:FOLDER, oci-archive:FILE or HOST/NAME:TAG"]);
    assert!(!project.path("target").exists());
    // From here on a run has begun; it must leave nothing either.
    let image = format!("oci:{}", project.path("features").display());
    let mut folder = project.run(&["--tags", "@A3-1", "--image", &image]);
    told(folder.env("PATH", &path), 2, &[&project.path("features").display().to_string(), "OCI"]);
    let image = format!("oci-archive:{}", project.path("features/claims.toml").display());
    let mut file = project.run(&["--tags", "@A3-1", "--image", &image]);
    told(file.env("PATH", &path), 2, &["claims.toml is not a tar archive"]);
    let image = format!("oci:{}", project.path("fixtures").display());
    let mut elsewhere = project.run(&["--tags", "@A3-1", "--image", &image, "--evidence", "own"]);
    told(elsewhere.env("PATH", &path), 2, &["OCI"]);
    assert!(!project.path("own").exists());
    let left: Vec<_> = fs::read_dir(project.path("target/assay")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn evidence_is_never_mixed() {
    let project = Project::new();
    told(&mut project.run(&["--tags", "@A8-4", "--evidence", "features"]), 2, &["is not empty", "name a new folder"]);
    told(&mut project.run(&["--tags", "@A8-4", "--evidence", "features/claims.toml/x"]), 2, &["--evidence"]);
}

#[test]
fn what_is_wrong_with_the_projects_files_is_told_with_its_place() {
    let said = |changes: &[[&str; 3]], commands: &[&[&str]], texts: &[&str]| {
        let project = Project::new();
        changes.iter().for_each(|[file, from, to]| project.change(file, from, to));
        for command in commands {
            told(&mut project.assay(command), 2, texts);
        }
    };
    let (run, plan) = (&["run"][..], &["plan"][..]);
    let step = ["features/a2_build.feature", "Then the compiler exits with code 0", "Then the compiler is happy"];
    let undefined = "\"Then the compiler is happy\" is an undefined step";
    said(&[step], &[run], &["  features/a2_build.feature:", undefined]);
    let texts = ["  features/a5_device.feature:", "there is no claim @A5-44", "claim A5-4 has no scenario"];
    said(&[["features/a5_device.feature", "@A5-4", "@A5-44"]], &[run, plan], &texts);
    let changes = [
        ["features/claims.toml", "control = \"runc\"\n", ""],
        ["features/a5_device.feature", "But this check fails on \"machine.memory\"", "And so on"],
        ["features/a6_service.feature", "@A6-1 @control", "@A6-2 @control"],
    ];
    let texts = [
        "features/a5_device.feature:12: \"A machine with 1 GiB of memory is rejected\" could never be caught: end it with",
        "\"A runtime without WebAssembly support is rejected\" is a control that claim A5-5 does not declare",
        "features/a6_service.feature:5: claim A6-1 names a control that no scenario has (Quadlet with a bad key)",
    ];
    said(&changes, &[&["run", "--plan"], plan], &texts);
    let unbound = ["features/claims.toml", "bound = \"exit 0, one .wasm, the same twice\"", "bound = \"\""];
    said(&[unbound], &[run], &["features/claims.toml: claim A2-1: its bound is empty: write what it is"]);
    let texts = ["features/claims.toml: ", "unknown field `bond`"];
    said(&[["features/claims.toml", "bound =", "bond ="]], &[run], &texts);
    let texts = ["features/deviations.toml: ", "unknown field `expire`"];
    said(&[["features/deviations.toml", "expires =", "expire ="]], &[plan], &texts);

    let project = Project::new();
    let file = project.path("fixtures/machines/nano.toml");
    fs::write(&file, format!("colour = \"red\"\n{}", fs::read_to_string(&file).unwrap())).unwrap();
    let texts = [file.to_str().unwrap(), "line 1: unknown field `colour`"];
    told(&mut project.run(&[]), 2, &texts);
    told(&mut project.assay(&["setup"]), 2, &texts);

    fs::remove_dir_all(project.path("features")).unwrap();
    told(&mut project.assay(&["plan"]), 2, &["is not the project's folder", "set ASSAY_ROOT"]);
}

#[test]
fn a_missing_tool_is_told_at_once_with_its_remedy() {
    let project = Project::new();
    let without = |programs: &[&str], arguments: &[&str], missing: &str| {
        let said = format!("assay: {missing} is not installed: ci/setup does that; `cargo run -- doctor --target vm:");
        told(project.run(arguments).env("PATH", project.only(programs)), 3, &[&said]);
        assert!(!project.path("target").exists(), "it is said before a run begins");
    };
    let machine = [qemu(), "qemu-img", "setpriv"];
    without(&[], &["--tags", "@A5-4"], qemu());
    without(&["podman"], &["--tags", "@A2-4"], qemu());
    without(&["podman"], &["--tags", "@A6-4"], qemu());
    without(&["podman"], &["--tags", "@A10-1"], qemu());
    without(&machine, &["--tags", "@A5-4"], "mmdebstrap");
    without(&machine, &["--tags", "@A5-6"], "podman");
    without(&machine, &["--tags", "@A3-1"], "podman");
    without(&machine, &["--tags", "@A4-2"], "podman");
    without(&[], &["--tags", "@A8-4", "--image", "localhost/hello:1"], "podman");
    // The control of an arm64 claim needs a machine of another architecture.
    let foreign = |tags: &str, missing: &str| {
        let mut run = project.run(&["--target", "vm:arm64", "--tags", tags]);
        told(run.env("PATH", project.only(&["podman"])), 3, &[&format!("assay: {missing} is not installed: ci/setup")]);
    };
    foreign("@A5-4", "qemu-system-aarch64");
    foreign("@A5-2", "qemu-system-x86_64");
    let said = "assay: mmdebstrap is not installed: ci/setup does that; `cargo run -- doctor --target vm:";
    told(project.assay(&["setup"]).env("PATH", project.only(&machine)), 3, &[said]);
}

#[test]
fn a_claim_that_needs_no_tool_is_judged_without_any() {
    let project = Project::new();
    let mut run = project.run(&["--tags", "@A8-4"]);
    let said = told(run.env("PATH", project.only(&[])), 0, &["✔ A8-4"]);
    assert!(said.trim_end().lines().last().unwrap().contains("1 hold, 0 fail"), "{said}");
    let verdicts = project.verdicts();
    assert_eq!((&verdicts["exit"], &verdicts["complete"]), (&Value::from(0), &Value::from(true)));
}

#[test]
fn a_mirror_that_does_not_answer_is_told_by_its_address() {
    let project = Project::new();
    let makers = [qemu(), "qemu-img", "setpriv", "mmdebstrap", "mke2fs", "dpkg-query", "unshare", "podman"];
    let path = project.only(&makers);
    // These are started before the mirror is asked: Podman gives an ordinary user a namespace to make the image in.
    fs::write(path.join("podman"), "#!/bin/sh\n").unwrap();
    fs::write(path.join(qemu()), "#!/bin/sh\necho QEMU emulator version 10.0.2\n").unwrap();
    let mirror = "http://127.0.0.1:9/debian";
    let said = ["mirror http://127.0.0.1:9/debian does not give debian-13", "set ASSAY_MIRROR to one that does"];
    told(project.assay(&["setup"]).env("ASSAY_MIRROR", mirror).env("PATH", &path), 3, &said);
    let mut run = project.run(&["--tags", "@A5-4"]);
    told(run.env("ASSAY_MIRROR", mirror).env("PATH", &path), 3, &[said[0], said[1], "1 inconclusive"]);
}

#[test]
fn both_programs_plan_alike() {
    let project = Project::new();
    let plan = told(&mut project.assay(&["plan", "--target", "vm:arm64"]), 0, &["on vm:arm64:", "scenarios would run"]);
    assert_eq!(told(&mut project.run(&["--plan", "--target", "vm:arm64"]), 0, &[]), plan);
    let rows: Value = serde_json::from_str(&told(&mut project.assay(&["plan", "--json"]), 0, &[])).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len() + 2, plan.lines().count());
    assert_eq!(rows[0]["claim"], "A2-1");
    for row in rows {
        let decision = row["decision"].as_str().unwrap();
        assert!(["run", "record", "skip"].contains(&decision), "{row}");
        assert_eq!(row["reason"].is_null(), decision == "run", "{row}");
        let text = fs::read_to_string(project.path(row["feature"].as_str().unwrap())).unwrap();
        let line = text.lines().nth(row["line"].as_u64().unwrap() as usize - 1).unwrap();
        assert!(line.ends_with(row["scenario"].as_str().unwrap()), "{row}: {line}");
    }
    assert!(!project.path("target").exists() && !project.path("cache").exists(), "a plan leaves nothing");
}

#[test]
fn every_claim_is_told_with_where_it_is_covered() {
    let project = Project::new();
    let rows: Value = serde_json::from_str(&told(&mut project.assay(&["plan", "--json"]), 0, &[])).unwrap();
    let count = |control: bool| rows.as_array().unwrap().iter().filter(|row| row["control"] == control).count();
    let claims = told(&mut project.assay(&["coverage", "--json"]), 0, &[]);
    let claims: Vec<Value> = serde_json::from_str(&claims).unwrap();
    let controls = claims.iter().map(|claim| claim["controls"].as_array().unwrap().len());
    assert_eq!((claims.len(), controls.sum::<usize>()), (count(false), count(true)));
    assert!(claims.iter().all(|claim| claim["targets"]["vm:arm64"]["decision"].is_string()));
    let table = told(&mut project.assay(&["coverage"]), 0, &["bound: ", "0 NOT covered"]);
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
    let one = told(&mut project.assay(&["coverage", "--target", "vm:arm64"]), 0, &["judged on vm:arm64"]);
    assert!(one.contains("not covered: A4-1") && one.contains("needs an AWS account: ci/e2e --target ec2"), "{one}");
    assert!(!one.contains("vm:amd64"), "{one}");
    let all = told(&mut project.assay(&["coverage", "--target", "ec2"]), 0, &["judged on ec2, 0 only recorded"]);
    assert!(all.contains("0 NOT covered"), "{all}");

    project.change("features/a5_device.feature", "@A5-4", "@A5-44");
    project.change("features/a3_image.feature", "@A3-1", "@slow");
    let texts = [
        "  features/a3_image.feature:",
        "carries no claim",
        "  features/a5_device.feature:",
        "there is no claim @A5-44",
        "claim A3-1 has no scenario",
        "claim A5-4 has no scenario",
    ];
    told(&mut project.assay(&["coverage"]), 2, &texts);
    told(&mut project.assay(&["coverage", "--json"]), 2, &texts);
    assert!(!project.path("target").exists() && !project.path("cache").exists(), "a plan leaves nothing");
}

#[test]
fn what_runs_have_left_is_removed() {
    let project = Project::new();
    told(&mut project.assay(&["gc"]), 0, &["nothing to remove"]);
    let [left, journals, image] = ["left", "cache/journals", "cache/machines/0123"].map(|name| project.path(name));
    for folder in [&left, &journals, &image] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(image.join("manifest.json"), "{}").unwrap();
    let resource = serde_json::json!({ "kind": "path", "path": left });
    fs::write(journals.join("killed.jsonl"), format!("{resource}\n")).unwrap();

    told(&mut project.assay(&["gc", "--images", "--dry-run"]), 0, &["would remove ", "/left", "/cache/machines/0123"]);
    assert!(left.exists() && image.exists());
    let said = |command: &mut Command| serde_json::from_str::<Value>(&told(command, 0, &[])).unwrap();
    let expected = serde_json::json!({ "removed": [left], "troubles": [] });
    assert_eq!(said(&mut project.assay(&["gc", "--json"])), expected);
    assert!(!left.exists() && image.exists());
    let living = assay::internal::cleanup::CleanupJournal::open(&journals, "living").unwrap();
    told(&mut project.assay(&["gc", "--images"]), 3, &["cache/machines/0123 is left, for a run is under way"]);
    drop(living);
    let expected = serde_json::json!({ "removed": [image], "troubles": [] });
    assert_eq!(said(&mut project.assay(&["gc", "--images", "--json"])), expected);
    assert!(!image.exists());
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_build_without_aws_says_which_command_looks_there() {
    let project = Project::new();
    let command = "`cargo run --features aws -- gc`";
    told(&mut project.assay(&["gc", "--region", "us-east-1"]), 2, &["this build has no AWS", command]);
    let cache = project.path("another");
    let cleanup = cache.join("journals/killed.jsonl");
    fs::create_dir_all(cleanup.parent().unwrap()).unwrap();
    fs::write(&cleanup, "{\"kind\":\"cloud\",\"run\":\"killed\",\"region\":\"us-east-1\",\"endpoint\":null}\n")
        .unwrap();
    let mut gc = project.assay(&["gc"]);
    told(gc.env("ASSAY_CACHE", &cache), 3, &["what run killed made in us-east-1 may be left", command]);
    assert!(cleanup.exists());
}

#[test]
fn selfcheck_gives_its_score_and_tells_what_is_no_run() {
    let project = Project::new();
    let score: Value = serde_json::from_str(&told(&mut project.assay(&["selfcheck", "--json"]), 0, &[])).unwrap();
    assert!(score["mutants"].as_u64() > Some(1000) && score["caught"] == score["mutants"], "{score}");
    assert_eq!(score["survivors"], serde_json::json!([]));
    told(&mut project.assay(&["selfcheck"]), 0, &["A2-2", "over its bound", "0 survived: 100.0 %"]);
    told(&mut project.assay(&["selfcheck", "guest"]), 2, &["cannot read guest", "target/assay/<run>"]);
    project.change("fixtures/selfcheck/samples.jsonl", "\"build.status\",", "\"build.state\",");
    let said = [
        "do not bear out the verdicts",
        "A2-1: stored as \"holds: build.status is 0",
        "build.status: 0 of 1 samples are there",
    ];
    told(&mut project.assay(&["selfcheck"]), 1, &said);
}

#[test]
fn what_fails_is_tried_again_where_asked_and_every_attempt_is_kept() {
    let project = Project::new();
    project.change("features/a8_findings.feature", "72 %", "82 %");
    told(&mut project.run(&["--tags", "@A8-4"]), 1, &["✘ A8-4", "0 hold, 1 fail"]);
    let again = ["retrying 1 scenarios (attempt 2)", "fails (attempt 2)", "attempt 1: fails"];
    told(&mut project.run(&["--tags", "@A8-4", "--retries", "1"]), 1, &again);
    let verdicts = project.verdicts();
    let claim = verdicts["claims"].as_array().unwrap().iter().find(|claim| claim["id"] == "A8-4").unwrap();
    let tried = |scenario: &Value| scenario["attempts"].as_array().unwrap().len();
    assert_eq!((tried(claim), tried(&claim["controls"][0])), (2, 1), "the control was caught the first time");
}

#[test]
fn a_claim_without_its_control_does_not_hold() {
    let project = Project::new();
    let mut run = project.run(&["--tags", "@A8-4 and not @control"]);
    told(&mut run, 3, &["? A8-4", "but its control was not run", "0 hold, 0 fail", "1 inconclusive"]);
}
