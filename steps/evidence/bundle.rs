//! Reads a run's folder, and uses nothing but what is written there.

mod folder;

use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::claims::plan::FeatureFile;
use crate::evidence::{Ran, SCHEMA, Verdicts};
use crate::measurement::Sample;

pub use folder::{Excerpt, SandboxedDir};

/// The longest line of a transcript, in bytes, that is parsed as a command: longer output is never inlined.
const LINE: u64 = 1 << 20;

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
        let verdicts = document(&folder, "verdicts.json")?;
        let run = document(&folder, "run.json")?;
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

    /// Passes each command of the transcript to `each`, however long the transcript is. Returns how many lines are not
    /// commands.
    pub fn commands(&self, mut each: impl FnMut(Ran)) -> anyhow::Result<usize> {
        let mut lines = BufReader::new(self.folder.reader("transcript.jsonl")?);
        let mut unreadable = 0;
        loop {
            let mut line = Vec::new();
            let read = (&mut lines).take(LINE).read_until(b'\n', &mut line).context("cannot read the transcript")?;
            if read == 0 {
                return Ok(unreadable);
            }
            if !line.ends_with(b"\n") && line.len() as u64 == LINE {
                lines.skip_until(b'\n').context("cannot read the transcript")?;
            }
            match serde_json::from_slice(&line) {
                Ok(ran) => each(ran),
                Err(_) => unreadable += 1,
            }
        }
    }
}

/// Reads `run.json` or `verdicts.json`, if it is of this layout.
pub fn document<T: DeserializeOwned>(folder: &SandboxedDir, name: &str) -> anyhow::Result<T> {
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(default)]
        schema: u32,
    }
    let shown = folder.path().join(name);
    let shown = shown.display();
    let incomplete = || format!("{} is not the whole folder of a run", folder.path().display());
    let text = folder.text(name).with_context(incomplete)?;
    let Versioned { schema } = serde_json::from_str(&text).with_context(|| format!("{shown} is not JSON"))?;
    anyhow::ensure!(
        schema == SCHEMA,
        "{shown} has layout {schema}, and this version reads {SCHEMA}: use the version that wrote it"
    );
    serde_json::from_str(&text).with_context(|| format!("{shown} is not of this layout"))
}

/// Returns the names of a merged bundle's parts, in the order of its `run.json`; `None` if the folder is not a merged
/// bundle.
pub fn parts(folder: &SandboxedDir) -> Option<Vec<String>> {
    let run: Json = serde_json::from_str(&folder.text("run.json").ok()?).ok()?;
    let parts = run.get("parts")?.as_array()?.iter();
    Some(parts.map(|part| part.get("name").and_then(Json::as_str).unwrap_or_default().to_owned()).collect())
}

/// Rejects a merged bundle, which is not a run; its parts are.
pub fn one_run(folder: &SandboxedDir) -> anyhow::Result<()> {
    let Some(parts) = parts(folder) else { return Ok(()) };
    let path = folder.path().display();
    let parts: Vec<String> = parts.iter().map(|part| format!("{path}/parts/{part}")).collect();
    anyhow::bail!("{path} is merged of several runs: name one of them, {}", parts.join(" or "))
}
