//! Writes the page of several runs: targets side by side, with a link to each run's own page, which has all details.

use std::collections::BTreeSet;

use maud::{Markup, html};
use serde_json::Value as Json;

use super::register::{controls, filter, measured, named_sections};
use super::size_limit::ByteBudget;
use super::verdict::{how_many, plural, sentence};
use super::words::{VERDICTS, chip, class, count, plain};
use super::{LISTED, MOST, PART, frame_bytes};
use crate::evidence::merge::{Column, Merged, PARTS, Part};
use crate::report::console::mark;
use crate::report::merged::{Row, alike, rows, unrun};
use crate::verdict::Verdict;

/// How much of a cell is shown, in characters.
const CELL: usize = 240;

pub fn merged_html(merged: &Merged) -> Vec<u8> {
    let rows = rows(merged);
    let title = format!("{} · assay", plain(&merged.run, 80));
    let mut room = ByteBudget::of(MOST - 6 * PART);
    frame_bytes(
        &title,
        &html! {
            (head(merged))
            (each_target(merged, &mut ByteBudget::of(PART)))
            (belief(merged))
            (differences(merged, &rows, &mut ByteBudget::of(PART)))
            (register(merged, &rows, &mut room))
            (reasons(merged, &rows, &mut ByteBudget::of(2 * PART)))
            (not_run(merged, &rows, &mut ByteBudget::of(PART)))
        },
    )
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
                p.warning { strong { "Missing. " } (plain(missing, 300)) ". What it would have judged was not run." }
            }
            @for part in merged.parts.iter().filter(|part| !part.bundle.verdicts.complete) {
                p.warning {
                    strong { "Run " (plain(part.run(), 80)) " on " (plain(&part.target, 80)) " did not finish." }
                    " Here is what it had learnt until then."
                }
            }
            p.meanings {
                b { "Holds" } ": every sample kept its bound and every control was refused. "
                b { "Known deviation" } ": it fails as declared; never counted as holding. "
                b { "Inconclusive" } ": it could not be judged. "
                b { "Not run" } ": that target cannot judge it, or it was not asked for."
            }
        }
    }
}

fn each_target(merged: &Merged, room: &mut ByteBudget) -> Markup {
    html! {
        section #targets aria-labelledby="targets-head" {
            h2 #targets-head { "The targets" }
            @for column in &merged.columns {
                h3 { (plain(&column.target, 80)) }
                @if column.parts.is_empty() { p { "Nothing was run." } } @else {
                    p { (sentence(&column.verdicts)) }
                    p {
                        @for (verdict, number) in VERDICTS.map(|verdict| (verdict, how_many(&column.verdicts, verdict))) {
                            @if number > 0 {
                                span class={ "chip " (class(verdict)) } {
                                    span aria-hidden="true" { (mark(verdict)) } " " (number) " " (plural(verdict))
                                } " "
                            }
                        }
                    }
                }
                @for problem in &column.verdicts.problems {
                    (room.admit("problems", html! {
                        p.item { span.chip.fails { "✘ problem" } " " (plain(problem, 400)) }
                    }))
                }
                ul.files {
                    @for part in column.parts.iter().filter_map(|place| merged.parts.get(*place)) {
                        (room.admit("runs", run(part)))
                    }
                }
            }
            (room.omissions())
        }
    }
}

fn run(part: &Part) -> Markup {
    let said = |pointer: &str| match part.bundle.run.pointer(pointer) {
        Some(Json::String(text)) => Some(plain(text, 80)),
        _ => None,
    };
    let emulated = part.bundle.run.pointer("/machine/native").and_then(Json::as_bool) == Some(false);
    let stood_in = part.bundle.run.get("stand_in").and_then(Json::as_bool) == Some(true);
    let seconds = |time: Option<String>| time.map(|time| time.chars().take(19).collect::<String>());
    html! {
        li {
            a href={ (PARTS) "/" (part.name) "/report.html" } { "Report of run " (plain(part.run(), 80)) }
            @if let Some(shard) = part.shard { ", shard " (shard) }
            ": "
            @if let Some(from) = seconds(said("/started")) { (from) }
            @if let Some(to) = seconds(said("/ended")) { " to " (to) }
            @for fact in ["/machine/distribution", "/machine/kernel"] {
                @if let Some(fact) = said(fact) { ", " (fact) }
            }
            @if let Some(image) = said("/image/name") {
                ", workload " (image)
                @if let Some(digest) = said("/image/digest") { " " code { (digest.chars().take(19).collect::<String>()) "…" } }
            }
            @if emulated { ", emulated CPU" }
            @if stood_in { ", " strong { "not AWS: something stood in for it" } }
            ", " (count(part.bundle.samples.len(), "sample", "samples"))
        }
    }
}

fn belief(merged: &Merged) -> Markup {
    let git = |name: &str| merged.parts.first().and_then(|part| part.bundle.run.get("git")?.get(name));
    let commit = git("commit").and_then(Json::as_str);
    let changed = git("changed").and_then(Json::as_bool) == Some(true);
    html! {
        section #belief aria-labelledby="belief-head" {
            h2 #belief-head { "May I believe it?" }
            dl.belief {
                dt { "Same claims" }
                dd { p {
                    "Every run has the same annex, to the letter, by the same version of assay"
                    @if let Some(commit) = commit { ", at commit " code { (plain(commit, 64)) } }
                    @if changed { " with changes that are in no commit" }
                    ". No claim was judged twice on one target."
                } }
                dt { "Nothing is judged here" }
                dd { p {
                    "Each verdict is that of the run that came to it, and its samples, controls and commands are on that run's "
                    "own page. This one only puts them side by side."
                } }
                dt { "Completeness" }
                dd { p {
                    @if merged.complete() { strong { "Every run came to its end and none is missing" } }
                    @else { strong { "Something is missing or did not finish" } }
                    "; exit status " (merged.exit) "."
                } }
                dt { "Without trusting us" }
                dd {
                    p { "In the folder of this page:" }
                    pre.shell { "sha256sum -c SHA256SUMS\nassay verify ." }
                    p {
                        "The second checks each run by itself, every verdict from its own samples, and that what is said here "
                        "is what they say."
                    }
                }
            }
        }
    }
}

/// Shows the claims on which the targets that judged them disagree.
fn differences(merged: &Merged, rows: &[Row], room: &mut ByteBudget) -> Markup {
    let differ = |(_, claims): &&Row| {
        let judged = claims.iter().flatten().filter(|claim| claim.verdict != Verdict::NotRun);
        judged.map(|claim| class(claim.verdict)).collect::<BTreeSet<_>>().len() > 1
    };
    let differing: Vec<&Row> = rows.iter().filter(differ).collect();
    html! {
        @if merged.columns.len() > 1 {
            section #differences aria-labelledby="differences-head" {
                h2 #differences-head { "Where the targets differ" }
                @if differing.is_empty() {
                    p { "Nowhere: a claim that more than one of them judged came to the same verdict on each." }
                }
                @for row in differing {
                    (room.admit("differences", html! { p.item {
                        a href={ "#" (row.0) } { (row.0) } " "
                        @for (column, claim) in merged.columns.iter().zip(&row.1) {
                            @if let Some(claim) = claim { (plain(&column.target, 40)) " " (chip(claim.verdict)) " " }
                        }
                        (plain(row.1.iter().flatten().next().map_or("", |claim| &claim.claim), 160))
                    } }))
                }
                (room.omissions())
            }
        }
    }
}

/// Shows the register: a row for each claim, a column for each target.
fn register(merged: &Merged, rows: &[Row], room: &mut ByteBudget) -> Markup {
    let features = merged.parts.first().map(|part| &part.bundle.features[..]).unwrap_or_default();
    let sections =
        named_sections(rows.iter().filter_map(|(_, claims)| claims.iter().flatten().next().copied()), features);
    html! {
        section #register aria-labelledby="register-head" {
            h2 #register-head { "The register" }
            p { "A verdict leads to its claim on the page of the run that came to it." }
            (filter(&sections))
            div.wide role="region" aria-label="The register" tabindex="0" {
                table.register {
                    thead { tr {
                        @for head in ["id", "claim", "bound"] { th scope="col" { (head) } }
                        @for column in &merged.columns { th scope="col" { (plain(&column.target, 40)) } }
                    } }
                    tbody { @for row in rows { (room.admit("claims", line(merged, row))) } }
                }
            }
            (room.omissions())
        }
    }
}

fn line(merged: &Merged, (id, claims): &Row) -> Markup {
    let verdicts: BTreeSet<&str> = claims.iter().flatten().map(|claim| class(claim.verdict)).collect();
    let verdicts = verdicts.into_iter().collect::<Vec<_>>().join(" ");
    let any = claims.iter().flatten().next();
    html! {
        tr #(id) data-verdict=(verdicts) data-section={ "A" (id.section()) } {
            th scope="row" data-label="id" { (id) }
            td data-label="claim" { @if let Some(claim) = any { (plain(&claim.claim, CELL)) } }
            td data-label="bound" { @if let Some(claim) = any {
                (plain(&claim.bound, CELL))
                @if let Some(published) = &claim.published { br; span.quiet { "annex: " (plain(published, CELL)) } }
            } }
            @for (column, claim) in merged.columns.iter().zip(claims) {
                td data-label=(plain(&column.target, 40)) {
                    @match claim {
                        None => span.quiet { "nothing was run" },
                        Some(claim) => {
                            a href=(place(merged, column, *id)) { (chip(claim.verdict)) }
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
fn place(merged: &Merged, column: &Column, id: crate::claims::register::ClaimId) -> String {
    let part = column.of_claim(id).and_then(|(_, place)| merged.parts.get(place));
    part.map(|part| format!("{PARTS}/{}/report.html#{id}", part.name)).unwrap_or_default()
}

fn reasons(merged: &Merged, rows: &[Row], room: &mut ByteBudget) -> Markup {
    let told = |(targets, claim): &(Vec<&str>, &crate::evidence::ClaimResult)| {
        html! { p.item {
            (chip(claim.verdict)) " " strong { (plain(&targets.join(", "), 80)) } ": " (plain(&claim.reason, 900))
        } }
    };
    let open = |verdict: Verdict| !matches!(verdict, Verdict::Holds | Verdict::NotRun);
    let all = rows.iter().map(|row| (row, alike(merged, row)));
    let all: Vec<_> = all.filter(|(_, alike)| alike.iter().any(|(_, claim)| open(claim.verdict))).collect();
    html! {
        section #reasons aria-labelledby="reasons-head" {
            h2 #reasons-head { "What does not simply hold, and why" }
            @if all.is_empty() { p { "Every claim that was judged holds." } }
            @for ((id, claims), alike) in &all {
                (room.admit("reasons", html! {
                    div.reason {
                        h3 { a href={ "#" (id) } { (id) } " "
                            (plain(claims.iter().flatten().next().map_or("", |claim| &claim.claim), 160)) }
                        @for said in alike { (told(said)) }
                    }
                }))
            }
            (room.omissions())
        }
    }
}

fn not_run(merged: &Merged, rows: &[Row], room: &mut ByteBudget) -> Markup {
    let all = unrun(merged, rows);
    html! {
        section #not-run aria-labelledby="not-run-head" {
            h2 #not-run-head { "What was not run, and why" }
            @if all.is_empty() { p { "Everything was run and judged." } }
            @for (why, targets, claims) in &all {
                (room.admit("reasons", html! {
                    div.reason {
                        h3 { (plain(&targets.join(", "), 80)) ": " (plain(why, 300)) " "
                            span.quiet { "(" (count(claims.len(), "claim", "claims")) ")" } }
                        p { @for id in claims.iter().take(LISTED) { a href={ "#" (id) } { (id) } " " }
                            @if claims.len() > LISTED { "… and more: the register has them all" } }
                    }
                }))
            }
            (room.omissions())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::merged::tests::side_by_side;

    #[test]
    fn the_page_shows_the_targets_side_by_side_and_leads_to_each_run() {
        let (_folder, merged) = side_by_side();
        let page = String::from_utf8(merged_html(&merged)).unwrap();
        for said in [
            "<h1>A claim fails on vm:amd64.</h1>",
            "ec2: no run on it is here",
            "href=\"parts/vm-arm64/report.html\"",
            "<a href=\"parts/vm-amd64/report.html#A2-2\"><span class=\"chip fails\">",
            "<a href=\"parts/vm-arm64/report.html#A2-2\"><span class=\"chip holds\">",
            "<tr id=\"A2-2\" data-verdict=\"fails holds\"",
            "nothing was run",
        ] {
            assert!(page.contains(said), "no {said:?} in {page}");
        }
        let differences = page.split("Where the targets differ").nth(1).unwrap().split("</section>").next().unwrap();
        assert!(differences.contains("A2-2") && !differences.contains("A2-3"), "{differences}");
        assert!(!page.contains("<script>alert") && page.len() < MOST, "what others wrote is not markup");
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
        merged.missing.push("ec2".to_owned());
        assert_eq!(whole(&merged), "No claim that was judged fails, but not everything was run.");
    }
}
