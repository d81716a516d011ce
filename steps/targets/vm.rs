//! Virtual machines of ours: of one definition, booted once, frozen, and thawed as often as one is wanted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use anyhow::Context as _;
use tokio::sync::Mutex;

use super::boot::{BootFailed, boot};
use super::definition::Definition;
use super::image::Image;
use super::machine::{Machine, MachineDir};
use super::qemu::{Board, Devices, Memory, Qemu};
use super::snapshot::{Preparation, Snapshot};
use super::thaw::thaw;
use super::{Context, accelerator};
use crate::base::platform::Arch;
use crate::base::unit::Bytes;
use crate::exec::shell::Shell;
use crate::targets::machine_info::{Accelerator, MachineInfo};

/// QEMU's emulation of several CPUs now and then loses a race while the guest moves its PCI windows, and aborts
/// (`iotlb_to_section: Assertion`); a machine is given this many starts.
const CRASHES: u32 = 3;

/// Virtual machines of one definition on one architecture.
#[derive(Debug)]
pub struct Vm {
    pub(super) definition: Definition,
    pub(super) arch: Arch,
    pub(super) qemu: Qemu,
    pub(super) image: Image,
    pub(super) accelerator: Accelerator,
    pub(super) context: Context,
    frozen: Slot,
    /// What was frozen a second time, by what was done before.
    prepared: std::sync::Mutex<BTreeMap<String, Slot>>,
}

/// A snapshot, once somebody has asked for it.
type Slot = Arc<Mutex<Option<Arc<Snapshot>>>>;

/// Which machines the host's CPUs are given to where there are not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Before all others: what is measured there is not to wait for what happens elsewhere.
    First,
    /// As all others.
    Usual,
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// It was started and did not come up.
    #[error(transparent)]
    Boot(Box<BootFailed>),
    /// It could not be started at all, or not from its snapshot.
    #[error(transparent)]
    Setup(#[from] anyhow::Error),
}

impl Vm {
    /// Machines of this definition; their image is made if there is none yet.
    ///
    /// # Errors
    /// Something is missing on this host; the error names the remedy.
    pub async fn of(definition: &Definition, arch: Arch, context: &Context) -> anyhow::Result<Vm> {
        let qemu = Qemu::installed(&Shell::local(context.observer.clone()), arch).await?;
        let image = Image::provide(definition, arch, context).await?;
        let trial = tempfile::tempdir().context("there is no room for a temporary folder")?;
        let accelerator = accelerator::choose(context, &qemu, &image, arch, trial.path()).await;
        qemu.fit(accelerator)?;
        Ok(Vm { accelerator, ..Vm::assembled(definition.clone(), arch, qemu, image, context.clone()) })
    }

    /// What is found out is put together, for a CPU that is emulated.
    pub(super) fn assembled(definition: Definition, arch: Arch, qemu: Qemu, image: Image, context: Context) -> Vm {
        let accelerator = Accelerator::Tcg;
        Vm {
            definition,
            arch,
            qemu,
            image,
            accelerator,
            context,
            frozen: Slot::default(),
            prepared: Default::default(),
        }
    }

    /// A clean machine: one that was up a moment ago, when it was frozen. The snapshot is made if there is none that is
    /// whole, and made anew if no machine comes up from it.
    ///
    /// # Errors
    /// Something is missing on this host (the error names the remedy), or no machine comes up.
    pub async fn machine(&self, name: &str, urgency: Urgency) -> Result<Machine, ProvisionError> {
        self.thawed(&self.frozen, name, urgency, async || Box::pin(Snapshot::provide(self)).await).await
    }

    /// A clean machine to which something was done before it was frozen once more: what takes long is done once. It is done
    /// if there is no such snapshot that is whole, and done anew if no machine comes up from it.
    ///
    /// # Errors
    /// As for [`Vm::machine`], or what is to be done fails.
    pub async fn prepared(
        &self,
        name: &str,
        urgency: Urgency,
        preparation: Preparation<'_>,
        prepare: impl AsyncFn(&Machine) -> anyhow::Result<()>,
    ) -> Result<Machine, ProvisionError> {
        let slot = {
            let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
            prepared.entry(format!("{}: {}", preparation.name, preparation.rests_on)).or_default().clone()
        };
        let provide = async || {
            let from = self.snapshot().await?;
            Box::pin(Snapshot::prepared(self, &from, &preparation, &prepare)).await
        };
        self.thawed(&slot, name, urgency, provide).await
    }

    /// A machine that comes up from a snapshot, if need be at the second or third attempt.
    async fn thawed(
        &self,
        slot: &Slot,
        name: &str,
        urgency: Urgency,
        provide: impl AsyncFn() -> Result<Snapshot, ProvisionError>,
    ) -> Result<Machine, ProvisionError> {
        let mut snapshot = held(slot, &provide).await?;
        for crash in 1..=CRASHES {
            let failed = match thaw(self, &snapshot, name, urgency).await {
                Ok(machine) => return Ok(machine),
                Err(failed) => failed,
            };
            if crash == CRASHES || (snapshot.new && !failed.crashed) {
                return Err(failed.into_error(&snapshot).into());
            }
            self.context.progress.say(format!("{name}: {failed}: starting another"));
            if !failed.crashed {
                renounce(slot, &snapshot).await;
                snapshot = held(slot, &provide).await?;
            }
        }
        Err(anyhow::anyhow!("{name}: no machine was started").into())
    }

    /// What the machines say of themselves, as it was when they were frozen; that is done if it was not yet.
    ///
    /// # Errors
    /// As for [`Vm::machine`].
    pub async fn facts(&self) -> Result<MachineInfo, ProvisionError> {
        Ok(self.snapshot().await?.manifest.facts.clone())
    }

    /// A machine that is booted now, and is not frozen.
    ///
    /// # Errors
    /// As for [`Vm::machine`].
    pub async fn boot(&self, name: &str) -> Result<Machine, ProvisionError> {
        self.booted(|| {
            let work = MachineDir::make(&self.context, name)?;
            let files = work.folder.clone();
            Ok((work, files, Memory::Anonymous))
        })
        .await
    }

    /// Boots a machine where `prepare` says; once more where QEMU crashes.
    pub(super) async fn booted(
        &self,
        prepare: impl Fn() -> anyhow::Result<(MachineDir, PathBuf, Memory)>,
    ) -> Result<Machine, ProvisionError> {
        let mut crash = 0;
        loop {
            crash += 1;
            let (work, files, ram) = prepare()?;
            match Box::pin(boot(self, work, &files, ram)).await {
                Err(ProvisionError::Boot(failed)) if failed.crashed && crash < CRASHES => {
                    self.context.progress.say(format!("{}: {}: starting it again", failed.machine, failed.detail));
                    // Its console is evidence, and the next one would be added to it.
                    let kept = failed.console.with_extension(format!("crash-{crash}.log"));
                    fs::rename(&failed.console, kept).context("a console cannot be kept")?;
                }
                other => return other,
            }
        }
    }

    /// What one machine takes of this host's memory, at most.
    pub fn takes(&self) -> Bytes {
        self.definition.takes(self.arch)
    }

    /// The guest's memory in MiB.
    pub(super) fn memory(&self) -> u64 {
        self.definition.guest_memory(self.arch)
    }

    pub(super) fn board(&self, console: &Path, devices: Option<Devices>) -> Board {
        Board {
            arch: self.arch,
            accelerator: self.accelerator,
            cpus: self.definition.cpus,
            memory: self.memory(),
            kernel: self.image.kernel.clone(),
            initrd: self.image.initrd.clone(),
            console: console.to_owned(),
            devices,
        }
    }

    /// What a machine says of itself, and what its host knows of it.
    pub(super) fn completed(&self, facts: MachineInfo) -> MachineInfo {
        MachineInfo { qemu: Some(self.qemu.version.clone()), image: Some(self.image.manifest.key.clone()), ..facts }
    }

    /// The snapshot that all machines come of.
    async fn snapshot(&self) -> Result<Arc<Snapshot>, ProvisionError> {
        held(&self.frozen, &async || Box::pin(Snapshot::provide(self)).await).await
    }
}

/// The snapshot in a slot, found whole or made when it is first asked for.
async fn held(
    slot: &Slot,
    provide: &impl AsyncFn() -> Result<Snapshot, ProvisionError>,
) -> Result<Arc<Snapshot>, ProvisionError> {
    let mut held = slot.lock().await;
    if let Some(snapshot) = &*held {
        return Ok(snapshot.clone());
    }
    let snapshot = Arc::new(provide().await?);
    *held = Some(snapshot.clone());
    Ok(snapshot)
}

/// Gives up a snapshot from which no machine comes up, unless somebody has already.
async fn renounce(slot: &Slot, snapshot: &Arc<Snapshot>) {
    let mut held = slot.lock().await;
    if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, snapshot)) {
        snapshot.discard();
        *held = None;
    }
}
