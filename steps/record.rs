//! From finished scenarios to `verdicts.json`: each claim with its control, its deviation and its place in the plan.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::claim::{Claim, ClaimId, Register};
use crate::deviation::Deviations;
use crate::evidence::{ClaimRecord, Control, ControlVerdict, Evidence, SCHEMA, Verdicts};
use crate::facts::Accelerator;
use crate::plan::{Decision, Plan, Planned};
use crate::unit::Unit;
use crate::verdict::{Check, Outcome, Verdict, together};
use anyhow::Context as _;
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
        let claim = self.claim(claim, true);
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
        let claims: Vec<ClaimRecord> = self.register.iter().map(|claim| self.claim(claim, false)).collect();
        Verdicts { schema: SCHEMA, run: self.evidence.run().to_owned(), complete, exit: exit(&claims), claims }
    }

    fn ended(&self, planned: &Planned) -> Option<Ended> {
        let key = (planned.feature.clone(), planned.line);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Where a claim stands; `on_the_way`: its controls may still come.
    fn claim(&self, claim: &Claim, on_the_way: bool) -> ClaimRecord {
        let mine = |control: bool| {
            self.plan.scenarios.iter().filter(move |planned| planned.claim == claim.id && planned.control == control)
        };
        let planned = mine(false).next();
        let ended = planned.and_then(|planned| self.ended(planned));
        let control = self.control(mine(true));
        let pending = mine(true).any(|control| control.runs() && self.ended(control).is_none());
        let (verdict, reason) = match self.found(planned, ended.as_ref()) {
            (Verdict::Holds, reason) if pending && on_the_way => {
                (Verdict::Holds, format!("{reason}; its control is to come"))
            }
            (Verdict::Holds, reason) if pending => {
                (Verdict::Inconclusive, format!("{reason}, but the run ended before its control"))
            }
            found => self.shown(claim.id, found, &control),
        };
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

    /// What the claim's own scenario came to.
    fn found(&self, planned: Option<&Planned>, ended: Option<&Ended>) -> (Verdict, String) {
        let emulated = self.fact("accelerator").is_none_or(|accelerator| accelerator == Accelerator::Tcg.to_string());
        match (planned.map(|planned| &planned.decision), ended) {
            (None, _) => (Verdict::NotRun, "no scenario puts it to the proof".to_owned()),
            (Some(Decision::Skip(why)), _) => (Verdict::NotRun, why.clone()),
            (Some(_), None) => (Verdict::Inconclusive, "the run ended before it".to_owned()),
            (Some(Decision::Record(why)), Some(ended))
                if emulated && ended.outcome.verdict != Verdict::Inconclusive =>
            {
                (Verdict::NotRun, format!("{why}: {}", ended.outcome.reason))
            }
            (Some(_), Some(ended)) => (ended.outcome.verdict, ended.outcome.reason.clone()),
        }
    }

    /// What is said of it in the light of its controls and of what was declared.
    fn shown(&self, id: ClaimId, (verdict, reason): (Verdict, String), control: &Control) -> (Verdict, String) {
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
        let today = jiff::Zoned::now().date();
        let (shown, why) = self.deviations.apply(id, verdict, &reason, today, |name| self.fact(name));
        (shown, why.map(|why| format!("{reason}; {why}")).unwrap_or(reason))
    }

    fn fact(&self, name: &str) -> Option<String> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::FeatureFile;

    const CLAIMS: &str = "[[claim]]\nid = \"A6-4\"\nclaim = \"it ends with exit code 0\"\nbound = \"0\"\n\
        control = \"one that does not\"\n\
        [[claim]]\nid = \"A7-7\"\nclaim = \"it starts fast\"\nbound = \"2 s\"\nneeds = [\"native-cpu\"]\n";
    const FEATURE: &str = "Feature: f\n  @A6-4\n  Scenario: it ends well\n    Given x\n\
        \n  @A6-4 @control\n  Scenario: one that exits with 7\n    Given x\n    But the check says no because of \"x\"\n\
        \n  @A6-4 @control\n  Scenario: one that traps\n    Given x\n    But the check says no because of \"x\"\n\
        \n  @A7-7\n  Scenario: it starts\n    Given x\n";

    fn record(folder: &std::path::Path, deviations: &str) -> Record {
        let register = Register::parse(CLAIMS).unwrap();
        let files = [FeatureFile::parse("features/f.feature".to_owned(), FEATURE).unwrap()];
        let plan = Plan::make(&files, &register, &[], |_, _| true, None).unwrap();
        let evidence = Evidence::create(folder, None, "r", serde_json::json!({})).unwrap();
        Record::new(register, plan, Deviations::parse(deviations).unwrap(), Arc::new(evidence))
    }

    fn end(record: &Record, scenario: &str, verdict: Verdict, refusal_confirmed: bool) -> ClaimRecord {
        let planned = record.plan().scenarios.iter().find(|planned| planned.scenario == scenario).unwrap().clone();
        let outcome = Outcome { verdict, reason: format!("seen: {scenario}"), value: None };
        let (unit, checks, files, wall) = (None, Vec::new(), Vec::new(), Duration::ZERO);
        record.end(&planned, Ended { outcome, unit, checks, files, wall, refusal_confirmed }).unwrap()
    }

    fn stands(record: &Record, complete: bool) -> (Verdict, ControlVerdict, u8) {
        let verdicts = record.verdicts(complete);
        (verdicts.claims[0].verdict, verdicts.claims[0].control.verdict, verdicts.exit)
    }

    #[test]
    fn a_claim_holds_only_once_every_control_was_refused() {
        let folder = tempfile::tempdir().unwrap();
        let record = record(folder.path(), "");
        assert_eq!(stands(&record, false).0, Verdict::Inconclusive, "nothing was run");
        let first = end(&record, "it ends well", Verdict::Holds, false);
        assert_eq!(
            (first.verdict, first.reason.as_str()),
            (Verdict::Holds, "seen: it ends well; its control is to come")
        );
        end(&record, "one that traps", Verdict::Fails, true);
        assert_eq!(stands(&record, false).0, Verdict::Inconclusive, "a run that is killed now has not shown it");
        end(&record, "one that exits with 7", Verdict::Fails, true);
        assert_eq!(stands(&record, true).0, Verdict::Holds);
        assert_eq!(stands(&record, true).1, ControlVerdict::Discriminates);
    }

    #[test]
    fn a_control_that_passes_is_caught_out_and_only_a_declaration_for_just_that_excuses_it() {
        let declared = |because: &str| {
            format!(
                "[[deviation]]\nclaim = \"A6-4\"\nbecause = [\"{because}\"]\nreason = \"r\"\ndeclared_by = \"us\"\n\
                 expires = \"2999-01-01\"\n"
            )
        };
        for (deviations, verdict) in [
            (String::new(), Verdict::Fails),
            (declared("does not discriminate: one that exits with 7"), Verdict::KnownDeviation),
            (declared("unit.result is"), Verdict::Fails),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let record = record(folder.path(), &deviations);
            end(&record, "it ends well", Verdict::Holds, false);
            end(&record, "one that exits with 7", Verdict::Holds, false);
            end(&record, "one that traps", Verdict::Fails, true);
            let stands = stands(&record, true);
            assert_eq!((stands.0, stands.1), (verdict, ControlVerdict::DoesNotDiscriminate));
        }
    }

    #[test]
    fn a_refusal_for_another_reason_and_a_broken_control_leave_the_claim_open() {
        for (verdict, confirmed) in [(Verdict::Fails, false), (Verdict::Inconclusive, false)] {
            let folder = tempfile::tempdir().unwrap();
            let record = record(folder.path(), "");
            end(&record, "it ends well", Verdict::Holds, false);
            end(&record, "one that exits with 7", verdict, confirmed);
            end(&record, "one that traps", Verdict::Fails, true);
            assert_eq!(stands(&record, true), (Verdict::Inconclusive, ControlVerdict::None, 3));
        }
    }

    #[test]
    fn time_is_judged_where_the_cpu_is_native_and_only_recorded_where_it_is_emulated() {
        for (accelerator, verdict) in [("tcg", Verdict::NotRun), ("kvm", Verdict::Fails)] {
            let folder = tempfile::tempdir().unwrap();
            let record = record(folder.path(), "");
            record.learn(BTreeMap::from([("accelerator".to_owned(), accelerator.to_owned())]));
            end(&record, "it starts", Verdict::Fails, false);
            assert_eq!(record.verdicts(true).claims[1].verdict, verdict, "{accelerator}");
        }
    }

    #[test]
    fn an_error_is_never_a_failed_claim() {
        let holds = Outcome { verdict: Verdict::Holds, reason: "fine".into(), value: None };
        let outcome = outcome(&[holds], Some("connection lost".into()));
        assert_eq!((outcome.verdict, outcome.reason.as_str()), (Verdict::Inconclusive, "connection lost"));
    }
}
