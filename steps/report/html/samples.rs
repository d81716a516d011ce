//! Shows the samples of a check: numbers as a plot with their statistics, texts as a table; and the runs that were
//! watched for a claim: their memory over time, and the stages of their start.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::parts::ByteBudget;
use super::words::plain;
use super::{Run, table};
use crate::base::stats::{Interval, Summary};
use crate::base::unit::{Bytes, Dollars, Duration, Ratio, Unit};
use crate::claims::plan::Decision;
use crate::evidence::ClaimResult;
use crate::measurement::{Sample, Value};
use crate::report::plot::{self, Dot, Dots, SubjectDots};
use crate::report::sentence;
use crate::verdict::claim_verdict::Attempt;
use crate::verdict::worth::worth;
use crate::verdict::{Judged, Rule};

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
    // What a control's check rejects, and what is only recorded, has no verdict that could be worth something.
    let judges = attempt.fails_on.is_none() && claim.decision() == Decision::Run;
    let worth = judges.then(|| worth(judged, samples, &claim.controls)).flatten();
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
            @if let Some(seen) = &judged.statistics { (statistics(unit, seen)) }
            @if let Some(worth) = worth { p { b { "What it is worth: " } (sentence::worth(&worth, unit)) } }
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

fn statistics(unit: Unit, seen: &Summary) -> Markup {
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

/// Returns the single quantity with this unit in a text of the annex; `None` if there is none, or more than one: `17.8
/// MB` and `2, 411 MiB usable` name one, `17.2 / 46.7 MB` and `30-45 min` are ambiguous.
fn quantity(text: &str, unit: Unit) -> Option<f64> {
    if text.contains(" / ") || text.matches('/').count() > 1 {
        return None;
    }
    if let Some(alone) = text.trim().parse::<f64>().ok().filter(|_| matches!(unit, Unit::Bytes | Unit::Count)) {
        return Some(alone);
    }
    if unit == Unit::Dollars {
        // The unit stands before the number, without a blank between them.
        return text.trim().parse().ok().filter(|_| text.contains('$')).map(Dollars::value);
    }
    let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_end_matches([',', ';', ')'])).collect();
    let pairs = words.iter().zip(words.iter().skip(1));
    let mut found = pairs.filter_map(|(number, name)| read(&format!("{number} {name}"), unit));
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn read(text: &str, unit: Unit) -> Option<f64> {
    match unit {
        Unit::Bytes => text.parse::<Bytes>().ok().map(Bytes::value),
        Unit::Seconds => text.parse::<Duration>().ok().map(Duration::value),
        // Milliseconds of CPU time per second are a share of one CPU.
        Unit::Ratio => match text.strip_suffix(" ms/s") {
            Some(number) => number.parse::<f64>().ok().map(|milliseconds| milliseconds / 1e3),
            None => text.parse::<Ratio>().ok().map(Ratio::value),
        },
        Unit::Times | Unit::Count | Unit::Celsius | Unit::Dollars | Unit::Text => None,
    }
}

/// The maximum number of runs that are drawn for a claim.
const DRAWN: usize = 6;
/// The maximum number of the others that are named.
const NAMED: usize = 40;

/// Shows the runs that attempts rest on: the first of each series is drawn, the rest is named.
pub(super) fn watched<'a>(
    run: &Run<'a>,
    attempts: impl Iterator<Item = &'a Attempt>,
    budget: &mut ByteBudget,
) -> Markup {
    let subjects = subjects(run, attempts);
    if subjects.is_empty() {
        return html! {};
    }
    let (drawn, named) = chosen(&subjects);
    let drawn = drawn.into_iter().filter_map(|subject| Some((plain(subject, 80), run.watched.get(subject)?)));
    let timelines: Vec<Markup> = drawn
        .clone()
        .filter_map(|(name, samples)| plot::timeline(&name, samples).map(|(words, svg)| captioned(&name, &words, &svg)))
        .map(|figure| budget.admit("memory timelines", figure))
        .collect();
    let since = "seconds since systemd began to start it";
    let starts: Vec<Markup> = drawn
        .filter_map(|(name, samples)| plot::waterfall(&name, samples).map(|svg| captioned(&name, since, &svg)))
        .map(|figure| budget.admit("start-up waterfalls", figure))
        .collect();
    html! {
        div.part {
            @if !timelines.is_empty() {
                h4 { "Memory of the watched runs" }
                (budget.admit("the key to the timelines", html! { p.key {
                    "From the bottom up: " span.swatch.blue {} " anon, its own memory; " span.swatch.orange {} " file, page cache; "
                    span.swatch.green {} " kernel. Dashed: the cap."
                } }))
                div.figures { @for figure in timelines { (figure) } }
            }
            @if !starts.is_empty() {
                h4 { "Where the start went" }
                div.figures { @for figure in starts { (figure) } }
            }
            @if !named.is_empty() { (budget.admit("the names of further runs", html! {
                p.quiet {
                    "Also watched, and not drawn: " (named.iter().take(NAMED).map(|name| plain(name, 60)).collect::<Vec<_>>().join(", "))
                    @if named.len() > NAMED { " and " (named.len() - NAMED) " more" }
                    ". Their samples are in samples.jsonl."
                }
            })) }
        }
    }
}

/// Returns the watched runs that attempts rest on, each once: those that checks are about, and those whose files were
/// read, for example when runs are compared side by side.
fn subjects<'a>(run: &Run<'a>, attempts: impl Iterator<Item = &'a Attempt>) -> Vec<&'a str> {
    let (mut subjects, mut seen) = (Vec::new(), BTreeSet::new());
    for attempt in attempts {
        let sources = attempt.checks.iter().flat_map(|judged| &judged.check.sources);
        let sources = sources.filter_map(|source| run.watched.get_key_value(source.subject.as_str()));
        let named = attempt.evidence.iter().filter_map(|file| run.trials.get(file).copied());
        subjects.extend(sources.map(|(subject, _)| *subject).chain(named).filter(|subject| seen.insert(*subject)));
    }
    subjects
}

/// Returns the first run of each series, at most [`DRAWN`], and all others.
fn chosen<'a>(subjects: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut series = BTreeSet::new();
    subjects.iter().partition(|subject| {
        let name = subject.rsplit_once(' ').map_or(**subject, |(name, _)| name);
        series.len() < DRAWN && series.insert(name)
    })
}

fn captioned(name: &str, caption: &str, svg: &Markup) -> Markup {
    html! { figure { figcaption { b { (name) } " " span.quiet { (caption) } } (svg) } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::worth::tests::judged;
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
    fn a_figure_of_several_runs_says_what_its_verdict_is_worth() {
        let sample =
            |n: u64| Sample { id: n, ..Sample::of(&format!("run {n}"), "start.time", n as f64 / 10.0, Unit::Seconds) };
        let samples: Vec<Sample> = (1..=5).map(sample).collect();
        let checked = judged(&samples, Rule::AtMost { bound: 2.0 });
        let claim = crate::report::example::small_module("A7-7", Verdict::Holds);
        let attempt = Attempt::new(vec![checked.clone()], None);
        let page = |attempt: &Attempt| {
            let figure = figure(&claim, attempt, &checked, &samples.iter().collect::<Vec<_>>());
            crate::report::html::tests::words(&figure.into_string())
        };
        insta::assert_snapshot!("worth", page(&attempt));
        // A control shows that the check can fail, and nothing about other runs.
        let control = Attempt { fails_on: Some("start.time".to_owned()), ..attempt };
        assert!(!page(&control).contains("What it is worth"));
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

    #[test]
    fn one_quantity_of_the_right_unit_is_read() {
        for (text, unit, value) in [
            ("17.8 MB", Unit::Bytes, Some(17.8e6)),
            ("89.5 KB", Unit::Bytes, Some(89_500.0)),
            ("2, 411 MiB usable", Unit::Bytes, Some(430_964_736.0)),
            ("215 MiB available", Unit::Bytes, Some(225_443_840.0)),
            ("67108864", Unit::Bytes, Some(67_108_864.0)),
            ("79.1 ms", Unit::Seconds, Some(0.0791)),
            ("100 ms/s", Unit::Ratio, Some(0.1)),
            ("0", Unit::Count, Some(0.0)),
            ("$0.0042", Unit::Dollars, Some(0.0042)),
            ("17.2 / 46.7 MB", Unit::Bytes, None),
            ("8-10 / 4-5 / 3-4 MB", Unit::Bytes, None),
            ("200/400/300/200 ms", Unit::Seconds, None),
            ("30-45 min", Unit::Seconds, None),
            ("17.8 MB", Unit::Times, None),
            ("0.0042", Unit::Dollars, None),
            ("$0.01 or $0.02", Unit::Dollars, None),
            ("$$1", Unit::Dollars, None),
            ("79.1 ms", Unit::Bytes, None),
            ("10 MB or 20 MB", Unit::Bytes, None),
            ("fails (4.9.3)", Unit::Count, None),
            ("", Unit::Bytes, None),
        ] {
            let read = quantity(text, unit).map(|number| (number * 1e6).round() / 1e6);
            assert_eq!(read, value, "{text}");
        }
    }

    #[test]
    fn of_each_series_the_first_run_is_drawn_and_the_rest_named() {
        let subjects = ["hello cold 1", "hello warm 2", "hello warm 3", "by hand"];
        assert_eq!(chosen(&subjects), (vec!["hello cold 1", "hello warm 2", "by hand"], vec!["hello warm 3"]));
        let many: Vec<String> = (0..20).map(|n| format!("run{n} warm 1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!((chosen(&many).0.len(), chosen(&many).1.len()), (DRAWN, 14));
    }
}
