//! Falsifies the plan of a run: written after the fact, with other rules, or with something left out; and the chain of
//! runs that it belongs to.

use assay::evidence::ClaimResult;
use assay::evidence::bundle::EvidenceBundle;
use assay::evidence::history::{Ending, History, PastRun};
use assay::evidence::sealed_plan::{Link, PlannedClaim, SealedPlan};
use assay::evidence::verify;
use assay::verdict::Rule;
use jiff::ToSpan as _;

use super::Mutant;

/// Falsifies the plan of each claim; every change must be noticed.
pub fn mutants(claim: &ClaimResult, plan: &SealedPlan, bundle: &EvidenceBundle) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut add = |what: &str, how: &'static str, changed: &SealedPlan| {
        let survived = verify::differences_from_plan(changed, bundle).is_empty();
        let (what, which) = (what.to_owned(), claim.claim.clone());
        mutants.push(Mutant { claim: claim.id, what, how, which, verdict: Some(claim.verdict), survived });
    };
    let ids = claim.sample_ids();
    if let Some(first) = bundle.samples.iter().filter(|sample| ids.contains(&sample.id)).map(|sample| sample.at).min() {
        let late = SealedPlan { at: first.saturating_add(1.nanosecond()).unwrap_or(first), ..plan.clone() };
        add("plan.json", "written after a sample", &late);
    }
    let with = |change: &dyn Fn(&mut PlannedClaim)| {
        let mut plan = plan.clone();
        plan.claims.iter_mut().filter(|planned| planned.id == claim.id).for_each(change);
        plan
    };
    add("plan.json", "with another bound", &with(&|planned| planned.bound += " or so"));
    let planned = plan.claims.iter().filter(|planned| planned.id == claim.id).flat_map(|planned| &planned.scenarios);
    for (place, scenario) in planned.enumerate() {
        for (step, check) in
            scenario.steps.iter().enumerate().filter_map(|(n, step)| Some((n, step.checks.as_ref()?.first()?)))
        {
            let own = claim.scenarios.iter().filter(|own| own.at == scenario.at && !scenario.control);
            let controls = claim.controls.iter().filter(|own| own.at == scenario.at && scenario.control);
            let attempts = own.flat_map(|own| &own.attempts).chain(controls.flat_map(|own| &own.attempts));
            // A step that was blocked judged nothing.
            let line = scenario.steps[step].line;
            let made = attempts.flat_map(|own| &own.steps).any(|made| made.line == line && made.checks > 0);
            if made && check.rule != Rule::Recorded {
                let other = with(&|planned| {
                    let checks = planned.scenarios[place].steps[step].checks.iter_mut().flatten();
                    checks.take(1).for_each(|check| check.rule = Rule::Recorded);
                });
                add(&check.format(), "judged by another rule than planned", &other);
            }
        }
    }
    // What the plan has, and the run has not: the other way round it would be a scenario that nothing planned.
    let id = claim.id;
    let mut dropped = bundle.clone();
    dropped.verdicts.claims.retain(|claim| claim.id != id);
    let survived = verify::differences_from_plan(plan, &dropped).is_empty();
    let (what, which, verdict) = ("plan.json".to_owned(), claim.claim.clone(), Some(claim.verdict));
    mutants.push(Mutant { claim: id, what, how: "with a claim that is dropped", which, verdict, survived });
    mutants
}

/// Drops the run from a folder in which another one follows it.
pub fn dropped(claim: &ClaimResult, plan: &SealedPlan) -> Mutant {
    let run = |name: &str, previous| PastRun {
        link: Link { run: name.to_owned(), sha256: String::new() },
        folder: name.into(),
        started: plan.at,
        target: plan.target.clone(),
        ending: Ending::Complete,
        exit: Some(0),
        planned: Some(plan.at),
        previous,
    };
    let (first, second) = (run(&plan.run, None), run("after it", None));
    let second = PastRun { previous: Some(first.link), ..second };
    let survived = History::of(vec![second]).gaps.is_empty();
    let (what, which, verdict) = ("its run".to_owned(), plan.run.clone(), Some(claim.verdict));
    Mutant { claim: claim.id, what, how: "dropped from the history", which, verdict, survived }
}
