//! Checks whether AWS's SDK can be compiled here, if it is not compiled yet.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Check, CheckResult, Try};
use crate::base::platform::TargetSpec;
use crate::base::procfs;
use crate::base::unit::Bytes;
use crate::targets::room_left;

/// The peak memory of compiling aws-sdk-ec2, with a margin for the compilers next to it; `ci/setup` uses the same
/// number.
const MEMORY: Bytes = Bytes(9000 << 20);
/// The disk space that a cold build with the SDK takes in `target/`.
const DISK: Bytes = Bytes(3_100_000_000);
/// The files that may limit this container's memory: with cgroups v2 and v1.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

pub fn room() -> Try {
    let elsewhere = "use a machine with 16 GB, add swap, or free space: once, for it is kept";
    Try::optional("room to compile AWS's SDK", elsewhere, async {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/"));
        let folder = program.parent().unwrap_or(&program);
        if cfg!(feature = "aws") || compiled(&folder.join("deps")) {
            return CheckResult::works("not needed: it is compiled");
        }
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let limits = LIMITS.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
        enough(memory(&meminfo, limits), room_left(folder).ok())
    })
}

/// Checks whether this build has it.
pub fn built() -> Check {
    let found = match cfg!(feature = "aws") {
        true => CheckResult::works("in this build"),
        false => CheckResult::fails("not in this build: nothing of AWS's was tried"),
    };
    found.of("ec2: AWS's SDK".to_owned(), format!("`{}` tries that, too", TargetSpec::Ec2.doctor()), true)
}

/// Returns whether an earlier build has compiled it.
fn compiled(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_string_lossy().starts_with("libaws_sdk_ec2-"))
}

/// Returns the free memory and swap, as far as the limits allow their use.
fn memory(meminfo: &str, limits: impl Iterator<Item = u64>) -> Bytes {
    let size = |name| procfs::size(meminfo, name).unwrap_or(Bytes(0)).0;
    Bytes(limits.fold(size("MemAvailable") + size("SwapFree"), u64::min))
}

fn enough(memory: Bytes, disk: Option<Bytes>) -> CheckResult {
    let memory_told = format!("{memory} of memory and swap free, {MEMORY} needed");
    match disk {
        _ if memory < MEMORY => CheckResult::fails(memory_told),
        Some(disk) if disk < DISK => CheckResult::fails(format!("{disk} free on the disk, {DISK} needed")),
        _ => CheckResult::works(memory_told),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn the_sdk_is_compiled_where_there_is_memory_for_it_and_a_disk() {
        let room = |memory: u64, disk: u64| enough(Bytes(memory << 20), Some(Bytes(disk))).state;
        assert_eq!(room(9000, 3_100_000_000), State::Ok);
        assert_eq!(room(8999, 3_100_000_000), State::Missing);
        assert_eq!(room(9000, 3_000_000_000), State::Missing);
    }

    #[test]
    fn swap_counts_and_a_limit_cuts() {
        let meminfo = "MemAvailable: 1024 kB\nSwapFree: 1024 kB\n";
        assert_eq!(memory(meminfo, std::iter::empty()), Bytes(2 << 20));
        assert_eq!(memory(meminfo, [u64::MAX, 1 << 20].into_iter()), Bytes(1 << 20));
    }

    #[test]
    fn what_an_earlier_build_has_left_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!compiled(folder.path()) && !compiled(Path::new("/nowhere")));
        fs::write(folder.path().join("libaws_sdk_ec2-0123.rlib"), "").unwrap();
        assert!(compiled(folder.path()));
    }
}
