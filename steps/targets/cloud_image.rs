//! Makes machine images of cloud images (`--disk`): checks what is given, boots it once with a seed for cloud-init, and has
//! its own package manager install what the annex installs. From then on, its kernel is started directly, as all are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::console::{self, Stage};
use super::definition::{Definition, Withheld};
use super::image::{CLOUD_DISK, DiskImage, Made, Manifest, hooks};
use super::machine::{Machine, MachineDir, evidence_file};
use super::qemu::{Memory, Qemu, Start};
use super::vm::Vm;
use super::{Context, accelerator, remedy};
use crate::base::digest::sha256_of;
use crate::base::platform::Arch;
use crate::base::programs;
use crate::base::progress::Progress;
use crate::base::settings::CloudDisk;
use crate::base::unit::Bytes;
use crate::exec::command::{Command, tail};
use crate::exec::shell::Shell;
use crate::targets::machine_info::Accelerator;

/// Time limit for installing the packages: an emulated CPU takes some minutes.
const INSTALLING: Duration = Duration::from_secs(45 * 60);
/// Time limit for copying a disk, and for the machine to end.
const COPYING: Duration = Duration::from_secs(600);
/// The memory of a machine while packages are installed on it, which no claim judges.
const MEMORY: Bytes = Bytes(2 << 30);
/// The name of this machine.
const NAME: &str = "cloud-image";
/// The folder for packages on the machine.
const PACKAGES: &str = "/var/tmp/assay-packages";
/// The unit in which parts of a disk are read.
const MIB: u64 = 1 << 20;
/// The partition types "EFI system" and "BIOS boot", as a partition table of today has them.
const EFI: [u8; 16] = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
/// The most of an EFI partition that is searched.
const EFI_MOST: u64 = 1024 * MIB;

/// Returns the cloud image that the options name; reads its file, if it is one of this host's.
pub fn given(source: &str, sha256: Option<&str>, packages: Option<&Path>) -> anyhow::Result<CloudDisk> {
    let wanted = sha256.map(|text| text.trim().trim_start_matches("sha256:").to_lowercase());
    if let Some(odd) = wanted.as_ref().filter(|hex| hex.len() != 64 || !hex.chars().all(|c| c.is_ascii_hexdigit())) {
        anyhow::bail!("--sha256: \"{odd}\" is not a SHA-256: write its 64 hexadecimal digits");
    }
    let (source, sha256) = match source.contains("://") {
        true => {
            let http = source.starts_with("http://") || source.starts_with("https://");
            anyhow::ensure!(http, "--disk: {source} cannot be fetched: give a URL with http:// or https://, or a file");
            let wanted = wanted.context(
                "--disk: a URL needs --sha256, so that every run has the same image: take it from the list of checksums \
                 beside the image, or from `sha256sum` of a file that you trust",
            )?;
            (source.to_owned(), wanted)
        }
        false => {
            let file = fs::canonicalize(source).with_context(|| format!("--disk: {source} cannot be read"))?;
            let seen = File::open(&file).and_then(sha256_of).with_context(|| format!("--disk: {source} cannot be read"))?;
            expect(source, wanted.as_deref().unwrap_or(&seen), &seen)?;
            (file.display().to_string(), seen)
        }
    };
    let packages = packages.map(pinned).transpose()?.unwrap_or_default();
    Ok(CloudDisk { source, sha256, packages })
}

fn expect(file: &str, expected: &str, seen: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        expected == seen,
        "--disk: {file} is another file than --sha256 names: expected {expected}, seen {seen}; fetch it again, or correct \
         --sha256"
    );
    Ok(())
}

/// Returns the packages in a folder, each with its digest, sorted.
fn pinned(folder: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let files = fs::read_dir(folder).with_context(|| format!("--packages: {} cannot be read", folder.display()))?;
    let package = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "deb" || ending == "rpm");
    let mut files: Vec<PathBuf> = files.flatten().map(|file| file.path()).filter(package).collect();
    files.sort();
    anyhow::ensure!(!files.is_empty(), "--packages: {} holds neither .deb nor .rpm files", folder.display());
    let digest = |path: PathBuf| {
        let digest = File::open(&path).and_then(sha256_of);
        let digest = digest.with_context(|| format!("--packages: {} cannot be read", path.display()))?;
        Ok((path, digest))
    };
    files.into_iter().map(digest).collect()
}

/// Returns the folder of what was fetched, by its digest.
pub(super) fn folder(cache: &Path) -> PathBuf {
    cache.join("disks")
}

/// Returns the file of a cloud image: this host's own, or one that is fetched once and kept.
pub fn provide(disk: &CloudDisk, cache: &Path, progress: &Progress) -> anyhow::Result<PathBuf> {
    if !disk.source.contains("://") {
        return Ok(PathBuf::from(&disk.source));
    }
    let (source, folder) = (&disk.source, folder(cache));
    let kept = folder.join(&disk.sha256);
    if kept.is_file() {
        return Ok(kept);
    }
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    progress.note(format!("fetching {source}"));
    let part = tempfile::Builder::new().suffix(".part").tempfile_in(&folder)?.into_temp_path();
    let helper = programs::find("/usr/lib/apt/apt-helper").context("apt is not installed, which fetches images")?;
    // Another user writes it, if apt runs as root.
    let fetched = run(&[&helper.display().to_string(), "download-file", source, &part.display().to_string()]);
    fetched.with_context(|| format!("--disk: {source} cannot be fetched: fetch it by other means, and name the file"))?;
    let seen = File::open(&part).and_then(sha256_of).with_context(|| format!("{} cannot be read", part.display()))?;
    expect(source, &disk.sha256, &seen)?;
    part.persist(&kept).with_context(|| format!("{} cannot be put into place", kept.display()))?;
    Ok(kept)
}

/// Runs a program of this host, and returns its output.
fn run(argv: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = std::process::Command::new(argv[0]).args(&argv[1..]).output();
    let output = output.with_context(|| format!("cannot start {}", argv[0]))?;
    let printed = [&output.stdout[..], &output.stderr].concat();
    anyhow::ensure!(output.status.success(), "{}", tail(&String::from_utf8_lossy(&printed), 2).replace('\n', "; "));
    Ok(output.stdout)
}

/// What `qemu-img info` says of a file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    format: String,
    backing_filename: Option<String>,
    #[serde(default)]
    format_specific: serde_json::Value,
}

/// A disk that can be read in parts.
struct Disk<'a> {
    file: &'a Path,
    format: String,
    qemu_img: String,
}

impl Disk<'_> {
    fn open(file: &Path, arch: Arch) -> anyhow::Result<Disk<'_>> {
        let (qemu_img, name) = (programs::need("qemu-img", &remedy(arch))?, file.display().to_string());
        let info = run(&[&qemu_img, "info", "--output=json", &name]);
        let info = info.with_context(|| format!("--disk: {name} is not a disk"))?;
        let Info { format, backing_filename, format_specific } = serde_json::from_slice(&info)?;
        anyhow::ensure!(
            format == "qcow2" || format == "raw",
            "--disk: {name} is a disk in the format {format}: make it qcow2, with `qemu-img convert -O qcow2 {name} FILE`"
        );
        // What such a file names could be any file of this host.
        let other = backing_filename.is_some() || format_specific.pointer("/data/data-file").is_some();
        anyhow::ensure!(
            !other,
            "--disk: {name} is only a part of a disk, and names another file: make it whole, with `qemu-img convert -O \
             qcow2 {name} FILE`"
        );
        Ok(Disk { file, format, qemu_img })
    }

    /// Reads whole MiB of it.
    fn read(&self, from: u64, count: u64) -> anyhow::Result<Vec<u8>> {
        let part = tempfile::NamedTempFile::new()?;
        let [file, out] = [("if", self.file), ("of", part.path())].map(|(name, path)| format!("{name}={}", path.display()));
        let [skip, count] = [format!("skip={from}"), format!("count={count}")];
        run(&[&self.qemu_img, "dd", "-f", &self.format, "-O", "raw", "bs=1M", &skip, &count, &file, &out])?;
        Ok(fs::read(part.path())?)
    }
}

/// Checks that a file is a disk that machines of an architecture can start from, and returns with what.
pub fn inspect(file: &Path, arch: Arch) -> anyhow::Result<Start> {
    let disk = Disk::open(file, arch)?;
    let name = file.display();
    let first = disk.read(0, 1)?;
    anyhow::ensure!(
        first.get(510..512) == Some(b"\x55\xaa"),
        "--disk: {name} is not a disk that can be started: it has neither a partition table nor a boot sector"
    );
    let mut loaders = Vec::new();
    if let Some((start, size)) = efi_partition(&first) {
        let contents = disk.read(start / MIB, (size.min(EFI_MOST) + start % MIB).div_ceil(MIB))?;
        loaders = Arch::ALL.into_iter().filter(|arch| holds(&contents, loader(*arch))).collect();
    }
    // A sector with nothing but a partition table does not start anything.
    let bios = arch == Arch::Amd64 && first[..440].iter().any(|byte| *byte != 0);
    if loaders.contains(&arch) {
        match firmware(arch) {
            Some(files) => return Ok(Start::Loader(Some(files))),
            None if !bios => anyhow::bail!("{}", lacks_firmware(arch)),
            None => {}
        }
    }
    match loaders.first() {
        _ if bios => Ok(Start::Loader(None)),
        Some(other) => anyhow::bail!(
            "--disk: {name} is an image for {other}, and {arch} is wanted: use --target vm:{other}, or take the image for {arch}"
        ),
        None => anyhow::bail!(
            "--disk: {name} has no boot loader for {arch}: its EFI partition, if it has one, has no {}",
            path_of(arch)
        ),
    }
}

/// Returns where the EFI partition is, and its size.
fn efi_partition(first: &[u8]) -> Option<(u64, u64)> {
    let number = |bytes: Option<&[u8]>| Some(u64::from_le_bytes(bytes?.try_into().ok()?));
    if first.get(512..520)? != b"EFI PART" {
        // Four entries of 16 bytes: the type, and the first sector and their number.
        let short = |bytes: &[u8]| Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)) * 512);
        let found = first.get(446..510)?.chunks_exact(16).find(|entry| entry[4] == 0xef)?;
        return Some((short(&found[8..12])?, short(&found[12..16])?));
    }
    let table = usize::try_from(number(first.get(584..592))?.checked_mul(512)?).ok()?;
    let found = first.get(table..)?.chunks_exact(128).find(|entry| entry[..16] == EFI)?;
    let [start, last] = [number(found.get(32..40))?, number(found.get(40..48))?];
    Some((start.checked_mul(512)?, (last.checked_sub(start)? + 1).checked_mul(512)?))
}

/// Whether a FAT file system has a file of this short name.
fn holds(contents: &[u8], name: &[u8; 11]) -> bool {
    contents.chunks_exact(32).any(|entry| entry[..11] == *name)
}

/// Returns the boot loader that firmware starts from any disk, as FAT spells its name.
fn loader(arch: Arch) -> &'static [u8; 11] {
    match arch {
        Arch::Amd64 => b"BOOTX64 EFI",
        Arch::Arm64 => b"BOOTAA64EFI",
    }
}

fn path_of(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "EFI/BOOT/BOOTX64.EFI, nor has the disk a boot sector",
        Arch::Arm64 => "EFI/BOOT/BOOTAA64.EFI",
    }
}

/// Returns this host's UEFI firmware for an architecture: its code and its variables.
fn firmware(arch: Arch) -> Option<[PathBuf; 2]> {
    let places: &[&str] = match arch {
        Arch::Amd64 => &["/usr/share/OVMF/OVMF_@_4M.fd", "/usr/share/OVMF/OVMF_@.fd"],
        Arch::Arm64 => &["/usr/share/AAVMF/AAVMF_@.fd"],
    };
    let files = places.iter().map(|place| ["CODE", "VARS"].map(|part| PathBuf::from(place.replace('@', part))));
    files.into_iter().find(|files| files.iter().all(|file| file.is_file()))
}

fn lacks_firmware(arch: Arch) -> String {
    let package = match arch {
        Arch::Amd64 => "ovmf",
        Arch::Arm64 => "qemu-efi-aarch64",
    };
    format!("UEFI firmware for {arch} is not installed, which this image starts from: `apt-get install {package}` does that")
}

/// Makes an image of a cloud image in a folder.
pub(super) async fn make(
    disk: &CloudDisk,
    definition: &Definition,
    arch: Arch,
    context: &Context,
    work: &Path,
) -> anyhow::Result<Made> {
    let file = provide(disk, &context.settings.cache, &context.progress)?;
    let start = match inspect(&file, arch)? {
        Start::Loader(Some([code, variables])) => {
            let own = work.join("variables.fd");
            fs::copy(&variables, &own).with_context(|| format!("{} cannot be copied", variables.display()))?;
            Start::Loader(Some([code, own]))
        }
        other => other,
    };
    let shell = Shell::local(context.observer.clone());
    let qemu = Qemu::installed(&shell, arch).await?;
    context.progress.note(format!("image {} ({arch}): booted once, to install packages", definition.platform.name));
    let machine = boot(definition, arch, context, work, &qemu, DiskImage { disk: file, start, manifest: Manifest::default() }).await?;
    let made = install(disk, definition, &machine, work).await;
    let made = made.with_context(|| format!("image {}", definition.platform.name))?;
    // What it has not written yet would be lost with its QEMU.
    let _ = machine.shell.run(&Command::new("sudo").args(["systemctl", "poweroff"])).await;
    let over = tokio::time::timeout(COPYING, machine.gone()).await;
    over.map_err(|_| anyhow::anyhow!("the cloud image did not power off within {COPYING:?}"))?;
    machine.shut_down().await;
    let overlay = work.join("root.qcow2");
    let [from, to] = [&overlay, &work.join(CLOUD_DISK)].map(|path| path.display().to_string());
    let whole = Command::new(programs::need("qemu-img", &remedy(arch))?).args(["convert", "-O", "qcow2", &from, &to]);
    shell.read(&whole.time_limit(COPYING)).await?;
    fs::remove_file(&overlay).context("the overlay cannot be removed")?;
    Ok(made)
}

/// Boots it: on KVM if that works, as far as is known.
async fn boot(
    definition: &Definition,
    arch: Arch,
    context: &Context,
    work: &Path,
    qemu: &Qemu,
    image: DiskImage,
) -> anyhow::Result<Machine> {
    let withheld = Withheld { amd64: Bytes(0), arm64: Bytes(0) };
    let definition = Definition { memory: MEMORY, withheld, cpus: 2, ..definition.clone() };
    let mut failed = anyhow::anyhow!("nothing runs its CPU");
    for accelerator in accelerator::candidates(context, qemu, arch) {
        qemu.fit(accelerator)?;
        let (definition, qemu, image) = (definition.clone(), qemu.clone(), image.clone());
        let (context, snapshots) = (context.clone(), Default::default());
        let vm = Vm { definition, arch, qemu, image, accelerator, context, snapshots };
        let booted = vm.booted(|| {
            for file in [super::keys::IDENTITY, super::keys::KNOWN, super::cloud_init::SEED] {
                let _ = fs::remove_file(work.join(file));
            }
            Ok((MachineDir::make(&vm.context, NAME)?, work.to_owned(), Memory::Anonymous))
        });
        failed = match booted.await {
            Ok(machine) => return Ok(machine),
            Err(error) => error,
        };
        let console = evidence_file(&vm.context.evidence, NAME, "console.log");
        if accelerator != Accelerator::Kvm || console::stage(&console::read(&console)) >= Stage::Kernel {
            break;
        }
    }
    Err(failed)
}

/// Installs the packages, makes the machine one of ours, and takes its kernel.
async fn install(disk: &CloudDisk, definition: &Definition, machine: &Machine, work: &Path) -> anyhow::Result<Made> {
    let shell = &machine.shell;
    for (file, _) in &disk.packages {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        shell.put(&format!("{PACKAGES}/{name}"), bytes).await?;
    }
    let as_root = |script: &Path, argument: &str| {
        let text = fs::read_to_string(script).with_context(|| format!("{} cannot be read", script.display()))?;
        let command = Command::new("sudo").args(["sh", "-s", "--", argument]).stdin(text);
        anyhow::Ok(command.time_limit(INSTALLING))
    };
    let [installs, customizes] = hooks(definition);
    let folder = if disk.packages.is_empty() { "" } else { PACKAGES };
    let output = shell.run(&as_root(&installs, folder)?).await?;
    anyhow::ensure!(output.succeeded(), "{}", refusal(&tail(&output.errors(), 6), folder));
    let printed = output.text();
    let field = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.with_context(|| format!("it does not say its {name}"))
    };
    for (name, file) in [("kernel", "vmlinuz"), ("initrd", "initrd")] {
        let read = Command::new("sudo").args(["cat", field(name)?]);
        let bytes = shell.run(&read).await?.success()?.stdout;
        fs::write(work.join(file), bytes).with_context(|| format!("the {name} cannot be kept"))?;
    }
    shell.run(&as_root(&customizes, "/")?).await?.success()?;
    shell.run(&Command::new("sudo").args(["rm", "-rf", PACKAGES])).await?.success()?;
    let package = |line: &str| {
        let (name, version) = line.strip_prefix("package ")?.split_once(' ')?;
        Some((name.to_owned(), version.to_owned()))
    };
    let mirror = if folder.is_empty() { "the image's own" } else { "files" };
    Ok(Made {
        mirror: mirror.to_owned(),
        packages: printed.lines().filter_map(package).collect(),
        options: Some(field("options")?.to_owned()),
    })
}

/// Explains why the packages were not installed, from the end of what the package manager printed.
fn refusal(printed: &str, folder: &str) -> String {
    let full = ["No space left on device", "enough free space", "more space needed"];
    let remedy = match folder {
        _ if full.iter().any(|sign| printed.contains(sign)) => {
            "its disk has too little room for them: take an image with more, or enlarge a copy of it, with `qemu-img resize` \
             and then its partition and file system"
        }
        "" => "if it has no way to its package archive, --packages DIR installs files of yours",
        _ => "put all that they depend on into the folder of --packages, too",
    };
    format!("the packages cannot be installed: {remedy}; the package manager's last words: {printed}")
}
