//! Writes `oscal-assessment-results.json` in NIST's format OSCAL, for tools that store assessments in it.
//!
//! A section of the annex is a control, and a claim is an objective of it. A judged claim is a finding; each check, and
//! each control of a claim, is an observation. For a claim that is inconclusive or was not run, nothing was determined:
//! it is an observation that states the reason, and not a finding.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::console::{measured, one_line, word};
use super::{sentence, times};
use crate::claims::register::ClaimId;
use crate::evidence::ClaimResult;
use crate::evidence::bundle::EvidenceBundle;
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{Attempt, ControlResult, ScenarioResult};

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
            "last-modified": times::ended(bundle),
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
    // OSCAL does not allow empty lists.
    let mut bytes = serde_json::to_vec_pretty(&super::pruned(document, empty))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn empty(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        _ => value.is_null(),
    }
}

/// Puts a text on one line that is not empty and has no space around it.
fn line(text: &str) -> String {
    // Readers disagree whether a byte order mark is a space.
    match one_line(&text.replace('\u{feff}', " ")) {
        empty if empty.is_empty() => "(nothing)".to_owned(),
        line => line,
    }
}

/// Returns the address of a file, relative to the folder of the run. No name can make it lead elsewhere.
fn href(file: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let part = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    file.bytes().map(part).collect()
}

/// Returns the name of a section of the annex.
fn section(number: &u8) -> String {
    format!("A{number}")
}

/// Lists the names of a claim's scenarios.
fn scenarios(claim: &ClaimResult) -> String {
    claim.scenarios.iter().map(|scenario| scenario.at.name.as_str()).collect::<Vec<_>>().join("; ")
}

/// Makes objectives of the claims, by section.
fn objectives(claims: &[ClaimResult]) -> Vec<Json> {
    let mut sections = BTreeMap::<u8, BTreeMap<ClaimId, Json>>::new();
    for claim in claims {
        let part = json!({
            "id": claim.id.to_string(), "name": "assessment-objective", "title": line(&scenarios(claim)),
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
        let wrong: String = verdicts
            .problems
            .iter()
            .map(|problem| format!(" A problem besides the claims: {}.", sentence::problem(problem)))
            .collect();
        json!({
            "uuid": self.id("result"),
            "title": line(&format!("Run {}", verdicts.run)),
            "description": format!("Each claim was tested by a scenario; exit status {}.", verdicts.exit),
            "start": times::started(bundle),
            "end": times::ended(bundle),
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
    let (run, rest): (Vec<_>, Vec<_>) = claims.iter().partition(|claim| claim.attempts().next().is_some());
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

/// The results, built claim by claim.
struct Results<'a> {
    bundle: &'a EvidenceBundle,
    observations: Vec<Json>,
    findings: Vec<Json>,
}

impl Results<'_> {
    /// Makes an id; the same run gives the same ids.
    fn id(&self, what: &str) -> String {
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{NAMESPACE}:{}:{what}", self.bundle.verdicts.run).as_bytes())
            .to_string()
    }

    fn claim(&mut self, claim: &ClaimResult) {
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
                "title": line(&scenarios(claim)),
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
fn props<const N: usize>(named: [(&str, Option<String>); N]) -> Vec<Json> {
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

    fn text(of: &Json, pointer: &str) -> String {
        of.pointer(pointer).and_then(Json::as_str).unwrap_or_else(|| panic!("{pointer} in {of}")).to_owned()
    }

    #[test]
    fn only_what_was_judged_is_a_finding_and_rests_on_the_checks_of_its_claim_and_on_its_controls() {
        let result = result(&example::bundle());
        let mut titles = BTreeMap::new();
        let mut shown = format!("{}\n\n", text(&result, "/remarks"));
        for seen in list(&result["observations"]) {
            let (title, props) = (text(&seen, "/title"), list(&seen["props"]));
            shown += &format!("{} {title}: {}\n ", text(&seen, "/methods/0"), text(&seen, "/description"));
            for prop in props {
                shown += &format!(" [{}: {}]", text(&prop, "/name"), text(&prop, "/value"));
            }
            shown.push('\n');
            assert_eq!(titles.insert(text(&seen, "/uuid"), title), None, "an id is used twice");
        }
        for finding in list(&result["findings"]) {
            let (state, reason) = (text(&finding, "/target/status/state"), text(&finding, "/description"));
            shown += &format!("\n{state} {}: {reason}\n", text(&finding, "/target/target-id"));
            for related in list(&finding["related-observations"]) {
                shown += &format!("  rests on {}\n", titles[&text(&related, "/observation-uuid")]);
            }
            shown += &finding["remarks"].as_str().map(|remarks| format!("  {remarks}\n")).unwrap_or_default();
        }
        insta::assert_snapshot!("oscal", shown);
    }

    #[test]
    fn a_file_that_is_not_in_the_folder_is_named_and_not_linked() {
        let mut bundle = example::bundle();
        let files = ["Cargo.toml", "../secret", "none"].map(str::to_owned);
        bundle.verdicts.claims[0].scenarios[0].attempts[0].evidence = files.to_vec();
        let evidence = list(&result(&bundle)["observations"][0]["relevant-evidence"]);
        assert_eq!(evidence[0]["href"], "Cargo.toml");
        assert_eq!((&evidence[1]["href"], &evidence[2]["href"]), (&Json::Null, &Json::Null));
        assert_eq!(evidence[1]["description"], "../secret: no file of the folder of the run");
    }

    #[test]
    fn nothing_is_empty_and_every_text_is_one_line_whatever_the_run_holds() {
        let mut idle = example::bundle();
        idle.run = Json::Null;
        idle.verdicts.claims.retain(|claim| claim.attempts().next().is_none());
        for bundle in [&example::bundle(), &example::killed(), &idle] {
            let text = String::from_utf8(oscal(bundle).unwrap()).unwrap();
            for unwanted in ["[]", "{}", ": \"\"", ": null", "\\n", "\\t", "\\u"] {
                let found = text.lines().find(|line| line.contains(unwanted));
                assert_eq!(found, None, "{unwanted:?}");
            }
            let reviewed = &result(bundle)["reviewed-controls"];
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

    #[test]
    fn a_text_is_one_line_with_something_in_it_and_a_link_leads_only_to_its_file() {
        assert_eq!(line("\u{feff} a\n b\u{2028}c\u{1c}\0"), "a b c");
        assert_eq!(line(" \n"), "(nothing)");
        assert_eq!(href("trials/workload warm 3.txt"), "trials/workload%20warm%203.txt");
        assert_eq!(href("javascript:alert(1)"), "javascript%3Aalert%281%29");
    }
}
