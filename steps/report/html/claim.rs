//! Shows a claim in detail: its verdict and the reason, its scenario with the measured values in place, its controls,
//! and all the evidence for it.

use maud::{Markup, html};

use super::files::files;
use super::register::measured;
use super::scenario::{self, Role};
use super::size_limit::ByteBudget;
use super::words::{chip, class, control_chip, plain, took};
use super::{Run, commands, logs, runs, samples, section};
use crate::evidence::ClaimResult;
use crate::report::sentence;
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{Attempt, ControlResult, ScenarioResult};

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
                div { dt { "published by the annex" } dd { (plain(published, SENTENCE)) } }
            }
            @if let Some(typical) = &claim.typical {
                div { dt { "typical of containers, by the annex" } dd { (plain(typical, SENTENCE)) } }
            }
            @if let Some(kind) = claim.kind() {
                div {
                    dt { "run on" }
                    dd {
                        (kind)
                        @if !claim.needs.is_empty() { ", for it needs " (sentence::names(&claim.needs)) }
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
        (runs::watched(run, claim.all_attempts(), budget))
        (commands::section(run, claim.all_attempts(), budget))
        (logs::of_runs(run, claim.all_attempts(), budget))
        (budget.admit("the list of files", html! {
            div.part {
                h4 { "Files" }
                (files(&run.bundle.folder, claim.all_attempts().flat_map(|attempt| attempt.evidence.iter().map(String::as_str)), FILES))
                (logs::links(run, claim.all_attempts()))
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
        @if all.is_empty() { (budget.admit(part, scenario::unrun(run, role))) }
        @for (number, attempt) in all.iter().enumerate().skip(all.len().saturating_sub(ATTEMPTS)) {
            @if all.len() > 1 {
                (budget.admit("the heads of attempts", html! {
                    h5 {
                        "Attempt " (number + 1) " of " (all.len()) " " (chip(attempt.outcome.verdict)) " "
                        span.quiet { "took " (took(attempt.seconds)) }
                    }
                }))
            }
            (budget.admit(part, scenario::attempted(run, role, attempt)))
            (samples::figures(run, claim, attempt, budget))
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
