//! The route to a remote machine: over jump hosts, if ssh_config names them, each with its own key and login.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::Preferred;
use russh::client::{self, Handle};
use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::arrival::{self, Stream};
use super::config::{Asked, Resolved, Whose, resolve};
use super::entrance::{EnterError, SshDestination};
use super::keys::Ring;
use super::known::{Judgement, KnownKeys, Place, name, same_kind};
use super::peer::{Forwards, Peer, Seen, described, fingerprint};
use super::{Wire, talk};

/// The time limit of a login: an agent may ask for a touch or a confirmation.
const LOGIN: Duration = Duration::from_secs(60);
/// More jump hosts than any real setup has.
const MOST_STOPS: usize = 8;

/// A jump host, or the machine itself.
struct Stop {
    asked: Asked,
    host: Resolved,
    /// The host key that was accepted first; after that, no other is accepted.
    accepted: OnceLock<PublicKey>,
}

/// The route to a machine, which can be used again to reconnect.
pub(super) struct Route {
    pub machine: String,
    pub forwards: Forwards,
    home: PathBuf,
    /// From first to last; the last is the machine.
    stops: Vec<Stop>,
    given: Option<Fingerprint>,
}

impl Stop {
    fn address(&self) -> String {
        let Resolved { host, port, .. } = &self.host;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Returns the `ssh` command that logs in to it.
    fn ssh_command(&self) -> String {
        let port = self.asked.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        format!("ssh {port}{}@{} true", self.host.user, self.asked.host)
    }
}

impl Route {
    /// Works out the route from what ssh_config says of the machine and of every jump host.
    pub(super) async fn find(entrance: &SshDestination) -> Result<Route, EnterError> {
        let given = entrance.fingerprint()?;
        let whose = Whose { home: &entrance.home, agent: entrance.agent.as_deref() };
        let mut stops: Vec<Stop> = Vec::new();
        // From the machine backwards: the last host of a ProxyJump is next to it, and is reached over those before.
        let (mut next, mut before) = (Some(entrance.asked()), Vec::new());
        while let Some(asked) = next {
            if stops.len() > MOST_STOPS {
                let detail = format!(
                    "it lies behind more than {MOST_STOPS} hosts: does a ProxyJump of ssh_config lead in a circle?"
                );
                return Err(EnterError::Config { host: entrance.host.clone(), detail });
            }
            let host = resolve(&asked, &whose).await?;
            let mut jumps = if before.is_empty() { host.jumps.clone() } else { before };
            next = jumps.pop();
            before = jumps;
            stops.push(Stop { asked, host, accepted: OnceLock::new() });
        }
        stops.reverse();
        let (machine, home) = (entrance.machine(), entrance.home.clone());
        Ok(Route { machine, forwards: Forwards::default(), home, stops, given })
    }

    pub(super) fn user(&self) -> &str {
        self.stops.last().map_or("", |stop| stop.host.user.as_str())
    }

    /// Returns the machine's `host:port`.
    pub(super) fn address(&self) -> String {
        self.stops.last().map(Stop::address).unwrap_or_default()
    }

    pub(super) async fn go(&self) -> Result<Wire, EnterError> {
        let mut behind: Vec<Handle<Peer>> = Vec::new();
        for index in 0..self.stops.len() {
            let handle = self.arrive(index, behind.last()).await?;
            behind.push(handle);
        }
        let handle = behind.pop().ok_or_else(|| self.failed(&self.address(), "there is no way to it".to_owned()))?;
        Ok(Wire { handle, _behind: behind })
    }

    fn failed(&self, address: &str, detail: String) -> EnterError {
        EnterError::NoConnection { machine: self.machine.clone(), address: address.to_owned(), detail }
    }

    /// Connects to one stop, checks its host key, and logs in.
    async fn arrive(&self, index: usize, via: Option<&Handle<Peer>>) -> Result<Handle<Peer>, EnterError> {
        let stop = &self.stops[index];
        let last = index + 1 == self.stops.len();
        let given = self.given.filter(|_| last);
        let Resolved { host, port, key_alias, known_hosts, .. } = &stop.host;
        let known = KnownKeys::read(known_hosts, host, *port, key_alias.as_deref());
        let known = Arc::new(known.map_err(|detail| EnterError::Config { host: stop.asked.host.clone(), detail })?);
        let mut algorithms = known.order(&Preferred::DEFAULT.key);
        if let Some(accepted) = stop.accepted.get() {
            algorithms.sort_by_key(|one| !same_kind(one, &accepted.algorithm()));
        }
        let mut shown = Vec::new();
        loop {
            let stream =
                arrival::reach(&stop.host, via).await.map_err(|detail| self.failed(&stop.address(), detail))?;
            let seen = Seen::default();
            let judge = judge(known.clone(), given, stop.accepted.get().cloned());
            let peer =
                Peer::new(seen.clone(), judge).forwards(if last { self.forwards.clone() } else { Forwards::default() });
            match greet(stream, &algorithms, &stop.host, peer).await {
                Ok(handle) => {
                    if let Some(key) = seen.key() {
                        let _ = stop.accepted.set(key.clone());
                    }
                    return self.log_in(stop, handle, &seen).await;
                }
                Err(Greeting::Distrusted) => {
                    shown.extend(seen.key().cloned());
                    // A host has several keys and presents one of them: the next may have the given fingerprint.
                    algorithms.retain(|one| !shown.iter().any(|key| same_kind(&key.algorithm(), one)));
                    if given.is_none() || algorithms.is_empty() || stop.accepted.get().is_some() {
                        return Err(self.distrust(stop, last, &known, &shown));
                    }
                }
                Err(Greeting::NoSuchKey(_)) if !shown.is_empty() => {
                    return Err(self.distrust(stop, last, &known, &shown));
                }
                Err(Greeting::NoSuchKey(detail) | Greeting::Failed(detail)) => {
                    return Err(self.failed(&stop.address(), detail));
                }
            }
        }
    }

    async fn log_in(&self, stop: &Stop, mut handle: Handle<Peer>, seen: &Seen) -> Result<Handle<Peer>, EnterError> {
        let ring = Ring::gather(&stop.host, &handle).await;
        let outcome = tokio::time::timeout(LOGIN, ring.log_in(&mut handle, &stop.host, seen)).await;
        let outcome =
            outcome.unwrap_or_else(|_| Err(format!("no answer within {LOGIN:?}: does the agent wait for you?")));
        outcome.map(|()| handle).map_err(|detail| EnterError::Refused {
            machine: self.machine.clone(),
            address: stop.address(),
            user: stop.host.user.clone(),
            detail,
        })
    }

    /// Explains why a presented host key is not accepted.
    fn distrust(&self, stop: &Stop, last: bool, known: &KnownKeys, shown: &[PublicKey]) -> EnterError {
        let all: Vec<String> = shown.iter().map(described).collect();
        let other = |expected: String, remedy: String| EnterError::OtherHostKey {
            machine: self.machine.clone(),
            address: stop.address(),
            shown: all.join(" and "),
            expected,
            remedy,
        };
        let at = |(file, line): &Place| format!("{}, line {line},", file.display());
        let Some(key) = shown.last() else {
            return self.failed(&stop.address(), "it shows a certificate instead of its key".to_owned());
        };
        if let Judgement::Revoked(place) = known.judge(key) {
            return other(format!("{} revokes it", at(&place)), "ask who revoked it".to_owned());
        }
        if let Some(accepted) = stop.accepted.get() {
            let expected = format!("it had {} when it was entered", described(accepted));
            return other(expected, "ask who runs it, then begin anew".to_owned());
        }
        if let Some(given) = self.given.filter(|_| last) {
            let remedy =
                "compare with what `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` prints on the machine".to_owned();
            return other(format!("--host-key names {given}"), remedy);
        }
        let note = known.authority.as_ref().map_or_else(String::new, |place| {
            format!(" ({} trusts a certificate authority with it, which assay does not go by)", at(place))
        });
        match known.judge(key) {
            Judgement::Changed(place) => {
                let name = stop.host.key_alias.clone().unwrap_or_else(|| name(&stop.host.host, stop.host.port));
                let forget = format!("`ssh-keygen -R '{name}' -f {}` forgets the old one", place.0.display());
                other(
                    format!("{} has another key for it", at(&place)),
                    format!("if it was changed on purpose, {forget}"),
                )
            }
            _ => EnterError::UnknownHostKey {
                machine: self.machine.clone(),
                address: stop.address(),
                shown: described(key),
                ways: self.ways(stop, last, key) + &note,
            },
        }
    }

    /// Explains how to accept a key, for one run or permanently.
    fn ways(&self, stop: &Stop, last: bool, key: &PublicKey) -> String {
        let Resolved { host, port, key_alias, known_hosts, .. } = &stop.host;
        let option = last.then(|| format!("with `--host-key {}`", fingerprint(key)));
        let file = known_hosts.first().filter(|file| *file != Path::new("/dev/null"));
        let lasting = file.map(|file| match file.strip_prefix(&self.home) {
            // Only a direct connection without HostKeyAlias can use ssh-keyscan; else let OpenSSH write the entry.
            below if self.stops.len() == 1 && key_alias.is_none() => {
                let file = below.map_or_else(|_| file.display().to_string(), |below| format!("~/{}", below.display()));
                format!("with `ssh-keyscan -p {port} {host} >> {file}`")
            }
            _ => format!("with `{}`, once", stop.ssh_command()),
        });
        let lasting =
            lasting.or_else(|| option.is_none().then(|| "with a UserKnownHostsFile in ssh_config".to_owned()));
        let ways: Vec<String> = option.into_iter().chain(lasting).collect();
        ways.join(" or ")
    }
}

enum Greeting {
    /// The host key that was presented is not accepted.
    Distrusted,
    /// The host has no key of the requested kinds.
    NoSuchKey(String),
    Failed(String),
}

/// Accepts the key accepted before, else the one with the given fingerprint, else a known one; never a revoked key.
fn judge(
    known: Arc<KnownKeys>,
    given: Option<Fingerprint>,
    accepted: Option<PublicKey>,
) -> impl Fn(&PublicKey) -> bool + Send + Sync + 'static {
    move |key| match (known.judge(key), &accepted, &given) {
        (Judgement::Revoked(_), ..) => false,
        (_, Some(accepted), _) => accepted.key_data() == key.key_data(),
        (_, None, Some(given)) => key.fingerprint(HashAlg::Sha256) == *given,
        (judgement, None, None) => judgement == Judgement::Known,
    }
}

/// Performs the SSH handshake with the server at the other end, which includes checking its key.
async fn greet(
    stream: Box<dyn Stream>,
    algorithms: &[Algorithm],
    host: &Resolved,
    peer: Peer,
) -> Result<Handle<Peer>, Greeting> {
    let preferred = Preferred { key: algorithms.to_vec().into(), ..Preferred::DEFAULT };
    let limit = arrival::handshake_limit(host);
    match tokio::time::timeout(limit, client::connect_stream(Arc::new(talk(preferred)), stream, peer)).await {
        Ok(Ok(handle)) => Ok(handle),
        Ok(Err(russh::Error::UnknownKey)) => Err(Greeting::Distrusted),
        Ok(Err(error @ russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, .. })) => {
            Err(Greeting::NoSuchKey(arrival::no_handshake(&error)))
        }
        Ok(Err(error)) => Err(Greeting::Failed(arrival::no_handshake(&error))),
        Err(_) => Err(Greeting::Failed(format!(
            "it takes connections, but says nothing that an SSH server would within {limit:?}: is port {} that of its sshd?",
            host.port
        ))),
    }
}
