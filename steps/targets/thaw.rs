//! Restores a machine from a snapshot, until a command has run on it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::boot::{overlay, start};
use super::machine::{Emulated, Machine, MachineDir, evidence_file};
use super::qemu::{ARRIVAL, Devices, Memory};
use super::snapshot::Snapshot;
use super::vm::{Urgency, Vm};
use super::{Qmp, keys};
use crate::base::digest::hex;
use crate::base::poll::{self, Look};
use crate::base::procfs;
use crate::exec::command::{Command, Status};
use crate::exec::shell::{Login, Shell, Ssh};

/// Time limit for a restore. It takes two seconds on an idle host, but took more than a minute on a busy one, and an
/// intact snapshot must not be discarded for that.
const LIMIT: Duration = Duration::from_secs(180);
/// How often to check whether the state is loaded and whether a login succeeds.
const PAUSE: Duration = Duration::from_millis(5);

/// A machine that did not come up from a snapshot.
#[derive(Debug, thiserror::Error)]
#[error("it did not come up from its snapshot: {detail}")]
pub(super) struct NotThawed {
    detail: String,
    /// Whether QEMU itself crashed, in which case the snapshot may be intact.
    pub(super) crashed: bool,
}

impl From<anyhow::Error> for NotThawed {
    fn from(error: anyhow::Error) -> NotThawed {
        NotThawed { detail: format!("{error:#}"), crashed: false }
    }
}

impl NotThawed {
    pub(super) fn into_error(self, snapshot: &Snapshot) -> anyhow::Error {
        anyhow::anyhow!("snapshot {}: {self}", snapshot.manifest.key)
    }
}

/// Starts a machine from a snapshot. If the call is cancelled, what it has made is removed.
pub(super) async fn thaw(vm: &Vm, snapshot: &Snapshot, name: &str, urgency: Urgency) -> Result<Machine, NotThawed> {
    let work = MachineDir::make(&vm.context, name)?;
    let (files, ram) = (work.folder.clone(), Memory::Frozen(snapshot.folder.join(Snapshot::MEMORY)));
    start_from(vm, snapshot, work, &files, ram, urgency).await
}

/// Starts a machine that is to be frozen once more, in a folder with its own copies of the files it needs for that.
pub(super) async fn thaw_into(vm: &Vm, snapshot: &Snapshot, name: &str, part: &Path) -> Result<Machine, NotThawed> {
    let work = MachineDir::make(&vm.context, name)?;
    let (from, own) = (snapshot.folder.clone(), part.to_owned());
    let copy = move || {
        let mut names = [Snapshot::MEMORY, keys::DISK].into_iter();
        names.try_for_each(|name| fs::copy(from.join(name), own.join(name)).map(drop))
    };
    // This copies half a gigabyte, so it must not block a thread of the runtime.
    let copied = tokio::task::spawn_blocking(copy).await.context("nothing was copied")?;
    copied.with_context(|| format!("{} cannot be copied", snapshot.folder.display()))?;
    start_from(vm, snapshot, work, part, Memory::Thawed(part.join(Snapshot::MEMORY)), Urgency::First).await
}

async fn start_from(
    vm: &Vm,
    snapshot: &Snapshot,
    work: MachineDir,
    files: &Path,
    ram: Memory,
    urgency: Urgency,
) -> Result<Machine, NotThawed> {
    let started = Instant::now();
    let login = keys::again(&work.name, &snapshot.folder, files)?;
    let root = overlay(vm, &snapshot.folder.join(Snapshot::DISK), "qcow2", files).await?;
    let console = evidence_file(&vm.context.evidence, &work.name, "console.log");
    // A machine's console begins with its boot, even if another machine went through it.
    fs::copy(snapshot.folder.join(Snapshot::CONSOLE), &console).context("the console of the boot cannot be copied")?;
    let keys = snapshot.folder.join(keys::DISK);
    let devices = Devices { ram, root, keys, port: 0, sockets: work.folder.clone() };
    let since = Timestamp::now();
    let (child, mut qmp, port) = start(vm, &console, devices, &work, urgency).await?;
    let login = Login { address: format!("127.0.0.1:{port}"), ..login };
    let arrived = tokio::select! {
        arrived = arrive(vm, snapshot, &mut qmp, &login, &work) => arrived,
        status = child.wait() => Err(work.qemu_ended(status)),
    };
    let crashed = || matches!(child.ended(), Some(Status::Signal(_)));
    let shell = arrived.map_err(|error| NotThawed { crashed: crashed(), ..NotThawed::from(error) })?;
    let emulated = Emulated { port, qmp: Mutex::new(qmp), child, work };
    Ok(Machine { since: Some(since), ..vm.up(shell, snapshot.manifest.facts.clone(), started, emulated) })
}

async fn arrive(
    vm: &Vm,
    snapshot: &Snapshot,
    qmp: &mut Qmp,
    login: &Login,
    work: &MachineDir,
) -> anyhow::Result<Shell> {
    let state = format!("file:{}", snapshot.folder.join(Snapshot::STATE).display());
    qmp.leave_memory_in_its_file().await?;
    qmp.execute("migrate-incoming", json!({ "uri": state })).await?;
    // A machine that is resumed before all of its state is loaded stays stopped for ever.
    qmp.migrated(LIMIT, PAUSE).await?;
    let mut port = UnixStream::connect(work.folder.join(ARRIVAL)).await.context("its port does not open")?;
    port.write_all(its_own()?.as_bytes()).await.context("its port takes nothing")?;
    qmp.execute("cont", json!({})).await?;
    let here = async {
        let mut printed = String::new();
        let heard = tokio::time::timeout(LIMIT, BufReader::new(port).read_line(&mut printed)).await;
        match heard {
            Ok(Ok(_)) if printed == "here\n" => Ok(()),
            _ => anyhow::bail!("it did not take in the time and fresh random numbers: \"{}\"", printed.trim_end()),
        }
    };
    let knock = poll::until("a login", LIMIT, PAUSE, async || match Ssh::connect(login).await {
        Ok(ssh) => anyhow::Ok(Look::Done(ssh)),
        Err(error) => Ok(Look::Waiting(error.to_string())),
    });
    // Both take time of the emulated CPUs, of which there are two.
    let ((), ssh) = tokio::try_join!(here, knock)?;
    let shell = Shell::ssh(ssh, vm.context.observer.clone());
    let boot = shell.read(&Command::new("cat").arg("/proc/sys/kernel/random/boot_id")).await?;
    let (boot, frozen) = (boot.trim_end(), &snapshot.manifest.facts.boot);
    anyhow::ensure!(boot == frozen, "its boot is {boot}, not {frozen}");
    Ok(shell)
}

/// Returns what a restored machine receives: the time, in seconds and nanoseconds, and random bytes in hexadecimal.
fn its_own() -> anyhow::Result<String> {
    let seed = procfs::random::<64>()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{} {} {}\n", now.as_secs(), now.subsec_nanos(), hex(&seed)))
}
