//! A remote machine as its user names it, and what `ssh` is told about it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::refusal::EnterError;
use crate::base::settings::Settings;
use crate::exec::command::quote;

/// Settings for the machine and for every host on the way to it: nothing asks the user, nothing accepts an unknown host
/// key, and nothing happens that the user's configuration wants for a login by hand. The first value counts.
const OURS: &str = "\
BatchMode yes
StrictHostKeyChecking yes
UpdateHostKeys no
ServerAliveInterval 15
ServerAliveCountMax 3
RequestTTY no
RemoteCommand none
PermitLocalCommand no
ClearAllForwardings yes
ForwardAgent no
ForwardX11 no
Tunnel no
";
/// Settings that the user's configuration may replace.
const DEFAULTS: &str = "Host *\nConnectTimeout 30\n";
const KEYS: [&str; 5] = ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshDestination {
    /// The user; if `None`, ssh_config's, else the user of this process.
    pub user: Option<String>,
    /// The host's name, address, or alias in ssh_config.
    pub host: String,
    /// The port; if `None`, ssh_config's, else 22.
    pub port: Option<u16>,
    /// The fingerprint of the host key to accept, `SHA256:…`, whatever known_hosts says.
    pub host_key: Option<String>,
    pub home: PathBuf,
    pub agent: Option<PathBuf>,
}

impl SshDestination {
    pub fn new(
        user: Option<&str>,
        host: &str,
        port: Option<u16>,
        host_key: Option<&str>,
        settings: &Settings,
    ) -> Result<SshDestination, EnterError> {
        let none = || format!("{host}: there is no home folder with keys and known hosts: set HOME");
        let home = settings.home.clone().ok_or_else(|| EnterError::Config(none()))?;
        let (user, host, host_key) = (user.map(str::to_owned), host.to_owned(), host_key.map(str::to_owned));
        Ok(SshDestination { user, host, port, host_key, home, agent: settings.agent.clone() })
    }

    /// Returns the host with the port, if one was given.
    pub(super) fn address(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        self.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    }

    pub(super) fn machine(&self) -> String {
        format!("{}{}", self.login(), self.address())
    }

    /// Returns the arguments that name it to `ssh`, `ssh-copy-id` and others, for a message.
    pub(super) fn typed(&self) -> String {
        let port = self.port.map_or_else(String::new, |port| format!("-p {port} "));
        format!("{port}{}{}", self.login(), self.host)
    }

    fn login(&self) -> String {
        self.user.as_ref().map_or_else(String::new, |user| format!("{user}@"))
    }

    /// Returns the arguments that name it to `ssh`.
    pub(super) fn arguments(&self) -> Vec<String> {
        let port = self.port.map(|port| ["-p".to_owned(), port.to_string()]);
        let user = self.user.as_ref().map(|user| ["-l".to_owned(), user.clone()]);
        user.into_iter().chain(port).flatten().chain(["--".to_owned(), self.host.clone()]).collect()
    }

    pub(super) fn no_connection(&self, detail: String) -> EnterError {
        EnterError::NotIn(format!("{}: no SSH connection to {}: {detail}", self.machine(), self.address()))
    }

    pub(super) fn check_host_key(&self) -> Result<(), EnterError> {
        let Some(given) = &self.host_key else { return Ok(()) };
        let digest = given.strip_prefix("SHA256:").and_then(|text| STANDARD_NO_PAD.decode(text).ok());
        match digest.is_some_and(|digest| digest.len() == 32) {
            true => Ok(()),
            false => Err(EnterError::HostKeyOption(given.clone())),
        }
    }

    /// Returns the configuration for `ssh`: ours, then the user's, then the system's. A file is needed because `ssh`
    /// passes its options on to no jump host, but its file to each.
    pub(super) fn config(&self) -> String {
        let ssh = self.home.join(".ssh");
        let at = |name: &str| format!("\"{}\"", ssh.join(name).display());
        let mut text = format!("{OURS}Include {}\nInclude /etc/ssh/ssh_config\n{DEFAULTS}", at("config"));
        if !is_login_home(&self.home) {
            let _ = writeln!(text, "UserKnownHostsFile {} {}", at("known_hosts"), at("known_hosts2"));
            KEYS.iter().for_each(|name| text += &format!("IdentityFile {}\n", at(name)));
        }
        text
    }

    /// Returns a script that prints the line of known_hosts for the key with the given fingerprint and the lines that
    /// revoke keys; `ssh` runs it with a host's name, and the type, the text and the fingerprint of the key it showed.
    pub(super) fn known_hosts_script(&self, fingerprint: &str) -> String {
        let files =
            ["known_hosts", "known_hosts2"].map(|name| quote(&self.home.join(".ssh").join(name).display().to_string()));
        format!(
            "grep -hs '^@revoked' {} /etc/ssh/ssh_known_hosts\n[ \"$4\" != {} ] || echo \"$1 $2 $3\"\n",
            files.join(" "),
            quote(fingerprint)
        )
    }
}

/// Returns whether this is the home folder of the password database, where `ssh` looks whatever `HOME` is.
fn is_login_home(home: &Path) -> bool {
    let user = rustix::process::getuid().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut accounts = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let account = accounts.find(|fields| fields.get(2) == Some(&user.as_str()));
    // A user of a directory service is in no file: then it is taken for granted.
    account.and_then(|fields| fields.get(5).map(|there| Path::new(there) == home)).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(host: &str, port: Option<u16>, host_key: Option<&str>) -> SshDestination {
        let (user, host, host_key) = (Some("ann".to_owned()), host.to_owned(), host_key.map(str::to_owned));
        SshDestination { user, host, port, host_key, home: "/home/ann".into(), agent: None }
    }

    #[test]
    fn a_machine_is_named_as_it_was_given() {
        assert_eq!(destination("build", None, None).machine(), "ann@build");
        assert_eq!(destination("::1", Some(2200), None).machine(), "ann@[::1]:2200");
    }

    #[test]
    fn the_settings_give_the_home_and_the_agent() {
        let settings = Settings { agent: Some("/run/agent".into()), ..Settings::read().unwrap() };
        let ours = Settings { home: Some("/home/ann".into()), ..settings.clone() };
        let made = SshDestination::new(Some("ann"), "build", None, None, &ours).unwrap();
        assert_eq!(made, SshDestination { agent: Some("/run/agent".into()), ..destination("build", None, None) });
        let error =
            SshDestination::new(Some("ann"), "build", None, None, &Settings { home: None, ..settings }).unwrap_err();
        assert_eq!(error.to_string(), "build: there is no home folder with keys and known hosts: set HOME");
    }

    #[test]
    fn a_malformed_fingerprint_is_reported_with_an_example_of_one() {
        for wrong in ["uNiVztksCsDhcc0u9e8BrBxwWjL8ttRTWFAuQwHd8mU", "SHA256:abc", ""] {
            let error = destination("build", None, Some(wrong)).check_host_key().unwrap_err().to_string();
            let example = error.strip_prefix(&format!("--host-key {wrong} is not a fingerprint: ")).unwrap();
            let example = example.rsplit_once("--host-key ").unwrap().1;
            assert!(destination("build", None, Some(example)).check_host_key().is_ok());
        }
    }
}
