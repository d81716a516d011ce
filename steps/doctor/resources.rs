//! Checks the resources for a run: disk space, memory, sockets, and other runs that use some of them.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use super::host::Host;
use super::{CheckResult, Try};
use crate::base::commands;
use crate::base::host_capacity::HostCapacity;
use crate::base::unit::Bytes;
use crate::exec::cleanup;
use crate::targets::{ROOM, room_left, run_folder_path};

/// What a run writes if all disks are cached: its copies on write and its evidence.
const LITTLE: Bytes = Bytes(1_000_000_000);

/// Checks the cache, disk space, sockets and, if the target has machines, memory; and looks for other runs.
pub fn tries(host: &Arc<Host>, machines: bool) -> Vec<Try> {
    let cache = &host.settings.cache;
    let other = "set ASSAY_CACHE to a folder that can be written to";
    let space = format!("free some space on {}, or set ASSAY_CACHE", cache.display());
    let needed = if host.makes_disks() { ROOM } else { LITTLE };
    let journals = cache.join("journals");
    let now = std::future::ready::<CheckResult>;
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
        Try::optional("other runs", "wait for its end: it takes memory and CPU", now(any_live_run(&journals))),
        Try::optional("leftovers", commands::assay("gc"), now(leftovers(&journals))),
    ]);
    tries
}

fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn writable(cache: &Path) -> CheckResult {
    match tempfile::tempdir_in(nearest(cache)) {
        Ok(_) => CheckResult::works(cache.display().to_string()),
        Err(error) => CheckResult::fails(format!("{} cannot be written to: {}", cache.display(), error.kind())),
    }
}

fn space_for(cache: &Path, needed: Bytes) -> CheckResult {
    match room_left(nearest(cache)) {
        Ok(free) if free >= needed => CheckResult::works(format!("{free} free, {needed} needed")),
        Ok(free) => CheckResult::fails(format!("{free} free, {needed} needed")),
        Err(error) => CheckResult::fails(format!("{} cannot be measured: {error}", cache.display())),
    }
}

/// Checks whether there is memory for machines that each take this much at most, calculated as in a run.
fn memory(room: &HostCapacity, each: Bytes) -> CheckResult {
    let room_for = format!("room for {}, {each} for each at most", room.told());
    match room.machines(each) {
        0 if room.memory() == Bytes(0) => CheckResult::fails("what is free is left to everything else on this host"),
        0 => CheckResult::worth_knowing(format!("{room_for}: only machines that take less fit")),
        1 => CheckResult::worth_knowing(format!("{room_for}: one is up at a time, and a run takes long")),
        _ => CheckResult::works(room_for),
    }
}

fn sockets() -> CheckResult {
    let prefix = run_folder_path("");
    let name = prefix.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let opened = tempfile::Builder::new().prefix(&name).tempdir_in(prefix.parent().unwrap_or(&prefix));
    match opened.and_then(|folder| UnixListener::bind(folder.path().join("socket"))) {
        Ok(_) => CheckResult::works("can be opened"),
        Err(error) => CheckResult::fails(format!("cannot be opened: {error}")),
    }
}

fn any_live_run(journals: &Path) -> CheckResult {
    match cleanup::live_runs(journals) {
        Ok(runs) if runs.is_empty() => CheckResult::works("none"),
        Ok(_) => CheckResult::worth_knowing("one is under way"),
        Err(error) => CheckResult::worth_knowing(format!("{error:#}")).remedy("set ASSAY_CACHE to a folder of yours"),
    }
}

fn leftovers(journals: &Path) -> CheckResult {
    match cleanup::stale_journals(journals) {
        Ok(0) => CheckResult::works("none"),
        Ok(runs) => CheckResult::worth_knowing(format!("of {runs} run{}", if runs == 1 { "" } else { "s" })),
        Err(error) => CheckResult::worth_knowing(format!("{error:#}")).remedy("set ASSAY_CACHE to a folder of yours"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::State;
    use super::*;

    #[test]
    fn memory_is_reckoned_as_a_run_does() {
        let each = Bytes(600 << 20);
        let told = |mib: u64, turns: u32| memory(&HostCapacity::new(mib, turns), each);
        assert_eq!([1200, 1199, 599, 0].map(|mib| told(mib, 4).state), {
            [State::Ok, State::Warning, State::Warning, State::Missing]
        });
        let room = HostCapacity::new(9000, 6);
        let said = memory(&room, each).found;
        assert!(said.contains(&format!("room for {}", room.told())) && said.contains("6 at once"), "{said}");
        assert!(told(1199, 4).found.ends_with("one is up at a time, and a run takes long"));
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
