//! The host that is examined: where its programs are started, and what earlier runs have kept on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::CheckResult;
use crate::base::packages::Distribution;
use crate::base::platform::{Arch, TargetSpec};
use crate::base::programs;
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::base::unit::Bytes;
use crate::evidence::new_run_id;
use crate::exec::cleanup::CleanupJournal;
use crate::exec::command::{Command, Output, tail};
use crate::exec::shell::{NoopObserver, Shell};
use crate::targets::{self, Context, DEVICE, Definition, Image};
use crate::workloads::baseline::{self, Program};
use crate::workloads::{BuildDir, registry};

/// How long one program may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long Podman may take to say whether it has an image: others wait for that.
const LOOK: Duration = Duration::from_secs(5);

/// A machine's disk: of which distribution and architecture, and the kept one if there is one.
pub struct Disk {
    /// What is made of it.
    pub definition: Definition,
    /// Its architecture.
    pub arch: Arch,
    /// The kept one.
    pub kept: Option<Image>,
}

/// This host, and a folder on it that goes when it has been examined.
pub struct Host {
    /// What the surroundings say.
    pub settings: Settings,
    /// The architectures of this host's machines that the target takes, the usual one first.
    pub arches: Vec<Arch>,
    /// The architecture that conventional containers are made for: the device's, where that is known.
    pub device: Arch,
    /// What the largest part of the machines takes of this host's memory.
    pub machine: Bytes,
    /// The disks of those machines.
    pub disks: Vec<Disk>,
    /// How packages are installed here.
    pub distribution: Distribution,
    /// Commands on this host.
    pub shell: Shell,
    target: TargetSpec,
    run: String,
    registry: OnceCell<bool>,
    folder: TempDir,
}

impl Host {
    /// Gets ready to try things for a target, whose machines on this host are of this architecture.
    ///
    /// # Errors
    /// A machine's scripts cannot be read, or no folder can be made.
    pub fn new(
        target: &TargetSpec,
        arch: Arch,
        definitions: &[Definition],
        settings: &Settings,
    ) -> anyhow::Result<Host> {
        // The control of an arm64 claim is an amd64 machine.
        let arches = if arch == Arch::Arm64 { vec![Arch::Arm64, Arch::Amd64] } else { vec![arch] };
        let mut disks: Vec<(String, Disk)> = Vec::new();
        for arch in arches.iter().copied() {
            for definition in definitions {
                let key = Image::key(definition, arch)?;
                if disks.iter().all(|(known, _)| *known != key) {
                    let kept = Image::kept(definition, arch, &settings.cache)?;
                    disks.push((key, Disk { definition: definition.clone(), arch, kept }));
                }
            }
        }
        let device = definitions.iter().find(|definition| definition.name == DEVICE);
        let device = device.with_context(|| format!("no machine is called {DEVICE}: see fixtures/machines"))?;
        let run = new_run_id();
        // As short as a run's own, for sockets lie in it; elsewhere only where that is impossible.
        let short = tempfile::Builder::new().prefix("assay-").tempdir_in("/tmp");
        let folder = short.or_else(|_| tempfile::tempdir()).context("there is no folder to try anything in: TMPDIR")?;
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        Ok(Host {
            settings: settings.clone(),
            arches,
            device: target.arch(&settings.stand_in).unwrap_or(arch),
            machine: device.takes(arch),
            disks: disks.into_iter().map(|(_, disk)| disk).collect(),
            distribution: Distribution::of(&release, rustix::process::geteuid().is_root()),
            shell: Shell::local(Arc::new(NoopObserver)),
            target: target.clone(),
            run,
            registry: OnceCell::new(),
            folder,
        })
    }

    /// A folder to try things in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether the device is a machine of this host; else only controls run on machines of it.
    pub fn has_the_device(&self) -> bool {
        matches!(self.target, TargetSpec::Vm(_))
    }

    /// The command that installs all that the target needs of packages.
    pub fn setup(&self) -> String {
        match &self.target {
            TargetSpec::Vm(arch) => targets::remedy(*arch),
            other => format!("ci/setup {other}"),
        }
    }

    /// A workshop as runs have one, that goes with this host's folder.
    ///
    /// # Errors
    /// Its ledger cannot be written.
    pub fn build_dir(&self) -> anyhow::Result<BuildDir> {
        let folder = self.room("workshop")?;
        let cleanup = Arc::new(CleanupJournal::open(&folder.join("leases"), &self.run)?);
        Ok(BuildDir { shell: self.shell.clone(), cleanup, run: self.run.clone(), folder })
    }

    /// What provisioning is told in runs, with a ledger that goes with this host's folder.
    ///
    /// # Errors
    /// Its ledger cannot be written.
    pub fn context(&self) -> anyhow::Result<Context> {
        let evidence = self.room("machine")?;
        Ok(Context {
            settings: self.settings.clone(),
            cleanup: Arc::new(CleanupJournal::open(&evidence.join("leases"), &self.run)?),
            observer: Arc::new(NoopObserver),
            evidence,
            run: self.run.clone(),
            progress: Progress::to(|_| {}),
        })
    }

    fn room(&self, name: &str) -> anyhow::Result<PathBuf> {
        let made = tempfile::Builder::new().prefix(name).tempdir_in(self.folder());
        Ok(made.with_context(|| format!("no folder can be made in {}", self.folder().display()))?.keep())
    }

    /// Starts a program of a package; gives how it ended, whatever that was, or what keeps it from starting or ending.
    pub async fn start(&self, package: &str, command: Command) -> Result<Output, CheckResult> {
        let [program, ..] = &command.argv[..] else { return Err(CheckResult::fails("no program")) };
        let install = || self.distribution.install(&[package]);
        let Some(path) = programs::find(program) else {
            return Err(CheckResult::fails("not installed").remedy(install()));
        };
        let mut found = command.clone().time_limit(command.time_limit.min(LIMIT));
        found.argv[0] = path.display().to_string();
        let cannot = |error: &dyn std::fmt::Display| {
            let reinstall = self.distribution.reinstall(&[package]);
            CheckResult::fails(format!("does not work: {error}"))
                .remedy(format!("try it by hand; if it is damaged: {reinstall}"))
        };
        self.shell.run(&found).await.map_err(|error| cannot(&error))
    }

    /// Starts a program of a package that must exit with code 0; gives what it printed, errors last.
    pub async fn ask(&self, package: &str, command: Command) -> Result<String, CheckResult> {
        let line = command.line();
        let output = self.start(package, command).await?;
        if output.succeeded() {
            return Ok(format!("{}{}", output.text(), output.errors()));
        }
        let said = if output.errors().trim().is_empty() { output.text() } else { output.errors() };
        let reinstall = self.distribution.reinstall(&[package]);
        Err(CheckResult::fails(format!("does not work: `{line}` ended with {}: {}", output.status, tail(&said, 1)))
            .remedy(format!("see what `{line}` says; if it is damaged: {reinstall}")))
    }

    /// The image of a registry that runs take.
    pub fn registry_image(&self) -> &str {
        self.settings.registry_image.as_deref().unwrap_or(registry::MADE)
    }

    /// Whether an earlier run has left that image, as far as Podman says.
    pub async fn has_registry_image(&self) -> bool {
        let look = Command::new("podman").args(["image", "exists", self.registry_image()]).time_limit(LOOK);
        let look = async { self.start("podman", look).await.is_ok_and(|output| output.succeeded()) };
        *self.registry.get_or_init(|| look).await
    }

    /// The architectures of which a disk or a container's image has yet to be made.
    pub fn unmade(&self) -> Vec<Arch> {
        let disks = self.disks.iter().filter(|disk| disk.kept.is_none()).map(|disk| disk.arch);
        let kept = |program: &Program| baseline::kept(&self.settings.cache, self.device, *program).is_file();
        let containers = (!Program::ALL.iter().all(kept)).then_some(self.device);
        disks.chain(containers).collect()
    }

    /// Whether the next run has a machine's disk to make.
    pub fn makes_disks(&self) -> bool {
        self.disks.iter().any(|disk| disk.kept.is_none())
    }

    /// Whether the next run has anything to make of packages: a disk, or one of its containers' images.
    pub async fn makes_images(&self) -> bool {
        let registry = self.settings.registry_image.is_none() && !self.has_registry_image().await;
        !self.unmade().is_empty() || registry
    }
}
