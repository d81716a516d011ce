//! Falsifies the list of a claim's scenarios: what was planned is left out or passed off as held, and what fails is hidden
//! behind what holds.

use assay::claims::plan::{Decision, NotJudgedReason};
use assay::evidence::ClaimResult;
use assay::evidence::bundle::EvidenceBundle;
use assay::evidence::verify;
use assay::verdict::claim_verdict::{Attempt, ScenarioResult};
use assay::verdict::{Reason, Verdict};

use super::{Mutant, accepted};

/// Falsifies what `verdicts.json` has of each scenario and control, and puts another scenario beside those that hold.
pub fn mutants(claim: &ClaimResult, bundle: &EvidenceBundle) -> Vec<Mutant> {
    let on = bundle.verdicts.on;
    let mut mutants = Vec::new();
    let mut add = |what: &str, how: &'static str, changed: &ClaimResult, survived: bool| {
        let (what, which) = (what.to_owned(), changed.claim.clone());
        mutants.push(Mutant { claim: claim.id, what, how, which, verdict: Some(changed.verdict), survived });
    };
    // Their verdicts follow from what is left, so only the features of the run can show these.
    let unnoticed = |changed: &ClaimResult| verify::findings_of(bundle, changed).is_empty();
    for (place, scenario) in claim.scenarios.iter().enumerate() {
        let mut dropped = claim.clone();
        dropped.scenarios.remove(place);
        dropped = dropped.concluded(on);
        add(&scenario.at.name, "left out of verdicts.json", &dropped, unnoticed(&dropped));
        let mut twice = claim.clone();
        twice.scenarios.push(scenario.clone());
        twice = twice.concluded(on);
        add(&scenario.at.name, "in verdicts.json twice", &twice, unnoticed(&twice));
        if scenario.runs() {
            let mut marked = claim.clone();
            marked.verdict = Verdict::Holds;
            if let Some(unrun) = marked.scenarios.get_mut(place) {
                (unrun.verdict, unrun.attempts) = (Verdict::Holds, Vec::new());
            }
            add(&scenario.at.name, "not run, and marked as held", &marked, unnoticed(&marked));
        }
    }
    for place in 0..claim.controls.len() {
        let mut dropped = claim.clone();
        let control = dropped.controls.remove(place);
        dropped = dropped.concluded(on);
        let ran = claim.scenarios.iter().any(ScenarioResult::runs);
        add(&control.at.name, "control left out of verdicts.json", &dropped, ran && unnoticed(&dropped));
        let mut renamed = claim.clone();
        for attempt in renamed.controls.iter_mut().skip(place).take(1).flat_map(|control| &mut control.attempts) {
            let failed = attempt.checks.first().map(|judged| judged.check.probe.clone());
            // A control that was not judged has come to no probe; the right one would be no falsification.
            let same = attempt.fails_on.is_none() || attempt.fails_on == failed;
            attempt.fails_on = if same { Some("another.probe".to_owned()) } else { failed };
        }
        let ran = !control.attempts.is_empty();
        renamed = renamed.concluded(on);
        add(&control.at.name, "its control's probe changed", &renamed, ran && unnoticed(&renamed));
    }
    let Some(held) = claim.scenarios.first().filter(|_| claim.verdict == Verdict::Holds) else { return mutants };
    for (how, decision, attempts) in others(held) {
        for first in [true, false] {
            let mut changed = claim.clone();
            let other = ScenarioResult { decision: decision.clone(), attempts: attempts.clone(), ..held.clone() };
            changed.scenarios.insert(if first { 0 } else { changed.scenarios.len() }, other);
            changed = changed.concluded(on);
            add(&held.at.name, how, &changed, accepted(&changed));
        }
    }
    mutants
}

/// Returns other scenarios of the same claim that do not hold.
fn others(held: &ScenarioResult) -> Vec<(&'static str, Decision, Vec<Attempt>)> {
    let mut failing = held.attempts.last().map(|attempt| attempt.checks.clone()).unwrap_or_default();
    if let Some(last) = failing.last_mut() {
        last.outcome.verdict = Verdict::Fails;
    }
    let lost = Attempt::new(Vec::new(), Some(Reason::step("connection lost")));
    let flaky = vec![lost.clone(), held.attempts.last().cloned().unwrap_or(lost.clone())];
    vec![
        ("beside one that fails", Decision::Run, vec![Attempt::new(failing, None)]),
        ("beside one that was lost", Decision::Run, vec![lost]),
        ("beside one that is flaky", Decision::Run, flaky),
        ("beside one that did not run", Decision::Run, Vec::new()),
        ("beside one not selected", Decision::Skip(NotJudgedReason::NotSelected), Vec::new()),
    ]
}
