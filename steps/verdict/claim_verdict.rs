//! Combines attempts at a claim's scenario, its controls and declared deviations into the claim's verdict. Pure: the
//! same evidence gives the same verdict on any day and any machine.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::base::unit::Unit;
use crate::claims::deviation::Deviation;
use crate::claims::plan::Decision;
use crate::measurement::Sample;
use crate::verdict::{Judged, Outcome, Verdict, combine_checks, declared};

/// A step of a scenario that was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub line: usize,
    /// `Given`, `When`, `Then`, `And` or `But`.
    pub keyword: String,
    pub text: String,
    pub at: Timestamp,
    /// How long it took, in seconds; `None` if it did not finish, for which the attempt's error gives the reason.
    pub seconds: Option<f64>,
    /// How many of the attempt's checks it made; checks of earlier steps come first.
    pub checks: usize,
}

/// An attempt at a scenario: its checks and their outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The combined outcome of the checks, for a control as well.
    #[serde(flatten)]
    pub outcome: Outcome,
    pub unit: Option<Unit>,
    /// The error that ended it before its last step.
    pub error: Option<String>,
    /// For a control: the reason for which the check is expected to fail.
    pub because: Option<String>,
    /// The checks, in order.
    pub checks: Vec<Judged>,
    /// The files of the run that were read.
    pub evidence: Vec<String>,
    pub seconds: f64,
    /// The steps that were begun, in order; empty if the scenario could not begin.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The numbers in `transcript.jsonl` of the commands that made its subjects.
    #[serde(default)]
    pub commands: Vec<u64>,
}

impl Attempt {
    pub fn new(checks: Vec<Judged>, error: Option<String>) -> Attempt {
        let outcomes: Vec<&Outcome> = checks.iter().map(|judged| &judged.outcome).collect();
        let outcome = match (combine_checks(&outcomes), &error) {
            // An error never makes a claim fail; a check that failed before it does.
            (judged, Some(error)) if judged.verdict != Verdict::Fails => Outcome::inconclusive(error.as_str()),
            (judged, _) => judged,
        };
        let decided = checks.iter().position(|judged| judged.outcome.verdict != Verdict::Holds).unwrap_or(0);
        let unit = checks.get(decided).map(|judged| judged.check.unit);
        let (evidence, steps, commands) = (Vec::new(), Vec::new(), Vec::new());
        Attempt { outcome, unit, error, because: None, checks, evidence, seconds: 0.0, steps, commands }
    }

    /// Repeats the attempt's checks on these samples and nothing else.
    pub fn again(&self, samples: &[Sample]) -> Attempt {
        let checks = self.checks.iter().map(|judged| judged.check.clone().judge(samples)).collect();
        let Attempt { outcome, unit, checks, .. } = Attempt::new(checks, self.error.clone());
        Attempt { outcome, unit, checks, ..self.clone() }
    }

    /// Returns whether an error ended it that no check accounts for, so that its outcome is unknown.
    pub fn broke_off(&self) -> bool {
        let unjudged = |judged: &Judged| judged.outcome.verdict == Verdict::Inconclusive;
        self.outcome.verdict == Verdict::Inconclusive && self.error.is_some() && !self.checks.iter().any(unjudged)
    }

    pub fn samples(&self) -> usize {
        self.checks.iter().map(|judged| judged.check.samples.len()).sum()
    }

    /// Judges it as an attempt at a control: its check must fail for the reason that the scenario names.
    fn as_control(&self) -> (ControlVerdict, String) {
        let reason = &self.outcome.reason;
        let failed = self.checks.iter().find(|judged| judged.outcome.verdict == Verdict::Fails);
        match (self.outcome.verdict, failed, &self.because) {
            (Verdict::Fails, Some(failed), Some(because)) if failed.outcome.reason.contains(because) => {
                (ControlVerdict::Discriminates, reason.clone())
            }
            (Verdict::Fails, Some(_), Some(because)) => {
                (ControlVerdict::None, format!("the check fails, but not on \"{because}\": {reason}"))
            }
            (Verdict::Holds, ..) => (ControlVerdict::DoesNotDiscriminate, format!("passes: {reason}")),
            _ => (ControlVerdict::None, format!("inconclusive: {reason}")),
        }
    }
}

/// Whether a claim's control was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlVerdict {
    /// The check rejected the wrong subject for the expected reason.
    Discriminates,
    /// The wrong subject passed.
    DoesNotDiscriminate,
    /// No control was run, or it could not be judged.
    None,
}

/// The record of one control of a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlResult {
    pub scenario: String,
    pub feature: String,
    pub line: usize,
    pub verdict: ControlVerdict,
    pub reason: String,
    /// Every attempt at it; empty if it was not run.
    pub attempts: Vec<Attempt>,
}

impl ControlResult {
    pub fn judge(scenario: &str, feature: &str, line: usize, attempts: Vec<Attempt>) -> ControlResult {
        let (verdict, reason) = match attempts.last().map(Attempt::as_control) {
            None => (ControlVerdict::None, "not run".to_owned()),
            Some((ControlVerdict::Discriminates, reason)) if attempts.len() > 1 => {
                let (last, first) = (attempts.len(), &attempts[0].outcome.reason);
                (ControlVerdict::None, format!("flaky: caught only at attempt {last}: {reason}; first: {first}"))
            }
            Some(judged) => judged,
        };
        let (scenario, feature) = (scenario.to_owned(), feature.to_owned());
        ControlResult { scenario, feature, line, verdict, reason, attempts }
    }

    pub fn caught(&self) -> bool {
        self.verdict == ControlVerdict::Discriminates
    }

    pub fn sentence(&self) -> String {
        format!("{}: {}", self.scenario, self.reason)
    }
}

/// Combines all attempts at a claim's own scenario. One that holds only on a retry is flaky, and so inconclusive;
/// otherwise one failed attempt makes it fail.
pub fn combine_attempts(attempts: &[Attempt]) -> Outcome {
    let [first, .., last] = attempts else {
        let never = || Outcome::inconclusive("the run ended before it");
        return attempts.first().map_or_else(never, |only| only.outcome.clone());
    };
    let message = |(place, attempt): (usize, &Attempt)| {
        format!("attempt {}: {}: {}", place + 1, attempt.outcome.verdict, attempt.outcome.reason)
    };
    let all = attempts.iter().enumerate().map(message).collect::<Vec<_>>().join("; ");
    if last.outcome.verdict == Verdict::Holds {
        let reason = format!("flaky: it held only at attempt {} of {}; {all}", attempts.len(), attempts.len());
        return Outcome { verdict: Verdict::Inconclusive, reason, value: last.outcome.value.clone() };
    }
    let failed = attempts.iter().find(|attempt| attempt.outcome.verdict == Verdict::Fails);
    let decisive = failed.unwrap_or(first);
    Outcome { reason: all, ..decisive.outcome.clone() }
}

/// Computes a claim's verdict from the combined outcome of its own scenario, its controls and its declarations. `tried`
/// is whether its scenario was run; on the day `on`, a declaration may have expired.
pub fn claim_verdict(
    decision: &Decision,
    own: Outcome,
    tried: bool,
    controls: &[ControlResult],
    deviations: &[Deviation],
    on: Date,
) -> (Verdict, String) {
    let (verdict, reason) = match decision {
        Decision::Skip(why) => return (Verdict::NotRun, why.clone()),
        Decision::MeasureOnly(unjudged) if tried && own.verdict != Verdict::Inconclusive => {
            return (Verdict::NotRun, format!("{}: {}", unjudged.why(), own.reason));
        }
        _ => apply_controls(own, controls),
    };
    let (verdict, printed) = declared::apply(verdict, &reason, deviations, on);
    (verdict, printed.map(|printed| format!("{reason}; {printed}")).unwrap_or(reason))
}

/// Applies the controls: one wrong subject that passes shows that the check does not discriminate.
fn apply_controls(Outcome { verdict, reason, .. }: Outcome, controls: &[ControlResult]) -> (Verdict, String) {
    if verdict != Verdict::Holds {
        return (verdict, reason);
    }
    let those = |verdict: ControlVerdict| {
        let those = controls.iter().filter(|control| control.verdict == verdict);
        those.map(ControlResult::sentence).collect::<Vec<_>>().join("; ")
    };
    let passed = those(ControlVerdict::DoesNotDiscriminate);
    if !passed.is_empty() {
        let caught = match those(ControlVerdict::Discriminates) {
            caught if caught.is_empty() => caught,
            caught => format!("; caught: {caught}"),
        };
        return (Verdict::Fails, format!("{reason}, but the check does not discriminate: {passed}{caught}"));
    }
    if controls.iter().any(|control| control.attempts.is_empty()) {
        return (Verdict::Inconclusive, format!("{reason}, but its control was not run"));
    }
    match those(ControlVerdict::None) {
        open if open.is_empty() => (Verdict::Holds, reason),
        open => (Verdict::Inconclusive, format!("{reason}, but its control could not be judged: {open}")),
    }
}
