//! What one scenario knows: the subject it is about, the checks it made, and what they came to.

use std::sync::Arc;
use std::time::Instant;

use assay::claim::ClaimId;
use assay::probe::Value;
use assay::unit::Unit;
use assay::verdict::{Check, Outcome, Rule, Verdict};
use cucumber::World;

use crate::lab::{Lab, Subject};

/// One scenario under way.
#[derive(World)]
#[world(init = Self::new)]
pub struct Proof {
    /// Where nouns come from.
    pub lab: Arc<Lab>,
    /// When the scenario began.
    pub started: Instant,
    /// The claim, once the scenario has begun.
    pub claim: Option<ClaimId>,
    /// Whether it is a control: its checks are expected to say no.
    pub control: bool,
    /// Where the current subject's machine must be changed before the workload runs.
    pub condition: Option<crate::lab::Condition>,
    /// What the current step is about.
    subject: Subject,
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// What they came to, in the same order.
    pub outcomes: Vec<Outcome>,
    /// Whether a control has confirmed the reason of the refusal.
    pub refusal_confirmed: bool,
    /// Files of the run that the subject was read from.
    pub evidence: Vec<String>,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Proof").field("claim", &self.claim).field("outcomes", &self.outcomes).finish_non_exhaustive()
    }
}

impl Proof {
    async fn new() -> anyhow::Result<Proof> {
        Ok(Proof {
            lab: Lab::current()?,
            started: Instant::now(),
            claim: None,
            control: false,
            condition: None,
            subject: Subject::default(),
            checks: Vec::new(),
            outcomes: Vec::new(),
            refusal_confirmed: false,
            evidence: Vec::new(),
        })
    }

    /// From here on the scenario is about this subject.
    pub fn about(&mut self, subject: Subject) {
        self.evidence
            .extend(subject.files.iter().filter(|new| !self.evidence.contains(new)).cloned().collect::<Vec<_>>());
        self.subject = subject;
    }

    /// The one value of a probe of the current subject.
    pub fn value(&self, probe: &str) -> Option<&Value> {
        self.subject.samples.iter().find(|sample| sample.probe == probe).map(|sample| &sample.value)
    }

    /// Checks every sample of a probe of the current subject against a rule.
    ///
    /// A sample that breaks the rule is no error of the step: the scenario goes on, so that every one of its checks is
    /// made, and its verdict comes of all of them. A check that cannot be made is.
    pub fn check(&mut self, probe: &str, unit: Unit, rule: Rule) -> anyhow::Result<()> {
        let mine = self.subject.samples.iter().filter(|sample| sample.probe == probe);
        let samples = mine.map(|sample| sample.id).collect();
        let check = Check { probe: probe.to_owned(), unit, rule, samples };
        let outcome = check.judge(&self.subject.samples);
        self.checks.push(check);
        self.outcomes.push(outcome.clone());
        anyhow::ensure!(outcome.verdict != Verdict::Inconclusive, outcome.reason);
        Ok(())
    }

    /// The unit of the value that the scenario's outcome shows: that of the check that decided.
    pub fn headline_unit(&self) -> Option<Unit> {
        let decided = self.outcomes.iter().position(|outcome| outcome.verdict != Verdict::Holds).unwrap_or(0);
        self.checks.get(decided).map(|check| check.unit)
    }

    /// Checks a number.
    pub fn check_number(&mut self, probe: &str, unit: Unit, number: f64) -> anyhow::Result<()> {
        self.check(probe, unit, Rule::Equals { value: number.into() })
    }

    /// Checks a text.
    pub fn check_text(&mut self, probe: &str, text: &str) -> anyhow::Result<()> {
        self.check(probe, Unit::Text, Rule::Equals { value: text.into() })
    }
}
