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
use super::machine::{Emulated, Machine, MachineDir, QEMU, evidence_file, log_in};
use super::qemu::{ARRIVAL, Devices, Memory};
use super::snapshot::Snapshot;
use super::vm::{Urgency, Vm};
use super::{Qmp, keys};
use crate::base::digest::hex;
use crate::base::procfs;
use crate::exec::command::Command;
use crate::exec::shell::{Login, Shell};

/// Time limit of a restore: it took over a minute on a busy host, and an intact snapshot must not be discarded.
const LIMIT: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(5);

/// Starts a machine from a snapshot. If the call is cancelled, what it has made is removed. If the error is
/// [`QemuCrashed`](super::machine::QemuCrashed), the snapshot may be intact.
pub(super) async fn thaw(vm: &Vm, snapshot: &Snapshot, name: &str, urgency: Urgency) -> anyhow::Result<Machine> {
    let work = MachineDir::make(&vm.context, name)?;
    let (files, ram) = (work.folder.clone(), Memory::Frozen(snapshot.folder.join(Snapshot::MEMORY)));
    start_from(vm, snapshot, work, &files, ram, urgency).await
}

/// Starts a machine that is to be frozen once more, in a folder with its own copies of the files it needs for that.
pub(super) async fn thaw_into(vm: &Vm, snapshot: &Snapshot, name: &str, part: &Path) -> anyhow::Result<Machine> {
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
) -> anyhow::Result<Machine> {
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
        status = child.wait() => Err(work.ended(QEMU, status)),
    };
    let key = &snapshot.manifest.key;
    let failed = |error| Emulated::failure(&child, format!("it did not come up from snapshot {key}: {error:#}"));
    let shell = arrived.map_err(failed)?;
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
    // Both take time of the emulated CPUs, of which there are two.
    let ((), ssh) = tokio::try_join!(here, log_in(login, LIMIT, PAUSE))?;
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
