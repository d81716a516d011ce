//! Commands over one kept SSH connection, with the host's key pinned.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use russh::client::{self, AuthResult, Handle};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Preferred, Sig, kex};
use tokio::sync::Semaphore;

use super::ShellError;
use crate::command::{Command, Output, Status};
use crate::kernel;
use crate::unit::Bytes;

/// Fewer than sshd's own limit (`MaxSessions 10`), so that nothing is refused.
const CHANNELS: usize = 8;
/// A machine that is silent for this long, three times over, is gone.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// On an emulated CPU the handshake alone takes seconds.
const HANDSHAKE: Duration = Duration::from_secs(60);
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
    handle: Handle<Pinned>,
    channels: Semaphore,
    output: usize,
}

struct Pinned {
    key: PublicKey,
    /// The fingerprint of the key that was shown.
    shown: Arc<OnceLock<String>>,
}

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let (shown, pinned) = match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => (fingerprint(key), key.key_data() == self.key.key_data()),
            PublicKeyOrCertificate::Certificate(_) => ("a certificate".to_owned(), false),
        };
        let _ = self.shown.set(shown);
        Ok(pinned)
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// A fresh ed25519 key: the private part and its OpenSSH text.
///
/// # Errors
/// Where the system gives no random bytes.
pub fn new_key(comment: &str) -> anyhow::Result<(PrivateKey, String)> {
    let key = PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(&kernel::random()?)), comment)?;
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
        let shown = Arc::new(OnceLock::new());
        match tokio::time::timeout(HANDSHAKE, Self::handshake(login, shown.clone())).await {
            Err(_) => Err(failed(format!("no answer within {HANDSHAKE:?}"))),
            Ok(Err(russh::Error::UnknownKey)) => Err(ShellError::OtherHost {
                machine: login.machine.clone(),
                address: login.address.clone(),
                shown: shown.get().cloned().unwrap_or_default(),
                pinned: fingerprint(&login.host_key),
            }),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Ok(Ok((_, false))) => Err(failed(format!("the host refuses our key for user {}", login.user))),
            Ok(Ok((handle, true))) => {
                let (machine, channels) = (login.machine.clone(), Semaphore::new(CHANNELS));
                Ok(Ssh { machine, handle, channels, output: OUTPUT })
            }
        }
    }

    async fn handshake(login: &Login, shown: Arc<OnceLock<String>>) -> Result<(Handle<Pinned>, bool), russh::Error> {
        let config = client::Config {
            nodelay: true,
            preferred: preferred(&login.address),
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: 3,
            ..client::Config::default()
        };
        let pinned = Pinned { key: login.host_key.clone(), shown };
        let mut handle = client::connect(Arc::new(config), login.address.as_str(), pinned).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(login.key.clone()), None);
        let answer = handle.authenticate_publickey(login.user.as_str(), key).await?;
        Ok((handle, matches!(answer, AuthResult::Success)))
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
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
    }

    pub(super) async fn run(&self, command: &Command) -> Result<Output, ShellError> {
        let started = Instant::now();
        let line = command.line();
        let lost = |detail: String| ShellError::Lost { machine: self.machine.clone(), line: line.clone(), detail };
        let _turn = self.channels.acquire().await.map_err(|error| lost(error.to_string()))?;
        let channel = self.handle.channel_open_session().await.map_err(|error| lost(error.to_string()))?;
        let (reader, writer) = channel.split();
        let talk = async {
            writer.exec(true, line.as_str()).await?;
            let feed = async {
                writer.data_bytes(command.stdin.clone()).await?;
                writer.eof().await
            };
            // A program that ends before it has read everything closes the channel under the feed: its status tells.
            let (heard, _) = tokio::join!(listen(reader, self.output), feed);
            Ok::<_, russh::Error>(heard)
        };
        let Ok(heard) = tokio::time::timeout(command.time_limit, talk).await else {
            end(&writer).await;
            return Err(ShellError::TimedOut { machine: self.machine.clone(), line, limit: command.time_limit });
        };
        let Some(heard) = heard.map_err(|error| lost(error.to_string()))? else {
            end(&writer).await;
            return Err(ShellError::TooMuch { machine: self.machine.clone(), line, limit: Bytes(self.output as u64) });
        };
        let Some(status) = heard.status else {
            return Err(lost("the machine did not say how it ended".to_owned()));
        };
        Ok(Output { line, status, stdout: heard.stdout, stderr: heard.stderr, wall: started.elapsed() })
    }
}

#[derive(Default)]
struct Heard {
    status: Option<Status>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Ends a command: a channel that is merely dropped leaves its process running.
async fn end(channel: &ChannelWriteHalf<client::Msg>) {
    let _ = channel.signal(Sig::KILL).await;
    let _ = channel.close().await;
}

/// Listens to the very end: the exit status may come before or after the last output. `None` of a stream that has more
/// than `limit` bytes.
async fn listen(mut channel: ChannelReadHalf, limit: usize) -> Option<Heard> {
    let mut heard = Heard::default();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => heard.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, .. } => heard.stderr.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => heard.status = Some(Status::Code(exit_status as i32)),
            ChannelMsg::ExitSignal { signal_name, .. } => heard.status = Some(Status::Signal(number(&signal_name))),
            _ => {}
        }
        if heard.stdout.len().max(heard.stderr.len()) > limit {
            return None;
        }
    }
    Some(heard)
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
