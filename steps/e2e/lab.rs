//! The nouns of the features: each is made when the first scenario asks for it, once, and shared by all.

mod beside;
mod cloud;
mod machines;
mod own;
mod publishing;
mod stand_ins;
mod subjects;
mod trials;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use assay::artifact::{Image, Module, Recipe, Workshop, build};
use assay::conventional;
use assay::evidence::{Evidence, noting_commands};
use assay::facts::Arch;
use assay::memo::Memo;
use assay::probe::Reading;
use assay::progress::Progress;
use assay::registry::{self, Local};
use assay::settings::Settings;
use assay::target::{Context, mirror_address};
use assay::verdict::Source;
use assay::workload::Workload;
use jiff::Timestamp;
use tokio::sync::OnceCell;

pub use assay::subject::Subject;
pub use beside::Beside;
pub use cloud::Rented;
pub use machines::{Kind, Machines};
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
pub struct Orders {
    /// What the surroundings say.
    pub settings: Settings,
    /// The architecture of the machines.
    pub arch: Arch,
    /// Where the device is, if that is the cloud.
    pub rented: Option<Rented>,
    /// `--image`.
    pub image: Option<String>,
    /// `--runs`.
    pub runs: u32,
    /// What `--features` names.
    pub own: Option<Workload>,
}

/// Everything that scenarios share.
pub struct Lab {
    orders: Orders,
    evidence: Arc<Evidence>,
    workshop: Workshop,
    machines: Machines,
    progress: Progress,
    given: OnceCell<Image>,
    modules: Memo<Arc<Module>>,
    images: Memo<Arc<Image>>,
    registry: Memo<Arc<Local>>,
    public: Memo<Arc<Public>>,
    published: Memo<Arc<str>>,
    subjects: Memo<Subject>,
    opened: Timestamp,
    attempt: AtomicU32,
}

static CURRENT: OnceLock<Arc<Lab>> = OnceLock::new();

impl Lab {
    /// Opens the lab of this run.
    pub fn open(orders: Orders, context: Context, evidence: Arc<Evidence>, workshop: Workshop) -> Arc<Lab> {
        let progress = context.progress.clone();
        let machines = Machines::new(context, orders.arch, orders.rented.as_ref().map(|rented| rented.cloud.clone()));
        let lab = Lab {
            orders,
            evidence,
            workshop,
            machines,
            progress,
            given: OnceCell::new(),
            modules: Memo::default(),
            images: Memo::default(),
            registry: Memo::default(),
            public: Memo::default(),
            published: Memo::default(),
            subjects: Memo::default(),
            opened: Timestamp::now(),
            attempt: AtomicU32::new(1),
        };
        CURRENT.get_or_init(|| Arc::new(lab)).clone()
    }

    /// The lab of this run.
    pub fn current() -> anyhow::Result<Arc<Lab>> {
        CURRENT.get().cloned().context("the lab is not open yet")
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

    /// A name for something that is measured, which no other attempt uses.
    fn named(&self, name: &str) -> String {
        match self.attempt.load(Ordering::Relaxed) {
            1 => name.to_owned(),
            attempt => format!("attempt {attempt} of {name}"),
        }
    }

    /// The machines of this run.
    pub fn machines(&self) -> &Machines {
        &self.machines
    }

    /// Starts at once what takes longest: the device ahead of all other machines, and the runs without any limit,
    /// which are asked for late though they depend on nothing.
    pub async fn begin(&self, device: bool, annex_run: bool, unlimited: bool) {
        let device = async {
            if device {
                // Who needs it will be told what went wrong with it; so below.
                let _ = self.machines.facts().await;
            }
            if annex_run && self.orders.rented.is_some() {
                let _ = self.annex_run().await;
            }
            self.machines.lend();
        };
        let unlimited = async {
            if unlimited {
                let _ = self.unlimited_run().await;
            }
        };
        tokio::join!(device, unlimited);
    }

    /// Loads the image that `--image` names, if one is named, before anything else is started.
    pub async fn take_in_image(&self) -> anyhow::Result<()> {
        if let Some(reference) = &self.orders.image {
            let image = match conventional::named(reference) {
                Some(program) => self.conventional_image(program?).await?,
                None => Image::load(&self.workshop, reference).await?,
            };
            let _ = self.given.set(image);
        }
        Ok(())
    }

    /// A guest's module: built from a clean tree, or taken out of the image under test.
    async fn module(&self, guest: &Guest) -> anyhow::Result<Arc<Module>> {
        let make = async {
            if let (Guest::Workload, Some(image)) = (guest, self.given.get()) {
                return Ok(Arc::new(image.module(&self.workshop)?));
            }
            let name = if *guest == Guest::Workload { "hello" } else { guest.name() };
            let built = build(&self.workshop, &self.orders.settings.root, name).await?;
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
                    Image::build(&self.workshop, &name, &module, recipe).await?
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
            let (settings, shop) = (&self.orders.settings, &self.workshop);
            let mirror = mirror_address(settings);
            let image = registry::image(shop, settings.registry_image.as_deref(), &mirror, &self.progress).await?;
            let password = registry::password()?;
            self.evidence.hide(&password);
            Ok(Arc::new(Local::start(shop, &image, &password, &self.progress).await?))
        };
        self.registry.get("registry", make).await
    }

    /// A subject, made by the first who asks for it; it knows the commands that were run for it.
    async fn once(&self, key: &str, make: impl Future<Output = anyhow::Result<Subject>>) -> anyhow::Result<Subject> {
        let make = async {
            let (made, commands) = noting_commands(Box::pin(make)).await;
            made.map(|subject| Subject { commands, ..subject })
        };
        self.subjects.get(key, make).await
    }

    /// Makes evidence of readings that were taken just now on a machine, and a subject of that.
    fn subject(&self, name: &str, machine: &str, readings: Vec<Reading>) -> anyhow::Result<Subject> {
        let (name, now) = (self.named(name), Timestamp::now());
        let samples = self.evidence.record(&name, machine, readings.into_iter().map(|reading| (now, reading)))?;
        let source = Source { subject: name, machine: machine.to_owned(), since: self.opened, until: now };
        let files = vec!["samples.jsonl".to_owned(), "transcript.jsonl".to_owned()];
        Ok(Subject { samples, sources: vec![source], files, commands: Vec::new() })
    }

    /// Saves what the machines have to say and shuts them down; what else was made goes with the ledger, or is removed
    /// from the cloud by who opened it.
    pub async fn close(&self) {
        self.machines.close().await;
    }
}
