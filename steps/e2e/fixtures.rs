//! The nouns of the features: each is made when the first scenario asks for it, once, and shared by all.

mod baselines;
mod cloud;
mod kept;
mod machines;
mod own;
mod publishing;
mod wrong_subjects;
mod subjects;
mod trials;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use assay::base::host_capacity::{CpuReservation, HostCapacity};
use assay::base::once_map::OnceMap;
use assay::base::platform::Arch;
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::base::work_log::{Summary, WorkLog};
use assay::claims::workload::Workload;
use assay::evidence::{EvidenceWriter, noting_commands};
use assay::measurement::Reading;
use assay::targets::{Context, RemoteHost, mirror_address};
use assay::verdict::Source;
use assay::workloads::registry::{self, Local};
use assay::workloads::{BuildDir, Image, Module, Recipe, baseline, build};
use jiff::Timestamp;
use tokio::sync::OnceCell;

pub use assay::verdict::sample_set::SampleSet;
pub use baselines::Beside;
pub use cloud::Rented;
pub use machines::{Job, Kind, Machines, Place};
pub use publishing::Door;
use publishing::Public;
pub use trials::{Condition, Limits, TrialSpec};

/// The workload under test, or one of our guests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Guest {
    /// What `--image` names, or `guest/hello`.
    Workload,
    /// A guest by its name in `guest/`.
    Named(String),
}

impl Guest {
    /// Its name in samples and images.
    pub fn name(&self) -> &str {
        match self {
            Guest::Workload => "workload",
            Guest::Named(name) => name,
        }
    }
}

/// What the lab is told at the start.
pub struct RunConfig {
    /// What the surroundings say.
    pub settings: Settings,
    /// The architecture of the machines.
    pub arch: Arch,
    /// Where the device is, if that is the cloud.
    pub rented: Option<Rented>,
    /// Where the device is, if that is somebody else's machine.
    pub found: Option<RemoteHost>,
    /// `--image`.
    pub image: Option<String>,
    /// `--runs`.
    pub runs: u32,
    /// `--keep`.
    pub keep: bool,
    /// How many jobs may be under way at once; as many as this host has room for if nobody says.
    pub concurrency: Option<u16>,
    /// What `--features` names.
    pub own: Option<Workload>,
}

/// What is going to be asked for by scenarios that share it.
#[derive(Clone, Copy, Debug)]
pub struct Prewarm {
    /// The device.
    pub device: bool,
    /// The workload's run as the annex deploys it.
    pub annex_run: bool,
    /// Its repetitions.
    pub repeated: bool,
    /// Its runs without any limit.
    pub unlimited: bool,
    /// Its runs beside a conventional container's.
    pub beside: bool,
}

/// Where the nouns of a scenario come from: what it measures on machines is its own, or that of all scenarios with the
/// tag `@shared`; everything else is there once in a run.
#[derive(Clone)]
pub struct Fixtures {
    hall: Arc<SharedFixtures>,
    /// The scenario that measures for itself: `a6_service:77`.
    scenario: Option<Arc<str>>,
}

impl Deref for Fixtures {
    type Target = SharedFixtures;

    fn deref(&self) -> &SharedFixtures {
        &self.hall
    }
}

/// What there is once in a run.
pub struct SharedFixtures {
    orders: RunConfig,
    evidence: Arc<EvidenceWriter>,
    build_dir: BuildDir,
    machines: Machines,
    progress: Progress,
    schedule: Arc<WorkLog>,
    given: OnceCell<Image>,
    modules: OnceMap<Arc<Module>>,
    images: OnceMap<Arc<Image>>,
    registry: OnceMap<Arc<Local>>,
    public: OnceMap<Arc<Public>>,
    published: OnceMap<Arc<str>>,
    subjects: OnceMap<SampleSet>,
    /// Which scenario has a name for something that it measured.
    names: Mutex<HashMap<String, Option<Arc<str>>>>,
    opened: Timestamp,
    attempt: AtomicU32,
}

static CURRENT: OnceLock<Fixtures> = OnceLock::new();

impl Fixtures {
    /// Opens the lab of this run.
    pub fn open(orders: RunConfig, context: Context, evidence: Arc<EvidenceWriter>, build_dir: BuildDir) -> Fixtures {
        let progress = context.progress.clone();
        let room = HostCapacity::measured(orders.concurrency);
        progress.say(format!("this host has room for {}", room.told()));
        let place = match (&orders.rented, &orders.found) {
            (Some(rented), _) => Place::Rented(rented.cloud.clone()),
            (None, Some(found)) => Place::RemoteHost(Box::new(found.clone())),
            (None, None) => Place::Here,
        };
        let schedule = Arc::new(WorkLog::default());
        let machines = Machines::new(context, orders.arch, place, room, &schedule, orders.keep);
        let hall = SharedFixtures {
            orders,
            evidence,
            build_dir,
            machines,
            progress,
            given: OnceCell::new(),
            modules: OnceMap::of("module", &schedule),
            images: OnceMap::of("image", &schedule),
            registry: OnceMap::of("registry", &schedule),
            public: OnceMap::of("repository", &schedule),
            published: OnceMap::of("push", &schedule),
            subjects: OnceMap::of("measuring", &schedule),
            schedule,
            names: Mutex::default(),
            opened: Timestamp::now(),
            attempt: AtomicU32::new(1),
        };
        CURRENT.get_or_init(|| Fixtures { hall: Arc::new(hall), scenario: None }).clone()
    }

    /// The lab of this run, for all scenarios that share what they measure.
    pub fn current() -> anyhow::Result<Fixtures> {
        CURRENT.get().cloned().context("the lab is not open yet")
    }

    /// The same lab for a scenario that measures for itself.
    pub fn of_its_own(&self, scenario: &str) -> Fixtures {
        Fixtures { hall: self.hall.clone(), scenario: Some(scenario.into()) }
    }

    /// Whether what is measured here is that of all scenarios that share it.
    fn is_shared(&self) -> bool {
        self.scenario.is_none()
    }

    /// From here on, everything is measured anew, and what could not be made is tried again.
    pub fn try_again(&self) {
        self.attempt.fetch_add(1, Ordering::Relaxed);
        self.subjects.forget();
        self.modules.forget_failures();
        self.images.forget_failures();
        self.registry.forget_failures();
        self.public.forget_failures();
        self.published.forget_failures();
        self.machines.renew();
    }

    /// A name for something that is measured, which no other attempt uses, and no other scenario that measures the same
    /// for itself.
    fn named(&self, name: &str) -> String {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = names.entry(name.to_owned()).or_insert_with(|| self.scenario.clone());
        let name = match &self.scenario {
            Some(scenario) if *owner != self.scenario => format!("{name} for {scenario}"),
            _ => name.to_owned(),
        };
        match self.attempt.load(Ordering::Relaxed) {
            1 => name,
            attempt => format!("attempt {attempt} of {name}"),
        }
    }

    /// What the time went into until now.
    pub fn time(&self) -> Summary {
        self.schedule.summary()
    }

    /// The machines of this run.
    pub fn machines(&self) -> &Machines {
        &self.machines
    }

    /// Has what machines of this host come of, if some are going to be asked for, so that places on the host are given in the
    /// order in which they are asked for. Who asks will be told what went wrong with it.
    pub async fn get_ready(&self, ahead: Prewarm) {
        if ahead.device && self.machines.come_of_here() {
            let _ = self.machines.native().await;
        }
    }

    /// Starts at once what takes longest of what is shared, ahead of all that is not: the device and the annex's own run,
    /// and then the runs of several in a row.
    pub async fn begin(&self, ahead: Prewarm) {
        let device = async {
            if ahead.device {
                // Who needs it will be told what went wrong with it; so below.
                let _ = self.machines.facts().await;
            }
            if ahead.annex_run {
                let _ = self.annex_run().await;
            }
            self.machines.lend();
        };
        let unlimited = async {
            if ahead.unlimited {
                let _ = self.unlimited_run().await;
            }
        };
        let beside = async {
            if ahead.beside {
                let _ = self.side_by_side(Beside::Conventional).await;
            }
        };
        let repeated = async {
            if ahead.repeated {
                let _ = self.repeated_run().await;
            }
        };
        tokio::join!(Box::pin(device), Box::pin(unlimited), Box::pin(beside), Box::pin(repeated));
    }

    /// Loads the image that `--image` names, if one is named, before anything else is started.
    pub async fn take_in_image(&self) -> anyhow::Result<()> {
        if let Some(reference) = &self.orders.image {
            let image = match baseline::named(reference) {
                Some(program) => self.conventional_image(program?).await?,
                None => Image::load(&self.build_dir, reference).await?,
            };
            let _ = self.given.set(image);
        }
        Ok(())
    }

    /// A guest's module: built from a clean tree, or taken out of the image under test.
    async fn module(&self, guest: &Guest) -> anyhow::Result<Arc<Module>> {
        let make = async {
            if let (Guest::Workload, Some(image)) = (guest, self.given.get()) {
                return Ok(Arc::new(image.module(&self.build_dir)?));
            }
            let name = if *guest == Guest::Workload { "hello" } else { guest.name() };
            let built = build(&self.build_dir, &self.orders.settings.root, name).await?;
            self.evidence.note(serde_json::json!({ "rustc": built.rustc }))?;
            Ok(Arc::new(built.module()?))
        };
        self.modules.get(guest.name(), make).await
    }

    /// A guest's image, by a recipe that has a name.
    async fn image(&self, guest: &Guest, variant: &str, recipe: &Recipe) -> anyhow::Result<Arc<Image>> {
        let make = async {
            let image = match (guest, self.given.get()) {
                (Guest::Workload, Some(image)) => image.clone(),
                _ => {
                    let module = self.module(guest).await?;
                    let name = format!("{}{variant}", guest.name());
                    Image::build(&self.build_dir, &name, &module, recipe).await?
                }
            };
            if (guest, variant) == (&Guest::Workload, "") {
                // What the whole run is about: its evidence names it once, beside what each sample says.
                let named = self.orders.image.as_deref().unwrap_or("guest/hello");
                self.evidence.note(serde_json::json!({ "image": { "name": named, "digest": image.layout.digest } }))?;
            }
            Ok(Arc::new(image))
        };
        self.images.get(&format!("{}{variant}", guest.name()), make).await
    }

    async fn registry(&self) -> anyhow::Result<Arc<Local>> {
        let make = async {
            let (settings, shop) = (&self.orders.settings, &self.build_dir);
            let mirror = mirror_address(settings);
            let image = registry::image(shop, settings.registry_image.as_deref(), &mirror, &self.progress).await?;
            let password = registry::password()?;
            self.evidence.hide(&password);
            Ok(Arc::new(Local::start(shop, &image, &password, &self.progress).await?))
        };
        self.registry.get("registry", make).await
    }

    /// What is measured on a machine: once for all that share it, once for each scenario that does not.
    async fn measured(
        &self,
        key: &str,
        make: impl Future<Output = anyhow::Result<SampleSet>>,
    ) -> anyhow::Result<SampleSet> {
        let key = self.scenario.as_ref().map_or(key.to_owned(), |scenario| format!("{key} for {scenario}"));
        self.once(&key, Box::pin(make)).await
    }

    /// A subject, made by the first who asks for it; it knows the commands that were run for it.
    async fn once(
        &self,
        key: &str,
        make: impl Future<Output = anyhow::Result<SampleSet>>,
    ) -> anyhow::Result<SampleSet> {
        // As in the memo.
        let make = Box::pin(make);
        let make = async {
            let (made, commands) = noting_commands(make).await;
            made.map(|subject| SampleSet { commands, ..subject })
        };
        self.subjects.get(key, make).await
    }

    /// Makes evidence of readings that were taken just now on a machine, and a subject of that.
    fn subject(&self, name: &str, machine: &str, readings: Vec<Reading>) -> anyhow::Result<SampleSet> {
        let (name, now) = (self.named(name), Timestamp::now());
        let samples = self.evidence.record(&name, machine, readings.into_iter().map(|reading| (now, reading)))?;
        let source = Source { subject: name, machine: machine.to_owned(), since: self.opened, until: now };
        let files = vec!["samples.jsonl".to_owned(), "transcript.jsonl".to_owned()];
        Ok(SampleSet { samples, sources: vec![source], files, commands: Vec::new() })
    }

    /// Saves what the machines have to say and shuts them down; what else was made goes with the ledger, or is removed
    /// from the cloud by who opened it.
    pub async fn close(&self) {
        self.machines.close().await;
    }
}
