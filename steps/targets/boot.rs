//! Boots a machine and follows it on its console until it is up.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::Mutex;

use super::child::Child;
use super::console::{self, Stage};
use super::machine::{Emulated, Machine, MachineDir, QEMU};
use super::qemu::{Devices, Memory, QMP, Start, port_was_taken};
use super::vm::{Urgency, Vm};
use super::{Qmp, cloud_init, cpu_scheduling, keys, remedy};
use crate::base::poll::{self, Look};
use crate::base::procfs::now;
use crate::base::programs;
use crate::exec::command::Command;
use crate::exec::shell::{Login, Shell, ShellError, Ssh};
use crate::targets::machine_info::{Accelerator, MachineInfo};

/// Time limit for a boot: an emulated CPU takes a minute, and took more than three minutes beside other machines.
const BOOT_LIMIT: Duration = Duration::from_secs(480);
/// When to start trying SSH even if the console shows no SSH server.
const KNOCK: Duration = Duration::from_secs(90);
/// How long a boot loader may take on KVM: where no kernel runs on it, nothing says so.
const KVM: Duration = Duration::from_secs(40);
/// How long a cloud image that is up may take to let us in: cloud-init is at work in that time.
const DEAF: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);
/// A clock that is off by more seconds gets set; one that was read from a battery-backed clock is off by up to 1 s.
const SKEW: f64 = 1.5;
/// How many lines of the console an error shows.
const LINES: usize = 10;

/// Starts a machine whose disk, keys and (if it is kept) memory are in `files`, and follows its boot to the end. If QEMU
/// crashed, the error is [`QemuCrashed`](super::machine::QemuCrashed).
pub(super) async fn boot(vm: &Vm, work: MachineDir, files: &Path, ram: Memory) -> anyhow::Result<Machine> {
    let first = matches!(vm.image.start, Start::Loader(_));
    let (login, keys) = match first {
        true => (cloud_init::seed(&work.name, files)?, files.join(cloud_init::SEED)),
        false => (keys::make(&work.name, files)?, files.join(keys::DISK)),
    };
    let root = overlay(vm, &vm.image.disk, vm.image.format, files).await?;
    let console = super::machine::evidence_file(&vm.context.evidence, &work.name, "console.log");
    let started = Instant::now();
    let devices = Devices { ram, root, keys, port: 0, sockets: work.folder.clone() };
    let (child, qmp, port) = start(vm, &console, devices, &work, Urgency::First).await?;
    let login = Login { address: format!("127.0.0.1:{port}"), ..login };
    let boot = Boot { vm, work: &work, login, console, started, first };
    let (shell, facts) = boot.watch(&child).await?;
    Ok(vm.up(shell, facts, started, Emulated { port, qmp: Mutex::new(qmp), child, work }))
}

/// Makes a copy-on-write disk over another.
pub(super) async fn overlay(vm: &Vm, base: &Path, format: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let root = folder.join("root.qcow2");
    let create = Command::new(programs::need("qemu-img", &remedy(vm.arch))?)
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .args([base.display().to_string(), root.display().to_string()]);
    Shell::local(vm.context.observer.clone()).read(&create).await?;
    Ok(root)
}

/// Starts QEMU on a free port, which it puts in place of that in `devices`, and opens its control connection.
pub(super) async fn start(
    vm: &Vm,
    console: &Path,
    devices: Devices,
    work: &MachineDir,
    urgency: Urgency,
) -> anyhow::Result<(Child, Qmp, u16)> {
    for _ in 0..5 {
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).map(|at| at.port())?;
        let board = vm.board(console, Some(Devices { port, ..devices.clone() }));
        let child = Child::start(&vm.qemu.argv(&board), &work.log(), &vm.context.cleanup)?;
        if let Some(pid) = child.pid() {
            cpu_scheduling::apply(pid, urgency, vm.accelerator == Accelerator::Tcg);
        }
        let hello =
            poll::until("qemu's greeting", Duration::from_secs(20), Duration::from_millis(10), async || {
                match (child.ended(), Qmp::connect(&work.folder.join(QMP)).await) {
                    (Some(status), _) => Err(work.ended(QEMU, status)),
                    (None, Ok(qmp)) => Ok(Look::Done(qmp)),
                    (None, Err(error)) => Ok(Look::Waiting(format!("{error:#}"))),
                }
            });
        match hello.await {
            Ok(qmp) => return Ok((child, qmp, port)),
            // Another program took the port first; try the next one.
            Err(error) if port_was_taken(&error.to_string()) => {}
            Err(error) => return Err(error.context(format!("machine {} cannot be started", work.name))),
        }
    }
    anyhow::bail!("machine {} cannot be started: other programs take every port that is free", work.name)
}

/// A boot from QEMU's start until the system is up.
struct Boot<'a> {
    vm: &'a Vm,
    work: &'a MachineDir,
    login: Login,
    console: PathBuf,
    started: Instant,
    /// Whether it is a cloud image's first boot, by its own boot loader.
    first: bool,
}

impl Boot<'_> {
    async fn watch(&self, child: &Child) -> anyhow::Result<(Shell, MachineInfo)> {
        let mut at_login = false;
        let outcome = tokio::select! {
            outcome = self.follow(&mut at_login) => outcome,
            status = child.wait() => Err(self.work.ended(QEMU, status)),
        };
        outcome.map_err(|error| {
            let text = console::read(&self.console);
            let stage = if at_login { Stage::Login } else { console::stage(&text) };
            let (after, tail) = (self.started.elapsed().as_secs_f64(), console::last_lines(&text, LINES));
            let (name, console) = (&self.work.name, self.console.display());
            let text = format!(
                "machine {name} did not come up: it was at the stage \"{stage}\" after {after:.0} s: {error:#}\n\
                 the end of its console ({console}):\n{tail}"
            );
            Emulated::failure(child, text)
        })
    }

    async fn follow(&self, at_login: &mut bool) -> anyhow::Result<(Shell, MachineInfo)> {
        let shell = self.knock().await?;
        *at_login = true;
        tracing::info!("{}: {}", self.work.name, Stage::Login);
        match self.first {
            true => drop(cloud_init::wait(&shell, BOOT_LIMIT).await?),
            false => self.settle(&shell).await?,
        }
        self.set_clock(&shell).await?;
        let facts = MachineInfo::gather(&shell, self.vm.accelerator).await?;
        Ok((shell, facts))
    }

    /// Watches the console until a login is possible, and logs in.
    async fn knock(&self) -> anyhow::Result<Shell> {
        let (mut last, mut up) = (Stage::Started, None);
        poll::until("a login", BOOT_LIMIT, PAUSE, async || {
            let text = console::read(&self.console);
            let now = console::stage(&text);
            if let Some(line) = console::dead_end(&text) {
                let loader = self.first && now < Stage::Kernel;
                anyhow::bail!("{}{line}", if loader { "the image does not boot: " } else { "" });
            }
            if now != std::mem::replace(&mut last, now) {
                tracing::info!("{}: {now}", self.work.name);
            }
            let kvm = self.vm.accelerator == Accelerator::Kvm;
            let late = self.first && kvm && now < Stage::Kernel && self.started.elapsed() > KVM;
            anyhow::ensure!(!late, "no kernel has started on KVM within {KVM:?}");
            if now < Stage::Ssh && self.started.elapsed() < KNOCK {
                return Ok(Look::Waiting(format!("the console is at the stage \"{now}\"")));
            }
            Ok(match Ssh::connect(&self.login).await {
                Ok(ssh) => Look::Done(Shell::ssh(ssh, self.vm.context.observer.clone())),
                Err(error) => {
                    let stranger = matches!(error, ShellError::OtherHost { .. });
                    if self.first && (stranger || console::asks_for_a_login(&text)) {
                        let since: &Instant = up.get_or_insert_with(Instant::now);
                        anyhow::ensure!(since.elapsed() < DEAF, "{error}; {}", console::seed_lost(&text, stranger));
                    }
                    Look::Waiting(error.to_string())
                }
            })
        })
        .await
    }

    /// Waits until systemd has started everything without failures.
    async fn settle(&self, shell: &Shell) -> anyhow::Result<()> {
        let left = BOOT_LIMIT.saturating_sub(self.started.elapsed()).max(Duration::from_secs(30));
        let wait = Command::new("systemctl").args(["is-system-running", "--wait"]).time_limit(left);
        let state = shell.run(&wait).await?.text();
        if state.trim() == "running" {
            return Ok(());
        }
        let failed = shell.run(&Command::new("systemctl").args(["--failed", "--plain", "--no-legend"])).await?.text();
        let units: Vec<&str> = failed.lines().filter_map(|line| line.split_whitespace().next()).collect();
        anyhow::bail!("systemd says \"{}\"; failed units: {}", state.trim(), units.join(", "))
    }

    /// Sets the guest's clock if it differs from the host's, because evidence is ordered by it.
    async fn set_clock(&self, shell: &Shell) -> anyhow::Result<()> {
        for attempt in 0..2 {
            let before = now();
            let printed = shell.read(&Command::new("date").arg("+%s.%N")).await?;
            let theirs: f64 =
                printed.trim().parse().with_context(|| format!("the clock says \"{}\"", printed.trim()))?;
            // The guest's clock was read at some moment in between.
            let after = now();
            let off = (before - theirs).max(theirs - after).max(0.0);
            if off <= SKEW {
                return Ok(());
            }
            anyhow::ensure!(attempt == 0, "its clock is {off:.1} s off and cannot be set");
            tracing::info!("{}: its clock is {off:.1} s off, setting it", self.work.name);
            shell.read(&Command::new("sudo").args(["date", "--set", &format!("@{:.3}", now())])).await?;
        }
        Ok(())
    }
}
