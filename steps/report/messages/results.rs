//! Reports the result of each step of each attempt at a scenario, in Cucumber's words.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::super::times;
use super::documents::{Pickle, PickleStep};
use crate::claims::deviation::Deviation;
use crate::claims::plan::Decision;
use crate::evidence::ClaimResult;
use crate::evidence::bundle::EvidenceBundle;
use crate::verdict::claim_verdict::{Attempt, ControlResult, ControlVerdict, Step, combine_attempts};
use crate::verdict::{Judged, Outcome, Verdict};

/// The role of a scenario in the run.
pub enum Subject<'a> {
    /// It tests this claim.
    Claim(&'a ClaimResult),
    /// It is this claim's control.
    Control(&'a ClaimResult, &'a ControlResult),
    /// It was not to be run, for this reason.
    Untouched(String),
}

pub struct StepResult {
    /// Cucumber's status.
    pub status: &'static str,
    /// The reason, unless it simply passed.
    pub message: Option<String>,
    /// The results of its checks.
    pub attachment: Option<String>,
    /// When it began; `None` if it did not.
    pub at: Option<Timestamp>,
    pub took: Duration,
}

/// The outcome of a step, in the words of this project.
enum Came {
    Through,
    Failed(String),
    Open(String),
    Skipped(Option<String>),
}

/// A step that began, with the checks that it made.
type Traced<'a> = (&'a Step, &'a [Judged]);

impl<'a> Subject<'a> {
    /// Returns all scenarios that were to be run, by file and line.
    pub fn by_place(bundle: &'a EvidenceBundle) -> anyhow::Result<BTreeMap<(&'a str, usize), Subject<'a>>> {
        let mut places = BTreeMap::new();
        for claim in &bundle.verdicts.claims {
            let own = ((claim.feature.as_str(), claim.line), Subject::Claim(claim));
            let controls = claim.controls.iter();
            let controls = controls.map(|each| ((each.feature.as_str(), each.line), Subject::Control(claim, each)));
            for (place, subject) in std::iter::once(own).chain(controls) {
                let (feature, line) = place;
                let first = places.insert(place, subject).is_none();
                anyhow::ensure!(
                    first,
                    "verdicts.json says of {feature}:{line} twice with two results: no run does that"
                );
            }
        }
        Ok(places)
    }

    /// Makes the role of a scenario without a result; its claim may know the reason.
    pub fn untouched(bundle: &EvidenceBundle, pickle: &Pickle) -> Subject<'a> {
        let its = |claim: &&ClaimResult| pickle.tags.contains(&claim.id.to_string());
        let claim = bundle.verdicts.claims.iter().find(its);
        let why = claim.map(|claim| match &claim.decision {
            Decision::Skip(why) => why.clone(),
            _ => "the run says nothing of it".to_owned(),
        });
        Subject::Untouched(why.unwrap_or_else(|| "it is about no claim of this run".to_owned()))
    }

    /// Returns the result of each of these steps, attempt by attempt. A scenario that was never tried has one attempt
    /// without a result.
    pub fn attempts(&self, steps: &[PickleStep]) -> Vec<Vec<StepResult>> {
        let (attempts, untried) = match self {
            Subject::Untouched(why) => return vec![self.told(untouched(steps, why), None)],
            Subject::Claim(claim) => (&claim.attempts, &claim.reason),
            Subject::Control(_, control) => (&control.attempts, &control.reason),
        };
        if attempts.is_empty() {
            let skipped = matches!(self, Subject::Claim(ClaimResult { decision: Decision::Skip(_), .. }));
            let came = if skipped { untouched(steps, untried) } else { unbegun(steps, untried) };
            return vec![self.told(came, None)];
        }
        let told = |(place, attempt): (usize, &Attempt)| {
            self.told(self.came(steps, attempt, place), attempt.because.as_deref())
        };
        attempts.iter().enumerate().map(told).collect()
    }

    fn came<'b>(&self, steps: &[PickleStep], attempt: &'b Attempt, place: usize) -> Vec<(Came, Option<Traced<'b>>)> {
        let traced = traced(attempt);
        let begun = |step: &PickleStep| traced.iter().find(|(begun, _)| begun.line == step.line).copied();
        let control = matches!(self, Subject::Control(..));
        let mut came: Vec<_> = steps.iter().map(|step| (one(attempt, begun(step), control), begun(step))).collect();
        match self {
            Subject::Claim(claim) => {
                let last = place + 1 == claim.attempts.len();
                let outcome = if last { combine_attempts(&claim.attempts) } else { attempt.outcome.clone() };
                if shown(&came) != outcome.verdict {
                    // The steps alone do not show that the claim holds only on a retry, or that nothing was checked.
                    conclude(
                        &mut came,
                        if outcome.verdict == Verdict::Fails { Came::Failed } else { Came::Open }(outcome.reason),
                    );
                }
            }
            Subject::Control(_, control) => conclude(&mut came, refusal(control, attempt, place)),
            Subject::Untouched(_) => {}
        }
        came
    }

    fn told(&self, came: Vec<(Came, Option<Traced>)>, because: Option<&str>) -> Vec<StepResult> {
        let told = |(came, traced): (Came, Option<Traced>)| {
            let (status, message) = match came {
                Came::Through => self.through(traced.map(|(_, checks)| checks).unwrap_or_default()),
                Came::Failed(reason) => self.failed(reason),
                Came::Open(reason) => ("UNKNOWN", Some(reason)),
                Came::Skipped(why) => ("SKIPPED", why),
            };
            let at = traced.map(|(step, _)| step.at);
            let took = traced.and_then(|(step, _)| step.seconds).map(times::length).unwrap_or_default();
            let attachment = traced.and_then(|(_, checks)| attachment(checks, because));
            StepResult { status, message, attachment, at, took }
        };
        came.into_iter().map(told).collect()
    }

    /// A check that is only recorded has not passed, even if it stays within its bound.
    fn through(&self, checks: &[Judged]) -> (&'static str, Option<String>) {
        match self {
            Subject::Claim(ClaimResult { decision: Decision::MeasureOnly(_), .. }) if !checks.is_empty() => {
                let reasons: Vec<&str> = checks.iter().map(|judged| judged.outcome.reason.as_str()).collect();
                recorded(&reasons.join("; "))
            }
            _ => ("PASSED", None),
        }
    }

    /// A failure counts as one, unless it is declared as a deviation or the claim is only measured on this target.
    fn failed(&self, reason: String) -> (&'static str, Option<String>) {
        let (claim, declared) = match self {
            Subject::Claim(claim) => (claim, true),
            // If a claim's own check fails, the declaration is about that, and not about its control.
            Subject::Control(claim, _) => (claim, combine_attempts(&claim.attempts).verdict == Verdict::Holds),
            Subject::Untouched(_) => return ("FAILED", Some(reason)),
        };
        match (claim.verdict, &claim.decision) {
            (Verdict::KnownDeviation, _) if declared => ("PENDING", Some(deviation(claim, &reason))),
            (_, Decision::MeasureOnly(_)) => recorded(&reason),
            _ => ("FAILED", Some(reason)),
        }
    }
}

/// Formats the results of checks, one per line. Only a control has a reason for which they must fail.
fn attachment(checks: &[Judged], because: Option<&str>) -> Option<String> {
    let line = |judged: &Judged| {
        let Outcome { verdict, reason, .. } = &judged.outcome;
        match because {
            Some(because) if *verdict == Verdict::Fails && reason.contains(because) => {
                format!("refused, as it must be: {reason}")
            }
            _ => format!("{verdict}: {reason}"),
        }
    };
    (!checks.is_empty()).then(|| checks.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Formats a failure with what was declared about it.
fn deviation(claim: &ClaimResult, reason: &str) -> String {
    let about = |declared: &&Deviation| declared.because.iter().any(|text| claim.reason.contains(text));
    let declared = claim.deviations.iter().filter(about);
    let said =
        declared.map(|each| format!("; declared by {} until {}: {}", each.declared_by, each.expires, each.reason));
    format!("known deviation: {reason}{}", said.collect::<String>())
}

fn recorded(reason: &str) -> (&'static str, Option<String>) {
    ("SKIPPED", Some(format!("recorded, not judged: {reason}")))
}

/// Returns the steps that began, each with its checks. The last step gets those left over, so that no check is lost.
fn traced(attempt: &Attempt) -> Vec<Traced<'_>> {
    let mut rest = attempt.checks.as_slice();
    let last = attempt.steps.len().saturating_sub(1);
    let mut traced = Vec::new();
    for (place, step) in attempt.steps.iter().enumerate() {
        let count = if place == last { rest.len() } else { step.checks.min(rest.len()) };
        let (mine, others) = rest.split_at(count);
        rest = others;
        traced.push((step, mine));
    }
    traced
}

/// Returns the outcome of a single step. For a control, a failing check is the expected one.
fn one(attempt: &Attempt, traced: Option<Traced>, control: bool) -> Came {
    let Some((step, checks)) = traced else { return Came::Skipped(None) };
    let said = |verdict: Verdict| {
        let those = checks.iter().filter(|judged| judged.outcome.verdict == verdict);
        let reasons: Vec<&str> = those.map(|judged| judged.outcome.reason.as_str()).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    };
    match (said(Verdict::Fails), said(Verdict::Inconclusive)) {
        (Some(reason), _) if !control => Came::Failed(reason),
        _ if step.seconds.is_none() => {
            Came::Open(attempt.error.clone().unwrap_or_else(|| "it did not finish".to_owned()))
        }
        (_, Some(reason)) => Came::Open(reason),
        _ => Came::Through,
    }
}

/// Returns the verdict that the steps show.
fn shown(came: &[(Came, Option<Traced>)]) -> Verdict {
    let any = |which: fn(&Came) -> bool| came.iter().any(|(came, _)| which(came));
    match () {
        () if any(|came| matches!(came, Came::Failed(_))) => Verdict::Fails,
        () if any(|came| matches!(came, Came::Open(_))) => Verdict::Inconclusive,
        () => Verdict::Holds,
    }
}

/// Makes the last step show the outcome of the whole scenario.
fn conclude(came: &mut [(Came, Option<Traced>)], conclusion: Came) {
    if let Some((last, _)) = came.last_mut() {
        *last = conclusion;
    }
}

/// Returns the outcome of an attempt at a control; the last attempt stands for all of them.
fn refusal(control: &ControlResult, attempt: &Attempt, place: usize) -> Came {
    let ControlResult { scenario, feature, line, attempts, .. } = control;
    let alone = || ControlResult::weigh(scenario, feature, *line, vec![attempt.clone()]);
    let weighed = if place + 1 == attempts.len() { control.clone() } else { alone() };
    match weighed.verdict {
        ControlVerdict::Discriminates => Came::Through,
        ControlVerdict::DoesNotDiscriminate => Came::Failed(format!("the wrong subject passes: {}", weighed.reason)),
        ControlVerdict::None => Came::Open(weighed.reason),
    }
}

fn untouched<'a>(steps: &[PickleStep], why: &str) -> Vec<(Came, Option<Traced<'a>>)> {
    steps.iter().map(|_| (Came::Skipped(Some(why.to_owned())), None)).collect()
}

/// Makes the outcomes of a scenario that should have run and did not: its claim stays open.
fn unbegun<'a>(steps: &[PickleStep], why: &str) -> Vec<(Came, Option<Traced<'a>>)> {
    let mut came: Vec<_> = steps.iter().map(|_| (Came::Skipped(None), None)).collect();
    conclude(&mut came, Came::Open(why.to_owned()));
    came
}
