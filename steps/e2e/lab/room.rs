//! How much of this host there is for machines, and who has it.

use std::num::NonZero;

use assay::unit::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What a job takes of this host besides its machine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Nothing that counts: it stands idle, or is held to a tenth of a CPU.
    Memory,
    /// One of the host's turns.
    Turn,
    /// All of them: what it measures is time or CPU, and the rest of the host is to be idle.
    Alone,
}

/// How many jobs a CPU has at once: a workload sleeps more than it works.
const JOBS_PER_CPU: usize = 2;
/// What is left to everything else on this host, in MiB.
const RESERVE: u64 = 1024;

/// This host's memory and turns.
pub struct Room {
    memory: Semaphore,
    /// All of the memory there is to have, in MiB.
    whole: u32,
    turns: Semaphore,
    all_turns: u32,
}

/// What one job has of it, for as long as it holds this.
pub struct Place<'a> {
    _memory: SemaphorePermit<'a>,
    _turns: Option<SemaphorePermit<'a>>,
}

impl Room {
    /// What this host has now: the memory that is free, and as many turns as are wanted, or two for each CPU.
    pub fn measured(turns: Option<u16>) -> Room {
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        let turns = turns.map_or(cpus * JOBS_PER_CPU, usize::from);
        Room::new(free_mib().saturating_sub(RESERVE), u32::try_from(turns).unwrap_or(u32::MAX))
    }

    fn new(memory: u64, turns: u32) -> Room {
        let whole = u32::try_from(memory).unwrap_or(u32::MAX);
        let permits = |number: u32| Semaphore::new(usize::try_from(number).unwrap_or(Semaphore::MAX_PERMITS));
        Room { memory: permits(whole), whole, turns: permits(turns), all_turns: turns }
    }

    /// Waits for a place for a machine that takes so much memory. One that is larger than all there is gets all there is:
    /// what it really needs is less.
    pub async fn of(&self, share: Share, memory: Bytes) -> anyhow::Result<Place<'_>> {
        let memory = u32::try_from(memory.0 >> 20).unwrap_or(u32::MAX).min(self.whole);
        let turns = match share {
            Share::Memory => None,
            Share::Turn => Some(self.turns.acquire().await?),
            Share::Alone => Some(self.turns.acquire_many(self.all_turns).await?),
        };
        Ok(Place { _memory: self.memory.acquire_many(memory).await?, _turns: turns })
    }

    /// Whether more than this, and what is left to everything else, is free on the host now.
    pub fn has_more_than(&self, memory: Bytes) -> bool {
        free_mib() > RESERVE + (memory.0 >> 20)
    }

    /// What it is, for people.
    pub fn told(&self) -> String {
        format!("{} at once, {} of memory for their machines", self.all_turns, Bytes(u64::from(self.whole) << 20))
    }
}

fn free_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
