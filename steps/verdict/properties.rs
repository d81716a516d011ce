//! What must be so of every verdict, whatever the samples.
#![cfg(test)]

use jiff::civil::Date;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::claim_verdict::{Attempt, ControlResult, ScenarioResult, claim_verdict, combine_attempts};
use super::{Check, Judged, Rule, Source, Verdict};
use crate::base::unit::Unit;
use crate::claims::plan::{Decision, NotJudgedReason, ScenarioRef};
use crate::measurement::Sample;

const PROBE: &str = "memory.peak";

/// A sample of one of two subjects: most are sound, few are of another machine, unit or size than is possible.
fn sample() -> impl Strategy<Value = Sample> {
    let value = prop_oneof![8 => (40_u32..80).prop_map(|mb| f64::from(mb) * 1e6), 1 => Just(1.0), 1 => Just(f64::NAN)];
    let unit = prop_oneof![9 => Just(Unit::Bytes), 1 => Just(Unit::Seconds)];
    let machine = prop_oneof![9 => Just("nano"), 1 => Just("mega")];
    ("[ab]", value, unit, machine).prop_map(|(subject, value, unit, machine)| Sample {
        machine: machine.to_owned(),
        ..Sample::of(&subject, PROBE, value, unit)
    })
}

/// Samples with ids from 1, in any order.
fn samples() -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec(sample(), 0..8).prop_map(|mut samples| {
        samples.iter_mut().zip(1..).for_each(|(sample, id)| sample.id = id);
        samples
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    (50_u32..80).prop_map(|mb| f64::from(mb) * 1e6).prop_flat_map(|bound| {
        prop_oneof![
            Just(Rule::Below { bound }),
            Just(Rule::AtMost { bound }),
            Just(Rule::AtLeast { bound: bound - 20e6 }),
            Just(Rule::Between { low: bound - 20e6, high: bound }),
        ]
    })
}

fn judge(rule: &Rule, samples: &[Sample], from: &[Sample]) -> Judged {
    let since = samples.first().map_or(jiff::Timestamp::UNIX_EPOCH, |sample| sample.at);
    let source =
        |subject: &str| Source { subject: subject.into(), machine: "nano".into(), kind: None, since, until: since };
    let ids = samples.iter().map(|sample| sample.id).collect();
    let sources = vec![source("a"), source("b")];
    Check { probe: PROBE.into(), unit: Unit::Bytes, rule: rule.clone(), sources, samples: ids }.judge(from)
}

/// An attempt whose checks came out like this.
fn attempt(verdict: Verdict) -> Attempt {
    let value =
        |subject| Sample { id: if subject == "a" { 1 } else { 2 }, ..Sample::of(subject, PROBE, 60e6, Unit::Bytes) };
    let samples = [value("a"), value("b")];
    let bound = if verdict == Verdict::Fails { 50e6 } else { 70e6 };
    let from = if verdict == Verdict::Inconclusive { &samples[1..] } else { &samples };
    let attempt = Attempt::new(vec![judge(&Rule::Below { bound }, &samples, from)], None);
    Attempt { fails_on: Some(PROBE.into()), ..attempt }
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![5 => Just(Verdict::Holds), 1 => Just(Verdict::Fails), 1 => Just(Verdict::Inconclusive)]
}

fn attempts() -> impl Strategy<Value = Vec<Verdict>> {
    prop_oneof![5 => verdict().prop_map(|only| vec![only]), 1 => prop::collection::vec(verdict(), 0..4)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_check_holds_only_by_every_sample_in_any_order_and_never_by_one_less(
        (samples, shuffled, fewer) in samples().prop_flat_map(|samples| {
            let count = samples.len();
            (Just(samples.clone()), Just(samples.clone()).prop_shuffle(), subsequence(samples, 0..=count))
        }),
        rule in rule(),
    ) {
        let judged = judge(&rule, &samples, &samples).outcome.verdict;
        let sound = |sample: &Sample| sample.machine == "nano" && sample.unit == Unit::Bytes;
        let within = samples.iter().all(|sample| sound(sample) && rule.accepts(&sample.value) == Some(true));
        let both = ["a", "b"].iter().all(|subject| samples.iter().any(|sample| sample.subject == *subject));
        prop_assert!(judged != Verdict::Holds || within && both);
        prop_assert_eq!(judge(&rule, &samples, &shuffled).outcome.verdict, judged);
        // Of a check that does not hold, none does that has lost a sample.
        let less = judge(&rule, &samples, &fewer).outcome.verdict;
        prop_assert!(less == judged && fewer.len() == samples.len() || less != Verdict::Holds);
    }

    #[test]
    fn a_claim_holds_only_by_all_of_its_scenarios_and_controls_in_any_order(
        scenarios in prop::collection::vec((attempts(), prop::bool::weighted(0.1)), 0..4),
        controls in prop::collection::vec(attempts(), 0..3),
    ) {
        let at = |line| ScenarioRef { file: "x.feature".into(), line, name: format!("s{line}") };
        let made = |verdicts: &[Verdict]| verdicts.iter().copied().map(attempt).collect::<Vec<_>>();
        let scenario = |(line, (verdicts, skipped)): (usize, &(Vec<Verdict>, bool))| {
            let decision = if *skipped { Decision::Skip(NotJudgedReason::NotSelected) } else { Decision::Run };
            let made = if *skipped { Vec::new() } else { made(verdicts) };
            ScenarioResult::new(&at(line), decision, made).judged(&[], Date::default())
        };
        let mut judged: Vec<ScenarioResult> = scenarios.iter().enumerate().map(scenario).collect();
        let control = |(line, verdicts): (usize, &Vec<Verdict>)| ControlResult::judge(&at(line), None, made(verdicts));
        let mut caught: Vec<ControlResult> = controls.iter().enumerate().map(control).collect();
        let all = !scenarios.is_empty()
            && scenarios.iter().all(|(verdicts, skipped)| !skipped && verdicts[..] == [Verdict::Holds])
            && controls.iter().all(|verdicts| verdicts[..] == [Verdict::Fails]);
        let verdict = claim_verdict(&judged, &caught, &[], Date::default()).0;
        prop_assert_eq!(verdict == Verdict::Holds, all);
        judged.reverse();
        caught.reverse();
        prop_assert_eq!(claim_verdict(&judged, &caught, &[], Date::default()).0, verdict);
    }

    #[test]
    fn attempts_hold_in_no_order_if_one_of_them_does_not(mut verdicts in prop::collection::vec(verdict(), 2..5)) {
        for _ in 0..verdicts.len() {
            verdicts.rotate_left(1);
            let attempts: Vec<Attempt> = verdicts.iter().copied().map(attempt).collect();
            prop_assert!(combine_attempts(&attempts).is_some_and(|(outcome, _)| outcome.verdict != Verdict::Holds));
        }
    }
}
