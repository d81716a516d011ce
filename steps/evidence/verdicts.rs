//! Defines `verdicts.json`: each claim's verdict with everything it is based on.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::base::platform::MachineKind;
use crate::base::unit::Unit;
use crate::claims::deviation::{Deviation, Deviations};
use crate::claims::plan::{Decision, NotJudgedReason};
use crate::claims::register::{ClaimId, Requirement};
use crate::measurement::{Sample, Value};
use crate::verdict::claim_verdict::{Attempt, ControlResult, ControlVerdict, ScenarioResult, claim_verdict, worst};
use crate::verdict::declared::{Failure, Problem, problems_of};
use crate::verdict::{Reason, Verdict};

/// A claim in `verdicts.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimResult {
    pub id: ClaimId,
    pub claim: String,
    pub verdict: Verdict,
    pub reason: Reason,
    pub bound: String,
    /// What a machine must offer to judge it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Requirement>,
    pub published: Option<String>,
    pub typical: Option<String>,
    /// The value of the scenario that decided.
    pub value: Option<Value>,
    pub unit: Option<Unit>,
    /// How many samples the verdict is based on.
    pub samples: usize,
    /// Each of its own scenarios, also those that were not to run.
    pub scenarios: Vec<ScenarioResult>,
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
        self.scenarios = self.scenarios.into_iter().map(|scenario| scenario.judged(&self.deviations, on)).collect();
        let decided = worst(&self.scenarios);
        self.value = decided.and_then(|scenario| scenario.value.clone());
        self.unit = decided.and_then(|scenario| scenario.unit);
        self.samples = self.scenarios.iter().map(|scenario| scenario.samples).sum();
        (self.verdict, self.reason) = claim_verdict(&self.scenarios, &self.controls, &self.deviations, on);
        self
    }

    /// Returns the decision about its scenarios. They have the same needs, so the first that was selected stands for all.
    pub fn decision(&self) -> Decision {
        let unselected = Decision::Skip(NotJudgedReason::NotSelected);
        let selected = self.scenarios.iter().find(|scenario| scenario.decision != unselected);
        selected.map_or(unselected, |scenario| scenario.decision.clone())
    }

    /// Returns the kind of machine that it and its controls were judged on, if it is known.
    pub fn kind(&self) -> Option<MachineKind> {
        self.scenarios.iter().find_map(|scenario| scenario.machine_kind)
    }

    pub fn selected(&self) -> bool {
        self.reason != Reason::NotJudged(NotJudgedReason::NotSelected)
    }

    /// Returns everything that failed in its own scenarios, and its controls that were not caught.
    fn failures(&self) -> Vec<Failure<'_>> {
        let passed = self.controls.iter().filter(|control| control.verdict == ControlVerdict::NotCaught);
        let passed = passed.map(|control| Failure::Control(&control.at.name));
        self.scenarios.iter().flat_map(ScenarioResult::failures).chain(passed).collect()
    }

    /// Returns the verdict and the reason that one of its scenarios is shown with: its own, unless it holds and
    /// something other than a scenario keeps the claim from holding, such as a control.
    pub fn shown<'a>(&'a self, scenario: &'a ScenarioResult) -> (Verdict, &'a Reason) {
        let blamed = self.scenarios.iter().any(|other| other.verdict == self.verdict);
        match scenario.verdict {
            Verdict::Holds if !blamed => (self.verdict, &self.reason),
            own => (own, &scenario.reason),
        }
    }

    /// Returns its declarations, of several with the same reason the first.
    pub fn declarations(&self) -> impl Iterator<Item = &Deviation> {
        self.deviations.chunk_by(|a, b| a.reason == b.reason).filter_map(<[_]>::first)
    }

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
    pub problems: Vec<Problem>,
    /// All claims, in the register's order.
    pub claims: Vec<ClaimResult>,
}

/// Lists the problems with declared deviations that the verdicts of the selected claims do not show.
pub fn problems(claims: &[ClaimResult], deviations: &Deviations, on: Date) -> Vec<Problem> {
    let problems = |claim: &ClaimResult| {
        problems_of(deviations, claim.id, (claim.verdict, &claim.failures()), &claim.deviations, on)
    };
    claims.iter().filter(|claim| claim.selected()).flat_map(problems).collect()
}

/// Computes a run's exit status from its verdicts.
pub fn exit(claims: &[ClaimResult], problems: &[Problem]) -> u8 {
    let any = |verdict: Verdict| claims.iter().any(|claim| claim.verdict == verdict);
    match () {
        () if any(Verdict::Fails) || !problems.is_empty() => 1,
        () if any(Verdict::Inconclusive) => 3,
        () => 0,
    }
}
