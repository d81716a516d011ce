//! Handles what a server sends: its host key, its reason for disconnecting, and connections to a forwarded port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use russh::client::{self, ChannelOpenHandle, DisconnectReason, Msg, Session};
use russh::keys::{HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelOpenFailure};
use tokio::net::TcpStream;

type Judge = Box<dyn Fn(&PublicKey) -> bool + Send + Sync>;

/// The forwarded ports of the machine and their addresses on this host. A new connection takes them over.
#[derive(Clone, Debug, Default)]
pub(super) struct Forwards(Arc<Mutex<BTreeMap<u32, String>>>);

impl Forwards {
    pub(super) fn add(&self, port: u32, local: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(port, local.to_owned());
    }

    pub(super) fn all(&self) -> Vec<(u32, String)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(port, local)| (*port, local.clone())).collect()
    }
}

/// What was learned about a server during the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    key: Arc<OnceLock<PublicKey>>,
    farewell: Arc<OnceLock<String>>,
}

impl Seen {
    pub(super) fn key(&self) -> Option<&PublicKey> {
        self.key.get()
    }

    /// Returns the server's own reason for disconnecting.
    pub(super) fn farewell(&self) -> Option<&str> {
        self.farewell.get().map(String::as_str)
    }
}

/// The client's side of a connection.
pub(super) struct Peer {
    judge: Judge,
    seen: Seen,
    forwards: Forwards,
}

impl Peer {
    pub(super) fn new(seen: Seen, judge: impl Fn(&PublicKey) -> bool + Send + Sync + 'static) -> Peer {
        Peer { judge: Box::new(judge), seen, forwards: Forwards::default() }
    }

    /// Forwards connections to these ports of the machine to this host.
    pub(super) fn forwards(self, forwards: Forwards) -> Peer {
        Peer { forwards, ..self }
    }
}

impl client::Handler for Peer {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let _ = self.seen.key.set(key.clone());
                Ok((self.judge)(key))
            }
            // Certificates were not requested.
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let local = self.forwards.all().into_iter().find_map(|(from, local)| (from == port).then_some(local));
        tokio::spawn(async move {
            let Some(local) = local else {
                return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            };
            let Ok(mut socket) = TcpStream::connect(local).await else {
                return reply.reject(ChannelOpenFailure::ConnectFailed).await;
            };
            reply.accept().await;
            // Ignore errors: both ends notice a broken connection themselves.
            let _ = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut socket).await;
        });
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(said) => {
                let _ = self.seen.farewell.set(said.message);
                Ok(())
            }
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// Formats a key's fingerprint: `SHA256:…`.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

pub(super) fn described(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), fingerprint(key))
}
