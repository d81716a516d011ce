//! Reads the folder of your own workload: how it is deployed, and the features that state its claims.
//!
//! ```text
//! DIR/workload.toml               its name, and its image
//! DIR/quadlets/NAME.container     how it is deployed, with @IMAGE@ for the image
//! DIR/features/                   its claims: claims.toml and *.feature, in the format of the annex's features
//! ```

mod scaffold;

use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::base::commands;
use crate::base::unit::{Bytes, Ratio, Unit};

pub use scaffold::{Kind, Scaffold};

/// The file that holds the workload's name and image.
const FILE: &str = "workload.toml";

/// A workload as its folder describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its name, which is also the name of its unit.
    pub name: String,
    /// The image to use if no option names another, in the format of `--image`.
    pub image: String,
    pub quadlet: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadFile {
    name: String,
    image: String,
}

impl Workload {
    pub fn read(folder: &Path) -> anyhow::Result<Workload> {
        let read =
            |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let path = folder.join(FILE);
        let text = read(&path)
            .with_context(|| format!("it is no folder of a workload: `{}` makes one", commands::assay("init DIR")))?;
        let file: WorkloadFile = toml::from_str(&text).with_context(|| path.display().to_string())?;
        check_name(&file.name).with_context(|| path.display().to_string())?;
        let path = folder.join(quadlet_path(&file.name));
        let quadlet = read(&path)?;
        let named = quadlet.lines().any(|line| line.trim() == "Image=@IMAGE@");
        ensure!(named, "{}: it has no line Image=@IMAGE@, so the image under test would not run", path.display());
        Ok(Workload { name: file.name, image: file.image, quadlet })
    }

    pub fn changed(&self, change: Change) -> String {
        match change {
            Change::Nothing => self.quadlet.clone(),
            Change::Memory(size) => set(&self.quadlet, "Service", "MemoryMax", &size.0.to_string()),
            Change::Cpu(share) => {
                set(&self.quadlet, "Service", "CPUQuota", &Unit::Ratio.show(share.0).replace(' ', ""))
            }
            Change::Program => set(&self.quadlet, "Container", "PodmanArgs", &format!("--entrypoint={NO_PROGRAM}")),
        }
    }
}

/// The path of a program that no image contains.
const NO_PROGRAM: &str = "/there/is/no/such/program";

/// What a control changes in a workload, so that the control's check must fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    Nothing,
    Memory(Bytes),
    /// Its CPU limit, as a share of one CPU.
    Cpu(Ratio),
    /// Its program: the entrypoint does not exist.
    Program,
}

/// Sets a key in a section of a Quadlet and removes the key's earlier values in that section.
fn set(quadlet: &str, section: &str, key: &str, value: &str) -> String {
    let (heading, line) = (format!("[{section}]"), format!("{key}={value}\n"));
    let (mut out, mut inside, mut written) = (String::new(), false, false);
    for old in quadlet.lines() {
        if old.trim().starts_with('[') {
            inside = old.trim() == heading;
        }
        let same = old.split_once('=').is_some_and(|(known, _)| known.trim() == key);
        if !(inside && same) {
            out += &format!("{old}\n");
        }
        if old.trim() == heading && !written {
            out += &line;
            written = true;
        }
    }
    match written {
        true => out,
        false => format!("{out}\n{heading}\n{line}"),
    }
}

fn quadlet_path(name: &str) -> String {
    format!("quadlets/{name}.container")
}

/// Checks a workload's name, which becomes part of the names of a unit, a file and an image.
pub fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.starts_with(plain) && name.ends_with(plain) && name.chars().all(|c| plain(c) || c == '-');
    ensure!(good, "\"{name}\" is no name for a workload: write lower-case letters, digits and, between them, dashes");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUADLET: &str = "[Container]\nImage=@IMAGE@\n\n[Service]\nMemoryMax=64M\nCPUQuota=10%\nMemoryMax=1G\n";

    fn workload(quadlet: &str) -> Workload {
        Workload { name: "w".into(), image: "i".into(), quadlet: quadlet.into() }
    }

    #[test]
    fn a_change_is_of_one_thing() {
        let of = |change| workload(QUADLET).changed(change);
        assert_eq!(of(Change::Nothing), QUADLET);
        assert_eq!(
            of(Change::Memory(Bytes(4 << 20))),
            "[Container]\nImage=@IMAGE@\n\n[Service]\nMemoryMax=4194304\nCPUQuota=10%\n"
        );
        assert_eq!(
            of(Change::Cpu(Ratio(1.0))),
            "[Container]\nImage=@IMAGE@\n\n[Service]\nCPUQuota=100%\nMemoryMax=64M\nMemoryMax=1G\n"
        );
        let none = of(Change::Program);
        assert!(none.starts_with("[Container]\nPodmanArgs=--entrypoint=/there/is/no/such/program\nImage=@"), "{none}");
        let bare = workload("[Container]\nImage=@IMAGE@\n").changed(Change::Memory(Bytes(1)));
        assert_eq!(bare, "[Container]\nImage=@IMAGE@\n\n[Service]\nMemoryMax=1\n");
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let told = || format!("{:#}", Workload::read(folder.path()).unwrap_err());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert!(told().starts_with("it is no folder of a workload: `cargo run -- init DIR` makes one: "), "{}", told());
        write("workload.toml", "name = \"Web_1\"\nimage = \"i\"\n");
        assert!(told().contains("workload.toml: \"Web_1\" is no name for a workload"), "{}", told());
        write("workload.toml", "name = \"w\"\nimage = \"i\"\nlimits = 3\n");
        assert!(told().contains("unknown field `limits`"), "{}", told());
        write("workload.toml", "name = \"w\"\nimage = \"i\"\n");
        assert!(told().contains("quadlets/w.container"), "{}", told());
        std::fs::create_dir(folder.path().join("quadlets")).unwrap();
        write("quadlets/w.container", "[Container]\nImage=another\n");
        assert!(told().contains("it has no line Image=@IMAGE@"), "{}", told());
        write("quadlets/w.container", QUADLET);
        assert_eq!(Workload::read(folder.path()).unwrap(), workload(QUADLET));
    }
}
