//! Falsifies verdicts: controls that are not caught, and declarations that excuse what they should not.

use jiff::ToSpan;
use jiff::civil::Date;

use super::{Mutant, accepted};
use assay::claims::deviation::{Deviation, Relation};
use assay::evidence::ClaimResult;
use assay::verdict::claim_verdict::{Attempt, ControlResult};
use assay::verdict::{Reason, Verdict};

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
        which: claim.claim.clone(),
        verdict: Some(claim.verdict),
        survived: accepted(&claim),
    }
}

fn controls(claim: &ClaimResult, on: Date) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (place, control) in claim.controls.iter().enumerate() {
        let Some(last) = control.attempts.last() else { continue };
        let mut passes = last.checks.clone();
        passes.iter_mut().for_each(|judged| judged.outcome.verdict = Verdict::Holds);
        let attempt = |checks, error| Attempt { fails_on: last.fails_on.clone(), ..Attempt::new(checks, error) };
        let passed = attempt(passes, None);
        let lost = attempt(Vec::new(), Some(Reason::step("connection lost")));
        let other = Attempt { fails_on: Some("another.probe".to_owned()), ..last.clone() };
        let silent = Attempt { fails_on: None, ..last.clone() };
        for (how, attempts) in [
            ("the wrong subject passes", vec![passed.clone()]),
            ("its machine is lost", vec![lost]),
            ("rejected on another probe", vec![other]),
            ("rejected without a probe", vec![silent]),
            ("not run", Vec::new()),
            ("caught only when tried again", vec![passed, last.clone()]),
        ] {
            let mut changed = claim.clone();
            changed.controls[place] = ControlResult::judge(&control.at, attempts);
            mutants.push(mutant(changed, on, &format!("control: {}", control.at.name), how));
        }
    }
    mutants
}

fn declarations(claim: &ClaimResult, on: Date) -> Vec<Mutant> {
    let without = Vec::new();
    let declared = |change: fn(&mut Deviation, Date)| {
        let mut deviations = claim.deviations.clone();
        deviations.iter_mut().for_each(|deviation| change(deviation, on));
        deviations
    };
    let other = declared(|deviation, _| {
        deviation.probe.iter_mut().chain(&mut deviation.control).for_each(|name| name.push_str(".other"));
    });
    let related = declared(|deviation, _| match &mut deviation.relation {
        Some(relation) => *relation = Relation::Reported,
        None => deviation.control = None,
    });
    let expired = declared(|deviation, on| deviation.expires = on.saturating_sub(1.day()));
    let ways = [
        ("not declared", without),
        ("declared for another failure", other),
        ("declared for another relation", related),
        ("declared until yesterday", expired),
    ];
    let falsified =
        ways.map(|(how, deviations)| mutant(ClaimResult { deviations, ..claim.clone() }, on, "known deviation", how));
    falsified.into()
}
