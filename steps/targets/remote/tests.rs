use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::LEAVE;

/// Runs the script that restores a machine in a temporary home, with fake systemctl and podman that do nothing.
fn leave(home: &Path) {
    let programs = home.join("programs");
    fs::create_dir(&programs).unwrap();
    for name in ["systemctl", "podman"] {
        fs::write(programs.join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let mut sh = Command::new("sh");
    sh.args(["-c", LEAVE, "-", "one"]).env("HOME", home).env("XDG_RUNTIME_DIR", home.join("runtime")).env("PATH", path);
    let output = sh.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_is_kept_of_containers_of_the_run_goes_and_of_others_stays() {
    let home = tempfile::tempdir().unwrap();
    let (run, kept) = (home.path().join(".assay-one"), home.path().join("runtime/libpod/tmp/persist"));
    for name in ["before", "forgotten", "up"] {
        fs::create_dir_all(kept.join(name)).unwrap();
    }
    let earlier = SystemTime::now() - Duration::from_secs(60);
    File::open(kept.join("before")).unwrap().set_modified(earlier).unwrap();
    fs::create_dir(&run).unwrap();
    for note in ["absent", "units", "provisioned"] {
        fs::write(run.join(note), "").unwrap();
    }
    File::open(run.join("absent")).unwrap().set_modified(earlier + Duration::from_secs(1)).unwrap();
    let mut up = Command::new("sh").args(["-c", "sleep 60", "conmon", "up"]).spawn().unwrap();
    leave(home.path());
    up.kill().unwrap();
    up.wait().unwrap();
    let mut left: Vec<_> = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["before", "up"]);
    assert!(!run.exists());
}
