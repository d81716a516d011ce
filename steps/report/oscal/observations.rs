//! Makes the observations and findings, claim by claim.

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::super::console::{measured, word};
use super::super::times;
use super::{NAMESPACE, href, line};
use crate::evidence::ClaimResult;
use crate::evidence::bundle::EvidenceBundle;
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{Attempt, ControlResult};

/// The results, built claim by claim.
pub struct Results<'a> {
    pub bundle: &'a EvidenceBundle,
    pub observations: Vec<Json>,
    pub findings: Vec<Json>,
}

impl Results<'_> {
    /// Makes an id; the same run gives the same ids.
    pub fn id(&self, what: &str) -> String {
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{NAMESPACE}:{}:{what}", self.bundle.verdicts.run).as_bytes())
            .to_string()
    }

    pub fn claim(&mut self, claim: &ClaimResult) {
        let first = self.observations.len();
        for (place, attempt) in claim.attempts.iter().enumerate() {
            self.attempt(claim, attempt, place + 1);
        }
        for control in &claim.controls {
            self.control(claim, control);
        }
        match claim.verdict {
            Verdict::Inconclusive | Verdict::NotRun => self.undetermined(claim),
            Verdict::Holds | Verdict::Fails | Verdict::KnownDeviation => self.finding(claim, first),
        }
    }

    fn attempt(&mut self, claim: &ClaimResult, attempt: &Attempt, number: usize) {
        let only = std::slice::from_ref(attempt);
        for (place, judged) in attempt.checks.iter().enumerate() {
            let (check, outcome) = (&judged.check, &judged.outcome);
            let title = format!("{}, check {} of attempt {number}", check.probe, place + 1);
            let ids: Vec<String> = check.samples.iter().map(u64::to_string).collect();
            let props = props([
                ("outcome", Some(outcome.verdict.to_string())),
                ("probe", Some(check.probe.clone())),
                ("rule", Some(check.rule.format(check.unit))),
                ("value", outcome.value.as_ref().map(|value| value.format(check.unit))),
                ("samples", Some(ids.join(", "))),
            ]);
            let until = check.sources.iter().map(|source| source.until).max();
            self.observe(claim, &title, &outcome.reason, only, until, props);
        }
        if let Some(error) = &attempt.error {
            let props = props([("outcome", Some(attempt.outcome.verdict.to_string()))]);
            self.observe(claim, &format!("attempt {number} did not finish"), error, only, None, props);
        }
    }

    fn control(&mut self, claim: &ClaimResult, control: &ControlResult) {
        let (title, props) =
            (format!("control: {}", control.scenario), props([("control", Some(word(control).into()))]));
        self.observe(claim, &title, &control.reason, &control.attempts, None, props);
    }

    fn undetermined(&mut self, claim: &ClaimResult) {
        let title = format!("{}: {}", claim.verdict, claim.claim);
        let props = props([("verdict", Some(claim.verdict.to_string()))]);
        self.observe(claim, &title, &claim.reason, &claim.attempts, None, props);
    }

    fn finding(&mut self, claim: &ClaimResult, first: usize) {
        let related = self.observations.iter().skip(first);
        let related: Vec<Json> =
            related.map(|observation| json!({ "observation-uuid": observation.get("uuid") })).collect();
        let (state, reason) = match claim.verdict {
            Verdict::Holds => ("satisfied", "pass"),
            _ => ("not-satisfied", "fail"),
        };
        let declared =
            "A known deviation: it does not hold, and the description says who declared that, until when and why.";
        self.findings.push(json!({
            "uuid": self.id(&format!("finding {}", self.findings.len() + 1)),
            "title": line(&format!("{}: {}", claim.id, claim.claim)),
            "description": line(&claim.reason),
            "props": props([
                ("verdict", Some(claim.verdict.to_string())),
                ("bound", Some(claim.bound.clone())),
                ("published", claim.published.clone()),
                ("value", claim.value.is_some().then(|| measured(claim))),
            ]),
            "target": {
                "type": "objective-id",
                "target-id": claim.id.to_string(),
                "title": line(&claim.scenario),
                "status": { "state": state, "reason": reason },
            },
            "related-observations": related,
            "remarks": (claim.verdict == Verdict::KnownDeviation).then_some(declared),
        }));
    }

    /// Adds what these attempts have shown; at the first attempt's time, unless another is given.
    fn observe(
        &mut self,
        claim: &ClaimResult,
        title: &str,
        text: &str,
        attempts: &[Attempt],
        at: Option<Timestamp>,
        more: Vec<Json>,
    ) {
        let files = attempts.last().into_iter().flat_map(|attempt| &attempt.evidence);
        let evidence: Vec<Json> = files.map(|file| self.evidence(file)).collect();
        let at = at.or_else(|| times::first(attempts)).unwrap_or_else(|| times::ended(self.bundle));
        let props = [props([("claim", Some(claim.id.to_string()))]), more].concat();
        self.observations.push(json!({
            "uuid": self.id(&format!("observation {}", self.observations.len() + 1)),
            "title": line(&format!("{}: {title}", claim.id)), "description": line(text),
            "props": props,
            "methods": [if attempts.is_empty() { "UNKNOWN" } else { "TEST" }],
            "relevant-evidence": evidence, "collected": at,
        }));
    }

    /// Links a file of the folder; one that does not exist, or leads elsewhere, is named and not linked.
    fn evidence(&self, file: &str) -> Json {
        match self.bundle.folder.file(file) {
            Ok(_) => json!({ "href": href(file), "description": line(&format!("{file}: {}", content(file))) }),
            Err(_) => json!({ "description": line(&format!("{file}: no file of the folder of the run")) }),
        }
    }
}

/// Makes properties with these names; those without a value are left out.
pub fn props<const N: usize>(named: [(&str, Option<String>); N]) -> Vec<Json> {
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    named.map(|(name, value)| json!({ "name": name, "ns": NAMESPACE, "value": line(&value) })).collect()
}

/// Describes the content of a file of a run, by its name.
fn content(file: &str) -> &'static str {
    match file {
        "samples.jsonl" => "every raw sample, by its number",
        "transcript.jsonl" => "every command that ran, with its output",
        _ if file.starts_with("trials/") => "what a watched run of a workload printed, or its journal",
        _ if file.ends_with(".log") => "a machine's log",
        _ => "a file of the run",
    }
}
