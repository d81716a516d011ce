//! Combines attempts at a claim's scenario, its controls and declared deviations into the claim's verdict. Pure: the
//! same evidence gives the same verdict on any day and any machine.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::base::platform::MachineKind;
use crate::base::unit::Unit;
use crate::claims::deviation::Deviation;
use crate::claims::plan::{Decision, NotJudgedReason, ScenarioRef};
use crate::claims::register::Requirement;
use crate::measurement::{Sample, Value};
use crate::verdict::declared::{self, Failure};
use crate::verdict::{Judged, Outcome, Phase, Reason, Verdict, combine_checks};

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
    /// What ended it before its last step.
    pub error: Option<Reason>,
    /// For a control: the probe that its check must fail on.
    pub fails_on: Option<String>,
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
    pub fn new(checks: Vec<Judged>, error: Option<Reason>) -> Attempt {
        let outcomes: Vec<&Outcome> = checks.iter().map(|judged| &judged.outcome).collect();
        let unjudged = outcomes.iter().any(|outcome| outcome.verdict == Verdict::Inconclusive);
        let outcome = match (combine_checks(&outcomes), &error) {
            // An error never makes a claim fail; a check that failed before it does.
            (judged, Some(error)) if judged.verdict != Verdict::Fails && !unjudged => {
                Outcome::inconclusive(error.clone())
            }
            (judged, _) => judged,
        };
        let decided = checks.iter().position(|judged| judged.outcome.verdict == outcome.verdict).unwrap_or(0);
        let unit = checks.get(decided).map(|judged| judged.check.unit);
        let (evidence, steps, commands) = (Vec::new(), Vec::new(), Vec::new());
        Attempt { outcome, unit, error, fails_on: None, checks, evidence, seconds: 0.0, steps, commands }
    }

    /// Repeats the attempt's checks on these samples and nothing else.
    pub fn again(&self, samples: &[Sample]) -> Attempt {
        let checks = self.checks.iter().map(|judged| judged.check.clone().judge(samples)).collect();
        let Attempt { outcome, unit, checks, .. } = Attempt::new(checks, self.error.clone());
        Attempt { outcome, unit, checks, ..self.clone() }
    }

    /// Returns whether an error ended it of which `doctor` may know the cause.
    pub fn broke_off(&self) -> bool {
        matches!(self.outcome.reason, Reason::Infrastructure { during: Phase::Step, .. })
    }

    pub fn samples(&self) -> usize {
        self.checks.iter().map(|judged| judged.check.samples.len()).sum()
    }

    pub fn failed(&self) -> impl Iterator<Item = &Judged> {
        self.checks.iter().filter(|judged| judged.outcome.verdict == Verdict::Fails)
    }

    /// Judges it as an attempt at a control: its check must fail on the probe that the scenario names.
    fn as_control(&self) -> (ControlVerdict, Reason) {
        let reason = self.outcome.reason.clone();
        let named = self.failed().find(|judged| Some(&judged.check.probe) == self.fails_on.as_ref());
        match (self.outcome.verdict, named) {
            (Verdict::Fails, Some(named)) => (ControlVerdict::Caught, named.outcome.reason.clone()),
            (Verdict::Fails, None) => {
                let (probe, failure) = (self.fails_on.clone(), Box::new(reason));
                (ControlVerdict::Inconclusive, Reason::OtherFailure { probe, failure })
            }
            (Verdict::Holds, _) => (ControlVerdict::NotCaught, reason),
            _ => (ControlVerdict::Inconclusive, reason),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlVerdict {
    /// The check rejected the wrong subject, on the expected probe.
    Caught,
    /// The wrong subject passed.
    NotCaught,
    Inconclusive,
    NotRun,
}

/// The record of one control of a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlResult {
    #[serde(flatten)]
    pub at: ScenarioRef,
    pub verdict: ControlVerdict,
    pub reason: Reason,
    /// The kind of machine that it was planned for: its claim's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_kind: Option<MachineKind>,
    /// Every attempt at it; empty if it was not run.
    pub attempts: Vec<Attempt>,
}

impl ControlResult {
    pub fn judge(at: &ScenarioRef, kind: Option<MachineKind>, attempts: Vec<Attempt>) -> ControlResult {
        let (verdict, reason) = match attempts.last().map(Attempt::as_control) {
            Some(_) if let Some(other) = of_another_kind(&attempts, kind, true) => {
                (ControlVerdict::Inconclusive, other)
            }
            None => {
                let (scenarios, controls) = (Vec::new(), vec![at.name.clone()]);
                (ControlVerdict::NotRun, Reason::NotRun { scenarios, controls })
            }
            Some((ControlVerdict::Caught, _)) if attempts.len() > 1 => (ControlVerdict::Inconclusive, flaky(&attempts)),
            Some(judged) => judged,
        };
        ControlResult { at: at.clone(), verdict, reason, machine_kind: kind, attempts }
    }

    pub fn caught(&self) -> bool {
        self.verdict == ControlVerdict::Caught
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    pub probe: String,
    pub verdict: Verdict,
    pub reason: Reason,
}

/// The record of one of a claim's own scenarios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioResult {
    #[serde(flatten)]
    pub at: ScenarioRef,
    /// The plan's decision before the run.
    pub decision: Decision,
    pub verdict: Verdict,
    pub reason: Reason,
    /// The kind of machine that it was planned for; `None` if it was not to run.
    pub machine_kind: Option<MachineKind>,
    /// What that machine runs, if it is known.
    pub platform: Option<String>,
    /// The sample nearest to the bound, or the one that broke it; the median if the value is only reported.
    pub value: Option<Value>,
    pub unit: Option<Unit>,
    /// How many samples the verdict is based on.
    pub samples: usize,
    /// The checks of the last attempt.
    pub checks: Vec<CheckResult>,
    /// The files with its evidence, relative to the folder of the run.
    pub evidence: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Every attempt at it, with the checks, which anyone can repeat.
    pub attempts: Vec<Attempt>,
}

impl ScenarioResult {
    /// Makes the record of a scenario that is not judged yet.
    pub fn new(at: &ScenarioRef, decision: Decision, attempts: Vec<Attempt>) -> ScenarioResult {
        let checks = attempts.last().into_iter().flat_map(|attempt| &attempt.checks).map(|judged| CheckResult {
            probe: judged.check.probe.clone(),
            verdict: judged.outcome.verdict,
            reason: judged.outcome.reason.clone(),
        });
        ScenarioResult {
            at: at.clone(),
            decision,
            verdict: Verdict::Inconclusive,
            reason: Reason::NothingChecked,
            machine_kind: None,
            platform: None,
            value: None,
            unit: None,
            samples: attempts.last().map_or(0, Attempt::samples),
            checks: checks.collect(),
            evidence: attempts.last().map(|attempt| attempt.evidence.clone()).unwrap_or_default(),
            seconds: attempts.iter().map(|attempt| attempt.seconds).sum(),
            attempts,
        }
    }

    /// Judges it by its attempts; a failure may be excused by declarations.
    pub fn judged(self, deviations: &[Deviation], on: Date) -> ScenarioResult {
        let ScenarioResult { at, decision, attempts, machine_kind, platform, .. } = self;
        let (Outcome { verdict, reason, value }, unit) = match combine_attempts(&attempts) {
            Some(_) if let Some(other) = of_another_kind(&attempts, machine_kind, false) => {
                (Outcome::inconclusive(other), None)
            }
            Some(combined) => combined,
            None => {
                let (scenarios, controls) = (vec![at.name.clone()], Vec::new());
                (Outcome::inconclusive(Reason::NotRun { scenarios, controls }), None)
            }
        };
        // Whatever went wrong with a workload that cannot run says nothing more.
        let without_wasm = NotJudgedReason::Needs { what: Requirement::Wasm };
        let (verdict, reason) = match &decision {
            Decision::Skip(why) => (Verdict::NotRun, Reason::NotJudged(why.clone())),
            Decision::MeasureOnly(why)
                if !attempts.is_empty()
                    && (verdict != Verdict::Inconclusive
                        || reason.is_expected_of_records()
                        || *why == without_wasm) =>
            {
                (Verdict::NotRun, Reason::NotJudged(why.clone()))
            }
            _ if verdict == Verdict::Fails => declared::apply(reason, &failures(&attempts), deviations, on),
            _ => (verdict, reason),
        };
        let new = ScenarioResult::new(&at, decision, attempts);
        ScenarioResult { verdict, reason, value, unit, machine_kind, platform, ..new }
    }

    /// Returns whether it was to run, judged or not.
    pub fn runs(&self) -> bool {
        !matches!(self.decision, Decision::Skip(_))
    }

    pub fn failures(&self) -> Vec<Failure<'_>> {
        failures(&self.attempts)
    }
}

/// Says which sample is of a machine of another kind than the claim and its controls are judged on. This host's samples
/// belong to every kind; if the device is not one of this host's machines, wrong subjects are its virtual machines.
fn of_another_kind(attempts: &[Attempt], expected: Option<MachineKind>, control: bool) -> Option<Reason> {
    let expected = expected?;
    let away = matches!(expected, MachineKind::Podman | MachineKind::Ssh | MachineKind::Ec2);
    let belongs = |kind: MachineKind| {
        kind == expected || kind == MachineKind::Host || (kind == MachineKind::Vm && control && away)
    };
    let sources = attempts.iter().flat_map(|attempt| &attempt.checks).flat_map(|judged| &judged.check.sources);
    sources.into_iter().find_map(|source| {
        let machine_kind = source.kind.filter(|kind| !belongs(*kind))?;
        let (subject, machine) = (source.subject.clone(), source.machine.clone());
        Some(Reason::OtherKind { subject, machine, machine_kind, expected })
    })
}

fn failures(attempts: &[Attempt]) -> Vec<Failure<'_>> {
    attempts.iter().flat_map(Attempt::failed).map(|judged| Failure::Check(&judged.check)).collect()
}

fn flaky(attempts: &[Attempt]) -> Reason {
    let first = attempts.first().map_or(Reason::NothingChecked, |first| first.outcome.reason.clone());
    Reason::Flaky { attempts: attempts.len(), first: Box::new(first) }
}

/// Combines all attempts at one of a claim's own scenarios, with the unit of the value. One that holds only on a retry
/// is flaky, and so inconclusive; otherwise one failed attempt makes it fail. `None` without an attempt.
pub fn combine_attempts(attempts: &[Attempt]) -> Option<(Outcome, Option<Unit>)> {
    let last = attempts.last()?;
    if attempts.len() > 1 && last.outcome.verdict == Verdict::Holds {
        let outcome = Outcome { value: last.outcome.value.clone(), ..Outcome::inconclusive(flaky(attempts)) };
        return Some((outcome, last.unit));
    }
    let of = |verdict: Verdict| attempts.iter().find(|attempt| attempt.outcome.verdict == verdict);
    let decisive = of(Verdict::Fails).or(of(Verdict::Inconclusive)).unwrap_or(last);
    Some((decisive.outcome.clone(), decisive.unit))
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
) -> (Verdict, Reason) {
    let Some(worst) = worst(scenarios) else { return (Verdict::NotRun, Reason::NoScenario) };
    let own = (worst.verdict, worst.reason.clone());
    let held = scenarios.iter().any(|scenario| scenario.verdict == Verdict::Holds);
    if !held || worst.verdict == Verdict::Fails {
        return own;
    }
    // Both matter only for what holds otherwise, and decide if they are worse than the scenarios.
    let those = |verdict| controls.iter().filter(move |control| control.verdict == verdict);
    let names = |verdict| those(verdict).map(|control| control.at.name.clone()).collect::<Vec<_>>();
    let passed = names(ControlVerdict::NotCaught);
    if !passed.is_empty() {
        let reason = Reason::ControlNotCaught { controls: passed.clone() };
        let failures: Vec<Failure> = passed.iter().map(|name| Failure::Control(name)).collect();
        return declared::apply(reason, &failures, deviations, on);
    }
    if worst.verdict == Verdict::Inconclusive {
        return own;
    }
    let left_out = scenarios.iter().filter(|scenario| !scenario.runs());
    let left_out: Vec<String> = left_out.map(|scenario| scenario.at.name.clone()).collect();
    let unrun = names(ControlVerdict::NotRun);
    if !left_out.is_empty() || !unrun.is_empty() {
        return (Verdict::Inconclusive, Reason::NotRun { scenarios: left_out, controls: unrun });
    }
    if let Some(open) = those(ControlVerdict::Inconclusive).next() {
        let (control, reason) = (open.at.name.clone(), Box::new(open.reason.clone()));
        return (Verdict::Inconclusive, Reason::ControlInconclusive { control, reason });
    }
    match deviations.first() {
        Some(untrue) if worst.verdict == Verdict::Holds => {
            (Verdict::Fails, Reason::DeclarationNotTrue { by: untrue.declared_by.clone() })
        }
        _ => own,
    }
}
