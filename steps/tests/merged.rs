//! Several runs in one bundle: merged by `assay merge`, or by a run on several targets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{Project, told};

/// Runs claims that need no machine on two targets, and returns the merged bundle.
fn both(project: &Project) -> PathBuf {
    let arguments = ["--target=vm:amd64", "--tags", "@A8-4", "--target", "vm:arm64", "--evidence=both"];
    let said = [
        "vm:amd64: target 1 of 2",
        "[vm:arm64] ✔ A8-4  holds",
        "vm:amd64: 1 hold, 0 fail, ",
        "vm:arm64: 1 hold, 0 fail, ",
        "exit status 0; evidence: ",
    ];
    told(&mut project.run(&arguments), 0, &said);
    project.path("both")
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn several_targets_are_planned_one_after_the_other_and_each_once() {
    let project = Project::new();
    let plan = ["--plan", "--target", "vm:amd64", "--target", "vm:arm64"];
    let said = told(&mut project.run(&plan), 0, &["on vm:amd64:\n", "\n\non vm:arm64:\n"]);
    let (first, second) = said.split_once("on vm:arm64:\n").unwrap();
    let why = "(needs an arm64 machine: --target vm:arm64)";
    assert!(first.contains(why) && !second.contains(why), "{said}");
    told(
        &mut project.run(&["--plan", "--target", "vm:arm64", "--target", "vm:arm64"]),
        2,
        &["vm:arm64 is named twice"],
    );
    let wrong = ["--target", "vm:amd64", "--target", "docker"];
    told(&mut project.run(&wrong), 2, &["assay: \"docker\" is not a target"]);
    // An option for the second target is not a mistake about the first.
    let down = ["--target", "vm:amd64", "--target", "ssh://a@127.0.0.1:1", "--provision", "--plan"];
    told(&mut project.run(&down), 3, &["on vm:amd64:", "assay: a@127.0.0.1:1: no SSH connection to 127.0.0.1:1"]);
    let paid = ["--plan", "--target", "vm:amd64", "--target", "ec2", "--max-cost", "0.04", "--spot", "--tags", "@A6-4"];
    told(&mut project.run(&paid), 0, &["on vm:amd64:", "the budget is $0.04", "on ec2:"]);
    let misplaced = ["--plan", "--target", "vm:amd64", "--target", "vm:arm64", "--max-cost", "0.04"];
    told(&mut project.run(&misplaced), 2, &["--max-cost only applies to --target ec2"]);
    assert!(!project.path("target").exists(), "nothing was begun");
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
    told(&mut project.assay(&["verify", "both"]), 0, &["✔ parts/vm-arm64: ", "everything agrees"]);
    told(&mut project.assay(&["report", "both"]), 0, &["as they were, to the byte; its parts keep theirs"]);
    told(&mut project.assay(&["report", "both", "--out", "elsewhere"]), 0, &["elsewhere/report.html"]);
    told(&mut project.assay(&["report", "both", "--sign", "x"]), 2, &["sign the runs, then merge them"]);
    let parts = "is merged of several runs: name one of them, ";
    told(&mut project.assay(&["compare", "both", "both/parts/vm-amd64"]), 2, &[parts, "both/parts/vm-arm64"]);
    told(&mut project.assay(&["selfcheck", "both"]), 2, &[parts]);
    told(&mut project.assay(&["compare", "both/parts/vm-amd64", "both/parts/vm-arm64"]), 0, &["A8-4"]);
    let path = folder.join("verdicts.json");
    fs::write(
        &path,
        fs::read_to_string(&path).unwrap().replacen("\"verdict\": \"holds\"", "\"verdict\": \"fails\"", 1),
    )
    .unwrap();
    told(&mut project.assay(&["verify", "both"]), 1, &["✘ verdicts.json: changed since it was sealed", "failed\n"]);
    told(
        &mut project.run(&["--target", "vm:amd64", "--target", "vm:arm64", "--evidence", "both"]),
        2,
        &["is not empty"],
    );
}

#[test]
fn runs_are_merged_into_a_new_folder_and_what_does_not_go_together_leaves_nothing() {
    let project = Project::new();
    both(&project);
    let [amd64, arm64] = ["both/parts/vm-amd64", "both/parts/vm-arm64"];
    let merge = |out: &str, parts: &[&str]| project.assay(&[&["merge", "-o", out], parts].concat());
    told(
        &mut merge("out/new", &[amd64, arm64]),
        0,
        &["vm:arm64: 1 hold, 0 fail", "out/new/parts/vm-arm64/report.html"],
    );
    told(&mut project.assay(&["verify", "out/new"]), 0, &["everything agrees"]);
    let facts: Value =
        serde_json::from_str(&told(&mut project.assay(&["merge", "-o", "o", amd64, "--json"]), 0, &[])).unwrap();
    assert_eq!((&facts["targets"], &facts["parts"][0]["target"]), (&json!(["vm:amd64"]), &json!("vm:amd64")));
    told(&mut merge("out/new", &[amd64, arm64]), 2, &["out/new is not empty: runs are merged into a new folder"]);
    told(&mut merge("both/parts/vm-amd64/in", &[amd64, arm64]), 2, &["is inside of ", "name a folder elsewhere"]);
    told(&mut merge("out/new/parts/more", &[amd64, arm64]), 2, &["out/new, which is sealed: name a folder elsewhere"]);
    told(&mut merge("none", &[amd64, amd64]), 2, &["are both run ", "name it once"]);
    told(&mut merge("none", &[amd64, "features"]), 2, &["features is not the whole folder of a run"]);
    told(&mut merge("none", &[amd64, "both"]), 2, &["is merged of several runs: name one of them"]);
    told(&mut project.run(&["--target", "vm:amd64", "--tags", "@A8-4", "--evidence", "again"]), 0, &[]);
    let twice = ["both/parts/vm-amd64 and ", "again have both judged A8-4 on vm:amd64: leave one of them out"];
    told(&mut merge("none", &[amd64, "again"]), 2, &twice);
    fs::write(project.path("again/junit.xml"), "").unwrap();
    told(
        &mut merge("none", &[arm64, "again"]),
        2,
        &["again is not what was sealed: junit.xml: changed", "assay verify again"],
    );
    fs::remove_file(project.path("again/SHA256SUMS")).unwrap();
    told(&mut merge("none", &[arm64, "again"]), 2, &["came to its end, but has no SHA256SUMS"]);
    let left = fs::read_dir(project.path("")).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| name.starts_with("none") || name.starts_with('.')).collect();
    assert!(left.is_empty() && !project.path("both/parts/vm-amd64/in").exists(), "{left:?}");
}

#[test]
fn a_run_that_was_killed_is_merged_as_far_as_it_came() {
    let project = Project::new();
    project.change("fixtures/selfcheck/run.json", "\"ended\": \"2026", "\"ended\": null, \"was\": \"2026");
    project.change("fixtures/selfcheck/verdicts.json", "\"complete\": true", "\"complete\": false");
    let mut merge = project.assay(&["merge", "-o", "out", "fixtures/selfcheck"]);
    told(&mut merge, 3, &["did not finish", "exit status 3; evidence: out"]);
    assert!(project.path("out/parts/vm-amd64/report.html").exists(), "the page of the whole leads there");
    assert!(!project.path("fixtures/selfcheck/report.html").exists(), "what is merged is left as it is");
    assert_eq!(json(&project.path("out/run.json"))["ended"], Value::Null);
    let killed = "parts/vm-amd64/SHA256SUMS: missing: the run was killed";
    told(&mut project.assay(&["verify", "out"]), 1, &[killed]);
}

#[test]
fn the_worst_of_the_targets_is_the_exit_status_and_a_mistake_leaves_nothing() {
    let project = Project::new();
    project.change("features/a8_findings.feature", "72 %", "82 %");
    let two = ["--target", "vm:amd64", "--target", "vm:arm64", "--tags", "@A8-4"];
    told(&mut project.run(&two), 1, &["✘ A8-4  vm:amd64, vm:arm64: fails: ", "exit status 1; evidence: "]);
    let run = fs::canonicalize(project.path("target/assay/latest")).unwrap();
    told(
        &mut project.assay(&["merge", "-o", "m", &run.join("parts/vm-arm64").display().to_string()]),
        1,
        &["a claim fails"],
    );
    // This is found only after the run has begun: its folder is removed again.
    let path = project.only(&["podman"]);
    let image = format!("oci:{}", project.path("features").display());
    let mut wrong = project.run(&[&two[..4], &["--tags", "@A3-1", "--image", &image, "--evidence", "own"]].concat());
    told(wrong.env("PATH", &path), 2, &["[vm:amd64] assay: ", "OCI", "stopped before vm:arm64"]);
    assert!(!project.path("own").exists());
}

/// Starts a run, interrupts it once it has printed a text, and returns its exit status and all its output.
fn interrupted(project: &Project, arguments: &[&str], path: &str, until: &str) -> (Option<i32>, String) {
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_assay"));
    run.args(["run", "--target", "vm:amd64", "--target", "vm:arm64", "--evidence", "run"]).args(arguments);
    run.current_dir(project.path("")).env("ASSAY_ROOT", project.path("")).env("ASSAY_CACHE", project.path("cache"));
    let said = fs::File::create(project.path("said")).unwrap();
    let mut run = run.env("PATH", path).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
    let pid = Pid::from_child(&run);
    let heard = || fs::read_to_string(project.path("said")).unwrap();
    let mut wait = |done: &mut dyn FnMut(Option<ExitStatus>) -> bool| {
        let begun = Instant::now();
        while !done(run.try_wait().unwrap()) {
            if begun.elapsed() > crate::LIMIT {
                run.kill().unwrap();
                panic!("nothing comes of it: {}", heard());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(&mut |ended| ended.is_some() || heard().contains(until) || project.path(until).exists());
    kill_process(pid, Signal::INT).unwrap();
    let mut status = None;
    wait(&mut |ended| {
        status = ended.and_then(|ended| ended.code());
        ended.is_some()
    });
    (status, heard())
}

#[test]
fn a_signal_ends_the_run_under_way_and_the_next_target_is_not_begun() {
    let project = Project::new();
    let path = project.only(&[]);
    let script = format!("#!/bin/sh\necho $$ >{}\nexec sleep 60\n", project.path("begun").display());
    fs::write(path.join("runc"), script).unwrap();
    fs::set_permissions(path.join("runc"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", path.display());
    let selection = ["--name", "A runtime without WebAssembly support"];
    let (status, said) = interrupted(&project, &selection, &path, "begun");
    assert_eq!(status, Some(3), "{said}");
    for text in
        ["stopped before vm:arm64", "? vm:arm64: no run on it is here", "vm:arm64: nothing was run", "exit status 3"]
    {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
    let pid = fs::read_to_string(project.path("begun")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "what the run had started is left");
    told(&mut project.assay(&["verify", "run"]), 0, &["everything agrees"]);
    told(&mut project.assay(&["report", "run"]), 0, &["as they were"]);
}

#[test]
fn what_is_kept_is_kept_until_a_signal_and_a_claim_that_fails_is_worse_than_that() {
    let project = Project::new();
    project.change("features/a8_findings.feature", "72 %", "82 %");
    let keep = ["--tags", "@A8-4", "--keep"];
    let (status, said) = interrupted(&project, &keep, "/usr/bin:/bin", "[vm:amd64] kept until you press Ctrl-C");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("vm:amd64: 0 hold, 1 fail") && said.contains("stopped before vm:arm64"), "{said}");
}
