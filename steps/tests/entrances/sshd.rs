//! A real OpenSSH server for one test: it runs on loopback, as the user who runs the test, and ends with the test.

use std::fs::{self, File, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A daemon that does not listen after this long never will.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn me() -> String {
    output_of(Command::new("id").arg("-un"))
}

/// Runs a program, asserts that it succeeds, and returns what it prints.
pub fn output_of(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} cannot be started ({error}): run `ci/setup test`"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Makes a key pair, `path` and `path.pub`, and returns the public key as OpenSSH writes it.
pub fn new_key(path: &Path, kind: &str, passphrase: &str) -> String {
    output_of(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f"]).arg(path));
    public(path)
}

pub fn public(path: &Path) -> String {
    fs::read_to_string(path.with_added_extension("pub")).unwrap().trim().to_owned()
}

/// Returns the fingerprint of the key in this file: `SHA256:…`.
pub fn fingerprint(path: &Path) -> String {
    let line = output_of(Command::new("ssh-keygen").arg("-lf").arg(path));
    line.split(' ').nth(1).unwrap().to_owned()
}

pub fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// Returns a port that is free, and below those that the kernel gives to others in the meantime.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 20).unwrap() * 1000;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 1000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A program that runs as long as this value lives, with all that it started.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(command: &mut Command) -> Daemon {
        let started = command.stdin(Stdio::null()).spawn();
        Daemon(started.unwrap_or_else(|error| panic!("{command:?} cannot be started ({error}): run `ci/setup test`")))
    }

    /// Ends everything that it started, children before grandchildren, but not itself.
    fn end_children(&self) {
        let mut all = children(self.0.id());
        let mut index = 0;
        while index < all.len() {
            all.extend(children(all[index]));
            index += 1;
        }
        for pid in all {
            end(pid);
        }
    }

    fn stop(&mut self) {
        self.end_children();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

fn end(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // The process may have ended by itself.
    let _ = kill_process(pid, Signal::KILL);
}

fn children(parent: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// Starts the server that a folder configures, and waits until it listens.
fn run(folder: &Path, port: u16) -> Daemon {
    let log = folder.join("log");
    let mut command = Command::new("/usr/sbin/sshd");
    let config = folder.join("config");
    let daemon = Daemon::start(command.args(["-D", "-e", "-f"]).arg(config).stderr(File::create(&log).unwrap()));
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < PATIENCE, "sshd does not listen: {}", fs::read_to_string(&log).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon
}

pub struct Sshd {
    folder: TempDir,
    pub port: u16,
    daemon: Daemon,
}

impl Sshd {
    /// Starts a server that accepts the keys in `authorized`, with these lines in its configuration.
    pub fn start(authorized: &[String], lines: &str) -> Sshd {
        Sshd::with_keys(&["ed25519", "ecdsa"], authorized, lines)
    }

    /// Starts a server with host keys of these kinds.
    pub fn with_keys(kinds: &[&str], authorized: &[String], lines: &str) -> Sshd {
        let folder = tempfile::tempdir().unwrap();
        let mut host_keys = String::new();
        for kind in kinds {
            new_key(&folder.path().join(kind), kind, "");
            host_keys += &format!("HostKey {}\n", folder.path().join(kind).display());
        }
        fs::write(folder.path().join("authorized"), authorized.join("\n") + "\n").unwrap();
        let port = free_port();
        // sshd uses the first value that it finds for an option.
        let config = format!(
            "{lines}\nListenAddress 127.0.0.1\nPort {port}\nPidFile none\nStrictModes no\nPermitRootLogin yes\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\nAuthorizedKeysFile {}\n{host_keys}",
            folder.path().join("authorized").display()
        );
        fs::write(folder.path().join("config"), config).unwrap();
        // As root, sshd needs this folder of Debian's service, which is missing where no service was ever started.
        let _ = fs::create_dir("/run/sshd");
        let daemon = run(folder.path(), port);
        Sshd { folder, port, daemon }
    }

    /// Stops the server, and starts it again without one of its keys.
    pub fn come_back_without(&mut self, kind: &str) {
        let config = self.folder.path().join("config");
        let text = fs::read_to_string(&config).unwrap();
        let key = format!("HostKey {}\n", self.host_key(kind).display());
        assert!(text.contains(&key));
        fs::write(config, text.replace(&key, "")).unwrap();
        self.daemon.stop();
        self.daemon = run(self.folder.path(), self.port);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn host_key(&self, kind: &str) -> PathBuf {
        self.folder.path().join(kind)
    }

    /// Returns the line of known_hosts for one of its keys.
    pub fn known_line(&self, kind: &str) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, public(&self.host_key(kind)))
    }

    pub fn has_sessions(&self) -> bool {
        !children(self.daemon.0.id()).is_empty()
    }

    /// Ends all sessions as a crash would: without notice to the clients.
    pub fn end_sessions(&self) {
        self.daemon.end_children();
    }
}
