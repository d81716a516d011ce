//! Several runs in one bundle: merged by `assay merge`, or by a run on several targets.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{Project, fake, prints};

/// Runs claims that need no machine on two targets, and returns the merged bundle.
fn both(project: &Project) -> PathBuf {
    let arguments = ["--target=vm:amd64", "--tags", "@A8-4", "--target", "vm:arm64", "--evidence=both"];
    let printed = [
        "vm:amd64: target 1 of 2",
        "[vm:arm64] ✔ A8-4  holds",
        "vm:amd64: 1 hold, 0 fail, ",
        "vm:arm64: 1 hold, 0 fail, ",
        "exit status 0; evidence: ",
    ];
    prints(&mut project.run(&arguments), 0, &printed);
    project.path("both")
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_run_on_several_targets_leaves_one_bundle_with_a_column_for_each() {
    let project = Project::new();
    let folder = both(&project);
    assert_eq!(fs::read_link(project.path("target/assay/latest")).unwrap(), folder.canonicalize().unwrap());
    for (target, part) in [("vm:amd64", "vm-amd64"), ("vm:arm64", "vm-arm64")] {
        let run = json(&folder.join("parts").join(part).join("run.json"));
        assert_eq!(run["target"], target);
        let line: Vec<&str> =
            run["command_line"].as_array().unwrap().iter().skip(1).filter_map(Value::as_str).collect();
        assert_eq!(line, ["run", "--target=vm:amd64", "--tags", "@A8-4", "--target", "vm:arm64", "--evidence=both"]);
    }
    let claims = json(&folder.join("verdicts.json"));
    let judged = claims["claims"].as_array().unwrap().iter().filter(|claim| claim["verdict"] == "holds");
    let judged: Vec<_> = judged.map(|claim| (claim["id"].as_str(), claim["target"].as_str())).collect();
    assert_eq!(judged, [(Some("A8-4"), Some("vm:amd64")), (Some("A8-4"), Some("vm:arm64"))]);
    prints(&mut project.assay(&["verify", "both"]), 0, &["✔ parts/vm-arm64: ", "everything agrees"]);
    prints(&mut project.assay(&["report", "both"]), 0, &["as they were, to the byte; its parts keep theirs"]);
    prints(&mut project.assay(&["report", "both", "--out", "elsewhere"]), 0, &["elsewhere/report.html"]);
    prints(&mut project.assay(&["compare", "both/parts/vm-amd64", "both/parts/vm-arm64"]), 0, &["A8-4"]);
    project.change("both/verdicts.json", "\"verdict\": \"holds\"", "\"verdict\": \"fails\"");
    prints(&mut project.assay(&["verify", "both"]), 1, &["✘ verdicts.json: changed since it was sealed", "failed\n"]);
    let again = ["--target", "vm:amd64", "--target", "vm:arm64", "--evidence", "both"];
    prints(&mut project.run(&again), 2, &["is not empty"]);
}

#[test]
fn runs_are_merged_into_a_new_folder() {
    let project = Project::new();
    both(&project);
    let [amd64, arm64] = ["both/parts/vm-amd64", "both/parts/vm-arm64"];
    let merge = |out: &str, parts: &[&str]| project.assay(&[&["merge", "-o", out], parts].concat());
    let printed = ["vm:arm64: 1 hold, 0 fail", "out/new/parts/vm-arm64/report.html"];
    prints(&mut merge("out/new", &[amd64, arm64]), 0, &printed);
    prints(&mut project.assay(&["verify", "out/new"]), 0, &["everything agrees"]);
    let facts: Value = serde_json::from_str(&prints(&mut merge("o", &[amd64, "--json"]), 0, &[])).unwrap();
    assert_eq!((&facts["targets"], &facts["parts"][0]["target"]), (&json!(["vm:amd64"]), &json!("vm:amd64")));
}

#[test]
fn a_run_that_was_killed_is_merged_as_far_as_it_came() {
    let project = Project::new();
    project.change("fixtures/selfcheck/run.json", "\"ended\": \"2026", "\"ended\": null, \"was\": \"2026");
    project.change("fixtures/selfcheck/verdicts.json", "\"complete\": true", "\"complete\": false");
    let mut merge = project.assay(&["merge", "-o", "out", "fixtures/selfcheck"]);
    prints(&mut merge, 3, &["did not finish", "exit status 3; evidence: out"]);
    assert!(project.path("out/parts/vm-amd64/report.html").exists(), "the page of the whole leads there");
    assert!(!project.path("fixtures/selfcheck/report.html").exists(), "what is merged is left as it is");
    assert_eq!(json(&project.path("out/run.json"))["ended"], Value::Null);
    let killed = "parts/vm-amd64/SHA256SUMS: missing: the run was killed";
    prints(&mut project.assay(&["verify", "out"]), 1, &[killed]);
}

#[test]
fn the_worst_of_the_targets_is_the_exit_status() {
    let project = Project::new();
    project.change("features/a8_findings.feature", "72 %", "82 %");
    let two = ["--target", "vm:amd64", "--target", "vm:arm64", "--tags", "@A8-4"];
    prints(&mut project.run(&two), 1, &["✘ A8-4  vm:amd64, vm:arm64: fails: ", "exit status 1; evidence: "]);
    let run = fs::canonicalize(project.path("target/assay/latest")).unwrap();
    let part = run.join("parts/vm-arm64").display().to_string();
    prints(&mut project.assay(&["merge", "-o", "m", &part]), 1, &["a claim fails"]);
    // This is found only after the run has begun: its folder is removed again.
    let wrong = ["--image", "oci:features", "--evidence", "own"];
    let mut wrong = project.run(&[&two[..4], &["--tags", "@A3-1"], &wrong].concat());
    let printed = ["[vm:amd64] assay: ", "OCI", "stopped before vm:arm64"];
    prints(wrong.env("PATH", project.only(&["podman"])), 2, &printed);
    assert!(!project.path("own").exists());
}

/// Starts a run, interrupts it once it has printed a text or made this file, and returns its exit status and all its
/// output.
fn interrupted(project: &Project, arguments: &[&str], path: &str, until: &str) -> (Option<i32>, String) {
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_assay"));
    run.args(["run", "--target", "vm:amd64", "--target", "vm:arm64", "--evidence", "run"]).args(arguments);
    run.current_dir(project.path("")).env("ASSAY_ROOT", project.path("")).env("ASSAY_CACHE", project.path("cache"));
    let printed = fs::File::create(project.path("said")).unwrap();
    let mut run = run.env("PATH", path).stdout(printed.try_clone().unwrap()).stderr(printed).spawn().unwrap();
    let heard = || fs::read_to_string(project.path("said")).unwrap();
    let begun = Instant::now();
    let mut interrupted = false;
    loop {
        if let Some(status) = run.try_wait().unwrap() {
            return (status.code(), heard());
        }
        if !interrupted && (heard().contains(until) || project.path(until).exists()) {
            kill_process(Pid::from_child(&run), Signal::INT).unwrap();
            interrupted = true;
        }
        if begun.elapsed() > crate::LIMIT {
            run.kill().unwrap();
            panic!("it does not end: {}", heard());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_signal_ends_the_run_under_way_and_the_next_target_is_not_begun() {
    let project = Project::new();
    let path = project.only(&[]);
    fake(&path, "runc", &format!("echo $$ >{}\nexec sleep 60", project.path("begun").display()));
    let path = format!("{}:/usr/bin:/bin", path.display());
    let selection = ["--name", "A runtime without WebAssembly support"];
    let (status, printed) = interrupted(&project, &selection, &path, "begun");
    assert_eq!(status, Some(3), "{printed}");
    for text in
        ["stopped before vm:arm64", "? vm:arm64: no run on it is here", "vm:arm64: nothing was run", "exit status 3"]
    {
        assert!(printed.contains(text), "no {text:?} in {printed}");
    }
    let pid = fs::read_to_string(project.path("begun")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "what the run had started is left");
    prints(&mut project.assay(&["verify", "run"]), 0, &["everything agrees"]);
    prints(&mut project.assay(&["report", "run"]), 0, &["as they were"]);
}

#[test]
fn what_is_kept_is_kept_until_a_signal_and_a_claim_that_fails_is_worse_than_that() {
    let project = Project::new();
    project.change("features/a8_findings.feature", "72 %", "82 %");
    let keep = ["--tags", "@A8-4", "--keep"];
    let (status, printed) = interrupted(&project, &keep, "/usr/bin:/bin", "[vm:amd64] kept until you press Ctrl-C");
    assert_eq!(status, Some(1), "{printed}");
    assert!(printed.contains("vm:amd64: 0 hold, 1 fail") && printed.contains("stopped before vm:arm64"), "{printed}");
}
