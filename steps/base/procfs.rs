//! Reads random bytes, the clock and `/proc`.

use std::fs::{self, File};
use std::io::Read as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use crate::base::unit::Bytes;

pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.context("cannot read /dev/urandom")?;
    Ok(bytes)
}

/// Finds a size by its name in a text like `/proc/meminfo` or `/proc/self/status`: `MemTotal:  420864 kB`. The kernel
/// writes kB and means KiB.
pub fn size(account: &str, name: &str) -> Option<Bytes> {
    let line = account.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kibibytes.saturating_mul(1024)))
}

/// Returns the CPU time that a process and its threads have used so far; `None` if there is no such process.
pub fn cpu_time(pid: i32) -> Option<Duration> {
    busy(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses the CPU time in a text like `/proc/self/stat`: the 14th and 15th word, in hundredths of a second, whatever
/// the kernel's own clock rate.
fn busy(account: &str) -> Option<Duration> {
    // The second word is the program's name in parentheses, which may contain anything.
    let words = account.rsplit_once(") ")?.1.split(' ').skip(11).take(2);
    let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    (ticks.len() == 2).then(|| Duration::from_millis(10 * ticks.iter().sum::<u64>()))
}

/// Returns the seconds since 1970, by this host's clock.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_found_by_its_whole_name() {
        let account = "MemTotalOther: 1 kB\nMemTotal:         420864 kB\nVmRSS:\t   2 kB\nHugePages_Total:       3\n";
        assert_eq!(size(account, "MemTotal"), Some(Bytes(420_864 * 1024)));
        assert_eq!(size(account, "VmRSS"), Some(Bytes(2048)));
        assert_eq!(size(account, "HugePages_Total"), None, "it is not a size");
        assert_eq!(size(account, "MemFree"), None);
    }

    #[test]
    fn cpu_time_is_that_of_user_and_system() {
        let account = "4242 (qemu) 7 (x) S 1 4242 4242 0 -1 4194304 5 0 6 0 231 12 0 0 20 0 5 0 100 9 9";
        assert_eq!(busy(account), Some(Duration::from_millis(2430)));
        assert_eq!(busy("4242 (qemu) S 1 4242 4242 0 -1 4194304 5 0 6 0 231"), None);
        assert!(cpu_time(std::process::id().cast_signed()).is_some());
        assert_eq!(cpu_time(i32::MAX), None);
    }

    #[test]
    fn random_bytes_are_others_each_time() {
        assert_ne!(random::<32>().unwrap(), random::<32>().unwrap());
    }
}
