//! Checks that the verdicts match the folder's own claims: every claim of its register and no other, by each of its own
//! scenarios with all its steps and controls, excused only by its declarations.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use gherkin::Scenario;
use serde_json::Value as Json;

use super::Finding;
use crate::claims::deviation::{self, Deviations};
use crate::claims::plan::{Capabilities, Decision, FeatureFile, NotJudgedReason, Plan, ScenarioRef, fails_on};
use crate::claims::register::{Claim, ClaimId, Register, Requirement};
use crate::evidence::ClaimResult;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::verdicts::problems;
use crate::verdict::claim_verdict::{Attempt, ScenarioResult};

const FILE: &str = "verdicts.json";
const REGISTER: &str = "features/claims.toml";
const DECLARED: &str = "features/deviations.toml";

/// Finds everything in `verdicts.json` that does not match `features/`.
pub fn findings(bundle: &EvidenceBundle) -> Vec<Finding> {
    let (register, deviations, plan) = match read(bundle) {
        Ok(read) => read,
        Err(finding) => return vec![finding],
    };
    let known = bundle.run.get("machine").map(deviation::facts).unwrap_or_default();
    let scenarios = scenarios(bundle);
    let mut findings = Vec::new();
    let mut message: BTreeSet<ClaimId> = BTreeSet::new();
    for record in &bundle.verdicts.claims {
        let mut tell = |problem: String| findings.push(Finding::new(FILE, format!("{}: {problem}", record.id)));
        if !message.insert(record.id) {
            tell("is there twice".to_owned());
        }
        match register.get(record.id) {
            None => tell(format!("{REGISTER} has no such claim: it was added")),
            Some(claim) => of_claim(record, claim, &plan, &scenarios, bundle).into_iter().for_each(&mut tell),
        }
        let declared = deviations.applying(record.id, |name| known.get(name).cloned());
        if let Some(made_up) = record.deviations.iter().find(|one| !declared.contains(one)) {
            tell(format!("{DECLARED} does not have the declaration by {}, not for this machine", made_up.declared_by));
        }
        // A run that ended early may not know its machine.
        if bundle.verdicts.complete && declared.iter().any(|one| !record.deviations.contains(one)) {
            tell(format!("a declaration of {DECLARED} about it is missing"));
        }
    }
    for claim in register.iter().filter(|claim| !message.contains(&claim.id)) {
        findings.push(Finding::new(FILE, format!("{}: is not there, though {REGISTER} has it", claim.id)));
    }
    let problems = problems(&bundle.verdicts.claims, &deviations, bundle.verdicts.on);
    if problems != bundle.verdicts.problems {
        findings.push(Finding::new(FILE, format!("its problems are not those of {DECLARED}")));
    }
    findings
}

/// Finds everything in a claim's record that does not match its row of the register and its scenarios.
pub fn findings_of(bundle: &EvidenceBundle, record: &ClaimResult) -> Vec<String> {
    match read(bundle) {
        Err(finding) => vec![finding.problem],
        Ok((register, _, plan)) => match register.get(record.id) {
            None => vec![format!("{REGISTER} has no such claim: it was added")],
            Some(claim) => of_claim(record, claim, &plan, &scenarios(bundle), bundle),
        },
    }
}

fn scenarios(bundle: &EvidenceBundle) -> Scenarios<'_> {
    let of = |file: &'_ FeatureFile| file.scenarios().into_iter().map(|each| each.scenario).collect::<Vec<_>>();
    let all = bundle.features.iter().flat_map(|file| of(file).into_iter().map(move |each| (file, each)));
    all.map(|(file, scenario)| ((file.path.as_str(), scenario.position.line), scenario)).collect()
}

/// Reads the folder's own claims and scenarios.
fn read(bundle: &EvidenceBundle) -> Result<(Register, Deviations, Plan), Finding> {
    let text = |name: &str| bundle.folder.text(name).with_context(|| format!("{name} is needed to tell"));
    let finding = |file: &'static str| move |error: anyhow::Error| Finding::new(file, format!("{error:#}"));
    let register = text(REGISTER).and_then(|text| Register::parse(&text)).map_err(finding(REGISTER))?;
    let deviations = match bundle.folder.file(DECLARED) {
        Ok(_) => text(DECLARED).and_then(|text| Deviations::parse(&text)).map_err(finding(DECLARED))?,
        Err(_) => Deviations::default(),
    };
    let plan = Plan::make(&bundle.features, &register, &Capabilities::default(), |_| true, None);
    let plan = plan.map_err(|mistakes| Finding::new("features/", mistakes.to_string()))?;
    Ok((register, deviations, plan))
}

/// All scenarios of the folder's features as they run, by file and line.
type Scenarios<'a> = BTreeMap<(&'a str, usize), Scenario>;

/// Finds differences between a claim's record and its row of the register, its scenarios and its controls.
fn of_claim(
    record: &ClaimResult,
    claim: &Claim,
    plan: &Plan,
    scenarios: &Scenarios,
    bundle: &EvidenceBundle,
) -> Vec<String> {
    let mut problems = Vec::new();
    let texts = [
        ("claim", Some(&record.claim), Some(&claim.claim)),
        ("bound", Some(&record.bound), Some(&claim.bound)),
        ("published", record.published.as_ref(), claim.published.as_ref()),
        ("typical", record.typical.as_ref(), claim.typical.as_ref()),
    ];
    for (what, _, registered) in texts.iter().filter(|(_, stored, registered)| stored != registered) {
        let registered = registered.map_or("nothing", String::as_str);
        problems.push(format!("its {what} is not the one of {REGISTER}, \"{registered}\""));
    }
    let planned = |control: bool| -> BTreeSet<&ScenarioRef> {
        let mine = plan.scenarios.iter().filter(|planned| planned.claim == claim.id && planned.control == control);
        mine.map(|planned| &planned.at).collect()
    };
    let own: Vec<&ScenarioRef> = record.scenarios.iter().map(|scenario| &scenario.at).collect();
    let controls: Vec<&ScenarioRef> = record.controls.iter().map(|control| &control.at).collect();
    let ran = record.scenarios.iter().any(ScenarioResult::runs);
    for (what, stored, planned, all) in
        [("scenario", own, planned(false), true), ("control", controls, planned(true), ran)]
    {
        let mut seen = BTreeSet::new();
        for at in stored {
            if !planned.contains(at) {
                problems.push(format!("it has no {what} \"{}\" at {at}", at.name));
            }
            if !seen.insert(at) {
                problems.push(format!("its {what} at {at} is there twice"));
            }
        }
        let missing = planned.difference(&seen).filter(|_| all);
        problems.extend(missing.map(|at| format!("its {what} at {at} is left out")));
    }
    problems.extend(record.scenarios.iter().filter_map(|scenario| decided(scenario, claim, &bundle.run)));
    let own = record.scenarios.iter().map(|scenario| (&scenario.at, &scenario.attempts));
    let controls = record.controls.iter().map(|control| (&control.at, &control.attempts));
    for (at, attempts) in own.chain(controls) {
        let Some(scenario) = scenarios.get(&(at.file.as_str(), at.line)) else { continue };
        let strange = attempts.iter().filter_map(|attempt| stepwise(attempt, scenario));
        problems.extend(strange.map(|problem| format!("{at}: {problem}")));
    }
    problems
}

/// Returns why the stored decision about a scenario cannot have been made.
fn decided(record: &ScenarioResult, claim: &Claim, run: &Json) -> Option<String> {
    let says = |pointer: &str| run.pointer(pointer).and_then(Json::as_bool) == Some(true);
    match &record.decision {
        Decision::Run => None,
        Decision::MeasureOnly(why) => {
            let so = match why {
                NotJudgedReason::Needs { what: what @ Requirement::NativeCpu } => {
                    claim.needs.contains(what) && !says("/machine/native")
                }
                NotJudgedReason::StandIn => claim.needs.contains(&Requirement::Aws) && says("/stand_in"),
                _ => false,
            };
            (!so).then(|| "it was to be judged, not only recorded: the stored reason is not so".to_owned())
        }
        Decision::Skip(why) => {
            let so = match why {
                NotJudgedReason::Needs { what } => claim.needs.contains(what),
                NotJudgedReason::NotSelected | NotJudgedReason::OtherShard { .. } => true,
                NotJudgedReason::StandIn | NotJudgedReason::MissingShards { .. } => false,
            };
            (!so || !record.attempts.is_empty())
                .then(|| "it cannot have been left out: the stored reason is not so".to_owned())
        }
    }
}

/// Compares an attempt's trace with its scenario: unknown steps, missing steps, and the number of checks. Runs of older
/// versions have no trace.
fn stepwise(attempt: &Attempt, scenario: &Scenario) -> Option<String> {
    for step in &attempt.steps {
        let written = scenario.steps.iter().find(|written| written.position.line == step.line);
        if written.is_none_or(|written| written.value != step.text) {
            return Some(format!("\"{}\" is not a step of its", step.text));
        }
    }
    let traced = !attempt.steps.is_empty() && attempt.error.is_none();
    if traced && attempt.steps.len() != scenario.steps.len() {
        return Some(format!("{} of its {} steps are there", attempt.steps.len(), scenario.steps.len()));
    }
    // A control's last step names the probe, and an attempt that did not reach it has none.
    let named = if traced || attempt.fails_on.is_some() { fails_on(scenario) } else { None };
    if !attempt.steps.is_empty() && attempt.fails_on.as_deref() != named {
        return Some("the probe that its check must fail on is another".to_owned());
    }
    let made: usize = attempt.steps.iter().map(|step| step.checks).sum();
    (!attempt.steps.is_empty() && made != attempt.checks.len())
        .then(|| format!("its steps made {made} checks, and {} are there", attempt.checks.len()))
}
