//! Commands over one kept SSH connection: to a machine of ours with its host's key pinned, or to somebody else's.

mod arrival;
mod config;
mod entrance;
mod forward;
mod keys;
mod known;
mod login_shell;
mod peer;
mod route;

use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::{self, AuthResult, Handle, Msg};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Preferred, Sig, kex};
use tokio::sync::{Mutex, Semaphore};

pub use entrance::{EnterError, SshDestination};

use self::login_shell::Mark;
use self::peer::{Peer, Seen, fingerprint};
use self::route::Route;
use super::ShellError;
use crate::base::procfs;
use crate::base::unit::Bytes;
use crate::exec::command::{Command, Output, Status};

/// Fewer than sshd's own limit (`MaxSessions 10`), so that nothing is refused.
const CHANNELS: usize = 8;
/// A machine that is silent for this long, three times over, is gone.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// On an emulated CPU the handshake alone takes seconds.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// Between two tries to open a channel where there are too many.
const PAUSE: Duration = Duration::from_millis(100);
/// How long somebody else's machine may take to end a command that is given up.
const KILLED: Duration = Duration::from_secs(10);
/// More than any command here has to say, on each of its streams, in bytes.
const OUTPUT: usize = 64 * 1024 * 1024;

/// Where and as whom to log in, and the only host key to accept.
#[derive(Clone, Debug)]
pub struct Login {
    /// The machine's name, for messages.
    pub machine: String,
    /// `host:port`.
    pub address: String,
    /// The user.
    pub user: String,
    /// The user's private key.
    pub key: PrivateKey,
    /// The host's public key; any other is refused.
    pub host_key: PublicKey,
}

/// One connection, kept open.
pub struct Ssh {
    machine: String,
    wire: Mutex<Arc<Wire>>,
    foreign: Option<Foreign>,
    channels: Semaphore,
    output: usize,
}

/// An open connection, with those that it leads through.
struct Wire {
    handle: Handle<Peer>,
    _behind: Vec<Handle<Peer>>,
}

/// What a machine of somebody else's needs: the way to it, should the connection be lost, and through its login shell.
struct Foreign {
    route: Route,
    mark: Mark,
}

/// A fresh ed25519 key: the private part and its OpenSSH text.
///
/// # Errors
/// Where the system gives no random bytes.
pub fn new_key(comment: &str) -> anyhow::Result<(PrivateKey, String)> {
    let key = PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(&procfs::random()?)), comment)?;
    let text = key.to_openssh(LineEnding::LF)?.to_string();
    Ok((key, text))
}

/// A private key as OpenSSH writes it, and a public one: `ssh-ed25519 AAAA…`.
///
/// # Errors
/// One of them is none.
pub fn old_keys(private: &str, public: &str) -> anyhow::Result<(PrivateKey, PublicKey)> {
    Ok((PrivateKey::from_openssh(private)?, PublicKey::from_openssh(public)?))
}

/// What is asked for first where the way never leaves this host: nobody listens there who might have a quantum computer
/// one day, and on the other side is an emulated CPU.
fn preferred(address: &str) -> Preferred {
    let usual = Preferred::DEFAULT;
    if !address.starts_with("127.0.0.1:") {
        return usual;
    }
    let slow = |name: &kex::Name| *name == kex::MLKEM768X25519_SHA256;
    Preferred { kex: usual.kex.iter().filter(|name| !slow(name)).copied().collect(), ..usual }
}

/// How a server is spoken to.
fn talk(preferred: Preferred) -> client::Config {
    client::Config {
        nodelay: true,
        preferred,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        ..client::Config::default()
    }
}

impl Ssh {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Nobody answers, the host shows another key than the pinned one, or it refuses ours.
    pub async fn connect(login: &Login) -> Result<Ssh, ShellError> {
        let failed = |detail: String| ShellError::NoConnection {
            machine: login.machine.clone(),
            address: login.address.clone(),
            detail,
        };
        let seen = Seen::default();
        match tokio::time::timeout(HANDSHAKE, Self::handshake(login, seen.clone())).await {
            Err(_) => Err(failed(format!("no answer within {HANDSHAKE:?}"))),
            Ok(Err(russh::Error::UnknownKey)) => Err(ShellError::OtherHost {
                machine: login.machine.clone(),
                address: login.address.clone(),
                shown: seen.key().map_or_else(|| "a certificate".to_owned(), fingerprint),
                pinned: fingerprint(&login.host_key),
            }),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Ok(Ok((_, false))) => Err(failed(format!("the host refuses our key for user {}", login.user))),
            Ok(Ok((handle, true))) => {
                let wire = Wire { handle, _behind: Vec::new() };
                Ok(Ssh::over(login.machine.clone(), wire, None))
            }
        }
    }

    async fn handshake(login: &Login, seen: Seen) -> Result<(Handle<Peer>, bool), russh::Error> {
        let pinned = login.host_key.clone();
        let peer = Peer::new(seen, move |key| key.key_data() == pinned.key_data());
        let config = Arc::new(talk(preferred(&login.address)));
        let mut handle = client::connect(config, login.address.as_str(), peer).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(login.key.clone()), None);
        let answer = handle.authenticate_publickey(login.user.as_str(), key).await?;
        Ok((handle, matches!(answer, AuthResult::Success)))
    }

    /// Enters a machine that somebody else runs, by the user's own ssh_config, known hosts, keys and agent, and sees that
    /// commands run there.
    ///
    /// # Errors
    /// Nobody answers, its host key is not known or is another one, it refuses the user's keys, or runs no command.
    pub async fn enter(entrance: &SshDestination) -> Result<Ssh, EnterError> {
        let route = Route::find(entrance).await?;
        let (machine, user) = (route.machine.clone(), route.user().to_owned());
        let said = |said: String| EnterError::NoShell { machine: machine.clone(), user: user.clone(), said };
        let mark = Mark::new()
            .map_err(|error| EnterError::Config { host: entrance.host.clone(), detail: error.to_string() })?;
        let wire = route.go().await?;
        let ssh = Ssh::over(machine.clone(), wire, Some(Foreign { route, mark }));
        match ssh.run(&Command::new("true").time_limit(HANDSHAKE)).await {
            Ok(_) => Ok(ssh),
            Err(ShellError::NoShell { said: instead, .. }) => Err(said(instead)),
            Err(error) => Err(said(format!("nothing ({error})"))),
        }
    }

    fn over(machine: String, wire: Wire, foreign: Option<Foreign>) -> Ssh {
        let (wire, channels) = (Mutex::new(Arc::new(wire)), Semaphore::new(CHANNELS));
        Ssh { machine, wire, foreign, channels, output: OUTPUT }
    }

    /// Cuts commands off that print more than so many bytes on one of their streams; else at 64 MiB.
    pub fn output_limit(self, bytes: usize) -> Ssh {
        Ssh { output: bytes, ..self }
    }

    pub(super) fn machine(&self) -> &str {
        &self.machine
    }

    /// Says goodbye; commands that still run are left to the machine.
    pub async fn close(&self) {
        let _ = self.wire.lock().await.handle.disconnect(Disconnect::ByApplication, "", "en").await;
    }

    pub(super) async fn run(&self, command: &Command) -> Result<Output, ShellError> {
        let started = Instant::now();
        let line = command.line();
        let lost = |detail: String| ShellError::Lost { machine: self.machine.clone(), line: line.clone(), detail };
        let _turn = self.channels.acquire().await.map_err(|error| lost(error.to_string()))?;
        let (reader, writer) = self.channel(&lost).await?.split();
        let sent = self.foreign.as_ref().map_or_else(|| line.clone(), |foreign| foreign.mark.line(command));
        let mut heard = Heard::default();
        let talk = async {
            writer.exec(true, sent.as_str()).await?;
            let feed = async {
                writer.data_bytes(command.stdin.clone()).await?;
                writer.eof().await
            };
            // A program that ends before it has read everything closes the channel under the feed: its status tells.
            let (whole, _) = tokio::join!(listen(reader, self.output, &mut heard), feed);
            Ok::<_, russh::Error>(whole)
        };
        let Ok(whole) = tokio::time::timeout(command.time_limit, talk).await else {
            self.end(&writer, &heard).await;
            return Err(ShellError::TimedOut { machine: self.machine.clone(), line, limit: command.time_limit });
        };
        if !whole.map_err(|error| lost(error.to_string()))? {
            self.end(&writer, &heard).await;
            return Err(ShellError::TooMuch { machine: self.machine.clone(), line, limit: Bytes(self.output as u64) });
        }
        let Some(status) = heard.status else {
            return Err(lost("the machine did not say how it ended".to_owned()));
        };
        let output = Output { line, status, stdout: heard.stdout, stderr: heard.stderr, wall: started.elapsed() };
        match &self.foreign {
            None => Ok(output),
            Some(foreign) => {
                let line = output.line.clone();
                let machine = self.machine.clone();
                foreign.mark.own(output).map_err(|said| ShellError::NoShell { machine, line, said })
            }
        }
    }

    /// Ends a command: a channel that is merely dropped leaves its process running, and so may a signal that somebody
    /// else's sshd is asked to send.
    async fn end(&self, channel: &ChannelWriteHalf<Msg>, heard: &Heard) {
        let _ = channel.signal(Sig::KILL).await;
        let _ = channel.close().await;
        let Some(line) = self.foreign.as_ref().and_then(|foreign| foreign.mark.end(&heard.stdout)) else { return };
        let wire = self.wire.lock().await.clone();
        let kill = async {
            let (reader, writer) = wire.handle.channel_open_session().await?.split();
            writer.exec(true, line).await?;
            listen(reader, self.output, &mut Heard::default()).await;
            Ok::<_, russh::Error>(())
        };
        // With the connection gone there is nobody to ask, and sshd ends what it started.
        let _ = tokio::time::timeout(KILLED, kill).await;
    }

    /// A channel for one command. Nothing was sent of it before there is one, so that somebody else's machine is entered
    /// anew, once, if the connection turns out to be gone.
    async fn channel(&self, lost: &impl Fn(String) -> ShellError) -> Result<Channel<Msg>, ShellError> {
        let mut wire = self.wire.lock().await.clone();
        let mut made_again = false;
        loop {
            let error = match wire.handle.channel_open_session().await {
                Ok(channel) => return Ok(channel),
                Err(error) => error,
            };
            let Some(foreign) = &self.foreign else { return Err(lost(error.to_string())) };
            match error {
                // A MaxSessions below the usual: another command is under way, and ends some time.
                russh::Error::ChannelOpenFailure(_) if self.channels.available_permits() + 1 < CHANNELS => {
                    tokio::time::sleep(PAUSE).await;
                }
                russh::Error::ChannelOpenFailure(_) => {
                    return Err(lost(format!(
                        "it opens no session ({error}): what is MaxSessions in its sshd_config?"
                    )));
                }
                error if made_again => return Err(lost(error.to_string())),
                _ => {
                    wire = self.again(foreign, &wire).await?;
                    made_again = true;
                }
            }
        }
    }
}

#[derive(Default)]
struct Heard {
    status: Option<Status>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Listens to the very end: the exit status may come before or after the last output. Not so far where a stream has more
/// than `limit` bytes.
async fn listen(mut channel: ChannelReadHalf, limit: usize, heard: &mut Heard) -> bool {
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => heard.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, .. } => heard.stderr.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => heard.status = Some(Status::Code(exit_status as i32)),
            ChannelMsg::ExitSignal { signal_name, .. } => heard.status = Some(Status::Signal(number(&signal_name))),
            _ => {}
        }
        if heard.stdout.len().max(heard.stderr.len()) > limit {
            return false;
        }
    }
    true
}

fn number(signal: &Sig) -> i32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        _ => -1,
    }
}
