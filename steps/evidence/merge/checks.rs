//! Checks that runs can be merged; each error names the two runs that differ.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::Value as Json;

use super::{Part, rank};
use crate::base::commands;
use crate::claims::register::ClaimId;

const BUILT: &str = "guest/hello";

/// Checks that all parts have the same claims, commit and workload.
pub(super) fn comparable(parts: &[Part]) -> anyhow::Result<()> {
    let files = parts.iter().map(features).collect::<anyhow::Result<Vec<_>>>()?;
    for (place, (part, new)) in parts.iter().zip(&files).enumerate() {
        for (other, old) in parts.iter().zip(&files).take(place) {
            let (a, b) = (other.path(), part.path());
            anyhow::ensure!(part.run() != other.run(), "{a} and {b} are both run {}: name it once", part.run());
            if let Some(difference) = difference(other, part) {
                anyhow::bail!("{a} and {b} do not go together: {difference}; merge runs of one commit, started alike");
            }
            if let Some(file) = old.keys().chain(new.keys()).find(|name| old.get(*name) != new.get(*name)) {
                anyhow::bail!("{a} and {b} do not go together: their {file} is not the same; merge runs of one annex");
            }
        }
    }
    Ok(())
}

fn features(part: &Part) -> anyhow::Result<BTreeMap<String, String>> {
    let folder = &part.bundle.folder;
    let names = folder.names()?.into_iter().filter(|name| name.starts_with("features/"));
    let read = |name: String| Ok((name.clone(), folder.text(&name).with_context(|| part.path())?));
    names.map(read).collect()
}

/// Returns the first input in which two parts differ.
fn difference(a: &Part, b: &Part) -> Option<String> {
    let noted = |part: &Part, pointer: &str| part.bundle.run.pointer(pointer).cloned().unwrap_or(Json::Null);
    let differs = |what: &str, pointer: &str| {
        let (old, new) = (noted(a, pointer), noted(b, pointer));
        (old != new).then(|| format!("{what} is {} in one and {} in the other", shown(&old), shown(&new)))
    };
    let both = |pointer: &str| !noted(a, pointer).is_null() && !noted(b, pointer).is_null();
    let image = || {
        let named = both("/image/name").then(|| differs("the workload", "/image/name")).flatten();
        let kept = noted(a, "/image/name") != BUILT && both("/image/digest");
        named.or_else(|| kept.then(|| differs("the workload's digest", "/image/digest")).flatten())
    };
    let same_target = a.target == b.target;
    differs("the commit", "/git/commit")
        .or_else(|| differs("whether something was changed since that commit", "/git/changed"))
        .or_else(|| differs("the checksum of the files in the program", "/git/embedded_files"))
        .or_else(|| differs("assay", "/assay"))
        .or_else(image)
        .or_else(|| same_target.then(|| differs("whether something stood in for AWS", "/stand_in")).flatten())
        .or_else(|| same_target.then(|| shards(a, b)).flatten())
}

fn shown(value: &Json) -> String {
    match value {
        Json::Null => "not said".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns a description if the two parts' targets have different numbers of shards.
fn shards(a: &Part, b: &Part) -> Option<String> {
    let (old, new) = (a.shard?, b.shard?);
    (old.numbers().1 != new.numbers().1).then(|| format!("one is shard {old} of {}, the other shard {new}", a.target))
}

/// Checks that no claim was judged by two parts of a target, because it would be unclear which of them counts.
pub(super) fn judged_once(parts: &[(usize, &Part)]) -> anyhow::Result<()> {
    let mut by: BTreeMap<ClaimId, &Part> = BTreeMap::new();
    for (_, part) in parts {
        let judged = part.bundle.verdicts.claims.iter().filter(|claim| rank(&claim.decision()) == 0);
        let twice: Vec<(ClaimId, &Part)> =
            judged.filter_map(|claim| Some((claim.id, by.insert(claim.id, part)?))).collect();
        if let Some((id, other)) = twice.iter().find(|(_, other)| other.run() != part.run()) {
            let more = match twice.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let (a, b) = (other.path(), part.path());
            let compare = commands::assay(&format!("compare {a} {b}"));
            anyhow::bail!(
                "{a} and {b} have both judged {id}{more} on {}: leave one of them out (`{compare}` shows how they differ)",
                part.target
            );
        }
    }
    Ok(())
}
