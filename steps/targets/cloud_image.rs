//! Makes machine images of cloud images (`--disk`): checks what is given, boots it once with a seed for cloud-init, and has
//! its own package manager install what the annex installs. From then on, its kernel is started directly, as all are.

mod loader;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
pub use loader::inspect;

use super::console::{self, Stage};
use super::definition::{Definition, Withheld};
use super::image::{CLOUD_DISK, DISK_NEEDED, DiskImage, Made, Manifest, free_space, hooks};
use super::machine::{Machine, MachineDir, evidence_file};
use super::qemu::{Memory, Qemu, Start};
use super::vm::Vm;
use super::{Context, accelerator, cloud_init, keys, remedy};
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
/// The files with which a machine is entered when it boots for the first time.
const FIRST_BOOT: [&str; 3] = [keys::IDENTITY, keys::KNOWN, cloud_init::SEED];

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
            let seen =
                File::open(&file).and_then(sha256_of).with_context(|| format!("--disk: {source} cannot be read"))?;
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
    let fetched = run(&[&helper.display().to_string(), "download-file", source, &part.display().to_string()]);
    fetched
        .with_context(|| format!("--disk: {source} cannot be fetched: fetch it by other means, and name the file"))?;
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

/// Makes an image of a cloud image in a folder.
pub(super) async fn make(
    disk: &CloudDisk,
    definition: &Definition,
    arch: Arch,
    context: &Context,
    work: &Path,
) -> anyhow::Result<Made> {
    let file = provide(disk, &context.settings.cache, &context.progress)?;
    let (format, start) = inspect(&file, arch)?;
    let start = match start {
        Start::Loader(Some([code, variables])) => {
            let own = work.join("variables.fd");
            fs::copy(&variables, &own).with_context(|| format!("{} cannot be copied", variables.display()))?;
            Start::Loader(Some([code, own]))
        }
        other => other,
    };
    let free = free_space(work)?;
    anyhow::ensure!(
        free >= DISK_NEEDED,
        "{} has {free} left and making a machine image takes {DISK_NEEDED}: free some space or set ASSAY_CACHE",
        work.display()
    );
    let shell = Shell::local(context.observer.clone());
    let qemu = Qemu::installed(&shell, arch).await?;
    context.progress.note(format!("image {} ({arch}): booted once, to install packages", definition.platform.name));
    let machine = boot(
        definition,
        arch,
        context,
        work,
        &qemu,
        DiskImage { disk: file, format, start, manifest: Manifest::default() },
    )
    .await?;
    let made = install(disk, definition, &machine, work).await;
    let made = made.with_context(|| format!("image {}", definition.platform.name))?;
    // What it has not written yet would be lost with its QEMU.
    let _ = machine.shell.run(&Command::new("sudo").args(["systemctl", "poweroff"])).await;
    let over = tokio::time::timeout(COPYING, machine.gone()).await;
    over.map_err(|_| anyhow::anyhow!("the cloud image did not power off within {COPYING:?}"))?;
    machine.shut_down().await;
    let [from, to] = ["root.qcow2", CLOUD_DISK].map(|file| work.join(file).display().to_string());
    let whole = Command::new(programs::need("qemu-img", &remedy(arch))?).args(["convert", "-O", "qcow2", &from, &to]);
    shell.read(&whole.time_limit(COPYING)).await?;
    ["root.qcow2", "variables.fd"].iter().chain(&FIRST_BOOT).for_each(|file| drop(fs::remove_file(work.join(file))));
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
            FIRST_BOOT.iter().for_each(|file| drop(fs::remove_file(work.join(file))));
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
        vm.context.progress.note(format!("kvm: {failed:#}\nstarting it again, with an emulated cpu"));
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
        let bytes = shell.unobserved().run(&read).await?.success()?.stdout;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::sha256;
    use crate::base::settings::Settings;
    use crate::targets::Platform;

    fn error<T>(result: anyhow::Result<T>) -> String {
        format!("{:#}", result.err().expect("an error"))
    }

    #[test]
    fn an_image_is_the_file_whose_digest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (file, hex) = (folder.path().join("noble.img"), sha256(b"a disk"));
        fs::write(&file, "a disk").unwrap();
        let source = file.display().to_string();
        for written in [None, Some(hex.as_str()), Some(&format!("sha256:{}\n", hex.to_uppercase()))] {
            assert_eq!(given(&source, written, None).unwrap().sha256, hex);
        }
        let platform = Platform::of_disk(&given(&source, None, None).unwrap());
        assert_eq!(platform.name, format!("noble.img@sha256:{}", &hex[..12]));
        let (other, url) = (sha256(b"another"), "https://host/a/noble.img?x=/y");
        let fetched = given(url, Some(&other), None).unwrap();
        assert_eq!(Platform::of_disk(&fetched).name, format!("noble.img@sha256:{}", &other[..12]));
        for (source, sha256, wanted) in [
            (&*source, Some(&*other), format!("expected {other}, seen {hex}; fetch it again")),
            ("/none.img", None, "--disk: /none.img cannot be read: No such file".to_owned()),
            (url, None, "a URL needs --sha256".to_owned()),
            ("ftp://host/x", Some(&other), "ftp://host/x cannot be fetched: give a URL with http://".to_owned()),
            (&source, Some("12ab"), "\"12ab\" is not a SHA-256: write its 64 hexadecimal digits".to_owned()),
        ] {
            let error = error(given(source, sha256, None));
            assert!(error.contains(&wanted), "{error}");
        }
    }

    #[test]
    fn the_key_of_an_image_is_made_of_the_disk_and_of_the_files_to_install() {
        let folder = tempfile::tempdir().unwrap();
        let key = |disk: &CloudDisk| {
            let settings = Settings { disk: Some(disk.clone()), ..Settings::read().unwrap() };
            let machine = Definition::named(&settings, "nano").unwrap();
            assert_eq!(hooks(&machine).map(|script| script.is_file()), [true; 2]);
            DiskImage::key(&machine, Arch::Amd64).unwrap()
        };
        let none = error(given("Cargo.toml", None, Some(folder.path())));
        assert!(none.ends_with("holds neither .deb nor .rpm files"), "{none}");
        fs::write(folder.path().join("b.deb"), "b").unwrap();
        let disk = CloudDisk { source: "/d".into(), sha256: sha256(b"1"), packages: pinned(folder.path()).unwrap() };
        assert_eq!(key(&disk), key(&CloudDisk { source: "/elsewhere/d".into(), ..disk.clone() }));
        assert_ne!(key(&disk), key(&CloudDisk { sha256: sha256(b"2"), ..disk.clone() }));
        fs::write(folder.path().join("b.deb"), "another b").unwrap();
        assert_ne!(key(&disk), key(&CloudDisk { packages: pinned(folder.path()).unwrap(), ..disk.clone() }));
    }

    #[test]
    fn what_was_fetched_is_kept_by_its_digest() {
        let cache = tempfile::tempdir().unwrap();
        let disk = CloudDisk { source: "http://host/x".into(), sha256: sha256(b"x"), packages: Vec::new() };
        let kept = folder(cache.path()).join(&disk.sha256);
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::write(&kept, "x").unwrap();
        assert_eq!(provide(&disk, cache.path(), &Progress::to(|_| {})).unwrap(), kept);
        assert_eq!(
            provide(&CloudDisk { source: "/x".into(), ..disk }, cache.path(), &Progress::to(|_| {})).unwrap(),
            Path::new("/x")
        );
    }

    #[test]
    fn a_package_manager_that_fails_gets_the_remedy_for_its_reason() {
        for (printed, folder, remedy) in [
            ("dpkg: error: cannot copy: No space left on device", "", "too little room"),
            ("E: You don't have enough free space in /var/cache/apt/archives/.", PACKAGES, "too little room"),
            ("Temporary failure resolving 'deb.debian.org'", "", "--packages DIR installs files of yours"),
            ("podman : Depends: conmon but it is not installable", PACKAGES, "into the folder of --packages, too"),
        ] {
            let error = refusal(printed, folder);
            assert!(error.contains(remedy) && error.ends_with(printed), "{error}");
        }
    }
}
