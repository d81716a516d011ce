//! Reads a `features/` folder. No other module does.

use std::path::{Path, PathBuf};

use anyhow::Context;
use gherkin::{Feature, Scenario};

use crate::claims::deviation::Deviations;
use crate::claims::plan::{Capabilities, FeatureErrors, FeatureFile, Plan, Shard};
use crate::claims::register::Register;

/// The claims of a `features/` folder with their scenarios and declared deviations.
#[derive(Clone, Debug)]
pub struct ClaimSuite {
    /// The feature files, ordered by name.
    pub features: Vec<FeatureFile>,
    /// The register of claims.
    pub register: Register,
    /// The declared failures.
    #[cfg_attr(not(feature = "run"), expect(dead_code, reason = "without runs, they are only checked"))]
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
        wanted: impl Fn(&Feature, &Scenario) -> bool,
        shard: Option<Shard>,
    ) -> Result<Plan, FeatureErrors> {
        Plan::make(&self.features, &self.register, met, wanted, shard)
    }
}

fn read<T>(root: &Path, path: &Path, parse: impl FnOnce(&str) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| shown(root, path))
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::FakeAws;
    use crate::claims::plan::Decision;

    #[test]
    fn the_annex_is_in_order_and_every_claim_is_planned_on_every_target() {
        let annex = ClaimSuite::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        for target in ["vm:amd64", "vm:arm64", "ec2", "ssh://a@b", "podman"] {
            let met = Capabilities::by(&target.parse().unwrap(), &FakeAws::default(), None);
            let plan = annex.plan(&met, |_, _| true, None).unwrap();
            for claim in annex.register.iter() {
                let mine = |control: bool| {
                    plan.scenarios.iter().filter(move |planned| planned.claim == claim.id && planned.control == control)
                };
                assert_eq!(mine(false).count(), 1, "{} on {target}", claim.id);
                assert!(claim.control.is_some() || mine(true).count() == 0, "control of {} is not declared", claim.id);
            }
            assert!(plan.scenarios.iter().filter(|planned| planned.decision == Decision::Run).count() > 30, "{target}");
        }
    }
}
