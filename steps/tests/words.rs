//! What users read, word for word: help, errors, plans and reports. Each file in `steps/tests/words/` holds commands,
//! as lines that begin with `$`, with what they print and their exit status. To add one, add its line. After a change,
//! `INSTA_UPDATE=always cargo test --test cli -- words` writes the files anew, and the diff shows them for review.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use crate::{PROJECT, Project, files};

/// The programs of the sessions' own lines.
const TOOLS: [&str; 11] = ["cat", "env", "grep", "head", "ls", "rm", "sed", "setsid", "sh", "ssh", "tar"];

/// Runs each command of a file in a project of its own, and compares what they print with the file. None of them begins
/// a run that would leave evidence.
fn compare(name: &str) {
    let file = Path::new(PROJECT).join("steps/tests/words").join(name).with_extension("snap");
    let programs = Path::new(env!("CARGO_BIN_EXE_assay")).parent().unwrap().display();
    let mut session = String::new();
    for line in fs::read_to_string(file).unwrap().lines().filter_map(|line| line.strip_prefix("$ ")) {
        let project = Project::new();
        // What this host has otherwise would change what is said. Some mistakes are found only after a look for Podman,
        // which is not started.
        let path = project.only(&["podman"]);
        TOOLS.iter().for_each(|tool| symlink(Path::new("/bin").join(tool), path.join(tool)).unwrap());
        let path = format!("{}:{programs}", path.display());
        let mut shell = project.command("/bin/sh", &["-c", line]);
        let Output { status, stdout, stderr } = shell.env("PATH", path).output().unwrap();
        let printed = String::from_utf8([stdout, stderr].concat()).unwrap();
        let printed = printed.replace(project.path("").to_str().unwrap(), "PROJECT/");
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        session += &format!("$ {line}\n{}\n[{}]\n\n", lines.join("\n"), status.code().unwrap());
        let left = ["target", "cache", "own"].map(|folder| files(&project.path(folder))).concat();
        assert!(left.is_empty(), "{line} leaves {left:?}");
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("words");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, session));
}

#[test]
fn words() {
    let files = ["help", "errors-of-options", "errors-in-features", "errors-in-bundles", "plan", "report"];
    std::thread::scope(|scope| files.into_iter().for_each(|name| drop(scope.spawn(move || compare(name)))));
}
