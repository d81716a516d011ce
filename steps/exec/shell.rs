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

pub use fake::Fake;
pub use local::Local;
pub use openssh::{EnterError, OpenSsh, SshDestination};
pub use server::{Reply, Server};
pub use ssh::{Login, Ssh, new_key, old_keys};

use crate::base::unit::Bytes;
use crate::exec::command::{Command, Output, Status, quote};

/// The output limit of a command for each stream, in bytes: more than any command here prints.
const OUTPUT_LIMIT: usize = 64 * 1024 * 1024;
/// How many commands run over a connection at once: below sshd's default limit (`MaxSessions 10`), so that none is
/// refused.
const SESSIONS: usize = 8;

/// What a command has printed so far.
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
    /// Is called when a command on `machine` has ended or could not be completed.
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
    /// The program is missing or cannot be started.
    #[error("{machine}: cannot start {program}: {source}; {remedy}")]
    Start {
        /// The machine.
        machine: String,
        /// The program.
        program: String,
        /// The operating system's error.
        source: std::io::Error,
        /// How to fix it.
        remedy: String,
    },
    /// It exceeded its time limit.
    #[error("{machine}: `{line}` did not end within {limit:?}")]
    TimedOut {
        /// The machine.
        machine: String,
        /// The command.
        line: String,
        /// Its time limit.
        limit: Duration,
    },
    /// It exceeded the output limit.
    #[error("{machine}: `{line}` printed more than {limit}, and was cut off: have it print less")]
    TooMuch {
        /// The machine.
        machine: String,
        /// The command.
        line: String,
        /// The limit for each output stream.
        limit: Bytes,
    },
    /// The connection was lost, so it is not known how the command ended.
    #[error("{machine}: connection lost during `{line}`: {detail}")]
    Lost {
        /// The machine.
        machine: String,
        /// The command.
        line: String,
        /// What was observed.
        detail: String,
    },
    /// Another machine answers at the address.
    #[error(
        "{machine}: {address} shows another host key ({shown}) than the one pinned for it ({pinned}): it is not that machine, \
         and nothing was sent to it"
    )]
    OtherHost {
        /// The expected machine.
        machine: String,
        /// Its address.
        address: String,
        /// The fingerprint of the host key that the server presented.
        shown: String,
        /// The fingerprint of the machine's own host key.
        pinned: String,
    },
    /// No connection could be made.
    #[error("{machine}: no SSH connection to {address}: {detail}")]
    NoConnection {
        /// The machine.
        machine: String,
        /// Its address.
        address: String,
        /// What was observed, and how to fix it.
        detail: String,
    },
    /// A remote machine accepted the login but did not run the command.
    #[error("{machine}: `{line}` did not come to run; instead the machine printed {instead}")]
    NoShell {
        /// The machine.
        machine: String,
        /// The command that should have run.
        line: String,
        /// What was printed instead, and how that ended.
        instead: String,
    },
    /// No port of the machine can be forwarded to this host.
    #[error(
        "{machine}: no port there leads back to port {port} here: {detail}; its sshd_config needs `AllowTcpForwarding yes` \
         (or `remote`), no `DisableForwarding yes`, and no PermitListen that leaves it out"
    )]
    NoForward {
        /// The machine.
        machine: String,
        /// The port of this host that it should lead to.
        port: u16,
        /// What was observed.
        detail: String,
    },
}

/// A machine on which commands can be run.
#[derive(Clone)]
pub struct Shell {
    machine: Arc<str>,
    observer: Arc<dyn CommandObserver>,
    /// The variables that are set for each command.
    variables: Arc<[(String, String)]>,
    executor: Executor,
}

#[derive(Clone)]
enum Executor {
    Local(Local),
    Ssh(Arc<Ssh>),
    OpenSsh(Arc<OpenSsh>),
    Fake(Arc<Fake>),
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Shell({})", self.machine)
    }
}

impl Shell {
    /// Runs commands on this host.
    pub fn local(observer: Arc<dyn CommandObserver>) -> Shell {
        let executor = Executor::Local(Local::default());
        Shell { machine: "host".into(), observer, variables: Arc::default(), executor }
    }

    /// Runs commands on this host in a given folder, as a login shell starts in the user's home.
    pub fn local_in(folder: PathBuf, observer: Arc<dyn CommandObserver>) -> Shell {
        let executor = Executor::Local(Local { folder: Some(folder) });
        Shell { executor, ..Shell::local(observer) }
    }

    /// Runs commands over one open SSH connection to a machine of our own.
    pub fn ssh(ssh: Ssh, observer: Arc<dyn CommandObserver>) -> Shell {
        let machine = ssh.machine().into();
        Shell { machine, observer, variables: Arc::default(), executor: Executor::Ssh(Arc::new(ssh)) }
    }

    /// Runs commands on a remote machine that was entered.
    pub fn remote(openssh: OpenSsh, observer: Arc<dyn CommandObserver>) -> Shell {
        let machine = openssh.machine().into();
        Shell { machine, observer, variables: Arc::default(), executor: Executor::OpenSsh(Arc::new(openssh)) }
    }

    /// Lets a test answer the commands.
    pub fn fake(fake: Fake) -> Shell {
        let executor = Executor::Fake(Arc::new(fake));
        Shell { machine: "fake".into(), observer: Arc::new(NoopObserver), variables: Arc::default(), executor }
    }

    /// Renames the machine in messages and transcripts.
    pub fn named(self, machine: &str) -> Shell {
        Shell { machine: machine.into(), ..self }
    }

    /// Replaces the variables that are set for each command.
    pub fn with_variables(self, variables: impl IntoIterator<Item = (String, String)>) -> Shell {
        Shell { variables: variables.into_iter().collect(), ..self }
    }

    /// Returns the variables that are set for each command.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Forwards a port of a remote machine's loopback to `port` of this host's loopback, and returns the machine's port.
    /// On this host it is `port` itself. Our own machines have other ways to this host.
    ///
    /// # Errors
    /// Returns an error if the machine's SSH server does not forward ports.
    pub async fn forward_back(&self, port: u16) -> Result<u16, ShellError> {
        match &self.executor {
            Executor::OpenSsh(openssh) => openssh.forward_back(port).await,
            Executor::Local(_) | Executor::Fake(_) => Ok(port),
            Executor::Ssh(ssh) => Err(ShellError::NoForward {
                machine: ssh.machine().to_owned(),
                port,
                detail: "it is a machine of our own".to_owned(),
            }),
        }
    }

    /// Closes the SSH connection to a machine of our own; no command can run afterwards.
    pub async fn close(&self) {
        if let Executor::Ssh(ssh) = &self.executor {
            ssh.close().await;
        }
    }

    /// Returns the name of the machine that the commands run on.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Runs a command to its end, whatever its exit status.
    ///
    /// # Errors
    /// Returns an error only if the command could not be completed; a nonzero exit status is not an error here.
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
            Executor::Fake(fake) => fake.run(command),
        };
        self.observer.on_command(&self.machine, command, &outcome);
        outcome
    }

    /// Runs a command that must exit with code 0, and returns its standard output.
    ///
    /// # Errors
    /// Returns an error if it could not be completed or exited with another code.
    pub async fn read(&self, command: &Command) -> anyhow::Result<String> {
        let output = self.run(command).await?.success()?;
        Ok(output.text())
    }

    /// Writes a file, and creates its folder if necessary.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub async fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) -> anyhow::Result<()> {
        let script = format!("mkdir -p \"$(dirname {0})\" && cat > {0}", quote(path));
        self.run(&Command::new("sh").args(["-c", &script]).stdin(bytes)).await?.success()?;
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.run(&Command::new("cat").arg(path)).await?.success()?.stdout)
    }
}
