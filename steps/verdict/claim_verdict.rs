//! Combines attempts at a claim's scenario, its controls and declared deviations into the claim's verdict. Pure: the
//! same evidence gives the same verdict on any day and any machine.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::base::unit::Unit;
use crate::claims::deviation::Deviation;
use crate::claims::plan::{Decision, ScenarioRef};
use crate::measurement::{Sample, Value};
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
    #[serde(flatten)]
    pub at: ScenarioRef,
    pub verdict: ControlVerdict,
    pub reason: String,
    /// Every attempt at it; empty if it was not run.
    pub attempts: Vec<Attempt>,
}

impl ControlResult {
    pub fn judge(at: &ScenarioRef, attempts: Vec<Attempt>) -> ControlResult {
        let (verdict, reason) = match attempts.last().map(Attempt::as_control) {
            None => (ControlVerdict::None, "not run".to_owned()),
            Some((ControlVerdict::Discriminates, reason)) if attempts.len() > 1 => {
                let (last, first) = (attempts.len(), &attempts[0].outcome.reason);
                (ControlVerdict::None, format!("flaky: caught only at attempt {last}: {reason}; first: {first}"))
            }
            Some(judged) => judged,
        };
        ControlResult { at: at.clone(), verdict, reason, attempts }
    }

    pub fn caught(&self) -> bool {
        self.verdict == ControlVerdict::Discriminates
    }

    pub fn sentence(&self) -> String {
        format!("{}: {}", self.at.name, self.reason)
    }
}

/// The record of one of a claim's own scenarios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioResult {
    #[serde(flatten)]
    pub at: ScenarioRef,
    /// The plan's decision before the run.
    pub decision: Decision,
    pub verdict: Verdict,
    pub reason: String,
    /// The sample nearest to the bound, or the one that broke it; the median if the value is only reported.
    pub value: Option<Value>,
    pub unit: Option<Unit>,
    /// How many samples the verdict is based on.
    pub samples: usize,
    /// The files with its evidence, relative to the folder of the run.
    pub evidence: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Every attempt at it, with the checks, which anyone can repeat.
    pub attempts: Vec<Attempt>,
}

impl ScenarioResult {
    /// Judges a scenario by its attempts; a failure may be excused by a declaration.
    pub fn judge(
        at: &ScenarioRef,
        decision: Decision,
        attempts: Vec<Attempt>,
        deviations: &[Deviation],
        on: Date,
    ) -> ScenarioResult {
        let Outcome { verdict, reason, value } = combine_attempts(&attempts);
        let (verdict, reason) = match &decision {
            Decision::Skip(why) => (Verdict::NotRun, why.clone()),
            Decision::MeasureOnly(unjudged) if !attempts.is_empty() && verdict != Verdict::Inconclusive => {
                (Verdict::NotRun, format!("{}: {reason}", unjudged.why()))
            }
            _ if verdict == Verdict::Fails => declare(verdict, reason, deviations, on),
            _ => (verdict, reason),
        };
        let last = attempts.last();
        ScenarioResult {
            at: at.clone(),
            verdict,
            reason,
            value,
            unit: last.and_then(|attempt| attempt.unit),
            samples: last.map_or(0, Attempt::samples),
            evidence: last.map(|attempt| attempt.evidence.clone()).unwrap_or_default(),
            seconds: attempts.iter().map(|attempt| attempt.seconds).sum(),
            decision,
            attempts,
        }
    }

    /// Returns whether it was to run, judged or not.
    pub fn runs(&self) -> bool {
        !matches!(self.decision, Decision::Skip(_))
    }
}

/// Combines all attempts at one of a claim's own scenarios. One that holds only on a retry is flaky, and so inconclusive;
/// otherwise one failed attempt makes it fail.
pub fn combine_attempts(attempts: &[Attempt]) -> Outcome {
    let [_, .., last] = attempts else {
        let never = || Outcome::inconclusive("it was planned and did not run");
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
    let of = |verdict: Verdict| attempts.iter().find(|attempt| attempt.outcome.verdict == verdict);
    let decisive = of(Verdict::Fails).or(of(Verdict::Inconclusive)).unwrap_or(last);
    Outcome { reason: all, ..decisive.outcome.clone() }
}

/// Verdicts from the worst to the best: the worst of a claim's scenarios is the claim's.
const WORST_FIRST: [Verdict; 5] =
    [Verdict::Fails, Verdict::Inconclusive, Verdict::KnownDeviation, Verdict::NotRun, Verdict::Holds];

/// Returns the scenario whose verdict is the worst of those that were to run; the first of several.
pub fn worst(scenarios: &[ScenarioResult]) -> Option<&ScenarioResult> {
    let rank = |verdict| WORST_FIRST.iter().position(|other| *other == verdict);
    let first = scenarios.iter().find(|scenario| scenario.runs()).or(scenarios.first());
    scenarios.iter().filter(|scenario| scenario.runs()).min_by_key(|scenario| rank(scenario.verdict)).or(first)
}

/// Computes a claim's verdict from its own scenarios, its controls and its declarations, of which one may have expired
/// on the day `on`. The claim holds only if all of its scenarios do, and all of its controls are caught.
pub fn claim_verdict(
    scenarios: &[ScenarioResult],
    controls: &[ControlResult],
    deviations: &[Deviation],
    on: Date,
) -> (Verdict, String) {
    let Some(worst) = worst(scenarios).map(|scenario| scenario.verdict) else {
        return (Verdict::NotRun, "it has no scenario".to_owned());
    };
    let own = (worst, combined(scenarios, worst));
    let held = scenarios.iter().any(|scenario| scenario.verdict == Verdict::Holds);
    if !held || worst == Verdict::Fails {
        return own;
    }
    // Both matter only for what holds otherwise, and decide if they are worse than the scenarios.
    let by_controls = apply_controls(combined(scenarios, Verdict::Holds), controls);
    let left_out: Vec<&ScenarioResult> = scenarios.iter().filter(|scenario| !scenario.runs()).collect();
    match (by_controls, left_out.first()) {
        ((Verdict::Fails, reason), _) => declare(Verdict::Fails, reason, deviations, on),
        _ if worst == Verdict::Inconclusive => own,
        (open @ (Verdict::Inconclusive, _), _) => open,
        ((_, reason), Some(first)) => {
            let counted = format!("{} of its {} scenarios did not run", left_out.len(), scenarios.len());
            (Verdict::Inconclusive, format!("{reason}, but {counted}: {}", first.reason))
        }
        _ if worst == Verdict::Holds => declare(Verdict::Holds, own.1, deviations, on),
        _ => own,
    }
}

/// Says which of a claim's scenarios have this verdict, and why.
fn combined(scenarios: &[ScenarioResult], verdict: Verdict) -> String {
    let those: Vec<&ScenarioResult> =
        scenarios.iter().filter(|scenario| scenario.verdict == verdict && scenario.runs()).collect();
    let (count, all) = (those.len(), scenarios.len());
    let (one, many) = match verdict {
        _ if all == 1 || count == 0 => return scenarios.first().map(|only| only.reason.clone()).unwrap_or_default(),
        Verdict::Holds if count == all => return format!("all {all} scenarios hold"),
        Verdict::Holds => ("holds", "hold"),
        Verdict::Fails => ("fails", "fail"),
        Verdict::Inconclusive => ("is inconclusive", "are inconclusive"),
        Verdict::KnownDeviation => ("fails as declared", "fail as declared"),
        Verdict::NotRun => ("was only recorded", "were only recorded"),
    };
    let word = if count == 1 { one } else { many };
    let named: Vec<String> =
        those.iter().map(|scenario| format!("{}: {}", scenario.at.name, scenario.reason)).collect();
    match verdict {
        Verdict::Holds => format!("{count} of {all} scenarios {word}"),
        _ => format!("{count} of {all} scenarios {word}: {}", named.join("; ")),
    }
}

/// Applies the declarations to a verdict, and adds to the reason what they say.
fn declare(verdict: Verdict, reason: String, deviations: &[Deviation], on: Date) -> (Verdict, String) {
    let (verdict, printed) = declared::apply(verdict, &reason, deviations, on);
    (verdict, printed.map(|printed| format!("{reason}; {printed}")).unwrap_or(reason))
}

/// Applies the controls to what holds for this reason: one wrong subject that passes shows that the check does not
/// discriminate.
fn apply_controls(reason: String, controls: &[ControlResult]) -> (Verdict, String) {
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
