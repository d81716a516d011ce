//! Makes what scenarios share: each fixture once, when the first scenario needs it.

mod baselines;
mod cloud;
mod kept;
mod machines;
mod own;
mod pairs;
mod pasted;
mod publishing;
mod wrong_subjects;
mod subjects;
mod trials;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::e2e::options::Options;
use anyhow::Context as _;
use assay::base::host_capacity::{CpuReservation, HostCapacity};
use assay::base::lock::lock;
use assay::base::once_map::OnceMap;
use assay::base::platform::{Arch, MachineKind};
use assay::base::progress::Progress;
use assay::base::work_log::WorkLog;
use assay::claims::annex_text::AnnexText;
use assay::claims::register::Shared;
use assay::claims::workload::Workload;
use assay::evidence::{EvidenceWriter, noting_commands};
use assay::measurement::Reading;
use assay::targets::{Context, mirror_address};
use assay::workloads::registry::{self, LocalRegistry};
use assay::workloads::{BuildDir, ContainerImage, Module, Recipe, build};
use jiff::Timestamp;
use tokio::sync::OnceCell;

pub use assay::verdict::sample_set::SampleSet;
pub use baselines::{Beside, SideBySide};
pub use cloud::Rented;
pub use machines::{Job, JobKind, MachineSource, Machines};
pub use own::answer;
pub use pairs::{Compared, Pairs};
use publishing::Public;
pub use publishing::RegistryAccess;
pub use trials::{Condition, Limits, TrialSpec};

/// The workload under test, or one of our guests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Guest {
    /// The workload that `--image` names, or `guest/hello`.
    Workload,
    /// The program that the annex prints.
    Printed,
    /// A guest by its name in `guest/`.
    Named(String),
}

impl Guest {
    pub fn name(&self) -> &str {
        match self {
            Guest::Workload => "workload",
            Guest::Printed => "annex",
            Guest::Named(name) => name,
        }
    }
}

/// The configuration of a run's fixtures, for one kind of machine.
#[derive(Clone)]
pub struct RunConfig {
    pub arch: Arch,
    pub kind: MachineKind,
    pub place: MachineSource,
    /// The workload that `--suite` names.
    pub own: Option<Workload>,
    /// The annex's text, if the user names it.
    pub annex: Option<Arc<AnnexText>>,
    pub options: Options,
}

/// Provides a scenario's fixtures. What a scenario measures on machines belongs to it alone, or to all scenarios with
/// the tag `@shared`; everything else exists once in a run.
#[derive(Clone)]
pub struct Fixtures {
    shared: Arc<SharedFixtures>,
    /// The kind of machine that the scenario runs on.
    on: MachineKind,
    /// The scenario that measures for itself, such as `a6_service:77`.
    scenario: Option<Arc<str>>,
}

/// What exists once in a run.
pub struct SharedFixtures {
    config: Arc<RunConfig>,
    context: Context,
    evidence: Arc<EvidenceWriter>,
    build_dir: BuildDir,
    /// The machines of each kind; the first are the device, if the run has a single one.
    machines: Vec<Machines>,
    work_log: Arc<WorkLog>,
    given: OnceCell<ContainerImage>,
    modules: OnceMap<Arc<Module>>,
    images: OnceMap<Arc<ContainerImage>>,
    registry: OnceMap<Arc<LocalRegistry>>,
    public: OnceMap<Arc<Public>>,
    published: OnceMap<Arc<str>>,
    pushing: tokio::sync::Mutex<()>,
    subjects: OnceMap<SampleSet>,
    /// Which scenario was the first to use a name for a measurement.
    names: Mutex<HashMap<String, Option<Arc<str>>>>,
    opened: Timestamp,
    attempt: AtomicU32,
}

tokio::task_local! {
    /// The fixtures of the run that the current scenario belongs to: cucumber makes its world from nothing.
    pub static FIXTURES: Fixtures;
}

impl Fixtures {
    /// Makes the fixtures of a run with these kinds of machines, of which the first is the annex's device.
    pub fn open(
        configs: Vec<RunConfig>,
        context: Context,
        evidence: Arc<EvidenceWriter>,
        build_dir: BuildDir,
    ) -> anyhow::Result<Fixtures> {
        let configs: Vec<Arc<RunConfig>> = configs.into_iter().map(Arc::new).collect();
        let config = configs.first().context("a run has a kind of machine")?.clone();
        let capacity = Arc::new(HostCapacity::measured(config.options.concurrency));
        tracing::info!("this host has capacity for {}", capacity.summary());
        let work_log = Arc::new(WorkLog::default());
        let machines = configs.into_iter().map(|own| {
            let suffix = if own.kind == config.kind { String::new() } else { format!("-{}", own.kind) };
            Machines::new(context.clone(), own, suffix, &capacity, &evidence, &work_log)
        });
        let shared = SharedFixtures {
            machines: machines.collect(),
            config,
            context,
            evidence,
            build_dir,
            given: OnceCell::new(),
            modules: OnceMap::of("module", &work_log),
            images: OnceMap::of("image", &work_log),
            registry: OnceMap::of("registry", &work_log),
            public: OnceMap::of("repository", &work_log),
            published: OnceMap::of("push", &work_log),
            pushing: tokio::sync::Mutex::default(),
            subjects: OnceMap::of("measuring", &work_log),
            work_log,
            names: Mutex::default(),
            opened: Timestamp::now(),
            attempt: AtomicU32::new(1),
        };
        Ok(Fixtures { on: shared.config.kind, shared: Arc::new(shared), scenario: None })
    }

    /// Returns the same fixtures for a scenario that measures for itself.
    pub fn for_scenario(&self, scenario: &str) -> Fixtures {
        Fixtures { scenario: Some(scenario.into()), ..self.clone() }
    }

    /// Returns the same fixtures on another kind of machine; what is about no machine stays with the device.
    pub fn on(&self, kind: MachineKind) -> Fixtures {
        let kinds = || self.shared.machines.iter().map(Machines::kind);
        let on = kinds().find(|own| *own == kind).unwrap_or(self.shared.config.kind);
        Fixtures { on, ..self.clone() }
    }

    /// Returns the same fixtures on each kind of machine, the device's first.
    pub fn of_each_kind(&self) -> Vec<Fixtures> {
        self.shared.machines.iter().map(|machines| self.on(machines.kind())).collect()
    }

    pub fn kind(&self) -> MachineKind {
        self.on
    }

    /// Ends this kind's machines if they are virtual ones, so that the host is at rest for others. With `--keep` they are
    /// only paused.
    pub async fn rest(&self) {
        let machines = self.machines();
        match self.on {
            MachineKind::Vm if self.options().keep => machines.pause().await,
            MachineKind::Vm => machines.close().await,
            _ => {}
        }
    }

    /// Returns what distinguishes the names of measurements on other machines than the device.
    fn suffix(&self) -> String {
        if self.on == self.shared.config.kind { String::new() } else { format!(" on {}", self.on) }
    }
    pub fn work_log(&self) -> Arc<WorkLog> {
        self.shared.work_log.clone()
    }

    pub fn try_again(&self) {
        self.shared.attempt.fetch_add(1, Ordering::Relaxed);
        self.shared.subjects.forget();
        self.shared.modules.forget_failures();
        self.shared.images.forget_failures();
        self.shared.registry.forget_failures();
        self.shared.public.forget_failures();
        self.shared.published.forget_failures();
        self.shared.machines.iter().for_each(Machines::renew);
    }

    /// Returns a name for a measurement that differs between attempts, and between scenarios that measure the same for
    /// themselves.
    fn named(&self, name: &str) -> String {
        let mut names = lock(&self.shared.names);
        let name = &format!("{name}{}", self.suffix());
        let owner = names.entry(name.to_owned()).or_insert_with(|| self.scenario.clone());
        let name = match &self.scenario {
            Some(scenario) if *owner != self.scenario => format!("{name} for {scenario}"),
            _ => name.to_owned(),
        };
        match self.shared.attempt.load(Ordering::Relaxed) {
            1 => name,
            attempt => format!("attempt {attempt} of {name}"),
        }
    }

    pub fn progress(&self) -> &Progress {
        &self.shared.context.progress
    }

    pub fn options(&self) -> &Options {
        &self.shared.config.options
    }

    pub fn machines(&self) -> &Machines {
        let all = &self.shared.machines;
        // `on` is one of them, and there is always a first.
        all.iter().find(|machines| machines.kind() == self.on).unwrap_or(&all[0])
    }

    /// Creates the VM snapshot up front if any scenario needs it, so that machines are then started in request order. The
    /// first boot leaves a CPU idle, which makes the largest image meanwhile. Errors are reported to the first scenario that
    /// uses it.
    pub async fn get_ready(&self, uses: &[Shared]) {
        if uses.contains(&Shared::Device) && self.machines().is_local() {
            let image = begin(uses.contains(&Shared::BaselineRuns), self.beside(Beside::Python));
            let _ = tokio::join!(self.machines().native(), Box::pin(image));
        }
    }

    /// Starts the slowest shared work at once, ahead of everything that is not shared: the device and the annex's own
    /// run, then the series of several runs. Errors are reported to the scenarios that need it.
    pub async fn begin(&self, uses: &[Shared]) {
        let early = |shared: Shared| uses.contains(&shared);
        let device = async {
            begin(early(Shared::Device), self.machines().facts()).await;
            begin(early(Shared::AnnexRun), self.annex_run()).await;
            self.machines().open_to_all();
        };
        let unlimited = begin(early(Shared::UnlimitedRuns), self.unlimited_run());
        let baseline =
            begin(early(Shared::BaselineRuns), self.side_by_side(SideBySide::ColdAndWarm, Beside::Python, 0));
        let repeated = begin(early(Shared::RepeatedRuns), self.repeated_run());
        tokio::join!(Box::pin(device), Box::pin(unlimited), Box::pin(baseline), Box::pin(repeated));
    }

    /// Loads the image that `--image` names, if any, before anything else is started.
    pub async fn load_image(&self) -> anyhow::Result<()> {
        if let Some(reference) = &self.options().image {
            let _ = self.shared.given.set(self.taken_from(reference, "given").await?);
        }
        Ok(())
    }

    /// Returns a guest's module: built from a clean tree, or taken from the image under test.
    async fn module(&self, guest: &Guest) -> anyhow::Result<Arc<Module>> {
        let make = async {
            if let (Guest::Workload, Some(image)) = (guest, self.shared.given.get()) {
                return Ok(Arc::new(image.module(&self.shared.build_dir)?));
            }
            let built = match guest {
                Guest::Printed => self.build_printed().await?,
                _ => {
                    let name = if *guest == Guest::Workload { "hello" } else { guest.name() };
                    build(&self.shared.build_dir, &self.shared.context.settings.root, name).await?
                }
            };
            self.shared.evidence.note(serde_json::json!({ "rustc": built.rustc }))?;
            Ok(Arc::new(built.module()?))
        };
        self.shared.modules.get(guest.name(), make).await
    }

    async fn image(&self, guest: &Guest, variant: &str, recipe: &Recipe) -> anyhow::Result<Arc<ContainerImage>> {
        let make = async {
            let image = match (guest, self.shared.given.get()) {
                (Guest::Workload, Some(image)) => image.clone(),
                _ => {
                    let module = self.module(guest).await?;
                    let name = format!("{}{variant}", guest.name());
                    ContainerImage::build(&self.shared.build_dir, &name, &module, recipe).await?
                }
            };
            if (guest, variant) == (&Guest::Workload, "") {
                // The image that the whole run is about: the evidence names it once, in addition to every sample.
                let named = self.options().image.as_deref().unwrap_or("guest/hello");
                self.shared
                    .evidence
                    .note(serde_json::json!({ "image": { "name": named, "digest": image.layout.digest } }))?;
            }
            Ok(Arc::new(image))
        };
        self.shared.images.get(&format!("{}{variant}", guest.name()), make).await
    }

    async fn registry(&self) -> anyhow::Result<Arc<LocalRegistry>> {
        let make = async {
            let (settings, build_dir) = (&self.shared.context.settings, &self.shared.build_dir);
            let mirror = mirror_address(settings);
            let image =
                registry::image(build_dir, settings.registry_image.as_deref(), &mirror, self.progress()).await?;
            let password = registry::password()?;
            self.shared.evidence.hide(&password);
            Ok(Arc::new(LocalRegistry::start(build_dir, &image, &password).await?))
        };
        self.shared.registry.get("registry", make).await
    }

    /// Returns what is measured on a machine: once for all scenarios that share it, and once for each other scenario.
    async fn measured(
        &self,
        key: &str,
        make: impl Future<Output = anyhow::Result<SampleSet>>,
    ) -> anyhow::Result<SampleSet> {
        let key = self.scenario.as_ref().map_or(key.to_owned(), |scenario| format!("{key} for {scenario}"));
        self.once(&key, Box::pin(make)).await
    }

    /// Makes a sample set on the first request; it records the commands that were run for it.
    async fn once(
        &self,
        key: &str,
        make: impl Future<Output = anyhow::Result<SampleSet>>,
    ) -> anyhow::Result<SampleSet> {
        // Boxed for the same reason as in the once map.
        let make = Box::pin(make);
        let make = async {
            let (made, commands) = noting_commands(make).await;
            made.map(|subject| SampleSet { commands, ..subject })
        };
        self.shared.subjects.get(&format!("{key}{}", self.suffix()), make).await
    }

    /// Records readings that were taken just now on a machine as evidence, and returns their sample set.
    pub fn subject(&self, name: &str, machine: &str, readings: Vec<Reading>) -> anyhow::Result<SampleSet> {
        self.shared.evidence.subject(&self.named(name), machine, self.shared.opened, readings)
    }

    /// Saves the machines' journals and shuts the machines down; everything else is removed with the cleanup journal,
    /// or from the cloud by the code that opened it.
    pub async fn close(&self) {
        for machines in &self.shared.machines {
            machines.close().await;
        }
    }
}

/// Begins what is wanted early; an error is reported again to each scenario that needs it.
async fn begin<T>(wanted: bool, work: impl Future<Output = anyhow::Result<T>>) {
    if wanted {
        let _ = work.await;
    }
}
