//! Runs commands over one open SSH connection to a machine of our own, whose host key is pinned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use russh::client::{self, AuthResult, Handle, Msg};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Preferred, Sig, kex};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{OUTPUT_LIMIT, Printed, SESSIONS, ShellError};
use crate::base::lock::lock;
use crate::base::procfs;
use crate::exec::command::{Command, Output, Status};

/// A machine that does not answer three keepalives at this interval is considered gone.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// On an emulated CPU the handshake alone takes seconds.
const HANDSHAKE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Login {
    pub machine: String,
    /// `host:port`.
    pub address: String,
    pub user: String,
    pub key: PrivateKey,
    /// The host's public key; any other is rejected.
    pub host_key: PublicKey,
}

pub struct Ssh {
    pub(super) machine: String,
    handle: Handle<Peer>,
    sessions: Semaphore,
    forwards: Forwards,
}

/// The ports of this host's loopback that ports of the machine's lead to.
type Forwards = Arc<Mutex<HashMap<u32, u16>>>;

/// The client's side of a connection: accepts one host key, and keeps the one that was shown.
struct Peer {
    pinned: PublicKey,
    shown: Arc<OnceLock<PublicKey>>,
    forwards: Forwards,
}

impl client::Handler for Peer {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let _ = self.shown.set(key.clone());
                Ok(key.key_data() == self.pinned.key_data())
            }
            // Certificates were not requested.
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        theirs: u32,
        _: &str,
        _: u32,
        reply: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        let Some(ours) = lock(&self.forwards).get(&theirs).copied() else { return Ok(()) };
        tokio::spawn(async move {
            // Without an answer, the machine's connection is refused.
            let Ok(mut here) = TcpStream::connect(("127.0.0.1", ours)).await else { return };
            reply.accept().await;
            let _ = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut here).await;
        });
        Ok(())
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

pub fn new_key(comment: &str) -> anyhow::Result<(PrivateKey, String)> {
    let key = PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(&procfs::random()?)), comment)?;
    let text = key.to_openssh(LineEnding::LF)?.to_string();
    Ok((key, text))
}

/// Parses a private key in OpenSSH's format and a public key such as `ssh-ed25519 AAAA…`.
pub fn old_keys(private: &str, public: &str) -> anyhow::Result<(PrivateKey, PublicKey)> {
    Ok((PrivateKey::from_openssh(private)?, PublicKey::from_openssh(public)?))
}

/// Leaves out the post-quantum key exchange on loopback: nothing leaves this host, and emulated CPUs are slow.
fn preferred(address: &str) -> Preferred {
    let usual = Preferred::DEFAULT;
    if !address.starts_with("127.0.0.1:") {
        return usual;
    }
    let slow = |name: &kex::Name| *name == kex::MLKEM768X25519_SHA256;
    Preferred { kex: usual.kex.iter().filter(|name| !slow(name)).copied().collect(), ..usual }
}

impl Ssh {
    pub async fn connect(login: &Login) -> Result<Ssh, ShellError> {
        let failed = |detail: String| ShellError::NoConnection {
            machine: login.machine.clone(),
            address: login.address.clone(),
            detail,
        };
        let (shown, forwards) = (Arc::default(), Forwards::default());
        match tokio::time::timeout(HANDSHAKE, Self::handshake(login, &shown, &forwards)).await {
            Err(_) => Err(failed(format!("no answer within {HANDSHAKE:?}"))),
            Ok(Err(russh::Error::UnknownKey)) => Err(ShellError::OtherHost {
                machine: login.machine.clone(),
                address: login.address.clone(),
                shown: shown.get().map_or_else(|| "a certificate".to_owned(), fingerprint),
                pinned: fingerprint(&login.host_key),
            }),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Ok(Ok((_, false))) => Err(failed(format!("the host refuses our key for user {}", login.user))),
            Ok(Ok((handle, true))) => {
                Ok(Ssh { machine: login.machine.clone(), handle, sessions: Semaphore::new(SESSIONS), forwards })
            }
        }
    }

    async fn handshake(
        login: &Login,
        shown: &Arc<OnceLock<PublicKey>>,
        forwards: &Forwards,
    ) -> Result<(Handle<Peer>, bool), russh::Error> {
        let (pinned, shown, forwards) = (login.host_key.clone(), Arc::clone(shown), Arc::clone(forwards));
        let peer = Peer { pinned, shown, forwards };
        let config = client::Config {
            nodelay: true,
            preferred: preferred(&login.address),
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: 3,
            ..client::Config::default()
        };
        let mut handle = client::connect(Arc::new(config), login.address.as_str(), peer).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(login.key.clone()), None);
        let answer = handle.authenticate_publickey(login.user.as_str(), key).await?;
        Ok((handle, matches!(answer, AuthResult::Success)))
    }

    /// Forwards a free port of the machine's loopback to one of this host's, and returns the machine's port.
    pub(super) async fn forward_back(&self, port: u16) -> Result<u16, ShellError> {
        if let Some((theirs, _)) = lock(&self.forwards).iter().find(|(_, ours)| **ours == port) {
            return Ok(*theirs as u16);
        }
        let theirs = self.handle.tcpip_forward("127.0.0.1", 0).await.map_err(|error| ShellError::NoForward {
            machine: self.machine.clone(),
            port,
            detail: error.to_string(),
        })?;
        lock(&self.forwards).insert(theirs, port);
        Ok(theirs as u16)
    }

    /// Disconnects; commands that are still running are left to the machine.
    pub(super) async fn close(&self) {
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
    }

    pub(super) async fn run(&self, command: &Command) -> Result<Output, ShellError> {
        let started = Instant::now();
        let line = command.line();
        let machine = self.machine.clone();
        let lost = |detail: String| ShellError::Lost { machine: machine.clone(), line: line.clone(), detail };
        let _turn = self.sessions.acquire().await.map_err(|error| lost(error.to_string()))?;
        let channel = self.handle.channel_open_session().await.map_err(|error| lost(error.to_string()))?;
        let (reader, writer) = channel.split();
        let (mut printed, mut status) = (Printed::default(), None);
        let talk = async {
            writer.exec(true, line.as_str()).await?;
            let feed = async {
                writer.data_bytes(command.stdin.clone()).await?;
                writer.eof().await
            };
            // A program that ends before it has read all input closes the channel while it is fed: ignore that error.
            let (whole, _) = tokio::join!(listen(reader, &mut printed, &mut status), feed);
            Ok::<_, russh::Error>(whole)
        };
        let Ok(whole) = tokio::time::timeout(command.time_limit, talk).await else {
            end(&writer).await;
            return Err(ShellError::TimedOut { machine, line, limit: command.time_limit });
        };
        if !whole.map_err(|error| lost(error.to_string()))? {
            end(&writer).await;
            return Err(ShellError::TooMuch { machine, line });
        }
        let status = status.ok_or_else(|| lost("the machine did not say how it ended".to_owned()))?;
        Ok(printed.output(line, status, started))
    }
}

/// Ends a command: closing the channel alone leaves its process running.
async fn end(channel: &ChannelWriteHalf<Msg>) {
    let _ = channel.signal(Sig::KILL).await;
    let _ = channel.close().await;
}

/// Reads until the channel closes, because the exit status may come before or after the last output. Returns `false` as
/// soon as a stream exceeds the output limit.
async fn listen(mut channel: ChannelReadHalf, printed: &mut Printed, status: &mut Option<Status>) -> bool {
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => printed.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, .. } => printed.stderr.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => *status = Some(Status::Code(exit_status as i32)),
            ChannelMsg::ExitSignal { signal_name, .. } => *status = Some(Status::Signal(number(&signal_name))),
            _ => {}
        }
        if printed.stdout.len().max(printed.stderr.len()) > OUTPUT_LIMIT {
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
