//! Shows the runs that were watched for a claim: their memory over time, and the stages of their start.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::Run;
use super::size_limit::ByteBudget;
use super::words::plain;
use crate::report::plot;
use crate::verdict::claim_verdict::Attempt;

/// The maximum number of runs that are drawn for a claim.
const MOST: usize = 6;
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
        .filter_map(|(name, samples)| plot::timeline(&name, samples).map(|(words, svg)| figure(&name, &words, &svg)))
        .map(|figure| budget.admit("memory timelines", figure))
        .collect();
    let since = "seconds since systemd began to start it";
    let starts: Vec<Markup> = drawn
        .filter_map(|(name, samples)| plot::waterfall(&name, samples).map(|svg| figure(&name, since, &svg)))
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

/// Returns the first run of each series, at most [`MOST`], and all others.
fn chosen<'a>(subjects: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut series = BTreeSet::new();
    subjects.iter().partition(|subject| {
        let name = subject.rsplit_once(' ').map_or(**subject, |(name, _)| name);
        series.len() < MOST && series.insert(name)
    })
}

fn figure(name: &str, caption: &str, svg: &Markup) -> Markup {
    html! { figure { figcaption { b { (name) } " " span.quiet { (caption) } } (svg) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_series_the_first_run_is_drawn_and_the_rest_named() {
        let subjects = ["hello cold 1", "hello warm 2", "hello warm 3", "by hand"];
        assert_eq!(chosen(&subjects), (vec!["hello cold 1", "hello warm 2", "by hand"], vec!["hello warm 3"]));
        let many: Vec<String> = (0..20).map(|n| format!("run{n} warm 1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!((chosen(&many).0.len(), chosen(&many).1.len()), (MOST, 14));
    }
}
