//! Runs commands on a remote machine that OpenSSH's own `ssh` enters, so that all of the user's configuration counts:
//! one `ssh` keeps the connection (its *master*), and each command is an `ssh` that uses it.

mod destination;
mod login_shell;
mod master;
mod refusal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore};

pub use destination::SshDestination;
pub use refusal::EnterError;

use self::login_shell::{Mark, instead};
use self::master::Master;
use super::local::Local;
use super::{Printed, SESSIONS, ShellError};
use crate::exec::command::{Command, Output, Status, tail};

/// The time limit of the first command: the machine's CPU may be emulated.
const FIRST: Duration = Duration::from_secs(60);
const KILLING: Duration = Duration::from_secs(10);
/// The pause between attempts to get a session, or a port that was ours before.
const PAUSE: Duration = Duration::from_millis(200);
/// How often to try that: the sshd of a lost connection holds a port until it notices the loss, and that of a session
/// that is over takes a moment to count it out.
const TRIES: usize = 25;
/// What `ssh` says if the server opens no further session.
const REFUSED: &str = "refused by peer";
/// What `ssh` exits with after any failure of its own.
const FAILED: Status = Status::Code(255);

/// A remote machine that was entered. A connection that is found lost before a command is sent is made again.
pub struct OpenSsh {
    destination: SshDestination,
    pub(super) machine: String,
    mark: Mark,
    /// The host key that the machine showed first.
    host_key: String,
    connection: Mutex<Connection>,
    sessions: Semaphore,
}

struct Connection {
    master: Arc<Master>,
    /// The forwarded ports of the machine, and the ports of this host's loopback that they lead to.
    forwards: BTreeMap<u16, u16>,
}

impl OpenSsh {
    /// Enters a remote machine as `ssh` does, and checks that commands run there.
    pub async fn enter(destination: &SshDestination) -> Result<OpenSsh, EnterError> {
        let machine = destination.machine();
        let mark = Mark::new().map_err(|error| destination.no_connection(format!("{error:#}")))?;
        let master = Arc::new(Master::enter(destination).await?);
        let openssh = OpenSsh {
            destination: destination.clone(),
            machine: machine.clone(),
            mark,
            host_key: master.host_key(),
            connection: Mutex::new(Connection { master, forwards: BTreeMap::new() }),
            sessions: Semaphore::new(SESSIONS),
        };
        let instead = match openssh.run(&Command::new("true").time_limit(FIRST)).await {
            Ok(_) => return Ok(openssh),
            Err(ShellError::NoShell { instead, .. }) => instead,
            Err(error) => format!("nothing ({error})"),
        };
        Err(EnterError::NotIn(format!(
            "{machine}: no command runs there for this user: instead it printed {instead}; give the user a login shell \
             (`chsh`), or its key no forced command"
        )))
    }

    pub(super) async fn run(&self, command: &Command) -> Result<Output, ShellError> {
        let _turn = self.sessions.acquire().await;
        let started = Instant::now();
        let (machine, line) = (self.machine.clone(), command.line());
        let sent = Command { argv: vec![self.mark.line(command)], ..command.clone() };
        let mut printed = Printed::default();
        let status = match self.send(&sent, &line, &mut printed).await {
            Err(error @ (ShellError::TimedOut { .. } | ShellError::TooMuch { .. })) => {
                self.kill(&printed).await;
                return Err(error);
            }
            ended => ended?,
        };
        let lost = |detail| ShellError::Lost { machine: machine.clone(), line: line.clone(), detail };
        let own = match self.mark.own(&printed) {
            Some(own) => own,
            None if status == FAILED => return Err(lost(instead(&printed, status))),
            None => return Err(ShellError::NoShell { machine, line, instead: instead(&printed, status) }),
        };
        let Some(status) = own.status else {
            let words = self.connection.lock().await.master.words();
            return Err(lost(
                format!("the machine did not say how it ended; {words}").trim_end_matches("; ").to_owned(),
            ));
        };
        let printed = Printed { stdout: own.stdout, stderr: own.stderr };
        Ok(printed.output(line, status, started))
    }

    /// Sends a line to the login shell. As long as nothing was sent, a lost connection can safely be made again, once,
    /// and a session that the server refused can be asked for again.
    async fn send(&self, command: &Command, line: &str, printed: &mut Printed) -> Result<Status, ShellError> {
        let lost = |detail| ShellError::Lost { machine: self.machine.clone(), line: line.to_owned(), detail };
        let (mut connected_again, mut tries) = (false, 0);
        loop {
            let master = Arc::clone(&self.connection.lock().await.master);
            *printed = Printed::default();
            let session = master.session(command, &self.mark.not_sent());
            let ended = Local::default().follow(&session, &self.machine, line, printed).await;
            if !self.mark.was_not_sent(printed) {
                return ended;
            }
            let words = String::from_utf8_lossy(&printed.stderr);
            if words.contains(REFUSED) {
                // MaxSessions is below its default: wait for another command in progress to end.
                tries += usize::from(self.sessions.available_permits() + 1 == SESSIONS);
                if tries > TRIES {
                    return Err(lost("it opens no session: what is MaxSessions in its sshd_config?".to_owned()));
                }
                tokio::time::sleep(PAUSE).await;
            } else if connected_again {
                return Err(lost(tail(&words, 1)));
            } else {
                self.connect_again(&master).await?;
                connected_again = true;
            }
        }
    }

    /// Kills an abandoned command. If the connection is lost, this fails, and sshd ends what it started.
    async fn kill(&self, printed: &Printed) {
        let Some(line) = self.mark.kill(&printed.stdout) else { return };
        let master = Arc::clone(&self.connection.lock().await.master);
        let kill = master.session(&Command::new(line).time_limit(KILLING), "false");
        for _ in 0..TRIES {
            match Local::default().run(&kill).await {
                Ok(output) if output.errors().contains(REFUSED) => tokio::time::sleep(PAUSE).await,
                _ => return,
            }
        }
    }

    /// Makes a lost connection again, with all its ports. Only the first caller to notice the loss does that.
    async fn connect_again(&self, lost: &Arc<Master>) -> Result<(), ShellError> {
        let mut connection = self.connection.lock().await;
        if !Arc::ptr_eq(&connection.master, lost) {
            return Ok(());
        }
        let failed = |detail: String| ShellError::NoConnection {
            machine: self.machine.clone(),
            address: self.destination.address(),
            detail: format!("it was lost, and cannot be made again: {detail}"),
        };
        let master = Master::enter(&self.destination).await.map_err(|error| failed(error.to_string()))?;
        let (before, now) = (&self.host_key, master.host_key());
        if *before != now {
            return Err(failed(format!(
                "it shows the host key {now}, but it had {before} when it was entered: ask who runs it, then begin anew"
            )));
        }
        for (port, local) in &connection.forwards {
            self.forward_again(&master, *port, *local).await?;
        }
        connection.master = Arc::new(master);
        Ok(())
    }

    async fn forward_again(&self, master: &Master, port: u16, local: u16) -> Result<(), ShellError> {
        for _ in 1..TRIES {
            if master.forward(port, local).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        let detail = |error| format!("port {port} cannot be had again after the connection was lost ({error})");
        master.forward(port, local).await.map(|_| ()).map_err(|error| self.no_forward(local, detail(error)))
    }

    /// Forwards a port of the machine's loopback to `local` here, also after a reconnect, and returns it.
    pub async fn forward_back(&self, local: u16) -> Result<u16, ShellError> {
        let master = Arc::clone(&self.connection.lock().await.master);
        let mut port = master.forward(0, local).await;
        if port.is_err() && !master.is_up().await {
            self.connect_again(&master).await?;
            port = self.connection.lock().await.master.forward(0, local).await;
        }
        let port = port.map_err(|error| self.no_forward(local, error))?;
        self.connection.lock().await.forwards.insert(port, local);
        Ok(port)
    }

    fn no_forward(&self, port: u16, detail: String) -> ShellError {
        ShellError::NoForward { machine: self.machine.clone(), port, detail }
    }
}
