//! `oscal-assessment-results.json`: NIST's OSCAL, for whoever keeps assessments in it.
//!
//! A section of the annex is a control, a claim an objective of it. What was judged is a finding; each check, and each
//! control of a claim, is an observation. Nothing was determined about what is inconclusive or was not run: that is an
//! observation which says why, and no finding.

mod text;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::console::{measured, word};
use super::times;
use crate::bundle::Bundle;
use crate::claim::ClaimId;
use crate::conclusion::{Attempt, ControlRecord};
use crate::evidence::ClaimRecord;
use crate::verdict::{Judged, Verdict};
use text::{href, line, moment};

/// The version of OSCAL that this is written in.
const VERSION: &str = "1.2.1";
/// Whose names the properties are.
const NAMESPACE: &str = "urn:x-assay:oscal";
/// The register of claims, in the folder of the run.
const REGISTER: &str = "features/claims.toml";

/// The assessment results, as JSON.
///
/// # Errors
/// They cannot be written as JSON.
pub fn oscal(bundle: &Bundle) -> anyhow::Result<Vec<u8>> {
    let mut results = Results { bundle, observations: Vec::new(), findings: Vec::new() };
    for claim in &bundle.verdicts.claims {
        results.claim(claim);
    }
    let verdicts = &bundle.verdicts;
    let document = json!({ "assessment-results": {
        "uuid": results.id("document"),
        "metadata": {
            "title": line(&format!("Claims of the annex put to the proof, run {}", verdicts.run)),
            "last-modified": moment(times::ended(bundle)),
            "version": line(&verdicts.run),
            "oscal-version": VERSION,
        },
        "import-ap": {
            "href": format!("#{}", results.id("plan")),
            "remarks": "There is no assessment plan in OSCAL: the register of claims and the scenarios stand for it.",
        },
        "local-definitions": { "objectives-and-methods": objectives(&verdicts.claims) },
        "results": [results.result()],
        "back-matter": { "resources": [results.plan()] },
    } });
    let document = without_nothing(document);
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// OSCAL knows no empty list: what has nothing in it is left out.
fn without_nothing(value: Json) -> Json {
    let empty = |value: &Json| match value {
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        _ => value.is_null(),
    };
    match value {
        Json::Array(items) => Json::Array(items.into_iter().map(without_nothing).collect()),
        Json::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, without_nothing(value)));
            Json::Object(members.filter(|(_, value)| !empty(value)).collect())
        }
        other => other,
    }
}

fn section(claim: ClaimId) -> String {
    format!("A{}", claim.section())
}

/// The claims as objectives, by section.
fn objectives(claims: &[ClaimRecord]) -> Vec<Json> {
    let mut sections = BTreeMap::<u8, BTreeMap<ClaimId, &ClaimRecord>>::new();
    for claim in claims {
        sections.entry(claim.id.section()).or_default().insert(claim.id, claim);
    }
    let part = |(id, claim): (&ClaimId, &&ClaimRecord)| {
        json!({
            "id": id.to_string(), "name": "assessment-objective", "title": line(&claim.scenario),
            "prose": line(&format!("{}; bound: {}", claim.claim, claim.bound)),
        })
    };
    let objective = |(number, claims): (&u8, &BTreeMap<ClaimId, &ClaimRecord>)| json!({ "control-id": format!("A{number}"), "parts": claims.iter().map(part).collect::<Vec<_>>() });
    sections.iter().map(objective).collect()
}

/// Properties of these names; those without a value are left out.
fn props<const N: usize>(named: [(&str, Option<String>); N]) -> Vec<Json> {
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    named.map(|(name, value)| json!({ "name": name, "ns": NAMESPACE, "value": line(&value) })).collect()
}

/// The result as it grows, claim by claim.
struct Results<'a> {
    bundle: &'a Bundle,
    observations: Vec<Json>,
    findings: Vec<Json>,
}

/// What an observation is made of.
struct Observed<'a> {
    title: String,
    description: &'a str,
    method: &'static str,
    props: Vec<Json>,
    files: &'a [String],
    at: Option<Timestamp>,
}

impl Results<'_> {
    /// The same run gives the same identities.
    fn id(&self, what: &str) -> String {
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{NAMESPACE}:{}:{what}", self.bundle.verdicts.run).as_bytes())
            .to_string()
    }

    fn claim(&mut self, claim: &ClaimRecord) {
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

    fn attempt(&mut self, claim: &ClaimRecord, attempt: &Attempt, number: usize) {
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
                title: format!("{}: attempt {number} did not come to its end", claim.id),
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

    fn control(&mut self, claim: &ClaimRecord, control: &ControlRecord) {
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

    /// What is said of a claim about which nothing was determined.
    fn undetermined(&mut self, claim: &ClaimRecord) {
        self.observe(Observed {
            title: format!("{}: {}: {}", claim.id, claim.verdict, claim.claim),
            description: &claim.reason,
            method: if claim.attempts.is_empty() { "UNKNOWN" } else { "TEST" },
            props: props([("claim", Some(claim.id.to_string())), ("verdict", Some(claim.verdict.to_string()))]),
            files: &claim.evidence,
            at: times::first(&claim.attempts),
        });
    }

    fn finding(&mut self, claim: &ClaimRecord, first: usize) {
        let related = self.observations.iter().skip(first);
        let related: Vec<Json> =
            related.map(|observation| json!({ "observation-uuid": observation.get("uuid") })).collect();
        let (state, reason) = match claim.verdict {
            Verdict::Holds => ("satisfied", "pass"),
            _ => ("not-satisfied", "fail"),
        };
        let declared = (claim.verdict == Verdict::KnownDeviation).then(|| {
            let said = claim.deviations.iter().map(|declared| {
                format!("declared by {} until {}: {}", declared.declared_by, declared.expires, declared.reason)
            });
            line(&format!("A known deviation, {}", said.collect::<Vec<_>>().join("; ")))
        });
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
            "remarks": declared,
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

    /// A file of the folder; one that is not there, or leads elsewhere, is named and not linked.
    fn evidence(&self, file: &str) -> Json {
        match self.bundle.folder.file(file) {
            Ok(_) => json!({ "href": href(file), "description": line(&format!("{file}: {}", content(file))) }),
            Err(error) => json!({ "description": line(&error.to_string()) }),
        }
    }

    fn result(&self) -> Json {
        let (bundle, verdicts) = (self.bundle, &self.bundle.verdicts);
        let text = |pointer: &str| bundle.run.pointer(pointer).and_then(Json::as_str).map(str::to_owned);
        let open = "Nothing was determined about claims that are inconclusive or were not run: each of them has an \
                    observation that says why, and no finding.";
        let killed = if verdicts.complete { "" } else { " The run did not come to its end." };
        let wrong: String =
            verdicts.problems.iter().map(|problem| format!(" Wrong beyond the claims: {problem}.")).collect();
        json!({
            "uuid": self.id("result"),
            "title": line(&format!("Run {}", verdicts.run)),
            "description": format!("Each claim was put to the proof by a scenario; exit status {}.", verdicts.exit),
            "start": moment(times::started(bundle)),
            "end": moment(times::ended(bundle)),
            "props": props([
                ("run", Some(verdicts.run.clone())),
                ("assay", text("/assay")),
                ("target", text("/target")),
                ("commit", text("/git/commit")),
                ("image", text("/image/name")),
                ("image-digest", text("/image/digest")),
                ("machine", text("/machine/distribution")),
                ("exit-status", Some(verdicts.exit.to_string())),
                ("complete", Some(verdicts.complete.to_string())),
            ]),
            "reviewed-controls": reviewed(&verdicts.claims),
            "observations": self.observations,
            "findings": self.findings,
            "remarks": line(&format!("{open}{killed}{wrong}")),
        })
    }

    /// What stands for the assessment plan.
    fn plan(&self) -> Json {
        let features = self.bundle.features.iter().map(|file| (file.path.as_str(), "text/plain"));
        let files = std::iter::once((REGISTER, "application/toml")).chain(features);
        let there = files.filter(|(file, _)| self.bundle.folder.file(file).is_ok());
        let links: Vec<Json> = there.map(|(file, kind)| json!({ "href": href(file), "media-type": kind })).collect();
        json!({
            "uuid": self.id("plan"),
            "title": "The register of claims, and the scenarios that put them to the proof",
            "description": if links.is_empty() { "This run kept none of them." } else { "As they were for this run." },
            "rlinks": links,
        })
    }
}

/// What a file of a run has in it, by its name.
fn content(file: &str) -> &'static str {
    match file {
        "samples.jsonl" => "every raw sample, by its number",
        "transcript.jsonl" => "every command that ran, with its output",
        _ if file.starts_with("trials/") => "what a watched run of a workload printed, or its journal",
        _ if file.ends_with(".log") => "a machine's log",
        _ => "a file of the run",
    }
}

/// What was put to the proof: the sections, and of them the claims that were run.
fn reviewed(claims: &[ClaimRecord]) -> Json {
    let run: Vec<&ClaimRecord> = claims.iter().filter(|claim| !claim.attempts.is_empty()).collect();
    if run.is_empty() {
        return json!({ "control-selections": [{ "description": "No claim was put to the proof." }] });
    }
    let sections: BTreeSet<String> = run.iter().map(|claim| section(claim.id)).collect();
    let ids: BTreeSet<ClaimId> = run.iter().map(|claim| claim.id).collect();
    let sections: Vec<Json> = sections.iter().map(|section| json!({ "control-id": section })).collect();
    let claims: Vec<Json> = ids.iter().map(|id| json!({ "objective-id": id.to_string() })).collect();
    json!({
        "control-selections": [{ "include-controls": sections }],
        "control-objective-selections": [{ "include-objectives": claims }],
    })
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn result(bundle: &Bundle) -> Json {
        let document: Json = serde_json::from_slice(&oscal(bundle).unwrap()).unwrap();
        document["assessment-results"]["results"][0].clone()
    }

    fn list(of: &Json) -> Vec<Json> {
        of.as_array().cloned().unwrap_or_default()
    }

    #[test]
    fn what_was_judged_is_a_finding_and_only_what_holds_is_satisfied() {
        let result = result(&example::bundle());
        let told = |finding: &Json| {
            let target = &finding["target"];
            format!("{} {}", target["target-id"].as_str().unwrap(), target["status"]["state"].as_str().unwrap())
        };
        let findings: Vec<String> = list(&result["findings"]).iter().map(told).collect();
        let expected = ["A2-1 satisfied", "A2-2 not-satisfied", "A2-6 not-satisfied", "A2-7 not-satisfied"];
        assert_eq!(findings, expected);
        let remarks = result["findings"][3]["remarks"].as_str().unwrap();
        assert_eq!(remarks, "A known deviation, declared by us until 2030-01-01: its size is another's business");
        assert!(result["remarks"].as_str().unwrap().contains("no finding. Wrong beyond the claims: the declaration"));
    }

    #[test]
    fn what_was_not_determined_is_an_observation_that_says_why() {
        let result = result(&example::bundle());
        let said = |id: &str| {
            let titles = list(&result["observations"])
                .into_iter()
                .filter(|seen| seen["title"].as_str().unwrap().starts_with(id));
            titles
                .map(|seen| {
                    format!("{} {}", seen["methods"][0].as_str().unwrap(), seen["description"].as_str().unwrap())
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(said("A2-4: not run"), ["UNKNOWN needs an AWS account"]);
        assert_eq!(said("A2-5: not run"), ["TEST needs a native CPU: size is 12 bytes"]);
        assert_eq!(said("A2-3: attempt 1 did not come to its end"), ["TEST no route to host"]);
        assert_eq!(said("A2-3: control"), ["UNKNOWN not run"]);
        assert_eq!(said("A2-8: size, check 1 of attempt").len(), 2, "each attempt is there");
    }

    #[test]
    fn a_finding_rests_on_the_checks_of_its_claim_and_on_its_controls() {
        let result = result(&example::bundle());
        let observations = list(&result["observations"]);
        let seen = |uuid: &Json| observations.iter().find(|seen| seen["uuid"] == *uuid).unwrap()["title"].clone();
        let related = list(&result["findings"][0]["related-observations"]);
        let titles: Vec<Json> = related.iter().map(|related| seen(&related["observation-uuid"])).collect();
        assert_eq!(titles, ["A2-1: size, check 1 of attempt 1", "A2-1: control: A large one"]);
        let identities: BTreeSet<String> = observations.iter().map(|seen| seen["uuid"].to_string()).collect();
        assert_eq!(identities.len(), observations.len());
    }

    #[test]
    fn a_file_that_is_not_in_the_folder_is_named_and_not_linked() {
        let mut bundle = example::bundle();
        let files = ["Cargo.toml", "../secret", "none"].map(str::to_owned);
        bundle.verdicts.claims[0].attempts[0].evidence = files.to_vec();
        let evidence = list(&result(&bundle)["observations"][0]["relevant-evidence"]);
        assert_eq!(evidence[0]["href"], "Cargo.toml");
        assert_eq!((&evidence[1]["href"], &evidence[2]["href"]), (&Json::Null, &Json::Null));
        assert_eq!(evidence[1]["description"], "../secret leads out of the folder");
    }

    #[test]
    fn nothing_is_empty_and_every_text_is_one_line_whatever_the_run_holds() {
        fn check(value: &Json) {
            match value {
                Json::Array(items) => {
                    assert!(!items.is_empty());
                    items.iter().for_each(check);
                }
                Json::Object(members) => {
                    assert!(!members.is_empty());
                    members.values().for_each(check);
                }
                Json::String(text) => assert_eq!(*text, line(text)),
                other => panic!("{other}"),
            }
        }
        let mut empty = example::bundle();
        empty.run = Json::Null;
        empty.verdicts.claims.clear();
        for bundle in [example::bundle(), example::killed(), empty] {
            let document: Json = serde_json::from_slice(&oscal(&bundle).unwrap()).unwrap();
            check(&document);
        }
    }

    #[test]
    fn a_killed_run_says_so_and_determines_only_what_it_had_judged() {
        let result = result(&example::killed());
        assert_eq!(list(&result["findings"]).len(), 1);
        assert!(result["remarks"].as_str().unwrap().ends_with("The run did not come to its end."));
        assert_eq!(oscal(&example::killed()).unwrap(), oscal(&example::killed()).unwrap());
    }
}
