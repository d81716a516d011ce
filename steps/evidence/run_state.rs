//! Collects finished scenarios and writes `verdicts.json`: each claim with its controls, its deviations and its
//! decision.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use jiff::civil::Date;
use tokio::sync::Notify;

use crate::base::lock::lock;
use crate::base::platform::MachineKind;
use crate::claims::deviation::Deviations;
use crate::claims::plan::{Decision, NotJudgedReason, Plan, Planned, ScenarioRef, lacks};
use crate::claims::register::{Claim, Register};
use crate::evidence::verdicts::problems;
use crate::evidence::{ClaimResult, EvidenceWriter, SCHEMA, Verdicts, exit};
use crate::verdict::claim_verdict::{Attempt, ControlResult, ScenarioResult};
use crate::verdict::{Reason, Verdict};

/// A claim's state during the run.
pub struct Standing {
    pub claim: ClaimResult,
    /// Whether it fails but may still turn out to be a known deviation.
    pub open: bool,
    pub to_come: ToCome,
}

/// What is still to come for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToCome {
    Nothing,
    Scenarios,
    Controls,
}

/// How far a run is.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many scenarios have ended, and how many run.
    pub ended: usize,
    pub of: usize,
    /// The verdicts of claims that are final.
    pub verdicts: Vec<Verdict>,
}

/// The state of a run: the plan, and the results so far.
pub struct RunState {
    pub register: Register,
    plan: Plan,
    deviations: Deviations,
    evidence: Arc<EvidenceWriter>,
    on: Date,
    ended: Mutex<HashMap<ScenarioRef, Vec<Attempt>>>,
    facts: Mutex<BTreeMap<MachineKind, BTreeMap<String, String>>>,
    failure: Notify,
    tally: Mutex<Tally>,
}

impl RunState {
    pub fn new(register: Register, plan: Plan, deviations: Deviations, evidence: Arc<EvidenceWriter>) -> RunState {
        let of = plan.scenarios.iter().filter(|planned| planned.runs()).count();
        RunState {
            tally: Mutex::new(Tally { of, ..Tally::default() }),
            register,
            plan,
            deviations,
            evidence,
            on: jiff::Zoned::now().date(),
            ended: Mutex::default(),
            facts: Mutex::default(),
            failure: Notify::new(),
        }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Adds facts of the machines of a kind, by the names that declarations of deviations use.
    pub fn learn(&self, kind: MachineKind, facts: BTreeMap<String, String>) {
        lock(&self.facts).entry(kind).or_default().extend(facts);
    }

    /// Records a finished attempt at a scenario and writes `verdicts.json`. Returns the claim's state, which ignores
    /// scenarios and controls that have not run yet.
    pub fn end(&self, planned: &Planned, attempt: Attempt) -> anyhow::Result<Standing> {
        lock(&self.ended).entry(planned.at.clone()).or_default().push(attempt);
        let verdicts = self.verdicts(false);
        self.evidence.write_verdicts(&verdicts)?;
        self.count(&verdicts);
        let claim = self.register.get(planned.claim).context("a claim left the register")?;
        let standing = self.standing(claim);
        if standing.claim.verdict == Verdict::Fails && !standing.open {
            self.failure.notify_one();
        }
        Ok(standing)
    }

    /// Returns how far the run is.
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    fn count(&self, verdicts: &Verdicts) {
        let over = |claim: &&ClaimResult| claim.attempts().next().is_some() && to_come(claim) == ToCome::Nothing;
        let verdicts = verdicts.claims.iter().filter(over).map(|claim| claim.verdict).collect();
        let ended = lock(&self.ended).len();
        let mut tally = lock(&self.tally);
        *tally = Tally { ended, verdicts, of: tally.of };
    }

    /// Waits until the first claim has failed.
    pub async fn first_failure(&self) {
        self.failure.notified().await;
    }

    /// Returns whether another attempt at a scenario may change its claim's verdict.
    pub fn wants_another(&self, planned: &Planned) -> bool {
        let claim = self.register.get(planned.claim).map(|claim| self.claim(claim));
        let open = claim.is_some_and(|claim| matches!(claim.verdict, Verdict::Fails | Verdict::Inconclusive));
        let attempts = self.attempts(planned);
        open && match planned.control {
            true => !ControlResult::judge(&planned.at, Some(planned.on), attempts).caught(),
            false => attempts.iter().all(|attempt| attempt.outcome.verdict != Verdict::Holds),
        }
    }

    pub fn verdicts(&self, complete: bool) -> Verdicts {
        let claims: Vec<ClaimResult> = self.register.iter().map(|claim| self.claim(claim)).collect();
        let problems = problems(&claims, &self.deviations, self.on);
        let exit = exit(&claims, &problems);
        Verdicts { schema: SCHEMA, run: self.evidence.run().to_owned(), on: self.on, complete, exit, problems, claims }
    }

    pub fn tried(&self, planned: &Planned) -> bool {
        !self.attempts(planned).is_empty()
    }

    /// Returns the scenarios that were planned to run and have not run. At the end of a run, there are none unless the
    /// framework lost them.
    pub fn not_run(&self) -> Vec<&Planned> {
        self.plan.scenarios.iter().filter(|planned| planned.runs() && !self.tried(planned)).collect()
    }

    fn attempts(&self, planned: &Planned) -> Vec<Attempt> {
        lock(&self.ended).get(&planned.at).cloned().unwrap_or_default()
    }

    /// Computes a claim's state during the run, without the scenarios and controls that have not run yet.
    fn standing(&self, claim: &Claim) -> Standing {
        let mut so_far = self.gathered(claim);
        let to_come = to_come(&so_far);
        if to_come == ToCome::Nothing {
            return Standing { claim: so_far.concluded(self.on), open: false, to_come };
        }
        so_far.scenarios.retain(|scenario| !scenario.runs() || !scenario.attempts.is_empty());
        so_far.controls.retain(|control| !control.attempts.is_empty());
        // A declaration may be about what has not run yet.
        let declared = std::mem::take(&mut so_far.deviations);
        let claim = so_far.concluded(self.on);
        let open = claim.verdict == Verdict::Fails && declared.iter().any(|deviation| self.on <= deviation.expires);
        Standing { claim, open, to_come }
    }

    /// Computes a claim's verdict as if nothing more were to run.
    fn claim(&self, claim: &Claim) -> ClaimResult {
        self.gathered(claim).concluded(self.on)
    }

    /// Collects everything known about a claim, before its verdict is computed.
    fn gathered(&self, claim: &Claim) -> ClaimResult {
        let mine = |control: bool| {
            self.plan.scenarios.iter().filter(move |planned| planned.claim == claim.id && planned.control == control)
        };
        let on = mine(false).find(|own| own.runs()).map_or(MachineKind::Host, |own| own.on);
        let facts = self.facts(on);
        let deviations = self.deviations.applying(claim.id, |name| facts.get(name).cloned());
        let record = |own: &Planned| ScenarioResult {
            machine_kind: Some(own.on).filter(|_| own.runs()),
            platform: facts.get("platform").filter(|_| own.runs()).cloned(),
            ..ScenarioResult::new(&own.at, decision(own, claim, &facts), self.attempts(own))
        };
        let scenarios: Vec<ScenarioResult> = mine(false).map(record).collect();
        // A claim needs its control to hold, even if the control was not selected.
        let unselected = Decision::Skip(NotJudgedReason::NotSelected);
        let runs = scenarios.iter().any(ScenarioResult::runs);
        let controls: Vec<ControlResult> = mine(true)
            .filter(|control| control.runs() || (runs && control.decision == unselected))
            .map(|control| ControlResult::judge(&control.at, Some(control.on), self.attempts(control)))
            .collect();
        ClaimResult {
            id: claim.id,
            claim: claim.claim.clone(),
            bound: claim.bound.clone(),
            needs: claim.needs.clone(),
            published: claim.published.clone(),
            typical: claim.typical.clone(),
            // `concluded` computes these from the others.
            verdict: Verdict::Inconclusive,
            reason: Reason::NothingChecked,
            value: None,
            unit: None,
            samples: 0,
            scenarios,
            controls,
            deviations,
        }
    }

    /// Returns what is known of the machines of a kind. What runs on no machine goes by the device, whichever kind that is.
    fn facts(&self, kind: MachineKind) -> BTreeMap<String, String> {
        let all = lock(&self.facts);
        let any = || all.values().next_back().filter(|_| kind == MachineKind::Host);
        all.get(&kind).or_else(any).cloned().unwrap_or_default()
    }
}

/// Returns the plan's decision, updated for the machine: a claim is judged if the machine has all that it needs, and only
/// recorded if the machine turns out to lack something. No machine turns a stand-in into AWS.
fn decision(planned: &Planned, claim: &Claim, facts: &BTreeMap<String, String>) -> Decision {
    let lacking = claim.needs.iter().find(|need| lacks(**need, planned.on, facts) == Some(true));
    match (&planned.decision, lacking) {
        (Decision::Run | Decision::MeasureOnly(NotJudgedReason::Needs { .. }), Some(what)) => {
            Decision::MeasureOnly(NotJudgedReason::Needs { what: *what })
        }
        (Decision::MeasureOnly(NotJudgedReason::Needs { what }), None) if lacks(*what, planned.on, facts).is_some() => {
            Decision::Run
        }
        (decision, _) => decision.clone(),
    }
}

/// Returns which scenarios of a claim have not run yet.
fn to_come(claim: &ClaimResult) -> ToCome {
    let own = claim.scenarios.iter().any(|scenario| scenario.runs() && scenario.attempts.is_empty());
    match (own, claim.controls.iter().any(|control| control.attempts.is_empty())) {
        (true, _) => ToCome::Scenarios,
        (false, true) => ToCome::Controls,
        (false, false) => ToCome::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::base::host_offers::HostOffers;
    use crate::base::platform::TargetSpec;
    use crate::base::settings::FakeAws;
    use crate::base::unit::Unit;
    use crate::claims::plan::{Capabilities, FeatureFile};
    use crate::verdict::claim_verdict::ControlVerdict;
    use crate::verdict::{Check, Judged, Outcome, Rule};

    const CLAIMS: &str = "[[claim]]\nid = \"A6-4\"\nclaim = \"it ends with exit code 0\"\nbound = \"0\"\n\
        control = \"one that does not\"\n\
        [[claim]]\nid = \"A7-7\"\nclaim = \"it starts fast\"\nbound = \"2 s\"\nneeds = [\"native-cpu\"]\n";
    const FEATURE: &str = "Feature: f\n  @A6-4\n  Scenario: it ends well\n    Given x\n\
        \n  @A6-4 @control\n  Scenario: one that exits with 7\n    Given x\n    But this check fails on \"x\"\n\
        \n  @A6-4 @control\n  Scenario: one that traps\n    Given x\n    But this check fails on \"x\"\n\
        \n  @A7-7\n  Scenario: it starts\n    Given x\n";

    const OWN: &str = "it ends well";
    const SEVEN: &str = "one that exits with 7";
    const TRAP: &str = "one that traps";

    fn record(deviations: &str) -> (TempDir, RunState) {
        planned((CLAIMS, FEATURE, deviations), &Capabilities::default(), &[])
    }

    /// Plans all scenarios of a feature but those with these names.
    fn planned(
        (claims, feature, deviations): (&str, &str, &str),
        met: &Capabilities,
        unselected: &[&str],
    ) -> (TempDir, RunState) {
        let register = Register::parse(claims).unwrap();
        let files = [FeatureFile::parse("features/f.feature".to_owned(), feature).unwrap()];
        let wanted = |scenario: &gherkin::Scenario| !unselected.contains(&scenario.name.as_str());
        let plan = Plan::make(&files, &register, met, wanted, None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let evidence = EvidenceWriter::create(folder.path(), None, "r").unwrap();
        (folder, RunState::new(register, plan, Deviations::parse(deviations).unwrap(), Arc::new(evidence)))
    }

    /// Declares that this fails: a probe, or else a control.
    fn declared(fails: &str, expires: &str) -> String {
        let fails = match fails.contains(' ') {
            true => format!("control = \"{fails}\""),
            false => format!("probe = \"{fails}\"\nrelation = \"reported\""),
        };
        format!(
            "[[deviation]]\nclaim = \"A6-4\"\n{fails}\nreason = \"r\"\ndeclared_by = \"us\"\n\
             expires = \"{expires}\"\n"
        )
    }

    /// The reason of a check of a scenario in these tests.
    fn seen(scenario: &str) -> Reason {
        Reason::Infrastructure { during: crate::verdict::Phase::Log, message: format!("seen: {scenario}") }
    }

    /// Ends an attempt with this verdict. If `confirmed`, the control expects that its probe fails.
    fn end(record: &RunState, scenario: &str, verdict: Verdict, confirmed: bool) -> Standing {
        let planned = record.plan().scenarios.iter().find(|planned| planned.at.name == scenario).unwrap().clone();
        let outcome = Outcome { verdict, reason: seen(scenario), value: None };
        let check = Check {
            probe: format!("x.{}", scenario.replace(' ', "-")),
            unit: Unit::Count,
            rule: Rule::Recorded,
            sources: Vec::new(),
            samples: Vec::new(),
        };
        let fails_on = Some(if confirmed { check.probe.clone() } else { "another".to_owned() });
        let checks = vec![Judged { check, outcome, statistics: None }];
        record.end(&planned, Attempt { fails_on, ..Attempt::new(checks, None) }).unwrap()
    }

    /// Returns the verdict of the first claim, that of its first control, and the exit status.
    fn stands(record: &RunState, complete: bool) -> (Verdict, ControlVerdict, u8) {
        let verdicts = record.verdicts(complete);
        (verdicts.claims[0].verdict, verdicts.claims[0].controls[0].verdict, verdicts.exit)
    }

    #[test]
    fn a_claim_holds_only_once_every_control_was_refused() {
        let (_folder, record) = record("");
        assert_eq!(stands(&record, false).0, Verdict::Inconclusive, "nothing was run");
        let first = end(&record, OWN, Verdict::Holds, false);
        assert_eq!(
            (first.claim.verdict, first.claim.reason, first.to_come),
            (Verdict::Holds, seen(OWN), ToCome::Controls)
        );
        end(&record, TRAP, Verdict::Fails, true);
        assert_eq!(stands(&record, false).0, Verdict::Inconclusive, "a run that is killed now has not shown it");
        assert_eq!((record.tally().ended, record.tally().verdicts), (2, vec![]), "a control is to come");
        end(&record, SEVEN, Verdict::Fails, true);
        assert_eq!((record.tally().ended, record.tally().verdicts), (3, vec![Verdict::Holds]));
        assert_eq!(stands(&record, true).0, Verdict::Holds);
        assert_eq!(stands(&record, true).1, ControlVerdict::Caught);
    }

    #[test]
    fn all_attempts_the_controls_and_the_declarations_decide_a_claim() {
        use ControlVerdict::{Caught, NotCaught};
        use Verdict::{Fails, Holds, Inconclusive, KnownDeviation};
        let elsewhere = format!("{}when = {{ podman = \"<5\" }}\n", declared("x", "2020-01-01"));
        let excused = declared(SEVEN, "2999-01-01");
        let another = declared("unit.result", "2999-01-01");
        let (holds, caught, passes) = ((OWN, Holds, false), (SEVEN, Fails, true), (SEVEN, Holds, false));
        let open = (Inconclusive, ControlVerdict::Inconclusive, 3);
        for (deviations, ended, expected, reason) in [
            ("", vec![holds, passes], (Fails, NotCaught, 1), "control-not-caught"),
            (&excused, vec![holds, passes], (KnownDeviation, NotCaught, 3), "declared"),
            (&another, vec![holds, passes], (Fails, NotCaught, 1), "control-not-caught"),
            // A declaration that has expired fails the run, even one for another platform.
            (&elsewhere, vec![holds, caught], (Holds, Caught, 1), "infrastructure"),
            ("", vec![holds, (SEVEN, Fails, false)], open, "control-inconclusive"),
            ("", vec![holds, (SEVEN, Inconclusive, false)], open, "control-inconclusive"),
            ("", vec![holds, passes, caught], open, "control-inconclusive"),
            ("", vec![caught, (OWN, Fails, false), holds], (Inconclusive, Caught, 3), "flaky"),
            // What has failed once has failed.
            (
                "",
                vec![passes, (OWN, Fails, false), (OWN, Inconclusive, false)],
                (Fails, NotCaught, 1),
                "infrastructure",
            ),
        ] {
            let (_folder, record) = record(deviations);
            for (scenario, verdict, confirmed) in ended {
                end(&record, scenario, verdict, confirmed);
            }
            end(&record, TRAP, Fails, true);
            let claim = record.verdicts(true).claims.remove(0);
            assert_eq!(stands(&record, true), expected, "{:?}", claim.reason);
            assert_eq!(serde_json::to_value(&claim.reason).unwrap()["kind"], reason);
        }
    }

    #[test]
    fn a_failure_that_may_be_a_declared_deviation_is_open_until_its_controls_have_run() {
        for (deviations, open) in [
            (declared("x.it-ends-well", "2999-01-01"), true),
            (declared("x.it-ends-well", "2020-01-01"), false),
            (String::new(), false),
        ] {
            let (_folder, record) = record(&deviations);
            let first = end(&record, OWN, Verdict::Fails, false);
            assert_eq!((first.claim.verdict, first.open), (Verdict::Fails, open));
            end(&record, TRAP, Verdict::Fails, true);
            let last = end(&record, SEVEN, Verdict::Fails, true);
            assert!(!last.open);
            assert_eq!(last.claim.verdict == Verdict::KnownDeviation, open);
        }
    }

    #[test]
    fn what_the_machine_cannot_judge_is_only_recorded() {
        let claims =
            format!("{CLAIMS}[[claim]]\nid = \"A8-5\"\nclaim = \"cheap\"\nbound = \"$1\"\nneeds = [\"aws\"]\n");
        let feature = format!("{FEATURE}\n  @A8-5\n  Scenario: it is cheap\n    Given x\n");
        let fake_aws = FakeAws { ssh: Some("127.0.0.1:22".into()), ..FakeAws::default() };
        let met = Capabilities::by(&TargetSpec::Ec2, &fake_aws, &HostOffers::all_but(&[]), None);
        for (accelerator, time) in [("tcg", Verdict::NotRun), ("kvm", Verdict::Fails)] {
            let (_folder, record) = planned((&claims, &feature, ""), &met, &[]);
            record.learn(MachineKind::Ec2, BTreeMap::from([("accelerator".to_owned(), accelerator.to_owned())]));
            end(&record, "it starts", Verdict::Fails, false);
            end(&record, "it is cheap", Verdict::Fails, false);
            let claims = record.verdicts(true).claims;
            assert_eq!(claims[1].verdict, time, "{accelerator}");
            assert_eq!(claims[2].verdict, Verdict::NotRun);
            assert_eq!(claims[2].reason, Reason::NotJudged(NotJudgedReason::StandIn));
        }
    }

    /// Plans a claim with three own scenarios and a control, of which those named are not selected.
    fn three(unselected: &'static [&'static str], deviations: &str) -> (TempDir, RunState) {
        let feature = "@A6-4\nFeature: f\n  Scenario Outline: own <n>\n    Given x\n    Examples:\n      | n |\n\
            \x20     | 1 |\n      | 2 |\n      | 3 |\n  @control\n  Scenario: bad\n    Given x\n\
            \x20   But this check fails on \"x\"\n";
        let claims = CLAIMS.split("[[claim]]\nid = \"A7-7\"").next().unwrap();
        planned((claims, feature, deviations), &Capabilities::default(), unselected)
    }

    #[test]
    fn a_claim_holds_only_if_all_its_scenarios_do() {
        use Verdict::{Fails, Holds, Inconclusive, KnownDeviation, NotRun};
        let excused = declared("x.own-2", "2999-01-01");
        let (seen, left_out, passes) = ("infrastructure", "not-run", "control-not-caught");
        for (unselected, deviations, own, control, expected, reason) in [
            (&[] as &[_], "", [Some(Holds); 3], Fails, Holds, seen),
            (&[], "", [Some(Holds), Some(Fails), Some(Holds)], Fails, Fails, seen),
            (&[], "", [Some(Inconclusive), Some(Fails), None], Fails, Fails, seen),
            (&[], "", [Some(Holds), None, Some(Holds)], Fails, Inconclusive, left_out),
            (&[], "", [Some(Holds); 3], Holds, Fails, passes),
            (&["own 3"], "", [Some(Holds), Some(Holds), None], Fails, Inconclusive, left_out),
            (&["own 3"], "", [Some(Holds), Some(Fails), None], Fails, Fails, seen),
            (&["own 1", "own 2", "own 3"], "", [None; 3], Fails, NotRun, "not-selected"),
            // A declaration excuses one failure, and no other scenario's.
            (&[], &excused, [Some(Holds), Some(Fails), Some(Holds)], Fails, KnownDeviation, "declared"),
            (&[], &excused, [Some(Fails), Some(Fails), Some(Holds)], Fails, Fails, seen),
            (&[], &excused, [Some(Holds), Some(Fails), Some(Holds)], Holds, Fails, passes),
            (&[], &excused, [Some(Holds); 3], Fails, Fails, "declaration-not-true"),
        ] {
            let (_folder, record) = three(unselected, deviations);
            for (name, verdict) in ["own 1", "own 2", "own 3"].into_iter().zip(own) {
                verdict.into_iter().for_each(|verdict| drop(end(&record, name, verdict, false)));
            }
            end(&record, "bad", control, true);
            let claim = record.verdicts(true).claims.remove(0);
            assert_eq!((claim.verdict, claim.scenarios.len()), (expected, 3), "{:?}", claim.reason);
            assert_eq!(serde_json::to_value(&claim.reason).unwrap()["kind"], reason);
        }
    }

    #[test]
    fn each_scenario_is_tried_again_by_itself_and_one_that_never_ran_is_known() {
        let (_folder, record) = three(&[], "");
        let names = |planned: Vec<&Planned>| planned.iter().map(|planned| planned.at.name.clone()).collect::<Vec<_>>();
        let first = end(&record, "own 1", Verdict::Holds, false);
        assert_eq!((first.claim.verdict, first.to_come), (Verdict::Holds, ToCome::Scenarios));
        end(&record, "own 2", Verdict::Inconclusive, false);
        end(&record, "bad", Verdict::Fails, true);
        let again = record.plan().scenarios.iter().filter(|planned| record.wants_another(planned)).collect();
        assert_eq!(names(again), ["own 2", "own 3"]);
        assert_eq!(names(record.not_run()), ["own 3"]);
        assert_eq!((record.verdicts(true).exit, record.tally().verdicts), (3, vec![]));
        let unrun = Reason::NotRun { scenarios: vec!["own 3".to_owned()], controls: Vec::new() };
        assert_eq!(record.verdicts(true).claims[0].scenarios[2].reason, unrun);
    }

    #[test]
    fn an_error_is_never_a_failed_claim() {
        let (_folder, record) = record("");
        let planned = record.plan().scenarios[0].clone();
        let Standing { claim, .. } =
            record.end(&planned, Attempt::new(Vec::new(), Some(Reason::step("connection lost")))).unwrap();
        assert_eq!((claim.verdict, claim.reason), (Verdict::Inconclusive, Reason::step("connection lost")));
    }

    #[test]
    fn only_what_another_attempt_may_change_is_tried_again_and_every_attempt_is_kept() {
        let (_folder, record) = record("");
        let planned = record.plan().scenarios[0].clone();
        end(&record, OWN, Verdict::Fails, false);
        end(&record, SEVEN, Verdict::Fails, true);
        end(&record, TRAP, Verdict::Fails, true);
        assert!(record.wants_another(&planned));
        assert!(!record.wants_another(&record.plan().scenarios[1]), "its control was caught");
        end(&record, OWN, Verdict::Holds, false);
        assert!(!record.wants_another(&planned), "a third attempt could not make it hold");
        assert_eq!(record.verdicts(true).claims[0].attempts().count(), 2);
    }
}
