//! Disk images: made once from a definition by mmdebstrap, kept under the hash of what went into them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::bootstrap::{self, Bootstrap, Manifest};
use super::definition::Definition;
use super::{Context, kept, remedy};
use crate::command::{Command, quote};
use crate::facts::Arch;
use crate::shell::Shell;
use crate::tool;
use crate::unit::Bytes;

/// Raised when the recipe below changes in a way that changes images.
const RECIPE: &str = "1";
/// The unpacked system, the disk made of it, and the packages in between.
const ROOM: Bytes = Bytes(3_000_000_000);
/// What people see while they wait.
const WHAT: &str = "machine image";

/// A system that can be booted. Machines write to overlays of its disk, never to the disk.
#[derive(Clone, Debug)]
pub struct Image {
    /// The root file system.
    pub disk: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initrd: PathBuf,
    /// What it is made of.
    pub manifest: Manifest,
}

/// The scripts that run before the packages are unpacked and after they are installed.
struct Hooks {
    setup: PathBuf,
    customize: PathBuf,
}

impl Hooks {
    fn of(definition: &Definition) -> Hooks {
        Hooks {
            setup: definition.path.with_file_name("setup.sh"),
            customize: definition.path.with_file_name("customize.sh"),
        }
    }
}

impl Image {
    /// The hash of all that goes into an image: not memory or CPUs, which are the machine's alone.
    ///
    /// # Errors
    /// One of the scripts beside the definition cannot be read.
    pub fn key(definition: &Definition, arch: Arch) -> anyhow::Result<String> {
        let hooks = Hooks::of(definition);
        let mut parts = vec![
            ("recipe", RECIPE.into()),
            ("distribution", definition.distribution.name().into()),
            ("architecture", arch.debian().into()),
            ("disk", definition.disk.0.to_string().into()),
            ("packages", definition.packages(arch).join("\n").into()),
        ];
        for script in [&hooks.setup, &hooks.customize] {
            let text = fs::read(script).with_context(|| format!("{} cannot be read", script.display()))?;
            parts.push(("script", text));
        }
        Ok(kept::key(parts))
    }

    /// The kept image of a definition, if there is one.
    ///
    /// # Errors
    /// As for [`Image::key`].
    pub fn kept(definition: &Definition, arch: Arch, cache: &Path) -> anyhow::Result<Option<Image>> {
        Ok(Image::open(&folder(cache).join(Image::key(definition, arch)?)))
    }

    /// The room it takes on this host's disk: less than its files' lengths, for the disk has holes.
    pub fn room(&self) -> Bytes {
        use std::os::unix::fs::MetadataExt;
        let files = [&self.disk, &self.kernel, &self.initrd];
        Bytes(files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.blocks() * 512).sum())
    }

    fn open(folder: &Path) -> Option<Image> {
        let manifest = Manifest::read(folder)?;
        let [disk, kernel, initrd] = ["disk.img", "vmlinuz", "initrd"].map(|name| folder.join(name));
        (disk.is_file() && kernel.is_file() && initrd.is_file()).then_some(Image { disk, kernel, initrd, manifest })
    }

    /// The image of a definition: the kept one, or one that is made now. Two runs do not make the same one twice.
    ///
    /// # Errors
    /// It cannot be made here; the error names what is missing and the remedy.
    pub async fn provide(definition: &Definition, arch: Arch, context: &Context) -> anyhow::Result<Image> {
        let key = Image::key(definition, arch)?;
        let make = async |work: &Path| make(definition, arch, &key, context, work).await;
        kept::provide(context, &folder(&context.settings.cache), &key, Image::open, make).await
    }
}

/// Makes an image in a folder of its own.
async fn make(definition: &Definition, arch: Arch, key: &str, context: &Context, work: &Path) -> anyhow::Result<()> {
    let (started, progress) = (Instant::now(), &context.progress);
    let shell = Shell::local(context.witness.clone());
    let mke2fs = tool::need("mke2fs", &remedy(arch))?;
    let hooks = Hooks::of(definition);
    let hook = |script: &Path| format!("sh {} \"$1\"", quote(&script.display().to_string()));
    let bootstrap = Bootstrap {
        what: WHAT,
        key,
        distribution: definition.distribution,
        arch,
        packages: definition.packages(arch),
        options: vec![
            format!("--setup-hook={}", hook(&hooks.setup)),
            format!("--customize-hook={}", hook(&hooks.customize)),
        ],
        target: "root",
    };
    let manifest = bootstrap.run(context, ROOM, work).await?;
    let root = work.join("root");
    for (link, name) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")] {
        let target = fs::read_link(root.join(link)).with_context(|| format!("the image has no /{link}"))?;
        let file = root.join(target.strip_prefix("/").unwrap_or(&target));
        tokio::fs::copy(&file, work.join(name))
            .await
            .with_context(|| format!("{} cannot be copied", file.display()))?;
    }
    progress.say(format!("{WHAT} {arch}: making the disk"));
    let disk = work.join("disk.img");
    File::create(&disk)?.set_len(definition.disk.0).context("the disk's file cannot be made")?;
    let make = Command::new(mke2fs)
        .args(["-q", "-F", "-t", "ext4", "-L", "root", "-O", "^has_journal", "-d"])
        .args([root.display().to_string(), disk.display().to_string()])
        .time_limit(Duration::from_secs(600));
    shell.read(&make).await?;
    tokio::fs::remove_dir_all(&root).await.context("the unpacked system cannot be removed")?;
    Manifest { seconds: started.elapsed().as_secs_f64().round(), ..manifest }.write(work)?;
    progress.say(format!("{WHAT} {arch}: ready after {:.0} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Finds what an image is made with, and checks that it may be made and has room.
///
/// # Errors
/// Something is missing; the error names it and the remedy.
pub fn check_host(arch: Arch, cache: &Path) -> anyhow::Result<()> {
    tool::need("mmdebstrap", &remedy(arch))?;
    tool::need("mke2fs", &remedy(arch))?;
    bootstrap::check_host(WHAT, arch, ROOM, &folder(cache)).map(drop)
}

/// Where images are kept, each in a folder named by its key.
pub fn folder(cache: &Path) -> PathBuf {
    cache.join("machines")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines() -> [Definition; 3] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        ["nano", "mega", "tiny"].map(|name| Definition::named(root, name).unwrap())
    }

    #[test]
    fn machines_of_the_same_software_share_one_image() {
        let [nano, mega, tiny] = machines().map(|machine| Image::key(&machine, Arch::Amd64).unwrap());
        assert_eq!((&nano, &nano), (&mega, &tiny));
        assert_eq!(nano.len(), 20);
        let [machine, ..] = machines();
        assert_ne!(nano, Image::key(&machine, Arch::Arm64).unwrap());
        let more = Definition { packages: vec!["crun".into()], ..machine.clone() };
        assert_ne!(nano, Image::key(&more, Arch::Amd64).unwrap());
        let shuffled = Definition { packages: machine.packages.iter().rev().cloned().collect(), ..machine };
        assert_eq!(nano, Image::key(&shuffled, Arch::Amd64).unwrap());
    }

    #[test]
    fn a_folder_that_lacks_a_part_is_no_image() {
        let folder = tempfile::tempdir().unwrap();
        let [machine, ..] = machines();
        assert!(Image::kept(&machine, Arch::Amd64, folder.path()).unwrap().is_none());
        let own = folder.path().join("machines").join(Image::key(&machine, Arch::Amd64).unwrap());
        fs::create_dir_all(&own).unwrap();
        let manifest = r#"{"key":"k","distribution":"debian-13","architecture":"amd64","built":"2026-01-01T00:00:00Z",
            "seconds":33,"mirror":"http://m","packages":{"crun":"1.21-1"}}"#;
        for name in ["disk.img", "vmlinuz", "manifest.json"] {
            fs::write(own.join(name), manifest).unwrap();
        }
        assert!(Image::kept(&machine, Arch::Amd64, folder.path()).unwrap().is_none());
        fs::write(own.join("initrd"), "").unwrap();
        let image = Image::kept(&machine, Arch::Amd64, folder.path()).unwrap().unwrap();
        assert_eq!(image.manifest.packages["crun"], "1.21-1");
    }
}
