//! What users type, and what they read: the real program, with neither a machine nor a network. Most of it is in
//! `words`; here is what programs read.

mod steps;
mod words;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// A program that takes longer hangs; a busy host is slow, which is not the program's fault.
const LIMIT: Duration = Duration::from_secs(180);

/// A copy of the project's files in a folder for one test, with an empty cache beside it.
struct Project(TempDir);

impl Project {
    fn new() -> Project {
        let folder = tempfile::tempdir().unwrap();
        let parts = ["features", "fixtures"].map(|part| Path::new(PROJECT).join(part));
        let copied = std::process::Command::new("cp").arg("-r").args(parts).arg(folder.path()).status();
        assert!(copied.unwrap().success());
        Project(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn assay(&self, arguments: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_assay"), arguments)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path()).timeout(LIMIT);
        command.env("ASSAY_ROOT", self.0.path()).env("ASSAY_CACHE", self.path("cache"));
        let ours = ["ASSAY_TARGET", "ASSAY_PLATFORM", "ASSAY_MIRROR", "ASSAY_REGISTRY_IMAGE"];
        let ours = ours.into_iter().chain(["ASSAY_EC2_SSH", "ASSAY_ECR_REGISTRY"]);
        let of_aws = ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2"];
        for name in ours.chain(of_aws) {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, options: &[&str]) -> Command {
        self.assay(&[&["run"], options].concat())
    }

    /// Returns a `PATH` that has these programs and no others. What they do does not matter, because none of them is
    /// started.
    fn only(&self, programs: &[&str]) -> PathBuf {
        let folder = self.path("bin");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        programs.iter().for_each(|program| fake(&folder, program, "exit 9"));
        folder
    }
}

/// Ends the server that a session has started. However a program ended, it leaves nothing outside its folder of evidence.
impl Drop for Project {
    fn drop(&mut self) {
        let server = fs::read_to_string(self.path("farm/pid")).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = server.and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).unwrap();
        }
        if std::thread::panicking() {
            return;
        }
        let names =
            |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        for run in names(self.path("target/assay")) {
            let build_dir = Path::new("/tmp").join(format!("assay-{}", run.display()));
            assert!(!build_dir.exists(), "{} is left", build_dir.display());
        }
        assert_eq!(names(self.path("cache/journals")).count(), 0, "a cleanup journal is left");
    }
}

/// Writes a program that runs this script.
fn fake(folder: &Path, program: &str, script: &str) {
    fs::write(folder.join(program), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns all files below a folder, which need not exist.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let (folders, mut found): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    found.extend(folders.iter().flat_map(|inner| files(inner)));
    found
}

/// Asserts how a program ended and that it printed all these texts, and returns its standard output.
fn prints(command: &mut Command, code: i32, texts: &[&str]) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(status.code(), Some(code), "{command:?}: {status}\n{stdout}\n{stderr}");
    for text in texts {
        assert!(format!("{stdout}\n{stderr}").contains(text), "{command:?} does not say {text:?}:\n{stdout}\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    stdout
}

#[test]
fn programs_read_where_each_scenario_is_and_what_covers_each_claim() {
    let project = Project::new();
    let json = |command: &str| -> Vec<Value> {
        serde_json::from_str(&prints(&mut project.assay(&[command, "--json"]), 0, &[])).unwrap()
    };
    let (rows, claims) = (json("plan"), json("coverage"));
    assert_eq!(rows[0]["claim"], "A2-1");
    for row in &rows {
        let decision = row["decision"].as_str().unwrap();
        assert!(["run", "record", "skip"].contains(&decision), "{row}");
        assert_eq!(row["reason"].is_null(), decision == "run", "{row}");
        let text = fs::read_to_string(project.path(row["feature"].as_str().unwrap())).unwrap();
        let line = text.lines().nth(row["line"].as_u64().unwrap() as usize - 1).unwrap();
        let is_row = line.trim_start().starts_with('|');
        assert!(is_row || line.ends_with(row["scenario"].as_str().unwrap()), "{row}: {line}");
    }
    let count = |control: bool| rows.iter().filter(|row| row["control"] == control).count();
    let all = |list: &str| claims.iter().map(|claim| claim[list].as_array().unwrap().len()).sum::<usize>();
    assert_eq!((all("scenarios"), all("controls")), (count(false), count(true)));
    assert!(claims.iter().all(|claim| claim["targets"]["vm:arm64"]["decision"].is_string()));
    assert!(!project.path("target").exists() && !project.path("cache").exists());
}

/// Variables that hold secrets, whatever their values look like.
const VARIABLES: [(&str, &str); 5] = [
    ("AWS_SECRET_ACCESS_KEY", "plantedvariable/one+1"),
    ("GITHUB_TOKEN", "plantedvariable two\"2"),
    ("REGISTRY_PASSWORD", "plantedvariable:three"),
    ("ASSAY_TEST_PRIVATE_KEY", "plantedvariable\nfour"),
    ("EC2_USER_DATA", "plantedvariable&five"),
];

#[test]
fn a_secret_in_the_environment_the_output_or_an_error_reaches_no_file_of_the_bundle() {
    // The unit tests of redaction know every kind. They are assembled here so that no scanner takes them for real ones.
    let key = |kind: &str| format!("-----{kind} OPENSSH PRIVATE KEY-----");
    let planted = [
        format!("key {}QWERTYUIOPASDFGH", "AKIA"),
        format!("{}\nb3BlbnNzaC1rZXktdjEAAAAABG5v\n{}", key("BEGIN"), key("END")),
        "pulling https://me:batterystaple@registry.example/v2/".to_owned(),
        "logging in with --password correcthorse".to_owned(),
    ];
    let secrets = ["QWERTYUIOPASDFGH", "b3BlbnNzaC1rZXktdjE", "batterystaple", "correcthorse", "plantedvariable"];
    for status in [0, 1] {
        let project = Project::new();
        fs::write(project.path("planted"), planted.join("\n\n")).unwrap();
        let path = project.only(&[]);
        let variables: String = VARIABLES.iter().map(|(name, _)| format!("echo \"saw ${name}\"; ")).collect();
        // The control of A5-5 asks the host's runc for its version; this fake prints every secret, on both streams.
        let text = project.path("planted");
        let tell = format!("tell() {{ echo version; {variables} cat {}; }}", text.display());
        fake(&path, "runc", &format!("{tell}\ntell; tell >&2; exit {status}"));
        let all = format!("{}:/usr/bin:/bin", path.display());
        let mut run = project.run(&["--name", "A runtime without WebAssembly support", "--evidence", "run"]);
        run.env("PATH", all).envs(VARIABLES).output().unwrap();

        let mut seen = String::new();
        for file in files(&project.path("run")) {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} is in {}", file.display());
            }
            seen += &text;
        }
        // What was printed did reach the bundle; otherwise this test would show nothing.
        assert!(seen.contains("saw [redacted]"), "{seen}");
        assert!(seen.matches("[redacted]").count() > planted.len() + VARIABLES.len(), "each was there: {seen}");
    }
}

#[cfg(feature = "aws")]
#[test]
fn a_cloud_that_does_not_answer_points_to_the_doctor_of_a_build_that_can_ask_it() {
    let project = Project::new();
    let mut run = project.run(&["--target", "ec2", "--tags", "@A5-3 and not @control"]);
    run.env("PATH", project.only(&[])).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_REGION", "us-east-1");
    run.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", "not-a-secret-at-all");
    let doctor = "; `cargo run --features aws -- doctor --target ec2` tries all that a run needs";
    prints(&mut run, 3, &["ec2:DescribeImages failed: ", doctor]);
}
