//! Keeps long-lived processes of this host, such as QEMU or a build, which end with the run, however it ends.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use crate::base::lock::lock;
use crate::base::{commands, procfs, programs};
use crate::exec::cleanup::{CleanupJournal, Resource};
use crate::exec::command::Status;

/// The search path for programs; an ordinary user's own path lacks the `sbin` folders.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A running program with its own process group and an entry in the cleanup journal. Dropping it ends it.
#[derive(Debug)]
pub struct Child {
    /// `None` if it ended before it could be registered.
    resource: Option<Resource>,
    cleanup: Arc<CleanupJournal>,
    end: watch::Receiver<Option<Status>>,
    /// The other end of its standard input, if it ends when that closes.
    lifeline: Mutex<Option<ChildStdin>>,
}

impl Child {
    pub fn start<W: AsRef<OsStr>>(argv: &[W], log: &Path, cleanup: &Arc<CleanupJournal>) -> anyhow::Result<Child> {
        let setpriv = programs::need("setpriv", &commands::setup(""))?;
        let out = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let mut process = std::process::Command::new(setpriv);
        process
            .args(["--pdeathsig", "KILL"])
            .args(argv)
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0);
        let program = argv.first().map(AsRef::as_ref).unwrap_or_default();
        let mut started = nursery(process).with_context(|| format!("{} cannot be started", program.display()))?;
        let resource = Resource::process(started.id()).ok();
        if let Some(Err(error)) = resource.clone().map(|resource| cleanup.register(resource)) {
            let _ = started.kill();
            return Err(error);
        }
        Ok(Child::of(started, resource, cleanup))
    }

    /// Starts a program that ends when its standard input closes, with all that it has started: root's processes, which
    /// this user may not end.
    pub fn held(argv: &[String], output: &Path, errors: &Path, cleanup: &Arc<CleanupJournal>) -> anyhow::Result<Child> {
        let open = |path: &Path| File::create(path).with_context(|| format!("{} cannot be written", path.display()));
        let mut process = std::process::Command::new(&argv[0]);
        process.args(&argv[1..]).env("PATH", PATH).env("LC_ALL", "C.UTF-8").process_group(0);
        process.stdin(Stdio::piped()).stdout(open(output)?).stderr(open(errors)?);
        let started = process.spawn().with_context(|| format!("{} cannot be started", argv[0]))?;
        Ok(Child::of(started, None, cleanup))
    }

    fn of(mut started: std::process::Child, resource: Option<Resource>, cleanup: &Arc<CleanupJournal>) -> Child {
        let lifeline = Mutex::new(started.stdin.take());
        let (tell, end) = watch::channel(None);
        // One thread per program waits for its end: this notices it at once, and leaves no zombie.
        std::thread::spawn(move || {
            let ended = started.wait().map_or(Status::Code(-1), Status::from);
            let _ = tell.send(Some(ended));
        });
        Child { resource, cleanup: Arc::clone(cleanup), end, lifeline }
    }

    pub fn ended(&self) -> Option<Status> {
        *self.end.borrow()
    }

    pub async fn wait(&self) -> Status {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        ended.unwrap_or(Status::Code(-1))
    }

    pub fn pid(&self) -> Option<i32> {
        match self.resource {
            Some(Resource::Process { pid, .. }) => Some(pid),
            _ => None,
        }
    }

    /// Returns the CPU time it has used so far; `None` once it has ended.
    pub fn cpu_time(&self) -> Option<Duration> {
        procfs::cpu_time(self.pid()?)
    }

    pub fn end(&self) {
        drop(lock(&self.lifeline).take());
        // A process that cannot be ended stays in the cleanup journal, which reports it.
        let _ = self.resource.as_ref().map(|resource| self.cleanup.release(resource));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

type Birth = (std::process::Command, mpsc::Sender<std::io::Result<std::process::Child>>);

/// Starts a process from a thread that lives as long as this program. The parent-death signal is sent when the *thread*
/// that started a process ends, and a runtime may end its threads at any time.
fn nursery(process: std::process::Command) -> std::io::Result<std::process::Child> {
    static BIRTHS: LazyLock<Mutex<mpsc::Sender<Birth>>> = LazyLock::new(|| {
        let (sender, births) = mpsc::channel::<Birth>();
        std::thread::spawn(move || {
            for (mut process, answer) in births {
                let _ = answer.send(process.spawn());
            }
        });
        Mutex::new(sender)
    });
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    let (answer, born) = mpsc::channel();
    lock(&BIRTHS).send((process, answer)).map_err(|_| gone())?;
    born.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn its_end_is_noticed_and_its_output_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cleanup = Arc::new(CleanupJournal::open(&folder.path().join("journals"), "run").unwrap());
        let log = folder.path().join("log");
        let script = ["sh", "-c", "echo one; echo two >&2; sleep 0.1; exit 3"];
        let child = Child::start(&script, &log, &cleanup).unwrap();
        assert_eq!(child.ended(), None);
        assert!(child.cpu_time().is_some());
        assert_eq!(child.wait().await, Status::Code(3));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\n");
        let child = Child::start(&["false"], &log, &cleanup).unwrap();
        assert_eq!(child.wait().await, Status::Code(1));
    }

    #[tokio::test]
    async fn it_ends_when_it_is_dropped_or_the_journal_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let cleanup = Arc::new(CleanupJournal::open(&folder.path().join("journals"), "run").unwrap());
        let log = folder.path().join("log");
        let script = ["sh", "-c", "sleep 60 & wait"];
        let dropped = Child::start(&script, &log, &cleanup).unwrap();
        let mut end = dropped.end.clone();
        drop(dropped);
        end.wait_for(Option::is_some).await.unwrap();
        assert_eq!(*end.borrow(), Some(Status::Signal(9)));

        let closed = Child::start(&script, &log, &cleanup).unwrap();
        assert!(cleanup.close().is_empty());
        assert_eq!(closed.wait().await, Status::Signal(9));
    }
}
