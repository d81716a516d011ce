//! Writes `oscal-assessment-results.json` in NIST's format OSCAL, for tools that store assessments in it.
//!
//! A section of the annex is a control, and a claim is an objective of it. A judged claim is a finding; each check, and
//! each control of a claim, is an observation. For a claim that is inconclusive or was not run, nothing was determined:
//! it is an observation that states the reason, and not a finding.

mod observations;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::times;
use crate::claims::register::ClaimId;
use crate::evidence::ClaimResult;
use crate::evidence::bundle::EvidenceBundle;
use observations::{Results, props};
use text::{href, line, moment};

const VERSION: &str = "1.2.1";
const NAMESPACE: &str = "urn:x-assay:oscal";
const REGISTER: &str = "features/claims.toml";

/// Makes the assessment results, as JSON.
pub fn oscal(bundle: &EvidenceBundle) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(
        !bundle.verdicts.claims.is_empty(),
        "verdicts.json has no claim: there is nothing that was assessed"
    );
    let mut results = Results { bundle, observations: Vec::new(), findings: Vec::new() };
    for claim in &bundle.verdicts.claims {
        results.claim(claim);
    }
    let verdicts = &bundle.verdicts;
    let document = json!({ "assessment-results": {
        "uuid": results.id("document"),
        "metadata": {
            "title": line(&format!("Claims of the annex, tested in run {}", verdicts.run)),
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

/// Leaves out empty lists, which OSCAL does not allow.
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

/// Returns the name of a section of the annex.
fn section(number: &u8) -> String {
    format!("A{number}")
}

/// Makes objectives of the claims, by section.
fn objectives(claims: &[ClaimResult]) -> Vec<Json> {
    let mut sections = BTreeMap::<u8, BTreeMap<ClaimId, Json>>::new();
    for claim in claims {
        let part = json!({
            "id": claim.id.to_string(), "name": "assessment-objective", "title": line(&claim.scenario),
            "prose": line(&format!("{}; bound: {}", claim.claim, claim.bound)),
        });
        sections.entry(claim.id.section()).or_default().insert(claim.id, part);
    }
    let parts = |claims: &BTreeMap<ClaimId, Json>| claims.values().cloned().collect::<Vec<_>>();
    sections.iter().map(|(number, claims)| json!({ "control-id": section(number), "parts": parts(claims) })).collect()
}

impl Results<'_> {
    fn result(&self) -> Json {
        let (bundle, verdicts) = (self.bundle, &self.bundle.verdicts);
        let text = |pointer: &str| bundle.run.pointer(pointer).and_then(Json::as_str).map(str::to_owned);
        let open = "Nothing was determined about claims that are inconclusive or were not run: each of them has an \
                    observation that says why, and no finding.";
        let killed = if verdicts.complete { "" } else { " The run did not finish." };
        let wrong: String =
            verdicts.problems.iter().map(|problem| format!(" Wrong beyond the claims: {problem}.")).collect();
        json!({
            "uuid": self.id("result"),
            "title": line(&format!("Run {}", verdicts.run)),
            "description": format!("Each claim was tested by a scenario; exit status {}.", verdicts.exit),
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

    /// Makes the part that takes the place of the assessment plan.
    fn plan(&self) -> Json {
        let features = self.bundle.features.iter().map(|file| (file.path.as_str(), "text/plain"));
        let files = std::iter::once((REGISTER, "application/toml")).chain(features);
        let there = files.filter(|(file, _)| self.bundle.folder.file(file).is_ok());
        let links: Vec<Json> = there.map(|(file, kind)| json!({ "href": href(file), "media-type": kind })).collect();
        json!({
            "uuid": self.id("plan"),
            "title": "The register of claims, and the scenarios that test them",
            "description": if links.is_empty() { "This run kept none of them." } else { "As they were for this run." },
            "rlinks": links,
        })
    }
}

fn reviewed(claims: &[ClaimResult]) -> Json {
    let sections = |claims: &[&ClaimResult]| {
        let numbers: BTreeSet<u8> = claims.iter().map(|claim| claim.id.section()).collect();
        numbers.iter().map(|number| json!({ "control-id": section(number) })).collect::<Vec<_>>()
    };
    let (run, rest): (Vec<_>, Vec<_>) = claims.iter().partition(|claim| !claim.attempts.is_empty());
    if run.is_empty() {
        let none = "Of these sections, no claim was tested in this run.";
        return json!({ "control-selections": [{ "description": none, "include-controls": sections(&rest) }] });
    }
    let ids: BTreeSet<ClaimId> = run.iter().map(|claim| claim.id).collect();
    let ids: Vec<Json> = ids.iter().map(|id| json!({ "objective-id": id.to_string() })).collect();
    json!({
        "control-selections": [{ "include-controls": sections(&run) }],
        "control-objective-selections": [{ "include-objectives": ids }],
    })
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn result(bundle: &EvidenceBundle) -> Json {
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
        assert!(remarks.starts_with("A known deviation"), "{remarks}");
        let description = result["findings"][3]["description"].as_str().unwrap();
        assert!(description.contains("; declared by us until 2030-01-01: its size is another's business"));
        assert!(result["remarks"].as_str().unwrap().contains("no finding. Wrong beyond the claims: the declaration"));
    }

    #[test]
    fn what_was_not_determined_is_an_observation_that_says_why() {
        let result = result(&example::bundle());
        let said = |id: &str| {
            let text = |value: &Json| value.as_str().unwrap().to_owned();
            let mine = list(&result["observations"]).into_iter().filter(|seen| text(&seen["title"]).starts_with(id));
            mine.map(|seen| text(&seen["methods"][0]) + " " + &text(&seen["description"])).collect::<Vec<_>>()
        };
        assert_eq!(said("A2-4: not run"), ["UNKNOWN needs an AWS account"]);
        assert_eq!(said("A2-5: not run"), ["TEST needs a native CPU: size is 12 bytes"]);
        assert_eq!(said("A2-3: attempt 1 did not finish"), ["TEST no route to host"]);
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
        assert_eq!(evidence[1]["description"], "../secret: no file of the folder of the run");
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
        let mut idle = example::bundle();
        idle.run = Json::Null;
        idle.verdicts.claims.retain(|claim| claim.attempts.is_empty());
        for bundle in [&example::bundle(), &example::killed(), &idle] {
            let document: Json = serde_json::from_slice(&oscal(bundle).unwrap()).unwrap();
            check(&document);
            let reviewed = &document["assessment-results"]["results"][0]["reviewed-controls"];
            assert_eq!(reviewed["control-selections"][0]["include-controls"], json!([{ "control-id": "A2" }]));
        }
        idle.verdicts.claims.clear();
        assert!(oscal(&idle).unwrap_err().to_string().starts_with("verdicts.json has no claim"));
    }

    #[test]
    fn a_killed_run_says_so_and_determines_only_what_it_had_judged() {
        let result = result(&example::killed());
        assert_eq!(list(&result["findings"]).len(), 1);
        assert!(result["remarks"].as_str().unwrap().ends_with("The run did not finish."));
        assert_eq!(oscal(&example::killed()).unwrap(), oscal(&example::killed()).unwrap());
    }
}
