//! Provides the machines that claims are tested on. It covers provisioning only: commands on a machine run through its
//! [`Shell`].

pub mod cloud;
pub mod machine_info;
pub mod preflight;
pub mod state_snapshot;
mod accelerator;
#[cfg(feature = "aws")]
mod aws_error;
mod boot;
mod cache;
mod child;
pub mod cloud_image;
mod cloud_init;
mod console;
mod definition;
#[cfg(feature = "aws")]
pub mod ecr;
#[cfg(feature = "aws")]
pub mod ec2;
mod remote;
mod image;
mod keys;
mod machine;
mod mirror;
mod nspawn;
mod platform;
mod qemu;
mod qmp;
mod snapshot;
mod thaw;
mod cpu_scheduling;
mod vm;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use cache::unneeded;
pub use child::Child;
pub use definition::{DEVICE, Definition};
pub use image::{DISK_NEEDED, DiskImage, free_space};
pub use machine::{Machine, SetupStep, private, run_folder, run_folder_path};
pub use mirror::{mirror_address, reach_mirror};
pub use nspawn::Nspawn;
pub use platform::Platform;
pub use qemu::{Qemu, program as emulator};
pub use qmp::Qmp;
pub use remote::{RemoteAccess, RemoteHost};
pub use snapshot::Preparation;
pub use vm::{Urgency, Vm};

use crate::base::commands;
use crate::base::instance_spec::InstanceSpec;
use crate::base::platform::{Arch, MachineKind};
use crate::base::programs;
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::base::unit::Bytes;
use crate::exec::cleanup::CleanupJournal;
use crate::exec::shell::{CommandObserver, Shell};
use crate::targets::cloud::Cloud;

/// What provisioning needs from its run; cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub settings: Settings,
    /// The cleanup journal: everything that is made is listed there before it is made.
    pub cleanup: Arc<CleanupJournal>,
    pub observer: Arc<dyn CommandObserver>,
    /// The run's folder of evidence; it exists.
    pub evidence: PathBuf,
    /// The run's id; short, because it is part of socket paths.
    pub run: String,
    pub progress: Progress,
}

impl fmt::Debug for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Context({})", self.run)
    }
}

/// Machines of one definition on this host.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a run has two of them")]
pub enum LocalMachines {
    Nspawn(Nspawn),
    Vm(Vm),
}

impl LocalMachines {
    /// Prepares system containers, or else VMs of an architecture, as for controls of machines elsewhere.
    pub async fn of(
        kind: MachineKind,
        definition: &Definition,
        arch: Arch,
        context: &Context,
    ) -> anyhow::Result<LocalMachines> {
        Ok(match kind {
            MachineKind::Nspawn => LocalMachines::Nspawn(Nspawn::of(definition, context).await?),
            _ => LocalMachines::Vm(Box::pin(Vm::of(definition, arch, context)).await?),
        })
    }

    pub async fn machine(&self, name: &str, urgency: Urgency) -> anyhow::Result<Machine> {
        match self {
            LocalMachines::Nspawn(nspawn) => nspawn.machine(name).await,
            LocalMachines::Vm(vm) => vm.machine(name, urgency).await,
        }
    }

    /// Returns a clean machine with a preparation. A VM is prepared once, and restored from a snapshot.
    pub async fn prepared(
        &self,
        name: &str,
        urgency: Urgency,
        preparation: Preparation<'_>,
        prepare: impl AsyncFn(&Machine) -> anyhow::Result<()>,
    ) -> anyhow::Result<Machine> {
        match self {
            LocalMachines::Nspawn(nspawn) => {
                let machine = nspawn.machine(name).await?;
                prepare(&machine).await?;
                Ok(machine)
            }
            LocalMachines::Vm(vm) => vm.prepared(name, urgency, preparation, prepare).await,
        }
    }

    /// Returns whether the CPU runs at its own speed; makes the snapshot of VMs if there is none yet.
    pub async fn native(&self) -> anyhow::Result<bool> {
        match self {
            LocalMachines::Nspawn(nspawn) => Ok(nspawn.native()),
            LocalMachines::Vm(vm) => Ok(vm.facts().await?.native),
        }
    }

    pub fn takes(&self) -> Bytes {
        match self {
            LocalMachines::Nspawn(nspawn) => nspawn.takes(),
            LocalMachines::Vm(vm) => vm.takes(),
        }
    }
}

/// Opens what a run orders in AWS; see [`ec2::Ec2::open`].
#[cfg(feature = "aws")]
pub async fn open_cloud(order: InstanceSpec, context: &Context) -> anyhow::Result<Arc<dyn Cloud>> {
    Ok(Arc::new(ec2::Ec2::open(order, ec2::Patience::default(), context).await?))
}

/// Always fails: the builds that can open it have AWS's SDK.
#[cfg(not(feature = "aws"))]
pub async fn open_cloud(_: InstanceSpec, _: &Context) -> anyhow::Result<Arc<dyn Cloud>> {
    let remedy = crate::base::commands::get_sdk("use ci/e2e --target ec2, or cargo test --features aws");
    anyhow::bail!("this build cannot use EC2: {remedy}")
}

/// Tries whether a guest of this image starts on KVM here; `/dev/kvm` must be open to this user.
pub async fn try_kvm(context: &Context, image: &DiskImage, arch: Arch) -> Result<(), String> {
    let shell = Shell::local(context.observer.clone());
    let qemu = Qemu::installed(&shell, arch).await.map_err(|error| format!("{error:#}"))?;
    accelerator::try_kvm(context, &qemu, image, arch, &context.evidence).await
}

/// Returns the command that installs what machines of this architecture need.
pub fn remedy(arch: Arch) -> String {
    match Arch::host() == Some(arch) {
        true => commands::setup(""),
        false => commands::setup(&format!("vm:{arch}")),
    }
}

/// Checks in advance that this host can make a machine; sudo may ask for a password.
pub fn check_host(
    kind: MachineKind,
    definition: &Definition,
    arch: Arch,
    settings: &Settings,
    progress: &Progress,
) -> anyhow::Result<()> {
    if kind == MachineKind::Nspawn {
        return nspawn::check_host(definition, settings, progress);
    }
    for program in [&qemu::program(arch), "qemu-img", "setpriv"] {
        programs::need(program, &remedy(arch))?;
    }
    match DiskImage::kept(definition, arch, &settings.cache)? {
        Some(_) => Ok(()),
        // What a cloud image needs is checked by itself.
        None if definition.platform.disk.is_some() => Ok(()),
        None => image::check_host(definition, arch, &settings.cache).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::platform::TargetSpec;
    use crate::exec::shell::NoopObserver;

    /// Returns a run's context, with its cleanup journal and evidence in a folder that stays until the process ends.
    pub(super) fn context() -> Context {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let run = format!("test-{}-{number}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let evidence = folder.path().to_owned();
        let cleanup = CleanupJournal::open(&evidence.join("journals"), &run).unwrap();
        cleanup.register(crate::exec::cleanup::Resource::Path { path: folder.keep() }).unwrap();
        Context {
            settings: Settings { cache: evidence.join("cache"), ..Settings::read().unwrap() },
            cleanup: Arc::new(cleanup),
            observer: Arc::new(NoopObserver),
            evidence,
            run,
            progress: Progress::to(|_| {}),
        }
    }

    #[test]
    fn an_error_that_names_its_doctor_is_left_as_it_is() {
        let target = "ssh://a@b".parse::<TargetSpec>().unwrap();
        let lacks = remote::check_complete(&target, &preflight::recorded().checks(true)).unwrap_err();
        let lacking = target.unusable(lacks).to_string();
        assert_eq!(lacking.matches("cargo run -- doctor --target ssh://a@b").count(), 1, "{lacking}");
    }
}
