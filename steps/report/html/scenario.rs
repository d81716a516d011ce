//! Shows a scenario as the feature has it, with the result next to each step.

use gherkin::Scenario;
use maud::{Markup, html};

use super::Run;
use super::words::{class, plain, took};
use crate::claims::plan::{Decision, REFUSAL, ScenarioRef};
use crate::report::console::mark;
use crate::report::sentence;
use crate::verdict::claim_verdict::{Attempt, ControlResult, ControlVerdict, ScenarioResult, Step};
use crate::verdict::{Judged, Verdict};

/// How much of a step or a reason is shown, in characters.
const LINE: usize = 600;
/// The maximum number of steps, checks of a step and rows of a table that are shown.
const LINES: usize = 60;

/// One of a claim's own scenarios or one of its controls, which decides what is expected of the checks.
#[derive(Clone, Copy)]
pub(super) enum Role<'a> {
    Own(&'a ScenarioResult),
    Control(&'a ControlResult),
}

impl<'a> Role<'a> {
    fn at(self) -> &'a ScenarioRef {
        match self {
            Role::Own(scenario) => &scenario.at,
            Role::Control(control) => &control.at,
        }
    }

    fn is_recorded(self) -> bool {
        matches!(self, Role::Own(scenario) if matches!(scenario.decision, Decision::MeasureOnly(_)))
    }
}

pub(super) fn unrun(run: &Run, role: Role) -> Markup {
    let written = written(run, role);
    html! {
        (title(written, role))
        @if let Some(written) = written { ol.steps { @for step in written.steps.iter().take(LINES) {
            li.unrun { (line(&step.keyword, &step.value, None)) (table(Some(step))) }
        } } }
    }
}

fn written<'a>(run: &'a Run, role: Role<'a>) -> Option<&'a Scenario> {
    let at = role.at();
    run.scenarios.get(&(at.file.as_str(), at.line))
}

fn title(written: Option<&Scenario>, role: Role) -> Markup {
    let at = role.at();
    html! {
        p.scenario {
            @for tag in written.iter().flat_map(|scenario| &scenario.tags).take(10) { span.tag { "@" (plain(tag, 40)) } " " }
            b { "Scenario: " } (plain(&at.name, 240)) " "
            span.quiet { (plain(&at.file, 120)) ":" (at.line) }
        }
    }
}

pub(super) fn attempted(run: &Run, role: Role, attempt: &Attempt) -> Markup {
    let written = written(run, role);
    let of_line = |wanted: usize| written.and_then(|all| all.steps.iter().find(|step| step.position.line == wanted));
    let began = |step: &&gherkin::Step| !attempt.steps.iter().any(|ran| ran.line == step.position.line);
    let missed = written.into_iter().flat_map(|scenario| scenario.steps.iter().filter(began));
    let mut checks = attempt.checks.iter();
    html! {
        (title(written, role))
        ol.steps {
            @for step in attempt.steps.iter().take(LINES) {
                li { (ran(step, checks.by_ref().take(step.checks), attempt, role)) (table(of_line(step.line))) }
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
        (results(checks, attempt, role))
        @if let Some(error) = &attempt.error {
            @if !attempt.steps.iter().any(|step| step.seconds.is_none()) { (error_text(&sentence::reason(error))) }
        }
    }
}

fn ran<'a>(step: &Step, checks: impl Iterator<Item = &'a Judged>, attempt: &Attempt, role: Role) -> Markup {
    let refusal = step.text.starts_with(REFUSAL);
    html! {
        (line(&step.keyword, &step.text, step.seconds))
        (results(checks, attempt, role))
        @if let (true, Role::Control(control)) = (refusal, role) { (refused(control)) }
        @if step.seconds.is_none() {
            @match &attempt.error {
                Some(error) => (error_text(&sentence::reason(error))),
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

fn results<'a>(checks: impl Iterator<Item = &'a Judged>, attempt: &Attempt, role: Role) -> Markup {
    html! { @for judged in checks.take(LINES) { (result(judged, attempt, role)) } }
}

fn result(judged: &Judged, attempt: &Attempt, role: Role) -> Markup {
    let (verdict, reason) = (judged.outcome.verdict, plain(&sentence::check(&judged.outcome.reason), LINE));
    let expected = attempt.fails_on.as_ref().is_none_or(|probe| judged.check.probe == *probe);
    let (shown, meaning) = match (role, verdict) {
        (role, Verdict::Holds | Verdict::Fails) if role.is_recorded() => (Verdict::NotRun, "recorded, not judged: "),
        (Role::Control(_), Verdict::Fails) if expected => (Verdict::Holds, "rejected, as it must be: "),
        (Role::Control(_), Verdict::Fails) => {
            (Verdict::Inconclusive, "fails, but not the probe that the control names: ")
        }
        (Role::Control(control), Verdict::Holds) if control.verdict == ControlVerdict::NotCaught => {
            (Verdict::Fails, "passes, NOT CAUGHT: ")
        }
        (Role::Control(_), Verdict::Holds) => (Verdict::NotRun, "within its bound here, too: "),
        (_, verdict) => (verdict, ""),
    };
    html! { p class={ "result " (class(shown)) } { span aria-hidden="true" { (mark(shown)) } " " @if !meaning.is_empty() { b { (meaning) } } (reason) } }
}

/// Shows the result of the control as a whole, next to the step that expects it to fail.
fn refused(control: &ControlResult) -> Markup {
    html! {
        @match control.verdict {
            ControlVerdict::Caught => p.result.holds { "✔ it does" },
            ControlVerdict::NotCaught => p.result.fails { "✘ it does not: the check cannot tell this subject from the right one" },
            ControlVerdict::Inconclusive | ControlVerdict::NotRun => p.result.inconclusive { "? could not be judged" },
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
