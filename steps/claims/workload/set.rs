//! Reads what is deployed with a workload's own Quadlet: the other Quadlets, files, secrets and images.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::{drop_ins, joined, read};
use crate::base::digest::hex;
use crate::base::procfs;
use crate::base::unit_file::UnitFile;

/// The kinds of Quadlets, and what follows the name of each in the name of its service.
const KINDS: [(&str, &str); 7] = [
    ("container", ""),
    ("kube", ""),
    ("pod", "-pod"),
    ("network", "-network"),
    ("volume", "-volume"),
    ("image", "-image"),
    ("build", "-build"),
];

/// What is deployed with a workload's own Quadlet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuadletSet {
    /// Whether its units are the system's; otherwise they are the user's.
    pub root: bool,
    /// Where the image of a reference in a Quadlet is taken from, in the format of `--image`.
    pub images: BTreeMap<String, String>,
    /// The other Quadlets by their file names, each with its drop-ins after it.
    pub quadlets: BTreeMap<String, String>,
    /// What Quadlets name beside them, such as a Containerfile, by its path there.
    pub beside: BTreeMap<String, PathBuf>,
    pub files: Vec<PlacedFile>,
    pub secrets: BTreeMap<String, Secret>,
}

/// A file for the machine, or a folder for it if there is no `source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedFile {
    /// Its path, relative to the user's home or to `/`.
    pub path: String,
    pub in_home: bool,
    pub source: Option<PathBuf>,
    pub mode: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// This many random characters, drawn for each machine.
    Random(usize),
    Value(String),
    File(PathBuf),
}

impl Secret {
    /// Returns its value; a random one is another each time.
    pub fn value(&self) -> anyhow::Result<Vec<u8>> {
        Ok(match self {
            Secret::Random(length) => {
                let mut drawn = String::new();
                while drawn.len() < *length {
                    drawn += &hex(&procfs::random::<32>()?);
                }
                drawn.truncate(*length);
                drawn.into_bytes()
            }
            Secret::Value(value) => value.clone().into_bytes(),
            Secret::File(path) => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretEntry {
    random: Option<usize>,
    value: Option<String>,
    file: Option<PathBuf>,
}

impl QuadletSet {
    /// Reads all of it but `own`, the file name of the workload's own Quadlet.
    pub(super) fn read(folder: &Path, own: &str) -> anyhow::Result<QuadletSet> {
        let mut set = QuadletSet { secrets: secrets(folder)?, ..QuadletSet::default() };
        let quadlets = folder.join("quadlets");
        for path in files_below(&quadlets)? {
            let relative = path.strip_prefix(&quadlets).unwrap_or(&path).to_string_lossy().into_owned();
            let in_drop_in = relative.split('/').rev().skip(1).any(|part| part.ends_with(".d"));
            if relative == own || in_drop_in {
                continue;
            }
            match kind(&relative) {
                Some((kind, _)) => {
                    ensure!(
                        !relative.contains('/'),
                        "{}: Quadlets lie in quadlets/ itself, not in a folder there",
                        path.display()
                    );
                    let text = joined(&path, &drop_ins(&path, kind)?)?;
                    set.quadlets.insert(relative, text);
                }
                None => {
                    set.beside.insert(relative, path);
                }
            }
        }
        set.files = placed(&folder.join("files"))?;
        Ok(set)
    }

    /// Checks it against the workload's own Quadlet: each image is asked for, and each secret has a value.
    pub(super) fn check(&self, folder: &Path, own: &str) -> anyhow::Result<()> {
        let texts = || [own].into_iter().chain(self.quadlets.values().map(String::as_str));
        for image in self.images.keys() {
            let files = self.files.iter().filter_map(|file| file.source.as_ref());
            let beside = || {
                let mut files = self.beside.values().chain(files);
                files.any(|path| read(path).is_ok_and(|text| text.contains(image.as_str())))
            };
            ensure!(
                texts().any(|text| text.contains(image.as_str())) || beside(),
                "{}: no Quadlet asks for the image {image}: write it in [images] as the Quadlet has it",
                folder.join(super::FILE).display()
            );
        }
        if !folder.join(SECRETS).exists() {
            return Ok(());
        }
        for text in texts() {
            let wanted = UnitFile::parse(text).words("Container", "Secret");
            let names = wanted.iter().filter_map(|secret| secret.split(',').next());
            if let Some(name) = names.into_iter().find(|name| !self.secrets.contains_key(*name)) {
                bail!(
                    "{}: a Quadlet asks for the secret {name}, which has no value: add {name} = {{ random = 24 }}",
                    folder.join(SECRETS).display()
                );
            }
        }
        Ok(())
    }
}

const SECRETS: &str = "secrets.toml";

fn secrets(folder: &Path) -> anyhow::Result<BTreeMap<String, Secret>> {
    let path = folder.join(SECRETS);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let entries: BTreeMap<String, SecretEntry> =
        toml::from_str(&read(&path)?).with_context(|| path.display().to_string())?;
    let secret = |(name, entry): (String, SecretEntry)| {
        let wrong = |what: &str| {
            format!(
                "{}: the secret {name} has {what}: write random = 24, value = \"…\" or file = \"…\"",
                path.display()
            )
        };
        let secret = match (entry.random, entry.value, entry.file) {
            (Some(length @ 4..=4096), None, None) => Secret::Random(length),
            (Some(_), None, None) => bail!(wrong("a length that is not from 4 to 4096")),
            // A shorter one could not be redacted without redacting half of the evidence.
            (None, Some(value), None) if (1..4).contains(&value.len()) => bail!(wrong("fewer than 4 characters")),
            (None, Some(value), None) if !value.is_empty() => Secret::Value(value),
            (None, None, Some(file)) => {
                let file = folder.join(file);
                ensure!(file.is_file(), "{}: {} does not exist", path.display(), file.display());
                Secret::File(file)
            }
            (None, None | Some(_), None) => bail!(wrong("no value")),
            _ => bail!(wrong("more than one value")),
        };
        Ok((name, secret))
    };
    entries.into_iter().map(secret).collect()
}

/// Returns what `files/` puts onto the machine, by path; a file `.keep` stands for the folder that it lies in.
fn placed(folder: &Path) -> anyhow::Result<Vec<PlacedFile>> {
    let mut placed = Vec::new();
    for path in files_below(folder)? {
        let relative = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        let (whole, source) = match relative.strip_suffix("/.keep") {
            Some(parent) => (parent.to_owned(), None),
            None => (relative, Some(path.clone())),
        };
        let mode = match &source {
            Some(_) => fs::metadata(&path)?.permissions().mode() & 0o777,
            None => 0o755,
        };
        let (in_home, path) = match whole.strip_prefix("home/") {
            Some(rest) => (true, rest.to_owned()),
            None => (false, whole),
        };
        if path != "home" {
            placed.push(PlacedFile { path, in_home, source, mode });
        }
    }
    Ok(placed)
}

/// Returns all files below a folder, ordered by path; none if there is no such folder.
fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.exists() {
            continue;
        }
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    Ok(files)
}

fn kind(file: &str) -> Option<(&'static str, &'static str)> {
    let (_, extension) = file.rsplit_once('.')?;
    KINDS.into_iter().find(|(kind, _)| *kind == extension)
}

/// Returns the name of a Quadlet's service without its ending; `None` for a template, which is started by its instances.
pub fn service(file: &str, text: &str) -> Option<String> {
    let (kind, suffix) = kind(file)?;
    let stem = file.strip_suffix(kind)?.strip_suffix('.')?;
    let section = kind[..1].to_uppercase() + &kind[1..];
    let named = UnitFile::parse(text).last(&section, "ServiceName").map(str::to_owned);
    (!stem.ends_with('@')).then(|| named.unwrap_or_else(|| format!("{stem}{suffix}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::workload::Workload;

    /// Writes a folder of these files, and returns the workload or the error without the folder's path.
    fn read_folder(files: &[(&str, &str)]) -> Result<Workload, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let strip = |error| format!("{error:#}").replace(folder.path().to_str().unwrap(), "DIR");
        Workload::read(folder.path()).map_err(strip)
    }

    const WEB: (&str, &str) = ("quadlets/web@.container", "[Container]\nImage=docker.io/x:1\nSecret=key,type=env\n");

    #[test]
    fn a_set_is_read_with_its_files_and_secrets() {
        let name =
            ("workload.toml", "name = \"web@one\"\nroot = true\n[images]\n\"docker.io/x:1\" = \"oci:images/x\"\n");
        let workload = read_folder(&[
            name,
            WEB,
            ("quadlets/a.pod", "[Pod]\nPodName=a\n"),
            ("quadlets/a.pod.d/ports.conf", "[Pod]\nPublishPort=80:80\n"),
            ("quadlets/b.volume", "[Volume]\nServiceName=other\n"),
            ("quadlets/Containerfile", "FROM scratch\n"),
            ("files/etc/x.conf", "x"),
            ("files/home/data/.keep", ""),
            ("secrets.toml", "key = { random = 24 }\nfixed = { value = \"value\" }\n"),
        ])
        .unwrap();
        assert_eq!(workload.services(), ["web@one", "a-pod", "other"]);
        assert_eq!(workload.set.quadlets["a.pod"], "[Pod]\nPodName=a\n\n# ports.conf\n[Pod]\nPublishPort=80:80\n");
        assert!(workload.set.images["docker.io/x:1"].ends_with("/images/x") && workload.set.root);
        assert_eq!(workload.set.beside.keys().collect::<Vec<_>>(), ["Containerfile"]);
        assert_eq!(workload.set.secrets["key"], Secret::Random(24));
        let placed = workload.set.files.iter().map(|file| (file.path.as_str(), file.in_home, file.source.is_some()));
        assert_eq!(placed.collect::<Vec<_>>(), [("etc/x.conf", false, true), ("data", true, false)]);
    }

    #[test]
    fn what_is_wrong_with_a_set_is_named() {
        let mut seen = String::new();
        for (toml, name, text) in [
            ("roots = true\n", "notes", ""),
            ("image = \"i\"\n", "notes", ""),
            ("[images]\n\"docker.io/x:1\" = \"\"\n", "notes", ""),
            ("[images]\n\"docker.io/x:2\" = \"debian-package:x\"\n", "notes", ""),
            ("", "secrets.toml", "key = {}\n"),
            ("", "secrets.toml", "key = { value = \"\" }\n"),
            ("", "secrets.toml", "key = { value = \"abc\" }\n"),
            ("", "secrets.toml", "key = { random = 8, value = \"x\" }\n"),
            ("", "secrets.toml", "key = { random = 0 }\n"),
            ("", "secrets.toml", "key = { file = \"away\" }\n"),
            ("", "secrets.toml", "key = { secret = \"x\" }\n"),
            ("", "secrets.toml", "other = { random = 8 }\n"),
            ("", "quadlets/sub/a.volume", "[Volume]\n"),
            ("", "quadlets/a.volume", "[Volume\n"),
            ("", "quadlets/b.container", "[Container]\nImage=@IMAGE@\n"),
        ] {
            let toml = format!("name = \"web@one\"\n{toml}");
            let error = read_folder(&[("workload.toml", &toml), WEB, (name, text)]).unwrap_err();
            seen += &format!("{error}\n\n");
        }
        insta::assert_snapshot!("set_errors", seen);
    }
}
