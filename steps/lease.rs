//! The ledger of everything a run creates outside its evidence folder, so that nothing survives the run.
//!
//! A ledger is a file that its run keeps locked. The lock goes with the process, however it ends: a ledger that can
//! be locked by somebody else belongs to a run that is over, and what it lists is removed by whoever comes next.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// One thing that must not outlive its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Lease {
    /// A process and all that is in its group.
    Process {
        /// Its process id, which is also its group's.
        pid: i32,
        /// Its start, in clock ticks since boot: a process id is used again, the pair is not.
        started: u64,
    },
    /// A Podman container.
    Container {
        /// Its name.
        name: String,
    },
    /// An image in the local Podman storage.
    Image {
        /// Its reference.
        reference: String,
    },
    /// A file or a folder with all it holds.
    Path {
        /// Where.
        path: PathBuf,
    },
}

impl Lease {
    /// The lease on a child that leads a process group of its own.
    ///
    /// # Errors
    /// Where the child is already gone.
    pub fn process(pid: u32) -> anyhow::Result<Lease> {
        let pid = i32::try_from(pid).context("a process id out of range")?;
        let (_, started) = group_and_start(pid).with_context(|| format!("process {pid} ended at once"))?;
        Ok(Lease::Process { pid, started })
    }

    /// Removes the thing; already gone is fine. Says what was removed, if there was something to remove.
    fn release(&self) -> anyhow::Result<Option<String>> {
        Ok(match self {
            Lease::Process { pid, started } => end_group(*pid, *started).then(|| format!("process {pid}")),
            Lease::Container { name } => podman(&["rm", "--force", "--ignore", "--volumes", name])?
                .contains(name.as_str())
                .then(|| format!("container {name}")),
            Lease::Image { reference } => match podman(&["image", "exists", reference]) {
                Ok(_) => {
                    podman(&["rmi", "--force", reference])?;
                    Some(format!("image {reference}"))
                }
                Err(_) => None,
            },
            Lease::Path { path } => {
                let gone = match fs::symlink_metadata(path) {
                    Err(_) => return Ok(None),
                    // What is mounted there may be the host's own devices: never remove across a mount.
                    Ok(_) if let Some(point) = mounted_below(path) => {
                        anyhow::bail!("{} is not removed, for {point} is mounted: umount it", path.display())
                    }
                    Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).or_else(|error| {
                        // Without root an image's folders may be read-only or another user's: only Podman's
                        // namespace gets rid of them.
                        podman(&["unshare", "rm", "-rf", &path.to_string_lossy()]).map(drop).map_err(|_| error)
                    }),
                    Ok(_) => fs::remove_file(path),
                };
                gone.with_context(|| format!("cannot remove {}", path.display()))?;
                Some(path.display().to_string())
            }
        })
    }
}

/// A mount point at or below a path, as `/proc/self/mountinfo` has it.
fn mounted_below(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let path = fs::canonicalize(path).ok()?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(|point| point.replace("\\040", " ")).find(|point| Path::new(point).starts_with(&path))
}

fn podman(arguments: &[&str]) -> anyhow::Result<String> {
    let output = std::process::Command::new("podman").args(arguments).output().context("cannot start podman")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(
        output.status.success(),
        "podman {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(said)
}

/// The process group and the start time of a process, from `/proc/PID/stat`.
fn group_and_start(pid: i32) -> Option<(i32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    // A zombie is over: only its parent can bury it.
    (fields.first()? != &"Z").then_some(())?;
    Some((fields.get(2)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}

/// Kills every process of a group that is not older than its leader, and waits until they are over: what they were
/// writing is removed next, and a kill takes its time. Says whether there was one.
fn end_group(leader: i32, started: u64) -> bool {
    let mut found = false;
    for _ in 0..200 {
        let members = group(leader, started);
        if members.is_empty() {
            break;
        }
        found = true;
        for pid in members.into_iter().filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    found
}

/// The living processes of a group that are not older than its leader.
fn group(leader: i32, started: u64) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let member = |pid: &i32| match group_and_start(*pid) {
        Some((_, start)) if *pid == leader => start == started,
        Some((group, start)) => group == leader && start >= started,
        None => false,
    };
    pids.filter(member).collect()
}

/// The ledger of one run, locked for as long as the run lives.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    open: Mutex<(File, Vec<Lease>)>,
}

impl Ledger {
    /// Opens the ledger of a run in `folder`.
    ///
    /// # Errors
    /// Where the folder cannot be written to.
    pub fn open(folder: &Path, run: &str) -> anyhow::Result<Ledger> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let path = folder.join(format!("{run}.jsonl"));
        for _ in 0..20 {
            let open = OpenOptions::new().create(true).append(true).open(&path);
            let file = open.with_context(|| format!("cannot write {}", path.display()))?;
            // Between the two a sweep may have taken the new ledger for one of a run that is over, and removed it.
            if file.try_lock().is_ok() && same_file(&file, &path) {
                return Ok(Ledger { path, open: Mutex::new((file, Vec::new())) });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("{} is in use by another run", path.display())
    }

    /// Notes a thing; do it before the thing is made wherever its name is known before.
    ///
    /// # Errors
    /// Where the ledger cannot be written to.
    pub fn take(&self, lease: Lease) -> anyhow::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let line = serde_json::to_string(&lease)? + "\n";
        open.0.write_all(line.as_bytes()).context("cannot write the ledger of leases")?;
        open.1.push(lease);
        Ok(())
    }

    /// Releases one thing before the end of the run.
    ///
    /// # Errors
    /// Where it cannot be removed; it stays in the ledger then.
    pub fn release(&self, lease: &Lease) -> anyhow::Result<()> {
        lease.release()?;
        let mut open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        open.1.retain(|held| held != lease);
        Ok(())
    }

    /// Releases everything, newest first, and the ledger itself if nothing resists. Gives what could not be removed.
    pub fn close(&self) -> Vec<String> {
        let mut open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (_, troubles) = release_all(std::mem::take(&mut open.1));
        if troubles.is_empty() {
            let _ = fs::remove_file(&self.path);
        }
        troubles
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}

fn release_all(leases: Vec<Lease>) -> (Vec<String>, Vec<String>) {
    let (mut removed, mut troubles) = (Vec::new(), Vec::new());
    for lease in leases.iter().rev() {
        match lease.release() {
            Ok(said) => removed.extend(said),
            Err(error) => troubles.push(format!("{error:#}")),
        }
    }
    (removed, troubles)
}

/// Whether a path still leads to an open file.
fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => open.dev() == there.dev() && open.ino() == there.ino(),
        _ => false,
    }
}

/// What a sweep found of runs that are over.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sweep {
    /// What was removed.
    pub removed: Vec<String>,
    /// What could not be removed, and why.
    pub troubles: Vec<String>,
}

/// Whether a run is under way.
///
/// # Errors
/// Where the folder of ledgers cannot be read.
pub fn under_way(folder: &Path) -> anyhow::Result<bool> {
    let locked = |path: &PathBuf| File::open(path).is_ok_and(|file| file.try_lock().is_err());
    Ok(ledgers(folder)?.iter().any(locked))
}

/// How many runs are over and have left something.
///
/// # Errors
/// Where the folder of ledgers cannot be read.
pub fn left(folder: &Path) -> anyhow::Result<usize> {
    let free = |path: &&PathBuf| File::open(path).is_ok_and(|file| file.try_lock().is_ok());
    Ok(ledgers(folder)?.iter().filter(free).count())
}

fn ledgers(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    paths.sort();
    Ok(paths)
}

/// Removes what runs that are over have left; runs that still live are not touched.
///
/// # Errors
/// Where the folder of ledgers cannot be read.
pub fn sweep(folder: &Path) -> anyhow::Result<Sweep> {
    let mut sweep = Sweep::default();
    for path in ledgers(folder)? {
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_err() {
            continue;
        }
        // The last line may be torn by a kill: what it would have named was not made yet.
        let leases = BufReader::new(&file).lines().map_while(Result::ok);
        let leases = leases.filter_map(|line| serde_json::from_str(&line).ok()).collect();
        let (removed, troubles) = release_all(leases);
        if troubles.is_empty() {
            match fs::remove_file(&path) {
                // Another sweep was faster.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("cannot remove {}", path.display()))?,
            }
        }
        sweep.removed.extend(removed);
        sweep.troubles.extend(troubles);
    }
    Ok(sweep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;

    #[test]
    fn a_run_that_was_killed_is_swept_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (dead, alive) = (folder.path().join("dead"), folder.path().join("alive"));
        fs::create_dir_all(dead.join("deep")).unwrap();
        fs::create_dir_all(&alive).unwrap();
        let ledgers = folder.path().join("ledgers");
        let living = Ledger::open(&ledgers, "living").unwrap();
        living.take(Lease::Path { path: alive.clone() }).unwrap();
        let line = serde_json::to_string(&Lease::Path { path: dead.clone() }).unwrap();
        fs::write(ledgers.join("killed.jsonl"), line + "\n{\"kind\":\"pa").unwrap();

        assert!(under_way(&ledgers).unwrap());
        assert_eq!(left(&ledgers).unwrap(), 1);
        let found = sweep(&ledgers).unwrap();

        assert_eq!(found, Sweep { removed: vec![dead.display().to_string()], troubles: vec![] });
        assert!(!dead.exists() && alive.exists());
        assert_eq!(sweep(&ledgers).unwrap(), Sweep::default());
        drop(living);
        assert!(!alive.exists(), "a ledger releases what it holds when it goes");
        assert!(!under_way(&ledgers).unwrap());
        assert_eq!(left(&ledgers).unwrap(), 0);
    }

    #[test]
    fn a_mount_is_seen_before_something_is_removed() {
        assert!(mounted_below(Path::new("/")).is_some());
        assert_eq!(mounted_below(Path::new("/proc")).as_deref(), Some("/proc"));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(mounted_below(folder.path()), None);
    }

    #[test]
    fn a_process_goes_with_its_whole_group_and_a_stranger_with_its_id_does_not() {
        let mut child =
            std::process::Command::new("sh").args(["-c", "sleep 60 & wait"]).process_group(0).spawn().unwrap();
        let Lease::Process { pid, started } = Lease::process(child.id()).unwrap() else { unreachable!() };
        // In clock ticks, of which some pass until the child has its own child.
        assert!(!end_group(pid, started + 10_000), "another start time is another process");
        assert!(end_group(pid, started));
        child.wait().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while end_group(pid, started) {
            assert!(std::time::Instant::now() < deadline, "somebody of the group is left");
        }
    }
}
