//! Finds out whether guests run on the host's own CPU, by starting one: a device node does not mean that KVM works.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Context;
use super::child::Child;
use super::console::{self, Stage, stage};
use super::image::DiskImage;
use super::qemu::{Board, Qemu};
use crate::base::platform::Arch;
use crate::base::poll::{self, Look};
use crate::targets::machine_info::Accelerator;

/// Time limit for a probe: natively a kernel prints its first line within a second.
const PATIENCE: Duration = Duration::from_secs(4);

/// The result of a probe; valid until the host reboots or gets another QEMU. A file that another version has kept does not
/// parse: a missing fault would mean that KVM works.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KvmFinding {
    boot: String,
    qemu: String,
    fault: Option<String>,
}

/// Returns what to start a machine with before it has a kernel that KVM can be tried with: the accelerator that is known
/// to work, or KVM and then TCG.
pub fn candidates(context: &Context, qemu: &Qemu, arch: Arch) -> Vec<Accelerator> {
    match known(context, qemu) {
        _ if Arch::host() != Some(arch) || !opens() => vec![Accelerator::Tcg],
        Some(KvmFinding { fault: None, .. }) => vec![Accelerator::Kvm],
        Some(_) => vec![Accelerator::Tcg],
        None => vec![Accelerator::Kvm, Accelerator::Tcg],
    }
}

/// Whether this user can open KVM's device.
fn opens() -> bool {
    fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Returns the kept result of a probe, if it is valid.
fn known(context: &Context, qemu: &Qemu) -> Option<KvmFinding> {
    let text = fs::read_to_string(context.settings.cache.join("kvm.json")).ok()?;
    let known: KvmFinding = serde_json::from_str(&text).ok()?;
    (!known.boot.is_empty() && known.boot == boot_id() && known.qemu == qemu.version).then_some(known)
}

pub async fn choose(context: &Context, qemu: &Qemu, image: &DiskImage, arch: Arch, work: &Path) -> Accelerator {
    // A node that cannot be opened is not a result to keep: the user may get access a minute from now.
    if Arch::host() != Some(arch) || !opens() {
        return Accelerator::Tcg;
    }
    match try_kvm(context, qemu, image, arch, work).await {
        Ok(()) => Accelerator::Kvm,
        Err(_) => Accelerator::Tcg,
    }
}

/// Checks whether guests start on KVM, and keeps the result for as long as it is valid. The error is the reason.
pub async fn try_kvm(context: &Context, qemu: &Qemu, image: &DiskImage, arch: Arch, work: &Path) -> Result<(), String> {
    let kept = context.settings.cache.join("kvm.json");
    if let Some(known) = known(context, qemu) {
        return known.fault.map_or(Ok(()), Err);
    }
    tracing::info!("kvm: trying whether a guest starts on it");
    let tried = probe(context, qemu, image, arch, work).await.map_err(|error| format!("{error:#}"));
    context.progress.note(match &tried {
        Ok(()) => "kvm: works".to_owned(),
        Err(fault) => format!("kvm: does not work here ({fault}): the cpu is emulated"),
    });
    let finding = KvmFinding { boot: boot_id(), qemu: qemu.version.clone(), fault: tried.clone().err() };
    // What cannot be kept, or is only half written, is found out again next time.
    let _ = serde_json::to_vec(&finding).map(|text| fs::write(&kept, text));
    tried
}

/// Starts the real kernel for a moment and waits for its first line.
async fn probe(context: &Context, qemu: &Qemu, image: &DiskImage, arch: Arch, work: &Path) -> anyhow::Result<()> {
    let console = work.join("kvm-console.log");
    let log = work.join("kvm-qemu.log");
    let board = Board {
        arch,
        accelerator: Accelerator::Kvm,
        cpus: 1,
        memory: 256,
        start: image.start.clone(),
        console: console.clone(),
        devices: None,
    };
    let child = Child::start(&qemu.argv(&board), &log, &context.cleanup)?;
    poll::until("the kernel's first word", PATIENCE, Duration::from_millis(50), async || {
        if stage(&console::read(&console)) >= Stage::Kernel {
            return Ok(Look::Done(()));
        }
        match child.ended() {
            None => Ok(Look::Waiting("nothing on the console".to_owned())),
            Some(status) => {
                let printed = fs::read_to_string(&log).unwrap_or_default();
                let first = printed.lines().next().unwrap_or_default().to_owned();
                Err(anyhow::anyhow!("qemu ended with {status}: {first}"))
            }
        }
    })
    .await
}
