//! What users read, word for word: help, errors, plans and reports. After a change of words,
//! `INSTA_UPDATE=always cargo test --test cli -- words` writes them anew, and the diff shows them for review.

use std::fs;
use std::process::Output;

use crate::Project;

/// Returns what each command prints and its exit status, without what differs between hosts and runs.
fn session(project: &Project, commands: &[&[&str]]) -> String {
    let mut session = String::new();
    for arguments in commands {
        let Output { status, stdout, stderr } = project.assay(arguments).output().unwrap();
        let printed = String::from_utf8([stdout, stderr].concat()).unwrap();
        let printed = printed.replace(project.path("").to_str().unwrap(), "PROJECT/");
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        session += &format!("$ assay {}\n{}\n[{}]\n\n", arguments.join(" "), lines.join("\n"), status.code().unwrap());
    }
    session
}

/// Compares a text with the file of this name in `steps/tests/words/`.
fn compare(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("words");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn help() {
    let project = Project::new();
    let commands = [
        "run",
        "doctor",
        "setup",
        "plan",
        "coverage",
        "init",
        "bench",
        "report",
        "compare",
        "merge",
        "verify",
        "selfcheck",
        "steps",
        "gc",
    ];
    let whole = session(&project, &[&["--help"]]);
    let each: Vec<String> = commands.iter().map(|command| session(&project, &[&[command, "--help"]])).collect();
    compare("help", &(whole + &each.concat()));
}

#[test]
fn errors_of_options() {
    let project = Project::new();
    let run = |options: &[&'static str]| [&["run"][..], options].concat();
    let commands = [
        run(&["--target", "docker"]),
        run(&["--target", "vm:vax"]),
        run(&["--target", "vm:amd64", "--target", "vm:amd64"]),
        run(&["--provision"]),
        run(&["--target", "podman", "--host-key", "SHA256:x"]),
        run(&["--target", "ssh://a@b", "--host-key", "MD5:00"]),
        run(&["--target", "vm:arm64", "--max-cost", "1"]),
        run(&["--target", "ec2", "--plan", "--max-cost", "a lot"]),
        run(&["--target", "ec2", "--plan", "--max-cost", "0.001"]),
        run(&["--subnet", "vpc-0a"]),
        run(&["--shard", "4/3"]),
        run(&["--tags", "@A6-4", "--name", "x"]),
        run(&["--target", "vm:amd64", "--tags", "@A99-1"]),
        run(&["--runs", "0"]),
        run(&["--image", "oci:/nowhere"]),
        run(&["--image", "oci-archive:/nowhere.tar"]),
        run(&["--image", "Hello world"]),
        run(&["--suite", "features", "--plan"]),
        run(&["--sign", "/nowhere", "--tags", "@A8-4"]),
        run(&["--evidence", "features", "--tags", "@A8-4"]),
        vec!["plan", "--target", "podman"],
        vec!["setup", "podman"],
        vec!["init", "Web"],
        vec!["init", "features"],
        vec!["frobnicate"],
    ];
    let commands: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
    compare("errors-of-options", &session(&project, &commands));
}

#[test]
fn errors_in_bundles() {
    let project = Project::new();
    let commands: [&[&str]; 8] = [
        &["verify", "nowhere"],
        &["verify", "features"],
        &["report", "nowhere"],
        &["compare", "fixtures/selfcheck"],
        &["compare", "fixtures/selfcheck", "features"],
        &["merge", "-o", "out", "features"],
        &["selfcheck", "features"],
        &["bench", "--times", "3"],
    ];
    compare("errors-in-bundles", &session(&project, &commands));
}

#[test]
fn errors_in_features() {
    let mut text = String::new();
    for (file, from, to) in [
        ("features/a2_build.feature", "Scenario: The module is small", "Scenario The module is small"),
        ("features/a2_build.feature", "smaller than 100 kB", "smaller than 100 apples"),
        ("features/a6_service.feature", "And its exit code is 0", "And its exit code is fine"),
        ("features/a5_device.feature", "@A5-4", "@A5-44"),
        ("features/a5_device.feature", "But this check fails on \"machine.memory\"", "And so on"),
        ("features/claims.toml", "id = \"A2-1\"", "id = \"A2\""),
        ("features/claims.toml", "control = \"runc\"\n", ""),
        ("features/deviations.toml", "A6-4", "A6-44"),
    ] {
        let project = Project::new();
        project.change(file, from, to);
        text += &format!("{file}: {from:?} → {to:?}\n{}", session(&project, &[&["run", "--plan"]]));
    }
    compare("errors-in-features", &text);
}

#[test]
fn plan() {
    compare("plan", &session(&Project::new(), &[&["plan", "--target", "vm:amd64"], &["coverage"]]));
}

#[test]
fn reports_of_a_run() {
    let project = Project::new();
    let made = session(&project, &[&["report", "-o", "out", "fixtures/selfcheck"]]);
    let read = |name: &str| fs::read_to_string(project.path("out").join(name)).unwrap();
    compare("report", &format!("{made}{}", read("summary.md")));
}
