//! Reports the result of each step of each attempt at a scenario, in Cucumber's words.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::super::{sentence, times};
use super::documents::Pickle;
use crate::claims::plan::Decision;
use crate::evidence::ClaimResult;
use crate::evidence::bundle::EvidenceBundle;
use crate::verdict::claim_verdict::{Attempt, ControlResult, ControlVerdict, ScenarioResult, Step, combine_attempts};
use crate::verdict::{Judged, Outcome, Verdict, combine_checks};

/// The role of a scenario in the run.
pub enum Subject<'a> {
    /// It is one of this claim's own.
    Own(&'a ClaimResult, &'a ScenarioResult),
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

/// What a step came to, and why: `NotRun` if it was skipped.
#[derive(Clone)]
struct Tried<'a> {
    verdict: Verdict,
    reason: String,
    /// The step and the checks that it made, if it began.
    step: Option<&'a Step>,
    checks: &'a [Judged],
}

impl Tried<'_> {
    fn skipped(reason: &str) -> Self {
        Tried { verdict: Verdict::NotRun, reason: reason.to_owned(), step: None, checks: &[] }
    }
}

impl<'a> Subject<'a> {
    /// Returns all scenarios that were to be run, by file and line.
    pub fn by_place(bundle: &'a EvidenceBundle) -> anyhow::Result<BTreeMap<(&'a str, usize), Subject<'a>>> {
        let mut places = BTreeMap::new();
        for claim in &bundle.verdicts.claims {
            let own = claim.scenarios.iter().map(|scenario| match &scenario.decision {
                Decision::Skip(why) if scenario.attempts.is_empty() => {
                    (&scenario.at, Subject::Untouched(sentence::not_judged(why)))
                }
                _ => (&scenario.at, Subject::Own(claim, scenario)),
            });
            let controls = claim.controls.iter().map(|each| (&each.at, Subject::Control(claim, each)));
            for (at, subject) in own.chain(controls) {
                let first = places.insert((at.file.as_str(), at.line), subject).is_none();
                anyhow::ensure!(first, "verdicts.json says of {at} twice with two results: no run does that");
            }
        }
        Ok(places)
    }

    /// Makes the role of a scenario without a result; its claim may know the reason.
    pub fn untouched(bundle: &EvidenceBundle, pickle: &Pickle) -> Subject<'a> {
        let its = |claim: &&ClaimResult| pickle.tags.contains(&claim.id.to_string());
        let reason = match bundle.verdicts.claims.iter().find(its).map(ClaimResult::decision) {
            Some(Decision::Skip(why)) => sentence::not_judged(&why),
            Some(_) => "the run says nothing of it".to_owned(),
            None => "it is about no claim of this run".to_owned(),
        };
        Subject::Untouched(reason)
    }

    /// Returns the result of each step, given by its line, attempt by attempt. A scenario that was never tried has one
    /// attempt without a result.
    pub fn attempts(&self, steps: &[usize]) -> Vec<Vec<StepResult>> {
        let skipped = |reason: &str| steps.iter().map(|_| Tried::skipped(reason)).collect::<Vec<_>>();
        let (attempts, open) = match self {
            Subject::Untouched(reason) => return vec![self.results(skipped(reason), None)],
            Subject::Own(_, scenario) => (&scenario.attempts, &scenario.reason),
            Subject::Control(_, control) => (&control.attempts, &control.reason),
        };
        if attempts.is_empty() {
            // It should have run and did not: its claim stays open.
            let mut tried = skipped("");
            conclude(&mut tried, Verdict::Inconclusive, sentence::reason(open));
            return vec![self.results(tried, None)];
        }
        let results = |(place, attempt): (usize, &Attempt)| {
            self.results(self.tried(steps, attempt, place), attempt.fails_on.as_deref())
        };
        attempts.iter().enumerate().map(results).collect()
    }

    fn tried<'b>(&self, steps: &[usize], attempt: &'b Attempt, place: usize) -> Vec<Tried<'b>> {
        let begun = begun(attempt, matches!(self, Subject::Control(..)));
        let at = |line: usize| begun.iter().find(|tried| tried.step.is_some_and(|step| step.line == line)).cloned();
        let mut tried: Vec<_> = steps.iter().map(|line| at(*line).unwrap_or_else(|| Tried::skipped(""))).collect();
        match self {
            Subject::Own(_, scenario) => {
                let all = combine_attempts(&scenario.attempts).filter(|_| place + 1 == scenario.attempts.len());
                let outcome = all.map_or_else(|| attempt.outcome.clone(), |(outcome, _)| outcome);
                let shown = [Verdict::Fails, Verdict::Inconclusive];
                let shown = shown.into_iter().find(|verdict| tried.iter().any(|step| step.verdict == *verdict));
                if shown.unwrap_or(Verdict::Holds) != outcome.verdict {
                    // The steps alone do not show that the claim holds only on a retry, or that nothing was checked.
                    let failed = outcome.verdict == Verdict::Fails;
                    let verdict = if failed { Verdict::Fails } else { Verdict::Inconclusive };
                    conclude(&mut tried, verdict, sentence::reason(&outcome.reason));
                }
            }
            Subject::Control(_, control) => {
                let (verdict, reason) = rejection(control, attempt, place);
                conclude(&mut tried, verdict, reason);
            }
            Subject::Untouched(_) => {}
        }
        tried
    }

    fn results(&self, tried: Vec<Tried>, fails_on: Option<&str>) -> Vec<StepResult> {
        let result = |Tried { verdict, reason, step, checks }: Tried| {
            let measured = matches!(self, Subject::Own(_, ScenarioResult { decision: Decision::MeasureOnly(_), .. }));
            let (status, message) = match verdict {
                // A check that is only recorded has not passed, even if it stays within its bound.
                Verdict::Holds if measured && !checks.is_empty() => recorded(&reason),
                Verdict::Holds => ("PASSED", None),
                Verdict::Fails => self.failed(reason),
                Verdict::Inconclusive => ("UNKNOWN", Some(reason)),
                Verdict::NotRun | Verdict::KnownDeviation => ("SKIPPED", (!reason.is_empty()).then_some(reason)),
            };
            let took = step.and_then(|step| step.seconds).map(times::length).unwrap_or_default();
            StepResult { status, message, attachment: attachment(checks, fails_on), at: step.map(|step| step.at), took }
        };
        tried.into_iter().map(result).collect()
    }

    /// A failure counts as one, unless it is declared as a deviation or the claim is only measured on this target.
    fn failed(&self, reason: String) -> (&'static str, Option<String>) {
        let (claim, verdict, decision) = match self {
            Subject::Own(claim, scenario) => (claim, scenario.verdict, scenario.decision.clone()),
            // If a claim's own check fails, the declaration is about that, and not about its control.
            Subject::Control(claim, _) if claim.scenarios.iter().any(|own| own.verdict == Verdict::KnownDeviation) => {
                (claim, Verdict::Fails, claim.decision())
            }
            Subject::Control(claim, _) => (claim, claim.verdict, claim.decision()),
            Subject::Untouched(_) => return ("FAILED", Some(reason)),
        };
        match (verdict, decision) {
            (Verdict::KnownDeviation, _) => ("PENDING", Some(deviation(claim, &reason))),
            (_, Decision::MeasureOnly(_)) => recorded(&reason),
            _ => ("FAILED", Some(reason)),
        }
    }
}

/// Formats the results of checks, one per line. Only a control has a probe on which they must fail.
fn attachment(checks: &[Judged], fails_on: Option<&str>) -> Option<String> {
    let line = |judged: &Judged| {
        let (verdict, seen) = (judged.outcome.verdict, sentence::check(&judged.outcome.reason));
        match verdict {
            Verdict::Fails if fails_on == Some(&judged.check.probe) => format!("rejected, as expected: {seen}"),
            _ => format!("{verdict}: {seen}"),
        }
    };
    (!checks.is_empty()).then(|| checks.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Formats a failure with what was declared about it.
fn deviation(claim: &ClaimResult, reason: &str) -> String {
    format!("known deviation: {reason}; {}", sentence::declaration(claim))
}

fn recorded(reason: &str) -> (&'static str, Option<String>) {
    ("SKIPPED", Some(format!("recorded, not judged: {reason}")))
}

/// Returns the steps that began, each with its checks. The last step gets those left over, so that no check is lost. For
/// a control, a failing check is the expected one.
fn begun(attempt: &Attempt, control: bool) -> Vec<Tried<'_>> {
    let mut rest = attempt.checks.as_slice();
    let last = attempt.steps.len().saturating_sub(1);
    let mut begun = Vec::new();
    for (place, step) in attempt.steps.iter().enumerate() {
        let count = if place == last { rest.len() } else { step.checks.min(rest.len()) };
        let (checks, others) = rest.split_at(count);
        rest = others;
        let outcomes = checks.iter().map(|judged| &judged.outcome);
        let outcomes: Vec<&Outcome> =
            outcomes.filter(|outcome| !control || outcome.verdict != Verdict::Fails).collect();
        let error = || attempt.error.as_ref().map_or_else(|| "it did not finish".to_owned(), sentence::reason);
        let (verdict, reason) = match combine_checks(&outcomes) {
            failed if failed.verdict == Verdict::Fails => (failed.verdict, sentence::reason(&failed.reason)),
            _ if step.seconds.is_none() => (Verdict::Inconclusive, error()),
            _ if outcomes.is_empty() => (Verdict::Holds, String::new()),
            other => (other.verdict, sentence::reason(&other.reason)),
        };
        begun.push(Tried { verdict, reason, step: Some(step), checks });
    }
    begun
}

/// Makes the last step show the outcome of the whole scenario.
fn conclude(tried: &mut [Tried], verdict: Verdict, reason: String) {
    if let Some(last) = tried.last_mut() {
        (last.verdict, last.reason) = (verdict, reason);
    }
}

/// Returns the outcome of an attempt at a control, which holds if its check rejects the wrong subject; the last attempt
/// stands for all of them.
fn rejection(control: &ControlResult, attempt: &Attempt, place: usize) -> (Verdict, String) {
    let alone = || ControlResult::judge(&control.at, vec![attempt.clone()]);
    let judged = if place + 1 == control.attempts.len() { control.clone() } else { alone() };
    match judged.verdict {
        ControlVerdict::Caught => (Verdict::Holds, String::new()),
        ControlVerdict::NotCaught => (Verdict::Fails, sentence::control(&judged)),
        ControlVerdict::Inconclusive | ControlVerdict::NotRun => (Verdict::Inconclusive, sentence::control(&judged)),
    }
}
