//! Holds the state of one scenario: its samples, the checks it made, and their results.

use std::time::Instant;

use assay::base::unit::Unit;
use assay::claims::register::ClaimId;
use assay::measurement::Value;
use assay::verdict::claim_verdict::{Attempt, Step};
use assay::verdict::{Judged, Outcome, Rule, Verdict};
use cucumber::World;

use crate::fixtures::{Fixtures, SampleSet};

/// One scenario that is running.
#[derive(World)]
#[world(init = Self::new)]
pub struct ScenarioWorld {
    /// The fixtures that it uses.
    pub fixtures: Fixtures,
    /// When the scenario began.
    pub started: Instant,
    /// The claim, once the scenario has begun.
    pub claim: Option<ClaimId>,
    /// Whether it is a control, whose checks are expected to fail.
    pub control: bool,
    /// How the machine must be changed before the workload runs on it, if at all.
    pub condition: Option<crate::fixtures::Condition>,
    /// The samples that the current step is about.
    subject: SampleSet,
    /// The checks that were made, in order.
    pub checks: Vec<Judged>,
    /// For a control: why its check is expected to fail.
    pub because: Option<String>,
    /// Files of the run that the samples were read from.
    pub evidence: Vec<String>,
    /// The steps that have begun, in order.
    pub steps: Vec<Step>,
    /// The numbers in the transcript of the commands that produced its samples.
    commands: Vec<u64>,
}

impl std::fmt::Debug for ScenarioWorld {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Proof").field("claim", &self.claim).field("checks", &self.checks).finish_non_exhaustive()
    }
}

impl ScenarioWorld {
    async fn new() -> anyhow::Result<ScenarioWorld> {
        Ok(ScenarioWorld {
            fixtures: Fixtures::current()?,
            started: Instant::now(),
            claim: None,
            control: false,
            condition: None,
            subject: SampleSet::default(),
            checks: Vec::new(),
            because: None,
            evidence: Vec::new(),
            steps: Vec::new(),
            commands: Vec::new(),
        })
    }

    /// Makes this sample set the one that the following steps are about.
    pub fn about(&mut self, subject: SampleSet) {
        self.evidence
            .extend(subject.files.iter().filter(|new| !self.evidence.contains(new)).cloned().collect::<Vec<_>>());
        self.commands.extend(subject.commands.iter().filter(|new| !self.commands.contains(new)).collect::<Vec<_>>());
        self.subject = subject;
    }

    /// Returns the one value of a probe in the current sample set.
    pub fn value(&self, probe: &str) -> Option<&Value> {
        self.subject.samples.iter().find(|sample| sample.probe == probe).map(|sample| &sample.value)
    }

    /// Checks every sample of a probe in the current sample set against a rule.
    ///
    /// A sample that breaks the rule is not an error of the step: the scenario goes on, so that each of its checks is
    /// made and counts towards its verdict. A check that cannot be made is an error.
    pub fn check(&mut self, probe: &str, unit: Unit, rule: Rule) -> anyhow::Result<()> {
        let judged = self.subject.check(probe, unit, rule);
        let Outcome { verdict, reason, .. } = judged.outcome.clone();
        self.checks.push(judged);
        anyhow::ensure!(verdict != Verdict::Inconclusive, reason);
        Ok(())
    }

    /// Returns the result of the scenario as an attempt.
    pub fn attempt(&self, error: Option<String>) -> Attempt {
        let mut steps = self.steps.clone();
        let ended: usize = steps.iter().map(|step| step.checks).sum();
        if let Some(last) = steps.last_mut().filter(|last| last.seconds.is_none()) {
            // The checks that a step made before it failed belong to it too.
            last.checks = self.checks.len() - ended;
        }
        Attempt {
            because: self.because.clone(),
            evidence: self.evidence.clone(),
            seconds: self.started.elapsed().as_secs_f64(),
            steps,
            commands: self.commands.clone(),
            ..Attempt::new(self.checks.clone(), error)
        }
    }

    /// Checks that a probe equals a number.
    pub fn check_number(&mut self, probe: &str, unit: Unit, number: f64) -> anyhow::Result<()> {
        self.check(probe, unit, Rule::Equals { value: number.into() })
    }

    /// Checks that a probe equals a text.
    pub fn check_text(&mut self, probe: &str, text: &str) -> anyhow::Result<()> {
        self.check(probe, Unit::Text, Rule::Equals { value: text.into() })
    }
}
