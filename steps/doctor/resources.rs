//! Checks the resources for a run: disk space, memory, sockets, and other runs that use some of them; and those for
//! compiling AWS's SDK.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::host::Host;
use super::{Outcome, Problem, Try};
use assay::base::commands;
use assay::base::host_capacity::{HostCapacity, free_memory};
use assay::base::procfs;
use assay::base::unit::Bytes;
use assay::exec::cleanup;
use assay::targets::{DISK_NEEDED, free_space, run_folder_path};

/// What a run writes if all disks are cached: its copies on write and its evidence.
const LITTLE: Bytes = Bytes(1_000_000_000);

/// The peak memory of compiling aws-sdk-ec2, with a margin for the compilers next to it; `ci/setup` uses the same
/// number.
const SDK_MEMORY: Bytes = Bytes(9000 << 20);
/// The disk space that a cold build with the SDK takes in `target/`.
const SDK_DISK: Bytes = Bytes(3_100_000_000);

/// Checks the cache, disk space, sockets and, if the target has machines, memory; and looks for other runs.
pub fn tries(host: &Arc<Host>, machines: bool) -> Vec<Try> {
    let cache = &host.settings.cache;
    let other = "set ASSAY_CACHE to a folder that can be written to";
    let space = format!("free some space on {}, or set ASSAY_CACHE", cache.display());
    let needed = if host.makes_disks() { DISK_NEEDED } else { LITTLE };
    let journals = host.settings.journals();
    let now = std::future::ready::<Outcome>;
    let mut tries = vec![
        Try::needed("cache", other, now(writable(cache))),
        Try::needed("disk space", space, now(space_for(cache, needed))),
    ];
    if machines {
        let memory = now(memory(&HostCapacity::measured(None), host.machine));
        tries.push(Try::needed("memory for machines", "end other programs", memory));
    }
    tries.extend([
        Try::needed("sockets below /tmp", "make /tmp writable: mode 1777", now(sockets())),
        Try::needed("other runs", "wait for its end: it takes memory and CPU", now(any_live_run(&journals))),
        Try::needed("leftovers", commands::assay("gc"), now(leftovers(&journals))),
    ]);
    tries
}

fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn writable(cache: &Path) -> Outcome {
    match tempfile::tempdir_in(nearest(cache)) {
        Ok(_) => Ok(cache.display().to_string()),
        Err(error) => Err(Problem::missing(format!("{} cannot be written to: {}", cache.display(), error.kind()))),
    }
}

fn space_for(cache: &Path, needed: Bytes) -> Outcome {
    match free_space(nearest(cache)) {
        Ok(free) if free >= needed => Ok(format!("{free} free, {needed} needed")),
        Ok(free) => Err(Problem::missing(format!("{free} free, {needed} needed"))),
        Err(error) => Err(Problem::missing(format!("{} cannot be measured: {error}", cache.display()))),
    }
}

/// Checks whether there is memory for machines that each take this much at most, calculated as in a run.
fn memory(capacity: &HostCapacity, each: Bytes) -> Outcome {
    let each_needs = format!("capacity for {}, {each} for each at most", capacity.summary());
    match capacity.machines(each) {
        0 if capacity.memory() == Bytes(0) => {
            Err(Problem::missing("what is free is left to everything else on this host"))
        }
        0 => Err(Problem::warning(format!("{each_needs}: only machines that take less fit"))),
        1 => Err(Problem::warning(format!("{each_needs}: one is up at a time, and a run takes long"))),
        _ => Ok(each_needs),
    }
}

fn sockets() -> Outcome {
    let prefix = run_folder_path("");
    let name = prefix.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let opened = tempfile::Builder::new().prefix(&name).tempdir_in(prefix.parent().unwrap_or(&prefix));
    match opened.and_then(|folder| UnixListener::bind(folder.path().join("socket"))) {
        Ok(_) => Ok("can be opened".to_owned()),
        Err(error) => Err(Problem::missing(format!("cannot be opened: {error}"))),
    }
}

fn any_live_run(journals: &Path) -> Outcome {
    match cleanup::live_runs(journals) {
        Ok(runs) if runs.is_empty() => Ok("none".to_owned()),
        Ok(_) => Err(Problem::warning("one is under way")),
        Err(error) => Err(Problem::warning(format!("{error:#}")).remedy("set ASSAY_CACHE to a folder of yours")),
    }
}

fn leftovers(journals: &Path) -> Outcome {
    match cleanup::stale_journals(journals) {
        Ok(0) => Ok("none".to_owned()),
        Ok(runs) => Err(Problem::warning(format!("of {runs} run{}", if runs == 1 { "" } else { "s" }))),
        Err(error) => Err(Problem::warning(format!("{error:#}")).remedy("set ASSAY_CACHE to a folder of yours")),
    }
}

/// Checks whether AWS's SDK can be compiled here, if it is not compiled yet.
pub fn for_sdk() -> Try {
    let elsewhere = "use a machine with 16 GB, add swap, or free space: once, for it is kept";
    let attempt = async {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/"));
        let folder = program.parent().unwrap_or(&program);
        if cfg!(feature = "aws") || compiled(&folder.join("deps")) {
            return Ok("not needed: it is compiled".to_owned());
        }
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let swap = procfs::size(&meminfo, "SwapFree").map_or(0, |free| free.0);
        enough(Bytes(free_memory().0 + swap), free_space(folder).ok())
    };
    Try::needed("memory and disk to compile AWS's SDK", elsewhere, attempt).optional()
}

/// Returns whether an earlier build has compiled it.
fn compiled(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_string_lossy().starts_with("libaws_sdk_ec2-"))
}

fn enough(memory: Bytes, disk: Option<Bytes>) -> Outcome {
    let found = format!("{memory} of memory and swap free, {SDK_MEMORY} needed");
    match disk {
        _ if memory < SDK_MEMORY => Err(Problem::missing(found)),
        Some(disk) if disk < SDK_DISK => Err(Problem::missing(format!("{disk} free on the disk, {SDK_DISK} needed"))),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_calculated_as_in_a_run() {
        let each = Bytes(600 << 20);
        let of = |mib: u64, slots: u32| memory(&HostCapacity::new(mib, slots), each).map_err(|problem| problem.found);
        assert!(of(1200, 4).is_ok());
        assert!(of(1199, 4).unwrap_err().ends_with("one is up at a time, and a run takes long"));
        assert!(of(599, 4).unwrap_err().ends_with("only machines that take less fit"));
        assert_eq!(of(0, 4).unwrap_err(), "what is free is left to everything else on this host");
        let printed = of(9000, 6).unwrap();
        let capacity = HostCapacity::new(9000, 6).summary();
        assert!(printed.contains(&format!("capacity for {capacity}")) && printed.contains("6 at once"), "{printed}");
    }

    #[test]
    fn a_missing_cache_is_tried_above_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("a/b");
        assert!(writable(&cache).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("a"), "").unwrap();
        let found = writable(&cache).unwrap_err().found;
        assert!(found.contains("a/b cannot be written to"), "{found}");
    }

    #[test]
    fn space_is_compared_with_what_is_needed() {
        assert!(space_for(Path::new("/nowhere"), Bytes(1)).is_ok());
        let found = space_for(Path::new("/nowhere"), Bytes(u64::MAX)).unwrap_err().found;
        assert!(found.contains(" free, "), "{found}");
    }

    #[test]
    fn the_sdk_is_compiled_where_there_is_memory_for_it_and_a_disk() {
        let capacity = |memory: u64, disk: u64| enough(Bytes(memory << 20), Some(Bytes(disk))).is_ok();
        assert!(capacity(9000, 3_100_000_000) && !capacity(8999, 3_100_000_000) && !capacity(9000, 3_000_000_000));
    }

    #[test]
    fn an_earlier_build_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!compiled(folder.path()) && !compiled(Path::new("/nowhere")));
        fs::write(folder.path().join("libaws_sdk_ec2-0123.rlib"), "").unwrap();
        assert!(compiled(folder.path()));
    }
}
