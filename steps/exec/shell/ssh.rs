//! Runs commands over one open SSH connection: to our own machine with a pinned host key, or to a remote machine.

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

/// Below sshd's default limit (`MaxSessions 10`), so that no channel is refused.
const CHANNELS: usize = 8;
/// A machine that does not answer three keepalives at this interval is considered gone.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// On an emulated CPU the handshake alone takes seconds.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// The pause between attempts to open a channel when the server has too many.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a remote machine may take to kill an abandoned command.
const KILLED: Duration = Duration::from_secs(10);
/// The output limit for each stream, in bytes: more than any command here prints.
const OUTPUT: usize = 64 * 1024 * 1024;

/// A machine's address, user and key, and the only host key to accept.
#[derive(Clone, Debug)]
pub struct Login {
    /// The machine's name, for messages.
    pub machine: String,
    /// `host:port`.
    pub address: String,
    pub user: String,
    pub key: PrivateKey,
    /// The host's public key; any other is rejected.
    pub host_key: PublicKey,
}

/// One open SSH connection.
pub struct Ssh {
    machine: String,
    wire: Mutex<Arc<Wire>>,
    foreign: Option<Foreign>,
    channels: Semaphore,
    output: usize,
}

/// An open connection, with the connections that it passes through.
struct Wire {
    handle: Handle<Peer>,
    _behind: Vec<Handle<Peer>>,
}

/// What a remote machine needs: the route, to reconnect, and the mark, to get commands through its login shell.
struct Foreign {
    route: Route,
    mark: Mark,
}

/// Creates an ed25519 key: the private key and its OpenSSH text.
pub fn new_key(comment: &str) -> anyhow::Result<(PrivateKey, String)> {
    let key = PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(&procfs::random()?)), comment)?;
    let text = key.to_openssh(LineEnding::LF)?.to_string();
    Ok((key, text))
}

/// Parses a private key in OpenSSH's format and a public key such as `ssh-ed25519 AAAA…`.
pub fn old_keys(private: &str, public: &str) -> anyhow::Result<(PrivateKey, PublicKey)> {
    Ok((PrivateKey::from_openssh(private)?, PublicKey::from_openssh(public)?))
}

/// Returns the preferred algorithms. On loopback, leaves out the post-quantum key exchange: the traffic never leaves
/// this host, and it is slow on an emulated CPU.
fn preferred(address: &str) -> Preferred {
    let usual = Preferred::DEFAULT;
    if !address.starts_with("127.0.0.1:") {
        return usual;
    }
    let slow = |name: &kex::Name| *name == kex::MLKEM768X25519_SHA256;
    Preferred { kex: usual.kex.iter().filter(|name| !slow(name)).copied().collect(), ..usual }
}

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

    /// Logs in to a remote machine with the user's own ssh_config, known hosts, keys and agent, and checks that
    /// commands run there.
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

    /// Cuts off commands that print more than this many bytes on one of their streams; the default is 64 MiB.
    pub fn output_limit(self, bytes: usize) -> Ssh {
        Ssh { output: bytes, ..self }
    }

    pub(super) fn machine(&self) -> &str {
        &self.machine
    }

    /// Disconnects; commands that are still running are left to the machine.
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
            // A program that ends before it has read all input closes the channel while it is fed: ignore that error.
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

    /// Ends a command. Closing the channel alone leaves its process running, and so may the signal, which a remote sshd
    /// need not pass on.
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
        // If the connection is lost, this fails, and sshd ends what it started.
        let _ = tokio::time::timeout(KILLED, kill).await;
    }

    /// Opens a channel for one command. Nothing of the command was sent before, so a lost connection to a remote
    /// machine can safely be made again, once.
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
                // MaxSessions is below its default: wait for another command in progress to end.
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

/// Reads until the channel closes, because the exit status may come before or after the last output. Returns `false` as
/// soon as a stream exceeds `limit` bytes.
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
