//! Allots this host's memory and CPU slots to machines.

use std::num::NonZero;
use std::path::Path;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::base::procfs;
use crate::base::unit::Bytes;

/// What a job reserves of this host's CPUs, besides its machine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuReservation {
    /// Nothing: the machine is idle.
    None,
    OneSlot,
    /// The job measures time or CPU. On a native CPU, where these are judged, it reserves the whole host; on an
    /// emulated CPU, where they cannot be judged, one slot.
    WholeHost,
    /// Like `WholeHost`, for a workload limited to a tenth of a CPU; on an emulated CPU it reserves nothing.
    Throttled,
}

/// The number of slots for each CPU: a workload sleeps about twice as long as it works.
const JOBS_PER_CPU: usize = 3;
/// The memory in MiB that is left to everything else on this host.
const RESERVE: u64 = 1024;

#[derive(Debug)]
pub struct HostCapacity {
    memory: Semaphore,
    /// The total memory for machines, in MiB.
    whole: u32,
    slots: Semaphore,
    all_slots: u32,
}

/// A job's slots and memory, held until it is dropped.
pub type CapacityPermit<'a> = (SemaphorePermit<'a>, SemaphorePermit<'a>);

impl HostCapacity {
    /// Measures this host: the free memory, and the given number of slots or three for each CPU.
    pub fn measured(slots: Option<u16>) -> HostCapacity {
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        let slots = slots.map_or(cpus * JOBS_PER_CPU, usize::from);
        HostCapacity::new((free_memory().0 >> 20).saturating_sub(RESERVE), u32::try_from(slots).unwrap_or(u32::MAX))
    }

    /// Creates a host with this memory for machines, in MiB, and this number of slots.
    pub fn new(memory: u64, slots: u32) -> HostCapacity {
        let whole = u32::try_from(memory).unwrap_or(u32::MAX);
        let (memory, all_slots) = (Semaphore::new(whole as usize), slots);
        HostCapacity { memory, whole, slots: Semaphore::new(slots as usize), all_slots }
    }

    /// Waits for capacity for a machine with this memory. A machine larger than the total gets the total, because it
    /// actually uses less.
    pub async fn of(&self, share: CpuReservation, memory: Bytes, native: bool) -> anyhow::Result<CapacityPermit<'_>> {
        let memory = u32::try_from(memory.0 >> 20).unwrap_or(u32::MAX).min(self.whole);
        let slots = match (share, native) {
            (CpuReservation::None, _) | (CpuReservation::Throttled, false) => 0,
            (CpuReservation::OneSlot, _) | (CpuReservation::WholeHost, false) => 1,
            (CpuReservation::WholeHost | CpuReservation::Throttled, true) => self.all_slots,
        };
        Ok((self.slots.acquire_many(slots).await?, self.memory.acquire_many(memory).await?))
    }

    /// Returns whether more than this memory is free now, beyond the reserve for everything else.
    pub fn has_more_than(&self, memory: Bytes) -> bool {
        free_memory().0 >> 20 > RESERVE + (memory.0 >> 20)
    }

    pub fn memory(&self) -> Bytes {
        Bytes(u64::from(self.whole) << 20)
    }

    /// Returns how many machines of this size can run at once, each with its full memory and a slot.
    pub fn machines(&self, each: Bytes) -> u64 {
        (self.memory().0 / each.0.max(1)).min(u64::from(self.all_slots))
    }

    pub fn summary(&self) -> String {
        format!("{} at once, {} of memory for their machines", self.all_slots, self.memory())
    }
}

/// Returns the memory that this process may still use.
fn free_memory() -> Bytes {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    free_within(&read("/proc/meminfo"), &read("/proc/self/cgroup"), read)
}

/// Returns what the host has available, or less if a control group of this
/// process, or one above it, has less left of its limit. `read` reads a file; one that does not exist is empty.
fn free_within(meminfo: &str, cgroups: &str, read: impl Fn(&str) -> String) -> Bytes {
    let mut free = procfs::size(meminfo, "MemAvailable").map_or(0, |free| free.0);
    for line in cgroups.lines() {
        // `0::PATH` is a group of version 2; version 1 names its controllers: `9:memory:PATH`.
        let mut words = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (words.next(), words.next()) else { continue };
        let [root, limit, usage, inactive] = match controllers {
            "" => ["/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"],
            "memory" => {
                ["/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"]
            }
            _ => continue,
        };
        // In a container, the path may be the host's, and the container's own group is mounted at the root.
        for group in Path::new(path).ancestors() {
            let folder = format!("{root}{}", group.display());
            let text = |file: &str| read(&format!("{}/{file}", folder.trim_end_matches('/')));
            let Ok(limit) = text(limit).trim().parse::<u64>() else { continue };
            let stat = text("memory.stat");
            // Files in the page cache count as used, and the kernel drops those that are inactive.
            let cached = stat.lines().find_map(|line| line.strip_prefix(inactive)?.trim().parse().ok()).unwrap_or(0);
            let used = text(usage).trim().parse().unwrap_or(0_u64).saturating_sub(cached);
            free = free.min(limit.saturating_sub(used));
        }
    }
    Bytes(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Bytes = Bytes(600 << 20);

    async fn at_once(host: &HostCapacity, share: CpuReservation, native: bool) -> Option<CapacityPermit<'_>> {
        let soon = std::time::Duration::from_millis(20);
        tokio::time::timeout(soon, host.of(share, MACHINE, native)).await.ok()?.ok()
    }

    #[test]
    fn a_limit_of_the_own_control_group_or_of_one_above_it_is_all_the_memory_there_is() {
        const MEMINFO: &str = "MemTotal:       24600000 kB\nMemAvailable:   20000000 kB\n";
        let of = |cgroups: &str, files: &[(&str, &str)]| {
            let read =
                |name: &str| files.iter().find(|(file, _)| *file == name).map_or("", |(_, text)| text).to_owned();
            free_within(MEMINFO, cgroups, read).0
        };
        let all = 20_000_000 << 10;
        let [v2, v1] = ["0::/user.slice/run.scope\n", "9:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/docker/a\n"];
        assert_eq!(of(v2, &[]), all, "no limit can be read");
        let [limit, usage, stat] =
            ["max", "current", "stat"].map(|name| format!("/sys/fs/cgroup/user.slice/memory.{name}"));
        let own = "/sys/fs/cgroup/user.slice/run.scope/memory.max";
        assert_eq!(of(v2, &[(own, "max\n"), (&limit, "max\n"), (&usage, "5000\n")]), all, "there is none");
        assert_eq!(of(v2, &[(own, "max\n"), (&limit, "3000000\n"), (&usage, "1000000\n")]), 2_000_000);
        let cached = "file 700000\ninactive_anon 1\ninactive_file 600000\n";
        assert_eq!(of(v2, &[(&limit, "3000000\n"), (&usage, "1000000\n"), (&stat, cached)]), 2_600_000);
        assert_eq!(of(v2, &[(own, "4096\n"), (&limit, "900\n"), (&usage, "1000\n")]), 0, "it is used up");
        assert_eq!(of(v2, &[("/sys/fs/cgroup/memory.max", "4096\n")]), 4096, "a container's own group is its root");
        let docker = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(of(v1, &[(docker, "536870912\n")]), 512 << 20);
        assert_eq!(of(v1, &[(docker, "9223372036854771712\n")]), all, "version 1 writes \"no limit\" so");
    }

    #[tokio::test]
    async fn jobs_are_under_way_as_far_as_there_are_slots() {
        let host = HostCapacity::new(10_000, 2);
        let first = at_once(&host, CpuReservation::OneSlot, false).await.unwrap();
        let _second = at_once(&host, CpuReservation::WholeHost, false).await.unwrap();
        assert!(at_once(&host, CpuReservation::OneSlot, false).await.is_none());
        assert!(at_once(&host, CpuReservation::Throttled, false).await.is_some(), "it waits for no other machine");
        drop(first);
        assert!(at_once(&host, CpuReservation::OneSlot, false).await.is_some());
    }

    #[tokio::test]
    async fn what_is_judged_of_time_is_measured_alone() {
        let host = HostCapacity::new(10_000, 3);
        for share in [CpuReservation::WholeHost, CpuReservation::Throttled] {
            let other = at_once(&host, CpuReservation::OneSlot, true).await.unwrap();
            assert!(at_once(&host, share, true).await.is_none(), "{share:?}: another job is under way");
            drop(other);
            let _alone = at_once(&host, share, true).await.unwrap();
            assert!(at_once(&host, CpuReservation::OneSlot, true).await.is_none(), "{share:?}: nothing beside it");
        }
    }

    #[tokio::test]
    async fn machines_are_up_as_far_as_there_is_memory() {
        let host = HostCapacity::new(1000, 8);
        let first = at_once(&host, CpuReservation::OneSlot, false).await.unwrap();
        assert!(at_once(&host, CpuReservation::None, false).await.is_none());
        drop(first);
        assert_eq!([0, 599, 600, 1300].map(|memory| HostCapacity::new(memory, 8).machines(MACHINE)), [0, 0, 1, 2]);
        assert_eq!(HostCapacity::new(100_000, 8).machines(MACHINE), 8, "no more are at work than there are slots");
        // A job that asks for more than the total gets the total.
        assert!(HostCapacity::new(100, 1).of(CpuReservation::OneSlot, MACHINE, false).await.is_ok());
    }
}
