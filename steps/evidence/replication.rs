//! Compares a run with an earlier one of the same claims, possibly by others and elsewhere: does it agree? Pure.
//!
//! A claim agrees if both runs give the same verdict and its figures are equivalent: the interval of the second median
//! lies within the claim's margin around the first median. It disagrees if the verdicts differ, or if the intervals of
//! the medians are further apart than the margin. Otherwise the samples are too few to say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::base::digest::sha256_of;
use crate::base::stats::Summary;
use crate::base::unit::Unit;
use crate::claims::register::{Claim, ClaimId, Margin, Register};
use crate::evidence::ClaimResult;
use crate::evidence::attestation;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::checksums::{self, SUMS};
use crate::evidence::sealed_plan::{PLAN, feature_digests};
use crate::measurement::{Sample, Value};
use crate::verdict::{Rule, Verdict};

/// The statement about the first run, in the bundle of the second.
pub const REPLICATION: &str = "replication.json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    Agrees,
    CannotSay,
    Disagrees,
}

/// A claim in both runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replicated {
    pub id: ClaimId,
    pub agreement: Agreement,
    /// What differs, or why nothing can be said; empty if it agrees.
    pub because: String,
    pub verdicts: [Verdict; 2],
}

/// What a second run says about a first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replication {
    /// The names of both runs.
    pub runs: [String; 2],
    /// Whether both ran on the same platform: then it is reproduced, else replicated.
    pub same_platform: bool,
    /// What differs between the runs, each in a sentence.
    pub differences: Vec<String>,
    /// The claims that the first run judged.
    pub claims: Vec<Replicated>,
}

impl Replication {
    /// Compares two runs by the margins of the first one's register.
    pub fn of(first: &EvidenceBundle, second: &EvidenceBundle) -> anyhow::Result<Replication> {
        let register = Register::parse(&first.folder.text("features/claims.toml")?).context("features/claims.toml")?;
        let judged = first.verdicts.claims.iter().filter(|claim| claim.verdict != Verdict::NotRun);
        let claims = judged.map(|claim| {
            let other = second.verdicts.claims.iter().find(|other| other.id == claim.id);
            let (agreement, because) = match (other, register.get(claim.id)) {
                (Some(other), Some(row)) => compare(row, (claim, &first.samples), (other, &second.samples)),
                _ => (Agreement::CannotSay, "the second run has no such claim".to_owned()),
            };
            let verdicts = [claim.verdict, other.map_or(Verdict::NotRun, |other| other.verdict)];
            Replicated { id: claim.id, agreement, because, verdicts }
        });
        let claims = claims.collect();
        let platform = differing(first, second, &PLATFORM);
        let mut differences = [&platform[..], &differing(first, second, &ELSE)[..]].concat();
        if feature_digests(&first.folder)? != feature_digests(&second.folder)? {
            differences.push("the features differ".to_owned());
        }
        let runs = [first, second].map(|bundle| bundle.verdicts.run.clone());
        Ok(Replication { runs, same_platform: platform.is_empty(), differences, claims })
    }

    fn those(&self, wanted: Agreement) -> Vec<String> {
        self.claims.iter().filter(|claim| claim.agreement == wanted).map(|claim| claim.id.to_string()).collect()
    }

    pub fn disagrees(&self) -> bool {
        !self.those(Agreement::Disagrees).is_empty()
    }

    /// Whether no claim could be compared.
    pub fn says_nothing(&self) -> bool {
        self.claims.iter().all(|claim| claim.agreement == Agreement::CannotSay)
    }

    /// Makes the statement (in-toto, test result) about the first run, by what the second has measured.
    fn statement(&self, first: &EvidenceBundle, second: &EvidenceBundle) -> anyhow::Result<Json> {
        let subjects = digests(first, &[SUMS, PLAN])?;
        Ok(json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subjects,
            "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
            "predicate": self.predicate(second)?,
        }))
    }

    fn predicate(&self, second: &EvidenceBundle) -> anyhow::Result<Json> {
        let result = match () {
            () if self.disagrees() => "FAILED",
            () if self.those(Agreement::CannotSay).is_empty() => "PASSED",
            () => "WARNED",
        };
        Ok(json!({
            "result": result,
            "configuration": digests(second, &["samples.jsonl", "verdicts.json", PLAN])?,
            "passedTests": self.those(Agreement::Agrees),
            "warnedTests": self.those(Agreement::CannotSay),
            "failedTests": self.those(Agreement::Disagrees),
            "replication": self,
        }))
    }

    pub fn render(&self) -> String {
        let mut text: String = self.differences.iter().map(|difference| format!("– {difference}\n")).collect();
        for Replicated { id, agreement, because, verdicts: [first, second] } in &self.claims {
            let (mark, word) = match agreement {
                Agreement::Agrees => ("✔", "agrees"),
                Agreement::CannotSay => ("?", "cannot say"),
                Agreement::Disagrees => ("✘", "disagrees"),
            };
            let both = if first == second { first.to_string() } else { format!("{first}, then {second}") };
            let because = if because.is_empty() { String::new() } else { format!(": {because}") };
            text += &format!("{mark} {id:<6} {word:<10} {both}{because}\n");
        }
        let [agree, open, disagree] =
            [Agreement::Agrees, Agreement::CannotSay, Agreement::Disagrees].map(|one| self.those(one).len());
        let word =
            if self.same_platform { "reproduced on the same platform" } else { "replicated on another platform" };
        let [first, second] = &self.runs;
        text + &format!("run {first}, {word} by run {second}: {agree} agree, {disagree} disagree, {open} cannot say")
    }
}

/// Describes those of these files that a run has, as in-toto does.
fn digests(bundle: &EvidenceBundle, names: &[&str]) -> anyhow::Result<Vec<Json>> {
    let there = names.iter().filter(|name| bundle.folder.file(name).is_ok());
    let digest = |name: &&str| {
        let digest = sha256_of(bundle.folder.reader(name)?)?;
        Ok(json!({ "name": name, "digest": { "sha256": digest }, "annotations": { "run": bundle.verdicts.run } }))
    };
    there.map(digest).collect()
}

/// Checks the statement that a bundle has about another run, if it has one. Returns a sentence about it.
pub fn check(bundle: &EvidenceBundle) -> Option<anyhow::Result<String>> {
    bundle.folder.file(REPLICATION).ok()?;
    let check = || {
        let stored: Json = serde_json::from_str(&bundle.folder.text(REPLICATION)?)?;
        let replication: Replication = serde_json::from_value(stored["predicate"]["replication"].clone())?;
        let fits = stored["predicate"] == replication.predicate(bundle)?;
        anyhow::ensure!(fits, "it is not the statement that follows from this run");
        let [first, _] = &replication.runs;
        Ok(format!("{REPLICATION} is about run {first}: give that bundle to `replicate --with` to compare both again"))
    };
    Some(check())
}

/// What makes a platform, and what else may differ: names, and their places in `run.json`.
const PLATFORM: [(&str, &str); 5] = [
    ("target", "/target"),
    ("platform", "/platform"),
    ("architecture", "/machine/architecture"),
    ("accelerator", "/machine/accelerator"),
    ("host's CPU", "/host/cpu"),
];
const ELSE: [(&str, &str); 7] = [
    ("image", "/image/digest"),
    ("annex's text", "/annex/sha256"),
    ("commit", "/git/commit"),
    ("checksum of the files in the program", "/git/embedded_files"),
    ("version of assay", "/assay"),
    ("compiler", "/rustc"),
    ("kernel", "/machine/kernel"),
];

fn differing(first: &EvidenceBundle, second: &EvidenceBundle, places: &[(&str, &str)]) -> Vec<String> {
    let shown = |value: Option<&Json>| match value {
        None | Some(Json::Null) => "not stated".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let differs = |(name, place): &(&str, &str)| {
        let [a, b] = [first, second].map(|bundle| shown(bundle.run.pointer(place)));
        (a != b).then(|| format!("the {name} differs: {a}, then {b}"))
    };
    places.iter().filter_map(differs).collect()
}

/// Leaves the statement about the first run in the bundle of the second, and seals it again.
pub fn leave(
    replication: &Replication,
    first: &EvidenceBundle,
    second: &EvidenceBundle,
    key: Option<&Path>,
) -> anyhow::Result<()> {
    let path = second.folder.path().join(REPLICATION);
    let text = attestation::text(&replication.statement(first, second)?)?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    if let Some(key) = key {
        attestation::sign(&path, key)?;
    }
    checksums::seal(&second.folder)?;
    attestation::attest(second, key)
}

fn compare(row: &Claim, first: (&ClaimResult, &[Sample]), second: (&ClaimResult, &[Sample])) -> (Agreement, String) {
    let fails = |verdict| matches!(verdict, Verdict::Fails | Verdict::KnownDeviation);
    let (a, b) = (first.0, second.0);
    if [a.verdict, b.verdict].iter().any(|verdict| matches!(verdict, Verdict::NotRun | Verdict::Inconclusive)) {
        return (Agreement::CannotSay, "it was not judged in both".to_owned());
    }
    let (old, new) = (figures(a, first.1), figures(b, second.1));
    let mut worst = (Agreement::Agrees, String::new());
    let rules: BTreeSet<_> =
        old.keys().filter(|key| new.get(*key).is_some_and(|new| new.rule != old[*key].rule)).collect();
    if a.bound != b.bound || rules.iter().any(|key| !old[*key].measured()) {
        return (Agreement::CannotSay, "it was judged by another bound".to_owned());
    }
    if fails(a.verdict) != fails(b.verdict) {
        return (Agreement::Disagrees, "the verdicts differ".to_owned());
    }
    for ((scenario, probe), old) in &old {
        let one = match new.get(&(scenario.clone(), probe.clone())) {
            Some(new) => old.against(new, row.margin),
            None => (Agreement::CannotSay, "was not checked again".to_owned()),
        };
        if one.0 > worst.0 {
            worst = (one.0, format!("{probe} {}", one.1));
        }
    }
    worst
}

/// What a scenario has measured of a probe, in the attempt that counts.
#[derive(Clone, Debug)]
struct Figure {
    values: Vec<Value>,
    unit: Unit,
    rule: Rule,
}

fn figures(claim: &ClaimResult, samples: &[Sample]) -> BTreeMap<(String, String), Figure> {
    let mut figures = BTreeMap::new();
    for scenario in &claim.scenarios {
        for judged in scenario.attempts.last().into_iter().flat_map(|attempt| &attempt.checks) {
            let check = &judged.check;
            let mine =
                samples.iter().filter(|sample| sample.probe == check.probe && check.samples.contains(&sample.id));
            let values = mine.map(|sample| sample.value.clone()).collect();
            let figure = Figure { values, unit: check.unit, rule: check.rule.clone() };
            figures.insert((scenario.at.name.clone(), check.probe.clone()), figure);
        }
    }
    figures
}

impl Figure {
    /// Whether the bound is a text that the run itself may have measured, such as a digest.
    fn measured(&self) -> bool {
        matches!(&self.rule, Rule::Equals { value: Value::Text(_) })
    }

    fn against(&self, new: &Figure, margin: Option<Margin>) -> (Agreement, String) {
        let numbers = |values: &[Value]| values.iter().map(Value::number).collect::<Option<Vec<f64>>>();
        let agrees = (Agreement::Agrees, String::new());
        let (Some(old), Some(now)) = (numbers(&self.values), numbers(&new.values)) else {
            // Other texts, such as error messages, name what differs from run to run.
            let same = !self.measured() || self.values.first() == new.values.first();
            let shown =
                |figure: &Figure| figure.values.first().map(|value| value.format(figure.unit)).unwrap_or_default();
            return if same {
                agrees
            } else {
                (Agreement::Disagrees, format!("is {} and was {}", shown(new), shown(self)))
            };
        };
        let (Some(old), Some(now)) = (Summary::of(&old), Summary::of(&now)) else {
            return (Agreement::CannotSay, "has no samples".to_owned());
        };
        let (before, after) = (old.median, now.median);
        // What must be equal has its verdict.
        let margin = margin.filter(|_| !matches!(self.rule, Rule::Equals { .. }));
        let allowed = match margin {
            Some(Margin::Share(share)) => share * before.abs(),
            Some(Margin::Of(amount, unit)) if unit == self.unit => amount,
            // Nothing is stated about how much it may vary.
            _ => return agrees,
        };
        let ends =
            |one: &Summary| one.interval.map_or((one.median, one.median), |interval| (interval.low, interval.high));
        let ((old_low, old_high), (low, high)) = (ends(&old), ends(&now));
        let (was, is) = (self.unit.format(before), self.unit.format(after));
        let both = format!("is {is} and was {was}; the margin is {}", self.unit.format(allowed));
        match () {
            () if low >= before - allowed && high <= before + allowed => agrees,
            () if low - old_high > allowed || old_low - high > allowed => (Agreement::Disagrees, both),
            () => (Agreement::CannotSay, format!("{both}, and the samples are too few or too far apart")),
        }
    }
}

#[cfg(test)]
mod tests;
