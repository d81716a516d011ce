//! The machines of a run: the device, which only sees what the annex's own Quadlet deploys, and spare ones of the same
//! kind for repetitions and controls, each lent to one trial at a time.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assay::deployment;
use assay::facts::{Arch, Facts};
use assay::memo::Memo;
use assay::target::ec2::Cloud;
use assay::target::{Context, Definition, Machine, SetupStep, Vm};
use tokio::sync::{Semaphore, SemaphorePermit};

/// What a spare machine costs the host, the emulator's own needs included.
const COST_MIB: u64 = 1024;

/// How long a mere glance waits before it looks again whether there is room for it.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long a machine may take to give its journal when it goes.
const FAREWELL: Duration = Duration::from_secs(60);

/// The kind of the device and of the spare machines, and the device's name.
const DEVICE: &str = "nano";

/// What a machine that is looked at once is, seen from the device.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// Of the kind that `fixtures/machines/<kind>.toml` defines.
    Defined(&'a str),
    /// Like the device, of this architecture.
    Foreign(Arch),
}

/// Counts itself for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A machine and what was already put on it.
pub struct Bench {
    /// The machine.
    pub machine: Machine,
    images: Mutex<HashSet<String>>,
    warm: tokio::sync::Mutex<bool>,
}

impl Bench {
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

/// A machine that is in one trial's hands.
pub struct Loan<'a> {
    bench: Option<Arc<Bench>>,
    home: Option<&'a Mutex<Vec<Arc<Bench>>>>,
    _permit: SemaphorePermit<'a>,
}

impl std::ops::Deref for Loan<'_> {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        match &self.bench {
            Some(bench) => bench,
            None => unreachable!("a loan holds its machine until it is given back"),
        }
    }
}

impl Loan<'_> {
    /// Gives a spare machine back for the next trial; one that is merely dropped, after an error, is not used again.
    pub fn give_back(mut self) {
        if let (Some(bench), Some(home)) = (self.bench.take(), self.home) {
            home.lock().unwrap_or_else(PoisonError::into_inner).push(bench);
        }
    }
}

/// All machines of a run. In the cloud there is one, the device, which is paid for: what spare machines do elsewhere it
/// does too, once the annex's own run on it is over. Machines of other kinds are always this host's.
pub struct Machines {
    context: Context,
    arch: Arch,
    cloud: Option<Arc<Cloud>>,
    /// Without permits until the annex's own run on the one machine is over.
    annex_first: Semaphore,
    device: Memo<Arc<Bench>>,
    device_turn: Semaphore,
    /// How many machines are starting or wait for their turn to.
    starting: AtomicUsize,
    /// Two machines that start side by side on few cores take longer than one after the other.
    boot_turn: Semaphore,
    spare_turns: Semaphore,
    free: Mutex<Vec<Arc<Bench>>>,
    made: Mutex<Vec<Arc<Bench>>>,
    count: Mutex<usize>,
}

impl Machines {
    /// No machine yet.
    pub fn new(context: Context, arch: Arch, cloud: Option<Arc<Cloud>>) -> Machines {
        let spares = usize::try_from(free_memory_mib() / COST_MIB).unwrap_or(1).saturating_sub(1).clamp(1, 2);
        Machines {
            context,
            arch,
            annex_first: Semaphore::new(if cloud.is_some() { 0 } else { 1 }),
            cloud,
            device: Memo::default(),
            device_turn: Semaphore::new(1),
            starting: AtomicUsize::new(0),
            boot_turn: Semaphore::new(1),
            spare_turns: Semaphore::new(spares),
            free: Mutex::default(),
            made: Mutex::default(),
            count: Mutex::new(0),
        }
    }

    /// A machine of the kind that `fixtures/machines/<kind>.toml` defines.
    async fn provision(&self, kind: &str, arch: Arch, name: &str) -> anyhow::Result<Arc<Bench>> {
        let mut definition = Definition::named(&self.context.settings.root, kind)?;
        definition.name = name.to_owned();
        let _starting = Counted::new(&self.starting);
        let _turn = self.boot_turn.acquire().await?;
        let machine = Box::pin(Vm::provision(&definition, arch, &self.context)).await?;
        Ok(self.taken_in(machine))
    }

    fn taken_in(&self, machine: Machine) -> Arc<Bench> {
        let bench = Arc::new(Bench { machine, images: Mutex::default(), warm: tokio::sync::Mutex::new(false) });
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(bench.clone());
        bench
    }

    /// From here on the one machine of the cloud is lent for everything.
    pub fn lend(&self) {
        self.annex_first.add_permits(1);
    }

    /// The architecture of machines that are this host's.
    fn home(&self) -> Arch {
        match self.cloud {
            Some(_) => Arch::host().unwrap_or(self.arch),
            None => self.arch,
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
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().find(|bench| bench.machine.name == DEVICE).map(|bench| look(&bench.machine))
    }

    /// How to enter each machine that is up.
    pub fn ways_in(&self) -> Vec<String> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let up = made.iter().filter(|bench| bench.machine.alive().is_ok());
        up.map(|bench| format!("{}: {}", bench.machine.name, bench.machine.command_line())).collect()
    }

    async fn device_bench(&self) -> anyhow::Result<Arc<Bench>> {
        let make = async {
            match &self.cloud {
                Some(cloud) => Ok(self.taken_in(Box::pin(cloud.provision(DEVICE)).await?)),
                None => self.provision(DEVICE, self.arch, DEVICE).await,
            }
        };
        self.device.get(DEVICE, make).await
    }

    /// Forgets machines that are gone, or never came: who asks next gets new ones.
    pub fn renew(&self) {
        self.device.forget_failures();
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.iter().any(|bench| bench.machine.name == DEVICE && bench.machine.alive().is_err()) {
            self.device.forget();
        }
        let alive = |bench: &Arc<Bench>| bench.machine.alive().is_ok();
        self.free.lock().unwrap_or_else(PoisonError::into_inner).retain(alive);
    }

    /// The device, for one trial at a time.
    pub async fn device(&self) -> anyhow::Result<Loan<'_>> {
        let bench = self.device_bench().await?;
        Ok(Loan { bench: Some(bench), home: None, _permit: self.device_turn.acquire().await? })
    }

    /// A machine of the device's kind, for one trial at a time.
    pub async fn spare(&self) -> anyhow::Result<Loan<'_>> {
        if self.cloud.is_some() {
            drop(self.annex_first.acquire().await?);
            return self.device().await;
        }
        let permit = self.spare_turns.acquire().await?;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bench = match free {
            Some(bench) => bench,
            None => {
                let name = format!("spare-{}", self.next());
                self.provision(DEVICE, self.arch, &name).await?
            }
        };
        Ok(Loan { bench: Some(bench), home: Some(&self.free), _permit: permit })
    }

    fn next(&self) -> usize {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        *count
    }

    /// A machine of another kind or architecture, which goes again after one look at it. It comes when there is room for
    /// it: nobody waits for a machine to start, and a spare one stands idle.
    pub async fn visit<T>(&self, kind: Kind<'_>, look: impl AsyncFnOnce(&Bench) -> T) -> anyhow::Result<T> {
        tokio::time::sleep(PATIENCE).await;
        while self.starting.load(Ordering::Relaxed) > 0 || self.spare_turns.available_permits() == 0 {
            tokio::time::sleep(PATIENCE).await;
        }
        let bench = match kind {
            Kind::Defined(kind) => self.provision(kind, self.home(), kind).await?,
            Kind::Foreign(arch) => self.provision(DEVICE, arch, &arch.to_string()).await?,
        };
        let seen = look(&bench).await;
        self.part_from(&bench).await;
        Ok(seen)
    }

    /// Saves the journals and shuts everything down.
    pub async fn close(&self) {
        let all = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for bench in all {
            if bench.machine.alive().is_ok() {
                self.part_from(&bench).await;
            }
        }
    }

    /// Saves a machine's journal, if it still gives it, and shuts it down.
    async fn part_from(&self, bench: &Bench) {
        let machine = &bench.machine;
        let why = match tokio::time::timeout(FAREWELL, machine.save_journal()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some(format!("it did not give it within {FAREWELL:?}")),
        };
        if let Some(why) = why {
            self.context.progress.say(format!("{}: its journal is lost: {why}", machine.name));
        }
        machine.shut_down().await;
    }
}

fn free_memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
