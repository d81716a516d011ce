//! Reads platforms, `fixtures/platforms/*.toml`: what machines run, as packages and the archive they come from. A file of
//! the user's own works the same way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::nearest::nearest;
use crate::base::platform::Arch;
use crate::base::settings::{CloudDisk, Settings};

/// The platform of machines if none is named.
const USUAL: &str = "debian-13";

/// What machines run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// The file's name without its extension.
    #[serde(skip)]
    pub name: String,
    #[serde(skip)]
    pub path: PathBuf,
    /// Its folder below `dists/` on a mirror.
    pub suite: String,
    /// Another folder there, whose packages are taken where they are newer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<String>,
    pub components: Vec<String>,
    /// The address of its archive. Without one, it is the mirror of Debian that is set, or the host's own.
    mirror: Option<String>,
    /// The address of its archive for arm64, if that is another one.
    mirror_arm64: Option<String>,
    pub keyring: Keyring,
    /// Whether packages are taken from an archive whose Release file has expired.
    #[serde(default)]
    pub accept_expired: bool,
    /// What `{kernel}` and `{podman}` in a machine's packages stand for; `{arch}` is the architecture's Debian name.
    packages: BTreeMap<String, Vec<String>>,
    /// The cloud image that it is, if it is one: a system of its own, without suite and keyring.
    #[serde(skip)]
    pub(super) disk: Option<CloudDisk>,
}

/// The keys that packages are verified with.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Keyring {
    pub file: PathBuf,
    /// The package of this host that contains the file.
    pub package: Option<String>,
}

impl Platform {
    /// Returns the platform that is set, or the usual one.
    pub fn chosen(settings: &Settings) -> anyhow::Result<Platform> {
        match &settings.disk {
            Some(disk) => Ok(Platform::of_disk(disk)),
            None => Platform::named(&settings.root, settings.platform.as_deref().unwrap_or(USUAL)),
        }
    }

    /// Returns the platform that is a cloud image, named after its file and its digest: it has a kernel, and its own package
    /// manager installs the rest.
    pub fn of_disk(disk: &CloudDisk) -> Platform {
        let path = disk.source.split(['?', '#']).next().unwrap_or_default();
        let file = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        Platform {
            name: format!("{file}@sha256:{}", &disk.sha256[..12]),
            path: PathBuf::from(&disk.source),
            suite: String::new(),
            updates: None,
            components: Vec::new(),
            mirror: None,
            mirror_arm64: None,
            keyring: Keyring { file: PathBuf::new(), package: None },
            accept_expired: false,
            packages: ["kernel", "podman"].map(|list| (list.to_owned(), Vec::new())).into(),
            disk: Some(disk.clone()),
        }
    }

    /// Returns the name of the platform that is set, if one is.
    pub fn name_if_set(settings: &Settings) -> Option<String> {
        if let Some(disk) = &settings.disk {
            return Some(Platform::of_disk(disk).name);
        }
        let set = settings.platform.as_ref()?;
        Platform::named(&settings.root, set).ok().map(|platform| platform.name)
    }

    /// Loads a platform by its name, or from a file of the user's own, whose path has a slash or ends with `.toml`.
    pub fn named(root: &Path, name: &str) -> anyhow::Result<Platform> {
        if name.contains('/') || name.ends_with(".toml") {
            return Platform::load(Path::new(name));
        }
        let folder = root.join("fixtures/platforms");
        let known = names(&folder);
        if !known.iter().any(|known| known == name) {
            let nearest = nearest(name, known.iter().map(String::as_str));
            let nearest = nearest.map(|name| format!("did you mean {name}? ")).unwrap_or_default();
            anyhow::bail!(
                "\"{name}\" is not a platform: {nearest}write {}, or the path of a file, as ./{name}.toml",
                known.join(", ")
            );
        }
        Platform::load(&folder.join(format!("{name}.toml")))
    }

    /// Returns the names of the project's own platforms, sorted.
    pub fn names(root: &Path) -> Vec<String> {
        names(&root.join("fixtures/platforms"))
    }

    fn load(path: &Path) -> anyhow::Result<Platform> {
        let mut platform: Platform = read_toml(path)?;
        let stem = path.file_stem().and_then(|stem| stem.to_str()).context("a file name that is not UTF-8")?;
        (platform.name, platform.path) = (stem.to_owned(), path.to_owned());
        platform.keyring.file = path.with_file_name(&platform.keyring.file);
        platform.check().with_context(|| path.display().to_string())?;
        Ok(platform)
    }

    fn check(&self) -> anyhow::Result<()> {
        let word = |word: &String| {
            word.starts_with(|c: char| c.is_ascii_alphanumeric())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "-./".contains(c))
        };
        for suite in [&self.suite].into_iter().chain(&self.updates) {
            anyhow::ensure!(word(suite), "suite: \"{suite}\" is not a suite: write suite = \"trixie\"");
        }
        let components = !self.components.is_empty() && self.components.iter().all(word);
        anyhow::ensure!(components, "components: write at least one, as components = [\"main\"]");
        for mirror in self.mirror.iter().chain(&self.mirror_arm64) {
            let address = mirror.contains("://") && !mirror.contains(char::is_whitespace);
            anyhow::ensure!(address, "mirror: \"{mirror}\" is not an address: write it as http://host/folder");
        }
        for (list, packages) in &self.packages {
            if let Some(odd) = packages.iter().find(|name| !package_name(name)) {
                anyhow::bail!("packages: {list}: \"{odd}\" is not a package's name");
            }
        }
        Ok(())
    }

    /// Returns the same platform with the packages that an archive had once, for [`Platform::write`] to keep in a file.
    pub fn from_archive(&self, mirror: String, name: String, path: PathBuf) -> Platform {
        Platform { name, path, mirror: Some(mirror), mirror_arm64: None, accept_expired: true, ..self.clone() }
    }

    /// Writes its file, from which it can be loaded.
    pub fn write(&self) -> anyhow::Result<()> {
        let text = toml::to_string(self)?;
        fs::write(&self.path, text).with_context(|| format!("{} cannot be written", self.path.display()))
    }

    /// Returns the address of its own archive, if it has one.
    pub fn archive(&self, arch: Arch) -> Option<&str> {
        let own = self.mirror_arm64.as_deref().filter(|_| arch == Arch::Arm64).or(self.mirror.as_deref());
        own.map(|own| own.trim_end_matches('/'))
    }

    /// Checks that the keys are there which packages are verified with.
    pub fn check_keyring(&self) -> anyhow::Result<()> {
        let Keyring { file, package } = &self.keyring;
        let remedy = package.as_ref().map_or_else(
            || format!("put it there, or correct keyring in {}", self.path.display()),
            |package| format!("install {package}"),
        );
        anyhow::ensure!(
            file.is_file(),
            "{} is not there, the keys that packages of {} are verified with: {remedy}",
            file.display(),
            self.name
        );
        Ok(())
    }

    /// Returns all that an image depends on besides the packages' names, which its machine's definition has.
    pub(super) fn inputs(&self) -> String {
        if let Some(disk) = &self.disk {
            let packages = disk.packages.iter().map(|(_, sha256)| sha256.as_str());
            return ["disk", &disk.sha256].into_iter().chain(packages).collect::<Vec<_>>().join("\n");
        }
        let own = |mirror: &Option<String>| mirror.clone().unwrap_or_default();
        let (suite, components) = (&self.suite, self.components.join(" "));
        let mut inputs = vec![self.name.clone(), suite.clone(), components, own(&self.mirror), own(&self.mirror_arm64)];
        inputs.extend(self.updates.clone());
        inputs.join("\n")
    }

    /// Replaces `{name}` in a list of packages by the platform's list of that name.
    pub(super) fn expand(&self, packages: &[String]) -> anyhow::Result<Vec<String>> {
        let mut all = Vec::new();
        for package in packages {
            match package.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                None => all.push(package.clone()),
                Some(list) => all.extend(self.packages.get(list).cloned().with_context(|| {
                    let (name, known) =
                        (&self.name, Vec::from_iter(self.packages.keys().map(String::as_str)).join(", "));
                    format!("packages: platform {name} has no list \"{list}\", only {known}: add it to its [packages]")
                })?),
            }
        }
        Ok(all)
    }
}

pub(super) fn package_name(name: &str) -> bool {
    let plain = name.replace("{arch}", "");
    !name.is_empty() && plain.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
}

/// Reads a file; the error names the file and the line.
pub(super) fn read_toml<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        anyhow::anyhow!("{}: line {line}: {}", path.display(), error.message())
    })
}

/// Returns the names of the definitions in a folder, sorted.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let definitions = files.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    let mut names: Vec<String> =
        definitions.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "suite = \"trixie\"\ncomponents = [\"main\"]\nkeyring = { file = \"keys.gpg\" }\n[packages]\n\
                         kernel = [\"linux-image-{arch}\"]\n";

    fn settings() -> Settings {
        Settings { platform: None, ..Settings::read().unwrap() }
    }

    fn named(name: &str) -> Platform {
        Platform::named(&settings().root, name).unwrap()
    }

    #[test]
    fn the_project_s_platforms_are_in_order() {
        let settings = settings();
        assert_eq!(Platform::names(&settings.root), ["debian-13", "debian-14", "debian-sid", "ubuntu-24.04"]);
        for (name, suite, expired, mirrors) in [
            ("debian-13", "trixie", false, [None; 2]),
            ("debian-14", "forky", true, [None; 2]),
            ("debian-sid", "sid", true, [None; 2]),
            (
                "ubuntu-24.04",
                "noble",
                false,
                [Some("http://archive.ubuntu.com/ubuntu"), Some("http://ports.ubuntu.com/ubuntu-ports")],
            ),
        ] {
            let platform = named(name);
            assert_eq!(
                (platform.name.as_str(), platform.suite.as_str(), platform.accept_expired),
                (name, suite, expired)
            );
            assert_eq!(Arch::ALL.map(|arch| platform.archive(arch)), mirrors);
        }
        assert_eq!(Platform::chosen(&settings).unwrap(), named("debian-13"));
        let sid = settings.on_platform(Some("debian-sid".to_owned()));
        assert_eq!(Platform::chosen(&sid).unwrap(), named("debian-sid"));
    }

    #[test]
    fn an_unknown_platform_is_refused_with_the_nearest() {
        let error = Platform::named(&settings().root, "debian-41").unwrap_err().to_string();
        assert_eq!(
            error,
            "\"debian-41\" is not a platform: did you mean debian-14? write debian-13, debian-14, debian-sid, \
             ubuntu-24.04, or the path of a file, as ./debian-41.toml"
        );
    }

    #[test]
    fn errors_of_an_own_file_name_the_file_the_line_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.toml");
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            let loaded = Platform::named(Path::new("/nowhere"), path.to_str().unwrap());
            loaded.map_err(|error| format!("{error:#}").replace(&folder.path().display().to_string(), ""))
        };
        let own = load(WHOLE).unwrap();
        assert_eq!((own.name.as_str(), own.keyring.file.clone()), ("own", folder.path().join("keys.gpg")));
        let lacks = own.check_keyring().unwrap_err().to_string();
        assert!(lacks.ends_with(&format!("put it there, or correct keyring in {}", path.display())), "{lacks}");
        for (good, bad, start) in [
            ("suite =", "suit =", "/own.toml: line 1: unknown field `suit`"),
            ("\"trixie\"", "13", "/own.toml: line 1: invalid type: integer `13`, expected a string"),
            ("suite = \"trixie\"\n", "", "/own.toml: line 1: missing field `suite`"),
            ("trixie", "-x", "/own.toml: suite: \"-x\" is not a suite"),
            ("[\"main\"]", "[]", "/own.toml: components: write at least one"),
            ("[packages]", "mirror = \"debian\"\n[packages]", "/own.toml: mirror: \"debian\" is not an address"),
            ("linux-image-", "a b", "/own.toml: packages: kernel: \"a b{arch}\" is not a package's name"),
            ("[packages]", "[packages", "/own.toml: line 4: "),
        ] {
            let error = load(&WHOLE.replace(good, bad)).unwrap_err();
            assert!(error.starts_with(start), "{bad}: {error}");
        }
        fs::remove_file(&path).unwrap();
        let error = Platform::named(Path::new("/nowhere"), path.to_str().unwrap()).unwrap_err();
        assert!(error.to_string().ends_with("own.toml cannot be read"), "{error}");
    }

    #[test]
    fn another_archive_makes_another_image() {
        let [one, other] = ["debian-14", "debian-sid"].map(|name| named(name).inputs());
        assert_ne!(one, other);
        let dated = Platform { mirror: Some("http://snapshot/1".to_owned()), ..named("debian-14") };
        assert_ne!(one, dated.inputs());
    }
}
