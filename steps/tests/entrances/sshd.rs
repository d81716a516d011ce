//! A real OpenSSH server for one test, as `farm.sh` starts it: it runs on loopback, as the user who runs the test, and
//! ends with the test.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const FARM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/steps/tests/farm.sh");

pub fn me() -> String {
    output_of(Command::new("id").arg("-un"))
}

/// Runs a program, asserts that it succeeds, and returns what it prints.
fn output_of(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?} cannot be started ({error}): run `ci/setup test`"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs a function of `farm.sh` in a folder.
pub fn farm(folder: &Path, call: &str, argument: &str) {
    output_of(Command::new("sh").args(["-c", &format!(". {FARM}; {call}"), argument]).current_dir(folder));
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

fn children(parent: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// Ends a process, which may have ended by itself.
fn end(pid: i32) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub struct Sshd {
    folder: TempDir,
    pub port: u16,
}

impl Sshd {
    /// Starts a server that accepts the keys in `authorized`, with these lines in its configuration.
    pub fn start(authorized: &[String], lines: &str) -> Sshd {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".ssh")).unwrap();
        fs::write(folder.path().join(".ssh/all.pub"), authorized.join("\n") + "\n").unwrap();
        farm(folder.path(), "serve \"$0\" all", lines);
        let port = fs::read_to_string(folder.path().join("farm/port")).unwrap().trim().parse().unwrap();
        Sshd { folder, port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("farm").join(name)
    }

    fn pid(&self) -> i32 {
        fs::read_to_string(self.path("pid")).unwrap().trim().parse().unwrap()
    }

    /// Stops the server, and starts it again without one of its keys.
    pub fn come_back_without(&mut self, kind: &str) {
        self.stop();
        let text = fs::read_to_string(self.path("config")).unwrap();
        let key = format!("HostKey {}\n", self.host_key(kind).display());
        assert!(text.contains(&key));
        fs::write(self.path("config"), text.replace(&key, "")).unwrap();
        farm(self.folder.path(), "start", "");
    }

    fn stop(&self) {
        let pid = self.pid();
        self.end_sessions();
        end(pid);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    pub fn host_key(&self, kind: &str) -> PathBuf {
        self.path(kind)
    }

    /// Returns the line of known_hosts for one of its keys.
    pub fn known_line(&self, kind: &str) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, public(&self.host_key(kind)))
    }

    pub fn has_sessions(&self) -> bool {
        !children(self.pid()).is_empty()
    }

    /// Ends all sessions as a crash would: without notice to the clients. Children end before grandchildren.
    pub fn end_sessions(&self) {
        let mut all = children(self.pid());
        let mut index = 0;
        while index < all.len() {
            all.extend(children(all[index]));
            index += 1;
        }
        all.into_iter().for_each(end);
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}
