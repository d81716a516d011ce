//! Reads the user's ssh_config for a host by running OpenSSH (`ssh -G`), because only OpenSSH evaluates Match, Include
//! and their order correctly. Without any ssh_config, OpenSSH's defaults are assumed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::entrance::EnterError;
use crate::exec::command::Command;
use crate::exec::shell::ShellError;
use crate::exec::shell::local::Local;

/// The time limit of `ssh -G`, which may run a `Match exec`.
const LIMIT: Duration = Duration::from_secs(10);
/// The default key files of OpenSSH that need no hardware token.
const USUAL_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];
/// Unsupported options that change the destination, the source or the trusted keys; their harmless values; the remedy.
const REFUSED: [(&str, &[&str], &str); 5] = [
    ("proxycommand", &["none"], "use ProxyJump"),
    ("bindaddress", &[], "take it out for this host"),
    ("bindinterface", &[], "take it out for this host"),
    ("revokedhostkeys", &["none"], "mark the keys @revoked in known_hosts"),
    ("pubkeyauthentication", &["true", "yes", "unbound", "host-bound"], "keys are the only way to log in from here"),
];

/// A host as the user writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
}

/// A host with the settings of ssh_config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    pub user: String,
    pub host: String,
    pub port: u16,
    /// Private key files, in order; they may not exist.
    pub identities: Vec<PathBuf>,
    /// Whether to ignore the agent's other keys.
    pub identities_only: bool,
    pub agent: Option<PathBuf>,
    /// The jump hosts, first to last.
    pub jumps: Vec<Asked>,
    /// The known_hosts files: the user's, then the system's.
    pub known_hosts: Vec<PathBuf>,
    /// The name to look up in known_hosts instead of the host's own.
    pub key_alias: Option<String>,
    pub connect_timeout: Option<Duration>,
    /// `true`: use only IPv4; `false`: only IPv6.
    pub ipv4: Option<bool>,
    /// Certificate files of the user, which are not used.
    pub certificates: Vec<String>,
}

/// The user's home folder and agent.
#[derive(Clone, Debug)]
pub(super) struct Whose<'a> {
    pub home: &'a Path,
    pub agent: Option<&'a Path>,
}

impl Asked {
    /// Parses `[user@]host[:port]`, as in ProxyJump, with or without `ssh://`.
    fn parse(text: &str) -> Option<Asked> {
        let text = text.strip_prefix("ssh://").unwrap_or(text);
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let (host, port) = match rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
            None => match rest.split_once(':') {
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (rest, None),
            },
        };
        let port = port.map(str::parse).transpose().ok()?;
        (!host.is_empty() && user.as_deref() != Some("")).then(|| Asked { user, host: host.to_owned(), port })
    }
}

pub(super) async fn resolve(asked: &Asked, whose: &Whose<'_>) -> Result<Resolved, EnterError> {
    ask("ssh", asked, whose).await
}

async fn ask(openssh: &str, asked: &Asked, whose: &Whose<'_>) -> Result<Resolved, EnterError> {
    let failed = |detail: String| EnterError::Config { host: asked.host.clone(), detail };
    let plain = |text: &str| !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_whitespace);
    if !plain(&asked.host) || !asked.user.as_deref().is_none_or(plain) {
        return Err(failed("this does not name a user and a host: give ssh://user@host".to_owned()));
    }
    let config = whose.home.join(".ssh/config");
    let frame = tempfile::Builder::new().prefix("assay-ssh-config").tempfile();
    let frame = frame.and_then(|file| std::fs::write(file.path(), framed(whose.home)).map(|()| file));
    let frame = frame.map_err(|error| failed(format!("no temporary file: {error}")))?;
    let mut command = Command::new(openssh).args(["-G", "-F", &frame.path().to_string_lossy()]).time_limit(LIMIT);
    if let Some(user) = &asked.user {
        command = command.args(["-l", user]);
    }
    if let Some(port) = asked.port {
        command = command.args(["-p", &port.to_string()]);
    }
    match Local::default().run(&command.args(["--", &asked.host])).await {
        Ok(output) if output.succeeded() => parse(&output.text(), asked, whose),
        Ok(output) => Err(failed(output.errors().trim().to_owned())),
        Err(ShellError::Start { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            if config.exists() {
                let detail = format!("{} is read by OpenSSH's client, which is not installed here", config.display());
                return Err(failed(format!("{detail}: apt-get install openssh-client")));
            }
            parse("", asked, whose)
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Returns a config that includes the user's, then the system's, then sets this user's defaults. It is needed because
/// `ssh` takes the home folder from the password database and not from `HOME`.
fn framed(home: &Path) -> String {
    let ssh = home.join(".ssh");
    let at = |name: &str| format!("\"{}\"", ssh.join(name).display());
    format!(
        "Include {}\nInclude /etc/ssh/ssh_config\nHost *\n  UserKnownHostsFile {} {}\n",
        at("config"),
        at("known_hosts"),
        at("known_hosts2")
    )
}

/// Parses the output of `ssh -G`; an empty text gives OpenSSH's defaults.
fn parse(text: &str, asked: &Asked, whose: &Whose<'_>) -> Result<Resolved, EnterError> {
    let failed = |detail: String| EnterError::Config { host: asked.host.clone(), detail };
    let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    let all = |key: &'static str| lines.iter().filter(move |(name, _)| *name == key).map(|(_, value)| value.trim());
    let first = |key: &str| lines.iter().find(|(name, _)| *name == key).map(|(_, value)| value.trim());
    for (option, harmless, remedy) in REFUSED {
        if let Some(value) = first(option).filter(|value| !harmless.contains(value)) {
            return Err(failed(format!("ssh_config says `{option} {value}`, which assay does not do: {remedy}")));
        }
    }
    let mut resolved = Resolved {
        user: asked.user.clone().or_else(|| first("user").map(str::to_owned)).unwrap_or_default(),
        host: first("hostname").unwrap_or(&asked.host).to_lowercase(),
        port: asked.port.or_else(|| first("port")?.parse().ok()).unwrap_or(22),
        identities_only: first("identitiesonly") == Some("yes"),
        key_alias: first("hostkeyalias").map(str::to_lowercase),
        connect_timeout: first("connecttimeout").and_then(|text| Some(Duration::from_secs(text.parse().ok()?))),
        ipv4: match first("addressfamily") {
            Some("inet") => Some(true),
            Some("inet6") => Some(false),
            _ => None,
        },
        certificates: all("certificatefile").map(str::to_owned).collect(),
        ..Resolved::default()
    };
    let expand = |path: &str| expand(path, &asked.host, &resolved, whose.home).map_err(&failed);
    let identities = all("identityfile").filter(|path| *path != "none").map(expand).collect::<Result<Vec<_>, _>>()?;
    let known = ["userknownhostsfile", "globalknownhostsfile"].into_iter().filter_map(first).flat_map(paths);
    let known = known.filter(|path| path != "none").map(|path| expand(&path)).collect::<Result<Vec<_>, _>>()?;
    let agent = match first("identityagent") {
        None | Some("SSH_AUTH_SOCK" | "$SSH_AUTH_SOCK") => whose.agent.map(Path::to_owned),
        Some("none") => None,
        Some(variable) if variable.starts_with('$') => {
            return Err(failed(format!("ssh_config says `IdentityAgent {variable}`: name the socket's path there")));
        }
        Some(path) => Some(expand(path)?),
    };
    let jumps = first("proxyjump").filter(|list| *list != "none").map(|list| list.split(',')).into_iter().flatten();
    let jumps = jumps.map(|jump| Asked::parse(jump).ok_or_else(|| failed(format!("`ProxyJump {jump}` names no host"))));
    let jumps = jumps.collect::<Result<Vec<_>, _>>()?;
    (resolved.identities, resolved.known_hosts, resolved.agent, resolved.jumps) = (identities, known, agent, jumps);
    if text.is_empty() {
        let ssh = whose.home.join(".ssh");
        resolved.identities = USUAL_KEYS.iter().map(|name| ssh.join(name)).collect();
        resolved.known_hosts = vec![ssh.join("known_hosts"), "/etc/ssh/ssh_known_hosts".into()];
    }
    Ok(resolved)
}

/// Splits a list of absolute paths. `ssh -G` does not quote them, so a path may contain a space.
fn paths(list: &str) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for part in list.split(' ') {
        match paths.last_mut() {
            Some(last) if !part.starts_with(['/', '~', '%']) && part != "none" => *last = format!("{last} {part}"),
            _ => paths.push(part.to_owned()),
        }
    }
    paths
}

/// Expands OpenSSH's `%` tokens in a path.
fn expand(path: &str, alias: &str, host: &Resolved, home: &Path) -> Result<PathBuf, String> {
    let mut text = String::new();
    let mut rest = path.chars();
    while let Some(c) = rest.next() {
        match (c, (c == '%').then(|| rest.next()).flatten()) {
            ('%', Some('%')) => text.push('%'),
            ('%', Some('d')) => text.push_str(&home.to_string_lossy()),
            ('%', Some('h')) => text.push_str(&host.host),
            ('%', Some('n')) => text.push_str(alias),
            ('%', Some('p')) => text.push_str(&host.port.to_string()),
            ('%', Some('r')) => text.push_str(&host.user),
            ('%', Some('k')) => text.push_str(host.key_alias.as_deref().unwrap_or(alias)),
            ('%', other) => {
                let token = other.map(String::from).unwrap_or_default();
                return Err(format!("ssh_config has `{path}`, and assay does not know %{token}: write the path out"));
            }
            (c, _) => text.push(c),
        }
    }
    if text.contains("${") {
        return Err(format!("ssh_config has `{path}`, and assay reads no variables there: write the path out"));
    }
    Ok(match text.strip_prefix("~/") {
        Some(below) => home.join(below),
        None => PathBuf::from(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Resolved, String> {
        let asked = Asked { host: "build".into(), ..Asked::default() };
        let whose = Whose { home: Path::new("/home/ann"), agent: Some(Path::new("/run/agent")) };
        parse(text, &asked, &whose).map_err(|error| error.to_string())
    }

    #[test]
    fn what_openssh_says_of_a_host_is_read() {
        let text = "user bob\nhostname Build.Example\nport 2200\nidentitiesonly yes\naddressfamily inet\n\
                    identityagent /run/other\nidentityfile ~/.ssh/%h_%r\nidentityfile /keys/a b\nconnecttimeout 3\n\
                    userknownhostsfile /home/ann/.ssh/known /home/ann/my keys\n\
                    globalknownhostsfile none\nproxyjump eve@[::1]:33,gate\nhostkeyalias Farm\n";
        let resolved = read(text).unwrap();
        assert_eq!((resolved.user.as_str(), resolved.host.as_str(), resolved.port), ("bob", "build.example", 2200));
        assert_eq!(resolved.identities, [Path::new("/home/ann/.ssh/build.example_bob"), Path::new("/keys/a b")]);
        assert_eq!(resolved.known_hosts, [Path::new("/home/ann/.ssh/known"), Path::new("/home/ann/my keys")]);
        assert_eq!(resolved.agent, Some(PathBuf::from("/run/other")));
        assert_eq!(resolved.key_alias.as_deref(), Some("farm"));
        assert_eq!((resolved.connect_timeout, resolved.ipv4), (Some(Duration::from_secs(3)), Some(true)));
        let eve = Asked { user: Some("eve".into()), host: "::1".into(), port: Some(33) };
        assert_eq!(resolved.jumps, [eve, Asked { host: "gate".into(), ..Asked::default() }]);
    }

    #[test]
    fn a_host_of_which_nothing_is_said_has_the_usual_port_keys_and_agent() {
        let resolved = read("").unwrap();
        assert_eq!((resolved.host.as_str(), resolved.port), ("build", 22));
        assert_eq!(resolved.identities[0], Path::new("/home/ann/.ssh/id_ed25519"));
        assert_eq!(resolved.known_hosts[0], Path::new("/home/ann/.ssh/known_hosts"));
        assert_eq!(resolved.agent, Some(PathBuf::from("/run/agent")));
    }

    #[tokio::test]
    async fn without_openssh_a_configuration_is_not_passed_over() {
        let home = tempfile::tempdir().unwrap();
        let asked = Asked { user: Some("ann".into()), host: "build".into(), port: Some(2200) };
        let whose = Whose { home: home.path(), agent: None };
        let resolved = ask("no-such-openssh", &asked, &whose).await.unwrap();
        assert_eq!((resolved.user.as_str(), resolved.host.as_str(), resolved.port), ("ann", "build", 2200));
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        std::fs::write(home.path().join(".ssh/config"), "Host build\n  Port 22\n").unwrap();
        let error = ask("no-such-openssh", &asked, &whose).await.unwrap_err().to_string();
        assert!(error.contains("which is not installed here: apt-get install openssh-client"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_name_never_reaches_a_command_line() {
        let whose = Whose { home: Path::new("/home/ann"), agent: None };
        for (user, host) in [("ann", "-oProxyCommand=id"), ("-l", "build"), ("ann", "a b"), ("ann", "")] {
            let asked = Asked { user: Some(user.into()), host: host.into(), port: None };
            let error = ask("no-such-openssh", &asked, &whose).await.unwrap_err().to_string();
            assert!(error.contains("does not name a user and a host: give ssh://user@host"), "{error}");
        }
    }

    #[test]
    fn what_would_lead_elsewhere_is_refused_with_what_to_write_instead() {
        for (text, expected) in [
            ("proxycommand nc gate 22", "`proxycommand nc gate 22`, which assay does not do: use ProxyJump"),
            ("pubkeyauthentication false", "`pubkeyauthentication false`, which assay does not do"),
            ("identityagent $OTHER", "`IdentityAgent $OTHER`: name the socket's path"),
            ("identityfile ~/%C", "does not know %C: write the path out"),
            ("identityfile ${KEYS}/a", "reads no variables there"),
            ("proxyjump a:b", "`ProxyJump a:b` names no host"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(read("proxycommand none\npubkeyauthentication true\nproxyjump none").is_ok());
    }
}
