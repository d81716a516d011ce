//! Logging in to a remote machine as its user would: over real OpenSSH servers, with a separate home folder for each
//! test. What users read if a login fails is in `words/logins.snap`.

#[path = "entrances/hosts.rs"]
mod hosts;
#[path = "entrances/lost.rs"]
mod lost;
#[path = "entrances/shells.rs"]
mod shells;
#[path = "entrances/sshd.rs"]
mod sshd;
#[path = "entrances/ways.rs"]
mod ways;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use assay::exec::shell::{NoopObserver, OpenSsh, SshDestination};
use assay::{Command, Shell};
use tempfile::TempDir;

use crate::sshd::{Sshd, farm, me, public};

/// A port of the loopback on which nothing listens, and which the kernel gives to no other test.
const CLOSED: u16 = 1;

/// A user's home folder.
struct UserHome(TempDir);

impl UserHome {
    fn new() -> UserHome {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".ssh")).unwrap();
        UserHome(folder)
    }

    /// Creates one with an ed25519 key, and a server that accepts the key and is known.
    fn with_server(lines: &str) -> (UserHome, Sshd) {
        let home = UserHome::new();
        let key = home.key("id_ed25519");
        let sshd = Sshd::start(&[key], lines);
        home.knows(&sshd);
        (home, sshd)
    }

    /// Does the same, and logs in.
    async fn entered(lines: &str) -> (UserHome, Sshd, Shell) {
        let (home, sshd) = UserHome::with_server(lines);
        let shell = enter(&home.port(sshd.port)).await;
        (home, sshd, shell)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(".ssh").join(name)
    }

    /// Makes a key, and returns its public part.
    fn key(&self, name: &str) -> String {
        farm(self.0.path(), "key \"$0\"", name);
        public(&self.path(name))
    }

    fn knows(&self, sshd: &Sshd) {
        self.append("known_hosts", &sshd.known_line("ed25519"));
    }

    fn append(&self, name: &str, text: &str) {
        let old = fs::read_to_string(self.path(name)).unwrap_or_default();
        fs::write(self.path(name), old + text).unwrap();
    }

    /// Returns how to log in to a host by its name in ssh_config.
    fn alias(&self, host: &str) -> SshDestination {
        let (user, host, home) = (Some(me()), host.into(), self.0.path().into());
        SshDestination { user, host, port: None, host_key: None, home, agent: None }
    }

    /// Returns how to log in to what listens on this port.
    fn port(&self, port: u16) -> SshDestination {
        SshDestination { port: Some(port), ..self.alias("127.0.0.1") }
    }
}

async fn enter(destination: &SshDestination) -> Shell {
    let openssh = OpenSsh::enter(destination).await.unwrap_or_else(|error| panic!("{error}"));
    Shell::remote(openssh, Arc::new(NoopObserver))
}

/// Returns the error of a login that must fail.
async fn refusal(destination: &SshDestination) -> String {
    let entered = OpenSsh::enter(destination).await;
    entered.err().unwrap_or_else(|| panic!("{destination:?} was entered")).to_string()
}

/// Returns what a script prints there.
async fn prints(shell: &Shell, text: &str) -> String {
    shell.read(&Command::new("sh").args(["-c", text])).await.unwrap_or_else(|error| panic!("{error:#}"))
}

fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not said in: {error}");
    }
}
