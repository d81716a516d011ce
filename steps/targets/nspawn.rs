//! Provides system containers: systemd and all above it on this host's kernel and CPU, by systemd-nspawn. Their root is
//! the disk of a VM, with what they write in memory.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::OnceCell;

use super::child::Child;
use super::definition::Definition;
use super::image::{self, DiskImage};
use super::machine::{Body, Machine, MachineDir, Pending, evidence_file, log_in};
use super::{Context, console, keys};
use crate::base::digest::hex;
use crate::base::host_offers::{Feature, HostOffers, Lack};
use crate::base::platform::{Arch, TargetSpec};
use crate::base::poll::{self, Look};
use crate::base::procfs;
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::base::unit::Bytes;
use crate::exec::cleanup::{CleanupJournal, END_GROUP, Resource};
use crate::exec::command::Command;
use crate::exec::root;
use crate::exec::shell::{Login, Shell};
use crate::targets::machine_info::{Accelerator, MachineInfo};

const PROGRAM: &str = "systemd-nspawn";
const START: &str = include_str!("nspawn/start.sh");
const INSIDE: &str = concat!(include_str!("nspawn/inside.sh"), include_str!("nspawn/run.sh"));
const SETTLE: &str = include_str!("nspawn/settle.sh");
/// The longest start that was seen took ten seconds, beside two compilers on two CPUs.
const LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(10);
/// How many lines of the console an error shows.
const LINES: usize = 10;
/// What is said before sudo asks for a password.
const WHY: &str = "A machine of --target nspawn is started by root.";

/// System containers of one definition.
#[derive(Debug)]
pub struct Nspawn {
    definition: Definition,
    arch: Arch,
    image: DiskImage,
    accelerator: Accelerator,
    context: Context,
    facts: OnceCell<MachineInfo>,
}

/// Checks in advance that this host can start such machines; sudo may ask for a password.
pub(super) fn check_host(definition: &Definition, settings: &Settings, progress: &Progress) -> anyhow::Result<()> {
    let arch = TargetSpec::Nspawn.on_this_host()?;
    if DiskImage::kept(definition, arch, &settings.cache)?.is_none() {
        image::check_host(definition, arch, &settings.cache)?;
    }
    let mut offered = HostOffers::nspawn();
    if offered == Err(Lack::NeedsRoot) {
        root::obtain(WHY, progress)?;
        offered = HostOffers::nspawn();
    }
    offered.map_err(|lack| {
        let remedy = lack.remedy(Feature::Nspawn).unwrap_or_else(|| "use --target vm".to_owned());
        anyhow::anyhow!("no system containers here: {lack}; {remedy}")
    })
}

/// Returns the addresses of this host's and of a machine's end of their network, number `index` of those of four addresses
/// in 198.18.0.0/15, which the Internet does not use (RFC 2544).
fn network(index: u16) -> [Ipv4Addr; 2] {
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 4 * u32::from(index & 0x7fff);
    [first + 1, first + 2].map(Ipv4Addr::from)
}

/// Returns a network that no machine of this process has, nor another of this host.
fn free_network() -> anyhow::Result<[Ipv4Addr; 2]> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::from_le_bytes(procfs::random()?);
    NEXT.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed).ok();
    let used = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut all = std::iter::repeat_with(|| network(NEXT.fetch_add(1, Ordering::Relaxed))).take(1 << 15);
    let free = all.find(|[ours, _]| !used.lines().any(|line| line.ends_with(&format!(" {ours}"))));
    free.context("every network in 198.18.0.0/15 is in use on this host")
}

impl Nspawn {
    /// Prepares system containers of a definition, and makes their image if there is none yet.
    pub async fn of(definition: &Definition, context: &Context) -> anyhow::Result<Nspawn> {
        check_host(definition, &context.settings, &context.progress)?;
        let arch = TargetSpec::Nspawn.on_this_host()?;
        let image = DiskImage::provide(definition, arch, context).await?;
        let accelerator = match Accelerator::of(&Shell::local(context.observer.clone())).await? {
            Accelerator::Tcg => Accelerator::Tcg,
            _ => Accelerator::Nspawn,
        };
        let (definition, context) = (definition.clone(), context.clone());
        Ok(Nspawn { definition, arch, image, accelerator, context, facts: OnceCell::new() })
    }

    /// Returns whether the CPU of this host, which is that of its machines, is not emulated.
    pub fn native(&self) -> bool {
        self.accelerator.native()
    }

    /// Returns how much of this host's memory one machine takes at most.
    pub fn takes(&self) -> Bytes {
        self.definition.takes(self.arch)
    }

    /// Starts a machine, which is ready when a command has run on it.
    pub async fn machine(&self, name: &str) -> anyhow::Result<Machine> {
        let started = Instant::now();
        let work = MachineDir::make(&self.context, name)?;
        let name = work.name.clone();
        let console = evidence_file(&self.context.evidence, &name, "console.log");
        let [ours, theirs] = free_network()?;
        let login = Login { address: format!("{theirs}:22"), ..keys::make(&name, &work.folder)? };
        let group = self.group(&name)?;
        let cgroup = Resource::Cgroup { path: group.clone() };
        self.context.cleanup.register(cgroup.clone())?;
        let argv = self.argv(&group, &work.folder, [ours, theirs])?;
        let child = Child::held(&argv, &console, &work.log(), &self.context.cleanup)?;
        let container = Container { child, cgroup, address: theirs, cleanup: self.context.cleanup.clone(), work };
        let up = tokio::select! {
            up = self.follow(&login, ours) => up,
            status = container.child.wait() => Err(container.work.ended(PROGRAM, status)),
        };
        let (shell, facts) = up.map_err(|error| {
            let shown = console::last_lines(&console::read(&console), LINES);
            let end = match shown.is_empty() {
                true => String::new(),
                false => format!("\nthe end of its console ({}):\n{shown}", console.display()),
            };
            anyhow::anyhow!("machine {name} did not come up: {error:#}{end}")
        })?;
        let machine = Machine::new(&self.context, name, shell, facts, started, container);
        tracing::info!("{}: up after {:.2} s", machine.name, machine.boot.as_secs_f64());
        Ok(machine)
    }

    /// Returns the control group of a machine: systemd's, if this host's control groups are systemd's.
    fn group(&self, name: &str) -> anyhow::Result<PathBuf> {
        let top = HostOffers::control_groups().context("cgroup v2 is not mounted any more")?;
        let own = format!("assay-{}-{name}", self.context.run);
        Ok(match Path::new("/run/systemd/system").is_dir() {
            true => top.join("system.slice").join(own + ".scope"),
            false => top.join(own),
        })
    }

    fn argv(&self, group: &Path, folder: &Path, [ours, theirs]: [Ipv4Addr; 2]) -> anyhow::Result<Vec<String>> {
        let memory = (self.definition.guest_memory(self.arch) << 20).to_string();
        let cable = format!("assay-{}", hex(&procfs::random::<4>()?));
        let [group, disk, keys] =
            [group, &self.image.disk, &folder.join(keys::DISK)].map(|path| path.display().to_string());
        let [ours, theirs] = [ours, theirs].map(|address| address.to_string());
        let mut argv = root::words(&["sh", "-c", START, "nspawn", INSIDE, END_GROUP]);
        argv.extend([group, memory, disk, keys, cable, ours, theirs]);
        Ok(argv)
    }

    async fn follow(&self, login: &Login, ours: Ipv4Addr) -> anyhow::Result<(Shell, MachineInfo)> {
        // Before the address is there, a connection would leave this host.
        poll::until("its network", LIMIT, PAUSE, async || match UdpSocket::bind((ours, 0)) {
            Ok(_) => Ok::<_, anyhow::Error>(Look::Done(())),
            Err(error) => Ok(Look::Waiting(error.to_string())),
        })
        .await?;
        let shell = Shell::ssh(log_in(login, LIMIT, PAUSE).await?, self.context.observer.clone());
        let settle = Command::script(SETTLE, &[]).time_limit(LIMIT);
        let boot = shell.read(&settle).await?.trim().to_owned();
        let gather = async || {
            let facts = MachineInfo::gather(&shell, self.accelerator).await?;
            let (image, platform) = (self.image.manifest.key.clone(), self.definition.platform.name.clone());
            Ok::<_, anyhow::Error>(MachineInfo { image: Some(image), platform: Some(platform), ..facts })
        };
        let facts = self.facts.get_or_try_init(gather).await?.clone();
        Ok((shell, MachineInfo { boot, ..facts }))
    }
}

/// A running system container. The order matters: it is ended before its folder is removed.
#[derive(Debug)]
struct Container {
    child: Child,
    cgroup: Resource,
    address: Ipv4Addr,
    cleanup: Arc<CleanupJournal>,
    work: MachineDir,
}

impl Body for Container {
    fn process(&self) -> Option<(&Child, &MachineDir, &'static str)> {
        Some((&self.child, &self.work, PROGRAM))
    }

    fn loopback(&self) -> Option<&'static str> {
        None
    }

    fn command_line(&self) -> String {
        keys::command_line(&self.work.name, keys::USER, &self.address.to_string(), 22, &self.work.folder)
    }

    fn shut_down(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let (cleanup, cgroup) = (self.cleanup.clone(), self.cgroup.clone());
            // What cannot be removed stays in the cleanup journal, which reports it.
            let _ = tokio::task::spawn_blocking(move || cleanup.release(&cgroup)).await;
            self.child.end();
            self.work.remove();
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_machines_have_the_same_network() {
        let networks: Vec<_> = (0..4).map(|_| free_network().unwrap()).collect();
        for (index, [ours, theirs]) in networks.iter().enumerate() {
            assert!(ours.octets()[0] == 198 && [18, 19].contains(&ours.octets()[1]), "{ours}");
            assert_eq!(u32::from(*theirs), u32::from(*ours) + 1);
            assert!(!networks[..index].iter().any(|earlier| earlier.contains(ours)), "{networks:?}");
        }
        assert_eq!(network(0x8001), network(1), "only half of the numbers are networks");
        assert_eq!(network(1).map(|address| address.to_string()), ["198.18.0.5", "198.18.0.6"]);
    }

    /// Starts a machine with a script inside; folders stand for control groups, whose end is for the script to notice.
    fn started(folder: &Path, inside: &str, group: &Path) -> Child {
        let cleanup = super::super::tests::context().cleanup;
        let start =
            START.replace("/run/systemd/system", "/nowhere").replace("unshare --mount --propagation private", "");
        let argv = ["sh", "-c", &start, "nspawn", inside, "rm -rf \"$1\"", &group.display().to_string()];
        let argv = argv.map(str::to_owned);
        Child::held(&argv, &folder.join("console"), &folder.join("log"), &cleanup).unwrap()
    }

    #[tokio::test]
    async fn a_machine_ends_with_its_group_when_it_is_let_go_and_when_it_ends_itself() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("group");
        let child = started(folder.path(), "echo up; echo why >&2; exit 7", &group);
        assert_eq!(child.wait().await, crate::exec::command::Status::Code(7));
        assert!(!group.exists(), "its group is removed");
        assert_eq!(fs::read_to_string(folder.path().join("console")).unwrap(), "up\n");
        assert_eq!(fs::read_to_string(folder.path().join("log")).unwrap(), "why\n");

        let child = started(folder.path(), "while [ -d \"$1\" ]; do sleep 0.05; done", &group);
        let soon = Duration::from_secs(20);
        let up =
            async || Ok::<_, anyhow::Error>(if group.exists() { Look::Done(()) } else { Look::Waiting(String::new()) });
        poll::until("the group", soon, PAUSE, up).await.unwrap();
        child.end();
        assert_eq!(tokio::time::timeout(soon, child.wait()).await.unwrap(), crate::exec::command::Status::Code(0));
        assert!(!group.exists());
    }
}
