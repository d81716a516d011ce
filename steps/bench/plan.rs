//! Measures planning and judging a large annex: all of its scenarios, each with one check of a few samples.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use serde::Serialize;

use super::{Times, timed};
use crate::base::progress::Progress;
use crate::base::unit::Unit;
use crate::claims::plan::{Capabilities, FeatureFile, Plan, REFUSAL};
use crate::claims::register::Register;
use crate::measurement::Sample;
use crate::verdict::claim_verdict::Attempt;
use crate::verdict::{Check, Rule, Source, Verdict};

const SECTION: usize = 100;
const SAMPLES: u64 = 5;

#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// For 10,000 scenarios, in seconds: the median.
    pub plan_10k_s: f64,
    /// The time per scenario with 10,000 scenarios, divided by the time per scenario with 1,000.
    pub plan_cost_ratio: f64,
    #[serde(skip)]
    times: Times,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ratio = Unit::Times.show(self.plan_cost_ratio);
        write!(out, "plan: 10,000 scenarios planned and judged in {}; a scenario costs {ratio} of 1,000's", self.times)
    }
}

pub async fn measure(repetitions: usize, progress: &Progress) -> anyhow::Result<Cost> {
    let few = series(1_000, repetitions, progress).await?;
    let many = series(10_000, repetitions, progress).await?;
    let ratio = many.median() / few.median() / 10.0;
    Ok(Cost { plan_10k_s: many.median(), plan_cost_ratio: ratio, times: many })
}

async fn series(scenarios: usize, repetitions: usize, progress: &Progress) -> anyhow::Result<Times> {
    progress.say(format!("plan: writing and reading an annex of {scenarios} scenarios"));
    let annex = Arc::new(timed(move || annex(scenarios)).await?.0?);
    progress.say(format!("plan: planning and judging it {repetitions} times"));
    let mut seconds = Vec::new();
    for _ in 0..repetitions {
        let annex = annex.clone();
        let (held, took) = timed(move || plan_and_judge(&annex)).await?;
        let held = held?;
        ensure!(held == scenarios / 2, "{held} of {scenarios} scenarios hold, not every other one");
        seconds.push(took);
    }
    Times::of(&seconds)
}

/// A generated annex, and for each scenario the check that its steps would make, with its samples.
struct Annex {
    features: Vec<FeatureFile>,
    register: Register,
    checks: Vec<(Check, Vec<Sample>)>,
}

fn annex(scenarios: usize) -> anyhow::Result<Annex> {
    let (mut register, mut features) = (String::new(), Vec::new());
    for section in 1..=scenarios / 2 / SECTION {
        let mut feature = format!("Feature: Section {section}\n");
        for number in 1..=SECTION {
            let id = format!("A{section}-{number}");
            writeln!(register, "[[claim]]\nid = \"{id}\"\nclaim = \"x\"\nbound = \"< 64 MB\"\ncontrol = \"y\"")?;
            writeln!(feature, "  @{id}\n  Scenario: {id} holds\n    Then its memory stays below 64 MB")?;
            writeln!(feature, "  @{id} @control\n  Scenario: {id} can fail\n    Then its memory stays below 64 MB")?;
            writeln!(feature, "    But {REFUSAL}\"memory\"")?;
        }
        features.push(FeatureFile::parse(format!("features/a{section}.feature"), &feature)?);
    }
    let checks = (0..scenarios as u64).map(check).collect();
    Ok(Annex { features, register: Register::parse(&register)?, checks })
}

/// Makes the check of one scenario; every second scenario is a control, whose check fails.
fn check(scenario: u64) -> (Check, Vec<Sample>) {
    let at = Timestamp::UNIX_EPOCH;
    let (probe, subject, machine) = ("memory.peak".to_owned(), format!("subject {scenario}"), "nano".to_owned());
    let memory = if scenario.is_multiple_of(2) { 40e6 } else { 80e6 };
    let sample = |place: u64| Sample {
        id: scenario * SAMPLES + place + 1,
        probe: probe.clone(),
        subject: subject.clone(),
        machine: machine.clone(),
        value: (memory + place as f64).into(),
        unit: Unit::Bytes,
        at,
        raw: "slice.peak".to_owned(),
    };
    let samples: Vec<Sample> = (0..SAMPLES).map(sample).collect();
    let mine = samples.iter().map(|sample| sample.id).collect();
    let sources = vec![Source { subject: subject.clone(), machine: machine.clone(), since: at, until: at }];
    let rule = Rule::Below { bound: 64e6 };
    (Check { probe: probe.clone(), unit: Unit::Bytes, rule, sources, samples: mine }, samples)
}

/// Returns how many scenarios hold, judged as in a run: each on its own subject's samples.
fn plan_and_judge(annex: &Annex) -> anyhow::Result<usize> {
    let plan = Plan::make(&annex.features, &annex.register, &Capabilities::default(), |_, _| true, None)
        .context("the annex is not planned")?;
    let judge = |(check, samples): &(Check, Vec<Sample>)| Attempt::new(vec![check.clone().judge(samples)], None);
    let attempts = plan.scenarios.iter().zip(&annex.checks).map(|(_, check)| judge(check));
    Ok(attempts.filter(|attempt| attempt.outcome.verdict == Verdict::Holds).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_planned_and_every_other_one_holds() {
        let annex = annex(400).unwrap();
        assert_eq!((annex.features.len(), annex.checks.len()), (2, 400));
        assert_eq!(plan_and_judge(&annex).unwrap(), 200);
    }

    #[tokio::test]
    async fn nothing_measured_is_an_error() {
        let error = series(200, 0, &Progress::to(|_| ())).await.unwrap_err();
        assert!(error.to_string().contains("ask for one repetition or more"), "{error}");
    }
}
