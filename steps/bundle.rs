//! A run's folder, read again: by what is written there and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::conclusion::Attempt;
use crate::evidence::{ClaimRecord, SCHEMA, Verdicts};
use crate::probe::Sample;

/// What a run left.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its folder.
    pub folder: PathBuf,
    /// `verdicts.json`.
    pub verdicts: Verdicts,
    /// `samples.jsonl`, in its order.
    pub samples: Vec<Sample>,
}

impl Bundle {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// A file is missing, is not of this layout, or cannot be read; the error names the file and, in a list, the line.
    pub fn open(folder: &Path) -> anyhow::Result<Bundle> {
        let read = |name: &str| {
            let path = folder.join(name);
            let text = fs::read_to_string(&path);
            text.with_context(|| {
                format!("cannot read {}: is it the folder of a run, target/assay/<run>?", path.display())
            })
        };
        let json: serde_json::Value = serde_json::from_str(&read("verdicts.json")?)
            .with_context(|| format!("{} is no JSON", folder.join("verdicts.json").display()))?;
        let schema = json.get("schema").and_then(serde_json::Value::as_u64).unwrap_or(0);
        anyhow::ensure!(
            schema == u64::from(SCHEMA),
            "{} has layout {schema}, and this version reads {SCHEMA}: use the version that wrote it",
            folder.display()
        );
        let verdicts: Verdicts = serde_json::from_value(json)
            .with_context(|| format!("{} is not of this layout", folder.join("verdicts.json").display()))?;
        let parse = |(place, line): (usize, &str)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}:{}: no sample", folder.join("samples.jsonl").display(), place + 1))
        };
        let samples = read("samples.jsonl")?.lines().enumerate().map(parse).collect::<anyhow::Result<_>>()?;
        Ok(Bundle { folder: folder.to_owned(), verdicts, samples })
    }

    /// Judges every claim again on the samples, its controls too, and says each difference to what is stored.
    pub fn differences(&self) -> Vec<String> {
        let again = |claim: &ClaimRecord| {
            let fresh = claim.again(&self.samples, self.verdicts.on);
            let (id, stored) = (claim.id, conclusions(claim));
            let differs = |(before, now): (String, String)| (before != now).then_some((before, now));
            let (before, now) = stored.into_iter().zip(conclusions(&fresh)).find_map(differs)?;
            Some(format!("{id}: stored as \"{before}\", but the samples say \"{now}\""))
        };
        self.verdicts.claims.iter().filter_map(again).collect()
    }
}

/// All that is said of a claim, each of its checks and each of its controls, in this order.
fn conclusions(claim: &ClaimRecord) -> Vec<String> {
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

    /// The error of opening a folder that holds these.
    fn told(verdicts: &str, samples: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("verdicts.json"), verdicts).unwrap();
        fs::write(folder.path().join("samples.jsonl"), samples).unwrap();
        format!("{:#}", Bundle::open(folder.path()).unwrap_err())
    }

    #[test]
    fn what_is_no_run_of_this_layout_is_told_with_its_place() {
        let nowhere = format!("{:#}", Bundle::open(Path::new("/nowhere")).unwrap_err());
        assert!(nowhere.starts_with("cannot read /nowhere/verdicts.json: is it the folder of a run"), "{nowhere}");
        assert!(told("{", "").contains("verdicts.json is no JSON"));
        assert!(told("{\"schema\": 99}", "").contains("has layout 99, and this version reads"));
        let empty = format!(
            "{{\"schema\":{SCHEMA},\"run\":\"r\",\"on\":\"2026-11-23\",\"complete\":true,\"exit\":0,\
             \"problems\":[],\"claims\":[]}}"
        );
        assert!(told(&empty, "{}\n").contains("samples.jsonl:1: no sample: missing field"));
    }
}
