//! Shows a scenario as the feature has it, with the result next to each step.

use gherkin::Scenario;
use maud::{Markup, html};

use super::Run;
use super::words::{plain, took};
use crate::claims::plan::{Decision, REFUSAL, every_scenario};
use crate::evidence::ClaimResult;
use crate::report::console::mark;
use crate::verdict::claim_verdict::{Attempt, ControlResult, ControlVerdict, Step};
use crate::verdict::{Judged, Verdict};

/// How much of a step or a reason is shown, in characters.
const LINE: usize = 600;
/// The maximum number of steps, checks of a step and rows of a table that are shown.
const LINES: usize = 60;

pub(super) struct Place<'a> {
    /// Its file, relative to the project.
    pub feature: &'a str,
    pub line: usize,
    pub name: &'a str,
}

/// The role of a scenario, which decides what is expected of its checks.
#[derive(Clone, Copy)]
enum Of<'a> {
    Claim,
    /// The claim's own scenario, which is measured here and not judged.
    Recorded,
    Control(&'a ControlResult),
}

pub(super) fn unrun(run: &Run, place: &Place) -> Markup {
    let written = written(run, place);
    html! {
        (title(written, place))
        @if let Some(written) = written { ol.steps { @for step in written.steps.iter().take(LINES) {
            li.unrun { (line(&step.keyword, &step.value, None)) (table(Some(step))) }
        } } }
    }
}

/// Shows an attempt at a claim's own scenario.
pub(super) fn own(run: &Run, claim: &ClaimResult, place: &Place, attempt: &Attempt) -> Markup {
    let recorded = matches!(claim.decision, Decision::MeasureOnly(_));
    attempted(run, place, attempt, if recorded { Of::Recorded } else { Of::Claim })
}

pub(super) fn of_control(run: &Run, place: &Place, control: &ControlResult, attempt: &Attempt) -> Markup {
    attempted(run, place, attempt, Of::Control(control))
}

fn written<'a>(run: &'a Run, place: &Place) -> Option<&'a Scenario> {
    let file = run.bundle.features.iter().find(|file| file.path == place.feature)?;
    every_scenario(&file.feature).find(|scenario| scenario.position.line == place.line)
}

fn title(written: Option<&Scenario>, place: &Place) -> Markup {
    html! {
        p.scenario {
            @for tag in written.iter().flat_map(|scenario| &scenario.tags).take(10) { span.tag { "@" (plain(tag, 40)) } " " }
            b { "Scenario: " } (plain(place.name, 240)) " "
            span.quiet { (plain(place.feature, 120)) ":" (place.line) }
        }
    }
}

fn attempted(run: &Run, place: &Place, attempt: &Attempt, of: Of) -> Markup {
    let written = written(run, place);
    let of_line = |wanted: usize| written.and_then(|all| all.steps.iter().find(|step| step.position.line == wanted));
    let began = |step: &&gherkin::Step| !attempt.steps.iter().any(|ran| ran.line == step.position.line);
    let missed = written.into_iter().flat_map(|scenario| scenario.steps.iter().filter(began));
    let mut checks = attempt.checks.iter();
    html! {
        (title(written, place))
        ol.steps {
            @for step in attempt.steps.iter().take(LINES) {
                li { (ran(step, checks.by_ref().take(step.checks), attempt, of)) (table(of_line(step.line))) }
            }
            @for step in missed.take(LINES) {
                li.unrun {
                    (line(&step.keyword, &step.value, None))
                    @if !attempt.steps.is_empty() { p.quiet { "not reached" } }
                    (table(Some(step)))
                }
            }
        }
        // A run recorded before steps were stored has only its checks.
        (results(checks, attempt, of))
        @if let Some(error) = &attempt.error {
            @if !attempt.steps.iter().any(|step| step.seconds.is_none()) { (error_text(error)) }
        }
    }
}

/// Shows a step that began, with its checks.
fn ran<'a>(step: &Step, checks: impl Iterator<Item = &'a Judged>, attempt: &Attempt, of: Of) -> Markup {
    let refusal = step.text.starts_with(REFUSAL);
    html! {
        (line(&step.keyword, &step.text, step.seconds))
        (results(checks, attempt, of))
        @if let (true, Of::Control(control)) = (refusal, of) { (refused(control)) }
        @if step.seconds.is_none() {
            @match &attempt.error {
                Some(error) => (error_text(error)),
                None => p.result.inconclusive { "? did not finish" },
            }
        }
    }
}

fn line(keyword: &str, text: &str, seconds: Option<f64>) -> Markup {
    html! {
        p.step {
            b { (plain(keyword.trim(), 20)) } " " (plain(text, LINE))
            @if let Some(seconds) = seconds { @if seconds >= 0.05 { " " span.quiet { (took(seconds)) } } }
        }
    }
}

fn error_text(error: &str) -> Markup {
    html! { p.result.inconclusive { "? ended here: " (plain(error, 1500)) } }
}

/// Shows the results of checks, each with its mark.
fn results<'a>(checks: impl Iterator<Item = &'a Judged>, attempt: &Attempt, of: Of) -> Markup {
    html! { @for judged in checks.take(LINES) { (result(judged, attempt, of)) } }
}

fn result(judged: &Judged, attempt: &Attempt, of: Of) -> Markup {
    let (verdict, reason) = (judged.outcome.verdict, plain(&judged.outcome.reason, LINE));
    let expected = attempt.because.as_ref().is_none_or(|because| judged.outcome.reason.contains(because));
    let (class, mark, said) = match (of, verdict) {
        (Of::Recorded, Verdict::Holds | Verdict::Fails) => ("not-run", "–", "recorded, not judged: ".to_owned()),
        (Of::Claim | Of::Recorded, verdict) => (super::words::class(verdict), mark(verdict), String::new()),
        (Of::Control(_), Verdict::Fails) if expected => ("holds", "✔", "refused, as it must be: ".to_owned()),
        (Of::Control(_), Verdict::Fails) => ("inconclusive", "?", "refused, for another reason: ".to_owned()),
        (Of::Control(control), Verdict::Holds) if control.verdict == ControlVerdict::DoesNotDiscriminate => {
            ("fails", "✘", "passes, NOT CAUGHT: ".to_owned())
        }
        (Of::Control(_), Verdict::Holds) => ("not-run", "–", "kept here too: ".to_owned()),
        (Of::Control(_), verdict) => (super::words::class(verdict), mark(verdict), String::new()),
    };
    html! { p class={ "result " (class) } { span aria-hidden="true" { (mark) } " " @if !said.is_empty() { b { (said) } } (reason) } }
}

/// Shows the result of the control as a whole, next to the step that expects it to fail.
fn refused(control: &ControlResult) -> Markup {
    html! {
        @match control.verdict {
            ControlVerdict::Discriminates => p.result.holds { "✔ it does" },
            ControlVerdict::DoesNotDiscriminate => p.result.fails { "✘ it does not: the check cannot tell this subject from the right one" },
            ControlVerdict::None => p.result.inconclusive { "? could not be judged" },
        }
    }
}

fn table(step: Option<&gherkin::Step>) -> Markup {
    let table = step.and_then(|step| step.table.as_ref());
    html! {
        @if let Some(table) = table {
            div.wide role="region" aria-label="Table of the step" tabindex="0" { table {
                @for (place, row) in table.rows.iter().take(LINES).enumerate() { tr {
                    @for cell in row.iter().take(12) {
                        @if place == 0 { th scope="col" { (plain(cell, 80)) } } @else { td { (plain(cell, 80)) } }
                    }
                } }
            } }
        }
    }
}
