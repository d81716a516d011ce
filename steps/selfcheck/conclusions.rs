//! Falsifies verdicts: controls that are not caught, and declarations that excuse what they should not.

use jiff::ToSpan;
use jiff::civil::Date;

use super::{Mutant, accepted};
use crate::evidence::ClaimResult;
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{Attempt, ControlResult};

/// Falsifies each control of a claim that holds, and each declaration about one that is a known deviation.
pub fn mutants(claim: &ClaimResult, on: Date) -> Vec<Mutant> {
    match claim.verdict {
        Verdict::Holds => controls(claim, on),
        Verdict::KnownDeviation => declarations(claim, on),
        _ => Vec::new(),
    }
}

fn mutant(claim: ClaimResult, on: Date, what: &str, how: &'static str) -> Mutant {
    let claim = claim.concluded(on);
    Mutant {
        claim: claim.id,
        what: what.to_owned(),
        how,
        which: claim.scenario.clone(),
        verdict: Some(claim.verdict),
        survived: accepted(&claim),
    }
}

fn controls(claim: &ClaimResult, on: Date) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (place, control) in claim.controls.iter().enumerate() {
        let with = |attempts: Vec<Attempt>| {
            let ControlResult { scenario, feature, line, .. } = control;
            let mut changed = claim.clone();
            changed.controls[place] = ControlResult::weigh(scenario, feature, *line, attempts);
            changed
        };
        let Some(last) = control.attempts.last() else { continue };
        let mut passes = last.checks.clone();
        passes.iter_mut().for_each(|judged| judged.outcome.verdict = Verdict::Holds);
        let because = last.because.clone();
        let passed = Attempt { because: because.clone(), ..Attempt::new(passes, None) };
        let lost = Attempt { because, ..Attempt::new(Vec::new(), Some("connection lost".to_owned())) };
        let other = Attempt { because: Some("another reason".to_owned()), ..last.clone() };
        let silent = Attempt { because: None, ..last.clone() };
        let what = format!("control: {}", control.scenario);
        for (how, attempts) in [
            ("the wrong subject passes", vec![passed.clone()]),
            ("its machine is lost", vec![lost]),
            ("refused for another reason", vec![other]),
            ("refused without a reason", vec![silent]),
            ("not run", Vec::new()),
            ("caught only when tried again", vec![passed, last.clone()]),
        ] {
            mutants.push(mutant(with(attempts), on, &what, how));
        }
    }
    mutants
}

fn declarations(claim: &ClaimResult, on: Date) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let with = |change: &dyn Fn(&mut ClaimResult)| {
        let mut changed = claim.clone();
        change(&mut changed);
        changed
    };
    let gone = with(&|claim| claim.deviations.clear());
    let other = with(&|claim| claim.deviations.iter_mut().for_each(|one| one.because = vec!["another".to_owned()]));
    let expired = with(&|claim| {
        claim.deviations.iter_mut().for_each(|one| one.expires = on.saturating_sub(1.day()));
    });
    for (how, changed) in
        [("not declared", gone), ("declared for another failure", other), ("declared until yesterday", expired)]
    {
        mutants.push(mutant(changed, on, "known deviation", how));
    }
    mutants
}
