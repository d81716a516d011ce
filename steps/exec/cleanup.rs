//! The cleanup journal: everything a run creates outside its evidence folder, so that nothing survives the run.
//!
//! A journal is a file that its run keeps locked. The lock ends with the process, however the process ends. A journal
//! that another process can lock therefore belongs to a run that is over, and the next run removes what it lists.

mod removal;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::base::lock::lock;

pub use removal::END_GROUP;

/// A resource that must not outlive its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Resource {
    /// A process, which leads its group, and every process in it. `started` is in clock ticks since boot: the kernel
    /// reuses process ids, but not this pair.
    Process {
        pid: i32,
        started: u64,
    },
    Container {
        name: String,
    },
    Path {
        path: PathBuf,
    },
    /// A control group with the processes of a system container, which are root's.
    Cgroup {
        path: PathBuf,
    },
    /// Every resource with a run's tag in an AWS region, or at a stand-in: only code with access to AWS sees them.
    Cloud {
        run: String,
        region: String,
        endpoint: Option<String>,
    },
    /// What a run put on a remote machine, as `--target` names it. Only code that logs in there can list and remove it.
    #[serde(alias = "found")]
    RemoteHost {
        run: String,
        target: String,
        host_key: Option<String>,
    },
}

impl fmt::Display for Resource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Process { pid, .. } => write!(out, "process {pid}"),
            Resource::Container { name } => write!(out, "container {name}"),
            Resource::Path { path } => write!(out, "{}", path.display()),
            Resource::Cgroup { path } => write!(out, "control group {}", path.display()),
            Resource::Cloud { run, region, endpoint } => {
                write!(out, "what run {run} made in {region}")?;
                endpoint.iter().try_for_each(|endpoint| write!(out, " at {endpoint}"))
            }
            Resource::RemoteHost { run, target, .. } => write!(out, "what run {run} has put on {target}"),
        }
    }
}

impl Resource {
    /// Returns the resource for a child that leads its own process group.
    pub fn process(pid: u32) -> anyhow::Result<Resource> {
        let pid = i32::try_from(pid).context("a process id out of range")?;
        let (_, started) = removal::group_and_start(pid).with_context(|| format!("process {pid} ended at once"))?;
        Ok(Resource::Process { pid, started })
    }
}

/// A line of a journal: a registered resource, or one that is known to be gone.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum JournalLine {
    Over { over: Resource },
    Taken(Resource),
}

fn append(mut file: &File, line: &JournalLine) -> anyhow::Result<()> {
    let line = serde_json::to_string(line)? + "\n";
    file.write_all(line.as_bytes()).context("cannot write the cleanup journal")
}

fn read(file: &File) -> Vec<Resource> {
    let mut journals = Vec::new();
    // A kill may have truncated the last line. Its resource was not created yet.
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(JournalLine::Taken(resource)) => journals.push(resource),
            Ok(JournalLine::Over { over }) => journals.retain(|resource| resource != &over),
            Err(_) => {}
        }
    }
    journals
}

/// The cleanup journal of one run, locked while the run lives.
#[derive(Debug)]
pub struct CleanupJournal {
    path: PathBuf,
    open: Mutex<(File, Vec<Resource>)>,
}

impl CleanupJournal {
    pub fn open(folder: &Path, run: &str) -> anyhow::Result<CleanupJournal> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let path = folder.join(format!("{run}.jsonl"));
        for _ in 0..20 {
            let open = OpenOptions::new().create(true).append(true).open(&path);
            let file = open.with_context(|| format!("cannot write {}", path.display()))?;
            // Between opening and locking, a sweep may have removed the new journal as that of a finished run.
            if file.try_lock().is_ok() && same_file(&file, &path) {
                return Ok(CleanupJournal { path, open: Mutex::new((file, Vec::new())) });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("{} is in use by another run", path.display())
    }

    /// Registers a resource. If its name is known in advance, register it before creating it.
    pub fn register(&self, resource: Resource) -> anyhow::Result<()> {
        let mut open = lock(&self.open);
        append(&open.0, &JournalLine::Taken(resource.clone()))?;
        open.1.push(resource);
        Ok(())
    }

    /// Records that a resource is gone, as seen by its owner: for cloud resources, only the owner can see it.
    pub fn mark_gone(&self, resource: &Resource) -> anyhow::Result<()> {
        let mut open = lock(&self.open);
        append(&open.0, &JournalLine::Over { over: resource.clone() })?;
        open.1.retain(|held| held != resource);
        Ok(())
    }

    /// Removes one resource before the end of the run.
    pub fn release(&self, resource: &Resource) -> anyhow::Result<()> {
        resource.release()?;
        lock(&self.open).1.retain(|held| held != resource);
        Ok(())
    }

    /// Removes all resources, newest first, then the journal. Returns why others were not removed; they stay in it.
    pub fn close(&self) -> Vec<String> {
        let mut open = lock(&self.open);
        let released = release_all(std::mem::take(&mut open.1));
        open.1 = released.left;
        if open.1.is_empty() {
            let _ = fs::remove_file(&self.path);
        }
        released.errors
    }
}

impl Drop for CleanupJournal {
    fn drop(&mut self) {
        self.close();
    }
}

fn release_all(resources: Vec<Resource>) -> Removed {
    let mut all = Removed::default();
    for resource in resources.into_iter().rev() {
        match resource.release() {
            Ok(true) => all.removed.push(resource.to_string()),
            Ok(false) => {}
            Err(error) => {
                all.errors.push(format!("{error:#}"));
                all.left.insert(0, resource);
            }
        }
    }
    all
}

/// Returns whether a path still refers to an open file.
fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => open.dev() == there.dev() && open.ino() == there.ino(),
        _ => false,
    }
}

/// What a sweep removed and failed to remove for finished runs.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub removed: Vec<String>,
    pub errors: Vec<String>,
    #[serde(skip)]
    left: Vec<Resource>,
}

pub fn live_runs(folder: &Path) -> anyhow::Result<Vec<String>> {
    let locked = |path: &PathBuf| File::open(path).is_ok_and(|file| !locks(&file));
    let runs = journals(folder)?.into_iter().filter(locked);
    Ok(runs.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
}

/// Opens the journals of finished runs, and locks each while it is held.
fn stale(folder: &Path) -> anyhow::Result<impl Iterator<Item = (PathBuf, File)>> {
    let open = journals(folder)?.into_iter().filter_map(|path| File::open(&path).ok().map(|file| (path, file)));
    Ok(open.filter(|(_, file)| locks(file)))
}

/// Locks a journal unless its run lives. A lock of this process is held by each child, too, from the moment it is forked until
/// it is another program: so the lock is tried for a while.
fn locks(file: &File) -> bool {
    (0..20).any(|_| {
        let locked = file.try_lock().is_ok();
        if !locked {
            std::thread::sleep(Duration::from_millis(10));
        }
        locked
    })
}

/// Returns everything that the journals of finished runs list; some of it may already be gone.
pub fn leftovers(folder: &Path) -> anyhow::Result<Vec<Resource>> {
    Ok(stale(folder)?.flat_map(|(_, file)| read(&file)).collect())
}

/// Marks a resource as gone in the journals of finished runs. The next sweep removes journals that list nothing else.
pub fn mark_stale_gone(folder: &Path, resource: &Resource) -> anyhow::Result<()> {
    for (path, _lock) in stale(folder)?.filter(|(_, file)| read(file).contains(resource)) {
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        append(&file, &JournalLine::Over { over: resource.clone() })?;
    }
    Ok(())
}

pub fn stale_journals(folder: &Path) -> anyhow::Result<usize> {
    Ok(stale(folder)?.count())
}

fn journals(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    paths.sort();
    Ok(paths)
}

/// Removes the resources of finished runs; runs in progress are not touched.
pub fn remove_stale(folder: &Path) -> anyhow::Result<Removed> {
    let mut all = Removed::default();
    for (path, file) in stale(folder)? {
        let released = release_all(read(&file));
        if released.left.is_empty() {
            match fs::remove_file(&path) {
                // Another sweep removed it first.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("cannot remove {}", path.display()))?,
            }
        }
        all.removed.extend(released.removed);
        all.errors.extend(released.errors);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_killed_is_swept_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (dead, alive) = (folder.path().join("dead"), folder.path().join("alive"));
        fs::create_dir_all(dead.join("deep")).unwrap();
        fs::create_dir_all(&alive).unwrap();
        let journals = folder.path().join("journals");
        let live = CleanupJournal::open(&journals, "live").unwrap();
        live.register(Resource::Path { path: alive.clone() }).unwrap();
        let line = serde_json::to_string(&Resource::Path { path: dead.clone() }).unwrap();
        let gone = "{\"kind\":\"cgroup\",\"path\":\"/sys/fs/cgroup/assay-killed-nano\"}";
        fs::write(journals.join("killed.jsonl"), format!("{line}\n{gone}\n{{\"kind\":\"pa")).unwrap();

        assert_eq!(stale_journals(&journals).unwrap(), 1);
        let left = leftovers(&journals).unwrap();
        assert_eq!((left.len(), left[1].to_string()), (2, "control group /sys/fs/cgroup/assay-killed-nano".into()));
        let found = remove_stale(&journals).unwrap();

        assert_eq!(found, Removed { removed: vec![dead.display().to_string()], ..Removed::default() });
        assert!(!dead.exists() && alive.exists());
        assert_eq!(remove_stale(&journals).unwrap(), Removed::default());
        drop(live);
        assert!(!alive.exists(), "a dropped journal removes what it lists");
        assert!(live_runs(&journals).unwrap().is_empty());
        assert_eq!(stale_journals(&journals).unwrap(), 0);
    }

    #[test]
    fn cloud_resources_stay_in_the_journal_until_they_are_seen_to_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (journals, beside) = (folder.path().join("journals"), folder.path().join("beside"));
        let cloud = |run: &str| Resource::Cloud { run: run.to_owned(), region: "us-east-1".to_owned(), endpoint: None };
        fs::write(&beside, "").unwrap();
        let cleanup = CleanupJournal::open(&journals, "one").unwrap();
        cleanup.register(cloud("gone")).unwrap();
        cleanup.mark_gone(&cloud("gone")).unwrap();
        cleanup.register(cloud("one")).unwrap();
        cleanup.register(Resource::Path { path: beside.clone() }).unwrap();
        assert!(cleanup.release(&cloud("one")).is_err());
        assert_eq!(leftovers(&journals).unwrap(), [], "the run lives");
        assert_eq!(live_runs(&journals).unwrap(), ["one"]);
        mark_stale_gone(&journals, &cloud("one")).unwrap();
        let errors = cleanup.close();
        assert!(!beside.exists() && errors.len() == 1, "{errors:?}");
        drop(cleanup);

        for _ in 0..2 {
            let trouble =
                "what run one made in us-east-1 may be left: `cargo run --features aws -- gc` looks and removes it";
            assert_eq!(remove_stale(&journals).unwrap().errors, [trouble]);
        }
        mark_stale_gone(&journals, &cloud("another")).unwrap();
        assert!(leftovers(&journals).unwrap().contains(&cloud("one")), "a live run's journal is not written by others");
        mark_stale_gone(&journals, &cloud("one")).unwrap();
        assert_eq!(remove_stale(&journals).unwrap(), Removed::default());
        assert_eq!(stale_journals(&journals).unwrap(), 0);
    }
}
