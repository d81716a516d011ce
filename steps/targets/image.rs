//! Makes disk images from definitions with mmdebstrap, and caches them under a hash of their inputs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufRead as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::child::Child;
use super::definition::Definition;
use super::qemu::Start;
use super::{Context, cache, cloud_image, console, reach_mirror, remedy};
use crate::base::platform::Arch;
use crate::base::programs;
use crate::base::unit::Bytes;
use crate::exec::cleanup::Resource;
use crate::exec::command::{Command, Status, quote, tail};
use crate::exec::shell::Shell;

/// The disk of a cloud image with its packages.
pub(super) const CLOUD_DISK: &str = "disk.qcow2";
/// Version of the recipe below: raised when it changes in a way that changes images.
const RECIPE: &str = "2";
/// The disk space that a build needs: for the unpacked system, the disk made from it, and the packages in between.
pub const DISK_NEEDED: Bytes = Bytes(3_000_000_000);
/// Time limit of a build: through qemu-user on a busy host.
const LIMIT: Duration = Duration::from_secs(45 * 60);
/// How often a build reports its progress.
const BEAT: Duration = Duration::from_secs(5);

/// A bootable system. Machines write to overlays of its disk, never to the disk.
#[derive(Clone, Debug)]
pub struct DiskImage {
    pub disk: PathBuf,
    /// The format of its disk: `raw` or `qcow2`.
    pub(super) format: &'static str,
    pub(super) start: Start,
    pub manifest: Manifest,
}

/// The record of how an image was made, in `manifest.json` beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The hash of all its inputs except the packages' versions.
    pub key: String,
    pub distribution: String,
    pub architecture: String,
    pub built: String,
    pub seconds: f64,
    pub mirror: String,
    pub packages: BTreeMap<String, String>,
    /// The options of a cloud image's kernel, `root=…` among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
}

/// What is made of packages or of a cloud image, besides the files in the image's folder.
pub(super) struct Made {
    /// Where the packages came from.
    pub mirror: String,
    pub packages: BTreeMap<String, String>,
    pub options: Option<String>,
}

/// Returns the scripts that run before the packages are unpacked, or install them on a cloud image, and after that.
pub(super) fn hooks(definition: &Definition) -> [PathBuf; 2] {
    let first = match definition.platform.disk {
        Some(_) => definition.path.with_file_name("cloud-image.sh"),
        None => definition.setup.clone(),
    };
    [first, definition.path.with_file_name("customize.sh")]
}

impl DiskImage {
    /// Computes the hash of all inputs of an image; memory and CPUs belong to the machine alone.
    pub fn key(definition: &Definition, arch: Arch) -> anyhow::Result<String> {
        let mut key = cache::Key::default();
        key.add("recipe", RECIPE.as_bytes());
        key.add("platform", definition.platform.inputs().as_bytes());
        key.add("architecture", arch.debian().as_bytes());
        key.add("disk", definition.disk.0.to_string().as_bytes());
        key.add("packages", definition.packages(arch).join("\n").as_bytes());
        for script in hooks(definition) {
            let text = fs::read(&script).with_context(|| format!("{} cannot be read", script.display()))?;
            key.add("script", &text);
        }
        Ok(key.finish())
    }

    pub fn kept(definition: &Definition, arch: Arch, cache: &Path) -> anyhow::Result<Option<DiskImage>> {
        Ok(DiskImage::open(&folder(cache).join(DiskImage::key(definition, arch)?)))
    }

    /// Returns the space it takes on this host's disk: less than the sizes of its files, because the disk is sparse.
    pub fn disk_usage(&self) -> Bytes {
        let files = self.kernel().into_iter().flatten().chain([&self.disk]);
        Bytes(files.filter_map(|file| fs::metadata(file).ok()).map(|file| file.blocks() * 512).sum())
    }

    fn open(folder: &Path) -> Option<DiskImage> {
        let manifest: Manifest = serde_json::from_slice(&fs::read(folder.join("manifest.json")).ok()?).ok()?;
        let (disk, format) = if manifest.options.is_some() { (CLOUD_DISK, "qcow2") } else { ("disk.img", "raw") };
        let [disk, kernel, initrd] = [disk, "vmlinuz", "initrd"].map(|name| folder.join(name));
        let whole = disk.is_file() && kernel.is_file() && initrd.is_file();
        let options = manifest.options.clone().unwrap_or_else(|| "root=/dev/vda rw".to_owned());
        whole.then_some(DiskImage { disk, format, start: Start::Kernel { kernel, initrd, options }, manifest })
    }

    /// Returns the files of its kernel and its initramfs.
    pub fn kernel(&self) -> Option<[&PathBuf; 2]> {
        match &self.start {
            Start::Kernel { kernel, initrd, .. } => Some([kernel, initrd]),
            Start::Loader(_) => None,
        }
    }

    /// Returns the image of a definition: the kept one, or a new one, which a lock keeps two runs from making twice.
    pub async fn provide(definition: &Definition, arch: Arch, context: &Context) -> anyhow::Result<DiskImage> {
        let key = DiskImage::key(definition, arch)?;
        let machines = folder(&context.settings.cache);
        let folder = machines.join(&key);
        if let Some(image) = DiskImage::open(&folder) {
            return Ok(image);
        }
        fs::create_dir_all(&machines).with_context(|| format!("{} cannot be made", machines.display()))?;
        let lock = machines.join(format!("{key}.lock"));
        let _turn = cache::turn(&lock, &format!("image {key}"), LIMIT, &context.progress).await?;
        match DiskImage::open(&folder) {
            Some(image) => Ok(image),
            None => ImageBuild { definition, arch, context, key: &key, machines: &machines }.run(&folder).await,
        }
    }
}

struct ImageBuild<'a> {
    definition: &'a Definition,
    arch: Arch,
    context: &'a Context,
    key: &'a str,
    machines: &'a Path,
}

impl ImageBuild<'_> {
    async fn run(&self, folder: &Path) -> anyhow::Result<DiskImage> {
        let (started, arch, platform) = (Instant::now(), self.arch, &self.definition.platform);
        let work = self.machines.join(format!("{}.{}.part", self.key, self.context.run));
        let resource = Resource::Path { path: work.clone() };
        self.context.cleanup.register(resource.clone())?;
        let _ = fs::remove_dir_all(&work);
        fs::create_dir(&work).with_context(|| format!("{} cannot be made", work.display()))?;
        fs::set_permissions(&work, fs::Permissions::from_mode(0o755))?;
        let Made { mirror, packages, options } = match &platform.disk {
            Some(disk) => Box::pin(cloud_image::make(disk, self.definition, arch, self.context, &work)).await?,
            None => self.make(&work).await?,
        };
        let manifest = Manifest {
            key: self.key.to_owned(),
            distribution: platform.name.clone(),
            architecture: arch.debian().to_owned(),
            built: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            seconds: started.elapsed().as_secs_f64().round(),
            mirror,
            packages,
            options,
        };
        fs::write(work.join("manifest.json"), serde_json::to_vec_pretty(&manifest)?)?;
        let _ = fs::remove_dir_all(folder);
        fs::rename(&work, folder).with_context(|| format!("{} cannot be put into place", folder.display()))?;
        self.context.cleanup.release(&resource)?;
        self.context.progress.note(format!("image {arch}: ready after {:.0} s", started.elapsed().as_secs_f64()));
        DiskImage::open(folder).with_context(|| format!("{} is not complete", folder.display()))
    }

    /// Makes it of a platform's packages.
    async fn make(&self, work: &Path) -> anyhow::Result<Made> {
        let (arch, platform) = (self.arch, &self.definition.platform);
        let shell = Shell::local(self.context.observer.clone());
        let namespace = self.check(&shell).await?;
        let mirror = reach_mirror(&shell, &self.context.settings, platform, arch, self.machines).await?;
        self.context.progress.note(format!("image {} ({arch}): made once from {mirror}", platform.name));
        self.install(&shell, &namespace, &mirror, work).await?;
        let root = work.join("root");
        let list = Command::new(self.program("dpkg-query")?)
            .args(["--admindir".to_owned(), root.join("var/lib/dpkg").display().to_string()])
            .args(["--show", "--showformat=${Package} ${Version}\\n"]);
        let listed = shell.read(&list).await?;
        let packages = listed.lines().filter_map(|line| line.split_once(' '));
        let packages = packages.map(|(package, version)| (package.to_owned(), version.to_owned())).collect();
        for (link, name) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")] {
            // Debian has the link in /, Ubuntu in /boot.
            let places = [root.clone(), root.join("boot")];
            let found = places.iter().find_map(|place| Some((place, fs::read_link(place.join(link)).ok()?)));
            let (place, target) = found.with_context(|| format!("the image has no /{link}, nor /boot/{link}"))?;
            let file = target.strip_prefix("/").map_or_else(|_| place.join(&target), |target| root.join(target));
            tokio::fs::copy(&file, work.join(name))
                .await
                .with_context(|| format!("{} cannot be copied", file.display()))?;
        }
        tracing::info!("image {arch}: making the disk");
        let disk = work.join("disk.img");
        File::create(&disk)?.set_len(self.definition.disk.0).context("the disk's file cannot be made")?;
        let make = as_root(&namespace, &[&self.program("mke2fs")?])
            .args(["-q", "-F", "-t", "ext4", "-L", "root", "-O", "^has_journal", "-d"])
            .args([root.display().to_string(), disk.display().to_string()])
            .time_limit(Duration::from_secs(600));
        shell.read(&make).await?;
        let remove = as_root(&namespace, &["rm", "-rf"]).arg(root.display().to_string());
        shell.read(&remove).await.context("the unpacked system cannot be removed")?;
        Ok(Made { mirror, packages, options: None })
    }

    /// Checks in advance everything that would otherwise only fail minutes later.
    async fn check(&self, shell: &Shell) -> anyhow::Result<Vec<String>> {
        let namespace = check_host(self.definition, self.arch, &self.context.settings.cache)?;
        if Arch::host() != Some(self.arch) {
            let probe = Command::new(self.program("arch-test")?).arg(self.arch.debian());
            anyhow::ensure!(
                shell.run(&probe).await?.succeeded(),
                "{} programs do not run on this host, which making an image of them needs: {} sets up qemu-user",
                self.arch,
                remedy(self.arch)
            );
        }
        Ok(namespace)
    }

    fn program(&self, name: &str) -> anyhow::Result<String> {
        programs::need(name, &remedy(self.arch))
    }

    async fn install(&self, shell: &Shell, namespace: &[String], mirror: &str, work: &Path) -> anyhow::Result<()> {
        // A private mount namespace: the build's mounts of the host's devices end with it, even if it is killed.
        let apart = as_root(namespace, &[&self.program("unshare")?, "--mount", "--propagation", "private", "--"]);
        // Where that is not allowed, nothing can be mounted either, and mmdebstrap works without mounts.
        let apart = match shell.run(&apart.clone().arg("true")).await?.succeeded() {
            true => apart,
            false => as_root(namespace, &[]),
        };
        // Its temporary files are removed with the folder, even if it is killed.
        let mut build = vec!["env".to_owned(), format!("TMPDIR={}", work.display()), self.program("mmdebstrap")?];
        build.extend(arguments(self.definition, self.arch, mirror, &work.join("root")));
        let (started, log) = (Instant::now(), work.join("build.log"));
        let argv = [apart.argv, build].concat();
        let child = Child::start(&argv, &log, &self.context.cleanup)?;
        let read = || console::read(&log);
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = tokio::time::sleep(BEAT) => {}
            }
            let (arch, seconds) = (self.arch, started.elapsed().as_secs_f64());
            tracing::info!("image {arch}: {} ({seconds:.0} s)", stage(&read()));
            anyhow::ensure!(
                seconds < LIMIT.as_secs_f64(),
                "the image was not made within {LIMIT:?}; last: {}",
                tail(&read(), 5)
            );
        };
        let printed = read();
        let failed = || format!("mmdebstrap ended with {status} while {}: {}", stage(&printed), tail(&printed, 10));
        anyhow::ensure!(status == Status::Code(0), failed());
        Ok(())
    }
}

/// Returns the arguments of mmdebstrap.
fn arguments(definition: &Definition, arch: Arch, mirror: &str, root: &Path) -> Vec<String> {
    let platform = &definition.platform;
    let [setup, customize] =
        hooks(definition).map(|script| format!("sh {} \"$1\"", quote(&script.display().to_string())));
    let mut arguments = vec![
        "--mode=root".to_owned(),
        format!("--architectures={arch}"),
        "--variant=minbase".to_owned(),
        format!("--components={}", platform.components.join(",")),
        format!("--keyring={}", platform.keyring.file.display()),
        format!("--include={}", definition.packages(arch).join(",")),
        format!("--setup-hook={setup}"),
        format!("--customize-hook={customize}"),
    ];
    if platform.accept_expired {
        arguments.push("--aptopt=Acquire::Check-Valid-Until \"false\"".to_owned());
    }
    arguments.extend([platform.suite.clone(), root.display().to_string(), mirror.to_owned()]);
    let updates = platform.updates.as_ref();
    arguments.extend(updates.map(|suite| format!("deb {mirror} {suite} {}", platform.components.join(" "))));
    arguments
}

/// Returns a command that may give files to any user of the image: run as root, or in the namespace that [`namespace`]
/// returns.
fn as_root(namespace: &[String], argv: &[&str]) -> Command {
    let mut words = namespace.iter().map(String::as_str).chain(argv.iter().copied());
    let program = words.next().unwrap_or("env").to_owned();
    Command::new(program).args(words)
}

/// Checks that the programs that make an image are there and may run, and that there is enough disk space.
pub fn check_host(definition: &Definition, arch: Arch, cache: &Path) -> anyhow::Result<Vec<String>> {
    let (remedy, machines) = (remedy(arch), folder(cache));
    for program in ["mmdebstrap", "mke2fs", "dpkg-query", "unshare"] {
        programs::need(program, &remedy)?;
    }
    let namespace = namespace(&remedy)?;
    definition.platform.check_keyring()?;
    fs::create_dir_all(&machines).with_context(|| format!("{} cannot be made", machines.display()))?;
    let free = free_space(&machines)?;
    anyhow::ensure!(
        free >= DISK_NEEDED,
        "{} has {free} left and making a machine image takes {DISK_NEEDED}: free some space or set ASSAY_CACHE",
        machines.display()
    );
    Ok(namespace)
}

/// Returns what gives an unprivileged user enough user ids for an image: `podman unshare`, tried; empty for root.
fn namespace(remedy: &str) -> anyhow::Result<Vec<String>> {
    if rustix::process::geteuid().is_root() {
        return Ok(Vec::new());
    }
    let words = [programs::need("podman", remedy)?, "unshare".to_owned()];
    let tried = std::process::Command::new(&words[0]).args([&words[1], "cat", "/proc/self/uid_map"]).output();
    let printed = match tried {
        // Without ids of its own, the user is the only one there.
        Ok(output) if output.stdout.lines().count() > 1 => return Ok(words.to_vec()),
        Ok(output) if output.status.success() => "it shows one id".to_owned(),
        Ok(output) => tail(&String::from_utf8_lossy(&output.stderr), 2).replace('\n', "; "),
        Err(error) => error.to_string(),
    };
    anyhow::bail!(
        "making a machine image without root takes user ids of its own, and `podman unshare cat /proc/self/uid_map` \
         shows none ({printed}): {remedy} gives them to this user"
    )
}

pub fn free_space(folder: &Path) -> std::io::Result<Bytes> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(Bytes(space.f_bavail.saturating_mul(space.f_frsize)))
}

/// Returns the folder of images. Each has its own folder there, named by its key.
pub fn folder(cache: &Path) -> PathBuf {
    cache.join("machines")
}

/// Returns what mmdebstrap is doing, from the last line of its log that states it, without the trailing dots.
fn stage(log: &str) -> String {
    let verbs = ["running", "downloading", "extracting", "installing", "cleaning"];
    let doing =
        |line: &&str| line.strip_prefix("I: ").is_some_and(|line| verbs.iter().any(|verb| line.starts_with(verb)));
    let line = log.lines().rev().find(doing).map_or("starting", |line| &line[3..]);
    line.split(" in shell").next().unwrap_or(line).trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::settings::Settings;

    pub(in crate::targets) const MANIFEST: &str = r#"{"key": "k", "distribution": "debian-13", "architecture": "amd64",
        "built": "2026-01-01T00:00:00Z", "seconds": 33, "mirror": "http://m", "packages": {"crun": "1.21-1"}}"#;
    const LOG: &str = include_str!("../../fixtures/facts/mmdebstrap.txt");

    fn machines() -> [Definition; 3] {
        let settings = Settings::read().unwrap();
        ["nano", "mega", "tiny"].map(|name| Definition::named(&settings, name).unwrap())
    }

    #[test]
    fn machines_of_the_same_software_share_one_image() {
        let [nano, mega, tiny] = machines().map(|machine| DiskImage::key(&machine, Arch::Amd64).unwrap());
        assert_eq!((&nano, &nano), (&mega, &tiny));
        assert_eq!(nano.len(), 20);
        let [machine, ..] = machines();
        assert_ne!(nano, DiskImage::key(&machine, Arch::Arm64).unwrap());
        let more = Definition { packages: vec!["crun".into()], ..machine.clone() };
        assert_ne!(nano, DiskImage::key(&more, Arch::Amd64).unwrap());
        let shuffled = Definition { packages: machine.packages.iter().rev().cloned().collect(), ..machine };
        assert_eq!(nano, DiskImage::key(&shuffled, Arch::Amd64).unwrap());
    }

    #[test]
    fn a_platform_gives_mmdebstrap_its_packages_its_archive_and_its_keys() {
        let settings = Settings::read().unwrap();
        let lines = |name: &str, arch: Arch| {
            let settings = settings.on_platform(Some(name.to_owned()));
            let machine = Definition::named(&settings, "nano").unwrap();
            let mirror = machine.platform.archive(arch).unwrap_or("http://own/debian");
            let root = settings.root.display().to_string();
            arguments(&machine, arch, mirror, Path::new("/made/root")).join("\n").replace(&root, "PROJECT")
        };
        let all = [("debian-14", Arch::Amd64), ("ubuntu-24.04", Arch::Amd64), ("ubuntu-24.04", Arch::Arm64)];
        let shown = all.map(|(name, arch)| format!("== {name} {arch}\n{}", lines(name, arch))).join("\n\n");
        insta::assert_snapshot!("mmdebstrap", shown);
    }

    #[test]
    fn a_folder_that_lacks_a_part_is_no_image() {
        let folder = tempfile::tempdir().unwrap();
        let [machine, ..] = machines();
        assert!(DiskImage::kept(&machine, Arch::Amd64, folder.path()).unwrap().is_none());
        let own = folder.path().join("machines").join(DiskImage::key(&machine, Arch::Amd64).unwrap());
        fs::create_dir_all(&own).unwrap();
        for name in ["disk.img", "vmlinuz", "manifest.json"] {
            fs::write(own.join(name), MANIFEST).unwrap();
        }
        assert!(DiskImage::kept(&machine, Arch::Amd64, folder.path()).unwrap().is_none());
        fs::write(own.join("initrd"), "").unwrap();
        let image = DiskImage::kept(&machine, Arch::Amd64, folder.path()).unwrap().unwrap();
        assert_eq!(image.manifest.packages["crun"], "1.21-1");
    }

    #[test]
    fn a_build_shows_its_stage() {
        let at = |end: &str| stage(&LOG[..LOG.find(end).unwrap() + end.len()]);
        assert_eq!(stage(""), "starting");
        assert_eq!(at("extracting archives...\n"), "extracting archives");
        assert_eq!(
            at("installing remaining packages inside the chroot...\n"),
            "installing remaining packages inside the chroot"
        );
        assert_eq!(at("exec /root\n"), "running --setup-hook");
        assert_eq!(stage(LOG), "cleaning package lists and apt cache");
    }
}
