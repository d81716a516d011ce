//! The machines of a run. Each job gets a clean one, which goes again with it; one machine is the device, which all may
//! look at and nobody may change.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assay::base::host_capacity::{Room, Share};
use assay::base::once_map::Memo;
use assay::base::platform::Arch;
use assay::base::unit::Unit;
use assay::base::work_log::{Schedule, queueing};
use assay::measurement::Reading;
use assay::measurement::deployment::{self, Deployment};
use assay::targets::ec2::Cloud;
use assay::targets::machine_info::Facts;
use assay::targets::preflight::Root;
use assay::targets::state_snapshot::Inventory;
use assay::targets::{Context, DEVICE, Definition, Found, Machine, SetupStep, Urgency, Vm};
use tokio::sync::Semaphore;

/// How long a machine may take to give its journal when it goes.
const FAREWELL: Duration = Duration::from_secs(60);

/// How long the news that a machine is gone may take.
const NEWS: Duration = Duration::from_secs(1);

/// What a machine is, seen from the device.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// Of the device's own kind.
    Device,
    /// Of the kind that `fixtures/machines/<kind>.toml` defines.
    Defined(&'a str),
    /// Like the device, of this architecture.
    Foreign(Arch),
}

/// What a machine is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// What it is called, and the machine with it.
    pub name: &'a str,
    /// On what kind of machine it is done.
    pub kind: Kind<'a>,
    /// What it takes of this host.
    pub share: Share,
    /// Whether it is the annex's own run, which comes first where there is one machine for everything.
    pub first: bool,
}

impl<'a> Job<'a> {
    /// Something that is done on a machine of the device's kind, beside others.
    pub fn named(name: &'a str) -> Job<'a> {
        Job { name, kind: Kind::Device, share: Share::Turn, first: false }
    }
}

/// A machine and what was already put on it.
pub struct Bench {
    /// The machine.
    pub machine: Machine,
    images: Mutex<HashSet<String>>,
    warm: tokio::sync::Mutex<bool>,
    /// What there was on it after the last look at it.
    seen: tokio::sync::Mutex<Option<Inventory>>,
}

impl Bench {
    /// A machine that comes of a snapshot is warm: that is how it was frozen.
    fn new(machine: Machine) -> Bench {
        let warm = machine.facts.snapshot.is_some();
        Bench { machine, images: Mutex::default(), warm: tokio::sync::Mutex::new(warm), seen: Default::default() }
    }

    /// Whether it goes with the job that is done on it: what that has put there need not be removed.
    fn goes_with_its_job(&self) -> bool {
        self.machine.facts.snapshot.is_some()
    }

    /// Removes what was deployed on it, unless it goes itself.
    pub async fn clear(&self, deployment: &Deployment) -> anyhow::Result<()> {
        match self.goes_with_its_job() {
            true => Ok(()),
            false => deployment.remove().await,
        }
    }

    /// Has the runtime's files in the page cache, as on a machine where it has run before.
    pub async fn warm_up(&self) -> anyhow::Result<()> {
        let mut warm = self.warm.lock().await;
        if !*warm {
            deployment::fill_caches(&self.machine.shell).await?;
            *warm = true;
        }
        Ok(())
    }

    /// Has nothing in the page cache, as on a machine that has just started.
    pub async fn cool_down(&self) -> anyhow::Result<()> {
        let mut warm = self.warm.lock().await;
        deployment::drop_caches(&self.machine.shell).await?;
        *warm = false;
        Ok(())
    }

    /// Pulls an image unless it is there already.
    pub async fn have(&self, reference: &str) -> anyhow::Result<()> {
        let known = || self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if !known().contains(reference) {
            deployment::pull(&self.machine.shell, reference).await?;
            known().insert(reference.to_owned());
        }
        Ok(())
    }

    /// Forgets an image that was removed.
    pub fn forget(&self, reference: &str) {
        self.images.lock().unwrap_or_else(PoisonError::into_inner).remove(reference);
    }
}

/// Where the device is.
#[derive(Clone, Debug)]
pub enum Place {
    /// It is a virtual machine of this host, of which there are as many as are asked for.
    Here,
    /// It is an instance in the cloud, which is paid for.
    Rented(Arc<Cloud>),
    /// It is a machine of somebody else's.
    Found(Box<Found>),
}

/// All machines of a run. Where the device is not this host's there is one: whatever is done elsewhere on clean machines is
/// done there, once the annex's own run on it is over. Machines of other kinds are always this host's.
pub struct Machines {
    context: Context,
    arch: Arch,
    place: Place,
    keep: bool,
    /// Without permits until the annex's own run on the one machine is over.
    annex_first: Semaphore,
    room: Room,
    schedule: Arc<Schedule>,
    kinds: Memo<Arc<Vm>>,
    device: Memo<Arc<Bench>>,
    device_turn: Semaphore,
    /// The machines that are up.
    up: Mutex<Vec<Arc<Bench>>>,
}

impl Machines {
    /// No machine yet; they stay when their job is done if they are to be kept.
    pub fn new(
        context: Context,
        arch: Arch,
        place: Place,
        room: Room,
        schedule: &Arc<Schedule>,
        keep: bool,
    ) -> Machines {
        Machines {
            context,
            arch,
            annex_first: Semaphore::new(if matches!(place, Place::Here) { 1 } else { 0 }),
            place,
            keep,
            room,
            kinds: Memo::of("kind of machine", schedule),
            device: Memo::of("machine", schedule),
            schedule: schedule.clone(),
            device_turn: Semaphore::new(1),
            up: Mutex::default(),
        }
    }

    /// The machines of a kind.
    async fn vm(&self, kind: Kind<'_>) -> anyhow::Result<Arc<Vm>> {
        // Elsewhere, what is not the device is this host's.
        let home = if self.come_of_here() { self.arch } else { Arch::host().unwrap_or(self.arch) };
        let (kind, arch) = match kind {
            Kind::Device => (DEVICE, self.arch),
            Kind::Defined(kind) => (kind, home),
            Kind::Foreign(arch) => (DEVICE, arch),
        };
        let make = async {
            let definition = Definition::named(&self.context.settings.root, kind)?;
            Ok(Arc::new(Box::pin(Vm::of(&definition, arch, &self.context)).await?))
        };
        self.kinds.get(&format!("{kind} {arch}"), make).await
    }

    fn taken_in(&self, machine: Machine) -> Arc<Bench> {
        let bench = Arc::new(Bench::new(machine));
        self.everything_up().push(bench.clone());
        bench
    }

    fn everything_up(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Bench>>> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the device is one of this host's virtual machines.
    pub fn come_of_here(&self) -> bool {
        matches!(self.place, Place::Here)
    }

    /// Whether systemd makes units of Quadlets on the device.
    pub fn has_units(&self) -> bool {
        match &self.place {
            Place::Found(found) => found.survey.has_units(),
            Place::Here | Place::Rented(_) => true,
        }
    }

    /// Whether commands on the device may become root's, as emptying its page cache takes.
    pub fn let_root_in(&self) -> bool {
        match &self.place {
            Place::Found(found) => found.survey.root != Root::Never,
            Place::Here | Place::Rented(_) => true,
        }
    }

    /// From here on the one machine is lent for everything, where there is one.
    pub fn lend(&self) {
        self.annex_first.add_permits(1);
    }

    /// Whether times and CPU shares mean something on the device.
    pub async fn native(&self) -> anyhow::Result<bool> {
        match &self.place {
            Place::Here => Ok(self.vm(Kind::Device).await?.facts().await?.native),
            Place::Rented(_) => Ok(self.facts().await?.native),
            Place::Found(found) => Ok(found.survey.facts.native),
        }
    }

    /// The device's facts; it is provisioned if it is not there yet.
    pub async fn facts(&self) -> anyhow::Result<Facts> {
        Ok(self.device_bench().await?.machine.facts.clone())
    }

    /// The device's facts, if it has been provisioned.
    pub fn known_facts(&self) -> Option<Facts> {
        self.of_the_device(|machine| machine.facts.clone())
    }

    /// What was done to the device to make it the annex's; nothing where its image has it all.
    pub fn set_up(&self) -> Vec<SetupStep> {
        self.of_the_device(|machine| machine.setup.clone()).unwrap_or_default()
    }

    fn of_the_device<T>(&self, look: impl FnOnce(&Machine) -> T) -> Option<T> {
        self.everything_up().iter().find(|bench| bench.machine.name == DEVICE).map(|bench| look(&bench.machine))
    }

    /// How to enter each machine that is up, those that stood still until now included.
    pub async fn ways_in(&self) -> Vec<String> {
        let mut ways = Vec::new();
        let up = self.everything_up().clone();
        for bench in up.iter().filter(|bench| bench.machine.alive().is_ok()) {
            let stands = bench.machine.resume().await.err().map(|error| format!(" (it stands still: {error:#})"));
            let (name, line) = (&bench.machine.name, bench.machine.command_line());
            ways.push(format!("{name}: {line}{}", stands.unwrap_or_default()));
        }
        ways
    }

    async fn device_bench(&self) -> anyhow::Result<Arc<Bench>> {
        let make = async {
            let machine = match &self.place {
                Place::Rented(cloud) => Box::pin(cloud.provision(DEVICE)).await?,
                Place::Found(found) => Box::pin(found.lend(DEVICE, &self.context)).await?,
                Place::Here => {
                    let vm = self.vm(Kind::Device).await?;
                    let _room = queueing(self.room.of(Share::Idle, vm.takes(), false)).await?;
                    Box::pin(vm.machine(DEVICE, Urgency::First)).await?
                }
            };
            Ok(self.taken_in(machine))
        };
        self.device.get(DEVICE, make).await
    }

    /// Forgets machines that are gone, or never came: who asks next gets new ones.
    pub fn renew(&self) {
        self.kinds.forget_failures();
        self.device.forget_failures();
        if self.of_the_device(|machine| machine.alive().is_err()) == Some(true) {
            self.device.forget();
        }
        self.everything_up().retain(|bench| bench.machine.alive().is_ok());
    }

    /// Looks at the device, which all have in common. Whoever changes it has spoilt it for all others: that is an error.
    pub async fn look<T>(&self, look: impl AsyncFnOnce(&Bench) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let bench = self.device_bench().await?;
        let _turn = self.device_turn.acquire().await?;
        if !self.come_of_here() {
            // Everything is done there, and its system looks after itself.
            return while_up(&bench, look).await;
        }
        // Between two looks nobody does anything there: what there was after one is what there is before the next.
        let mut inventory = bench.seen.lock().await;
        let before = match inventory.take() {
            Some(before) => before,
            None => Inventory::take(&bench.machine.shell).await?,
        };
        let seen = while_up(&bench, look).await;
        let after = inventory.insert(Inventory::take(&bench.machine.shell).await?);
        if let Some(changes) = before.changes(after) {
            self.device.forget();
            anyhow::bail!(
                "the scenario changed the machine that it shares with others ({changes}): without the tag @shared it \
                 has one of its own"
            );
        }
        seen
    }

    /// Does a job on a clean machine, which goes again with the job; one that goes before that ends the job. Where
    /// there is one machine, it is done there.
    pub async fn work<T>(
        &self,
        job: Job<'_>,
        work: impl AsyncFnOnce(&Bench) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let clean = async |vm: &Vm, name: &str, urgency| Ok(Box::pin(vm.machine(name, urgency)).await?);
        self.work_on(job, clean, work).await
    }

    /// The same, on a machine that `provide` has of its kind.
    pub async fn work_on<T>(
        &self,
        job: Job<'_>,
        provide: impl AsyncFnOnce(&Vm, &str, Urgency) -> anyhow::Result<Machine>,
        work: impl AsyncFnOnce(&Bench) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if !self.come_of_here() && matches!(job.kind, Kind::Device) {
            if !job.first {
                drop(queueing(self.annex_first.acquire()).await?);
            }
            let bench = self.device_bench().await?;
            let _turn = queueing(self.device_turn.acquire()).await?;
            return while_up(&bench, work).await;
        }
        if self.come_of_here() && !matches!(job.kind, Kind::Device) {
            // Where nothing is frozen yet, the device's boot is not to wait for that of another kind.
            drop(self.vm(Kind::Device).await?.facts().await);
        }
        let vm = self.vm(job.kind).await?;
        let native = vm.facts().await?.native;
        let _room = queueing(self.room.of(job.share, vm.takes(), native)).await?;
        let name = machine_name(job.name);
        let urgency = if job.first { Urgency::First } else { Urgency::Usual };
        let machine = self.schedule.work(&format!("machine {name}"), Box::pin(provide(&vm, &name, urgency))).await?;
        let bench = self.taken_in(machine);
        let done = while_up(&bench, work).await;
        if self.keep && bench.machine.alive().is_ok() && self.room.has_more_than(vm.takes()) {
            bench.machine.pause().await?;
        } else {
            self.part_from(&bench).await;
        }
        done
    }

    /// For how long the device's CPUs were busy since it started, in seconds.
    pub async fn busy(&self) -> anyhow::Result<Reading> {
        let bench = self.device_bench().await?;
        let _turn = self.device_turn.acquire().await?;
        let (seconds, raw) = bench.machine.busy().await?;
        Ok(Reading::new("cost.cpu", seconds, Unit::Seconds, &raw))
    }

    /// Saves the journals and shuts everything down.
    pub async fn close(&self) {
        let all = self.everything_up().clone();
        for bench in all {
            self.part_from(&bench).await;
        }
    }

    /// Saves a machine's journal, if it still gives it, and shuts it down.
    async fn part_from(&self, bench: &Arc<Bench>) {
        let machine = &bench.machine;
        if machine.alive().is_ok() {
            // One that stands still gives nothing.
            let _ = machine.resume().await;
            let why = match tokio::time::timeout(FAREWELL, machine.save_journal()).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_) => Some(format!("it did not give it within {FAREWELL:?}")),
            };
            if let Some(why) = why {
                self.context.progress.say(format!("{}: its journal is lost: {why}", machine.name));
            }
        }
        machine.shut_down().await;
        if machine.name != DEVICE {
            self.everything_up().retain(|other| !Arc::ptr_eq(other, bench));
        }
    }
}

/// Works on a machine until that is done, or the machine is gone: nobody waits for an answer that cannot come.
async fn while_up<T>(bench: &Bench, work: impl AsyncFnOnce(&Bench) -> anyhow::Result<T>) -> anyhow::Result<T> {
    tokio::select! {
        done = Box::pin(work(bench)) => match done {
            Ok(done) => Ok(done),
            // A connection is lost a moment before its machine is seen to be gone.
            Err(error) => match tokio::time::timeout(NEWS, bench.machine.gone()).await {
                Ok(gone) => Err(error.context(gone)),
                Err(_) => Err(error),
            }
        },
        gone = bench.machine.gone() => Err(gone.into()),
    }
}

/// A job's name as a machine's, which is part of paths.
fn machine_name(job: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    job.chars().map(plain).take(40).collect()
}
