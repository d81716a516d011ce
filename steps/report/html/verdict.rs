//! Shows the results of the run, and whether to trust them.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::parts::ByteBudget;
use super::words::{VERDICTS, chip, class, control_chip, count, link, marked, plain};
use super::{Run, section};
use crate::claims::register::ClaimId;
use crate::evidence::Verdicts;
use crate::report::console::{mark, plural};
use crate::report::sentence;
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{ControlResult, ControlVerdict};
use crate::verdict::declared::Problem;
use crate::verdict::worth::{FalseAlarms, of_equals};

pub(super) fn how_many(verdicts: &Verdicts, verdict: Verdict) -> usize {
    verdicts.claims.iter().filter(|claim| claim.verdict == verdict).count()
}

pub(super) fn sentence(verdicts: &Verdicts) -> String {
    let of = |verdict| how_many(verdicts, verdict);
    let (fail, open, declared) = (of(Verdict::Fails), of(Verdict::Inconclusive), of(Verdict::KnownDeviation));
    let judged = verdicts.claims.len() - of(Verdict::NotRun);
    match (fail, open, declared) {
        _ if judged == 0 => "Nothing was judged.".to_owned(),
        (1, ..) => format!("1 of the {judged} claims that were judged fails."),
        (2.., ..) => format!("{fail} of the {judged} claims that were judged fail."),
        _ if !verdicts.problems.is_empty() => "No claim fails, but something else is wrong.".to_owned(),
        (_, 1.., _) => format!("No claim fails; {open} of {judged} could not be judged."),
        (_, _, 1..) => format!(
            "Of {judged} claims that were judged, {} hold and {declared} fail as declared; none fails unexpectedly.",
            of(Verdict::Holds)
        ),
        _ => format!("All {judged} claims that were judged hold."),
    }
}

pub(super) fn verdict(run: &Run, budget: &mut ByteBudget) -> Markup {
    let verdicts = &run.bundle.verdicts;
    html! {
        header {
            p.kicker { "assay · report of run " (plain(&verdicts.run, 80)) }
            h1 { (sentence(verdicts)) }
            @if !verdicts.complete {
                p.warning { strong { "The run did not finish." } " This page shows what it had measured until then." }
            }
            (counts(verdicts))
            (meanings("this target cannot judge it"))
        }
        (belief(&[
            ("Controls", controls(run, budget)),
            ("Samples", samples(run)),
            ("Completeness", completeness(verdicts)),
            ("Declared deviations", deviations(run, budget)),
            ("Problems", html! {
                @if verdicts.problems.is_empty() { p { "None beyond the claims." } }
                @for problem in &verdicts.problems { (budget.admit("problems", one_problem(problem))) }
            }),
            ("Independent verification", without_trust(run)),
        ], budget))
    }
}

/// Counts the claims by verdict; each number shows those in the register.
pub(super) fn counts(verdicts: &Verdicts) -> Markup {
    html! {
        ul.counts { @for (verdict, number) in VERDICTS.map(|verdict| (verdict, how_many(verdicts, verdict))) {
            li class=(if number > 0 { class(verdict) } else { "none".to_owned() }) {
                a href="#register" data-show=(class(verdict)) {
                    span.number { (number) }
                    span.word { span aria-hidden="true" { (mark(verdict)) } " " (plural(verdict)) }
                }
            }
        } }
    }
}

pub(super) fn meanings(not_run: &str) -> Markup {
    html! {
        p.meanings {
            b { "Holds" } ": every sample was within its bound, and every control was caught. "
            b { "Known deviation" } ": it fails as declared; never counted as holding. "
            b { "Inconclusive" } ": it could not be judged. "
            b { "Not run" } ": " (not_run) "."
        }
    }
}

pub(super) fn belief(reasons: &[(&str, Markup)], budget: &ByteBudget) -> Markup {
    let list =
        html! { dl.belief { @for (name, reason) in reasons { dt { (name) } dd { (reason) } } } (budget.omissions()) };
    section("belief", "Trustworthiness", &list)
}

/// Shows how to check what the page says, in the folder that `intro` names.
pub(super) fn check_it_yourself(intro: &str, explained: &Markup) -> Markup {
    html! { p { (intro) } pre.shell { "sha256sum -c SHA256SUMS\nassay verify ." } p { (explained) } }
}

/// Shows how many wrong subjects were rejected, and each that was not.
fn controls(run: &Run, budget: &mut ByteBudget) -> Markup {
    let all = || run.claims.iter().flat_map(|claim| claim.controls.iter().map(|control| (claim.id, control)));
    let ran = |(_, control): &(ClaimId, &ControlResult)| !control.attempts.is_empty();
    let (planned, ran) = (all().count(), all().filter(ran).count());
    let caught = all().filter(|(_, control)| control.caught()).count();
    let bare = run.claims.iter().filter(|claim| claim.attempts().next().is_some() && claim.controls.is_empty()).count();
    let equals = FalseAlarms::among(&of_equals(all().map(|(_, control)| control)));
    let open = all().filter(|(_, control)| !control.caught() && !control.attempts.is_empty());
    html! {
        p {
            "A control runs the same check on a wrong subject, which the check must reject: this shows that it can fail. "
            strong { (caught) " of " (count(ran, "control that was run was caught", "controls that were run were caught")) }
            @if planned > ran { "; " (count(planned - ran, "was", "were")) " not run" }
            ". "
            @if equals.verdicts > 0 { "False alarms: " (sentence::false_alarms(&equals)) ". " }
            @if bare > 0 { (count(bare, "claim that was run has no control.", "claims that were run have no control.")) }
        }
        @for (id, control) in open {
            (budget.admit("controls that were not caught", html! {
                p.item {
                    (control_chip(control)) " " (link(id)) " "
                    (plain(&control.at.name, 160)) ": " (plain(&sentence::reason(&control.reason), 240))
                    @if control.verdict == ControlVerdict::NotCaught {
                        ". So the check does not discriminate, and the claim is not counted as holding."
                    }
                }
            }))
        }
    }
}

fn samples(run: &Run) -> Markup {
    let samples = &run.bundle.samples;
    let machines: BTreeSet<&str> = samples.iter().map(|sample| sample.machine.as_str()).collect();
    let judged: BTreeSet<u64> = run.bundle.verdicts.claims.iter().flat_map(|claim| claim.sample_ids()).collect();
    let again = run
        .bundle
        .verdicts
        .claims
        .iter()
        .filter(|claim| claim.scenarios.iter().any(|each| each.attempts.len() > 1))
        .count();
    html! {
        p {
            strong { (samples.len()) " raw samples" } ", each with its time, its machine and the text it was read from, from "
            (count(machines.len(), "machine", "machines")) " and "
            (count(run.watched.len(), "watched run", "watched runs")) ". The verdicts are based on " (judged.len()) " of them. "
            (count(again, "claim was", "claims were")) " tried more than once"
            @if again > 0 { "; the attempts are shown" }
            "."
        }
    }
}

fn completeness(verdicts: &Verdicts) -> Markup {
    let meaning = match verdicts.exit {
        0 => "everything that ran holds or is a declared deviation",
        1 => "a claim fails, a control was not caught, or a declaration is wrong",
        3 => "something could not be judged",
        _ => "an exit status that assay does not have",
    };
    html! {
        p {
            @if verdicts.complete { strong { "The run finished" } }
            @else { strong { "The run did not finish" } }
            ", with exit status " (verdicts.exit) ": " (meaning) "."
        }
    }
}

/// Shows each failure that is declared for this platform: by whom, why, and until when.
fn deviations(run: &Run, budget: &mut ByteBudget) -> Markup {
    let all = || run.claims.iter().flat_map(|claim| claim.declarations().map(move |deviation| (claim, deviation)));
    html! {
        @if all().next().is_none() { p { "None is declared for this platform." } }
        @for (claim, deviation) in all() {
            (budget.admit("declared deviations", html! {
                p.item {
                    (chip(claim.verdict)) " " (link(claim.id)) " "
                    (plain(&deviation.reason, 300)) " "
                    span.quiet { "Declared by " (plain(&deviation.declared_by, 80)) " until " (deviation.expires) "." }
                }
            }))
        }
    }
}

pub(super) fn one_problem(problem: &Problem) -> Markup {
    html! { p.item { (marked(Verdict::Fails, "problem")) " " (plain(&sentence::problem(problem), 400)) } }
}

fn without_trust(run: &Run) -> Markup {
    // Says nothing about existing checksums: they are made after this page, and include it.
    let ended = run.bundle.run.get("ended").is_some_and(|ended| !ended.is_null());
    let explained = html! {
        "The first finds a changed byte in any file. The second does so too, and judges every claim again from "
        code { "samples.jsonl" } " alone."
        @if !ended { " " strong { "This run did not finish, so it was never sealed: nothing vouches for its files." } }
    };
    check_it_yourself("This page is made from the files beside it, and from nothing else. In their folder:", &explained)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(of: &[Verdict]) -> Verdicts {
        let claims = of.iter().map(|verdict| crate::report::example::small_module("A2-1", *verdict)).collect();
        let on = "2026-11-24".parse().unwrap();
        Verdicts { schema: 2, run: "r".into(), on, complete: true, exit: 0, problems: Vec::new(), claims }
    }

    #[test]
    fn the_whole_run_is_said_in_a_sentence() {
        use Verdict::{Fails, Holds, Inconclusive, KnownDeviation, NotRun};
        let sentence_of = |of: &[Verdict]| sentence(&verdicts(of));
        assert_eq!(sentence_of(&[Holds, Holds, NotRun]), "All 2 claims that were judged hold.");
        assert_eq!(sentence_of(&[Fails, Holds, Inconclusive]), "1 of the 3 claims that were judged fails.");
        assert_eq!(sentence_of(&[Fails, Fails]), "2 of the 2 claims that were judged fail.");
        assert_eq!(sentence_of(&[Inconclusive, Holds]), "No claim fails; 1 of 2 could not be judged.");
        assert!(
            sentence_of(&[KnownDeviation, Holds]).contains("1 hold and 1 fail as declared; none fails unexpectedly.")
        );
        assert_eq!(sentence_of(&[NotRun]), "Nothing was judged.");
        let problems = crate::report::example::bundle().verdicts.problems;
        let wrong = Verdicts { problems, ..verdicts(&[Holds]) };
        assert_eq!(sentence(&wrong), "No claim fails, but something else is wrong.");
    }
}
