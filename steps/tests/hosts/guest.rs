//! A user on a machine of this host that acts as a remote machine, and runs of the suite there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use assay::base::host_offers::{Feature, HostOffers};
use assay::base::platform::Arch;
use assay::exec::cleanup::{CleanupJournal, Resource};
use assay::exec::shell::{NoopObserver, OpenSsh, SshDestination, new_key};
use assay::targets::{Context, DiskImage, Nspawn, Urgency, Vm};
use assay::{Command, Definition, Machine, Progress, Settings, Shell};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

use crate::inside::{self, Compiler};

/// Creates the user of the remote machine, with everything that a run needs, before a test takes something away.
const USER: &str = r#"
set -eu
useradd --create-home --shell /bin/bash guest
# Podman's images cannot be on an overlay, which the root of a system container is.
if [ "$(stat -f -c %T /home)" = overlayfs ]; then
    mount -t tmpfs -o size=1g,mode=700 guest /home/guest
    cp -a /etc/skel/. /home/guest
    chown -R guest:guest /home/guest
fi
printf 'guest ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/guest
install -d -m 700 -o guest -g guest /home/guest/.ssh
printf '%s\n' "$1" >/home/guest/.ssh/authorized_keys
chown guest:guest /home/guest/.ssh/authorized_keys
loginctl enable-linger guest
systemctl start "user@$(id -u guest).service"
"#;

/// Lists everything on the machine: files, except logs and what its system writes by itself; what lies in memory for
/// the user, except what each login's first contact with the user's systemd creates; the user's units; and the
/// processes of Podman that are still running.
const LISTING: &str = r#"
find / /home/guest -xdev \( -path /var/log -o -path /run -o -path /var/lib/systemd -o -path /var/lib/private -o -path /proc \) -prune \
    -o -not -type d -printf '%p %y %s %m %U %T@\n' -o -printf '%p %y %m %U\n'
user=$(id -u guest)
find /run/user/"$user" /dev/shm \( -name systemd -o -name dbus-1 \) -prune -o -printf '%p %y\n' 2>/dev/null
su --shell /bin/sh guest -c "XDG_RUNTIME_DIR=/run/user/$user; export XDG_RUNTIME_DIR
    SYSTEMD_BUS_TIMEOUT=200s; export SYSTEMD_BUS_TIMEOUT; systemctl --user list-unit-files --no-legend --plain
    systemctl --user list-units --all --no-legend --plain --type=service,slice,scope" 2>/dev/null | sed 's/  */ /g' | grep -vE '^(dbus.service|session.slice|user.slice) '
pgrep -u guest -l 'podman|conmon|crun|catatonit|pasta' | sed 's/^[0-9]* /runs: /'
"#;

/// How long a whole run may take.
const LIMIT: Duration = Duration::from_secs(3600);

/// A remote machine, and how to reach it.
pub struct RemoteMachine {
    machine: Machine,
    before: BTreeSet<String>,
    /// The home folder of the user who runs the suite: it contains the key and the known host.
    home: TempDir,
    address: String,
    port: u16,
}

/// Returns what the machines of this program are made with.
fn context() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(|| {
        let settings = Settings::read().unwrap();
        let run = format!("hosts-{}", std::process::id());
        let evidence = std::env::temp_dir().join(format!("assay-{run}-evidence"));
        fs::create_dir(&evidence).unwrap();
        let cleanup = CleanupJournal::open(&settings.journals(), &run).unwrap();
        cleanup.register(Resource::Path { path: evidence.clone() }).unwrap();
        let progress = Progress::to_stderr();
        Context { settings, cleanup: Arc::new(cleanup), observer: Arc::new(NoopObserver), evidence, run, progress }
    })
}

fn definition(name: &str) -> Definition {
    Definition::named(&context().settings, name).unwrap()
}

async fn vms(name: &str) -> Vm {
    Box::pin(Vm::of(&definition(name), Arch::host().unwrap(), context())).await.unwrap()
}

/// Starts a system container like the device, or says why this host starts none.
async fn container(name: &str) -> Option<Machine> {
    static CONTAINERS: OnceCell<Option<Nspawn>> = OnceCell::const_new();
    let find = async || match HostOffers::find(&context().settings.cache).lack(Feature::Nspawn) {
        Some(lack) => {
            context().progress.note(format!("every machine is a VM, which takes longer: system containers {lack}"));
            None
        }
        None => Some(Nspawn::of(&definition("nano"), context()).await.unwrap()),
    };
    Some(Box::pin(CONTAINERS.get_or_init(find)).await.as_ref()?.machine(name).await.unwrap())
}

impl RemoteMachine {
    /// Provides a machine like the device, a system container if this host starts them, with a user who may do all that
    /// a run needs. Its state is the one to compare with later.
    pub async fn on(name: &str) -> RemoteMachine {
        RemoteMachine::fresh(name).await.after("").await
    }

    /// Does the same with a VM: for what a system container shares with this host, such as the clock.
    pub async fn on_vm(name: &str) -> RemoteMachine {
        RemoteMachine::fresh_vm(name).await.after("").await
    }

    /// Provides a machine like the device, for something to be installed there first.
    pub async fn fresh(name: &str) -> RemoteMachine {
        match container(name).await {
            Some(machine) => RemoteMachine::of(machine).await,
            None => RemoteMachine::fresh_vm(name).await,
        }
    }

    async fn fresh_vm(name: &str) -> RemoteMachine {
        static DEVICES: OnceCell<Vm> = OnceCell::const_new();
        let vms = DEVICES.get_or_init(|| vms("nano")).await;
        RemoteMachine::of(Box::pin(vms.machine(name, Urgency::First)).await.unwrap()).await
    }

    /// Provides a VM with twice the memory, which a compiler needs beside the workload.
    pub async fn fresh_and_larger_vm(name: &str) -> RemoteMachine {
        RemoteMachine::of(Box::pin(vms("mega").await.machine(name, Urgency::First)).await.unwrap()).await
    }

    /// Provides a VM that starts system containers: an ordinary host, with all its control groups of version 2.
    pub async fn host_of_containers(name: &str) -> RemoteMachine {
        let definition = Definition { memory: "2 GiB".parse().unwrap(), ..definition("mega") };
        let vms = Box::pin(Vm::of(&definition, Arch::host().unwrap(), context())).await.unwrap();
        let host = RemoteMachine::of(Box::pin(vms.machine(name, Urgency::First)).await.unwrap()).await;
        host.once(inside::CONTAINERS).await;
        host
    }

    async fn of(machine: Machine) -> RemoteMachine {
        let host = as_root(&machine, "ssh-keygen -y -f /etc/ssh/assay_host_key", &[]).await;
        let line = machine.command_line();
        let (port, address) = line.split_once("-p ").and_then(|(_, rest)| rest.split_once(" assay@")).unwrap();
        let (port, address) = (port.parse().unwrap(), address.to_owned());
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        fs::create_dir(&ssh).unwrap();
        let known = if port == 22 { address.clone() } else { format!("[{address}]:{port}") };
        fs::write(ssh.join("known_hosts"), format!("{known} {host}")).unwrap();
        as_root(&machine, USER, &[&key_in(&home)]).await;
        RemoteMachine { machine, before: BTreeSet::new(), home, address, port }
    }

    /// Runs a script there as root; the state after that is the one to compare with later.
    pub async fn after(mut self, change: &str) -> RemoteMachine {
        self.once(change).await;
        self.before = listing(&self.machine).await;
        self
    }

    /// Lets apt there reach its mirror by way of this host: a system container has no other way out.
    pub async fn let_apt_out(&self) {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = self.machine.as_seen_there(&proxy.local_addr().unwrap().to_string()).await.unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = proxy.accept().await {
                tokio::spawn(pass_on(client));
            }
        });
        let setting = format!("Acquire::http::Proxy \"http://{address}\"; Acquire::https::Proxy \"http://{address}\";");
        self.once(&format!("echo '{setting}' >/etc/apt/apt.conf.d/90proxy")).await;
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub async fn once(&self, script: &str) {
        as_root(&self.machine, script, &[]).await;
    }

    pub async fn log_out(&self) {
        let wait = "loginctl terminate-user guest; while [ -e /run/user/$(id -u guest) ]; do sleep 0.2; done";
        self.once(wait).await;
    }

    /// Runs the suite there, and returns its exit status and its output.
    pub async fn outcome(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (status, printed, _) = self.run_on(&self.target(), arguments).await;
        (status, printed)
    }

    /// Does the same, and asserts the exit status.
    pub async fn run(&self, arguments: &[&str], code: i32) -> String {
        let (status, printed) = self.outcome(arguments).await;
        assert_eq!(status, Some(code), "{printed}");
        printed
    }

    /// Runs the whole suite on a target, and returns its verdicts.
    pub async fn verdicts_on(&self, target: &str) -> VerdictWords {
        let (status, printed, verdicts) = self.run_on(target, &[]).await;
        assert_eq!(status, Some(0), "{printed}");
        verdicts
    }

    pub fn target(&self) -> String {
        format!("ssh://guest@{}:{}", self.address, self.port)
    }

    /// Prepares a run of the suite, with a folder for its evidence.
    fn suite(&self, target: &str, arguments: &[&str]) -> (tokio::process::Command, TempDir) {
        let evidence = tempfile::tempdir_in(&self.home).unwrap();
        let mut command = self.assay();
        command.args(["run", "--target", target, "--evidence"]).arg(evidence.path()).args(arguments);
        (command, evidence)
    }

    /// Runs the suite on a target, and returns its exit status, its output and its verdicts.
    async fn run_on(&self, target: &str, arguments: &[&str]) -> (Option<i32>, String, VerdictWords) {
        let (mut command, evidence) = self.suite(target, arguments);
        let (status, printed) = ended(&mut command).await;
        let verdicts = verdicts(&fs::read(evidence.path().join("verdicts.json")).unwrap_or_default());
        (status, printed, verdicts)
    }

    /// Installs the suite, for the machine's user to run it; the state with it is the one to compare with later.
    pub async fn take_in_the_suite(&mut self, compiler: Compiler) {
        self.take_in(compiler, None).await;
    }

    /// Does the same with what system containers are made of.
    pub async fn take_in_the_suite_and_a_disk(&mut self, compiler: Compiler) {
        let image = Box::pin(DiskImage::provide(&definition("nano"), Arch::host().unwrap(), context())).await.unwrap();
        self.take_in(compiler, Some(&image)).await;
    }

    async fn take_in(&mut self, compiler: Compiler, disk: Option<&DiskImage>) {
        let archive = inside::archive(env!("CARGO_BIN_EXE_assay").as_ref(), compiler, &context().settings.cache, disk);
        let unpack = Command::new("sudo").args(["sh", "-c", &inside::unpack()]).stdin(archive);
        output_of(&self.machine.shell, unpack).await;
        self.type_there(&inside::load()).await;
        self.before = listing(&self.machine).await;
    }

    /// Runs the suite there as its user, on a target that is the machine itself or is made there; returns its output.
    pub async fn run_inside(&self, target: &str, arguments: &str) -> String {
        self.type_there(&inside::line(target, arguments)).await
    }

    /// Does the same where systemd is hidden and only a control group is delegated to the user; returns the output.
    pub async fn run_inside_without_systemd(&self, arguments: &str) -> String {
        let command = Command::new("sudo").args(["sh", "-s", "--", &inside::line("podman", arguments)]);
        output_of(&self.machine.shell, command.stdin(inside::WITHOUT_SYSTEMD)).await
    }

    /// Returns the verdicts of the run on the machine itself.
    pub async fn verdicts_inside(&self) -> VerdictWords {
        verdicts(as_root(&self.machine, &inside::verdicts(), &[]).await.as_bytes())
    }

    /// Runs a line as the machine's user, and returns what it printed.
    async fn type_there(&self, line: &str) -> String {
        let settings = Settings { home: Some(self.home.path().to_owned()), ..context().settings.clone() };
        let destination = SshDestination::new(Some("guest"), &self.address, Some(self.port), None, &settings).unwrap();
        let shell = Shell::remote(OpenSsh::enter(&destination).await.unwrap(), Arc::new(NoopObserver));
        output_of(&shell, Command::script(line, &[])).await
    }

    fn assay(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_assay"));
        command.env("HOME", self.home.path()).env("ASSAY_CACHE", &context().settings.cache);
        command.env_remove("SSH_AUTH_SOCK").env_remove("ASSAY_TARGET").kill_on_drop(true);
        command
    }

    /// Runs the suite there, with `-v`, until it has printed a text, and then kills it.
    pub async fn kill_a_run(&self, arguments: &[&str], printed: &str) {
        let (mut command, _evidence) = self.suite(&self.target(), arguments);
        let mut run = command.arg("-v").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
        let seen = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(printed) {
                    return true;
                }
            }
            false
        };
        assert!(tokio::time::timeout(LIMIT, seen).await.unwrap(), "it never said {printed:?}");
        run.kill().await.unwrap();
    }

    /// Runs `assay gc`, which removes what finished runs have left, and returns its output.
    pub async fn tidy_up(&self) -> String {
        let (status, printed) = ended(self.assay().arg("gc")).await;
        assert_eq!(status, Some(0), "{printed}");
        printed
    }

    /// Asserts that the machine is as it was before, except below these places.
    pub async fn compare(&self, but: &[&str]) {
        let after = listing(&self.machine).await;
        let counts = |line: &&String| !but.iter().any(|place| line.starts_with(place));
        let new: Vec<&String> = after.difference(&self.before).filter(counts).collect();
        let gone: Vec<&String> = self.before.difference(&after).filter(counts).collect();
        assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}");
    }

    /// Asserts the same, and shuts the machine down.
    pub async fn unchanged(self, but: &[&str]) {
        self.compare(but).await;
        self.machine.shut_down().await;
    }
}

/// Connects a client of an HTTP proxy to the host that its first request names.
async fn pass_on(mut client: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(client.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&request).into_owned();
    let (tunnel, rest) = match line.strip_prefix("CONNECT ") {
        Some(rest) => (true, rest),
        None => (false, line.split_once("://").map_or("", |(_, rest)| rest)),
    };
    let host = rest.split(['/', ' ']).next().unwrap_or_default();
    let mut server =
        TcpStream::connect(if host.contains(':') { host.to_owned() } else { format!("{host}:80") }).await?;
    match tunnel {
        true => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?,
        false => server.write_all(&request).await?,
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Runs a program, and returns its exit status and its output.
async fn ended(command: &mut tokio::process::Command) -> (Option<i32>, String) {
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), printed)
}

/// Makes a key, stores it in this home folder, and returns its public part.
fn key_in(home: &TempDir) -> String {
    let (key, text) = new_key("guest").unwrap();
    let path = home.path().join(".ssh/id_ed25519");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    key.public_key().to_openssh().unwrap()
}

/// The verdict of each claim, except those that were not run.
pub type VerdictWords = BTreeMap<String, String>;

fn verdicts(written: &[u8]) -> VerdictWords {
    let verdicts: Value = serde_json::from_slice(written).unwrap_or_default();
    let judged = verdicts["claims"].as_array().into_iter().flatten().filter_map(|claim| {
        let (id, verdict) = (claim["id"].as_str()?, claim["verdict"].as_str()?);
        (verdict != "not-run").then(|| (id.to_owned(), verdict.to_owned()))
    });
    judged.collect()
}

async fn output_of(shell: &Shell, command: Command) -> String {
    let output = shell.run(&command.time_limit(LIMIT)).await.unwrap();
    let printed = output.text();
    assert!(output.succeeded(), "{}: {printed}{}", output.status, output.errors());
    printed
}

async fn as_root(machine: &Machine, script: &str, parameters: &[&str]) -> String {
    let command = Command::new("sudo").args(["sh", "-s", "--"]).args(parameters.iter().copied());
    machine.shell.read(&command.stdin(script)).await.unwrap()
}

async fn listing(machine: &Machine) -> BTreeSet<String> {
    as_root(machine, LISTING, &[]).await.lines().map(str::to_owned).collect()
}
