//! Provides VMs of one definition: booted once, frozen, and restored as often as one is needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::sync::Mutex;

use super::boot::boot;
use super::definition::Definition;
use super::image::DiskImage;
use super::machine::{Emulated, Machine, MachineDir, QemuCrashed, evidence_file};
use super::qemu::{Board, Devices, Memory, Qemu};
use super::snapshot::{Preparation, Snapshot};
use super::thaw::thaw;
use super::{Context, accelerator};
use crate::base::lock::lock;
use crate::base::platform::Arch;
use crate::base::unit::Bytes;
use crate::exec::shell::Shell;
use crate::targets::machine_info::{Accelerator, MachineInfo};

/// How many starts a machine gets: QEMU's emulation of several CPUs now and then loses a race while the guest moves its
/// PCI windows, and aborts (`iotlb_to_section: Assertion`).
const CRASHES: u32 = 3;

#[derive(Debug)]
pub struct Vm {
    pub(super) definition: Definition,
    pub(super) arch: Arch,
    pub(super) qemu: Qemu,
    pub(super) image: DiskImage,
    pub(super) accelerator: Accelerator,
    pub(super) context: Context,
    /// Snapshots by what was prepared; nothing was for the one of a machine that had just booted.
    pub(super) snapshots: std::sync::Mutex<BTreeMap<String, Slot>>,
}

/// A snapshot, once it has been requested.
type Slot = Arc<Mutex<Option<Arc<Snapshot>>>>;

/// Which machines get the host's CPUs first if there are not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Before all others: measurements there must not wait for other work.
    First,
    Usual,
}

impl Vm {
    /// Prepares VMs of a definition, and makes their image if there is none yet.
    pub async fn of(definition: &Definition, arch: Arch, context: &Context) -> anyhow::Result<Vm> {
        let qemu = Qemu::installed(&Shell::local(context.observer.clone()), arch).await?;
        let image = DiskImage::provide(definition, arch, context).await?;
        let trial = tempfile::tempdir().context("cannot create a temporary folder")?;
        let accelerator = accelerator::choose(context, &qemu, &image, arch, trial.path()).await;
        qemu.fit(accelerator)?;
        let (definition, context, snapshots) = (definition.clone(), context.clone(), Default::default());
        Ok(Vm { definition, arch, qemu, image, accelerator, context, snapshots })
    }

    /// Returns a clean machine, restored from the snapshot of one that had just booted. Makes the snapshot if there is
    /// none or it is damaged, and makes it again if no machine comes up from it.
    pub async fn machine(&self, name: &str, urgency: Urgency) -> anyhow::Result<Machine> {
        self.thawed(&self.slot(""), name, urgency, async || Box::pin(Snapshot::provide(self)).await).await
    }

    /// Returns a clean machine with a preparation, frozen after it so that what takes long is done once. Prepares it if
    /// there is no such snapshot or it is damaged, and again if no machine comes up from it.
    pub async fn prepared(
        &self,
        name: &str,
        urgency: Urgency,
        preparation: Preparation<'_>,
        prepare: impl AsyncFn(&Machine) -> anyhow::Result<()>,
    ) -> anyhow::Result<Machine> {
        let slot = self.slot(&format!("{}: {}", preparation.name, preparation.rests_on));
        let provide = async || {
            let from = self.snapshot().await?;
            Box::pin(Snapshot::prepared(self, &from, &preparation, &prepare)).await
        };
        self.thawed(&slot, name, urgency, provide).await
    }

    async fn thawed(
        &self,
        slot: &Slot,
        name: &str,
        urgency: Urgency,
        provide: impl AsyncFn() -> anyhow::Result<Snapshot>,
    ) -> anyhow::Result<Machine> {
        let mut snapshot = held(slot, &provide).await?;
        for crash in 1..=CRASHES {
            let failed = match thaw(self, &snapshot, name, urgency).await {
                Ok(machine) => return Ok(machine),
                Err(failed) => failed,
            };
            if crash == CRASHES || (snapshot.new && !failed.is::<QemuCrashed>()) {
                return Err(failed);
            }
            self.context.progress.note(format!("{name}: {failed:#}: starting another"));
            if !failed.is::<QemuCrashed>() {
                renounce(slot, &snapshot).await;
                snapshot = held(slot, &provide).await?;
            }
        }
        anyhow::bail!("{name}: no machine was started")
    }

    /// Returns the machine info from when the machines were frozen, and makes the snapshot if there is none yet.
    pub async fn facts(&self) -> anyhow::Result<MachineInfo> {
        Ok(self.snapshot().await?.manifest.facts.clone())
    }

    pub async fn boot(&self, name: &str) -> anyhow::Result<Machine> {
        self.booted(|| {
            let work = MachineDir::make(&self.context, name)?;
            let files = work.folder.clone();
            Ok((work, files, Memory::Anonymous))
        })
        .await
    }

    /// Boots a machine with what `prepare` returns; again if QEMU crashes.
    pub(super) async fn booted(
        &self,
        prepare: impl Fn() -> anyhow::Result<(MachineDir, PathBuf, Memory)>,
    ) -> anyhow::Result<Machine> {
        let mut crash = 0;
        loop {
            crash += 1;
            let (work, files, ram) = prepare()?;
            let console = evidence_file(&self.context.evidence, &work.name, "console.log");
            match Box::pin(boot(self, work, &files, ram)).await {
                Err(error) if error.is::<QemuCrashed>() && crash < CRASHES => {
                    self.context.progress.note(format!("{error:#}\nstarting it again"));
                    // Its console is evidence, and the next machine's would be appended to it.
                    let kept = console.with_extension(format!("crash-{crash}.log"));
                    fs::rename(&console, kept).context("a console cannot be kept")?;
                }
                booted => return booted,
            }
        }
    }

    pub fn takes(&self) -> Bytes {
        self.definition.takes(self.arch)
    }

    pub(super) fn board(&self, console: &Path, devices: Option<Devices>) -> Board {
        Board {
            arch: self.arch,
            accelerator: self.accelerator,
            cpus: self.definition.cpus,
            memory: self.definition.guest_memory(self.arch),
            start: self.image.start.clone(),
            console: console.to_owned(),
            devices,
        }
    }

    /// Returns a machine that has come up, and adds what the host knows to what it reports about itself.
    pub(super) fn up(&self, shell: Shell, facts: MachineInfo, started: Instant, emulated: Emulated) -> Machine {
        let (qemu, image) = (Some(self.qemu.version.clone()), Some(self.image.manifest.key.clone()));
        let platform = Some(self.definition.platform.name.clone());
        let (name, facts) = (emulated.work.name.clone(), MachineInfo { qemu, image, platform, ..facts });
        let machine = Machine::new(&self.context, name, shell, facts, started, emulated);
        tracing::info!("{}: up after {:.1} s", machine.name, machine.boot.as_secs_f64());
        machine
    }

    /// Returns the snapshot that all machines are restored from.
    async fn snapshot(&self) -> anyhow::Result<Arc<Snapshot>> {
        held(&self.slot(""), &async || Box::pin(Snapshot::provide(self)).await).await
    }

    fn slot(&self, prepared: &str) -> Slot {
        lock(&self.snapshots).entry(prepared.to_owned()).or_default().clone()
    }
}

/// Returns the snapshot in a slot; finds or makes it when it is first requested.
async fn held(slot: &Slot, provide: &impl AsyncFn() -> anyhow::Result<Snapshot>) -> anyhow::Result<Arc<Snapshot>> {
    let mut held = slot.lock().await;
    if let Some(snapshot) = &*held {
        return Ok(snapshot.clone());
    }
    let snapshot = Arc::new(provide().await?);
    *held = Some(snapshot.clone());
    Ok(snapshot)
}

/// Discards a snapshot from which no machine comes up, unless that has been done already.
async fn renounce(slot: &Slot, snapshot: &Arc<Snapshot>) {
    let mut held = slot.lock().await;
    if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, snapshot)) {
        snapshot.discard();
        *held = None;
    }
}
