//! Reads a run's folder, and uses nothing but what is written there.

mod folder;
mod transcript;

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::claims::plan::FeatureFile;
use crate::evidence::{ClaimResult, SCHEMA, Verdicts};
use crate::measurement::Sample;
use crate::verdict::claim_verdict::Attempt;

pub use folder::{Excerpt, SandboxedDir, Strange};

/// The evidence of a run.
#[derive(Clone, Debug)]
pub struct EvidenceBundle {
    pub folder: SandboxedDir,
    /// `run.json`.
    pub run: Json,
    pub verdicts: Verdicts,
    /// `samples.jsonl`, in order.
    pub samples: Vec<Sample>,
    /// `features/*.feature` as they were during the run, sorted by name.
    pub features: Vec<FeatureFile>,
}

impl EvidenceBundle {
    pub fn open(path: &Path) -> anyhow::Result<EvidenceBundle> {
        let folder = SandboxedDir::open(path)?;
        one_run(&folder)?;
        let shown = |name: &str| folder.path().join(name).display().to_string();
        let read = |name: &str| {
            folder.text(name).with_context(|| format!("{} is not the whole folder of a run", path.display()))
        };
        let verdicts = document(&folder, "verdicts.json", |verdicts: &Verdicts| verdicts.schema)?;
        let schema = |run: &Json| run.get("schema").and_then(|schema| schema.as_u64()?.try_into().ok()).unwrap_or(0);
        let run = document(&folder, "run.json", schema)?;
        let parse = |(place, line): (usize, &str)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}: no sample", shown("samples.jsonl"), place + 1))
        };
        let samples = read("samples.jsonl")?.lines().enumerate().map(parse).collect::<anyhow::Result<_>>()?;
        let mut features = Vec::new();
        for name in folder.names()?.iter().filter(|name| name.starts_with("features/") && name.ends_with(".feature")) {
            let feature = FeatureFile::parse(name.clone(), &read(name)?);
            features.push(feature.with_context(|| format!("{} is not a feature", shown(name)))?);
        }
        Ok(EvidenceBundle { folder, run, verdicts, samples, features })
    }

    /// Judges every claim and its controls again from the samples, and describes each difference to the stored result.
    pub fn differences(&self) -> Vec<String> {
        let again = |claim: &ClaimResult| {
            let fresh = claim.again(&self.samples, self.verdicts.on);
            let (id, stored) = (claim.id, conclusions(claim));
            let differs = |(before, now): (String, String)| (before != now).then_some((before, now));
            let (before, now) = stored.into_iter().zip(conclusions(&fresh)).find_map(differs)?;
            Some(format!("{id}: stored as \"{before}\", but the samples say \"{now}\""))
        };
        self.verdicts.claims.iter().filter_map(again).collect()
    }
}

/// Reads `run.json` or `verdicts.json`; `schema` returns the version of the layout that it states.
pub(crate) fn document<T: DeserializeOwned>(
    folder: &SandboxedDir,
    name: &str,
    schema: impl FnOnce(&T) -> u32,
) -> anyhow::Result<T> {
    #[derive(Deserialize)]
    struct Layout {
        #[serde(default)]
        schema: u32,
    }
    let shown = folder.path().join(name);
    let shown = shown.display();
    let incomplete = || format!("{} is not the whole folder of a run", folder.path().display());
    let text = folder.text(name).with_context(incomplete)?;
    let contents = serde_json::from_str(&text);
    let schema = match &contents {
        Ok(contents) => schema(contents),
        // The error may be due to a newer layout.
        Err(_) => serde_json::from_str::<Layout>(&text).with_context(|| format!("{shown} is not JSON"))?.schema,
    };
    anyhow::ensure!(
        schema == SCHEMA,
        "{shown} has layout {schema}, and this version reads {SCHEMA}: use the version that wrote it"
    );
    contents.with_context(|| format!("{shown} is not of this layout"))
}

/// Returns the names of a merged bundle's parts, in the order of its `run.json`; `None` if the folder is not a merged
/// bundle.
pub fn parts(folder: &SandboxedDir) -> Option<Vec<String>> {
    let run: Json = serde_json::from_str(&folder.text("run.json").ok()?).ok()?;
    let parts = run.get("parts")?.as_array()?.iter();
    Some(parts.map(|part| part.get("name").and_then(Json::as_str).unwrap_or_default().to_owned()).collect())
}

/// Rejects a merged bundle, which is not a run; its parts are.
pub(crate) fn one_run(folder: &SandboxedDir) -> anyhow::Result<()> {
    let Some(parts) = parts(folder) else { return Ok(()) };
    let path = folder.path().display();
    let parts: Vec<String> = parts.iter().map(|part| format!("{path}/parts/{part}")).collect();
    anyhow::bail!("{path} is merged of several runs: name one of them, {}", parts.join(" or "))
}

/// Returns everything that is stated about a claim, its checks and its controls, in this order.
fn conclusions(claim: &ClaimResult) -> Vec<String> {
    let attempts = |attempts: &[Attempt]| -> Vec<String> {
        let checks = attempts.iter().flat_map(|attempt| &attempt.checks);
        checks.map(|judged| format!("{}: {}", judged.outcome.verdict, judged.outcome.reason)).collect()
    };
    let mut said = vec![format!("{}: {}", claim.verdict, claim.reason)];
    said.extend(attempts(&claim.attempts));
    for control in &claim.controls {
        said.push(format!("control: {}", control.reason));
        said.extend(attempts(&control.attempts));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "{\"schema\":1,\"run\":\"r\"}";

    fn empty() -> String {
        format!(
            "{{\"schema\":{SCHEMA},\"run\":\"r\",\"on\":\"2026-11-23\",\"complete\":true,\"exit\":0,\
             \"problems\":[],\"claims\":[]}}"
        )
    }

    /// Returns the error of opening a folder with these files.
    fn told(run: &str, verdicts: &str, samples: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let files = [("run.json", run.as_bytes()), ("verdicts.json", verdicts.as_bytes()), ("samples.jsonl", samples)];
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        format!("{:#}", EvidenceBundle::open(folder.path()).unwrap_err())
    }

    #[test]
    fn what_is_no_run_of_this_layout_is_told_with_its_place() {
        let nowhere = format!("{:#}", EvidenceBundle::open(Path::new("/nowhere")).unwrap_err());
        assert!(nowhere.starts_with("cannot read /nowhere: name the folder of a run"), "{nowhere}");
        let bare = tempfile::tempdir().unwrap();
        let missing = format!("{:#}", EvidenceBundle::open(bare.path()).unwrap_err());
        assert!(missing.contains("is not the whole folder of a run: cannot read "), "{missing}");
        assert!(told(RUN, "{", b"").contains("verdicts.json is not JSON"));
        assert!(told(RUN, "{\"schema\": 99}", b"").contains("verdicts.json has layout 99, and this version reads"));
        assert!(told("{}", &empty(), b"").contains("run.json has layout 0, and this version reads"));
        assert!(told(RUN, &empty(), b"{}\n").contains("samples.jsonl:1: no sample: missing field"));
        assert!(told(RUN, &empty(), b"\xff").contains("samples.jsonl is not UTF-8 text: byte 0 is none"));
    }
}
