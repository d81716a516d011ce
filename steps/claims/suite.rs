//! Reads a `features/` folder. No other module does.

use std::path::{Path, PathBuf};

use anyhow::Context;
use gherkin::Scenario;

use crate::claims::deviation::Deviations;
use crate::claims::plan::{Capabilities, FeatureErrors, FeatureFile, Plan, Shard};
use crate::claims::register::Register;

/// The claims of a `features/` folder with their scenarios and declared deviations.
#[derive(Clone, Debug)]
pub struct ClaimSuite {
    /// The feature files, ordered by name.
    pub features: Vec<FeatureFile>,
    pub register: Register,
    pub deviations: Deviations,
}

impl ClaimSuite {
    /// Reads the `features/` of a project's folder.
    pub fn read(root: &Path) -> anyhow::Result<ClaimSuite> {
        let folder = root.join("features");
        let register = read(root, &folder.join("claims.toml"), Register::parse)?;
        let path = folder.join("deviations.toml");
        let deviations = match path.exists() {
            true => read(root, &path, Deviations::parse)?,
            false => Deviations::default(),
        };
        if let Some(unknown) = deviations.iter().find(|deviation| register.get(deviation.claim).is_none()) {
            anyhow::bail!("{}: there is no claim {}: remove its declaration", shown(root, &path), unknown.claim);
        }
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "feature"));
        paths.sort();
        let feature = |path: &PathBuf| read(root, path, |text| FeatureFile::parse(shown(root, path), text));
        let features = paths.iter().map(feature).collect::<anyhow::Result<_>>()?;
        Ok(ClaimSuite { features, register, deviations })
    }

    /// Plans a run on a target with the capabilities `met`; see [`Plan::make`].
    pub fn plan(
        &self,
        met: &Capabilities,
        wanted: impl Fn(&Scenario) -> bool,
        shard: Option<Shard>,
    ) -> Result<Plan, FeatureErrors> {
        Plan::make(&self.features, &self.register, met, wanted, shard)
    }
}

fn read<T>(root: &Path, path: &Path, parse: impl FnOnce(&str) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow::anyhow!("line {line} is not UTF-8: save the file as UTF-8")
    });
    text.and_then(|text| parse(&text)).with_context(|| shown(root, path))
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
