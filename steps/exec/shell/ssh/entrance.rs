//! Logging in to a remote machine: the parameters, and everything that can go wrong.

use std::path::PathBuf;

use russh::keys::ssh_key::Fingerprint;

use super::config::Asked;
use crate::base::settings::Settings;

/// A remote machine: its user, its address, and how its host key is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshDestination {
    /// The user there, which overrides ssh_config's.
    pub user: String,
    /// The host's name, address, or alias in ssh_config.
    pub host: String,
    /// The port; if `None`, ssh_config's, else 22.
    pub port: Option<u16>,
    /// The fingerprint of the host key to accept, `SHA256:…`, whatever known_hosts says.
    pub host_key: Option<String>,
    /// The home folder whose `.ssh` is used.
    pub home: PathBuf,
    /// The socket of the user's SSH agent.
    pub agent: Option<PathBuf>,
}

/// Why logging in to a machine failed. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error(
        "--host-key {given} is not a fingerprint: give SHA256: and 43 characters, as `ssh-keygen -lf \
         /etc/ssh/ssh_host_ed25519_key.pub` prints them on the machine, for example \
         --host-key SHA256:uNiVztksCsDhcc0u9e8BrBxwWjL8ttRTWFAuQwHd8mU"
    )]
    HostKeyOption { given: String },
    /// ssh_config cannot be read, or uses unsupported options.
    #[error("{host}: {detail}")]
    Config {
        host: String,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// There is no answer, or not from an SSH server.
    #[error("{machine}: no SSH connection to {address}: {detail}")]
    NoConnection {
        machine: String,
        /// The address that was tried: the machine's, or that of a jump host.
        address: String,
        detail: String,
    },
    /// Its host key is unknown.
    #[error(
        "{machine}: {address} shows the key {shown}, which nothing here vouches for: nothing was sent to it. \
         Compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` prints on the machine, then accept it {ways}"
    )]
    UnknownHostKey {
        machine: String,
        address: String,
        /// The key's type and fingerprint: `ssh-ed25519 SHA256:…`.
        shown: String,
        ways: String,
    },
    /// Its host key differs from the known or given one.
    #[error(
        "{machine}: {address} shows {shown}, but {expected}: it may not be that machine, and nothing was sent to it; {remedy}"
    )]
    OtherHostKey {
        machine: String,
        address: String,
        shown: String,
        /// The expected key, and where it comes from: a line of a file, or an option.
        expected: String,
        remedy: String,
    },
    /// It rejects all keys that were tried.
    #[error("{machine}: {address} does not let user {user} in: {detail}")]
    Refused { machine: String, address: String, user: String, detail: String },
    /// It accepts the login but runs no commands.
    #[error(
        "{machine}: no command runs there for user {user}: instead it printed {said}; give the user a login shell \
         (`chsh`), or its key no forced command"
    )]
    NoShell {
        machine: String,
        user: String,
        /// What was printed instead, and how that ended.
        said: String,
    },
}

impl SshDestination {
    /// Creates a destination that uses the home folder and agent of the settings.
    pub fn new(
        user: &str,
        host: &str,
        port: Option<u16>,
        host_key: Option<&str>,
        settings: &Settings,
    ) -> Result<SshDestination, EnterError> {
        let home = settings.home.clone().ok_or_else(|| EnterError::Config {
            host: host.to_owned(),
            detail: "there is no home folder with keys and known hosts: set HOME".to_owned(),
        })?;
        let (user, host, host_key) = (user.to_owned(), host.to_owned(), host_key.map(str::to_owned));
        Ok(SshDestination { user, host, port, host_key, home, agent: settings.agent.clone() })
    }

    /// Returns the machine's name for messages: `user@host`, with the port if one was given.
    pub(super) fn machine(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            Some(port) => format!("{}@{host}:{port}", self.user),
            None => format!("{}@{host}", self.user),
        }
    }

    pub(super) fn asked(&self) -> Asked {
        Asked { user: Some(self.user.clone()), host: self.host.clone(), port: self.port }
    }

    pub(super) fn fingerprint(&self) -> Result<Option<Fingerprint>, EnterError> {
        let Some(given) = &self.host_key else { return Ok(None) };
        match given.parse::<Fingerprint>() {
            Ok(fingerprint) if fingerprint.is_sha256() => Ok(Some(fingerprint)),
            _ => Err(EnterError::HostKeyOption { given: given.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance(host: &str, port: Option<u16>, host_key: Option<&str>) -> SshDestination {
        let (user, host, host_key) = ("ann".to_owned(), host.to_owned(), host_key.map(str::to_owned));
        SshDestination { user, host, port, host_key, home: "/home/ann".into(), agent: None }
    }

    #[test]
    fn a_machine_is_named_as_it_was_given() {
        assert_eq!(entrance("build", None, None).machine(), "ann@build");
        assert_eq!(entrance("::1", Some(2200), None).machine(), "ann@[::1]:2200");
    }

    #[test]
    fn the_surroundings_give_the_home_and_the_agent() {
        let settings = Settings { agent: Some("/run/agent".into()), ..Settings::read().unwrap() };
        let ours = Settings { home: Some("/home/ann".into()), ..settings.clone() };
        let found = SshDestination::new("ann", "build", None, None, &ours).unwrap();
        assert_eq!(found, SshDestination { agent: Some("/run/agent".into()), ..entrance("build", None, None) });
        let error = SshDestination::new("ann", "build", None, None, &Settings { home: None, ..settings }).unwrap_err();
        assert_eq!(error.to_string(), "build: there is no home folder with keys and known hosts: set HOME");
    }

    #[test]
    fn a_malformed_fingerprint_is_told_with_an_example_that_is_one() {
        let example = "SHA256:uNiVztksCsDhcc0u9e8BrBxwWjL8ttRTWFAuQwHd8mU";
        assert!(entrance("build", None, Some(example)).fingerprint().unwrap().is_some());
        let md5 = "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48";
        for wrong in ["uNiVztksCsDhcc0u9e8BrBxwWjL8ttRTWFAuQwHd8mU", "SHA256:abc", "", md5] {
            let error = entrance("build", None, Some(wrong)).fingerprint().unwrap_err().to_string();
            assert!(error.starts_with(&format!("--host-key {wrong} is not a fingerprint")), "{error}");
            assert!(error.ends_with(&format!("--host-key {example}")), "{error}");
        }
    }
}
