//! Recomputes every check, statistic and verdict from the samples.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Number, Value as Json};

use super::Finding;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::{ClaimResult, exit};

const FILE: &str = "verdicts.json";
/// The subject of the samples of the workload's own image.
const IMAGE: &str = "image of workload";

/// Finds everything in `verdicts.json` that does not follow from `samples.jsonl`.
pub fn findings(bundle: &EvidenceBundle) -> Vec<Finding> {
    let verdicts = &bundle.verdicts;
    let differences = verdicts.claims.iter().filter_map(|claim| difference_of(bundle, claim));
    let mut findings: Vec<Finding> = differences.map(|printed| Finding::new(FILE, printed)).collect();
    let mut last = 0;
    for sample in &bundle.samples {
        if sample.id <= last {
            findings.push(Finding::new("samples.jsonl", format!("sample {} stands after sample {last}", sample.id)));
        }
        last = sample.id;
    }
    let known = |id: &u64| bundle.samples.binary_search_by_key(id, |sample| sample.id).is_ok();
    for claim in &verdicts.claims {
        if let Some(lost) = claim.sample_ids().iter().find(|id| !known(id)) {
            findings.push(Finding::new("samples.jsonl", format!("{}: sample {lost} is not there", claim.id)));
        }
    }
    findings.extend(lost_files(bundle));
    let fresh = exit(&verdicts.claims, &verdicts.problems);
    if fresh != verdicts.exit {
        let problem = format!("the exit status is stored as {}, but the verdicts come to {fresh}", verdicts.exit);
        findings.push(Finding::new(FILE, problem));
    }
    if bundle.run.get("run").and_then(Json::as_str) != Some(&verdicts.run) {
        findings
            .push(Finding::new("run.json", format!("it is of another run than {FILE}, which is of {}", verdicts.run)));
    }
    findings.extend(another_image(bundle));
    findings
}

/// Finds evidence files of claims and controls that are missing or outside the folder.
fn lost_files(bundle: &EvidenceBundle) -> Vec<Finding> {
    let mut lost: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for claim in &bundle.verdicts.claims {
        let files = claim
            .scenarios
            .iter()
            .flat_map(|scenario| &scenario.evidence)
            .chain(claim.all_attempts().flat_map(|attempt| &attempt.evidence));
        for file in files.filter(|file| bundle.folder.file(file).is_err()) {
            lost.entry(file).or_default().insert(claim.id.to_string());
        }
    }
    let message = |(file, claims): (&str, BTreeSet<String>)| {
        let claims = claims.into_iter().collect::<Vec<_>>().join(", ");
        Finding::new(file, format!("{claims}: evidence of it, and it is not there"))
    };
    lost.into_iter().map(message).collect()
}

/// Finds an image digest in `run.json` that differs from the workload's in the samples.
fn another_image(bundle: &EvidenceBundle) -> Option<Finding> {
    let named = bundle.run.pointer("/image/digest")?.as_str()?;
    let seen = bundle.samples.iter().filter(|sample| sample.probe == "image.digest" && sample.subject == IMAGE);
    let other = seen.into_iter().find(|sample| sample.value != named.into())?;
    let problem = format!("its image is {named}, but sample {} is of {}", other.id, other.value.format(other.unit));
    Some(Finding::new("run.json", problem))
}

/// Judges a claim and its controls again from the samples, and describes a difference to the stored result.
pub fn difference_of(bundle: &EvidenceBundle, claim: &ClaimResult) -> Option<String> {
    let fresh = claim.again(&bundle.samples, bundle.verdicts.on);
    if claim.verdict != fresh.verdict {
        return Some(format!(
            "{}: stored as \"{}\", but the samples say \"{}\"",
            claim.id, claim.verdict, fresh.verdict
        ));
    }
    let json = |claim: &ClaimResult| serde_json::to_value(claim).unwrap_or_default();
    difference(&json(claim), &json(&fresh)).map(|difference| format!("{}: {}", claim.id, difference.sentence))
}

/// The first place where two values differ.
pub struct Difference {
    /// The place, as a JSON pointer.
    pub path: String,
    pub sentence: String,
}

/// The relative difference that is allowed between numbers, because logarithms and powers differ in their last digit
/// between machines. No sentence shows that many digits.
const DIGITS: f64 = 1e-12;

fn alike(a: &Number, b: &Number) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b || (a - b).abs() <= DIGITS * a.abs().max(b.abs()),
        _ => false,
    }
}

fn shown(value: Option<&Json>) -> String {
    let text = value.map_or("nothing".to_owned(), Json::to_string);
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

pub fn difference(stored: &Json, fresh: &Json) -> Option<Difference> {
    fn deep(path: &str, stored: Option<&Json>, fresh: Option<&Json>) -> Option<Difference> {
        match (stored, fresh) {
            (Some(Json::Object(a)), Some(Json::Object(b))) => {
                let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
                names.into_iter().find_map(|name| deep(&format!("{path}/{name}"), a.get(name), b.get(name)))
            }
            (Some(Json::Array(a)), Some(Json::Array(b))) => {
                (0..a.len().max(b.len())).find_map(|place| deep(&format!("{path}/{place}"), a.get(place), b.get(place)))
            }
            (Some(Json::Number(a)), Some(Json::Number(b))) if alike(a, b) => None,
            (a, b) if a == b => None,
            (a, b) => {
                let sentence = format!("{path} is stored as {}, and comes to {}", shown(a), shown(b));
                Some(Difference { path: path.to_owned(), sentence })
            }
        }
    }
    deep("", Some(stored), Some(fresh))
}
