//! What a kernel has to give and to tell: random bytes, the time, and the sizes in its accounts.

use std::fs::File;
use std::io::Read as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use crate::unit::Bytes;

/// Bytes that nobody else has, from this host's kernel.
///
/// # Errors
/// It gives none.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.context("cannot read /dev/urandom")?;
    Ok(bytes)
}

/// A size by its name in an account as `/proc/meminfo` and `/proc/self/status` are: `MemTotal:  420864 kB`. It says kB and
/// means KiB.
pub fn size(account: &str, name: &str) -> Option<Bytes> {
    let line = account.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kibibytes.saturating_mul(1024)))
}

/// Seconds since 1970, by this host's clock.
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
        assert_eq!(size(account, "HugePages_Total"), None, "it is no size");
        assert_eq!(size(account, "MemFree"), None);
    }

    #[test]
    fn random_bytes_are_others_each_time() {
        assert_ne!(random::<32>().unwrap(), random::<32>().unwrap());
    }
}
