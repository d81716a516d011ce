//! Explains from what `ssh -v` printed why a machine could not be entered, and what to do.

use std::time::Duration;

use super::destination::SshDestination;
use crate::exec::command::{quote, tail};

/// How the lines begin that `ssh -v` prints about its work.
const NOT_WORDS: [&str; 8] = [
    "debug",
    "OpenSSH_",
    "Authenticated to ",
    "Transferred: ",
    "Bytes per second: ",
    "@@@",
    "** ",
    "Host key verification failed",
];
/// What to do about what `ssh` says; the first that fits counts.
const HINTS: [(&str, &str); 9] = [
    ("Connection refused", "is sshd running there, and is that its port?"),
    ("Could not resolve hostname", "is the name right? A HostName in ~/.ssh/config can say where it is"),
    ("administratively prohibited", "set `AllowTcpForwarding yes` in the sshd_config of the host before it"),
    (
        "timed out during banner exchange",
        "it takes connections, but says nothing that an SSH server would: is the port that of its sshd? (ConnectTimeout \
         in ~/.ssh/config gives it longer)",
    ),
    ("timed out", "is it up, and does its firewall let the port in? (ConnectTimeout in ~/.ssh/config gives it longer)"),
    ("No route to host", "is it up, and is this host in its network, or its VPN?"),
    ("Network is unreachable", "is it up, and is this host in its network, or its VPN?"),
    ("Unable to negotiate", "upgrade its sshd"),
    ("invalid format", "what answers there is not an SSH server: is it the right port?"),
];
const HUNG_UP: &str =
    "it hung up before its key was seen: does it turn this host away (MaxStartups, fail2ban, a firewall)?";

/// More jump hosts than any real setup has; `ssh` itself follows a circle of them without end.
const MOST_JUMPS: usize = 16;

/// Why logging in to a machine failed. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error(
        "--host-key {0} is not a fingerprint: give SHA256: and 43 characters, as `ssh-keygen -lf \
         /etc/ssh/ssh_host_ed25519_key.pub` prints them on the machine, for example \
         --host-key SHA256:uNiVztksCsDhcc0u9e8BrBxwWjL8ttRTWFAuQwHd8mU"
    )]
    HostKeyOption(String),
    /// `ssh` cannot read its configuration.
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    NotIn(String),
}

/// What `ssh -v` printed, and how long it was waited for if it did not end by itself.
pub(super) struct LoginFailure {
    pub log: String,
    pub waited: Option<Duration>,
}

impl LoginFailure {
    /// Returns whether the machine itself showed a host key that is not accepted and that is not revoked.
    pub(super) fn is_unknown_key(&self) -> bool {
        self.log.contains("Host key verification failed") && reached(&self.log) && !self.log.contains("as revoked")
    }
}

pub(super) fn words(log: &str) -> String {
    let lines = log.lines().map(str::trim_end);
    let words = lines.filter(|line| !line.is_empty() && !NOT_WORDS.iter().any(|start| line.starts_with(start)));
    tail(&words.collect::<Vec<_>>().join("\n"), 6).replace('\n', "; ")
}

/// Returns the text after the last of these beginnings of a line.
fn last<'a>(log: &'a str, start: &str) -> Option<&'a str> {
    log.lines().rev().find_map(|line| line.strip_prefix(start))
}

/// Returns the type and fingerprint of the host key that was shown last.
pub(super) fn host_key(log: &str) -> String {
    let key = last(log, "debug1: Server host key: ").unwrap_or_default();
    key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Returns how many jump hosts `ssh` has found so far.
fn jumps(log: &str) -> usize {
    log.matches("debug1: Setting implicit ProxyCommand from ProxyJump").count()
}

pub(super) fn in_a_circle(log: &str) -> bool {
    jumps(log) > MOST_JUMPS
}

/// Returns whether the machine itself was reached, and not only jump hosts.
fn reached(log: &str) -> bool {
    log.matches("debug1: Authenticating to ").count() > jumps(log)
}

pub(super) fn explain(to: &SshDestination, failure: &LoginFailure) -> EnterError {
    let (log, words) = (failure.log.as_str(), words(&failure.log));
    if log.to_lowercase().contains("bad configuration option") {
        return EnterError::Config(format!("{}: {words}", to.host));
    }
    if let Some(waited) = failure.waited {
        let seconds = waited.as_secs();
        let why = match in_a_circle(log) {
            true => "does a ProxyJump of ssh_config lead in a circle?".to_owned(),
            false => format!("not logged in after {seconds}s: does the agent or a security key wait for you? {words}"),
        };
        return to.no_connection(why);
    }
    // `HOST:PORT as 'USER'`, of the machine or of a jump host. Of a ProxyCommand nothing but its words is known.
    let asked = last(log, "debug1: Authenticating to ").and_then(|asked| asked.split_once(" as '"));
    if let Some((address, user)) = asked {
        let machine = to.machine();
        if log.contains("Host key verification failed") {
            return EnterError::NotIn(format!("{machine}: {}", unaccepted(to, log, address)));
        }
        if log.contains("Permission denied (") || log.contains("Too many authentication failures") {
            let (user, why) = (user.trim_end_matches('\''), not_let_in(to, log, &words));
            return EnterError::NotIn(format!("{machine}: {address} does not let user {user} in: {why}"));
        }
    }
    let hint = hint(log, &words).map_or_else(String::new, |hint| format!("; {hint}"));
    to.no_connection(words + &hint)
}

fn hint(log: &str, words: &str) -> Option<&'static str> {
    if log.contains("banner line 0:") {
        return Some("what answers there is not an SSH server: is it the right port?");
    }
    // A ProxyCommand or a jump host says itself why it does not get through.
    let hung_up = host_key(log).is_empty() && log.contains("debug1: Connection established") && jumps(log) == 0;
    let known = HINTS.iter().find(|(phrase, _)| words.contains(phrase)).map(|(_, hint)| *hint);
    known.or(hung_up.then_some(HUNG_UP))
}

fn unaccepted(to: &SshDestination, log: &str, address: &str) -> String {
    let key = host_key(log);
    if log.contains("as revoked") {
        return format!("{address} shows {key}, which is revoked: nothing was sent to it. Ask who revoked it");
    }
    let other = last(log, "Offending ").and_then(|line| line.split_once(" key in ")?.1.trim_end().rsplit_once(':'));
    let name = last(log, "Host key for ").and_then(|line| line.split_once(" has changed"));
    if let (Some((file, line)), Some((name, _))) = (other, name) {
        return format!(
            "{address} shows {key}, but {file}, line {line}, has another key for it: it may not be that machine, and \
             nothing was sent to it; if it was changed on purpose, `ssh-keygen -R {} -f {}` forgets the old one",
            quote(name),
            quote(file)
        );
    }
    let fingerprint = key.split(' ').next_back().unwrap_or_default();
    let how_to_accept = match reached(log) {
        true => format!("with `--host-key {fingerprint}` or by `ssh {} true`, once", to.typed()),
        false => "by an `ssh` to that host, once".to_owned(),
    };
    format!(
        "{address} shows the key {key}, which no known_hosts file has: nothing was sent to it. Compare it with what \
         `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` prints on the machine, then accept it {how_to_accept}"
    )
}

/// Explains that the machine showed other host keys than the one with the given fingerprint.
pub(super) fn other_host_key(to: &SshDestination, given: &str, shown: &[String]) -> EnterError {
    let shown = if shown.is_empty() { "no key of a usual kind".to_owned() } else { shown.join(" and ") };
    EnterError::NotIn(format!(
        "{}: {} shows {shown}, but --host-key names {given}: it may not be that machine, and nothing was sent to it; \
         compare with what `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` prints on the machine",
        to.machine(),
        to.address()
    ))
}

fn not_let_in(to: &SshDestination, log: &str, words: &str) -> String {
    // What was said about the host that refused, and not about jump hosts before it.
    let log = log.rsplit("debug1: Authenticating to ").next().unwrap_or(log);
    let all = |start: &str| log.lines().filter_map(|line| line.strip_prefix(start)).collect::<Vec<_>>();
    let offered = all("debug1: Offering public key: ");
    let accepted = all("debug1: Server accepts key: ");
    let copy = |file: &str| format!("`ssh-copy-id {file}{}` installs a key there", to.typed());
    if log.contains("partial success") {
        return format!("it accepts the key, and then wants more than a program can give: {words}");
    }
    // An agent that refuses to sign says so itself.
    if let Some(key) = accepted.last().filter(|key| !key.ends_with(" agent")) {
        let file = key.split(' ').next().unwrap_or_default();
        return format!(
            "{words}; it accepts {file}: if that has a passphrase, add it to the agent with `ssh-add {file}`"
        );
    }
    if words.contains("Too many") {
        let how = "name the right one in ~/.ssh/config, with IdentityFile and `IdentitiesOnly yes`";
        return format!("it hung up at key {} (MaxAuthTries): {how}; {words}", offered.len());
    }
    if words.contains("Permission denied (") && !words.contains("publickey") {
        return format!("{words}; it takes no keys: set `PubkeyAuthentication yes` in its sshd_config");
    }
    let agent = match log.contains("ssh_get_authentication_socket") {
        true => "; the agent does not answer: start it anew",
        false => "",
    };
    match offered.iter().map(|key| key.split(' ').next().unwrap_or_default()).find(|file| file.starts_with('/')) {
        _ if offered.is_empty() => {
            let make = "`ssh-keygen -t ed25519` makes a key";
            format!("{words}; there is no key to offer{agent}; {make}, and {}", copy(""))
        }
        file => {
            let copy = copy(&file.map_or_else(String::new, |file| format!("-i {} ", quote(file))));
            let why = "is it the right user? Its sshd's log says why (`journalctl -u ssh`)";
            format!("it refuses {}; {words}{agent}; {copy}; {why}", offered.join(", "))
        }
    }
}
