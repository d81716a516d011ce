//! A user on a virtual machine that stands for somebody else's, and a run of the suite there.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use assay::command::Command;
use assay::facts::Arch;
use assay::lease::{Lease, Ledger};
use assay::progress::Progress;
use assay::settings::Settings;
use assay::shell::{Entrance, Nobody, Shell, Ssh, new_key};
use assay::target::{Context, Definition, Machine, Urgency, Vm};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::OnceCell;

use crate::inside;

/// What the user of somebody else's machine has, before a test takes something away.
const USER: &str = r#"
set -eu
useradd --create-home --shell /bin/bash guest
printf 'guest ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/guest
install -d -m 700 -o guest -g guest /home/guest/.ssh
printf '%s\n' "$1" >/home/guest/.ssh/authorized_keys
chown guest:guest /home/guest/.ssh/authorized_keys
loginctl enable-linger guest
systemctl start "user@$(id -u guest).service"
"#;

/// All that there is on the machine: files but for logs and what its system writes by itself, what lies in memory for the
/// user but for what each login's first word to the user's systemd makes there, the user's units, and what runs on of
/// Podman.
const LISTING: &str = r#"
find / -xdev \( -path /var/log -o -path /run -o -path /var/lib/systemd -o -path /var/lib/private -o -path /proc \) -prune \
    -o -not -type d -printf '%p %y %s %m %U %T@\n' -o -printf '%p %y %m %U\n'
user=$(id -u guest)
find /run/user/"$user" /dev/shm \( -name systemd -o -name dbus-1 \) -prune -o -printf '%p %y\n' 2>/dev/null
su guest -c "XDG_RUNTIME_DIR=/run/user/$user; export XDG_RUNTIME_DIR; systemctl --user list-unit-files --no-legend --plain
    systemctl --user list-units --all --no-legend --plain --type=service,slice,scope" 2>/dev/null | sed 's/  */ /g' | grep -vE '^(dbus.service|session.slice|user.slice) '
pgrep -u guest -l 'podman|conmon|crun|catatonit|pasta' | sed 's/^[0-9]* /runs: /'
"#;

/// How long a whole run may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// Somebody's machine, and how we get there.
pub struct Guest {
    machine: Machine,
    before: Vec<String>,
    /// The home of who runs the suite: the key and the known host are in it.
    home: TempDir,
    port: u16,
}

/// The e2e program, which only cargo knows the place of.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let cargo = std::process::Command::new(env!("CARGO"))
            .args(["test", "--locked", "--quiet", "--no-run", "--test", "e2e", "--message-format=json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&cargo.stdout).into_owned();
        let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = messages.filter(|message| message["target"]["name"] == "e2e");
        let path = ours.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?))).next();
        path.unwrap_or_else(|| panic!("e2e is not built: {}", String::from_utf8_lossy(&cargo.stderr)))
    })
}

/// What the machines of this program come of.
async fn machines() -> &'static (Context, Vm) {
    static MACHINES: OnceCell<(Context, Vm)> = OnceCell::const_new();
    let make = async || {
        let settings = Settings::read().unwrap();
        let run = format!("hosts-{}", std::process::id());
        let evidence = std::env::temp_dir().join(format!("assay-{run}-evidence"));
        fs::create_dir(&evidence).unwrap();
        let ledger = Ledger::open(&settings.cache.join("leases"), &run).unwrap();
        ledger.take(Lease::Path { path: evidence.clone() }).unwrap();
        let definition = Definition::named(&settings.root, "nano").unwrap();
        let progress = Progress::to_stderr();
        let context =
            Context { settings, ledger: Arc::new(ledger), witness: Arc::new(Nobody), evidence, run, progress };
        let vm = Box::pin(Vm::of(&definition, Arch::host().unwrap(), &context)).await.unwrap();
        (context, vm)
    };
    MACHINES.get_or_init(make).await
}

impl Guest {
    /// A machine with a user who may do all that a run needs; then `change` is run there as root.
    pub async fn on(name: &str, change: &str) -> Guest {
        let (_, vm) = machines().await;
        let machine = Box::pin(vm.machine(name, Urgency::First)).await.unwrap();
        let (key, text) = new_key("guest").unwrap();
        let public = key.public_key().to_openssh().unwrap();
        as_root(&machine, USER, &[&public]).await;
        as_root(&machine, change, &[]).await;
        let host = as_root(&machine, "ssh-keygen -y -f /etc/ssh/assay_host_key", &[]).await;
        let line = machine.command_line();
        let port = line.split("-p ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        fs::create_dir(&ssh).unwrap();
        fs::write(ssh.join("id_ed25519"), text).unwrap();
        fs::set_permissions(ssh.join("id_ed25519"), Permissions::from_mode(0o600)).unwrap();
        fs::write(ssh.join("known_hosts"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let before = listing(&machine).await;
        Guest { machine, before, home, port }
    }

    /// From now on whoever runs the suite does not know the machine's key.
    pub fn forget_the_host(&self) {
        fs::remove_file(self.home.path().join(".ssh/known_hosts")).unwrap();
    }

    /// Runs a script there as root.
    pub async fn once(&self, script: &str) {
        as_root(&self.machine, script, &[]).await;
    }

    /// Has the user's systemd end, which nothing keeps any more.
    pub async fn log_out(&self) {
        let wait = "loginctl terminate-user guest; while [ -e /run/user/$(id -u guest) ]; do sleep 0.2; done";
        self.once(wait).await;
    }

    /// Runs the suite there, and asserts how it ended; gives all that it said.
    pub async fn run(&self, arguments: &[&str], code: i32) -> String {
        self.run_as("guest", arguments, code).await
    }

    /// The same as another user.
    pub async fn run_as(&self, user: &str, arguments: &[&str], code: i32) -> String {
        self.run_on(&format!("ssh://{user}@127.0.0.1:{}", self.port), arguments, code).await.0
    }

    /// Runs the whole suite there, and on virtual machines of this host: the verdict on each claim, here and there. What one
    /// of them does not judge is left out.
    pub async fn both(&self) -> BTreeMap<String, [String; 2]> {
        let there = self.run_on(&format!("ssh://guest@127.0.0.1:{}", self.port), &[], 0).await.1;
        // Whatever becomes of the other run, this one was seen.
        println!("{there:#?}");
        let here = self.run_on("vm", &[], 0).await.1;
        here.into_iter().filter_map(|(claim, here)| Some((claim.clone(), [here, there.get(&claim)?.clone()]))).collect()
    }

    /// Runs the suite on a target, and asserts how it ended; gives all that it said, and its verdicts by their claims.
    async fn run_on(&self, target: &str, arguments: &[&str], code: i32) -> (String, BTreeMap<String, String>) {
        let evidence = tempfile::tempdir_in(&self.home).unwrap();
        let mut command = self.command(program()).await;
        command.args(["--target", target, "--evidence"]).arg(evidence.path()).args(arguments);
        let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert_eq!(output.status.code(), Some(code), "{said}");
        let verdicts = fs::read(evidence.path().join("verdicts.json")).unwrap_or_default();
        let verdicts: Value = serde_json::from_slice(&verdicts).unwrap_or_default();
        let judged = verdicts["claims"].as_array().into_iter().flatten().filter_map(|claim| {
            let (id, verdict) = (claim["id"].as_str()?, claim["verdict"].as_str()?);
            (verdict != "not-run").then(|| (id.to_owned(), verdict.to_owned()))
        });
        (said, judged.collect())
    }

    /// Takes the suite in, for its user to run it there; from now on that is what there was before.
    pub async fn take_in_the_suite(&mut self) {
        let unpack = Command::new("sudo").args(["sh", "-c", &inside::unpack()]);
        let unpack = unpack.stdin(inside::archive(program())).time_limit(LIMIT);
        self.machine.shell.read(&unpack).await.unwrap();
        self.type_there(&inside::load()).await;
        self.before = listing(&self.machine).await;
    }

    /// Runs the suite there as its user, by the machine's own Podman; gives all that it said.
    pub async fn run_inside(&self, tags: &str) -> String {
        self.type_there(&inside::line(tags)).await
    }

    /// The same where no systemd is to be seen, and only a control group was lent to the user; gives all that it said.
    pub async fn run_inside_without_systemd(&self, tags: &str) -> String {
        let command = Command::new("sudo").args(["sh", "-s", "--", &inside::line(tags)]).stdin(inside::WITHOUT_SYSTEMD);
        let output = self.machine.shell.run(&command.time_limit(LIMIT)).await.unwrap();
        let said = output.text();
        assert!(output.succeeded(), "{}: {said}{}", output.status, output.errors());
        said
    }

    /// Runs a line as the machine's user; gives what it printed.
    async fn type_there(&self, line: &str) -> String {
        let settings = Settings { home: Some(self.home.path().to_owned()), ..machines().await.0.settings.clone() };
        let entrance = Entrance::new("guest", "127.0.0.1", Some(self.port), None, &settings).unwrap();
        let shell = Shell::ssh(Ssh::enter(&entrance).await.unwrap(), Arc::new(Nobody));
        let output = shell.run(&Command::script(line, &[]).time_limit(LIMIT)).await.unwrap();
        let said = output.text();
        assert!(output.succeeded(), "{}: {said}{}", output.status, output.errors());
        said
    }

    /// A program of ours, as its user starts it.
    async fn command(&self, program: &Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        command.env("HOME", self.home.path()).env("ASSAY_CACHE", &machines().await.0.settings.cache);
        command.env_remove("SSH_AUTH_SOCK").env_remove("ASSAY_TARGET").kill_on_drop(true);
        command
    }

    /// Runs the suite there until it has said something, and kills it then.
    pub async fn kill_a_run(&self, arguments: &[&str], said: &str) {
        let evidence = tempfile::tempdir_in(&self.home).unwrap();
        let target = format!("ssh://guest@127.0.0.1:{}", self.port);
        let mut command = self.command(program()).await;
        command.args(["--target", &target, "--evidence"]).arg(evidence.path()).args(arguments);
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
        let seen = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(said) {
                    return true;
                }
            }
            false
        };
        assert!(tokio::time::timeout(LIMIT, seen).await.unwrap(), "it never said {said:?}");
        run.kill().await.unwrap();
    }

    /// Removes what runs that are over have left.
    pub async fn tidy_up(&self) -> String {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_assay"))).await;
        let output = tokio::time::timeout(LIMIT, command.arg("gc").output()).await.unwrap().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(output.status.success(), "{said}");
        said
    }

    /// Asserts that there is on the machine what was there before, but for what lies at these places; it is over with it.
    pub async fn unchanged(self, but: &[&str]) {
        let after = listing(&self.machine).await;
        let counts = |line: &&String| !but.iter().any(|place| line.starts_with(place));
        let new: Vec<&String> = after.iter().filter(|line| !self.before.contains(line)).filter(counts).collect();
        let gone: Vec<&String> = self.before.iter().filter(|line| !after.contains(line)).filter(counts).collect();
        assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}");
        self.machine.shut_down().await;
    }
}

async fn as_root(machine: &Machine, script: &str, parameters: &[&str]) -> String {
    let command = Command::new("sudo").args(["sh", "-s", "--"]).args(parameters.iter().copied());
    machine.shell.read(&command.stdin(script)).await.unwrap()
}

async fn listing(machine: &Machine) -> Vec<String> {
    let mut lines: Vec<String> = as_root(machine, LISTING, &[]).await.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
