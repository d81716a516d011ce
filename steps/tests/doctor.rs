//! What a host lacks, reported by a doctor that starts every program: here they are fakes that print what a test needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Project, qemu, told};

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
    ("podman", "case $1 in info) echo '4.3.1, storage overlay, cgroups v2';; esac"),
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
    FIT.iter().filter(|(name, _)| *name != missing).for_each(|(name, script)| replace(&folder, name, script));
    folder
}

fn replace(folder: &std::path::Path, name: &str, script: &str) {
    fs::write(folder.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns one of the doctor's checks as an object.
fn check(project: &Project, path: &PathBuf, name: &str) -> Value {
    let (_, diagnosis) = examined(project, path, "vm");
    found(&diagnosis, name)
}

fn found(diagnosis: &Value, name: &str) -> Value {
    let checks = diagnosis["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {diagnosis}")).clone()
}

/// Returns the exit status and the diagnosis; no mirror outside this host is asked.
fn examined(project: &Project, path: &PathBuf, target: &str) -> (i32, Value) {
    let mut command = project.assay(&["doctor", "--json", "--target", target]);
    command.env("PATH", path).env("ASSAY_MIRROR", "http://127.0.0.1:9/debian");
    let output = command.output().unwrap();
    let diagnosis = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), diagnosis)
}

#[test]
fn a_missing_program_is_told_with_its_package_and_command() {
    let project = Project::new();
    for (program, name, package) in [
        ("podman", "podman", "podman"),
        ("qemu-img", "qemu-img", "qemu-utils"),
        ("mmdebstrap", "mmdebstrap", "mmdebstrap"),
    ] {
        let check = check(&project, &without(&project, program), name);
        assert_eq!((&check["state"], &check["found"]), (&"missing".into(), &"not installed".into()), "{program}");
        let remedy = check["remedy"].as_str().unwrap();
        assert!(remedy.ends_with(&format!("apt-get install {package}")), "{remedy}");
    }
    assert!(!project.path("cache").exists() && !project.path("target").exists(), "a doctor leaves nothing");
}

#[test]
fn what_no_run_needs_is_a_warning() {
    let project = Project::new();
    for (program, name) in
        [("git", "git (notes the commit)"), ("ssh-keygen", "ssh-keygen (for --sign)"), ("crun", "crun")]
    {
        assert_eq!(check(&project, &without(&project, program), name)["state"], "warning", "{program}");
    }
}

#[test]
fn a_program_that_is_there_and_does_not_work_is_told_with_its_own_words() {
    let project = Project::new();
    let path = without(&project, "");
    replace(&path, "podman", "echo 'Error: cannot reach the storage' >&2; exit 125");
    let podman = check(&project, &path, "podman");
    assert_eq!(podman["state"], "missing");
    let found = podman["found"].as_str().unwrap();
    assert!(found.contains("exit code 125: Error: cannot reach the storage"), "{found}");
    assert!(podman["remedy"].as_str().unwrap().contains("apt-get install --reinstall podman"), "{podman}");
}

#[test]
fn an_old_qemu_and_one_without_a_network_card_are_refused() {
    let project = Project::new();
    let path = without(&project, "");
    replace(&path, qemu(), "echo 'QEMU emulator version 7.2.17'");
    let old = check(&project, &path, qemu());
    assert_eq!(old["state"], "missing");
    assert!(old["found"].as_str().unwrap().starts_with("too old: qemu 7.2.17 crashes guests"), "{old}");
    assert!(old["remedy"].as_str().unwrap().contains("qemu-system-"), "{old}");

    let script = "case $1 in --version) echo 'QEMU emulator version 10.0.2';; *) echo 'failed to find romfile' >&2; exit 1;; esac";
    replace(&path, qemu(), script);
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let card = check(&project, &path, &format!("network card of {arch} machines"));
    assert!(card["found"].as_str().unwrap().ends_with("failed to find romfile"), "{card}");
    assert!(card["remedy"].as_str().unwrap().ends_with("apt-get install ipxe-qemu"), "{card}");
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
    replace(&path, "rustc", "echo \"error[E0463]: can't find crate for std\" >&2; exit 1");
    let wasm = check(&project, &path, "Rust for wasm32-wasip1");
    assert_eq!(wasm["found"], "does not compile an empty program: error[E0463]: can't find crate for std");
    assert_eq!(wasm["remedy"], "rustup target add wasm32-wasip1 --toolchain 1.94.0");
}

#[test]
fn a_cache_that_cannot_be_written_and_a_mirror_that_does_not_answer_are_told_by_name() {
    let project = Project::new();
    let path = without(&project, "");
    let mut command = project.assay(&["doctor"]);
    command.env("PATH", path).env("ASSAY_MIRROR", "http://127.0.0.1:9/debian");
    let cache = project.path("features/claims.toml/cache");
    let said = [
        &format!("{} cannot be written to: ", cache.display()),
        "set ASSAY_CACHE to a folder that can be written to",
        "mirror http://127.0.0.1:9/debian does not give debian-13",
        "does not work here: ",
        "things missing (✘ above)",
    ];
    told(command.env("ASSAY_CACHE", &cache), 1, &said);
}

#[test]
fn a_program_that_hangs_is_given_up_and_the_others_are_told() {
    let project = Project::new();
    let path = without(&project, "");
    replace(&path, "podman", "exec /bin/sleep 60");
    let started = Instant::now();
    let mut command = project.assay(&["doctor"]);
    command.env("PATH", &path).env("ASSAY_MIRROR", "http://127.0.0.1:9/debian");
    let said = ["trying: ", "podman info", "did not end within 10s", "✔ runc ", "✔ qemu-img "];
    told(&mut command, 1, &said);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn other_runs_and_leftovers_are_warnings() {
    let project = Project::new();
    let path = without(&project, "");
    let journals = project.path("cache/journals");
    let living = assay::internal::cleanup::CleanupJournal::open(&journals, "living").unwrap();
    fs::write(journals.join("killed.jsonl"), "").unwrap();
    let (_, diagnosis) = examined(&project, &path, "vm");
    assert_eq!(found(&diagnosis, "other runs")["found"], "one is under way");
    let left = found(&diagnosis, "leftovers");
    assert_eq!((&left["state"], &left["remedy"]), (&"warning".into(), &"cargo run -- gc".into()));
    drop(living);
    fs::remove_file(journals.join("killed.jsonl")).unwrap();
}

#[test]
fn the_object_for_programs_has_its_layout() {
    let project = Project::new();
    let (status, diagnosis) = examined(&project, &without(&project, "podman"), "vm:amd64");
    assert_eq!(status, 1);
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
    assert_eq!(
        (&sdk["state"], &sdk["found"]),
        (&"missing".into(), &"not in this build: nothing of AWS's was tried".into())
    );
    assert_eq!(sdk["remedy"], "`cargo run --features aws -- doctor --target ec2` tries that, too");
    // The controls run on machines of this host, which also asks AWS for its own address.
    assert_eq!(
        (&found(&diagnosis, "podman")["state"], &found(&diagnosis, qemu())["state"]),
        (&"ok".into(), &"ok".into())
    );
    let curl = found(&diagnosis, "curl (asks for this host's address)");
    assert!(curl["remedy"].as_str().unwrap().ends_with("apt-get install curl"), "{curl}");
    assert_ne!(found(&diagnosis, "room to compile AWS's SDK")["state"], "missing");
    let mut command = project.assay(&["doctor", "--target", "ec2"]);
    let said = ["ci/setup ec2 installs", "✘ ec2: AWS's SDK"];
    told(command.env("PATH", without(&project, "curl")).env("ASSAY_MIRROR", "http://127.0.0.1:9/debian"), 1, &said);
}

#[test]
fn a_doctor_reckons_memory_as_a_run_does() {
    let project = Project::new();
    let memory = check(&project, &without(&project, ""), "memory for machines");
    let turns = 3 * std::thread::available_parallelism().unwrap().get();
    let said = memory["found"].as_str().unwrap();
    assert!(
        said.starts_with(&format!("room for {turns} at once, ")) && said.contains("of memory for their"),
        "{memory}"
    );
}
