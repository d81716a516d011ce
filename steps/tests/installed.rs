//! The program as `cargo install` leaves it: outside the checkout, started in an empty folder.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::{LIMIT, fake, prints, qemu};

/// A folder with the program, a home for its cache, and an empty folder to start it in.
struct Installed(TempDir);

impl Installed {
    fn new() -> Installed {
        let folder = tempfile::tempdir().unwrap();
        ["bin", "empty", "home", "programs"].iter().for_each(|name| fs::create_dir(folder.path().join(name)).unwrap());
        // A link, because a program that is still open for writing cannot be started; a copy on another file system.
        let (built, installed) = (env!("CARGO_BIN_EXE_assay"), folder.path().join("bin/assay"));
        fs::hard_link(built, &installed).or_else(|_| fs::copy(built, &installed).map(drop)).unwrap();
        Installed(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn assay(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/assay"));
        command.args(arguments).current_dir(self.path("empty")).timeout(LIMIT);
        command.env_clear().env("HOME", self.path("home")).env("PATH", self.path("programs"));
        command
    }

    /// Returns the folder of the unpacked files.
    fn unpacked(&self) -> PathBuf {
        let mut folders = fs::read_dir(self.path("home/.cache/assay")).unwrap().map(|entry| entry.unwrap().path());
        folders.find(|path| path.join("features").is_dir()).unwrap()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let names = fs::read_dir(self.path(folder)).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn everything_that_needs_no_machine_works_in_an_empty_folder() {
    let installed = Installed::new();
    let made = prints(&mut installed.assay(&["init", "web"]), 0, &["run it:              assay run --suite web\n"]);
    assert!(made.contains("what would run:      assay run --suite web --plan\n"), "{made}");
    assert_eq!(installed.names("home"), [""; 0], "`init` needs none of the files");
    let own = prints(&mut installed.assay(&["run", "--suite", "web", "--plan"]), 0, &[" would run, 0 would not\n"]);
    assert_eq!(prints(&mut installed.assay(&["plan", "--suite", "web"]), 0, &[]), own);
    let annex = prints(&mut installed.assay(&["plan"]), 0, &["(needs an AWS account: assay run --target ec2)"]);
    assert_eq!(prints(&mut installed.assay(&["run", "--plan"]), 0, &[]), annex);
    prints(&mut installed.assay(&["coverage"]), 0, &["A6-4"]);
    prints(&mut installed.assay(&["steps"]), 0, &["Then its exit code is 0\n"]);
    prints(&mut installed.assay(&["selfcheck"]), 0, &[]);
    assert_eq!(installed.names("empty"), ["web"]);

    fs::remove_file(installed.unpacked().join("features/claims.toml")).unwrap();
    assert_eq!(prints(&mut installed.assay(&["plan"]), 0, &[]), annex);
    fs::write(installed.path("home/file"), "").unwrap();
    let mut plan = installed.assay(&["plan"]);
    prints(plan.env("ASSAY_CACHE", installed.path("home/file")), 2, &["cannot write ", "set ASSAY_CACHE to another"]);
}

#[test]
fn what_a_run_lacks_is_told_with_commands_that_work_here() {
    let installed = Installed::new();
    let lacking = format!("assay: {} is not installed: assay setup --packages does that; `assay doctor --tar", qemu());
    prints(&mut installed.assay(&["run", "--tags", "@A5-4"]), 3, &[&lacking]);
    prints(&mut installed.assay(&["doctor"]), 1, &["assay setup --packages local installs what can be installed"]);
    prints(&mut installed.assay(&["plan", "--suite", "."]), 2, &["`assay init DIR` makes one"]);
    fake(&installed.path("programs"), "bash", "test -x $1 && echo \"$@\"; exit 3");
    let started = format!("{}/ci/setup vm:arm64\n", installed.unpacked().display());
    assert_eq!(prints(&mut installed.assay(&["setup", "--packages", "vm:arm64"]), 3, &[]), started);
}

#[test]
fn a_run_leaves_its_evidence_below_the_current_folder_and_claims_no_commit() {
    let installed = Installed::new();
    prints(&mut installed.assay(&["run", "--tags", "@A8-4"]), 0, &["✔ A8-4", "1 hold, 0 fail", "/empty/target/assay/"]);
    let record = fs::read(installed.path("empty/target/assay/latest/run.json")).unwrap();
    let git = &serde_json::from_slice::<Value>(&record).unwrap()["git"];
    assert_eq!((&git["commit"], &git["changed"]), (&Value::Null, &Value::Null));
    let digest = git["embedded_files"].as_str().unwrap();
    assert!(digest.len() == 64 && installed.unpacked().to_str().unwrap().ends_with(&digest[..20]), "{digest}");
    prints(installed.assay(&["verify", "target/assay/latest"]).env_remove("HOME"), 0, &[]);
}
