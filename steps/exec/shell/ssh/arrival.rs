//! Opens the connection to a host, directly or through a jump host, and explains failures.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use russh::ChannelOpenFailure;
use russh::client::Handle;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

use super::config::Resolved;
use super::peer::Peer;

/// The time limit of a TCP connection if ssh_config has no ConnectTimeout.
const ARRIVAL: Duration = Duration::from_secs(10);
/// The time limit of the handshake after that: the machine's CPU may be emulated.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// The byte stream that carries an SSH connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(super) fn handshake_limit(host: &Resolved) -> Duration {
    host.connect_timeout.unwrap_or(HANDSHAKE)
}

/// Connects to a host, directly or through `via`.
pub(super) async fn reach(host: &Resolved, via: Option<&Handle<Peer>>) -> Result<Box<dyn Stream>, String> {
    let limit = host.connect_timeout.unwrap_or(ARRIVAL);
    let silent = |_| {
        format!(
            "no answer within {limit:?}: is it up, and does its firewall let port {} in? (ConnectTimeout in ~/.ssh/config gives \
             it longer)",
            host.port
        )
    };
    let Some(via) = via else {
        let found = tokio::time::timeout(limit, addresses(host)).await;
        let addresses = found.unwrap_or_else(|_| Err(unknown(&format!("no answer within {limit:?}"))))?;
        let socket = tokio::time::timeout(limit, straight(&addresses, host.port)).await.map_err(silent)??;
        return Ok(Box::new(socket));
    };
    let open = via.channel_open_direct_tcpip(host.host.as_str(), host.port.into(), "127.0.0.1", 0);
    match tokio::time::timeout(limit, open).await.map_err(silent)? {
        Ok(channel) => Ok(Box::new(channel.into_stream())),
        Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited)) => {
            Err("the host before it forwards nothing: set `AllowTcpForwarding yes` in that one's sshd_config"
                .to_owned())
        }
        Err(error) => {
            Err(format!("the host before it cannot reach it ({error}): is it up, and are name and port right?"))
        }
    }
}

async fn addresses(host: &Resolved) -> Result<Vec<SocketAddr>, String> {
    let wanted = |address: &SocketAddr| host.ipv4.is_none_or(|ipv4| address.is_ipv4() == ipv4);
    let all = lookup_host((host.host.as_str(), host.port)).await.map_err(|error| unknown(&error.to_string()))?;
    Ok(all.filter(wanted).collect())
}

fn unknown(why: &str) -> String {
    format!("the name is not known here ({why}): is it right? A HostName in ~/.ssh/config can say where it is")
}

async fn straight(addresses: &[SocketAddr], port: u16) -> Result<TcpStream, String> {
    let mut outcome = Err("it has no address of the kind that AddressFamily in ssh_config asks for".to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                // Otherwise every command waits until the previous one is acknowledged.
                socket.set_nodelay(true).map_err(|error| error.to_string())?;
                return Ok(socket);
            }
            Err(error) => outcome = Err(absent(&error, port)),
        }
    }
    outcome
}

fn absent(error: &io::Error, port: u16) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("nothing listens on port {port}: is sshd running there, and is that its port?")
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            format!("there is no way to it ({error}): is it up, and is this host in its network, or its VPN?")
        }
        _ => format!("{error}: is it up, and does its firewall let port {port} in?"),
    }
}

pub(super) fn no_handshake(error: &russh::Error) -> String {
    match error {
        russh::Error::Version => "what answers there is no SSH server: is it the right port?".to_owned(),
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            let theirs = theirs.join(", ");
            format!("it speaks no {kind:?} algorithm that is spoken here, only {theirs}: upgrade its sshd")
        }
        russh::Error::HUP | russh::Error::Disconnect | russh::Error::IO(_) => format!(
            "it hung up before its key was seen ({error}): does it turn this host away (MaxStartups, fail2ban, a firewall)?"
        ),
        other => format!("no handshake: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_not_being_there_is_told_apart_with_what_to_do() {
        let absent = |kind: ErrorKind| absent(&io::Error::from(kind), 22);
        assert!(absent(ErrorKind::ConnectionRefused).contains("is sshd running there"));
        assert!(absent(ErrorKind::HostUnreachable).contains("VPN"));
        assert!(absent(ErrorKind::TimedOut).contains("firewall"));
        assert!(no_handshake(&russh::Error::Version).contains("no SSH server"));
        assert!(no_handshake(&russh::Error::HUP).contains("MaxStartups"));
    }
}
