//! `verdicts.json`: what is said of each claim, with all that it rests on.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::base::unit::Unit;
use crate::claims::deviation::Deviation;
use crate::claims::plan::Decision;
use crate::claims::register::ClaimId;
use crate::measurement::{Sample, Value};
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{Attempt, ClaimInput, ControlRecord, ControlVerdict, settle};

/// A claim's controls together, for whoever wants one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// The worst of them: one wrong subject that passes is enough to say so.
    pub verdict: ControlVerdict,
    /// The scenario that decides; `None` where the claim has no control.
    pub scenario: Option<String>,
    /// What was seen, of each.
    pub reason: Option<String>,
}

impl Control {
    /// The answer of all of them.
    pub fn of(controls: &[ControlRecord]) -> Control {
        let rank = |control: &&ControlRecord| match control.verdict {
            ControlVerdict::DoesNotDiscriminate => 0,
            ControlVerdict::None => 1,
            ControlVerdict::Discriminates => 2,
        };
        let Some(worst) = controls.iter().min_by_key(rank) else {
            return Control { verdict: ControlVerdict::None, scenario: None, reason: None };
        };
        let said = controls.iter().map(|control| format!("{}: {}", control.scenario, control.reason));
        let reason = said.collect::<Vec<_>>().join("; ");
        Control { verdict: worst.verdict, scenario: Some(worst.scenario.clone()), reason: Some(reason) }
    }
}

/// One claim in `verdicts.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// The claim.
    pub id: ClaimId,
    /// What is claimed.
    pub claim: String,
    /// The scenario that puts it to the proof.
    pub scenario: String,
    /// Its file, relative to the project.
    pub feature: String,
    /// Its line in that file.
    pub line: usize,
    /// What was decided about it before the run.
    pub decision: Decision,
    /// What is said of the claim.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// What it is judged by.
    pub bound: String,
    /// What the annex reports.
    pub published: Option<String>,
    /// What the annex compares that with.
    pub typical: Option<String>,
    /// The sample nearest to the bound, or the one that broke it; the median of what is only reported.
    pub value: Option<Value>,
    /// Its unit.
    pub unit: Option<Unit>,
    /// How many samples the verdict rests on.
    pub samples: usize,
    /// The claim's controls together.
    pub control: Control,
    /// Each of its controls that was to be run.
    pub controls: Vec<ControlRecord>,
    /// Every attempt at its scenario, with the checks that were made, to be made again by anyone.
    pub attempts: Vec<Attempt>,
    /// What was declared about it on this platform.
    pub deviations: Vec<Deviation>,
    /// Where the evidence lies, relative to the folder of the run.
    pub evidence: Vec<String>,
    /// How long its scenario took, in seconds.
    pub seconds: f64,
}

impl ClaimRecord {
    /// The same claim, every check of it and of its controls made again on these samples and nothing else.
    pub fn again(&self, samples: &[Sample], on: Date) -> ClaimRecord {
        let attempts: Vec<Attempt> = self.attempts.iter().map(|attempt| attempt.again(samples)).collect();
        let again = |control: &ControlRecord| {
            let attempts = control.attempts.iter().map(|attempt| attempt.again(samples)).collect();
            ControlRecord::weigh(&control.scenario, &control.feature, control.line, attempts)
        };
        let controls = self.controls.iter().map(again).collect();
        ClaimRecord { attempts, controls, ..self.clone() }.concluded(on)
    }

    /// The same claim, with the conclusion that its attempts, controls and declarations come to.
    pub fn concluded(mut self, on: Date) -> ClaimRecord {
        let case = ClaimInput {
            decision: &self.decision,
            attempts: &self.attempts,
            controls: &self.controls,
            deviations: &self.deviations,
            on,
        };
        (self.verdict, self.reason) = case.conclude();
        self.value = settle(&self.attempts).value;
        self.control = Control::of(&self.controls);
        self
    }

    /// The numbers of all samples that its checks and those of its controls refer to.
    pub fn sample_ids(&self) -> BTreeSet<u64> {
        let attempts = self.attempts.iter().chain(self.controls.iter().flat_map(|control| &control.attempts));
        attempts.flat_map(|attempt| &attempt.checks).flat_map(|judged| judged.check.samples.iter().copied()).collect()
    }
}

/// `verdicts.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdicts {
    /// [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// The run.
    pub run: String,
    /// The day of the run, by which declarations of deviations may have expired.
    pub on: Date,
    /// Whether the run came to its end; a run that was killed leaves `false`.
    pub complete: bool,
    /// The exit status that the run ends with: 0, 1 or 3.
    pub exit: u8,
    /// What is wrong beyond the claims: declarations that have expired or are not used. Any of these fails the run.
    pub problems: Vec<String>,
    /// All claims, in their order.
    pub claims: Vec<ClaimRecord>,
}
