//! What users type and read, word for word. Each file in `steps/tests/words/` holds commands with what they print and
//! their exit status: `$` begins a line that runs in a project of its own, `+` one that goes on in the same project. To
//! add one, add its line. After a change, `INSTA_UPDATE=always cargo test --test cli -- words` writes the files anew, and
//! the diff shows them for review.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use regex::Regex;

use crate::{PROJECT, Project, fake, files};

/// The programs of the sessions' own lines.
const TOOLS: [&str; 26] = [
    "cat",
    "chmod",
    "cmp",
    "cp",
    "env",
    "find",
    "grep",
    "head",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "rm",
    "sed",
    "setsid",
    "sh",
    "sleep",
    "sort",
    "ssh",
    "ssh-add",
    "ssh-agent",
    "ssh-keygen",
    "tail",
    "tar",
    "tee",
    "truncate",
];

/// What differs from run to run, and what stands for it.
const VARYING: [(&str, &str); 12] = [
    (r"(?m)^(\[.*?\] )? *\d+\.\d s  ", "$1"),
    (r"\b20\d{6}-\d{6}-[0-9a-f]{4}\b", "RUN"),
    (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*Z?", "TIME"),
    (r"\b([0-9a-f]{64}|[0-9a-f]{40})\b", "DIGEST"),
    (r"files-[0-9a-f]{20}\b", "files-DIGEST"),
    (r"\d+ things? missing", "N things missing"),
    (r"SHA256:[\w+/]{43}", "SHA256:FINGERPRINT"),
    (r"the run took .*", "the run took TIME"),
    (r"(127\.0\.0\.1\]?:|-p |port )\d{5}\b", "${1}PORT"),
    (r"no such identity: \S+: No such file or directory; ", ""),
    (r"(?m)^trying: .*\n", ""),
    ("sudo apt-get", "apt-get"),
];

/// Runs each command of a file, and compares what they print with the file. Commands whose mistakes are found before
/// anything is begun leave nothing.
fn compare(name: &str) {
    let file = Path::new(PROJECT).join("steps/tests/words").join(name).with_extension("snap");
    let programs = Path::new(env!("CARGO_BIN_EXE_assay")).parent().unwrap().display().to_string();
    let varying = VARYING.map(|(pattern, shown)| (Regex::new(pattern).unwrap(), shown));
    let me = std::process::Command::new("id").arg("-un").output().unwrap().stdout;
    let me = String::from_utf8(me).unwrap().trim().to_owned();
    let mut session = String::new();
    let mut project = Project::new();
    for line in fs::read_to_string(file).unwrap().lines() {
        let Some((mark @ ("$" | "+"), command)) = line.split_once(' ') else { continue };
        if mark == "$" {
            project = Project::new();
            equip(&project);
        }
        let path = format!("{}:{programs}", project.path("bin").display());
        let mut shell = project.command("/bin/sh", &["-c", command]);
        // No session asks a mirror outside this host.
        shell
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", project.path(""))
            .env("USER", &me)
            .env_remove("SSH_AUTH_SOCK");
        shell.env("ASSAY_MIRROR", "http://127.0.0.1:9/debian");
        let Output { status, stdout, stderr } = shell.output().unwrap();
        let printed = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert!(!printed.contains("panicked"), "{printed}");
        let printed = printed
            .replace(project.path("").to_str().unwrap(), "PROJECT/")
            .replace(&format!("{programs}/"), "")
            .replace(&format!("{me}@"), "ME@")
            .replace(&format!("user {me}"), "user ME");
        let shown = |text: &str, (pattern, shown): &(Regex, &str)| pattern.replace_all(text, *shown).into_owned();
        let printed = varying.iter().fold(printed, |printed, one| shown(&printed, one));
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        session += &format!("{line}\n{}\n[{}]\n\n", lines.join("\n"), status.code().unwrap());
        let left = ["target", "cache", "own"].map(|folder| files(&project.path(folder))).concat();
        assert!(left.is_empty() || !name.starts_with("errors"), "{line} leaves {left:?}");
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("words");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, session));
}

/// Gives a project the only programs that its commands find: what this host has otherwise would change what is said.
/// Some mistakes are found only after a look for Podman, which is not started.
fn equip(project: &Project) {
    let path = project.only(&["podman", "newuidmap"]);
    TOOLS.iter().for_each(|tool| symlink(Path::new("/usr/bin").join(tool), path.join(tool)).unwrap());
    fake(&path, "fake", "rm -f bin/$1; printf '#!/bin/sh\\n%s\\n' \"$2\" >bin/$1; chmod +x bin/$1");
    for name in ["fit", "farm"] {
        fs::copy(format!("{PROJECT}/steps/tests/{name}.sh"), path.join(name)).unwrap();
    }
}

#[test]
fn words() {
    let folder = fs::read_dir(Path::new(PROJECT).join("steps/tests/words")).unwrap();
    let names = folder.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    let names: Vec<_> = names.filter(|name| !cfg!(feature = "aws") || name != "without-aws").collect();
    std::thread::scope(|scope| names.iter().for_each(|name| drop(scope.spawn(move || compare(name)))));
}
