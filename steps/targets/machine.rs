//! Represents a running machine: its shell, its journal, and how it ends.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Mutex;

use super::child::Child;
use super::{Context, Qmp, console, keys};
use crate::base::poll::{self, Look};
use crate::exec::cleanup::{CleanupJournal, Resource};
use crate::exec::command::{Command, Status, tail};
use crate::exec::shell::{Login, Shell, ShellError, Ssh};
use crate::targets::machine_info::MachineInfo;

/// The machine whose console and journal have no prefix in their file names: the annex's own device.
pub(super) const MAIN: &str = "nano";
/// The longest path that a socket may have.
const SOCKET: usize = 100;
pub(super) const QEMU: &str = "qemu";
/// How long QEMU may take to end by itself.
const GOODBYE: Duration = Duration::from_secs(3);

/// A running machine. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Machine {
    /// Its name: its definition's, with a number from the second one of a run on.
    pub name: String,
    pub shell: Shell,
    pub facts: MachineInfo,
    /// The time from the start of QEMU to a running system, whether booted or restored.
    pub boot: Duration,
    /// The file in the evidence that its console is written to.
    pub console: PathBuf,
    /// The steps that made it the annex's device, with the time each took; empty if its image needs none.
    pub setup: Vec<SetupStep>,
    pub(super) evidence: PathBuf,
    /// When it was restored from a snapshot: every restored machine has the same journal up to then.
    pub(super) since: Option<Timestamp>,
    pub(super) body: Box<dyn Body>,
    pub(super) over: AtomicBool,
}

/// A step that the annex takes on a machine before it can run the workload.
#[derive(Clone, Debug, PartialEq)]
pub struct SetupStep {
    /// Its name in samples: `podman`, of `setup.podman`.
    pub name: &'static str,
    pub line: String,
    pub wall: Duration,
}

/// What a method of [`Body`] will have returned.
pub(super) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What provides a machine.
pub(super) trait Body: fmt::Debug + Send + Sync {
    /// Returns the process that the machine ends with, if it is one of this host's, and the program's name.
    fn process(&self) -> Option<(&Child, &MachineDir, &'static str)> {
        None
    }

    /// Returns the QEMU, if the machine is a VM on this host.
    fn emulated(&self) -> Option<&Emulated> {
        None
    }

    fn journal(&self) -> Command {
        Command::new("sudo").args(["journalctl", "-o", "short-precise", "--no-hostname", "--no-pager"])
    }

    /// Returns the address at which the machine reaches this host's loopback; `None` if ports of its own lead there.
    fn loopback(&self) -> Option<&'static str> {
        Some("127.0.0.1")
    }

    fn command_line(&self) -> String;

    /// Ends the machine, and removes or restores all it was made of.
    fn shut_down(&self) -> Pending<'_, ()>;
}

#[derive(Debug)]
pub(super) struct Emulated {
    pub(super) port: u16,
    pub(super) qmp: Mutex<Qmp>,
    // The order matters: the process is dropped before the folder it writes to.
    pub(super) child: Child,
    pub(super) work: MachineDir,
}

impl Machine {
    pub(super) fn new(
        context: &Context,
        name: String,
        shell: Shell,
        facts: MachineInfo,
        started: Instant,
        body: impl Body + 'static,
    ) -> Machine {
        Machine {
            shell,
            facts,
            boot: started.elapsed(),
            console: evidence_file(&context.evidence, &name, "console.log"),
            setup: Vec::new(),
            evidence: context.evidence.clone(),
            since: None,
            body: Box::new(body),
            over: AtomicBool::new(false),
            name,
        }
    }

    /// Checks that it is still there, as far as is known: its process runs, and its kernel has not panicked.
    pub fn alive(&self) -> anyhow::Result<()> {
        if self.over.load(Ordering::Acquire) {
            return Err(self.is_gone("it was shut down"));
        }
        if let Some((child, work, program)) = self.body.process()
            && let Some(status) = child.ended()
        {
            return Err(self.is_gone(work.ended(program, status)));
        }
        console::dead_end(&console::read(&self.console)).map_or(Ok(()), |line| Err(self.is_gone(line)))
    }

    fn is_gone(&self, reason: impl fmt::Display) -> anyhow::Error {
        anyhow::anyhow!("machine {} is gone: {reason}", self.name)
    }

    /// Completes with an error when the machine's process has ended; for machines that have none, never.
    pub async fn gone(&self) -> anyhow::Error {
        let Some((child, work, program)) = self.body.process() else { return std::future::pending().await };
        self.is_gone(work.ended(program, child.wait().await))
    }

    /// Returns which processes have run out of memory so far, according to the kernel's messages on the console.
    pub fn shortage(&self) -> Option<String> {
        console::shortage(&console::read(&self.console))
    }

    /// Saves the system's journal, or on a remote machine that of the run's own units, and returns its path.
    pub async fn save_journal(&self) -> anyhow::Result<PathBuf> {
        let mut journal = self.body.journal();
        if let Some(since) = self.since.filter(|_| self.name != MAIN) {
            journal = journal.arg(format!("--since=@{}", since.as_second()));
        }
        let output = self.shell.run(&journal).await?.success()?;
        let file = evidence_file(&self.evidence, &self.name, "journal.log");
        fs::write(&file, output.stdout).with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(file)
    }

    /// Returns how long all its CPUs together were busy since it started, in seconds, and the text this was read from.
    pub async fn busy(&self) -> anyhow::Result<(f64, String)> {
        let look = Command::script("getconf CLK_TCK; head -n 1 /proc/stat", &[]);
        let raw = self.shell.read(&look).await?;
        let seconds = busy(&raw).with_context(|| format!("{}: \"{raw}\" does not account for its CPUs", self.name))?;
        Ok((seconds, raw.trim_end().to_owned()))
    }

    /// Returns how the machine reaches an address on this host's loopback, which a path may follow. Other addresses are
    /// returned unchanged, and so are all addresses for an EC2 instance. Fails if the machine's SSH server does not
    /// forward connections back.
    pub async fn as_seen_there(&self, address: &str) -> anyhow::Result<String> {
        let Some(local) = address.strip_prefix("127.0.0.1:") else { return Ok(address.to_owned()) };
        if let Some(address) = self.body.loopback() {
            return Ok(format!("{address}:{local}"));
        }
        let (port, rest) = local.split_at(local.find(|c: char| !c.is_ascii_digit()).unwrap_or(local.len()));
        let there = self.shell.forward_back(port.parse()?).await?;
        Ok(format!("127.0.0.1:{there}{rest}"))
    }

    /// Pauses the machine, so that it uses memory and nothing else; an instance in AWS is not paused.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.control("stop").await
    }

    pub async fn resume(&self) -> anyhow::Result<()> {
        self.control("cont").await
    }

    async fn control(&self, verb: &str) -> anyhow::Result<()> {
        let Some(emulated) = self.body.emulated() else { return Ok(()) };
        emulated.qmp.lock().await.execute(verb, json!({})).await.map(drop)
    }

    /// Returns the command that a person types to log in while it is up.
    pub fn command_line(&self) -> String {
        self.body.command_line()
    }

    /// Ends it at once and removes all it was made of; a remote machine is restored. Its evidence stays.
    pub async fn shut_down(&self) {
        self.over.store(true, Ordering::Release);
        self.body.shut_down().await;
    }
}

impl Body for Emulated {
    fn process(&self) -> Option<(&Child, &MachineDir, &'static str)> {
        Some((&self.child, &self.work, QEMU))
    }

    fn emulated(&self) -> Option<&Emulated> {
        Some(self)
    }

    fn loopback(&self) -> Option<&'static str> {
        // The host's address in QEMU's user-mode network.
        Some("10.0.2.2")
    }

    fn command_line(&self) -> String {
        keys::command_line(&self.work.name, keys::USER, "127.0.0.1", self.port, &self.work.folder)
    }

    fn shut_down(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let mut qmp = self.qmp.lock().await;
            // If QEMU does not respond any more, it is killed.
            let _ = tokio::time::timeout(GOODBYE, async {
                let _ = qmp.execute("quit", json!({})).await;
                self.child.wait().await
            })
            .await;
            self.child.end();
            self.work.remove();
        })
    }
}

/// QEMU itself crashed: another start may succeed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct QemuCrashed(String);

impl Emulated {
    /// Explains why a machine did not come up.
    pub(super) fn failure(child: &Child, text: String) -> anyhow::Error {
        match child.ended() {
            Some(Status::Signal(_)) => QemuCrashed(text).into(),
            _ => anyhow::Error::msg(text),
        }
    }
}

/// Logs in as soon as the machine's SSH server accepts it. Another host key is an error at once: another host answers.
pub(super) async fn log_in(login: &Login, limit: Duration, pause: Duration) -> anyhow::Result<Ssh> {
    poll::until("a login", limit, pause, async || match Ssh::connect(login).await {
        Ok(ssh) => Ok(Look::Done(ssh)),
        Err(error @ ShellError::OtherHost { .. }) => Err(error.into()),
        Err(error) => Ok(Look::Waiting(error.to_string())),
    })
    .await
}

/// Computes the seconds that CPUs were neither idle nor waiting, from the ticks per second and the first line of
/// `/proc/stat`, whose numbers are user, nice, system, idle, iowait, irq, softirq, steal.
fn busy(text: &str) -> Option<f64> {
    let (ticks, line) = text.split_once('\n')?;
    let counts: Vec<f64> = line.strip_prefix("cpu ")?.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let busy = counts.get(..3)?.iter().sum::<f64>() + counts.get(5..8)?.iter().sum::<f64>();
    Some(busy / ticks.trim().parse::<f64>().ok()?)
}

/// Returns the path of a machine's file in the evidence: `console.log`, `mega.console.log`.
pub(super) fn evidence_file(evidence: &Path, machine: &str, what: &str) -> PathBuf {
    match machine == MAIN {
        true => evidence.join(what),
        false => evidence.join(format!("{machine}.{what}")),
    }
}

/// Returns the path of a run's folder, which is short because paths of Unix sockets must be.
pub fn run_folder_path(run: &str) -> PathBuf {
    PathBuf::from(format!("/tmp/assay-{run}"))
}

/// Returns a run's folder, which only its owner may read and which goes with the run; makes it if necessary.
pub fn run_folder(cleanup: &CleanupJournal, run: &str) -> anyhow::Result<PathBuf> {
    let folder = run_folder_path(run);
    if !folder.exists() {
        cleanup.register(Resource::Path { path: folder.clone() })?;
    }
    let made = private(&folder).or_else(|error| match fs::symlink_metadata(&folder) {
        Ok(meta) if meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() => Ok(()),
        _ => Err(error),
    });
    made.with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

/// Makes a folder that only its owner may read.
pub fn private(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}

/// The folder of a running machine: disk, keys, sockets.
#[derive(Debug)]
pub(super) struct MachineDir {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    cleanup: Arc<CleanupJournal>,
}

impl MachineDir {
    pub(super) fn make(context: &Context, name: &str) -> anyhow::Result<MachineDir> {
        let run = run_folder(&context.cleanup, &context.run)?;
        for number in 1..10_000 {
            let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            let folder = run.join(&name);
            anyhow::ensure!(
                folder.as_os_str().len() + "/arrival".len() <= SOCKET,
                "{} is too long for a socket's path: give the run a shorter id",
                folder.display()
            );
            match private(&folder) {
                Ok(()) => return Ok(MachineDir { name, folder, cleanup: Arc::clone(&context.cleanup) }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("{} cannot be made", folder.display())),
            }
        }
        anyhow::bail!("{} holds too many machines called {name}", run.display())
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("machine.log")
    }

    /// Returns the error of a program that ended, with the end of its output.
    pub(super) fn ended(&self, program: &str, status: Status) -> anyhow::Error {
        let printed = fs::read_to_string(self.log()).unwrap_or_default();
        let end = tail(&printed, 3).replace('\n', "; ");
        anyhow::anyhow!("{program} ended with {status}: {}", if end.is_empty() { "it said nothing" } else { &end })
    }

    /// Removes it; what cannot be removed goes with the run's folder, which the cleanup journal lists.
    pub(super) fn remove(&self) {
        let _ = self.cleanup.release(&Resource::Path { path: self.folder.clone() });
    }
}

impl Drop for MachineDir {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_busy_when_they_neither_idle_nor_wait() {
        assert_eq!(busy("100\ncpu  10 20 30 5000 400 1 2 37 0 0\ncpu0 1"), Some(1.0));
        assert_eq!(busy("100\ncpu  10 20\n"), None);
        assert_eq!(busy(""), None);
    }

    #[test]
    fn only_the_main_machine_has_no_name_before_its_files() {
        let evidence = Path::new("/e");
        assert_eq!(evidence_file(evidence, "nano", "console.log"), Path::new("/e/console.log"));
        assert_eq!(evidence_file(evidence, "nano-2", "journal.log"), Path::new("/e/nano-2.journal.log"));
    }

    #[test]
    fn machines_of_one_name_are_numbered_and_their_folders_go() {
        let context = super::super::tests::context();
        let first = MachineDir::make(&context, "m").unwrap();
        let second = MachineDir::make(&context, "m").unwrap();
        assert_eq!((first.name.as_str(), second.name.as_str()), ("m", "m-2"));
        let folder = first.folder.clone();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        drop(first);
        assert!(!folder.exists() && second.folder.exists());
        assert_eq!(MachineDir::make(&context, "m").unwrap().name, "m");
        assert!(context.cleanup.close().is_empty());
        assert!(!folder.parent().unwrap().exists(), "the run's folder goes with the journal");
    }
}
