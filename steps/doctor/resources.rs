//! Checks the resources for a run: disk space, memory, sockets, and other runs that use some of them.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use super::host::Host;
use super::{Fault, Tried, Try};
use assay::base::commands;
use assay::base::host_capacity::HostCapacity;
use assay::base::unit::Bytes;
use assay::exec::cleanup;
use assay::targets::{DISK_NEEDED, free_space, run_folder_path};

/// What a run writes if all disks are cached: its copies on write and its evidence.
const LITTLE: Bytes = Bytes(1_000_000_000);

/// Checks the cache, disk space, sockets and, if the target has machines, memory; and looks for other runs.
pub fn tries(host: &Arc<Host>, machines: bool) -> Vec<Try> {
    let cache = &host.settings.cache;
    let other = "set ASSAY_CACHE to a folder that can be written to";
    let space = format!("free some space on {}, or set ASSAY_CACHE", cache.display());
    let needed = if host.makes_disks() { DISK_NEEDED } else { LITTLE };
    let journals = host.settings.journals();
    let now = std::future::ready::<Tried>;
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

fn writable(cache: &Path) -> Tried {
    match tempfile::tempdir_in(nearest(cache)) {
        Ok(_) => Ok(cache.display().to_string()),
        Err(error) => Err(Fault::missing(format!("{} cannot be written to: {}", cache.display(), error.kind()))),
    }
}

fn space_for(cache: &Path, needed: Bytes) -> Tried {
    match free_space(nearest(cache)) {
        Ok(free) if free >= needed => Ok(format!("{free} free, {needed} needed")),
        Ok(free) => Err(Fault::missing(format!("{free} free, {needed} needed"))),
        Err(error) => Err(Fault::missing(format!("{} cannot be measured: {error}", cache.display()))),
    }
}

/// Checks whether there is memory for machines that each take this much at most, calculated as in a run.
fn memory(capacity: &HostCapacity, each: Bytes) -> Tried {
    let each_needs = format!("capacity for {}, {each} for each at most", capacity.summary());
    match capacity.machines(each) {
        0 if capacity.memory() == Bytes(0) => {
            Err(Fault::missing("what is free is left to everything else on this host"))
        }
        0 => Err(Fault::warning(format!("{each_needs}: only machines that take less fit"))),
        1 => Err(Fault::warning(format!("{each_needs}: one is up at a time, and a run takes long"))),
        _ => Ok(each_needs),
    }
}

fn sockets() -> Tried {
    let prefix = run_folder_path("");
    let name = prefix.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let opened = tempfile::Builder::new().prefix(&name).tempdir_in(prefix.parent().unwrap_or(&prefix));
    match opened.and_then(|folder| UnixListener::bind(folder.path().join("socket"))) {
        Ok(_) => Ok("can be opened".to_owned()),
        Err(error) => Err(Fault::missing(format!("cannot be opened: {error}"))),
    }
}

fn any_live_run(journals: &Path) -> Tried {
    match cleanup::live_runs(journals) {
        Ok(runs) if runs.is_empty() => Ok("none".to_owned()),
        Ok(_) => Err(Fault::warning("one is under way")),
        Err(error) => Err(Fault::warning(format!("{error:#}")).remedy("set ASSAY_CACHE to a folder of yours")),
    }
}

fn leftovers(journals: &Path) -> Tried {
    match cleanup::stale_journals(journals) {
        Ok(0) => Ok("none".to_owned()),
        Ok(runs) => Err(Fault::warning(format!("of {runs} run{}", if runs == 1 { "" } else { "s" }))),
        Err(error) => Err(Fault::warning(format!("{error:#}")).remedy("set ASSAY_CACHE to a folder of yours")),
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
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(folder.path().join("a"), "").unwrap();
        let found = writable(&cache).unwrap_err().found;
        assert!(found.contains("a/b cannot be written to"), "{found}");
    }

    #[test]
    fn space_is_compared_with_what_is_needed() {
        assert!(space_for(Path::new("/nowhere"), Bytes(1)).is_ok());
        let found = space_for(Path::new("/nowhere"), Bytes(u64::MAX)).unwrap_err().found;
        assert!(found.contains(" free, "), "{found}");
    }
}
