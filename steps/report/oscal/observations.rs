//! Makes the observations and findings, claim by claim.

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::super::console::{measured, word};
use super::super::{sentence, times};
use super::{NAMESPACE, href, line};
use crate::evidence::ClaimResult;
use crate::evidence::bundle::EvidenceBundle;
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{Attempt, ControlResult, ScenarioResult};

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
        for scenario in &claim.scenarios {
            for (place, attempt) in scenario.attempts.iter().enumerate() {
                self.attempt(claim, scenario, attempt, place + 1);
            }
        }
        for control in &claim.controls {
            self.control(claim, control);
        }
        match claim.verdict {
            Verdict::Inconclusive | Verdict::NotRun => self.undetermined(claim),
            Verdict::Holds | Verdict::Fails | Verdict::KnownDeviation => self.finding(claim, first),
        }
    }

    fn attempt(&mut self, claim: &ClaimResult, scenario: &ScenarioResult, attempt: &Attempt, number: usize) {
        let of = match claim.scenarios.len() {
            1 => String::new(),
            _ => format!(" at {}", scenario.at),
        };
        let only = std::slice::from_ref(attempt);
        for (place, judged) in attempt.checks.iter().enumerate() {
            let (check, outcome) = (&judged.check, &judged.outcome);
            let title = format!("{}: {}, check {} of attempt {number}{of}", claim.id, check.probe, place + 1);
            let ids: Vec<String> = check.samples.iter().map(u64::to_string).collect();
            let named = [
                ("claim", Some(claim.id.to_string())),
                ("outcome", Some(outcome.verdict.to_string())),
                ("probe", Some(check.probe.clone())),
                ("rule", Some(check.rule.format(check.unit))),
                ("value", outcome.value.as_ref().map(|value| value.format(check.unit))),
                ("samples", Some(ids.join(", "))),
            ];
            let until = check.sources.iter().map(|source| source.until).max();
            self.observe(&title, &sentence::check(&outcome.reason), only, until, props(named));
        }
        if let Some(error) = &attempt.error {
            let title = format!("{}: attempt {number}{of} did not finish", claim.id);
            let verdict = attempt.outcome.verdict.to_string();
            let named = [("claim", Some(claim.id.to_string())), ("outcome", Some(verdict))];
            self.observe(&title, &sentence::reason(error), only, None, props(named));
        }
    }

    fn control(&mut self, claim: &ClaimResult, control: &ControlResult) {
        let title = format!("{}: control: {}", claim.id, control.at.name);
        let named = [("claim", Some(claim.id.to_string())), ("control", Some(word(control).to_owned()))];
        self.observe(&title, &sentence::control(control), &control.attempts, None, props(named));
    }

    /// Adds an observation for a claim about which nothing was determined.
    fn undetermined(&mut self, claim: &ClaimResult) {
        let title = format!("{}: {}: {}", claim.id, claim.verdict, claim.claim);
        let named = [("claim", Some(claim.id.to_string())), ("verdict", Some(claim.verdict.to_string()))];
        self.observe(&title, &sentence::claim(claim), claim.attempts(), None, props(named));
    }

    fn finding(&mut self, claim: &ClaimResult, first: usize) {
        let related = self.observations.iter().skip(first);
        let related: Vec<Json> =
            related.map(|observation| json!({ "observation-uuid": observation.get("uuid") })).collect();
        let (state, reason) = match claim.verdict {
            Verdict::Holds => ("satisfied", "pass"),
            _ => ("not-satisfied", "fail"),
        };
        let description = match claim.verdict {
            Verdict::KnownDeviation => format!("{}; {}", sentence::claim(claim), sentence::declaration(claim)),
            _ => sentence::claim(claim),
        };
        let declared =
            "A known deviation: it does not hold, and the description says who declared that, until when and why.";
        self.findings.push(json!({
            "uuid": self.id(&format!("finding {}", self.findings.len() + 1)),
            "title": line(&format!("{}: {}", claim.id, claim.claim)),
            "description": line(&description),
            "props": props([
                ("verdict", Some(claim.verdict.to_string())),
                ("bound", Some(claim.bound.clone())),
                ("published", claim.published.clone()),
                ("value", claim.value.is_some().then(|| measured(claim))),
            ]),
            "target": {
                "type": "objective-id",
                "target-id": claim.id.to_string(),
                "title": line(&super::scenarios(claim)),
                "status": { "state": state, "reason": reason },
            },
            "related-observations": related,
            "remarks": (claim.verdict == Verdict::KnownDeviation).then_some(declared),
        }));
    }

    /// Adds what these attempts have shown; at the first attempt's time, unless another is given.
    fn observe<'b>(
        &mut self,
        title: &str,
        text: &str,
        attempts: impl IntoIterator<Item = &'b Attempt>,
        at: Option<Timestamp>,
        props: Vec<Json>,
    ) {
        let attempts: Vec<&Attempt> = attempts.into_iter().collect();
        let files = attempts.last().into_iter().flat_map(|attempt| &attempt.evidence);
        let evidence: Vec<Json> = files.map(|file| self.evidence(file)).collect();
        let at = at.or_else(|| times::first(attempts.iter().copied())).unwrap_or_else(|| times::ended(self.bundle));
        self.observations.push(json!({
            "uuid": self.id(&format!("observation {}", self.observations.len() + 1)),
            "title": line(title), "description": line(text), "props": props,
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
