//! Defines `verdicts.json`: each claim's verdict with everything it is based on.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::base::platform::MachineKind;
use crate::base::unit::Unit;
use crate::claims::deviation::{Deviation, Deviations};
use crate::claims::plan::{Decision, NOT_SELECTED};
use crate::claims::register::ClaimId;
use crate::measurement::{Sample, Value};
use crate::verdict::claim_verdict::{Attempt, ControlResult, ControlVerdict, ScenarioResult, claim_verdict, worst};
use crate::verdict::{Verdict, declared};

/// The combined result of a claim's controls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// The worst verdict: one wrong subject that passes decides.
    pub verdict: ControlVerdict,
    /// The deciding scenario; `None` if the claim has no control.
    pub scenario: Option<String>,
    pub reason: Option<String>,
}

impl Control {
    pub fn of(controls: &[ControlResult]) -> Control {
        let rank = |control: &&ControlResult| match control.verdict {
            ControlVerdict::DoesNotDiscriminate => 0,
            ControlVerdict::None => 1,
            ControlVerdict::Discriminates => 2,
        };
        let Some(worst) = controls.iter().min_by_key(rank) else {
            return Control { verdict: ControlVerdict::None, scenario: None, reason: None };
        };
        let reason = controls.iter().map(ControlResult::sentence).collect::<Vec<_>>().join("; ");
        Control { verdict: worst.verdict, scenario: Some(worst.at.name.clone()), reason: Some(reason) }
    }
}

/// A claim in `verdicts.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimResult {
    pub id: ClaimId,
    pub claim: String,
    pub verdict: Verdict,
    pub reason: String,
    pub bound: String,
    pub published: Option<String>,
    pub typical: Option<String>,
    /// The value of the scenario that decided.
    pub value: Option<Value>,
    pub unit: Option<Unit>,
    /// How many samples the verdict is based on.
    pub samples: usize,
    /// Each of its own scenarios, also those that were not to run.
    pub scenarios: Vec<ScenarioResult>,
    /// The combined result of its controls.
    pub control: Control,
    /// Each of its controls that should have run.
    pub controls: Vec<ControlResult>,
    /// The deviations that are declared for it on this platform.
    pub deviations: Vec<Deviation>,
}

impl ClaimResult {
    /// Repeats every check of the claim and its controls on these samples and nothing else.
    pub fn again(&self, samples: &[Sample], on: Date) -> ClaimResult {
        let again = |attempts: &[Attempt]| attempts.iter().map(|attempt| attempt.again(samples)).collect();
        let mut claim = self.clone();
        for scenario in &mut claim.scenarios {
            scenario.attempts = again(&scenario.attempts);
        }
        for control in &mut claim.controls {
            *control = ControlResult::judge(&control.at, control.machine_kind, again(&control.attempts));
        }
        claim.concluded(on)
    }

    /// Computes the verdict from the attempts at the claim's scenarios, its controls and declarations.
    pub fn concluded(mut self, on: Date) -> ClaimResult {
        for scenario in &mut self.scenarios {
            let (decision, kind) = (scenario.decision.clone(), scenario.machine_kind);
            let attempts = std::mem::take(&mut scenario.attempts);
            *scenario = ScenarioResult::judge(&scenario.at, decision, kind, attempts, &self.deviations, on);
        }
        let decided = worst(&self.scenarios);
        self.value = decided.and_then(|scenario| scenario.value.clone());
        self.unit = decided.and_then(|scenario| scenario.unit);
        self.samples = self.scenarios.iter().map(|scenario| scenario.samples).sum();
        (self.verdict, self.reason) = claim_verdict(&self.scenarios, &self.controls, &self.deviations, on);
        self.control = Control::of(&self.controls);
        self
    }

    /// Returns the decision about its scenarios. They have the same needs, so the first that was selected stands for all.
    pub fn decision(&self) -> Decision {
        let unselected = Decision::Skip(NOT_SELECTED.to_owned());
        let selected = self.scenarios.iter().find(|scenario| scenario.decision != unselected);
        selected.map_or(unselected, |scenario| scenario.decision.clone())
    }

    /// Returns the kind of machine that it and its controls were judged on, if it is known.
    pub fn kind(&self) -> Option<MachineKind> {
        self.scenarios.first()?.machine_kind
    }

    /// Returns the verdict and the reason that one of its scenarios is shown with: its own, unless it holds and
    /// something other than a scenario keeps the claim from holding, such as a control.
    pub fn shown<'a>(&'a self, scenario: &'a ScenarioResult) -> (Verdict, &'a str) {
        let blamed = self.scenarios.iter().any(|other| other.verdict == self.verdict);
        match scenario.verdict {
            Verdict::Holds if !blamed => (self.verdict, &self.reason),
            own => (own, &scenario.reason),
        }
    }

    /// Returns all attempts at its own scenarios.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.scenarios.iter().flat_map(|scenario| &scenario.attempts)
    }

    /// Returns all attempts at its own scenarios and at its controls.
    pub fn all_attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts().chain(self.controls.iter().flat_map(|control| &control.attempts))
    }

    /// Returns the ids of all samples that its checks and its controls' checks refer to.
    pub fn sample_ids(&self) -> BTreeSet<u64> {
        let checks = self.all_attempts().flat_map(|attempt| &attempt.checks);
        checks.flat_map(|judged| judged.check.samples.iter().copied()).collect()
    }
}

/// The contents of `verdicts.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdicts {
    /// The format's version, `evidence::SCHEMA`.
    pub schema: u32,
    /// The run's name.
    pub run: String,
    /// The day of the run, on which declared deviations may have expired.
    pub on: Date,
    /// Whether the run ended normally; a killed run leaves `false`.
    pub complete: bool,
    /// The run's exit status: 0, 1 or 3.
    pub exit: u8,
    /// Problems besides the claims: declarations that have expired or are not used. Any of them fails the run.
    pub problems: Vec<String>,
    /// All claims, in the register's order.
    pub claims: Vec<ClaimResult>,
}

/// Lists the problems with declared deviations that the verdicts of the selected claims do not show.
pub fn problems(claims: &[ClaimResult], deviations: &Deviations, on: Date) -> Vec<String> {
    let selected = claims.iter().filter(|claim| claim.decision() != Decision::Skip(NOT_SELECTED.to_owned()));
    let problems = |claim: &ClaimResult| {
        declared::problems_of(deviations, claim.id, (claim.verdict, &claim.reason), &claim.deviations, on)
    };
    selected.flat_map(problems).collect()
}

/// Computes a run's exit status from its verdicts.
pub fn exit(claims: &[ClaimResult], problems: &[String]) -> u8 {
    let any = |verdict: Verdict| claims.iter().any(|claim| claim.verdict == verdict);
    match () {
        () if any(Verdict::Fails) || !problems.is_empty() => 1,
        () if any(Verdict::Inconclusive) => 3,
        () => 0,
    }
}
