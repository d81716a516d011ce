//! Removes each kind of resource that a cleanup journal lists.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::Resource;
use crate::base::commands;
use crate::exec::root;

/// Ends the processes of a control group, and removes it.
pub const END_GROUP: &str = include_str!("end_group.sh");

impl Resource {
    /// Removes the resource, and returns whether it was still there.
    pub(super) fn release(&self) -> anyhow::Result<bool> {
        match self {
            Resource::Process { pid, started } => Ok(end_group(*pid, *started)),
            Resource::Container { name } => {
                Ok(podman(&["rm", "--force", "--ignore", "--volumes", name])?.contains(name.as_str()))
            }
            Resource::Path { path } => {
                let gone = match fs::symlink_metadata(path) {
                    Err(_) => return Ok(false),
                    // Never remove across a mount: the mounted files may be the host's own devices.
                    Ok(_) if let Some(point) = mounted_below(path) => {
                        anyhow::bail!("{} is not removed, for {point} is mounted: umount it", path.display())
                    }
                    Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).or_else(|error| {
                        // Without root, an image's folders may be read-only or owned by another user id. Only Podman's
                        // user namespace can remove them.
                        podman(&["unshare", "rm", "-rf", &path.to_string_lossy()]).map(drop).map_err(|_| error)
                    }),
                    Ok(_) => fs::remove_file(path),
                };
                gone.with_context(|| format!("cannot remove {}", path.display()))?;
                Ok(true)
            }
            Resource::Cgroup { path } if !path.exists() => Ok(false),
            Resource::Cgroup { path } => {
                let ended = root::command(&["sh", "-c", END_GROUP, "nspawn", &path.to_string_lossy()]).output();
                let ended = ended.with_context(|| format!("{self} cannot be removed"))?;
                let errors = String::from_utf8_lossy(&ended.stderr);
                anyhow::ensure!(ended.status.success(), "{self} cannot be removed: {}", errors.trim());
                Ok(true)
            }
            Resource::RemoteHost { .. } | Resource::Cloud { .. } => {
                let with_aws = matches!(self, Resource::Cloud { .. });
                let gc = if with_aws { commands::assay_with_aws("gc") } else { commands::assay("gc") };
                anyhow::bail!("{self} may be left: `{gc}` looks and removes it")
            }
        }
    }
}

/// Finds a mount point at or below a path in `/proc/self/mountinfo`.
fn mounted_below(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let path = fs::canonicalize(path).ok()?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(|point| point.replace("\\040", " ")).find(|point| Path::new(point).starts_with(&path))
}

fn podman(arguments: &[&str]) -> anyhow::Result<String> {
    let output = std::process::Command::new("podman").args(arguments).output().context("cannot start podman")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "podman {} failed: {}", arguments.join(" "), errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads the process group and the start time of a process from `/proc/PID/stat`.
pub(super) fn group_and_start(pid: i32) -> Option<(i32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    // A zombie has already ended; only its parent can reap it.
    (fields.first()? != &"Z").then_some(())?;
    Some((fields.get(2)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}

/// Kills every process of a group that is not older than its leader and waits up to two seconds until they have ended,
/// because the files that they write are removed next. Returns whether there was one.
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

/// Lists the live processes of a group that are not older than its leader.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;

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
        let Resource::Process { pid, started } = Resource::process(child.id()).unwrap() else { unreachable!() };
        // The start time is in clock ticks. Some pass until the child has started its own child.
        assert!(!end_group(pid, started + 10_000), "another start time is another process");
        assert!(end_group(pid, started));
        child.wait().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while end_group(pid, started) {
            assert!(std::time::Instant::now() < deadline, "a process of the group is left");
        }
    }
}
