//! What a host lacks, reported by a doctor that starts every program: here they are fakes that print what a test needs.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use serde_json::Value;

use crate::{Project, fake, prints, qemu};

/// Programs that print and do just enough for the host to be fit; tests leave out or replace some of them.
const FIT: [(&str, &str); 18] = [
    // Appears to compile: the file after -o exists afterwards.
    (
        "rustc",
        "case $1 in --version) echo 'rustc 1.95.0 (x 2026-01-01)';; esac\nwhile [ $# -gt 0 ]; do [ \"$1\" = -o ] && : >\"$2\"; shift; done",
    ),
    ("cargo", "echo 'cargo 1.95.0'"),
    ("git", "echo 'git version 2.39.5'"),
    ("ssh-keygen", "echo 'ssh-keygen -Y sign' >&2; exit 1"),
    ("setpriv", "echo 'setpriv from util-linux 2.38.1'"),
    (
        "podman",
        "case $1 in info) echo '4.3.1, storage overlay, cgroups v2';; unshare) echo '0 1000 1'; echo '1 100000 65536';; esac",
    ),
    ("runc", "echo 'runc version 1.1.5'"),
    ("crun", "echo 'crun version 1.8.1'"),
    ("qemu-system-x86_64", "echo 'QEMU emulator version 10.0.2'"),
    ("qemu-system-aarch64", "echo 'QEMU emulator version 10.0.2'"),
    ("qemu-img", "echo 'qemu-img version 10.0.2'"),
    ("mmdebstrap", "echo 'mmdebstrap 1.3.5'"),
    ("mke2fs", "echo 'mke2fs 1.47.0' >&2"),
    ("dpkg-query", "echo 'dpkg-query 1.21.22'"),
    ("unshare", "echo 'unshare from util-linux 2.38.1'"),
    ("mount", "echo 'mount from util-linux 2.38.1'"),
    ("gpg", "echo 'gpg (GnuPG) 2.2.40'"),
    ("arch-test", "exit 0"),
];

/// Returns a `PATH` of fakes, without one of them.
fn without(project: &Project, missing: &str) -> PathBuf {
    let folder = project.only(&[]);
    FIT.iter().filter(|(name, _)| *name != missing).for_each(|(name, script)| fake(&folder, name, script));
    folder
}

/// Returns one of the doctor's checks as an object.
fn check(project: &Project, path: &PathBuf, name: &str) -> Value {
    found(&examined(project, path, "vm").1, name)
}

fn found(diagnosis: &Value, name: &str) -> Value {
    let checks = diagnosis["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {diagnosis}")).clone()
}

/// Prepares the doctor, which asks no mirror outside this host.
fn doctor(project: &Project, path: &PathBuf, arguments: &[&str]) -> Command {
    let mut command = project.assay(&[&["doctor"], arguments].concat());
    command.env("PATH", path).env("ASSAY_MIRROR", "http://127.0.0.1:9/debian");
    command
}

/// Returns the exit status and the diagnosis.
fn examined(project: &Project, path: &PathBuf, target: &str) -> (i32, Value) {
    let output = doctor(project, path, &["--json", "--target", target]).output().unwrap();
    let diagnosis = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), diagnosis)
}

#[test]
fn what_is_wrong_with_a_program_is_told_with_its_remedy() {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let card = format!("network card of {arch} machines");
    let no_card = "case $1 in --version) echo 'QEMU emulator version 10.0.2';; *) echo 'no romfile' >&2; exit 1;; esac";
    let (broken, old) = ("echo 'Error: no storage' >&2; exit 125", "echo QEMU emulator version 7.2.17");
    let project = Project::new();
    for (program, script, name, state, found, remedy) in [
        ("podman", None, "podman", "missing", "not installed", "apt-get install podman"),
        ("qemu-img", None, "qemu-img", "missing", "not installed", "apt-get install qemu-utils"),
        ("mmdebstrap", None, "mmdebstrap", "missing", "not installed", "apt-get install mmdebstrap"),
        // No run needs these.
        ("git", None, "git (notes the commit)", "warning", "not installed", "apt-get install git"),
        ("ssh-keygen", None, "ssh-keygen (for --sign)", "warning", "not installed", "apt-get install openssh-client"),
        ("crun", None, "crun", "warning", "not installed", "apt-get install crun"),
        ("podman", Some(broken), "podman", "missing", "exit code 125: Error: no storage", "--reinstall podman"),
        (qemu(), Some(old), qemu(), "missing", "too old: qemu 7.2.17 crashes guests", "qemu-system-"),
        (qemu(), Some(no_card), &card, "missing", "no romfile", "apt-get install ipxe-qemu"),
    ] {
        let path = without(&project, program);
        script.iter().for_each(|script| fake(&path, program, script));
        let check = check(&project, &path, name);
        assert_eq!(check["state"], state, "{check}");
        assert!(check["found"].as_str().unwrap().contains(found), "{check}");
        assert!(check["remedy"].as_str().unwrap().contains(remedy), "{check}");
    }
    project.assert_unused();
}

#[test]
fn arm64_machines_need_amd64_ones_too() {
    let project = Project::new();
    let path = without(&project, "qemu-system-x86_64");
    let (status, diagnosis) = examined(&project, &path, "vm:arm64");
    assert_eq!((status, &diagnosis["works"]), (1, &false.into()));
    assert_eq!(found(&diagnosis, "qemu-system-x86_64")["found"], "not installed");
    assert_eq!(found(&diagnosis, "qemu-system-aarch64")["state"], "ok");
}

#[test]
fn a_compiler_that_is_not_the_pinned_one_is_told_so() {
    let project = Project::new();
    let path = without(&project, "");
    fs::write(project.path("rust-toolchain.toml"), "[toolchain]\nchannel = \"1.94.0\"\n").unwrap();
    let rust = check(&project, &path, "Rust");
    assert_eq!(rust["found"], "rustc is 1.95.0, and the claims are pinned to 1.94.0");
    assert!(rust["remedy"].as_str().unwrap().starts_with("rustup toolchain install 1.94.0 "), "{rust}");
    fake(&path, "rustc", "echo \"error[E0463]: can't find crate for std\" >&2; exit 1");
    let wasm = check(&project, &path, "Rust for wasm32-wasip1");
    assert_eq!(wasm["found"], "does not compile an empty program: error[E0463]: can't find crate for std");
    assert_eq!(wasm["remedy"], "rustup target add wasm32-wasip1 --toolchain 1.94.0");
}

#[test]
fn a_cache_that_cannot_be_written_and_a_mirror_that_does_not_answer_are_told_by_name() {
    let project = Project::new();
    let cache = project.path("features/claims.toml/cache");
    let printed = [
        &format!("{} cannot be written to: ", cache.display()),
        "set ASSAY_CACHE to a folder that can be written to",
        "mirror http://127.0.0.1:9/debian does not give debian-13",
        "does not work here: ",
        "things missing (✘ above)",
    ];
    prints(doctor(&project, &without(&project, ""), &[]).env("ASSAY_CACHE", &cache), 1, &printed);
}

#[test]
fn a_program_that_hangs_is_given_up_and_the_others_are_told() {
    let project = Project::new();
    let path = without(&project, "");
    fake(&path, "podman", "exec /bin/sleep 60");
    let started = Instant::now();
    let printed = ["trying: ", "podman info", "did not end within 10s", "✔ runc ", "✔ qemu-img "];
    prints(&mut doctor(&project, &path, &[]), 1, &printed);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn other_runs_and_leftovers_are_warnings() {
    let project = Project::new();
    let path = without(&project, "");
    let journals = project.path("cache/journals");
    let live = assay::exec::cleanup::CleanupJournal::open(&journals, "live").unwrap();
    fs::write(journals.join("killed.jsonl"), "").unwrap();
    let (_, diagnosis) = examined(&project, &path, "vm");
    assert_eq!(found(&diagnosis, "other runs")["found"], "one is under way");
    let left = found(&diagnosis, "leftovers");
    assert_eq!((&left["state"], &left["remedy"]), (&"warning".into(), &"cargo run -- gc".into()));
    drop(live);
    fs::remove_file(journals.join("killed.jsonl")).unwrap();
}

#[test]
fn the_object_for_programs_has_its_layout() {
    let project = Project::new();
    let (status, diagnosis) = examined(&project, &without(&project, "podman"), "vm:amd64");
    assert_eq!(status, 1);
    // Machines of a run take turns: three for each CPU.
    let turns = 3 * std::thread::available_parallelism().unwrap().get();
    let memory = found(&diagnosis, "memory for machines");
    assert!(memory["found"].as_str().unwrap().starts_with(&format!("capacity for {turns} at once, ")), "{memory}");
    let keys: Vec<&String> = diagnosis.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["checks", "schema", "target", "works"]);
    assert_eq!((&diagnosis["schema"], &diagnosis["target"]), (&1.into(), &"vm:amd64".into()));
    for check in diagnosis["checks"].as_array().unwrap() {
        let keys: Vec<&String> = check.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["found", "name", "remedy", "state"]);
        assert!(["ok", "missing", "warning"].contains(&check["state"].as_str().unwrap()), "{check}");
        assert_eq!(check["remedy"].is_null(), check["state"] == "ok", "{check}");
    }
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_build_without_aws_tells_which_one_tries_the_rest_of_ec2() {
    let project = Project::new();
    let (status, diagnosis) = examined(&project, &without(&project, ""), "ec2");
    assert_eq!((status, &diagnosis["works"]), (1, &false.into()));
    let sdk = found(&diagnosis, "ec2: AWS's SDK");
    assert_eq!(sdk["state"], "missing");
    assert_eq!(sdk["found"], "not in this build: nothing of AWS's was tried");
    assert_eq!(sdk["remedy"], "`cargo run --features aws -- doctor --target ec2` tries that, too");
    // The controls run on machines of this host, which also asks AWS for its own address.
    for name in ["podman", qemu()] {
        assert_eq!(found(&diagnosis, name)["state"], "ok");
    }
    let curl = found(&diagnosis, "curl (asks for this host's address)");
    assert!(curl["remedy"].as_str().unwrap().ends_with("apt-get install curl"), "{curl}");
    let printed = ["ci/setup ec2 installs", "✘ ec2: AWS's SDK"];
    prints(&mut doctor(&project, &without(&project, "curl"), &["--target", "ec2"]), 1, &printed);
}
