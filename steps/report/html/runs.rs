//! Shows the runs that were watched for a claim: their memory over time, and the stages of their start.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};

use super::Run;
use super::size_limit::ByteBudget;
use super::words::plain;
use crate::base::unit::Unit;
use crate::measurement::Sample;
use crate::report::plot::{self, Look, Stage, Timeline};
use crate::verdict::claim_verdict::Attempt;

/// The maximum number of runs that are drawn for a claim.
const MOST: usize = 6;
/// The maximum number of the others that are named.
const NAMED: usize = 40;

const KINDS: [&str; 3] = ["timeline.unit.anon", "timeline.unit.file", "timeline.unit.kernel"];

/// The stages that the events of a start end, in order.
const STAGES: [(&str, &str); 4] = [
    ("start.create", "systemd, then podman create"),
    ("start.init", "podman init"),
    ("start.start", "podman start"),
    ("start.output", "until the first line of output"),
];

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
    let figures = |budget: &mut ByteBudget, name: &str, of: &dyn Fn(&str, &[&Sample]) -> Option<Markup>| {
        let drawn = drawn.iter().filter_map(|subject| of(subject, run.watched.get(subject)?));
        drawn.map(|figure| budget.admit(name, figure)).collect::<Vec<_>>()
    };
    let timelines = figures(budget, "memory timelines", &timeline);
    let starts = figures(budget, "start-up waterfalls", &waterfall);
    html! {
        div.part {
            @if !timelines.is_empty() {
                h4 { "Memory of the watched runs" }
                (budget.admit("the key to the timelines", html! { p.key {
                    "From the bottom up: " span.swatch.anon {} " anon, its own memory; " span.swatch.file {} " file, page cache; "
                    span.swatch.kernel {} " kernel. Dashed: the cap."
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

/// Returns the first run of each series, at most [`MOST`], and all others.
fn chosen<'a>(subjects: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut series = BTreeSet::new();
    subjects.iter().partition(|subject| {
        let name = subject.rsplit_once(' ').map_or(**subject, |(name, _)| name);
        series.len() < MOST && series.insert(name)
    })
}

fn timeline(subject: &str, samples: &[&Sample]) -> Option<Markup> {
    let (looks, cap) = looks(samples);
    let name = plain(subject, 80);
    let timeline = Timeline { name: &name, looks, cap };
    let most = Unit::Bytes.format(timeline.most());
    let svg = timeline.draw()?;
    let cap = cap.map_or("no cap".to_owned(), |cap| format!("cap {}", Unit::Bytes.format(cap)));
    Some(figure(&name, &format!("at most {most} at a look, {cap}"), &svg))
}

fn figure(name: &str, caption: &str, svg: &str) -> Markup {
    html! {
        figure {
            figcaption { b { (name) } " " span.quiet { (caption) } }
            (PreEscaped(svg))
        }
    }
}

/// Returns the looks at a run that have all three kinds of memory, and its memory limit.
fn looks(samples: &[&Sample]) -> (Vec<Look>, Option<f64>) {
    let mut looks = BTreeMap::<Timestamp, [Option<f64>; 3]>::new();
    let mut cap = None;
    for sample in samples {
        let (probe, number) = (sample.probe.as_str(), sample.value.number());
        if probe == "timeline.unit.max" {
            cap = number;
        } else if let Some(place) = KINDS.iter().position(|kind| *kind == probe) {
            looks.entry(sample.at).or_default()[place] = number;
        }
    }
    let begin = looks.keys().next().copied().unwrap_or_default();
    let look = |(at, kinds): (&Timestamp, &[Option<f64>; 3])| {
        let [Some(anon), Some(file), Some(kernel)] = *kinds else { return None };
        Some(Look { at: at.duration_since(begin).as_secs_f64(), kinds: [anon, file, kernel] })
    };
    (looks.iter().filter_map(look).collect(), cap)
}

fn waterfall(subject: &str, samples: &[&Sample]) -> Option<Markup> {
    let of = |probe: &str| samples.iter().find(|sample| sample.probe == probe)?.value.number();
    let stages: Vec<Stage> =
        STAGES.into_iter().filter_map(|(probe, name)| Some(Stage { name, end: of(probe)? })).collect();
    if stages.is_empty() {
        return None;
    }
    let name = plain(subject, 80);
    let svg = plot::waterfall(&name, &stages, of("start.time"))?;
    Some(figure(&name, "seconds since systemd began to start it", &svg))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(probe: &str, value: f64, second: i64) -> Sample {
        let at = Timestamp::from_second(second).unwrap();
        Sample { at, ..Sample::of("hello warm 1", probe, value, Unit::Bytes) }
    }

    #[test]
    fn of_each_series_the_first_run_is_drawn_and_the_rest_named() {
        let subjects = ["hello cold 1", "hello warm 2", "hello warm 3", "by hand"];
        assert_eq!(chosen(&subjects), (vec!["hello cold 1", "hello warm 2", "by hand"], vec!["hello warm 3"]));
        let many: Vec<String> = (0..20).map(|n| format!("run{n} warm 1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!((chosen(&many).0.len(), chosen(&many).1.len()), (MOST, 14));
    }

    #[test]
    fn a_look_counts_where_it_saw_all_kinds() {
        let samples = [
            sample("timeline.unit.anon", 1.0, 10),
            sample("timeline.unit.file", 2.0, 10),
            sample("timeline.unit.kernel", 3.0, 10),
            sample("timeline.unit.anon", 1.0, 11),
            sample("timeline.unit.max", 64.0, 10),
        ];
        let (looks, cap) = looks(&samples.iter().collect::<Vec<_>>());
        assert_eq!((looks, cap), (vec![Look { at: 0.0, kinds: [1.0, 2.0, 3.0] }], Some(64.0)));
    }

    #[test]
    fn a_start_without_events_has_no_waterfall() {
        assert!(waterfall("x", &[&sample("start.time", 1.0, 1)]).is_none());
    }
}
