//! Shows a claim in detail: its verdict and the reason, its scenarios as the feature has them with the result next to
//! each step, its controls, and all the evidence for it.

use gherkin::Scenario;
use maud::{Markup, html};

use super::parts::{ByteBudget, files};
use super::register::measured;
use super::words::{chip, class, control_chip, plain, took};
use super::{Run, commands, samples, section};
use crate::claims::plan::{Decision, REFUSAL, ScenarioRef};
use crate::claims::register::Requirement;
use crate::evidence::ClaimResult;
use crate::report::console::mark;
use crate::report::sentence;
use crate::verdict::claim_verdict::{Attempt, ControlResult, ControlVerdict, ScenarioResult, Step};
use crate::verdict::{Judged, Verdict};

/// How much of a sentence is shown, in characters.
const SENTENCE: usize = 1500;
/// The maximum number of attempts that are shown for a scenario: the last ones.
const ATTEMPTS: usize = 5;
/// The minimum size of a claim, in bytes: its id, its verdict, and what was left out.
const HEAD: usize = 1250;
/// One claim takes at most this fraction (one in …) of the budget of all claims.
const LARGEST: usize = 6;
/// The bytes of that which the frames of a claim's parts take, with the sentence about what was left out.
const TRIM: usize = 1150;
/// The maximum number of files that are named for a claim.
const FILES: usize = 30;

/// Shows all claims. If they do not all fit, the largest of them are cut, all to the same size.
pub(super) fn claims(run: &Run, most: usize) -> Markup {
    // No claim needs more than a good part of the page, and building a larger one would take too long.
    let whole = run.claims.iter().map(|claim| one(run, claim, HEAD + most / LARGEST));
    let mut pieces: Vec<Markup> = whole.collect();
    let sizes: Vec<usize> = pieces.iter().map(|piece| piece.0.len()).collect();
    let cap = fair(&sizes, most).max(HEAD);
    for (claim, piece) in run.claims.iter().zip(&mut pieces).filter(|(_, piece)| piece.0.len() > cap) {
        *piece = one(run, claim, cap);
    }
    section("claims", "Claim by claim", &html! { @for piece in pieces { (piece) } })
}

/// Returns the maximum size of each, so that all together do not exceed `most`.
fn fair(sizes: &[usize], most: usize) -> usize {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    let mut left = most;
    for (place, size) in sorted.iter().enumerate() {
        let share = left / (sorted.len() - place);
        if *size > share {
            return share;
        }
        left -= size;
    }
    usize::MAX
}

/// Shows a claim in this many bytes, if necessary only its head.
fn one<'a>(run: &Run<'a>, claim: &'a ClaimResult, most: usize) -> Markup {
    let whole = |inner: Markup| {
        html! {
            details id=(claim.id) class={ "claim " (class(claim.verdict)) } {
                summary {
                    h3 { span.id { (claim.id) } " " span.text { (plain(&claim.claim, 120)) } }
                    (chip(claim.verdict))
                }
                (inner)
            }
        }
    };
    let mut budget = ByteBudget::of(most.saturating_sub(TRIM));
    let full = whole(html! {
        (budget.admit("the reason", head(claim)))
        @if claim.all_attempts().next().is_some() || !claim.controls.is_empty() { (body(run, claim, &mut budget)) }
        (budget.omissions())
    });
    match full.0.len() <= most {
        true => full,
        false => {
            let mut budget = ByteBudget::of(0);
            let _ = budget.admit("all but its verdict", full);
            whole(budget.omissions())
        }
    }
}

fn head(claim: &ClaimResult) -> Markup {
    html! {
        p.why { (plain(&sentence::claim(claim), SENTENCE)) }
        dl.figures {
            div { dt { "bound" } dd { (plain(&claim.bound, SENTENCE)) } }
            @if let Some(published) = &claim.published {
                div { dt { "published" } dd { (plain(published, SENTENCE)) } }
            }
            @if let Some(typical) = &claim.typical {
                div { dt { "typical of containers, by the annex" } dd { (plain(typical, SENTENCE)) } }
            }
            @if let Some(kind) = claim.kind() {
                div {
                    dt { "run on" }
                    dd {
                        (kind)
                        @if !claim.needs.is_empty() && claim.needs != [Requirement::Host] {
                            ", because it needs: " (sentence::names(&claim.needs))
                        }
                    }
                }
            }
            @if claim.value.is_some() { div { dt { "measured" } dd { (measured(claim, 240)) } } }
        }
        @for deviation in claim.declarations().take(5) {
            p.item {
                b { "Declared: " } (plain(&deviation.reason, SENTENCE)) " "
                span.quiet { "By " (plain(&deviation.declared_by, 80)) ", until " (deviation.expires) "." }
            }
        }
    }
}

fn body<'a>(run: &Run<'a>, claim: &'a ClaimResult, budget: &mut ByteBudget) -> Markup {
    html! {
        @for scenario in &claim.scenarios { (own(run, claim, scenario, budget)) }
        @for control in &claim.controls { (one_control(run, claim, control, budget)) }
        (samples::watched(run, claim.all_attempts(), budget))
        (commands::commands(run, claim.all_attempts(), budget))
        (commands::of_runs(run, claim.all_attempts(), budget))
        (budget.admit("the list of files", html! {
            div.part {
                h4 { "Files" }
                (files(&run.bundle.folder, claim.all_attempts().flat_map(|attempt| attempt.evidence.iter().map(String::as_str)), FILES))
                (commands::links(run, claim.all_attempts()))
            }
        }))
    }
}

fn own(run: &Run, claim: &ClaimResult, scenario: &ScenarioResult, budget: &mut ByteBudget) -> Markup {
    html! {
        div.part {
            @if claim.scenarios.len() == 1 { h4 { "The scenario" } }
            @else {
                (budget.admit("the verdicts of scenarios", html! {
                    h4 { "A scenario " (chip(scenario.verdict)) }
                    @if scenario.verdict != Verdict::Holds { p { (plain(&sentence::scenario(scenario), SENTENCE)) } }
                }))
            }
            (each_attempt(run, claim, Role::Own(scenario), &scenario.attempts, budget))
        }
    }
}

fn one_control(run: &Run, claim: &ClaimResult, control: &ControlResult, budget: &mut ByteBudget) -> Markup {
    html! {
        div.part.control {
            (budget.admit("the controls", html! {
                h4 { "Control " (control_chip(control)) }
                @if !control.caught() { p { (plain(&sentence::control(control), SENTENCE)) } }
            }))
            (each_attempt(run, claim, Role::Control(control), &control.attempts, budget))
        }
    }
}

/// Shows a scenario attempt by attempt, the last ones only; as written if there was none.
fn each_attempt(run: &Run, claim: &ClaimResult, role: Role, all: &[Attempt], budget: &mut ByteBudget) -> Markup {
    let part = if matches!(role, Role::Own(_)) { "the scenario" } else { "the controls" };
    html! {
        @if all.is_empty() { (budget.admit(part, unrun_scenario(run, role))) }
        @for (number, attempt) in all.iter().enumerate().skip(all.len().saturating_sub(ATTEMPTS)) {
            @if all.len() > 1 {
                (budget.admit("the heads of attempts", html! {
                    h5 {
                        "Attempt " (number + 1) " of " (all.len()) " " (chip(attempt.outcome.verdict)) " "
                        span.quiet { "took " (took(attempt.seconds)) }
                    }
                }))
            }
            (budget.admit(part, tried_scenario(run, role, attempt)))
            (samples::figures(run, claim, attempt, budget))
        }
    }
}

/// How much of a step or a reason is shown, in characters.
const LINE: usize = 600;
/// The maximum number of steps, checks of a step and rows of a table that are shown.
const LINES: usize = 60;

/// One of a claim's own scenarios or one of its controls, which decides what is expected of the checks.
#[derive(Clone, Copy)]
enum Role<'a> {
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

fn unrun_scenario(run: &Run, role: Role) -> Markup {
    let written = written(run, role);
    html! {
        (title(written, role))
        @if let Some(written) = written { ol.steps { @for step in written.steps.iter().take(LINES) {
            li.unrun { (line(&step.keyword, &step.value, None)) (step_table(Some(step))) }
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

fn tried_scenario(run: &Run, role: Role, attempt: &Attempt) -> Markup {
    let written = written(run, role);
    let of_line = |wanted: usize| written.and_then(|all| all.steps.iter().find(|step| step.position.line == wanted));
    let began = |step: &&gherkin::Step| !attempt.steps.iter().any(|ran| ran.line == step.position.line);
    let missed = written.into_iter().flat_map(|scenario| scenario.steps.iter().filter(began));
    let mut checks = attempt.checks.iter();
    html! {
        (title(written, role))
        ol.steps {
            @for step in attempt.steps.iter().take(LINES) {
                li { (ran(step, checks.by_ref().take(step.checks), attempt, role)) (step_table(of_line(step.line))) }
            }
            @for step in missed.take(LINES) {
                li.unrun {
                    (line(&step.keyword, &step.value, None))
                    @if !attempt.steps.is_empty() { p.quiet { "not reached" } }
                    (step_table(Some(step)))
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

fn step_table(step: Option<&gherkin::Step>) -> Markup {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_largest_claims_are_cut_and_all_to_the_same_size() {
        let total = |sizes: &[usize], most| sizes.iter().map(|size| (*size).min(fair(sizes, most))).sum::<usize>();
        assert_eq!(fair(&[10, 20, 30], 60), usize::MAX, "all of them fit");
        assert_eq!(fair(&[100, 10, 100], 110), 50);
        assert_eq!(total(&[100, 10, 100], 110), 110);
        assert_eq!(fair(&[100, 100], 0), 0);
        assert_eq!(fair(&[], 0), usize::MAX);
    }
}
