//! Measures planning and judging a large annex: all of its scenarios, each with one check of a few samples.

use std::fmt::Write as _;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;

use super::{BenchResult, format, scaled};
use assay::base::progress::Progress;
use assay::base::unit::Unit;
use assay::claims::plan::{Capabilities, FeatureFile, Plan, REFUSAL};
use assay::claims::register::Register;
use assay::measurement::Sample;
use assay::verdict::claim_verdict::Attempt;
use assay::verdict::{Check, Rule, Source, Verdict};

const SECTION: usize = 100;
const SAMPLES: u64 = 5;

pub async fn measure(repetitions: usize, progress: &Progress) -> anyhow::Result<BenchResult> {
    progress.note(format!("plan: planning and judging 1,000 and 10,000 scenarios {repetitions} times"));
    let make = |scenarios: usize| {
        let annex = annex(scenarios)?;
        // Every other scenario holds.
        Ok(move || Ok(2 * plan_and_judge(&annex)?))
    };
    let (many, ratio) = scaled([1_000, 10_000], repetitions, make).await?;
    let (took, shown) = (format(&many), Unit::Times.format(ratio));
    Ok(BenchResult {
        line: format!("plan: 10,000 scenarios planned and judged in {took}; a scenario costs {shown} of 1,000's"),
        numbers: json!({ "plan_10k_s": many.median, "plan_cost_ratio": ratio }),
    })
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
    let sources = vec![Source { subject: subject.clone(), machine: machine.clone(), kind: None, since: at, until: at }];
    let rule = Rule::Below { bound: 64e6 };
    (Check { probe: probe.clone(), unit: Unit::Bytes, rule, sources, samples: mine }, samples)
}

/// Returns how many scenarios hold, judged as in a run: each on its own subject's samples.
fn plan_and_judge(annex: &Annex) -> anyhow::Result<usize> {
    let plan = Plan::make(&annex.features, &annex.register, &Capabilities::default(), |_| true, None)
        .context("the annex is not planned")?;
    let judge = |(check, samples): &(Check, Vec<Sample>)| Attempt::new(vec![check.clone().judge(samples)], None);
    let attempts = plan.scenarios.iter().zip(&annex.checks).map(|(_, check)| judge(check));
    Ok(attempts.filter(|attempt| attempt.outcome.verdict == Verdict::Holds).count())
}
