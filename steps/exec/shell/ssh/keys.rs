//! Logs in with the agent's keys, then with those in files, and explains what to do if the server accepts none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::MethodKind;
use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::net::UnixStream;

use super::config::Resolved;
use super::peer::{Peer, Seen, described};

/// A server disconnects after this many rejected keys, unless its MaxAuthTries says otherwise.
const TRIES: usize = 6;
/// Key types that OpenSSH looks for, but that are too rare to mention.
const RARE: [&str; 4] = ["_sk", "_xmss", "_dsa", "_mldsa44-ed25519"];
/// The time limit of the agent, which answers at once unless it hangs.
const AGENT: Duration = Duration::from_secs(10);

enum Held {
    Agent(Box<AgentIdentity>),
    File(Arc<PrivateKey>),
}

struct Candidate {
    held: Held,
    name: String,
}

/// The keys to try, in order, and notes about those that cannot be tried.
pub(super) struct Ring {
    candidates: Vec<Candidate>,
    agent: Option<AgentClient<UnixStream>>,
    notes: Vec<String>,
    /// A file with a public key that could be installed on the machine.
    file: Option<PathBuf>,
}

/// A file that may contain a key.
struct KeyFile<'a> {
    path: &'a Path,
    public: Option<PublicKey>,
    private: Option<Result<PrivateKey, String>>,
}

impl KeyFile<'_> {
    fn read(path: &Path) -> KeyFile<'_> {
        let private = match std::fs::read_to_string(path) {
            Ok(text) => Some(read_private(path, &text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => Some(Err(format!("{} cannot be read: {error}", path.display()))),
        };
        let beside = russh::keys::load_public_key(with_pub(path)).ok();
        let public = private.as_ref().and_then(|key| Some(key.as_ref().ok()?.public_key().clone()));
        KeyFile { path, public: public.or(beside), private }
    }
}

fn read_private(path: &Path, text: &str) -> Result<PrivateKey, String> {
    let path = path.display();
    match russh::keys::decode_secret_key(text, None) {
        Ok(key) if key.is_encrypted() => Err(locked(&path.to_string())),
        Ok(key) if matches!(key.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256) => {
            Err(format!("{path} is on a security key: add it to the agent with `ssh-add {path}`"))
        }
        Ok(key) => Ok(key),
        Err(russh::keys::Error::KeyIsEncrypted) => Err(locked(&path.to_string())),
        Err(_) if text.contains("ENCRYPTED") => Err(locked(&path.to_string())),
        Err(error) => Err(format!("{path} holds no private key that can be read: {error}")),
    }
}

fn locked(path: &str) -> String {
    format!("{path} has a passphrase: add it to the agent with `ssh-add {path}`")
}

fn with_pub(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

impl Ring {
    /// Collects a host's keys from ssh_config and the agent.
    pub(super) async fn gather(host: &Resolved, handle: &Handle<Peer>) -> Ring {
        let mut ring = Ring { candidates: Vec::new(), agent: None, notes: Vec::new(), file: None };
        let files: Vec<KeyFile> = host.identities.iter().map(|path| KeyFile::read(path)).collect();
        let identities = match &host.agent {
            Some(socket) => ring.ask_agent(socket, handle).await,
            None => Vec::new(),
        };
        let in_files = |key: &PublicKey| {
            files.iter().position(|file| file.public.as_ref().is_some_and(|own| own.key_data() == key.key_data()))
        };
        let mut held: Vec<(usize, AgentIdentity)> = identities
            .into_iter()
            .map(|identity| (in_files(&identity.public_key()).unwrap_or(files.len()), identity))
            .filter(|(place, _)| !host.identities_only || *place < files.len())
            .collect();
        held.sort_by_key(|(place, _)| *place);
        let with_agent: Vec<usize> = held.iter().map(|(place, _)| *place).collect();
        for (_, identity) in held {
            let comment = identity.comment().to_owned();
            let name = format!("{} ({comment}, from the agent)", described(&identity.public_key()));
            ring.candidates.push(Candidate { held: Held::Agent(Box::new(identity)), name });
        }
        for (place, file) in files.into_iter().enumerate() {
            ring.file = ring.file.take().or_else(|| file.public.as_ref().map(|_| with_pub(file.path)));
            match file.private {
                _ if with_agent.contains(&place) => {}
                Some(Ok(key)) => {
                    let name = format!("{} ({})", described(key.public_key()), file.path.display());
                    ring.candidates.push(Candidate { held: Held::File(Arc::new(key)), name });
                }
                Some(Err(why)) => ring.notes.push(why),
                None => {}
            }
        }
        if ring.candidates.is_empty() && ring.notes.is_empty() {
            let looked = host.identities.iter().map(|path| path.display().to_string());
            let looked: Vec<String> = looked.filter(|path| !RARE.iter().any(|kind| path.ends_with(kind))).collect();
            let agent = if host.agent.is_some() { "the agent has no key for it" } else { "there is no agent" };
            ring.notes.push(format!("{agent}, and there is no key in {}", looked.join(", ")));
        }
        for certificate in &host.certificates {
            ring.notes
                .push(format!("the certificate {certificate} is not shown from a file: add its key to the agent"));
        }
        ring
    }

    async fn ask_agent(&mut self, socket: &Path, handle: &Handle<Peer>) -> Vec<AgentIdentity> {
        let ask = async {
            let mut agent = AgentClient::connect_uds(socket).await?;
            if let Some(binding) = handle.agent_session_binding() {
                // Ignore the error: an agent that does not support binding has no keys that need it.
                let _ = agent.bind_session(binding, false).await;
            }
            let identities = agent.request_identities().await?;
            Ok::<_, russh::keys::Error>((agent, identities))
        };
        match tokio::time::timeout(AGENT, ask).await {
            Ok(Ok((agent, identities))) => {
                self.agent = Some(agent);
                identities
            }
            failed => {
                let why = failed.map_or_else(
                    |_| "no answer".to_owned(),
                    |error| error.err().map_or(String::new(), |e| e.to_string()),
                );
                self.notes.push(format!("the agent at {} does not answer ({why}): start it anew", socket.display()));
                Vec::new()
            }
        }
    }

    pub(super) async fn log_in(
        mut self,
        handle: &mut Handle<Peer>,
        host: &Resolved,
        seen: &Seen,
    ) -> Result<(), String> {
        let mut tried: Vec<String> = Vec::new();
        let total = self.candidates.len();
        for Candidate { held, name } in std::mem::take(&mut self.candidates).into_iter().take(TRIES) {
            let answer = match held {
                Held::File(key) => {
                    let hash = hash(handle, &key.algorithm()).await;
                    let key = PrivateKeyWithHashAlg::new(key, hash);
                    handle.authenticate_publickey(host.user.as_str(), key).await.map_err(|error| error.to_string())
                }
                Held::Agent(identity) => self.with_agent(handle, &host.user, *identity).await,
            };
            tried.push(name);
            match answer {
                Ok(AuthResult::Success) => return Ok(()),
                Ok(AuthResult::Failure { partial_success: true, remaining_methods }) => {
                    let methods = names(&remaining_methods);
                    return Err(format!(
                        "it accepts the key {}, and then wants {methods}, which a program cannot give",
                        tried.join("")
                    ));
                }
                Ok(AuthResult::Failure { remaining_methods, .. }) if !remaining_methods.is_empty() => {
                    if !remaining_methods.contains(&MethodKind::PublicKey) {
                        let methods = names(&remaining_methods);
                        return Err(format!(
                            "it takes {methods} only: set `PubkeyAuthentication yes` in its sshd_config"
                        ));
                    }
                }
                Ok(AuthResult::Failure { .. }) => return Err(self.hung_up(&tried, total, seen)),
                Err(error) => {
                    self.notes.push(format!("{} could not be used: {error}", tried.pop().unwrap_or_default()))
                }
            }
        }
        Err(self.refused(&tried, total, host))
    }

    async fn with_agent(
        &mut self,
        handle: &mut Handle<Peer>,
        user: &str,
        key: AgentIdentity,
    ) -> Result<AuthResult, String> {
        let Some(agent) = &mut self.agent else { return Err("the agent is gone".to_owned()) };
        let hash = hash(handle, &key.public_key().algorithm()).await;
        let answer = match key {
            AgentIdentity::PublicKey { key, .. } => handle.authenticate_publickey_with(user, key, hash, agent).await,
            AgentIdentity::Certificate { certificate, .. } => {
                handle.authenticate_certificate_with(user, certificate, hash, agent).await
            }
        };
        answer.map_err(|error| error.to_string())
    }

    fn hung_up(&self, tried: &[String], total: usize, seen: &Seen) -> String {
        let words = seen.farewell().map(|said| format!(" ({said:?})")).unwrap_or_default();
        let tries = tried.len();
        let why = match tries {
            1 => "its sshd's log says why (`journalctl -u ssh`)",
            _ => {
                "its MaxAuthTries, it seems: name the right one in ~/.ssh/config, with IdentityFile and `IdentitiesOnly yes`"
            }
        };
        format!("it hung up{words} at key {tries} of {total}, having refused {}; {why}", tried.join(", "))
    }

    fn refused(&self, tried: &[String], total: usize, host: &Resolved) -> String {
        let mut parts = Vec::new();
        if !tried.is_empty() {
            parts.push(format!("it refuses {}", tried.join(", ")));
        }
        if total > TRIES {
            parts.push(format!(
                "{} more keys were not tried, because servers hang up after {TRIES} (MaxAuthTries): name the right one in \
                 ~/.ssh/config, with IdentityFile and `IdentitiesOnly yes`",
                total - TRIES
            ));
        }
        parts.extend(self.notes.iter().cloned());
        let port = if host.port == 22 { String::new() } else { format!("-p {} ", host.port) };
        let to = format!("{port}{}@{}", host.user, host.host);
        match &self.file {
            Some(file) if !tried.is_empty() => {
                parts.push(format!("`ssh-copy-id -i {} {to}` installs a key there", file.display()));
            }
            None if !tried.is_empty() => parts.push(format!("`ssh-copy-id {to}` installs the agent's keys there")),
            None => {
                parts.push(format!("`ssh-keygen -t ed25519` makes a key, and `ssh-copy-id {to}` installs it there"))
            }
            Some(_) => {}
        }
        if !tried.is_empty() {
            parts.push("is it the right user? Its sshd's log says why (`journalctl -u ssh`)".to_owned());
        }
        parts.join("; ")
    }
}

/// Chooses the hash for signing with an RSA key. SHA-1 is no longer accepted.
async fn hash(handle: &Handle<Peer>, algorithm: &Algorithm) -> Option<HashAlg> {
    if !matches!(algorithm, Algorithm::Rsa { .. }) {
        return None;
    }
    handle.best_supported_rsa_hash().await.ok().flatten().flatten().or(Some(HashAlg::Sha512))
}

fn names(methods: &[MethodKind]) -> String {
    let names: Vec<&str> = methods.iter().map(<&str>::from).collect();
    names.join(", ")
}
