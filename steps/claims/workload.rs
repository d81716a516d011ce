//! Reads the folder of your own workload: how it is deployed, and the features that state its claims.
//!
//! ```text
//! DIR/workload.toml               its name, and its image
//! DIR/quadlets/NAME.container     how it is deployed, with @IMAGE@ for the image
//! DIR/features/                   its claims: claims.toml and *.feature, in the format of the annex's features
//! ```

#[cfg(feature = "run")]
pub mod change;
#[cfg(feature = "run")]
pub mod scaffold;

use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::base::commands;

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
        let text = read(&path).with_context(|| {
            format!("{} is not a workload's folder (`{}` makes one)", folder.display(), commands::assay("init DIR"))
        })?;
        let file: WorkloadFile = toml::from_str(&text).with_context(|| path.display().to_string())?;
        check_name(&file.name).with_context(|| path.display().to_string())?;
        let path = folder.join(quadlet_path(&file.name));
        let quadlet = read(&path)?;
        let named = quadlet.lines().any(|line| line.trim() == "Image=@IMAGE@");
        ensure!(named, "{}: it has no line Image=@IMAGE@, so the image under test would not run", path.display());
        Ok(Workload { name: file.name, image: file.image, quadlet })
    }
}

fn quadlet_path(name: &str) -> String {
    format!("quadlets/{name}.container")
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

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const QUADLET: &str =
        "[Container]\nImage=@IMAGE@\n\n[Service]\nMemoryMax=64M\nCPUQuota=10%\nMemoryMax=1G\n";

    pub(super) fn workload(quadlet: &str) -> Workload {
        Workload { name: "w".into(), image: "i".into(), quadlet: quadlet.into() }
    }

    #[test]
    fn an_error_in_a_folder_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = || format!("{:#}", Workload::read(folder.path()).unwrap_err());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert!(
            error().contains(" is not a workload's folder (`cargo run -- init DIR` makes one): cannot read "),
            "{}",
            error()
        );
        write("workload.toml", "name = \"Web_1\"\nimage = \"i\"\n");
        assert!(error().contains("workload.toml: \"Web_1\" is not a name for a workload"), "{}", error());
        write("workload.toml", "name = \"w\"\nimage = \"i\"\nlimits = 3\n");
        assert!(error().contains("unknown field `limits`"), "{}", error());
        write("workload.toml", "name = \"w\"\nimage = \"i\"\n");
        assert!(error().contains("quadlets/w.container"), "{}", error());
        std::fs::create_dir(folder.path().join("quadlets")).unwrap();
        write("quadlets/w.container", "[Container]\nImage=another\n");
        assert!(error().contains("it has no line Image=@IMAGE@"), "{}", error());
        write("quadlets/w.container", QUADLET);
        assert_eq!(Workload::read(folder.path()).unwrap(), workload(QUADLET));
    }
}
