//! Where commands run: over SSH, on this host, or in a test's imagination. Three verbs: run, put, get.
//!
//! Whatever runs is shown to a [`CommandObserver`], so that the transcript of a run is complete by construction.

mod fake;
mod local;
mod server;
mod ssh;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use fake::Fake;
pub use local::Local;
pub use server::{Answer, Reply, Server};
pub use ssh::{EnterError, Login, Ssh, SshDestination, new_key, old_keys};

use crate::base::unit::Bytes;
use crate::exec::command::{Command, Output, quote};

/// Sees every command that runs anywhere, and how it ended.
pub trait CommandObserver: Send + Sync {
    /// A command on `machine` ended, or could not be brought to an end.
    fn saw(&self, machine: &str, command: &Command, outcome: &Result<Output, ShellError>);
}

/// A witness that looks away; for tests and for tools that keep no evidence.
#[derive(Debug, Default)]
pub struct NoopObserver;

impl CommandObserver for NoopObserver {
    fn saw(&self, _: &str, _: &Command, _: &Result<Output, ShellError>) {}
}

/// Why a command could not be brought to an end. Always the infrastructure's fault, never a claim's.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The program is not there or cannot be started.
    #[error("{machine}: cannot start {program}: {source}; {remedy}")]
    Start {
        /// Where.
        machine: String,
        /// What.
        program: String,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        remedy: String,
    },
    /// It ran for longer than it may.
    #[error("{machine}: `{line}` did not end within {limit:?}")]
    TimedOut {
        /// Where.
        machine: String,
        /// What.
        line: String,
        /// How long it had.
        limit: Duration,
    },
    /// It printed more than it may.
    #[error("{machine}: `{line}` printed more than {limit}, and was cut off: have it print less")]
    TooMuch {
        /// Where.
        machine: String,
        /// What.
        line: String,
        /// How much each of its streams may have.
        limit: Bytes,
    },
    /// The connection is gone, and with it the knowledge of how the command ended.
    #[error("{machine}: connection lost during `{line}`: {detail}")]
    Lost {
        /// Where.
        machine: String,
        /// What ran.
        line: String,
        /// What was seen.
        detail: String,
    },
    /// Somebody answers who is not the machine that was meant.
    #[error(
        "{machine}: {address} shows another host key ({shown}) than the one pinned for it ({pinned}): it is not that machine, \
         and nothing was sent to it"
    )]
    OtherHost {
        /// Which machine was meant.
        machine: String,
        /// Its address.
        address: String,
        /// The fingerprint of the key that was shown.
        shown: String,
        /// The fingerprint of the key that belongs to it.
        pinned: String,
    },
    /// No connection could be made.
    #[error("{machine}: no SSH connection to {address}: {detail}")]
    NoConnection {
        /// Which machine.
        machine: String,
        /// Its address.
        address: String,
        /// What was seen, and what to do.
        detail: String,
    },
    /// Somebody else's machine let the user in, but did not run the command.
    #[error("{machine}: `{line}` did not come to run; instead the machine printed {said}")]
    NoShell {
        /// Where.
        machine: String,
        /// What should have run.
        line: String,
        /// What was printed instead, and how that ended.
        said: String,
    },
    /// A port of the machine cannot lead back to this host.
    #[error(
        "{machine}: no port there leads back to {local} here: {detail}; its sshd_config needs `AllowTcpForwarding yes` (or \
         `remote`), no `DisableForwarding yes`, and no PermitListen that leaves it out"
    )]
    NoForward {
        /// Which machine.
        machine: String,
        /// Where on this host it should lead.
        local: String,
        /// What was seen.
        detail: String,
    },
}

/// A place where commands run.
#[derive(Clone)]
pub struct Shell {
    machine: Arc<str>,
    observer: Arc<dyn CommandObserver>,
    /// What is set for each command.
    variables: Arc<[(String, String)]>,
    executor: Executor,
}

#[derive(Clone)]
enum Executor {
    Local(Local),
    Ssh(Arc<Ssh>),
    Fake(Arc<Fake>),
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Shell({})", self.machine)
    }
}

impl Shell {
    /// Commands on this host.
    pub fn local(observer: Arc<dyn CommandObserver>) -> Shell {
        let executor = Executor::Local(Local::default());
        Shell { machine: "host".into(), observer, variables: Arc::default(), executor }
    }

    /// Commands on this host that begin in a folder, as those of a login begin in the user's home.
    pub fn local_in(folder: PathBuf, observer: Arc<dyn CommandObserver>) -> Shell {
        let executor = Executor::Local(Local { folder: Some(folder) });
        Shell { executor, ..Shell::local(observer) }
    }

    /// Commands over one kept SSH connection.
    pub fn ssh(ssh: Ssh, observer: Arc<dyn CommandObserver>) -> Shell {
        let machine = ssh.machine().into();
        Shell { machine, observer, variables: Arc::default(), executor: Executor::Ssh(Arc::new(ssh)) }
    }

    /// Commands that a test answers.
    pub fn fake(fake: Fake) -> Shell {
        let executor = Executor::Fake(Arc::new(fake));
        Shell { machine: "fake".into(), observer: Arc::new(NoopObserver), variables: Arc::default(), executor }
    }

    /// The same, with another name of the machine in what is said of its commands.
    pub fn named(self, machine: &str) -> Shell {
        Shell { machine: machine.into(), ..self }
    }

    /// The same, with variables that are set for each command.
    pub fn with_variables(self, variables: impl IntoIterator<Item = (String, String)>) -> Shell {
        Shell { variables: variables.into_iter().collect(), ..self }
    }

    /// The variables that are set for each command.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Has the machine carry connections to a port of its loopback back to an address here; gives the port. On this host
    /// it is the same one.
    ///
    /// # Errors
    /// The machine's SSH server does not do that.
    pub async fn forward_back(&self, port: u16) -> Result<u16, ShellError> {
        match &self.executor {
            Executor::Ssh(ssh) => ssh.forward_back(&format!("127.0.0.1:{port}")).await,
            Executor::Local(_) | Executor::Fake(_) => Ok(port),
        }
    }

    /// Logs out, where there was a login: no command can be run any more.
    pub async fn close(&self) {
        if let Executor::Ssh(ssh) = &self.executor {
            ssh.close().await;
        }
    }

    /// The name of the machine the commands run on.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Runs a command to its end, whatever its exit status.
    ///
    /// # Errors
    /// Only where the command could not be brought to an end; an exit status other than 0 is no error here.
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
            Executor::Fake(fake) => fake.run(command),
        };
        self.observer.saw(&self.machine, command, &outcome);
        outcome
    }

    /// Runs a command that must exit with code 0, and gives what it printed.
    ///
    /// # Errors
    /// Where it could not be brought to an end or exited with another code.
    pub async fn read(&self, command: &Command) -> anyhow::Result<String> {
        let output = self.run(command).await?.success()?;
        Ok(output.text())
    }

    /// Writes a file, its folder too if need be.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub async fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) -> anyhow::Result<()> {
        let script = format!("mkdir -p \"$(dirname {0})\" && cat > {0}", quote(path));
        self.run(&Command::new("sh").args(["-c", &script]).stdin(bytes)).await?.success()?;
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.run(&Command::new("cat").arg(path)).await?.success()?.stdout)
    }
}
