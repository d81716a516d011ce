//! Writes a run's evidence: one folder, filled while the run goes, so that a killed run keeps everything up to that
//! point.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::base::lock::lock;
use crate::base::platform::MachineKind;
use crate::base::redact::Redactor;
use crate::evidence::{Ran, SCHEMA, Stream, Verdicts};
use crate::exec::command::{Command, Output};
use crate::exec::shell::{CommandObserver, ShellError};
use crate::measurement::{Reading, Sample, Value};
use crate::verdict::Source;
use crate::verdict::sample_set::SampleSet;

/// Streams longer than this, in bytes, are stored in separate files.
const INLINE: usize = 16 * 1024;

/// The folder of a run, open for writing.
#[derive(Debug)]
pub struct EvidenceWriter {
    run: String,
    folder: PathBuf,
    /// The target of the link `latest` before this run.
    before: Option<PathBuf>,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    samples: File,
    transcript: File,
    next_sample: u64,
    next_command: u64,
    /// The kind of each machine that was used.
    machines: BTreeMap<String, MachineKind>,
    facts: Json,
    redactor: Redactor,
}

tokio::task_local! {
    /// The numbers of the commands that ran while the current future was polled.
    static NOTED: Mutex<Vec<u64>>;
}

/// Awaits `making` and returns its output with the numbers of the commands that ran for it. A nested call keeps its
/// numbers to itself.
pub async fn noting_commands<T>(making: impl Future<Output = T>) -> (T, Vec<u64>) {
    let noting = async {
        let made = making.await;
        (made, NOTED.with(|noted| std::mem::take(&mut *lock(noted))))
    };
    NOTED.scope(Mutex::default(), noting).await
}

impl EvidenceWriter {
    /// Creates the folder of a run below `runs`, or at `folder` if it is given, and points `latest` to it.
    pub fn create(runs: &Path, folder: Option<&Path>, run: &str) -> anyhow::Result<EvidenceWriter> {
        let folder = new_or_empty(&folder.map_or_else(|| runs.join(run), Path::to_path_buf))?;
        let cannot = || format!("cannot write evidence to {}", folder.display());
        let append = |name: &str| OpenOptions::new().create(true).append(true).open(folder.join(name));
        let open = Open {
            samples: append("samples.jsonl").with_context(cannot)?,
            transcript: append("transcript.jsonl").with_context(cannot)?,
            next_sample: 1,
            next_command: 1,
            machines: BTreeMap::from([("host".to_owned(), MachineKind::Host)]),
            facts: json!({ "schema": SCHEMA, "run": run, "started": Timestamp::now(), "ended": null }),
            redactor: Redactor::default(),
        };
        let before = fs::read_link(runs.join("latest")).ok();
        let evidence = EvidenceWriter { run: run.to_owned(), folder, before, open: Mutex::new(open) };
        evidence.note(json!({}))?;
        point_latest(runs, &evidence.folder, run)?;
        Ok(evidence)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn run(&self) -> &str {
        &self.run
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        lock(&self.open)
    }

    /// Adds a secret: from now on it is replaced in everything that is written.
    pub fn hide(&self, secret: &str) {
        self.open().redactor.hide(secret);
    }

    /// Adds facts to `run.json`.
    pub fn note(&self, facts: Json) -> anyhow::Result<()> {
        let mut open = self.open();
        if let (Json::Object(known), Json::Object(new)) = (&mut open.facts, facts) {
            known.extend(new);
        }
        write_whole(&self.folder.join("run.json"), &pretty(&open.redactor.json(open.facts.clone()))?)
    }

    /// Turns readings into samples: numbers each of them and writes it before returning.
    pub fn record(
        &self,
        subject: &str,
        machine: &str,
        readings: impl IntoIterator<Item = (Timestamp, Reading)>,
    ) -> anyhow::Result<Vec<Sample>> {
        let mut open = self.open();
        let mut samples = Vec::new();
        let mut lines = String::new();
        for (at, reading) in readings {
            let Reading { probe, value, unit, raw } = reading;
            let (subject, machine, raw) =
                (subject.to_owned(), machine.to_owned(), open.redactor.text(&raw).into_owned());
            let value = match value {
                Value::Text(text) => Value::Text(open.redactor.text(&text).into_owned()),
                number => number,
            };
            let sample = Sample { id: open.next_sample, probe, subject, machine, value, unit, at, raw };
            open.next_sample += 1;
            lines += &(serde_json::to_string(&sample)? + "\n");
            samples.push(sample);
        }
        open.samples.write_all(lines.as_bytes()).context("cannot write samples.jsonl")?;
        Ok(samples)
    }

    /// Records readings that were taken on a machine between `since` and now, and returns them as a sample set.
    pub fn subject(
        &self,
        name: &str,
        machine: &str,
        since: Timestamp,
        readings: Vec<Reading>,
    ) -> anyhow::Result<SampleSet> {
        let until = Timestamp::now();
        let samples = self.record(name, machine, readings.into_iter().map(|reading| (until, reading)))?;
        let source = self.source(name, machine, since, until);
        let files = ["samples.jsonl", "transcript.jsonl"].map(str::to_owned).to_vec();
        Ok(SampleSet { samples, sources: vec![source], files, commands: Vec::new() })
    }

    /// Says where and when the samples of a subject were taken, with the kind of the machine.
    pub fn source(&self, subject: &str, machine: &str, since: Timestamp, until: Timestamp) -> Source {
        let kind = self.open().machines.get(machine).copied();
        Source { subject: subject.to_owned(), machine: machine.to_owned(), kind, since, until }
    }

    /// Notes that a machine of this kind is used from here on.
    pub fn machine(&self, name: &str, kind: MachineKind) -> anyhow::Result<()> {
        let machines = {
            let mut open = self.open();
            open.machines.insert(name.to_owned(), kind);
            open.machines.clone()
        };
        self.note(json!({ "machines": machines }))
    }

    /// Writes another file, such as the text that a trial's samples were read from. Returns its relative path.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> anyhow::Result<String> {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        let redacted = self.open().redactor.file(name, bytes).into_owned();
        fs::write(&path, redacted).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(name.to_owned())
    }

    /// Copies the claims, their scenarios and declared deviations of this run into `features/`.
    pub fn keep_features(&self, root: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(root.join("features"))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = format!("features/{}", entry.file_name().to_string_lossy());
                self.keep(&name, &fs::read(entry.path())?)?;
            }
        }
        Ok(())
    }

    /// Replaces `verdicts.json`. Called after every scenario, so that the file is always current.
    pub fn write_verdicts(&self, verdicts: &Verdicts) -> anyhow::Result<()> {
        let redacted = self.open().redactor.json(serde_json::to_value(verdicts)?);
        write_whole(&self.folder.join("verdicts.json"), &pretty(&redacted)?)
    }

    /// Ends the run: nothing is measured after this. Redacts secrets in the files that machines wrote into the folder
    /// themselves, their consoles and journals.
    pub fn end(&self) -> anyhow::Result<()> {
        self.note(json!({ "ended": Timestamp::now() }))?;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "log") {
                self.redact_log(&path).with_context(|| format!("cannot rid {} of secrets", path.display()))?;
            }
        }
        Ok(())
    }

    /// Redacts piece by piece, because a log can have any length. A secret across two pieces is found in the second,
    /// which begins with the last `OVERLAP` bytes of the first.
    fn redact_log(&self, path: &Path) -> anyhow::Result<()> {
        const PIECE: usize = 8 << 20;
        const OVERLAP: usize = 64 << 10;
        let redactor = self.open().redactor.clone();
        let fresh = path.with_extension("new");
        let (mut log, mut clean) = (File::open(path)?, File::create(&fresh)?);
        let (mut held, mut changed) = (Vec::new(), false);
        loop {
            let read = (&mut log).take(PIECE as u64).read_to_end(&mut held)?;
            let redacted = redactor.file("", &held);
            changed |= matches!(redacted, Cow::Owned(_));
            let kept = if read < PIECE { redacted.len() } else { redacted.len().saturating_sub(OVERLAP) };
            clean.write_all(&redacted[..kept])?;
            let rest = redacted[kept..].to_vec();
            if read < PIECE {
                break;
            }
            held = rest;
        }
        match changed {
            true => fs::rename(&fresh, path)?,
            false => fs::remove_file(&fresh)?,
        }
        Ok(())
    }

    /// Removes the folder of a run that could not begin, and points `latest` in `runs` to its previous target.
    pub fn discard(&self, runs: &Path) {
        let _ = fs::remove_dir_all(&self.folder);
        let latest = runs.join("latest");
        if fs::read_link(&latest).is_ok_and(|target| target == self.folder) {
            let _ = match &self.before {
                Some(before) => point_latest(runs, before, &self.run),
                None => fs::remove_file(latest).map_err(anyhow::Error::from),
            };
        }
    }

    fn stream(&self, number: u64, name: &str, bytes: &[u8]) -> Stream {
        let text = self.open().redactor.text(&String::from_utf8_lossy(bytes)).into_owned();
        if text.len() <= INLINE {
            return Stream::Inline(text);
        }
        let bytes = text.len();
        match self.keep(&format!("streams/{number:04}.{name}"), text.as_bytes()) {
            Ok(file) => Stream::Beside { file, bytes },
            Err(error) => Stream::Lost { lost: format!("{error:#}"), bytes },
        }
    }
}

impl CommandObserver for EvidenceWriter {
    fn on_command(&self, machine: &str, command: &Command, outcome: &Result<Output, ShellError>) {
        let (n, argv, env) = {
            let mut open = self.open();
            open.next_command += 1;
            (open.next_command - 1, open.redactor.words(&command.argv), open.redactor.variables(&command.env))
        };
        // Outside of a scope, the numbers are not needed.
        let _ = NOTED.try_with(|noted| lock(noted).push(n));
        let mut ran = Ran {
            n,
            at: Timestamp::now(),
            machine: machine.to_owned(),
            argv,
            env,
            clean_env: command.clean_env,
            stdin_bytes: command.stdin.len(),
            ..Ran::default()
        };
        match outcome {
            Ok(output) => {
                ran.status = Some(output.status);
                ran.seconds = Some(output.wall.as_secs_f64());
                ran.stdout = Some(self.stream(n, "stdout", &output.stdout));
                ran.stderr = Some(self.stream(n, "stderr", &output.stderr));
            }
            Err(error) => ran.error = Some(self.open().redactor.text(&error.to_string()).into_owned()),
        }
        // A script has many lines, and its first tells which one it is.
        let line = ran.line();
        let (first, more) = line.split_once('\n').map_or((line.as_str(), ""), |(first, _)| (first, " …"));
        tracing::debug!("{machine}: {first}{more}{}", ended(&ran));
        // The run goes on if the transcript cannot be written: checks of the bundle will show that.
        let line = serde_json::to_string(&ran).map(|line| line + "\n").unwrap_or_default();
        let _ = self.open().transcript.write_all(line.as_bytes());
    }
}

/// Returns how a command ended, as an event tells it.
fn ended(ran: &Ran) -> String {
    match (&ran.status, &ran.error) {
        (Some(status), _) => format!(" ended with {status} after {:.1} s", ran.seconds.unwrap_or_default()),
        (None, Some(error)) => format!(" could not be run: {error}"),
        (None, None) => String::new(),
    }
}

/// Creates a folder for evidence if it does not exist, and returns its absolute path.
pub fn new_or_empty(folder: &Path) -> anyhow::Result<PathBuf> {
    check_empty(folder)?;
    let created = fs::create_dir_all(folder).and_then(|()| folder.canonicalize());
    created.with_context(|| unusable(folder))
}

/// Checks that a folder is empty, or does not exist yet.
pub fn check_empty(folder: &Path) -> anyhow::Result<()> {
    let inside = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        entries => entries.with_context(|| unusable(folder))?.next(),
    };
    anyhow::ensure!(inside.is_none(), "{} is not empty: evidence is never mixed, name a new folder", folder.display());
    Ok(())
}

fn unusable(folder: &Path) -> String {
    format!("cannot write evidence to {}: choose another folder with --evidence", folder.display())
}

/// Points `latest` in `runs` to the folder of a run. The link is replaced atomically, so it always exists.
pub fn point_latest(runs: &Path, folder: &Path, run: &str) -> anyhow::Result<()> {
    fs::create_dir_all(runs).with_context(|| format!("cannot create {}", runs.display()))?;
    let fresh = runs.join(format!(".latest-{run}"));
    let link = std::os::unix::fs::symlink(folder, &fresh);
    link.and_then(|()| fs::rename(&fresh, runs.join("latest"))).context("cannot point target/assay/latest to the run")
}

fn pretty(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes a file atomically: a reader sees the old file or the new one, never a part.
fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let written = fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::unit::Unit;
    use crate::exec::command::Status;
    use std::time::Duration;

    fn evidence(folder: &Path) -> EvidenceWriter {
        EvidenceWriter::create(folder, None, "r1").unwrap()
    }

    #[test]
    fn everything_is_on_disk_before_the_run_ends() {
        let runs = tempfile::tempdir().unwrap();
        let evidence = evidence(runs.path());
        evidence.note(json!({ "target": "vm" })).unwrap();
        let reading = Reading::new("memory.peak", 7.0, Unit::Bytes, "7");
        let samples = evidence.record("hello", "nano", [(Timestamp::now(), reading)]).unwrap();

        let latest = runs.path().join("latest");
        let line = fs::read_to_string(latest.join("samples.jsonl")).unwrap();
        assert_eq!(serde_json::from_str::<Sample>(&line).unwrap(), samples[0]);
        assert_eq!(samples[0].id, 1);
        let run: Json = serde_json::from_slice(&fs::read(latest.join("run.json")).unwrap()).unwrap();
        assert_eq!((&run["target"], &run["ended"]), (&json!("vm"), &Json::Null));
    }

    #[test]
    fn a_secret_never_reaches_the_transcript_and_long_output_lies_beside() {
        let runs = tempfile::tempdir().unwrap();
        let evidence = evidence(runs.path());
        evidence.hide("hunter2");
        let command = Command::new("podman").args(["login", "--password=hunter2"]).env("TOKEN", "hunter2");
        let output = Output {
            line: command.line(),
            status: Status::Code(0),
            stdout: b"welcome hunter2".to_vec(),
            stderr: vec![b'x'; INLINE + 1],
            wall: Duration::from_secs(1),
        };
        evidence.on_command("host", &command, &Ok(output));
        let transcript = fs::read_to_string(evidence.folder().join("transcript.jsonl")).unwrap();
        assert!(!transcript.contains("hunter2") && transcript.contains("welcome [redacted]"), "{transcript}");
        assert_eq!(fs::read(evidence.folder().join("streams/0001.stderr")).unwrap().len(), INLINE + 1);
    }

    #[test]
    fn the_newest_run_stays_the_latest_wherever_it_lies_and_whatever_becomes_of_the_next() {
        let [runs, elsewhere] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let latest = || fs::read_link(runs.path().join("latest")).ok();
        evidence(runs.path()).discard(runs.path());
        assert_eq!(latest(), None);
        let first = EvidenceWriter::create(runs.path(), Some(&elsewhere.path().join("own")), "r2").unwrap();
        assert_eq!(latest().as_deref(), Some(first.folder()));
        let second = evidence(runs.path());
        assert_eq!(latest().as_deref(), Some(second.folder()));
        second.discard(runs.path());
        assert_eq!(latest().as_deref(), Some(first.folder()));
    }

    #[test]
    fn a_log_that_a_machine_wrote_is_rid_of_secrets_and_otherwise_left_to_the_byte() {
        let runs = tempfile::tempdir().unwrap();
        let evidence = evidence(runs.path());
        evidence.hide("hunter2");
        let log = |name: &str| evidence.folder().join(name);
        fs::write(log("console.log"), b"\xff boot hunter2 done").unwrap();
        fs::write(log("journal.log"), b"\xff nothing here").unwrap();
        let mut long = vec![b'.'; (8 << 20) - 3];
        long.extend(b"hunter2");
        fs::write(log("spare-1.console.log"), &long).unwrap();
        evidence.end().unwrap();
        assert_eq!(fs::read(log("console.log")).unwrap(), "\u{fffd} boot [redacted] done".as_bytes());
        assert_eq!(fs::read(log("journal.log")).unwrap(), b"\xff nothing here");
        let clean = fs::read(log("spare-1.console.log")).unwrap();
        assert!(clean.ends_with(b"...[redacted]") && clean.len() == long.len() + 3, "across two pieces");
    }
}
