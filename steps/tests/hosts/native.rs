//! System containers on this host: a run on them, and one that is killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts a run of a workload's claims on system containers.
fn begin(evidence: &Path) -> Child {
    let mut run = Command::new(env!("CARGO_BIN_EXE_assay"));
    run.current_dir(env!("CARGO_MANIFEST_DIR"));
    run.args(["run", "--suite", "fixtures/own/mosquitto", "--target", "nspawn", "--evidence"]).arg(evidence);
    run.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

/// Lists what a run makes system containers of, by the run's id: control groups, folders, and the programs that name it.
fn made_by(run: &str) -> BTreeSet<String> {
    let folders = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/system.slice"];
    let entries = folders.into_iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let groups = entries.map(|entry| entry.path().display().to_string());
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).into_owned();
        line.contains("systemd.mask=").then_some(line)
    });
    groups.chain(processes).filter(|made| made.contains(&format!("assay-{run}"))).collect()
}

fn wait_until(what: &str, seconds: u64, seen: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while !seen() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn run_id(evidence: &Path) -> Option<String> {
    let run: serde_json::Value = serde_json::from_slice(&fs::read(evidence.join("run.json")).ok()?).ok()?;
    Some(run["run"].as_str()?.to_owned())
}

#[test]
fn a_run_on_system_containers_leaves_nothing_and_neither_does_one_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let killed = folder.path().join("killed");
    let mut run = begin(&killed);
    wait_until("no machine came up", 900, || {
        fs::metadata(killed.join("journal.log")).is_ok() || killed.join("trials").exists()
    });
    let id = run_id(&killed).unwrap();
    assert!(!made_by(&id).is_empty(), "nothing of run {id} is seen while it is under way");
    run.kill().unwrap();
    run.wait().unwrap();
    wait_until("machines outlive their run", 10, || made_by(&id).is_empty());

    // The next run removes what else the killed one has left.
    let whole = folder.path().join("whole");
    let status = begin(&whole).wait().unwrap();
    let verdicts: serde_json::Value = serde_json::from_slice(&fs::read(whole.join("verdicts.json")).unwrap()).unwrap();
    let of = |claim: &str| {
        verdicts["claims"].as_array().unwrap().iter().find(|one| one["id"] == claim).unwrap()["verdict"].clone()
    };
    for claim in ["A6-1", "A6-2", "A6-3", "A6-4"] {
        assert_eq!(of(claim), "holds", "{claim}: {verdicts:#}");
    }
    assert!([Some(0), Some(3)].contains(&status.code()), "{status}: no claim fails");
    let run: serde_json::Value = serde_json::from_slice(&fs::read(whole.join("run.json")).unwrap()).unwrap();
    assert_eq!((&run["machine"]["accelerator"], &run["machine"]["native"]), (&"nspawn".into(), &true.into()));
    for id in [id, run_id(&whole).unwrap()] {
        assert!(
            made_by(&id).is_empty() && !Path::new(&format!("/tmp/assay-{id}")).exists(),
            "something of {id} is left"
        );
    }
}
