//! Room for a run: on the disk, in memory, for sockets; and who else takes some of it.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use super::host::Host;
use super::{Finding, Try};
use crate::artifact::Workshop;
use crate::kernel;
use crate::lease;
use crate::target::{ROOM, room_left};
use crate::unit::Bytes;

/// What one machine costs, the emulator's own needs included, as runs reckon.
const MACHINE: Bytes = Bytes(1 << 30);
/// The device, and one spare machine.
const MACHINES: u64 = 2;
/// What a run writes where all disks are kept: its copies on write and its evidence.
const LITTLE: Bytes = Bytes(1_000_000_000);

/// Tries the cache, the disk, memory and sockets, and looks for other runs.
pub fn tries(host: &Arc<Host>) -> Vec<Try> {
    let cache = &host.settings.cache;
    let other = "set ASSAY_CACHE to a folder that can be written to";
    let space = format!("free some space on {}, or set ASSAY_CACHE", cache.display());
    let needed = if host.makes_disks() { ROOM } else { LITTLE };
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let leases = cache.join("leases");
    let now = std::future::ready::<Finding>;
    vec![
        Try::needed("cache", other, now(writable(cache))),
        Try::needed("disk space", space, now(space_for(cache, needed))),
        Try::needed("free memory", "end other programs", now(memory(&meminfo))),
        Try::needed("sockets below /tmp", "make /tmp writable: mode 1777", now(sockets())),
        Try::optional("other runs", "wait for its end: it takes memory and CPU", now(under_way(&leases))),
        Try::optional("leftovers", "cargo run -- gc", now(leftovers(&leases))),
    ]
}

/// The nearest folder at or above a path that is there.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

/// Makes a file there for a moment.
fn writable(cache: &Path) -> Finding {
    match tempfile::tempdir_in(nearest(cache)) {
        Ok(_) => Finding::works(cache.display().to_string()),
        Err(error) => Finding::fails(format!("{} cannot be written to: {}", cache.display(), error.kind())),
    }
}

fn space_for(cache: &Path, needed: Bytes) -> Finding {
    match room_left(nearest(cache)) {
        Ok(free) if free >= needed => Finding::works(format!("{free} free, {needed} needed")),
        Ok(free) => Finding::fails(format!("{free} free, {needed} needed")),
        Err(error) => Finding::fails(format!("{} cannot be measured: {error}", cache.display())),
    }
}

/// Whether there is memory for machines, by `/proc/meminfo`.
fn memory(meminfo: &str) -> Finding {
    let Some(free) = kernel::size(meminfo, "MemAvailable") else {
        return Finding::worth_knowing("/proc/meminfo does not say how much is free");
    };
    let wanted = Bytes(MACHINE.0 * MACHINES);
    match free {
        free if free >= wanted => Finding::works(format!("{free}, {MACHINE} for each machine")),
        free if free >= MACHINE => {
            Finding::worth_knowing(format!("{free}, and a run has {MACHINES} machines of {MACHINE}"))
        }
        free => Finding::fails(format!("{free}, and a machine takes {MACHINE}")),
    }
}

/// Opens a socket where runs have theirs.
fn sockets() -> Finding {
    let prefix = Workshop::folder("");
    let name = prefix.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let opened = tempfile::Builder::new().prefix(&name).tempdir_in(prefix.parent().unwrap_or(&prefix));
    match opened.and_then(|folder| UnixListener::bind(folder.path().join("socket"))) {
        Ok(_) => Finding::works("can be opened"),
        Err(error) => Finding::fails(format!("cannot be opened: {error}")),
    }
}

fn under_way(leases: &Path) -> Finding {
    match lease::under_way(leases) {
        Ok(false) => Finding::works("none"),
        Ok(true) => Finding::worth_knowing("one is under way"),
        Err(error) => Finding::worth_knowing(format!("{error:#}")).remedy("set ASSAY_CACHE to a folder of yours"),
    }
}

fn leftovers(leases: &Path) -> Finding {
    match lease::left(leases) {
        Ok(0) => Finding::works("none"),
        Ok(runs) => Finding::worth_knowing(format!("of {runs} run{}", if runs == 1 { "" } else { "s" })),
        Err(error) => Finding::worth_knowing(format!("{error:#}")).remedy("set ASSAY_CACHE to a folder of yours"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn memory_is_enough_for_two_machines_or_one_or_none() {
        let state = |kilobytes: u64| memory(&format!("MemTotal: 9 kB\nMemAvailable: {kilobytes} kB\n")).state;
        assert_eq!(state(2 * 1024 * 1024), State::Ok);
        assert_eq!(state(2 * 1024 * 1024 - 1), State::Warning);
        assert_eq!(state(1024 * 1024 - 1), State::Missing);
        assert_eq!(memory("").state, State::Warning);
    }

    #[test]
    fn a_cache_that_is_not_there_yet_is_tried_above_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("a/b");
        assert_eq!(writable(&cache).state, State::Ok);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("a"), "").unwrap();
        let finding = writable(&cache);
        assert_eq!(finding.state, State::Missing);
        assert!(finding.found.contains("a/b cannot be written to"), "{}", finding.found);
    }

    #[test]
    fn space_is_measured_against_what_is_needed() {
        assert_eq!(space_for(Path::new("/nowhere"), Bytes(1)).state, State::Ok);
        let finding = space_for(Path::new("/nowhere"), Bytes(u64::MAX));
        assert_eq!(finding.state, State::Missing);
        assert!(finding.found.contains(" free, "), "{}", finding.found);
    }
}
