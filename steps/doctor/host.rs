//! The host that is examined: starts its programs, and finds what earlier runs have cached on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{Fault, Tried};
use assay::base::commands;
use assay::base::packages::Distribution;
use assay::base::platform::{Arch, TargetSpec};
use assay::base::programs;
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::base::unit::Bytes;
use assay::evidence::new_run_id;
use assay::exec::cleanup::CleanupJournal;
use assay::exec::command::{Command, Output, tail};
use assay::exec::shell::{NoopObserver, Shell};
use assay::targets::{self, Context, DEVICE, Definition, DiskImage, Platform};
use assay::workloads::baseline::{self, Program};
use assay::workloads::{BuildDir, registry};

/// How long one program may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long Podman may take to say whether it has an image; other checks wait for that.
const LOOK: Duration = Duration::from_secs(5);

/// The disk of a kind of machine, and its cached image, if there is one.
pub struct Disk {
    pub definition: Definition,
    pub arch: Arch,
    pub kept: Option<DiskImage>,
}

/// This host, and a temporary folder on it that is removed after the examination.
pub struct Host {
    pub settings: Settings,
    /// The architectures of local machines that the target uses, the usual one first.
    pub arches: Vec<Arch>,
    /// The architecture that conventional containers are made for: the device's, if known.
    pub device: Arch,
    /// The memory of this host that the largest of the machines needs.
    pub machine: Bytes,
    pub disks: Vec<Disk>,
    /// What the machines run.
    pub platform: Platform,
    pub distribution: Distribution,
    pub shell: Shell,
    target: TargetSpec,
    run: String,
    registry: OnceCell<bool>,
    folder: TempDir,
}

impl Host {
    /// Prepares to check a target whose local machines have this architecture.
    pub fn new(
        target: &TargetSpec,
        arch: Arch,
        definitions: &[Definition],
        settings: &Settings,
    ) -> anyhow::Result<Host> {
        // The control of an arm64 claim runs on an amd64 machine.
        let arches = if arch == Arch::Arm64 { vec![Arch::Arm64, Arch::Amd64] } else { vec![arch] };
        let mut disks: Vec<(String, Disk)> = Vec::new();
        for arch in arches.iter().copied() {
            for definition in definitions {
                let key = DiskImage::key(definition, arch)?;
                if disks.iter().all(|(known, _)| *known != key) {
                    let kept = DiskImage::kept(definition, arch, &settings.cache)?;
                    disks.push((key, Disk { definition: definition.clone(), arch, kept }));
                }
            }
        }
        let device = definitions.iter().find(|definition| definition.name == DEVICE);
        let device = device.with_context(|| format!("no machine is called {DEVICE}: see fixtures/machines"))?;
        let run = new_run_id();
        // As short as a run's own path, because sockets lie in it; elsewhere only if that fails.
        let short = tempfile::Builder::new().prefix("assay-").tempdir_in("/tmp");
        let folder = short.or_else(|_| tempfile::tempdir()).context("there is no folder to try anything in: TMPDIR")?;
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        Ok(Host {
            settings: settings.clone(),
            arches,
            device: target.arch(&settings.fake_aws).unwrap_or(arch),
            machine: device.takes(arch),
            platform: device.platform.clone(),
            disks: disks.into_iter().map(|(_, disk)| disk).collect(),
            distribution: Distribution::of(&release, rustix::process::geteuid().is_root()),
            shell: Shell::local(Arc::new(NoopObserver)),
            target: target.clone(),
            run,
            registry: OnceCell::new(),
            folder,
        })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns whether the device is a local machine; if not, only controls run on local machines.
    pub fn has_the_device(&self) -> bool {
        matches!(self.target, TargetSpec::Local | TargetSpec::Nspawn | TargetSpec::Vm(_))
    }

    /// Returns whether the target starts virtual machines.
    pub fn has_vms(&self) -> bool {
        self.target != TargetSpec::Nspawn
    }

    /// Returns the command that installs all packages that the target needs.
    pub fn setup(&self) -> String {
        match &self.target {
            TargetSpec::Vm(arch) => targets::remedy(*arch),
            other => commands::setup(&other.to_string()),
        }
    }

    pub fn build_dir(&self) -> anyhow::Result<BuildDir> {
        let folder = self.new_folder("build")?;
        let cleanup = Arc::new(CleanupJournal::open(&folder.join("journals"), &self.run)?);
        Ok(BuildDir { shell: self.shell.clone(), cleanup, run: self.run.clone(), folder })
    }

    /// Makes the context for provisioning, with a cleanup journal that is removed with this host's folder.
    pub fn context(&self) -> anyhow::Result<Context> {
        let evidence = self.new_folder("machine")?;
        Ok(Context {
            settings: self.settings.clone(),
            cleanup: Arc::new(CleanupJournal::open(&evidence.join("journals"), &self.run)?),
            observer: Arc::new(NoopObserver),
            evidence,
            run: self.run.clone(),
            progress: Progress::to(|_| {}),
        })
    }

    fn new_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let made = tempfile::Builder::new().prefix(name).tempdir_in(self.folder());
        Ok(made.with_context(|| format!("no folder can be made in {}", self.folder().display()))?.keep())
    }

    /// Runs a program of a package; returns its output, successful or not, or why it could not start or end.
    pub async fn start(&self, package: &str, mut command: Command) -> Result<Output, Fault> {
        let Some(path) = command.argv.first().and_then(|program| programs::find(program)) else {
            return Err(Fault::missing("not installed").remedy(self.distribution.install(&[package])));
        };
        command.argv[0] = path.display().to_string();
        let limit = command.time_limit.min(LIMIT);
        self.shell.run(&command.time_limit(limit)).await.map_err(|error| {
            let reinstall = self.distribution.reinstall(&[package]);
            Fault::missing(format!("does not work: {error}"))
                .remedy(format!("try it by hand; if it is damaged: {reinstall}"))
        })
    }

    /// Runs a program of a package that must exit with code 0; returns what it printed, errors last.
    pub async fn ask(&self, package: &str, command: Command) -> Tried {
        let line = command.line();
        let output = self.start(package, command).await?;
        if output.succeeded() {
            return Ok(format!("{}{}", output.text(), output.errors()));
        }
        let printed = if output.errors().trim().is_empty() { output.text() } else { output.errors() };
        let reinstall = self.distribution.reinstall(&[package]);
        Err(Fault::missing(format!("does not work: `{line}` ended with {}: {}", output.status, tail(&printed, 1)))
            .remedy(format!("see what `{line}` says; if it is damaged: {reinstall}")))
    }

    pub fn registry_image(&self) -> &str {
        self.settings.registry_image.as_deref().unwrap_or(registry::MADE)
    }

    pub async fn has_registry_image(&self) -> bool {
        let look = Command::new("podman").args(["image", "exists", self.registry_image()]).time_limit(LOOK);
        let look = async { self.start("podman", look).await.is_ok_and(|output| output.succeeded()) };
        *self.registry.get_or_init(|| look).await
    }

    /// Returns the architectures for which a disk or a container's image still has to be made.
    pub fn unmade(&self) -> Vec<Arch> {
        let disks = self.disks.iter().filter(|disk| disk.kept.is_none()).map(|disk| disk.arch);
        let kept = |program: &Program| baseline::kept(&self.settings.cache, self.device, program).is_file();
        let containers = (!Program::ALL.iter().all(kept)).then_some(self.device);
        disks.chain(containers).collect()
    }

    pub fn makes_disks(&self) -> bool {
        self.disks.iter().any(|disk| disk.kept.is_none())
    }

    /// Returns whether the next run has to make anything from packages: a disk, or a container's image.
    pub async fn makes_images(&self) -> bool {
        let registry = self.settings.registry_image.is_none() && !self.has_registry_image().await;
        !self.unmade().is_empty() || registry
    }
}
