//! Reads the folder of your own workload: how it is deployed, and the features that state its claims.
//!
//! ```text
//! DIR/workload.toml               its name, its image, the images of other references, whether its units are root's, and
//!                                 pairs of them that are compared
//! DIR/quadlets/NAME.container     how it is deployed, with @IMAGE@ for the image
//! DIR/quadlets/NAME.container.d/  its drop-ins, if it has any: *.conf, also in container.d/, for all Quadlets
//! DIR/quadlets/                   other Quadlets that are deployed with it, and what they name beside them
//! DIR/files/                      what the machine is given: etc/… at /etc/…, home/… in the user's home
//! DIR/secrets.toml                Podman's secrets
//! DIR/features/                   its claims: claims.toml and *.feature, in the format of the annex's features
//! ```

pub mod adopt;
pub mod change;
pub mod pair;
#[cfg(feature = "run")]
pub mod question;
pub mod scaffold;
pub mod set;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::base::commands;
use crate::base::unit_file::UnitFile;
use pair::Pair;
use set::QuadletSet;

pub const FILE: &str = "workload.toml";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Its name, which is also the name of its unit; of a template, with an instance: `web@one`.
    pub name: String,
    /// The image that @IMAGE@ stands for if no option names another, in the format of `--image`.
    pub image: Option<String>,
    /// Its Quadlet, with its drop-ins after it.
    pub quadlet: String,
    /// What is deployed with it.
    pub set: QuadletSet,
    /// Its units that are compared with each other.
    pub pairs: Vec<Pair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadFile {
    name: String,
    image: Option<String>,
    #[serde(default)]
    root: bool,
    #[serde(default)]
    images: BTreeMap<String, String>,
    #[serde(default)]
    pair: Vec<Pair>,
}

/// The image under test, in a Quadlet.
pub const IMAGE: &str = "@IMAGE@";

impl Workload {
    pub fn read(folder: &Path) -> anyhow::Result<Workload> {
        let path = folder.join(FILE);
        let text = read(&path).with_context(|| {
            format!("{} is not a workload's folder (`{}` makes one)", folder.display(), commands::assay("init DIR"))
        })?;
        let file: WorkloadFile = toml::from_str(&text).with_context(|| path.display().to_string())?;
        // The name of an image that is made for it must be one for a registry, too.
        let check = if file.image.is_some() { check_name } else { check_unit_name };
        file.name.splitn(2, '@').try_for_each(check).with_context(|| path.display().to_string())?;
        if let Some((image, _)) = file.images.iter().find(|(_, from)| from.trim().is_empty()) {
            bail!("{}: the image {image} is taken from nowhere: write debian-package:NAME, oci:DIR, …", path.display());
        }
        let path = folder.join(quadlet_path(&file.name));
        if let Some(other) = drop_ins(&path, "service")?.first() {
            let instead = format!("{}.d/", quadlet_path(&file.name));
            bail!("{}: a drop-in of the service is not deployed: move it to {instead}", other.display());
        }
        let quadlet = joined(&path, &drop_ins(&path, "container")?)?;
        let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let set = QuadletSet::read(folder, &own)?;
        let images = file.images.into_iter().map(|(image, from)| (image, beside(folder, from))).collect();
        let workload = Workload {
            name: file.name,
            image: file.image,
            quadlet,
            set: QuadletSet { root: file.root, images, ..set },
            pairs: file.pair,
        };
        workload.check_pairs().with_context(|| folder.join(FILE).display().to_string())?;
        match (&workload.image, workload.takes_image()) {
            (Some(_), false) => {
                let image =
                    UnitFile::parse(&workload.quadlet).last("Container", "Image").unwrap_or("nothing").to_owned();
                let found = format!("{}: its image is {image}, so the image under test would not run", path.display());
                bail!("{found}: write Image={IMAGE} in its section [Container]")
            }
            (None, true) => bail!("{}: no image stands for {IMAGE}: write image = \"…\"", folder.join(FILE).display()),
            _ => workload.set.check(folder, &workload.quadlet)?,
        }
        Ok(workload)
    }

    /// Returns whether a Quadlet asks for the image under test.
    pub fn takes_image(&self) -> bool {
        let all = [&self.quadlet].into_iter().chain(self.set.quadlets.values());
        all.map(|text| UnitFile::parse(text)).any(|file| file.last("Container", "Image") == Some(IMAGE))
    }

    /// Returns the services of all Quadlets, without their ending; its own is the first.
    pub fn services(&self) -> Vec<String> {
        let others = self.set.quadlets.iter().filter_map(|(file, text)| set::service(file, text));
        [self.name.clone()].into_iter().chain(others).collect()
    }

    /// Returns the services that start with its own: those of all other Quadlets, except of a pair, whose units take turns.
    pub fn started_with_it(&self) -> Vec<String> {
        let in_pair = |service: &String| self.pairs.iter().any(|pair| pair.units.contains(service));
        self.services().into_iter().skip(1).filter(|service| !in_pair(service)).collect()
    }
}

/// Returns where an image is taken from, with the path of a layout or archive in the workload's folder.
fn beside(folder: &Path, image: String) -> String {
    match image.split_once(':') {
        Some((scheme @ ("oci" | "oci-archive"), path)) if !path.starts_with('/') => {
            format!("{scheme}:{}", folder.join(path).display())
        }
        _ => image,
    }
}

/// Reads a Quadlet with its drop-ins after it: Podman before 5.0 reads none, and to the rest of the file they are no
/// different.
fn joined(path: &Path, drop_ins: &[PathBuf]) -> anyhow::Result<String> {
    let mut quadlet = read_unit(path)?;
    for path in drop_ins {
        let text = read_unit(path)?;
        let end = if quadlet.ends_with('\n') { "\n" } else { "\n\n" };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        quadlet += &format!("{end}# {name}\n{}", text.trim_start_matches('\u{feff}'));
    }
    Ok(quadlet)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a unit file, which Podman refuses as a whole if one line of it is wrong.
fn read_unit(path: &Path) -> anyhow::Result<String> {
    let text = read(path)?;
    if let Some((line, wrong)) = UnitFile::parse(&text).mistakes.first() {
        bail!(
            "{}:{line}: \"{wrong}\" is not a setting: write KEY=VALUE below a [Section], or # before it",
            path.display()
        );
    }
    Ok(text)
}

/// Returns the drop-ins of a Quadlet in the order in which they apply: by their names, whichever folder they are in. Of
/// those with one name, the one in the most specific folder counts: of a-b, in a-b.container.d, a-.container.d, container.d.
fn drop_ins(quadlet: &Path, kind: &str) -> anyhow::Result<Vec<PathBuf>> {
    let name = quadlet.file_stem().unwrap_or_default().to_string_lossy();
    let begun = name.match_indices('-').map(|(dash, _)| format!("{}.{kind}.d", &name[..=dash]));
    let folders = [format!("{kind}.d")].into_iter().chain(begun).chain([format!("{name}.{kind}.d")]);
    let mut all = BTreeMap::new();
    for folder in folders.map(|folder| quadlet.with_file_name(folder)).filter(|folder| folder.is_dir()) {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "conf") {
                all.insert(path.file_name().map(OsStr::to_owned), path);
            }
        }
    }
    Ok(all.into_values().collect())
}

fn quadlet_path(name: &str) -> String {
    format!("quadlets/{}", quadlet_file(name))
}

/// Returns the name of the file of a container's Quadlet; units of a template have one together.
pub fn quadlet_file(name: &str) -> String {
    match name.split_once('@') {
        Some((template, _)) => format!("{template}@.container"),
        None => format!("{name}.container"),
    }
}

/// Checks a workload's name, which becomes part of the names of a unit, a file and an image.
pub fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.starts_with(plain) && name.ends_with(plain) && name.chars().all(|c| plain(c) || c == '-');
    ensure!(
        good,
        "\"{name}\" is not a name for a workload: write lower-case letters, digits and, between them, dashes"
    );
    Ok(())
}

fn check_unit_name(name: &str) -> anyhow::Result<()> {
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let good = good && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
    ensure!(good, "\"{name}\" is not the name of a unit: write letters, digits and, after the first, any of -_.:");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const QUADLET: &str =
        "[Container]\nImage=@IMAGE@\n\n[Service]\nMemoryMax=64M\nCPUQuota=10%\nMemoryMax=1G\n";

    pub(super) fn workload(quadlet: &str) -> Workload {
        Workload { name: "w".into(), image: Some("i".into()), quadlet: quadlet.into(), ..Workload::default() }
    }

    #[test]
    fn an_error_in_a_folder_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("quadlets")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let mut seen = String::new();
        for (name, text) in [
            ("notes.txt", ""),
            ("workload.toml", "name = \"Web_1\"\nimage = \"i\"\n"),
            ("workload.toml", "name = \"w\"\nimage = \"i\"\nlimits = 3\n"),
            ("workload.toml", "name = \"w\"\nimage = \"i\"\n"),
            ("quadlets/w.container", "[Container]\nImage=another\n"),
            ("quadlets/w.container", "[Unit]\nImage=@IMAGE@\n"),
            ("quadlets/w.container", "[Container]\nImage @IMAGE@\n"),
        ] {
            write(name, text);
            let error = format!("{:#}\n\n", Workload::read(folder.path()).unwrap_err());
            seen += &error.replace(folder.path().to_str().unwrap(), "DIR");
        }
        insta::assert_snapshot!("errors", seen);
        write("quadlets/w.container", QUADLET);
        assert_eq!(Workload::read(folder.path()).unwrap(), workload(QUADLET));
        write("quadlets/w.container", "\u{feff}[Container]\r\n Image = \\\r\n# the one under test\r\n@IMAGE@\r\n");
        Workload::read(folder.path()).unwrap();
    }

    #[test]
    fn drop_ins_apply_after_the_quadlet_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("workload.toml", "name = \"w\"\nimage = \"i\"\n");
        write("quadlets/w.container", "[Container]\nImage=other");
        write("quadlets/w.container.d/20-image.conf", "[Container]\nImage=@IMAGE@\n");
        write("quadlets/w.container.d/10-memory.conf", "\u{feff}[Service]\nMemoryMax=1G");
        write("quadlets/w.container.d/notes.txt", "nothing");
        let joined = "[Container]\nImage=other\n\n# 10-memory.conf\n[Service]\nMemoryMax=1G\n\n# 20-image.conf\n[Container]\nImage=@IMAGE@\n";
        assert_eq!(Workload::read(folder.path()).unwrap().quadlet, joined);
        write("quadlets/w.container.d/10-memory.conf", "MemoryMax=1G\n");
        let error = Workload::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("w.container.d/10-memory.conf:1: \"MemoryMax=1G\" is not a setting"), "{error}");

        std::fs::remove_dir_all(folder.path().join("quadlets")).unwrap();
        write("workload.toml", "name = \"a-b-c\"\nimage = \"i\"\n");
        write("quadlets/a-b-c.container", "[Container]\nImage=@IMAGE@\n");
        for (folder, names) in [
            ("container.d", &["1", "2", "3", "4"][..]),
            ("a-.container.d", &["2", "3", "4"]),
            ("a-b-.container.d", &["3", "4"]),
            ("a-b-c.container.d", &["4"]),
            ("a-b.container.d", &["5"]),
            ("b.container.d", &["6"]),
        ] {
            names.iter().for_each(|name| write(&format!("quadlets/{folder}/{name}.conf"), &format!("[{folder}]\n")));
        }
        let read = Workload::read(folder.path()).unwrap().quadlet;
        let applied: Vec<&str> = read.lines().filter(|line| line.ends_with(".d]")).collect();
        assert_eq!(applied, ["[container.d]", "[a-.container.d]", "[a-b-.container.d]", "[a-b-c.container.d]"]);
        write("quadlets/a-b-.service.d/1.conf", "[Service]\nMemoryMax=1G\n");
        let error = Workload::read(folder.path()).unwrap_err().to_string();
        let end =
            "a-b-.service.d/1.conf: a drop-in of the service is not deployed: move it to quadlets/a-b-c.container.d/";
        assert!(error.ends_with(end), "{error}");
    }
}
