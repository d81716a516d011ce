//! Writes the page of several runs: targets side by side, with a link to each run's own page, which has all details.

use std::collections::BTreeSet;

use maud::{Markup, html};
use serde_json::Value as Json;

use super::facts::is;
use super::parts::ByteBudget;
use super::register::{controls, filter, measured};
use super::verdict::{belief, check_it_yourself, counts, how_many, meanings, one_problem, sentence};
use super::words::{chip, class, count, link, plain};
use super::{MOST, PART, SCRIPT, STYLE, Unrun, frame, not_run, section, table};
use crate::claims::register::ClaimId;
use crate::evidence::merge::{Column, Merged, PARTS, Part};
use crate::report::console::falls_short;
use crate::report::merged::{Row, Skipped, alike, rows, skipped};
use crate::report::sentence;
use crate::verdict::Verdict;

/// How much of a cell is shown, in characters.
const CELL: usize = 240;

pub fn merged_html(merged: &Merged) -> Vec<u8> {
    let rows = rows(merged);
    let title = format!("{} · assay", plain(&merged.run, 80));
    let content = html! {
        (head(merged))
        (each_target(merged))
        (trust(merged))
        (differences(merged, &rows))
        (register(merged, &rows))
        (reasons(merged, &rows))
        (not_run(&not_run_reasons(merged, &rows)))
    };
    frame(&title, STYLE, SCRIPT, &content).into_string().into_bytes()
}

/// Summarizes the whole in a sentence, the worst first.
fn whole(merged: &Merged) -> String {
    let on = |bad: &dyn Fn(&Column) -> bool| -> Option<String> {
        let targets: Vec<&str> =
            merged.columns.iter().filter(|column| bad(column)).map(|column| column.target.as_str()).collect();
        (!targets.is_empty()).then(|| plain(&targets.join(" and "), 200))
    };
    let any = |verdict| move |column: &Column| how_many(&column.verdicts, verdict) > 0;
    if let [column] = &merged.columns[..] {
        return format!("{}: {}", plain(&column.target, 80), sentence(&column.verdicts));
    }
    if let Some(targets) = on(&any(Verdict::Fails)) {
        let all: usize = merged.columns.iter().map(|column| how_many(&column.verdicts, Verdict::Fails)).sum();
        return format!("{} on {targets}.", if all == 1 { "A claim fails" } else { "Claims fail" });
    }
    if let Some(targets) = on(&|column| !column.verdicts.problems.is_empty()) {
        return format!("No claim fails, but something else is wrong on {targets}.");
    }
    if let Some(targets) = on(&any(Verdict::Inconclusive)) {
        return format!("No claim fails, but some could not be judged on {targets}.");
    }
    if !merged.complete() {
        return "No claim that was judged fails, but not everything was run.".to_owned();
    }
    match merged.columns.iter().any(any(Verdict::KnownDeviation)) {
        true => format!("On {} targets, no claim fails but as declared.", merged.columns.len()),
        false => format!("On {} targets, every claim that was judged holds.", merged.columns.len()),
    }
}

fn head(merged: &Merged) -> Markup {
    html! {
        header {
            p.kicker {
                "assay · " (count(merged.parts.len(), "run", "runs")) " in one · " (plain(&merged.run, 80))
            }
            h1 { (whole(merged)) }
            @for missing in &merged.missing {
                p.warning { strong { "Missing. " } (plain(&sentence::missing(missing), 300)) ". What it would have judged was not run." }
            }
            @for part in merged.parts.iter().filter(|part| !part.bundle.verdicts.complete) {
                p.warning {
                    strong { "Run " (plain(part.run(), 80)) " on " (plain(&part.target, 80)) " did not finish." }
                    " This page shows what it had measured until then."
                }
            }
            (meanings("that target cannot judge it, or it was not asked for"))
        }
    }
}

fn each_target(merged: &Merged) -> Markup {
    let mut budget = ByteBudget::of(PART);
    let content = html! {
        @for column in &merged.columns {
            h3 { (plain(&column.target, 80)) }
            @if column.parts.is_empty() { p { "Nothing was run." } } @else {
                p { (sentence(&column.verdicts)) }
                (counts(&column.verdicts))
            }
            @for problem in &column.verdicts.problems { (budget.admit("problems", one_problem(problem))) }
            ul.files {
                @for part in column.parts.iter().filter_map(|place| merged.parts.get(*place)) {
                    (budget.admit("runs", run(part)))
                }
            }
        }
        (budget.omissions())
    };
    section("targets", "The targets", &content)
}

fn run(part: &Part) -> Markup {
    let fact = |pointer: &str, most: usize| -> Option<String> {
        let text = part.bundle.run.pointer(pointer).and_then(Json::as_str)?;
        Some(plain(text, 80).chars().take(most).collect())
    };
    html! {
        li {
            a href={ (PARTS) "/" (part.name) "/report.html" } { "Report of run " (plain(part.run(), 80)) }
            @if let Some(shard) = part.shard { ", shard " (shard) }
            ": "
            @if let Some(from) = fact("/started", 19) { (from) }
            @if let Some(to) = fact("/ended", 19) { " to " (to) }
            @if let Some(distribution) = fact("/machine/distribution", 80) { ", " (distribution) }
            @if let Some(kernel) = fact("/machine/kernel", 80) { ", " (kernel) }
            @if let Some(image) = fact("/image/name", 80) { ", workload " (image) }
            @if let Some(digest) = fact("/image/digest", 19) { " " code { (digest) "…" } }
            @if is(&part.bundle.run, "/machine/native", false) { ", emulated CPU" }
            @if is(&part.bundle.run, "/stand_in", true) { ", " strong { "not AWS but a stand-in" } }
            ", " (count(part.bundle.samples.len(), "sample", "samples"))
        }
    }
}

fn trust(merged: &Merged) -> Markup {
    let git = |name: &str| merged.parts.first().and_then(|part| part.bundle.run.get("git")?.get(name));
    let commit = git("commit").and_then(Json::as_str);
    let changed = git("changed").and_then(Json::as_bool) == Some(true);
    let same = html! { p {
        "Every run has the same annex, to the letter, by the same version of assay"
        @if let Some(commit) = commit { ", at commit " code { (plain(commit, 64)) } }
        @if changed { " with changes that are in no commit" }
        ". No claim was judged twice on one target."
    } };
    let copied = html! { p {
        "Each verdict is taken from the run that reached it. Its samples, controls and commands are on that run's own "
        "page; this one only shows the runs side by side."
    } };
    let complete = html! { p {
        @if merged.complete() { strong { "Every run finished, and none is missing" } }
        @else { strong { "Something is missing or did not finish" } }
        "; exit status " (merged.exit) "."
    } };
    let explained = html! {
        "The second recomputes every verdict of each run from its own samples, and checks that this folder repeats what "
        "the runs say."
    };
    let reasons = [
        ("Same claims", same),
        ("Nothing is judged here", copied),
        ("Completeness", complete),
        ("Independent verification", check_it_yourself("In the folder of this page:", &explained)),
    ];
    belief(&reasons, &ByteBudget::of(0))
}

/// Shows the claims on which the targets that judged them disagree.
fn differences(merged: &Merged, rows: &[Row]) -> Markup {
    if merged.columns.len() < 2 {
        return html! {};
    }
    let mut budget = ByteBudget::of(PART);
    let differ = |row: &&Row| {
        let judged = row.on.iter().flatten().filter(|claim| claim.verdict != Verdict::NotRun);
        judged.map(|claim| class(claim.verdict)).collect::<BTreeSet<_>>().len() > 1
    };
    let differing: Vec<&Row> = rows.iter().filter(differ).collect();
    let content = html! {
        @if differing.is_empty() {
            p { "Nowhere: every claim that several targets judged has the same verdict on each of them." }
        }
        @for row in differing {
            (budget.admit("differences", html! { p.item {
                (link(row.claim.id)) " "
                @for (column, claim) in merged.columns.iter().zip(&row.on) {
                    @if let Some(claim) = claim { (plain(&column.target, 40)) " " (chip(claim.verdict)) " " }
                }
                (plain(&row.claim.claim, 160))
            } }))
        }
        (budget.omissions())
    };
    section("differences", "Where the targets differ", &content)
}

fn register(merged: &Merged, rows: &[Row]) -> Markup {
    let mut budget = ByteBudget::of(MOST - 6 * PART);
    let features = merged.parts.first().map(|part| &part.bundle.features[..]).unwrap_or_default();
    let targets: Vec<String> = merged.columns.iter().map(|column| plain(&column.target, 40)).collect();
    let heads: Vec<&str> = ["id", "claim", "bound"].into_iter().chain(targets.iter().map(String::as_str)).collect();
    let lines = html! { @for row in rows { (budget.admit("claims", line(merged, &targets, row))) } };
    let content = html! {
        p { "Each verdict links to its claim on the page of the run that reached it." }
        (filter(rows.iter().map(|row| row.claim), features))
        (table("The register", "register", &heads, &lines))
        (budget.omissions())
    };
    section("register", "The register", &content)
}

fn line(merged: &Merged, targets: &[String], row: &Row) -> Markup {
    let Row { claim: any, on } = row;
    let verdicts: BTreeSet<String> = on.iter().flatten().map(|claim| class(claim.verdict)).collect();
    let verdicts = verdicts.into_iter().collect::<Vec<_>>().join(" ");
    html! {
        tr #(any.id) data-verdict=(verdicts) data-section={ "A" (any.id.section()) } {
            th scope="row" data-label="id" { (any.id) }
            td data-label="claim" { (plain(&any.claim, CELL)) }
            td data-label="bound" {
                (plain(&any.bound, CELL))
                @if let Some(published) = &any.published { br; span.quiet { "annex: " (plain(published, CELL)) } }
            }
            @for ((column, claim), target) in merged.columns.iter().zip(on).zip(targets) {
                td data-label=(target) {
                    @match claim {
                        None => span.quiet { "nothing was run" },
                        Some(claim) => {
                            a href=(place(merged, column, claim.id)) { (chip(claim.verdict)) }
                            @if claim.value.is_some() { br; (measured(claim, 48)) }
                            @if !claim.controls.is_empty() { br; span.quiet { "control: " } (controls(claim)) }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the link to a claim's details: on the page of the run that judged it.
fn place(merged: &Merged, column: &Column, id: ClaimId) -> String {
    let part = column.of_claim(id).and_then(|(_, place)| merged.parts.get(place));
    part.map(|part| format!("{PARTS}/{}/report.html#{id}", part.name)).unwrap_or_default()
}

fn reasons(merged: &Merged, rows: &[Row]) -> Markup {
    let mut budget = ByteBudget::of(2 * PART);
    let open: Vec<&Row> = rows.iter().filter(|row| row.on.iter().flatten().any(falls_short)).collect();
    let content = html! {
        @if open.is_empty() { p { "Every claim that was judged holds." } }
        @for row in open {
            (budget.admit("reasons", html! {
                div.reason {
                    h3 { (link(row.claim.id)) " " (plain(&row.claim.claim, 160)) }
                    @for (targets, claim) in alike(merged, row) {
                        p.item {
                            (chip(claim.verdict)) " " strong { (plain(&targets.join(", "), 80)) } ": "
                            (plain(&sentence::claim(claim), 900))
                        }
                    }
                }
            }))
        }
        (budget.omissions())
    };
    section("reasons", "What does not simply hold, and why", &content)
}

fn not_run_reasons<'a>(merged: &'a Merged, rows: &[Row<'a>]) -> Unrun<'a> {
    let titled = |Skipped { reason, targets, claims }: Skipped<'a>| {
        (format!("{}: {}", plain(&targets.join(", "), 80), plain(&sentence::reason(reason), 300)), claims)
    };
    skipped(merged, rows).into_iter().map(titled).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::words;
    use super::*;
    use crate::evidence::merge::Missing;
    use crate::report::merged::tests::side_by_side;

    #[test]
    fn the_page_shows_the_targets_side_by_side_and_leads_to_each_run() {
        let (_folder, merged) = side_by_side();
        let page = String::from_utf8(merged_html(&merged)).unwrap();
        assert!(!page.contains("<script>alert") && page.len() < MOST, "what others wrote is not markup");
        assert!(page.contains("<tr id=\"A2-2\" data-verdict=\"fails holds\""), "{page}");
        insta::assert_snapshot!("merged", words(&page));
    }

    #[test]
    fn the_whole_is_said_in_a_sentence_the_worst_first() {
        let (_folder, mut merged) = side_by_side();
        merged.missing.clear();
        merged.columns.truncate(2);
        let mut make = |from: Verdict, to: Verdict| {
            for column in &mut merged.columns {
                column.verdicts.problems.clear();
                let wrong = column.verdicts.claims.iter_mut().filter(|claim| claim.verdict == from);
                wrong.for_each(|claim| claim.verdict = to);
            }
            whole(&merged)
        };
        assert_eq!(
            make(Verdict::Fails, Verdict::Holds),
            "No claim fails, but some could not be judged on vm:amd64 and vm:arm64."
        );
        assert_eq!(make(Verdict::Inconclusive, Verdict::Holds), "On 2 targets, no claim fails but as declared.");
        assert_eq!(make(Verdict::KnownDeviation, Verdict::Holds), "On 2 targets, every claim that was judged holds.");
        merged.missing.push(Missing { target: "ec2".to_owned(), shards: Vec::new() });
        assert_eq!(whole(&merged), "No claim that was judged fails, but not everything was run.");
    }
}
