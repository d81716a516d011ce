//! Shows the samples of a check: numbers as a plot with their statistics, texts as a table.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::published::quantity;
use super::size_limit::ByteBudget;
use super::words::plain;
use super::{Run, table};
use crate::base::stats::{Interval, share_within};
use crate::base::unit::Unit;
use crate::evidence::ClaimResult;
use crate::measurement::{Sample, Value};
use crate::report::plot::{Dot, Dots, SubjectDots};
use crate::verdict::claim_verdict::Attempt;
use crate::verdict::{Judged, Rule, Statistics};

const TEXTS: usize = 20;
/// The maximum number of checks of an attempt whose samples are shown.
const CHECKS: usize = 40;

/// Shows the samples of an attempt's checks, in order.
pub(super) fn figures(run: &Run, claim: &ClaimResult, attempt: &Attempt, budget: &mut ByteBudget) -> Markup {
    let mut single = Vec::new();
    let mut figures = Vec::new();
    for judged in attempt.checks.iter().take(CHECKS) {
        let samples = of(run, judged);
        match plotted(judged, &samples) {
            true => figures.push(budget.admit("plots of samples", figure(claim, attempt, judged, &samples))),
            false => single.push((judged, samples)),
        }
    }
    html! {
        @if !figures.is_empty() { div.figures { @for figure in figures { (figure) } } }
        @if !single.is_empty() { (budget.admit("tables of samples", texts(&single))) }
    }
}

/// Returns the samples that a check names, as far as they exist.
fn of<'a>(run: &'a Run, judged: &Judged) -> Vec<&'a Sample> {
    let named = judged.check.samples.iter().filter_map(|id| run.samples.get(id).copied());
    named.filter(|sample| sample.probe == judged.check.probe).collect()
}

/// Returns whether a plot shows more than a line of a table; it does not if all numbers are equal and the rule is
/// exact.
fn plotted(judged: &Judged, samples: &[&Sample]) -> bool {
    let numbers: Vec<f64> = samples.iter().filter_map(|sample| sample.value.number()).collect();
    let alike = numbers.windows(2).all(|pair| pair.first() == pair.last());
    let exact = matches!(judged.check.rule, Rule::Equals { .. } | Rule::Differs { .. } | Rule::Recorded);
    numbers.len() == samples.len() && !numbers.is_empty() && !(alike && exact)
}

fn figure(claim: &ClaimResult, attempt: &Attempt, judged: &Judged, samples: &[&Sample]) -> Markup {
    let (check, unit) = (&judged.check, judged.check.unit);
    let outliers: BTreeSet<u64> = judged.statistics.iter().flat_map(|seen| seen.outliers.iter().copied()).collect();
    let mut rows = Vec::<SubjectDots>::new();
    let mut places = BTreeMap::<&str, usize>::new();
    for sample in samples {
        let place = *places.entry(&sample.subject).or_insert(rows.len());
        if place == rows.len() {
            rows.push(SubjectDots { name: plain(&sample.subject, 80), dots: Vec::new() });
        }
        if let (Some(row), Value::Number(value)) = (rows.get_mut(place), &sample.value) {
            let broken = check.rule.accepts(&sample.value) != Some(true);
            row.dots.push(Dot { value: *value, broken, outlier: outliers.contains(&sample.id) });
        }
    }
    let name = plain(&check.probe, 80);
    let published = published(claim, attempt, judged);
    let broken = rows.iter().flat_map(|row| &row.dots).any(|dot| dot.broken);
    // Several samples of one run say no more about other runs than one.
    let by_sample = !matches!(check.rule, Rule::MedianAtLeast { .. } | Rule::Recorded);
    let within = (by_sample && !broken && rows.len() > 1).then_some(rows.len());
    let drawn = Dots { name: &name, unit, rows, rule: &check.rule, published }.draw();
    html! {
        figure.samples {
            figcaption { b { (name) } " " span.quiet { "bound: " (plain(&check.rule.format(unit), 120)) } }
            @match &drawn {
                Some((svg, drawn)) => {
                    (svg)
                    p.quiet {
                        @if *drawn < samples.len() {
                            (drawn) " of " (samples.len()) " samples are drawn, among them the smallest, the largest and "
                            "those far from the rest. All are in samples.jsonl. "
                        }
                        @if broken { "× breaks the bound. " }
                        @if !outliers.is_empty() { "Ringed: far from the rest, and counted all the same. " }
                    }
                }
                None => p.quiet { "No scale can show these numbers; they are in samples.jsonl." },
            }
            @if let Some(seen) = &judged.statistics { (statistics(unit, seen, within)) }
        }
    }
}

/// Returns the annex's figure for the first of the attempt's probes that has its unit.
fn published(claim: &ClaimResult, attempt: &Attempt, judged: &Judged) -> Option<f64> {
    let value = quantity(claim.published.as_deref()?, judged.check.unit)?;
    let of_unit = |other: &&Judged| other.check.unit == judged.check.unit;
    let first = attempt.checks.iter().find(of_unit)?;
    (first.check.probe == judged.check.probe).then_some(value)
}

/// Shows statistics, and what they say about all runs if `within` a bound were all of this number of runs.
fn statistics(unit: Unit, seen: &Statistics, within: Option<usize>) -> Markup {
    let show = |value: f64| unit.format(value);
    let mut cells = vec![
        ("n", seen.n.to_string()),
        ("min", show(seen.min)),
        ("median", show(seen.median)),
        ("max", show(seen.max)),
    ];
    if let Some(Interval { low, high, confidence }) = seen.interval {
        cells.push(("median lies in", format!("{} to {} ({:.1} %)", show(low), show(high), confidence * 100.0)));
    }
    html! {
        table.statistics {
            thead { tr { @for (head, _) in &cells { th scope="col" { (head) } } } }
            tbody { tr { @for (_, cell) in &cells { td { (cell) } } } }
        }
        @if let Some(runs) = within {
            p.quiet {
                "All " (runs) " runs are within the bound. With 95 % confidence, so are at least "
                ((share_within(runs) * 100.0).floor()) " % of all."
            }
        }
    }
}

fn texts(checks: &[(&Judged, Vec<&Sample>)]) -> Markup {
    let rows = html! {
        @for (Judged { check, .. }, samples) in checks {
            @for sample in samples.iter().take(TEXTS) { tr {
                th scope="row" { (plain(&sample.probe, 80)) }
                td { (plain(&sample.value.format(sample.unit), 240)) }
                td { (plain(&check.rule.format(check.unit), 240)) }
                td { (plain(&sample.subject, 80)) }
                td { (plain(&sample.machine, 40)) }
            } }
            @if samples.len() > TEXTS { tr { td colspan="5" {
                "… and " (samples.len() - TEXTS) " more of " (plain(&check.probe, 80)) " in samples.jsonl"
            } } }
            @if samples.is_empty() {
                tr { th scope="row" { (plain(&check.probe, 80)) } td colspan="4" { "there is no sample of it" } }
            }
        }
    };
    table("Samples", "texts", &["probe", "seen", "bound", "of", "on"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::claim_verdict::Attempt;
    use crate::verdict::{Check, Verdict};

    fn check(probe: &str, rule: Rule, unit: Unit) -> Judged {
        Check { probe: probe.into(), unit, rule, sources: Vec::new(), samples: vec![1] }.judge(&[])
    }

    #[test]
    fn the_annexs_figure_belongs_to_the_first_probe_of_its_unit() {
        let claim = crate::report::example::small_module("A3-4", Verdict::Holds);
        let size = check("image.size", Rule::Below { bound: 1e5 }, Unit::Bytes);
        let transfer = check("image.transfer", Rule::Recorded, Unit::Bytes);
        let layers = check("image.layers", Rule::Equals { value: 1.0.into() }, Unit::Count);
        let attempt = Attempt::new(vec![layers.clone(), size.clone(), transfer.clone(), size.clone()], None);
        assert_eq!(published(&claim, &attempt, &size), Some(85_000.0));
        assert_eq!(published(&claim, &attempt, &transfer), None);
        assert_eq!(published(&claim, &attempt, &layers), None);
    }

    #[test]
    fn a_number_that_is_what_it_should_be_needs_no_plot() {
        let sample = |value: Value| Sample::of("s", "p", value, Unit::Count);
        let (zero, many, text) = (sample(0.0.into()), sample(816.0.into()), sample("x".into()));
        let equals = check("p", Rule::Equals { value: 0.0.into() }, Unit::Count);
        assert!(!plotted(&equals, &[&zero, &zero]) && plotted(&equals, &[&zero, &many]));
        assert!(plotted(&check("p", Rule::Below { bound: 9.0 }, Unit::Count), &[&zero]));
        assert!(!plotted(&equals, &[&text]) && !plotted(&equals, &[]));
    }
}
