//! Parses the definitions of machines, `fixtures/machines/*.toml`. A definition may be based on another and override
//! parts of it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::platform::{Platform, names, package_name, read_toml};
use crate::base::platform::Arch;
use crate::base::settings::Settings;
use crate::base::unit::Bytes;

/// The definition of the annex's device, and the name of machines that stand for it.
pub const DEVICE: &str = "nano";

/// With less memory, none of our kernels reaches its init: the value is a typing error, not a small machine.
const LEAST_MEMORY: Bytes = Bytes(96 * 1_048_576);
/// With less disk, the packages do not fit.
const LEAST_DISK: Bytes = Bytes(2 * 1_073_741_824);

/// The memory that firmware and hypervisor keep for themselves, so that the guest's `MemTotal` is that of the real
/// device. Kernels of the two architectures keep different amounts, hence one number for each.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withheld {
    #[serde(deserialize_with = "size")]
    pub amd64: Bytes,
    #[serde(deserialize_with = "size")]
    pub arm64: Bytes,
}

impl Withheld {
    pub fn on(self, arch: Arch) -> Bytes {
        match arch {
            Arch::Amd64 => self.amd64,
            Arch::Arm64 => self.arm64,
        }
    }
}

/// A machine, as its definition describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The file's name without its extension; the machine's name.
    pub name: String,
    pub path: PathBuf,
    pub platform: Platform,
    /// The memory on its data sheet.
    pub memory: Bytes,
    /// How much of that memory its guest does not get.
    pub withheld: Withheld,
    pub cpus: u32,
    pub disk: Bytes,
    /// The packages to install, besides their dependencies, with those of the platform; `{arch}` is the architecture's Debian name.
    pub packages: Vec<String>,
    /// The script that runs before the packages are unpacked; `setup.sh` beside the definition if it names none.
    pub setup: PathBuf,
}

/// The file's contents. Everything is optional, because it may come from the definition that this one is based on.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    like: Option<String>,
    #[serde(default, deserialize_with = "some_size")]
    memory: Option<Bytes>,
    withheld: Option<Withheld>,
    cpus: Option<u32>,
    #[serde(default, deserialize_with = "some_size")]
    disk: Option<Bytes>,
    packages: Option<Vec<String>>,
    setup: Option<PathBuf>,
}

fn size<'de, D: Deserializer<'de>>(written: D) -> Result<Bytes, D::Error> {
    String::deserialize(written)?.parse().map_err(D::Error::custom)
}

fn some_size<'de, D: Deserializer<'de>>(written: D) -> Result<Option<Bytes>, D::Error> {
    size(written).map(Some)
}

impl Definition {
    /// Loads a definition below the project's folder by its name, with the platform that is set; if there is none, the
    /// error lists those that exist.
    pub fn named(settings: &Settings, name: &str) -> anyhow::Result<Definition> {
        let folder = settings.root.join("fixtures/machines");
        let path = folder.join(format!("{name}.toml"));
        if !path.is_file() {
            let known = names(&folder).join(", ");
            anyhow::bail!("machine \"{name}\" is not defined in {}: there are {known}", folder.display());
        }
        Definition::load(&path, Platform::chosen(settings)?)
    }

    /// Loads all definitions below the project's folder, sorted by name; fails if there are none.
    pub fn all(settings: &Settings) -> anyhow::Result<Vec<Definition>> {
        let folder = settings.root.join("fixtures/machines");
        let names = names(&folder);
        anyhow::ensure!(!names.is_empty(), "no machine is defined in {}", folder.display());
        names.iter().map(|name| Definition::named(settings, name)).collect()
    }

    /// Reads a definition. Errors name the file, the key or the line, and what is allowed.
    pub fn load(path: &Path, platform: Platform) -> anyhow::Result<Definition> {
        let mut written = Written::read(path)?;
        if let Some(other) = written.like.take() {
            let file = path.with_file_name(format!("{other}.toml"));
            let base = Written::read(&file).with_context(|| format!("{} is like {other}", path.display()))?;
            anyhow::ensure!(
                base.like.is_none(),
                "{}: like: {other} is itself like another machine: name that one",
                path.display()
            );
            written = written.over(base);
        }
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("a file name that is not UTF-8")?;
        written.check(name, path, platform).with_context(|| path.display().to_string())
    }

    /// Returns the memory that the guest gets, in whole MiB.
    pub fn guest_memory(&self, arch: Arch) -> u64 {
        self.memory.0.saturating_sub(self.withheld.on(arch).0) / 1_048_576
    }

    /// Returns how much of this host's memory one machine takes at most: its own, and what the emulator needs.
    pub fn takes(&self, arch: Arch) -> Bytes {
        const EMULATOR: u64 = 200 << 20;
        Bytes((self.guest_memory(arch) << 20) + EMULATOR)
    }

    /// Returns the names of the packages for an architecture, sorted, without duplicates.
    pub fn packages(&self, arch: Arch) -> Vec<String> {
        let mut names: Vec<String> = self.packages.iter().map(|name| name.replace("{arch}", arch.debian())).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Written {
    fn read(path: &Path) -> anyhow::Result<Written> {
        let written: Written = read_toml(path)?;
        // A script lies beside the file that names it, not beside one that is based on that file.
        Ok(Written { setup: written.setup.map(|script| path.with_file_name(script)), ..written })
    }

    fn over(self, base: Written) -> Written {
        Written {
            like: None,
            memory: self.memory.or(base.memory),
            withheld: self.withheld.or(base.withheld),
            cpus: self.cpus.or(base.cpus),
            disk: self.disk.or(base.disk),
            packages: self.packages.or(base.packages),
            setup: self.setup.or(base.setup),
        }
    }

    fn check(self, name: &str, path: &Path, platform: Platform) -> anyhow::Result<Definition> {
        let memory = self.memory.context("memory is missing: write memory = \"512 MiB\"")?;
        let disk = self.disk.context("disk is missing: write disk = \"4 GiB\"")?;
        let withheld = self.withheld.unwrap_or(Withheld { amd64: Bytes(0), arm64: Bytes(0) });
        for arch in Arch::ALL {
            let less = withheld.on(arch);
            anyhow::ensure!(
                memory.0.saturating_sub(less.0) >= LEAST_MEMORY.0,
                "memory: {memory} less {less} withheld on {arch} is below {LEAST_MEMORY}, with which no kernel starts: \
                 write more memory or less withheld"
            );
        }
        anyhow::ensure!(disk >= LEAST_DISK, "disk: {disk} is below {LEAST_DISK}, which the packages need: write more");
        let cpus = self.cpus.context("cpus is missing: write cpus = 2")?;
        anyhow::ensure!((1..=64).contains(&cpus), "cpus: {cpus} is not possible: write 1 to 64");
        let packages =
            self.packages.context("packages is missing: list at least a kernel, systemd and an ssh server")?;
        let packages = platform.expand(&packages)?;
        if let Some(odd) = packages.iter().find(|name| !package_name(name)) {
            anyhow::bail!("packages: \"{odd}\" is not a package's name");
        }
        Ok(Definition {
            name: name.to_owned(),
            path: path.to_owned(),
            platform,
            memory,
            withheld,
            cpus,
            disk,
            packages,
            setup: self.setup.unwrap_or_else(|| path.with_file_name("setup.sh")),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const WHOLE: &str = "memory = \"512 MiB\"\ncpus = 2\ndisk = \"4 GiB\"\n\
                         packages = [\"{kernel}\", \"crun\", \"crun\"]\n";

    fn load(text: &str) -> Result<Definition, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("whole.toml"), WHOLE).unwrap();
        fs::write(folder.path().join("new.toml"), text).unwrap();
        let platform = Platform::chosen(&Settings::read().unwrap()).unwrap();
        Definition::load(&folder.path().join("new.toml"), platform)
            .map_err(|error| format!("{error:#}").replace(&folder.path().display().to_string(), ""))
    }

    #[test]
    fn the_machines_of_the_annex_are_in_order_and_share_their_software() {
        let settings = Settings::read().unwrap();
        let [nano, mega, tiny] = ["nano", "mega", "tiny"].map(|name| Definition::named(&settings, name).unwrap());
        assert_eq!(nano.memory, Bytes(512 * 1_048_576));
        assert_eq!((nano.guest_memory(Arch::Amd64), mega.guest_memory(Arch::Amd64)), (459, 1024));
        assert_eq!(tiny.guest_memory(Arch::Arm64), 216);
        assert_eq!(nano.packages, mega.packages);
        assert_eq!(nano.packages, tiny.packages);
        let error = Definition::named(&settings, "giga").unwrap_err().to_string();
        assert!(error.ends_with("there are mega, nano, tiny"), "{error}");
    }

    #[test]
    fn a_machine_may_be_like_another() {
        let new = load("like = \"whole\"\nmemory = \"1 GiB\"\n").unwrap();
        assert_eq!((new.memory, new.cpus, new.name.as_str()), (Bytes(1 << 30), 2, "new"));
        assert_eq!(new.packages(Arch::Arm64), ["crun", "linux-image-cloud-arm64"]);
        assert!(load("like = \"none\"\n").unwrap_err().contains("none.toml cannot be read"));
    }

    #[test]
    fn a_script_is_beside_the_file_that_names_it() {
        let settings = Settings::read().unwrap();
        let nano = Definition::named(&settings, "nano").unwrap();
        let file = settings.root.join("fixtures/cloud/machine.toml");
        let cloud = Definition::load(&file, Platform::chosen(&settings).unwrap()).unwrap();
        for arch in Arch::ALL {
            assert_eq!(cloud.guest_memory(arch), nano.guest_memory(arch));
        }
        assert!(!cloud.packages(Arch::Amd64).contains(&"podman".to_owned()));
        let [of_cloud, of_nano] = [&cloud, &nano].map(|machine| fs::canonicalize(&machine.setup).unwrap());
        assert_eq!(of_cloud, of_nano);
        let beside = load("like = \"whole\"\n").unwrap();
        assert_eq!(beside.setup, beside.path.with_file_name("setup.sh"));
    }

    #[test]
    fn errors_name_the_file_the_key_and_the_remedy() {
        for (change, start) in [
            ("cpu = 2", "/new.toml: line 2: unknown field `cpu`, expected one of"),
            (
                "packages = [\"{podmann}\"]",
                "/new.toml: packages: platform debian-13 has no list \"podmann\", only kernel, podman",
            ),
            ("memory = \"512\"", "/new.toml: line 2: \"512\" is not a size: write it as 100 kB, 64 MiB or 4 GiB"),
            ("memory = \"64 MiB\"", "/new.toml: memory: 64 MiB less 0 bytes withheld on amd64 is below 96 MiB"),
            ("disk = \"1 GiB\"", "/new.toml: disk: 1 GiB is below 2 GiB"),
            ("cpus = 0", "/new.toml: cpus: 0 is not possible: write 1 to 64"),
            ("packages = [\"a b\"]", "/new.toml: packages: \"a b\" is not a package's name"),
            ("withheld = { amd64 = \"1 MiB\" }", "/new.toml: line 2: missing field `arm64`"),
        ] {
            let error = load(&format!("like = \"whole\"\n{change}\n")).unwrap_err();
            assert!(error.starts_with(start), "{change}: {error}");
        }
        assert!(load("cpus = 2\n").unwrap_err().contains("memory is missing: write memory = \"512 MiB\""));
    }
}
