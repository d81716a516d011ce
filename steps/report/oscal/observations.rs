//! Makes the observations and findings, claim by claim.

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::super::console::{measured, word};
use super::super::times;
use super::NAMESPACE;
use super::text::{href, line, moment};
use crate::evidence::ClaimResult;
use crate::evidence::bundle::EvidenceBundle;
use crate::verdict::claim_verdict::{Attempt, ControlResult};
use crate::verdict::{Judged, Verdict};

/// The results, built claim by claim.
pub struct Results<'a> {
    pub bundle: &'a EvidenceBundle,
    pub observations: Vec<Json>,
    pub findings: Vec<Json>,
}

struct Observed<'a> {
    title: String,
    description: &'a str,
    method: &'static str,
    props: Vec<Json>,
    files: &'a [String],
    at: Option<Timestamp>,
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
        let made = |judged: &Judged| judged.check.sources.iter().map(|source| source.until).max();
        for (place, judged) in attempt.checks.iter().enumerate() {
            let (check, outcome) = (&judged.check, &judged.outcome);
            let ids: Vec<String> = check.samples.iter().map(u64::to_string).collect();
            self.observe(Observed {
                title: format!("{}: {}, check {} of attempt {number}", claim.id, check.probe, place + 1),
                description: &outcome.reason,
                method: "TEST",
                props: props([
                    ("claim", Some(claim.id.to_string())),
                    ("outcome", Some(outcome.verdict.to_string())),
                    ("probe", Some(check.probe.clone())),
                    ("rule", Some(check.rule.show(check.unit))),
                    ("value", outcome.value.as_ref().map(|value| value.show(check.unit))),
                    ("samples", Some(ids.join(", "))),
                ]),
                files: &attempt.evidence,
                at: made(judged).or_else(|| times::first([attempt])),
            });
        }
        if let Some(error) = &attempt.error {
            self.observe(Observed {
                title: format!("{}: attempt {number} did not finish", claim.id),
                description: error,
                method: "TEST",
                props: props([
                    ("claim", Some(claim.id.to_string())),
                    ("outcome", Some(attempt.outcome.verdict.to_string())),
                ]),
                files: &attempt.evidence,
                at: times::first([attempt]),
            });
        }
    }

    fn control(&mut self, claim: &ClaimResult, control: &ControlResult) {
        let files = control.attempts.last().map(|attempt| attempt.evidence.as_slice());
        self.observe(Observed {
            title: format!("{}: control: {}", claim.id, control.scenario),
            description: &control.reason,
            method: if control.attempts.is_empty() { "UNKNOWN" } else { "TEST" },
            props: props([("claim", Some(claim.id.to_string())), ("control", Some(word(control).to_owned()))]),
            files: files.unwrap_or_default(),
            at: times::first(&control.attempts),
        });
    }

    /// Adds an observation for a claim about which nothing was determined.
    fn undetermined(&mut self, claim: &ClaimResult) {
        self.observe(Observed {
            title: format!("{}: {}: {}", claim.id, claim.verdict, claim.claim),
            description: &claim.reason,
            method: if claim.attempts.is_empty() { "UNKNOWN" } else { "TEST" },
            props: props([("claim", Some(claim.id.to_string())), ("verdict", Some(claim.verdict.to_string()))]),
            files: &claim.evidence,
            at: times::first(&claim.attempts),
        });
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

    fn observe(&mut self, observed: Observed) {
        let Observed { title, description, method, props, files, at } = observed;
        let evidence: Vec<Json> = files.iter().map(|file| self.evidence(file)).collect();
        let at = at.unwrap_or_else(|| times::ended(self.bundle));
        self.observations.push(json!({
            "uuid": self.id(&format!("observation {}", self.observations.len() + 1)),
            "title": line(&title), "description": line(description), "props": props, "methods": [method],
            "relevant-evidence": evidence, "collected": moment(at),
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
