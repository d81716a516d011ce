//! The `ssh` that keeps the connection to a remote machine. It ends with this process, however that ends, and leaves
//! nothing behind.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::destination::SshDestination;
use super::refusal::{self, EnterError, Refused, host_key, words};
use crate::base::programs;
use crate::exec::command::Command;
use crate::exec::shell::local::Local;

const WATCH: &str = include_str!("watch.sh");
/// The time limit of entering, over all jump hosts: an agent may wait for a touch or a confirmation.
const ENTERING: Duration = Duration::from_secs(120);
/// How often to look whether it is up.
const LOOK: Duration = Duration::from_millis(20);
/// The time limit of what the master answers by itself.
const ANSWER: Duration = Duration::from_secs(60);
/// The longest path of the private folder: a socket's path has 108 bytes, and `ssh` adds 17 to it at first.
const LONGEST: usize = 80;
/// The kinds of host keys, as HostKeyAlgorithms names them.
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
    /// Connects to a remote machine and logs in, as `ssh` does.
    pub(super) async fn enter(to: &SshDestination) -> Result<Master, EnterError> {
        to.check_host_key()?;
        let Some(pinned) = &to.host_key else {
            return Master::start(to, None).await.map_err(|refused| refusal::explain(to, &refused));
        };
        // A host has several keys and shows one of them: the given fingerprint may be that of another kind.
        let mut shown = Vec::new();
        for kind in KINDS {
            match Master::start(to, Some((pinned, kind))).await {
                Ok(master) => return Ok(master),
                Err(refused) if refused.is_unknown_key() => shown.push(host_key(&refused.log)),
                Err(refused) if refused.log.contains("no matching host key type found") => {}
                Err(refused) => return Err(refusal::explain(to, &refused)),
            }
        }
        Err(refusal::other_host_key(to, pinned, &shown))
    }

    /// Starts `ssh` and waits until it is logged in. Accepts only the host key with the given fingerprint, of this kind.
    async fn start(to: &SshDestination, pinned: Option<(&str, &str)>) -> Result<Master, Refused> {
        let cannot = |error: anyhow::Error| Refused { log: format!("{error:#}\n"), waited: None };
        let ssh = programs::need("ssh", "`apt-get install openssh-client`").map_err(cannot)?;
        let folder = private_folder(to, pinned).map_err(|error| cannot(error.into()))?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let mut options = vec!["ControlPersist=no".to_owned()];
        if let Some((_, kind)) = pinned {
            options.push(format!("KnownHostsCommand=/bin/sh \"{}\" %H %t %K %f", at("known_hosts")));
            options.push(format!("HostKeyAlgorithms={kind}"));
            // Nothing else may vouch for it.
            let others = ["UserKnownHostsFile=/dev/null", "GlobalKnownHostsFile=/dev/null", "VerifyHostKeyDNS=no"];
            options.extend(others.into_iter().chain(["NoHostAuthenticationForLocalhost=no"]).map(str::to_owned));
        }
        let setsid = programs::need("setsid", "`apt-get install util-linux`").map_err(cannot)?;
        let mut watch = tokio::process::Command::new(setsid);
        // In a session of its own it has no terminal, from which `ssh` could ask something, or get Ctrl-C.
        watch.args(["sh", "-c", WATCH, "sh"]).arg(folder.path()).arg(ssh);
        watch.args(["-v", "-N", "-M", "-F", &at("config"), "-S", &at("ctl")]);
        watch.args(options.iter().flat_map(|option| ["-o", option])).args(to.arguments());
        watch.env("SSH_ASKPASS_REQUIRE", "never").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        match &to.agent {
            Some(agent) => watch.env("SSH_AUTH_SOCK", agent),
            None => watch.env_remove("SSH_AUTH_SOCK"),
        };
        let watch = watch.spawn().map_err(|error| cannot(error.into()))?;
        let master = Master { folder, host: to.host.clone(), _watch: watch };
        let started = Instant::now();
        while !master.path("ctl").exists() {
            // This first: what is written until then is in the log.
            let over = master.path("over").exists();
            let log = master.log();
            if over || started.elapsed() > ENTERING || refusal::in_a_circle(&log) {
                return Err(Refused { log, waited: (!over).then(|| started.elapsed()) });
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(master)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("words")).unwrap_or_default()).into_owned()
    }

    /// Returns what `ssh` printed about the connection.
    pub(super) fn words(&self) -> String {
        words(&self.log())
    }

    /// Returns the machine's host key: its type and fingerprint.
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

/// Makes the folder with what `ssh` reads.
fn private_folder(to: &SshDestination, pinned: Option<(&str, &str)>) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("assay-ssh-").permissions(Permissions::from_mode(0o700));
    let mut folder = builder.tempdir()?;
    if folder.path().as_os_str().len() > LONGEST {
        folder = builder.tempdir_in(Path::new("/tmp"))?;
    }
    fs::write(folder.path().join("config"), to.config())?;
    if let Some((fingerprint, _)) = pinned {
        fs::write(folder.path().join("known_hosts"), to.known_hosts_script(fingerprint))?;
    }
    Ok(folder)
}
