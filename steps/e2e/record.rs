//! From finished scenarios to `verdicts.json`: each claim with its control, its deviation and its place in the plan.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use assay::claim::{Claim, ClaimId, Register};
use assay::deviation::Deviations;
use assay::evidence::{ClaimRecord, Control, ControlVerdict, Evidence, SCHEMA, Verdicts};
use assay::plan::{Decision, Plan, Planned};
use assay::unit::Unit;
use assay::verdict::{Check, Outcome, Verdict, together};
use tokio::sync::Notify;

/// How a scenario ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What it came to; for a control, what its check came to.
    pub outcome: Outcome,
    /// The unit of the outcome's value.
    pub unit: Option<Unit>,
    /// The checks that were made.
    pub checks: Vec<Check>,
    /// The files of the run that were read.
    pub files: Vec<String>,
    /// How long it took.
    pub wall: Duration,
    /// For a control: whether the check said no for the reason the scenario names.
    pub refusal_confirmed: bool,
}

/// All that is known of the run so far.
pub struct Record {
    register: Register,
    plan: Plan,
    deviations: Deviations,
    evidence: Arc<Evidence>,
    ended: Mutex<HashMap<(String, usize), Ended>>,
    facts: Mutex<BTreeMap<String, String>>,
    failure: Notify,
}

impl Record {
    /// Begins with nothing run.
    pub fn new(register: Register, plan: Plan, deviations: Deviations, evidence: Arc<Evidence>) -> Record {
        Record {
            register,
            plan,
            deviations,
            evidence,
            ended: Mutex::default(),
            facts: Mutex::default(),
            failure: Notify::new(),
        }
    }

    /// The plan the run follows.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Facts of the machine, by the names that declarations of deviations use.
    pub fn learn(&self, facts: BTreeMap<String, String>) {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).extend(facts);
    }

    /// A scenario has ended: what is known now is written at once.
    pub fn end(&self, planned: &Planned, ended: Ended) -> anyhow::Result<ClaimRecord> {
        let key = (planned.feature.clone(), planned.line);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(key, ended);
        self.evidence.write_verdicts(&self.verdicts(false))?;
        let claim = self.register.get(planned.claim).context("a claim left the register")?;
        let claim = self.claim(claim);
        if claim.verdict == Verdict::Fails {
            self.failure.notify_one();
        }
        Ok(claim)
    }

    /// Comes when the first claim has failed.
    pub async fn first_failure(&self) {
        self.failure.notified().await;
    }

    /// Where every claim stands.
    pub fn verdicts(&self, complete: bool) -> Verdicts {
        let claims: Vec<ClaimRecord> = self.register.iter().map(|claim| self.claim(claim)).collect();
        Verdicts { schema: SCHEMA, run: self.evidence.run().to_owned(), complete, exit: exit(&claims), claims }
    }

    fn ended(&self, planned: &Planned) -> Option<Ended> {
        let key = (planned.feature.clone(), planned.line);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    fn claim(&self, claim: &Claim) -> ClaimRecord {
        let mine = |control: bool| {
            self.plan.scenarios.iter().filter(move |planned| planned.claim == claim.id && planned.control == control)
        };
        let planned = mine(false).next();
        let ended = planned.and_then(|planned| self.ended(planned));
        let control = self.control(mine(true));
        let (verdict, reason) = self.verdict(claim.id, planned, ended.as_ref(), &control);
        ClaimRecord {
            id: claim.id,
            claim: claim.claim.clone(),
            scenario: planned.map(|planned| planned.scenario.clone()).unwrap_or_default(),
            feature: planned.map(|planned| planned.feature.clone()).unwrap_or_default(),
            line: planned.map(|planned| planned.line).unwrap_or_default(),
            verdict,
            reason,
            bound: claim.bound.clone(),
            published: claim.published.clone(),
            value: ended.as_ref().and_then(|ended| ended.outcome.value.clone()),
            unit: ended.as_ref().and_then(|ended| ended.unit),
            samples: ended.as_ref().map_or(0, |ended| ended.checks.iter().map(|check| check.samples.len()).sum()),
            control,
            seconds: ended.as_ref().map_or(0.0, |ended| ended.wall.as_secs_f64()),
            checks: ended.as_ref().map(|ended| ended.checks.clone()).unwrap_or_default(),
            evidence: ended.map(|ended| ended.files).unwrap_or_default(),
        }
    }

    fn verdict(
        &self,
        id: ClaimId,
        planned: Option<&Planned>,
        ended: Option<&Ended>,
        control: &Control,
    ) -> (Verdict, String) {
        let decision = planned.map(|planned| &planned.decision);
        let (verdict, reason) = match (decision, ended) {
            (None, _) => (Verdict::NotRun, "no scenario puts it to the proof".to_owned()),
            (Some(Decision::Skip(why)), _) => (Verdict::NotRun, why.clone()),
            (Some(_), None) => (Verdict::Inconclusive, "the run ended before it".to_owned()),
            (Some(Decision::Record(why)), Some(ended)) if ended.outcome.verdict != Verdict::Inconclusive => {
                (Verdict::NotRun, format!("{why}: {}", ended.outcome.reason))
            }
            (Some(_), Some(ended)) => (ended.outcome.verdict, ended.outcome.reason.clone()),
        };
        let why = || control.reason.clone().unwrap_or_default();
        let (verdict, reason) = match (verdict, control.verdict) {
            (Verdict::Holds, ControlVerdict::DoesNotDiscriminate) => {
                (Verdict::Fails, format!("{reason}, but the check does not discriminate: {}", why()))
            }
            (Verdict::Holds, ControlVerdict::None) if control.scenario.is_some() => {
                (Verdict::Inconclusive, format!("{reason}, but its control could not be judged: {}", why()))
            }
            (verdict, _) => (verdict, reason),
        };
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let today = jiff::Zoned::now().date();
        let (shown, why) = self.deviations.apply(id, verdict, &reason, today, |name| facts.get(name).cloned());
        (shown, why.map(|why| format!("{reason}; {why}")).unwrap_or(reason))
    }

    /// All controls of a claim together: one wrong subject that passes is enough to say so.
    fn control<'a>(&self, controls: impl Iterator<Item = &'a Planned>) -> Control {
        let mut all = Control { verdict: ControlVerdict::None, scenario: None, reason: None };
        let mut worst = None;
        for planned in controls {
            let Some(ended) = self.ended(planned) else { continue };
            let (rank, verdict, reason) = match (&ended.outcome.verdict, ended.refusal_confirmed) {
                (Verdict::Fails, true) => (0, ControlVerdict::Discriminates, ended.outcome.reason.clone()),
                (Verdict::Holds, _) => {
                    (2, ControlVerdict::DoesNotDiscriminate, format!("passes: {}", ended.outcome.reason))
                }
                _ => (1, ControlVerdict::None, format!("inconclusive: {}", ended.outcome.reason)),
            };
            let said = format!("{}: {reason}", planned.scenario);
            all.reason = Some(all.reason.map_or(said.clone(), |before| format!("{before}; {said}")));
            if worst.is_none_or(|worst| rank > worst) {
                worst = Some(rank);
                all.verdict = verdict;
                all.scenario = Some(planned.scenario.clone());
            }
        }
        all
    }
}

/// What a scenario came to, from its checks and from the error that ended it, if one did.
pub fn outcome(outcomes: &[Outcome], error: Option<String>) -> Outcome {
    let judged = together(outcomes);
    match error {
        Some(error) if judged.verdict != Verdict::Fails => {
            Outcome { verdict: Verdict::Inconclusive, reason: error, value: None }
        }
        _ => judged,
    }
}

/// The exit status that the verdicts amount to.
fn exit(claims: &[ClaimRecord]) -> u8 {
    let any = |verdict: Verdict| claims.iter().any(|claim| claim.verdict == verdict);
    match () {
        () if any(Verdict::Fails) => 1,
        () if any(Verdict::Inconclusive) => 3,
        () => 0,
    }
}
