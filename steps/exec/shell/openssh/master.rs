//! The `ssh` that keeps the connection to a remote machine. It ends with this process, however that ends, and leaves
//! nothing behind.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;

use super::destination::SshDestination;
use super::refusal::{self, EnterError, LoginFailure, host_key, words};
use crate::base::{commands, programs};
use crate::exec::command::Command;
use crate::exec::shell::local::Local;

const WATCH: &str = include_str!("watch.sh");
/// The time limit of entering, over all jump hosts: an agent may wait for a touch or a confirmation.
const ENTERING: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);
/// The time limit of what the master answers by itself.
const ANSWER: Duration = Duration::from_secs(60);
/// The longest path of the private folder: a socket's path has 108 bytes, and `ssh` adds 17 to it at first.
const LONGEST: usize = 80;
/// Keeps anything but the given fingerprint from vouching for the machine.
const NOTHING_ELSE: [&str; 4] = [
    "UserKnownHostsFile=/dev/null",
    "GlobalKnownHostsFile=/dev/null",
    "VerifyHostKeyDNS=no",
    "NoHostAuthenticationForLocalhost=no",
];
const KINDS: [&str; 3] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521", "rsa-sha2-512,rsa-sha2-256"];

pub(super) struct Master {
    /// Contains the configuration, the control socket, and all that `ssh` prints.
    folder: TempDir,
    host: String,
    /// Ends everything once its standard input is closed.
    _watch: tokio::process::Child,
}

impl Master {
    pub(super) async fn enter(to: &SshDestination) -> Result<Master, EnterError> {
        to.check_host_key()?;
        let Some(pinned) = &to.host_key else {
            return Master::start(to, None).await.map_err(|failure| refusal::explain(to, &failure));
        };
        // A host has several keys and shows one of them: the given fingerprint may be that of another kind.
        let mut shown = Vec::new();
        for kind in KINDS {
            match Master::start(to, Some((pinned, kind))).await {
                Ok(master) => return Ok(master),
                Err(failure) if failure.is_unknown_key() => shown.push(host_key(&failure.log)),
                Err(failure) if failure.log.contains("no matching host key type found") => {}
                Err(failure) => return Err(refusal::explain(to, &failure)),
            }
        }
        Err(refusal::other_host_key(to, pinned, &shown))
    }

    /// Starts `ssh` and waits until it is logged in; a pin is the only host key's fingerprint and kind to accept.
    async fn start(to: &SshDestination, pin: Option<(&str, &str)>) -> Result<Master, LoginFailure> {
        let master = Master::spawn(to, pin);
        let master = master.map_err(|error| LoginFailure { log: format!("{error:#}\n"), waited: None })?;
        let started = Instant::now();
        while !master.path("ctl").exists() {
            // This first: what is written until then is in the log.
            let over = master.path("over").exists();
            let log = master.log();
            if over || started.elapsed() > ENTERING || refusal::in_a_circle(&log) {
                return Err(LoginFailure { log, waited: (!over).then(|| started.elapsed()) });
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(master)
    }

    fn spawn(to: &SshDestination, pin: Option<(&str, &str)>) -> anyhow::Result<Master> {
        let folder = private_folder(to, pin).context("cannot make a temporary folder")?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        // In a session of its own it has no terminal, from which `ssh` could ask something, or get Ctrl-C.
        let setup = commands::setup(&format!("ssh://{}", to.machine()));
        let mut watch = tokio::process::Command::new(programs::need("setsid", &setup)?);
        watch.args(["sh", "-c", WATCH, "sh"]).arg(folder.path());
        watch.arg(programs::need("ssh", &setup)?);
        watch.args(["-v", "-N", "-M", "-F", &at("config"), "-S", &at("ctl"), "-o", "ControlPersist=no"]);
        if let Some((_, kind)) = pin {
            watch.args(["-o", &format!("KnownHostsCommand=/bin/sh \"{}\" %H %t %K %f", at("known_hosts"))]);
            watch.args(["-o", &format!("HostKeyAlgorithms={kind}")]);
            watch.args(NOTHING_ELSE.iter().flat_map(|option| ["-o", option]));
        }
        watch.args(to.arguments()).env("SSH_ASKPASS_REQUIRE", "never");
        match &to.agent {
            Some(agent) => watch.env("SSH_AUTH_SOCK", agent),
            None => watch.env_remove("SSH_AUTH_SOCK"),
        };
        let watch = watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Master { host: to.host.clone(), _watch: watch.context("cannot start setsid")?, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("words")).unwrap_or_default()).into_owned()
    }

    pub(super) fn words(&self) -> String {
        words(&self.log())
    }

    pub(super) fn host_key(&self) -> String {
        host_key(&self.log())
    }

    /// Returns an `ssh` that uses the connection, or else runs the command `otherwise` here.
    fn client(&self, arguments: &[&str], otherwise: &str) -> Command {
        let (socket, otherwise) = (self.path("ctl").display().to_string(), format!("ProxyCommand={otherwise}"));
        // `ssh` runs a ProxyCommand by the user's shell, which may be any.
        let ssh = Command::new("ssh").env("SHELL", "/bin/sh").args(["-F", "none", "-S", &socket, "-o", &otherwise]);
        ssh.args(["-o", "BatchMode=yes"]).args(arguments.iter().copied()).args(["--", &self.host])
    }

    /// Returns an `ssh` that runs a line in a session of its own, or else the command `otherwise` here.
    pub(super) fn session(&self, line: &Command, otherwise: &str) -> Command {
        let client = self.client(&["-T"], otherwise).args(line.argv.iter().cloned());
        client.stdin(line.stdin.clone()).time_limit(line.time_limit)
    }

    pub(super) async fn is_up(&self) -> bool {
        let check = self.client(&["-O", "check"], "false").time_limit(ANSWER);
        Local::default().run(&check).await.is_ok_and(|output| output.succeeded())
    }

    /// Forwards a port of the machine's loopback, or any free one if it is 0, to a port of this host's loopback.
    pub(super) async fn forward(&self, port: u16, local: u16) -> Result<u16, String> {
        let ports = format!("127.0.0.1:{port}:127.0.0.1:{local}");
        let forward = self.client(&["-O", "forward", "-R", &ports], "false").time_limit(ANSWER);
        let output = Local::default().run(&forward).await.map_err(|error| error.to_string())?;
        match output.text().trim().parse() {
            Ok(allocated) if output.succeeded() && port == 0 => Ok(allocated),
            _ if output.succeeded() && port != 0 => Ok(port),
            _ => Err(output.errors().trim().to_owned()),
        }
    }
}

fn private_folder(to: &SshDestination, pin: Option<(&str, &str)>) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("assay-ssh-").permissions(Permissions::from_mode(0o700));
    let mut folder = builder.tempdir()?;
    if folder.path().as_os_str().len() > LONGEST {
        folder = builder.tempdir_in(Path::new("/tmp"))?;
    }
    fs::write(folder.path().join("config"), to.config())?;
    if let Some((fingerprint, _)) = pin {
        fs::write(folder.path().join("known_hosts"), to.known_hosts_script(fingerprint))?;
    }
    Ok(folder)
}
