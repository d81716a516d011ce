//! Freezes a booted machine, and keeps its memory, disk and device state on this host with their checksums.
//!
//! All machines restored from a snapshot share its identity: boot id, machine id and host keys. They stay on this host:
//! they are reached over loopback and never handed to a third party.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use super::image::free_space;
use super::machine::{Machine, MachineDir, private};
use super::qemu::{Devices, Memory};
use super::thaw::thaw_into;
use super::vm::Vm;
use super::{Child, Qmp, cache, keys};
use crate::base::digest::sha256_of;
use crate::base::poll::{self, Look, TooLate};
use crate::base::progress::Progress;
use crate::base::unit::Bytes;
use crate::exec::cleanup::Resource;
use crate::exec::command::Command;
use crate::targets::machine_info::{Accelerator, MachineInfo};

/// Version of the recipe: raised when what is frozen changes, or how.
const RECIPE: &str = "2";
/// Time limit for saving the state: without the memory it is a megabyte.
const FREEZING: Duration = Duration::from_secs(60);
/// Time limit for waiting on other runs: a few boots on a busy host, one after the other.
const LIMIT: Duration = Duration::from_secs(900);
/// How long to wait for a machine to become idle, and the CPU time per second below which it counts as idle: an idle
/// emulated machine takes 10 ms to 80 ms.
const REST: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_millis(120);
/// Disk space for the files besides memory and disk, and for what the disk grows by until it is frozen.
const BESIDE: u64 = 200 << 20;

/// What is recorded about a snapshot, in `manifest.json` beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SnapshotManifest {
    pub(super) key: String,
    /// The machine, its architecture, its image, and its preparation: one snapshot is kept for each such kind.
    kind: String,
    frozen: String,
    pub(super) facts: MachineInfo,
    sums: BTreeMap<String, String>,
}

/// A preparation of a restored machine, before it is frozen once more.
#[derive(Clone, Copy, Debug)]
pub struct Preparation<'a> {
    /// What the preparation adds to the machine, in words: one snapshot is kept for each name and kind of machine.
    pub name: &'a str,
    /// What the preparation depends on besides the machine: if this changes, a new snapshot is made.
    pub rests_on: &'a str,
}

#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) folder: PathBuf,
    /// Whether it was made just now: a fault in it would then occur in the next one, too.
    pub(super) new: bool,
    pub(super) manifest: SnapshotManifest,
}

impl Snapshot {
    /// The machine's memory, mapped by every machine that is restored from it.
    pub(super) const MEMORY: &str = "ram";
    /// Everything else that is not on disk.
    pub(super) const STATE: &str = "state";
    /// The disk, an overlay of the image's.
    pub(super) const DISK: &str = "root.qcow2";
    /// What the boot wrote to its console.
    pub(super) const CONSOLE: &str = "console.log";

    const MANIFEST: &str = "manifest.json";
    const FILES: [&str; 7] =
        [Self::MEMORY, Self::STATE, Self::DISK, Self::CONSOLE, keys::DISK, keys::IDENTITY, keys::KNOWN];

    /// Returns the snapshot of a machine: the kept one if it is intact, otherwise a new one.
    pub(super) async fn provide(vm: &Vm) -> anyhow::Result<Snapshot> {
        let (key, kind) = (key(vm)?, kind(vm));
        let boot = async |part: &Path| {
            let booted = vm.booted(|| {
                let _ = fs::remove_dir_all(part);
                private(part).with_context(|| format!("{} cannot be made", part.display()))?;
                let work = MachineDir::make(&vm.context, &format!("{}-boot", vm.definition.name))?;
                Ok((work, part.to_owned(), Memory::Kept(part.join(Snapshot::MEMORY))))
            });
            booted.await
        };
        Snapshot::kept_or_made(vm, &key, &kind, boot).await
    }

    /// Returns the snapshot of a restored machine after a preparation: the kept one if intact, otherwise a new one.
    pub(super) async fn prepared(
        vm: &Vm,
        from: &Snapshot,
        preparation: &Preparation<'_>,
        prepare: impl AsyncFnOnce(&Machine) -> anyhow::Result<()>,
    ) -> anyhow::Result<Snapshot> {
        let key = key_of_prepared(&from.manifest, preparation);
        let kind = format!("{}, {}", kind(vm), preparation.name);
        let thaw = async |part: &Path| {
            private(part).with_context(|| format!("{} cannot be made", part.display()))?;
            let name = format!("{}-prepared", vm.definition.name);
            let machine = thaw_into(vm, from, &name, part).await?;
            prepare(&machine).await?;
            Ok(machine)
        };
        Snapshot::kept_or_made(vm, &key, &kind, thaw).await
    }

    /// Returns the snapshot of a key: the kept one if it is intact, otherwise a new one of the machine that `start`
    /// starts with its files in the folder it receives. A lock keeps two runs from making the same snapshot twice.
    async fn kept_or_made(
        vm: &Vm,
        key: &str,
        kind: &str,
        start: impl AsyncFnOnce(&Path) -> anyhow::Result<Machine>,
    ) -> anyhow::Result<Snapshot> {
        let snapshots = folder(&vm.context.settings.cache);
        let own = snapshots.join(key);
        if let Some(snapshot) = Snapshot::whole(&own, &vm.context.progress).await? {
            return Ok(snapshot);
        }
        fs::create_dir_all(&snapshots).with_context(|| format!("{} cannot be made", snapshots.display()))?;
        // One lock for all snapshots: two boots side by side on few cores take longer than one after the other.
        let _turn = cache::turn(&snapshots.join("making.lock"), "a snapshot", LIMIT, &vm.context.progress).await?;
        if let Some(snapshot) = Snapshot::whole(&own, &vm.context.progress).await? {
            return Ok(snapshot);
        }
        let part = snapshots.join(format!("{key}.{}.part", vm.context.run));
        let resource = Resource::Path { path: part.clone() };
        vm.context.cleanup.register(resource.clone())?;
        let started = Instant::now();
        vm.context.progress.note(format!("snapshot {kind}: made once"));
        check_free_space(vm, kind, &snapshots)?;
        let machine = Box::pin(start(&part)).await?;
        keep(vm, machine, (key, kind), &part).await?;
        vm.context.progress.note(format!("snapshot {kind}: ready after {:.0} s", started.elapsed().as_secs_f64()));
        remove_others(&snapshots, kind);
        let _ = fs::remove_dir_all(&own);
        fs::rename(&part, &own).with_context(|| format!("{} cannot be put into place", own.display()))?;
        vm.context.cleanup.release(&resource)?;
        let snapshot = Snapshot::open(&own).with_context(|| format!("{} is not complete", own.display()))?;
        Ok(Snapshot { new: true, ..snapshot })
    }

    fn open(folder: &Path) -> Option<Snapshot> {
        let manifest = serde_json::from_slice(&fs::read(folder.join(Self::MANIFEST)).ok()?).ok()?;
        Some(Snapshot { folder: folder.to_owned(), new: false, manifest })
    }

    /// Returns the snapshot in a folder if all its files are as they were frozen. Reports and discards a damaged one.
    async fn whole(folder: &Path, progress: &Progress) -> anyhow::Result<Option<Snapshot>> {
        let Some(snapshot) = Snapshot::open(folder) else { return Ok(None) };
        let known = &snapshot.manifest.sums;
        let problem = match sums(folder).await {
            Ok(seen) if seen == *known => return Ok(Some(snapshot)),
            Ok(seen) => {
                let changed = known.iter().find(|(name, sum)| seen.get(*name) != Some(sum));
                format!("{} is not as it was frozen", changed.map_or("something", |(name, _)| name))
            }
            Err(error) => format!("{error:#}"),
        };
        progress.note(format!("snapshot {}: {problem}: it is made anew", snapshot.manifest.kind));
        snapshot.discard();
        Ok(None)
    }

    /// Removes the snapshot. Machines restored from it keep the files they have open.
    pub(super) fn discard(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns the folder of snapshots. Each has its own folder there, named by its key.
pub(super) fn folder(cache: &Path) -> PathBuf {
    cache.join("snapshots")
}

/// Returns the key of the image that the snapshot in a folder was made from.
pub(super) fn image_of(folder: &Path) -> Option<String> {
    Snapshot::open(folder)?.manifest.facts.image
}

fn kind(vm: &Vm) -> String {
    format!("{} ({}, image {})", vm.definition.name, vm.arch, vm.image.manifest.key)
}

/// Computes the hash of everything that a frozen machine depends on: its image, QEMU's whole command line except file
/// paths, QEMU's build, the script that runs before freezing, and the host's CPU if the VM uses it.
fn key(vm: &Vm) -> anyhow::Result<String> {
    let mut key = cache::Key::default();
    let ram = Memory::Frozen("ram".into());
    let devices = Devices { ram, root: "root".into(), keys: "keys".into(), port: 0, sockets: PathBuf::new() };
    key.add("recipe", RECIPE.as_bytes());
    key.add("qemu", vm.qemu.build.as_bytes());
    key.add("argv", vm.qemu.argv(&vm.board(Path::new("console"), Some(devices))).join("\n").as_bytes());
    key.add("image", &serde_json::to_vec(&vm.image.manifest)?);
    key.add("before", before(vm)?.as_bytes());
    if vm.accelerator != Accelerator::Tcg {
        for file in ["/proc/cpuinfo", "/proc/sys/kernel/osrelease"] {
            let text = fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
            // Clock rates change from one reading to the next.
            text.lines().filter(|line| !line.contains("MHz")).for_each(|line| key.add("host", line.as_bytes()));
        }
    }
    Ok(key.finish())
}

/// Reads the script that runs on a machine before it is frozen.
fn before(vm: &Vm) -> anyhow::Result<String> {
    let script = vm.definition.path.with_file_name("freeze.sh");
    fs::read_to_string(&script).with_context(|| format!("{} cannot be read", script.display()))
}

/// Computes the hash of what a prepared machine depends on: the snapshot it was restored from, and the preparation.
fn key_of_prepared(from: &SnapshotManifest, preparation: &Preparation<'_>) -> String {
    let mut key = cache::Key::default();
    key.add("from", from.key.as_bytes());
    // Its disk is an overlay of that snapshot's disk, which can differ between two snapshots with the same key.
    key.add("disk", from.sums.get(Snapshot::DISK).map_or(&[], |sum| sum.as_bytes()));
    key.add("preparation", preparation.name.as_bytes());
    key.add("rests on", preparation.rests_on.as_bytes());
    key.finish()
}

fn check_free_space(vm: &Vm, kind: &str, place: &Path) -> anyhow::Result<()> {
    let (needed, free) =
        (Bytes((vm.definition.guest_memory(vm.arch) << 20) + BESIDE), free_space(place).unwrap_or(Bytes(0)));
    anyhow::ensure!(
        free >= needed,
        "{} has {free} left and a snapshot of {kind} takes up to {needed}: free some space or set ASSAY_CACHE",
        place.display()
    );
    Ok(())
}

/// Freezes a machine into the folder that holds its files, and writes the manifest there.
async fn keep(vm: &Vm, machine: Machine, known: (&str, &str), part: &Path) -> anyhow::Result<()> {
    machine.shell.read(&Command::script(&before(vm)?, &[])).await?;
    machine.shell.close().await;
    let emulated = machine.body.emulated().context("only what runs on this host is frozen")?;
    come_to_rest(&emulated.child).await?;
    let frozen = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    freeze(&emulated.qmp, &part.join(Snapshot::STATE)).await.context("failed to snapshot the machine")?;
    machine.shut_down().await;
    fs::copy(&machine.console, part.join(Snapshot::CONSOLE)).context("the console cannot be kept")?;
    let sums = sums(part).await?;
    let (key, kind) = (known.0.to_owned(), known.1.to_owned());
    let facts = MachineInfo { snapshot: Some(format!("{key} of {frozen}")), ..machine.facts.clone() };
    let manifest = SnapshotManifest { key, kind, frozen, facts, sums };
    let text = serde_json::to_vec_pretty(&manifest).context("a manifest")?;
    fs::write(part.join(Snapshot::MANIFEST), text).context("the manifest cannot be written")
}

/// Waits until a machine is idle: work still pending when it is frozen would be repeated in every restored one.
async fn come_to_rest(qemu: &Child) -> anyhow::Result<()> {
    let mut before = None;
    let rest = poll::until("a machine at rest", REST, SECOND, async || {
        let now = qemu.cpu_time().context("its qemu has ended")?;
        let took = before.replace(now).map(|before| now.saturating_sub(before));
        anyhow::Ok(match took {
            Some(took) if took < IDLE => Look::Done(()),
            _ => Look::Waiting(format!("it took {took:?} of a CPU in a second")),
        })
    });
    match rest.await {
        // This only makes restored machines slower: freeze it all the same, because on a very slow host no machine is
        // ever idle.
        Err(error) if error.is::<TooLate>() => Ok(()),
        rested => rested,
    }
}

/// Stops a machine and saves its state; memory and disk are already in their files.
async fn freeze(qmp: &Mutex<Qmp>, state: &Path) -> anyhow::Result<()> {
    let mut qmp = qmp.lock().await;
    qmp.execute("stop", json!({})).await?;
    qmp.leave_memory_in_its_file().await?;
    qmp.execute("migrate", json!({ "uri": format!("file:{}", state.display()) })).await?;
    qmp.migrated(FREEZING, Duration::from_millis(10)).await
}

async fn sums(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let folder = folder.to_owned();
    let sum = move |name: &str| {
        let sum = File::open(folder.join(name)).and_then(sha256_of);
        Ok((name.to_owned(), sum.with_context(|| format!("{name} cannot be read"))?))
    };
    // This hashes half a gigabyte, so it must not block a thread of the runtime.
    let sums = tokio::task::spawn_blocking(move || Snapshot::FILES.into_iter().map(sum).collect());
    sums.await.context("the sums were not made")?
}

/// Removes the kept snapshots of a kind, which are outdated or damaged.
fn remove_others(snapshots: &Path, kind: &str) {
    for entry in fs::read_dir(snapshots).into_iter().flatten().flatten() {
        if let Some(kept) = Snapshot::open(&entry.path())
            && kept.manifest.kind == kind
            && cache::in_place(&kept.folder)
        {
            kept.discard();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::platform::Arch;
    use crate::targets::image::tests::MANIFEST;
    use crate::targets::qemu::Start;
    use crate::targets::{Definition, DiskImage, Qemu, tests::context};

    async fn frozen(kind: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in Snapshot::FILES {
            fs::write(folder.path().join(name), format!("what is in {name}")).unwrap();
        }
        let manifest = SnapshotManifest {
            key: "k".into(),
            kind: kind.into(),
            frozen: "2026-01-01T00:00:00Z".into(),
            facts: MachineInfo { snapshot: Some("k of 2026".into()), ..crate::targets::machine_info::recorded() },
            sums: sums(folder.path()).await.unwrap(),
        };
        fs::write(folder.path().join(Snapshot::MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        folder
    }

    async fn whole(folder: &Path) -> (Option<Snapshot>, String) {
        let printed = Arc::new(std::sync::Mutex::new(String::new()));
        let heard = printed.clone();
        let progress = Progress::to(move |line| *heard.lock().unwrap() += line);
        let snapshot = Snapshot::whole(folder, &progress).await.unwrap();
        let printed = printed.lock().unwrap().clone();
        (snapshot, printed)
    }

    #[tokio::test]
    async fn an_intact_snapshot_is_used_and_one_of_which_any_file_was_changed_or_lost_is_removed() {
        let folder = frozen("nano").await;
        let (snapshot, printed) = whole(folder.path()).await;
        assert_eq!((snapshot.unwrap().manifest.key.as_str(), printed.as_str()), ("k", ""));
        assert!(whole(&folder.path().join("none")).await.0.is_none());
        for name in Snapshot::FILES {
            let folder = frozen("nano").await;
            fs::write(folder.path().join(name), "something else").unwrap();
            let (snapshot, printed) = whole(folder.path()).await;
            assert!(snapshot.is_none() && !folder.path().exists());
            assert!(printed.ends_with(&format!("nano: {name} is not as it was frozen: it is made anew")), "{printed}");
            let folder = frozen("nano").await;
            fs::remove_file(folder.path().join(name)).unwrap();
            let (snapshot, printed) = whole(folder.path()).await;
            assert!(snapshot.is_none() && printed.contains(&format!("{name} cannot be read")), "{printed}");
        }
    }

    #[tokio::test]
    async fn of_a_kind_one_snapshot_is_kept() {
        let all = tempfile::tempdir().unwrap();
        for (name, kind) in [("one", "nano"), ("two", "mega"), ("three.run.part", "nano")] {
            fs::rename(frozen(kind).await.keep(), all.path().join(name)).unwrap();
        }
        remove_others(all.path(), "nano");
        let mut left: Vec<_> = fs::read_dir(all.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["three.run.part", "two"]);
    }

    fn machines(change: impl FnOnce(&mut Vm)) -> String {
        let manifest = serde_json::from_str(MANIFEST).unwrap();
        let [disk, kernel, initrd] = ["disk.img", "vmlinuz", "initrd"].map(|name| Path::new("/i").join(name));
        let image = DiskImage {
            disk,
            format: "raw",
            start: Start::Kernel { kernel, initrd, options: "root=/dev/vda".into() },
            manifest,
        };
        let qemu = Qemu { program: "qemu".into(), version: "10.0.2".into(), build: "QEMU 10.0.2 (Debian 1)".into() };
        let mut vm = Vm {
            definition: Definition::named(&crate::Settings::read().unwrap(), "nano").unwrap(),
            arch: Arch::Amd64,
            qemu,
            image,
            accelerator: Accelerator::Tcg,
            context: context(),
            snapshots: Default::default(),
        };
        change(&mut vm);
        key(&vm).unwrap()
    }

    #[tokio::test]
    async fn the_snapshot_of_a_prepared_machine_is_stale_when_the_first_snapshot_or_the_preparation_has_changed() {
        let first = Snapshot::open(frozen("nano").await.path()).unwrap().manifest;
        let key = |change: fn(&mut SnapshotManifest), name: &str, rests_on: &str| {
            let mut from = first.clone();
            change(&mut from);
            key_of_prepared(&from, &Preparation { name, rests_on })
        };
        let now = key(|_| (), "with python", "sha256:1");
        assert_eq!(now, key(|_| (), "with python", "sha256:1"));
        assert_ne!(now, key(|_| (), "with python", "sha256:2"), "another image");
        assert_ne!(now, key(|_| (), "with mosquitto", "sha256:1"), "another preparation");
        assert_ne!(now, key(|from| from.key = "l".into(), "with python", "sha256:1"), "another machine");
        let other_disk = |from: &mut SnapshotManifest| drop(from.sums.insert(Snapshot::DISK.into(), "0".into()));
        assert_ne!(now, key(other_disk, "with python", "sha256:1"), "another one of the same machine");
    }

    #[test]
    fn a_snapshot_is_stale_when_anything_it_rests_on_has_changed() {
        let now = machines(|_| ());
        assert_eq!(now, machines(|_| ()), "the same machine has the same one");
        assert_ne!(now, machines(|vm| vm.qemu.build = "QEMU 10.0.2 (Debian 2)".into()), "another build of QEMU");
        assert_ne!(now, machines(|vm| vm.definition.cpus = 1), "another command line");
        assert_ne!(now, machines(|vm| vm.definition.memory = Bytes(1 << 30)), "another machine");
        assert_ne!(now, machines(|vm| vm.image.manifest.built = "2026-01-02T00:00:00Z".into()), "another image");
        assert_ne!(now, machines(|vm| vm.accelerator = Accelerator::Kvm), "another CPU");
    }
}
