//! Runs commands and copies files: over SSH, on this host, or with answers from a test. Three verbs: run, put, get.
//! Machines of our own are entered by `ssh`, with a pinned host key; remote machines by `openssh`, as their user enters
//! them.
//!
//! A [`CommandObserver`] sees every command, so that the transcript of a run is complete by construction.

mod fake;
mod local;
mod openssh;
mod server;
mod ssh;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
pub use fake::Fake;
pub use local::Local;
pub use openssh::{EnterError, OpenSsh, SshDestination};
pub use server::{Reply, Server};
pub use ssh::{Login, Ssh, new_key, old_keys};

use crate::base::unit::Bytes;
use crate::exec::command::{Command, Output, Status, quote};

/// The output limit of a command for each stream, in bytes: more than any command here prints.
const OUTPUT_LIMIT: usize = 64 * 1024 * 1024;
/// How many commands run over a connection at once: fewer than sshd's default limit (`MaxSessions 10`).
const SESSIONS: usize = 8;

#[derive(Debug, Default)]
struct Printed {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Printed {
    fn output(self, line: String, status: Status, started: Instant) -> Output {
        Output { line, status, stdout: self.stdout, stderr: self.stderr, wall: started.elapsed() }
    }
}

/// Sees every command that runs on any machine, and its outcome.
pub trait CommandObserver: Send + Sync {
    fn on_command(&self, machine: &str, command: &Command, outcome: &Result<Output, ShellError>);
}

/// An observer that ignores everything, for tests and for tools that keep no evidence.
#[derive(Debug, Default)]
pub struct NoopObserver;

impl CommandObserver for NoopObserver {
    fn on_command(&self, _: &str, _: &Command, _: &Result<Output, ShellError>) {}
}

/// Why a command could not be completed. The cause is always the infrastructure, never a claim.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    #[error("{machine}: cannot start {program}: {source}; {remedy}")]
    Start { machine: String, program: String, source: std::io::Error, remedy: String },
    #[error("{machine}: `{line}` did not end within {limit:?}")]
    TimedOut { machine: String, line: String, limit: Duration },
    #[error("{machine}: `{line}` printed more than {}, and was cut off: have it print less", Bytes(OUTPUT_LIMIT as u64))]
    TooMuch { machine: String, line: String },
    #[error("{machine}: connection lost during `{line}`: {detail}")]
    Lost { machine: String, line: String, detail: String },
    #[error(
        "{machine}: {address} shows another host key ({shown}) than the one pinned for it ({pinned}): it is not that machine, \
         and nothing was sent to it"
    )]
    OtherHost { machine: String, address: String, shown: String, pinned: String },
    #[error("{machine}: no SSH connection to {address}: {detail}")]
    NoConnection { machine: String, address: String, detail: String },
    #[error("{machine}: `{line}` did not come to run; instead the machine printed {instead}")]
    NoShell { machine: String, line: String, instead: String },
    #[error(
        "{machine}: no port there leads back to port {port} here: {detail}; its sshd_config needs `AllowTcpForwarding yes` \
         (or `remote`), no `DisableForwarding yes`, and no PermitListen that leaves it out"
    )]
    NoForward { machine: String, port: u16, detail: String },
}

/// A machine on which commands can be run.
#[derive(Clone)]
pub struct Shell {
    machine: Arc<str>,
    observer: Arc<dyn CommandObserver>,
    variables: Arc<[(String, String)]>,
    executor: Executor,
}

#[derive(Clone)]
enum Executor {
    Local(Local),
    Ssh(Arc<Ssh>),
    OpenSsh(Arc<OpenSsh>),
    #[cfg(test)]
    Fake(Arc<Fake>),
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Shell({})", self.machine)
    }
}

impl Shell {
    pub fn local(observer: Arc<dyn CommandObserver>) -> Shell {
        Shell::of("host", Executor::Local(Local::default()), observer)
    }

    /// Runs commands on this host in a given folder, as a login shell starts in the user's home.
    pub fn local_in(folder: PathBuf, observer: Arc<dyn CommandObserver>) -> Shell {
        Shell::of("host", Executor::Local(Local { folder: Some(folder) }), observer)
    }

    /// Runs commands over one open SSH connection to a machine of our own.
    pub fn ssh(ssh: Ssh, observer: Arc<dyn CommandObserver>) -> Shell {
        Shell::of(&ssh.machine.clone(), Executor::Ssh(Arc::new(ssh)), observer)
    }

    /// Runs commands on a remote machine that was entered.
    pub fn remote(openssh: OpenSsh, observer: Arc<dyn CommandObserver>) -> Shell {
        Shell::of(&openssh.machine.clone(), Executor::OpenSsh(Arc::new(openssh)), observer)
    }

    /// Lets a test answer the commands.
    #[cfg(test)]
    pub fn fake(fake: Fake) -> Shell {
        Shell::of("fake", Executor::Fake(Arc::new(fake)), Arc::new(NoopObserver))
    }

    fn of(machine: &str, executor: Executor, observer: Arc<dyn CommandObserver>) -> Shell {
        Shell { machine: machine.into(), observer, variables: Arc::default(), executor }
    }

    /// Renames the machine in messages and transcripts.
    pub fn named(self, machine: &str) -> Shell {
        Shell { machine: machine.into(), ..self }
    }

    pub fn with_variables(self, variables: impl IntoIterator<Item = (String, String)>) -> Shell {
        Shell { variables: variables.into_iter().collect(), ..self }
    }

    /// Returns a shell whose commands leave no evidence: for copies of files that do not belong there.
    pub fn unobserved(&self) -> Shell {
        Shell { observer: Arc::new(NoopObserver), ..self.clone() }
    }

    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Forwards a port of a machine's loopback to `port` of this host's, and returns it; on this host it is `port`.
    pub async fn forward_back(&self, port: u16) -> Result<u16, ShellError> {
        match &self.executor {
            Executor::OpenSsh(openssh) => openssh.forward_back(port).await,
            Executor::Ssh(ssh) => ssh.forward_back(port).await,
            _ => Ok(port),
        }
    }

    /// Closes the SSH connection to a machine of our own; no command can run afterwards.
    pub async fn close(&self) {
        if let Executor::Ssh(ssh) = &self.executor {
            ssh.close().await;
        }
    }

    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Runs a command to its end; a nonzero exit status is not an error.
    pub async fn run(&self, command: &Command) -> Result<Output, ShellError> {
        let with_variables;
        let command = match self.variables.is_empty() {
            true => command,
            false => {
                let env = self.variables.iter().cloned().chain(command.env.iter().cloned()).collect();
                with_variables = Command { env, ..command.clone() };
                &with_variables
            }
        };
        let outcome = match &self.executor {
            Executor::Local(local) => local.run(command).await,
            Executor::Ssh(ssh) => ssh.run(command).await,
            Executor::OpenSsh(openssh) => openssh.run(command).await,
            #[cfg(test)]
            Executor::Fake(fake) => fake.run(command),
        };
        self.observer.on_command(&self.machine, command, &outcome);
        outcome
    }

    /// Runs a command that must exit with code 0, and returns its standard output.
    pub async fn read(&self, command: &Command) -> anyhow::Result<String> {
        Ok(self.run(command).await?.success()?.text())
    }

    /// Writes a file, and creates its folder if necessary.
    pub async fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) -> anyhow::Result<()> {
        let script = format!("mkdir -p \"$(dirname {0})\" && cat > {0}", quote(path));
        self.run(&Command::new("sh").args(["-c", &script]).stdin(bytes)).await?.success().map(drop)
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.run(&Command::new("cat").arg(path)).await?.success()?.stdout)
    }
}
