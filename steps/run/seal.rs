//! Writes a run's plan, signs it and has it time-stamped, before anything is measured.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::Run;
use crate::base::digest::sha256_of;
use crate::base::embedded;
use crate::evidence::bundle::SandboxedDir;
use crate::evidence::sealed_plan::{PLAN, PlannedChecks, SealedPlan, TIME, feature_digests, planned_claims};
use crate::evidence::{attestation, history, timestamp};

impl Run {
    /// Writes what this run is going to judge, and by which rules. Every sample must be later.
    ///
    /// # Errors
    /// Returns an error if the plan cannot be written, signed or time-stamped.
    pub fn seal_plan(&self, limits: Json, checks: &PlannedChecks) -> anyhow::Result<()> {
        let folder = SandboxedDir::open(self.evidence.folder())?;
        let plan = SealedPlan {
            schema: 1,
            run: self.context.run.clone(),
            at: Timestamp::now(),
            target: self.target.to_string(),
            previous: history::before(folder.path()),
            inputs: self.inputs()?,
            features: feature_digests(&folder)?,
            limits,
            claims: planned_claims(&self.state.register, self.state.plan(), &self.features, checks),
        };
        self.evidence.keep(PLAN, (serde_json::to_string_pretty(&plan)? + "\n").as_bytes())?;
        let path = folder.path().join(PLAN);
        if let Some(key) = &self.sign {
            attestation::sign(&path, key)?;
        }
        if let Some(server) = &self.timestamp {
            timestamp::stamp(&path, &folder.path().join(TIME), server)?;
        }
        self.evidence.note(json!({ "plan": { "sha256": sha256_of(File::open(&path)?)? } }))
    }

    /// Returns the SHA-256 of what decides how this run measures, besides its features.
    fn inputs(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let root = &self.context.settings.root;
        let digest = |path: &Path| {
            let digest = File::open(path).and_then(sha256_of);
            digest.with_context(|| format!("cannot read {}", path.display()))
        };
        let mut inputs = BTreeMap::from([
            ("program".to_owned(), digest(Path::new("/proc/self/exe"))?),
            ("project".to_owned(), embedded::digest_in(root)),
        ]);
        inputs.extend(self.annex.iter().map(|annex| ("annex".to_owned(), annex.sha256.clone())));
        if self.folder != *root {
            for below in ["", "quadlets"] {
                for entry in fs::read_dir(self.folder.join(below)).into_iter().flatten().flatten() {
                    if entry.file_type()?.is_file() {
                        let path = entry.path();
                        let name = path.strip_prefix(&self.folder)?.display().to_string();
                        inputs.insert(format!("workload/{name}"), digest(&path)?);
                    }
                }
            }
        }
        Ok(inputs)
    }
}
