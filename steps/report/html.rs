//! Writes `report.html`: everything a run tells an auditor, on one page that loads nothing from the network, in the
//! order of an auditor's questions: the results, whether to trust them, the environment, claim by claim, what was not
//! run.
//!
//! The page stays below [`MOST`] bytes for every run: each part has its byte budget, and states what did not fit.

mod claim;
mod commands;
mod facts;
mod files;
mod logs;
mod merged;
mod published;
mod register;
mod size_limit;
mod runs;
mod samples;
mod scenario;
mod verdict;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html as page};
use sha2::{Digest as _, Sha256};

use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::{ClaimResult, trial_file};
use crate::measurement::Sample;
use crate::report::workload;
use commands::Commands;
pub use merged::merged_html;
use size_limit::ByteBudget;
use words::plain;

/// The maximum size of the page, in bytes.
const MOST: usize = 1_990_000;
/// The byte budget of the register's table.
const REGISTER: usize = 460_000;
/// The byte budget of each of the smaller parts.
const PART: usize = 60_000;
/// The byte budget of the machines' logs.
const LOGS: usize = 120_000;
/// The maximum number of claims that are shown; an annex has about fifty.
const CLAIMS: usize = 800;

/// The maximum number of claims that are listed under one reason.
const LISTED: usize = 60;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The data that the parts of the page are made from, indexed for direct access.
struct Run<'a> {
    bundle: &'a EvidenceBundle,
    /// The claims that are shown, each with its anchor on the page.
    claims: Vec<(String, &'a ClaimResult)>,
    samples: BTreeMap<u64, &'a Sample>,
    /// The samples of timelines and starts, by subject.
    watched: BTreeMap<&'a str, Vec<&'a Sample>>,
    /// The subjects of watched runs, by the file that holds a run's text.
    trials: BTreeMap<String, &'a str>,
    commands: Commands,
}

impl<'a> Run<'a> {
    fn of(bundle: &'a EvidenceBundle) -> Run<'a> {
        let mut watched = BTreeMap::<&str, Vec<&Sample>>::new();
        let runs = |probe: &str| probe.starts_with("timeline.unit.") || probe.starts_with("start.");
        for sample in bundle.samples.iter().filter(|sample| runs(&sample.probe)) {
            watched.entry(&sample.subject).or_default().push(sample);
        }
        let samples = bundle.samples.iter().map(|sample| (sample.id, sample)).collect();
        let claims = anchored(&bundle.verdicts.claims);
        let commands = Commands::of(bundle, &claims);
        let trials = watched.keys().map(|subject| (trial_file(subject), *subject)).collect();
        Run { bundle, claims, samples, watched, trials, commands }
    }
}

/// Returns the claims that are shown, each with a unique anchor: `A7-1`, and `A7-1.2` if a damaged run has it twice. If
/// there are too many claims, those that hold or were not run are left out first.
fn anchored(claims: &[ClaimResult]) -> Vec<(String, &ClaimResult)> {
    let rank = |claim: &ClaimResult| words::VERDICTS.iter().position(|verdict| *verdict == claim.verdict);
    let mut places: Vec<usize> = (0..claims.len()).collect();
    places.sort_by_key(|place| claims.get(*place).map(rank));
    let shown: BTreeSet<usize> = places.into_iter().take(CLAIMS).collect();
    let mut seen = BTreeMap::<String, usize>::new();
    let claims = claims.iter().enumerate().filter(|(place, _)| shown.contains(place));
    let named = claims.map(|(_, claim)| {
        let id = claim.id.to_string();
        let times = seen.entry(id.clone()).or_default();
        *times += 1;
        (if *times == 1 { id } else { format!("{id}.{times}") }, claim)
    });
    named.collect()
}

pub fn html(bundle: &EvidenceBundle) -> anyhow::Result<Vec<u8>> {
    let run = Run::of(bundle);
    let title = format!("{} · assay", plain(&bundle.verdicts.run, 80));
    let logs = logs::logs(&run, &mut ByteBudget::of(LOGS))?;
    let before = page! {
        (verdict::verdict(&run, &mut ByteBudget::of(PART)))
        (facts::facts(&bundle.run, &mut ByteBudget::of(PART)))
        (register::register(&run, &mut ByteBudget::of(REGISTER)))
    };
    let after = page! {
        (not_run(&run, &mut ByteBudget::of(PART)))
        (memory(&run, &mut ByteBudget::of(PART)))
        (logs)
    };
    let frame = frame(&title, &page! {}).0.len() + before.0.len() + after.0.len();
    let claims = claim::claims(&run, MOST.saturating_sub(frame));
    Ok(frame_bytes(&title, &page! { (before) (claims) (after) }))
}

fn frame_bytes(title: &str, content: &Markup) -> Vec<u8> {
    frame(title, content).into_string().into_bytes()
}

fn sha256(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// Makes the page around its content. Nothing runs or is fetched except what is written here.
fn frame(title: &str, content: &Markup) -> Markup {
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        sha256(STYLE),
        sha256(SCRIPT)
    );
    page! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (content) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn not_run(run: &Run, room: &mut ByteBudget) -> Markup {
    let mut reasons = BTreeMap::<String, Vec<&(String, &ClaimResult)>>::new();
    for named in run.claims.iter().filter(|(_, claim)| claim.verdict == crate::verdict::Verdict::NotRun) {
        // What was measured all the same follows the reason, and differs between claims.
        let why = match &named.1.decision {
            crate::claims::plan::Decision::MeasureOnly(unjudged) => unjudged.why(),
            crate::claims::plan::Decision::Skip(why) => why,
            crate::claims::plan::Decision::Run => &named.1.reason,
        };
        reasons.entry(plain(why, 300)).or_default().push(named);
    }
    page! {
        section #not-run aria-labelledby="not-run-head" {
            h2 #not-run-head { "What was not run, and why" }
            @if reasons.is_empty() { p { "Everything was run and judged." } }
            @for (why, claims) in &reasons {
                (room.admit("reasons", page! {
                    div.reason {
                        h3 { (why) " " span.quiet { "(" (words::count(claims.len(), "claim", "claims")) ")" } }
                        ul {
                            @for (anchor, claim) in claims.iter().take(LISTED) {
                                li { a href={ "#" (anchor) } { (anchor) } " " (plain(&claim.claim, 160)) }
                            }
                            @if claims.len() > LISTED { li { "… and more: the register has them all" } }
                        }
                    }
                }))
            }
            (room.omissions())
        }
    }
}

/// Shows the workload's memory, series by series, and the cost of watching it.
fn memory(run: &Run, room: &mut ByteBudget) -> Markup {
    let rows = workload::rows(&run.bundle.samples);
    let table = page! {
        p { "A line per series of runs: cold with nothing of the workload in the page cache, warm with all of it. Beside
            the peak stand the medians of what each run reached." }
        div.wide role="region" aria-label="Memory of the workload" tabindex="0" {
            table.numbers {
                thead { tr { @for head in workload::heads() { th scope="col" { (head) } } } }
                tbody { @for row in rows.iter().take(100) { tr {
                    @for (place, cell) in row.iter().enumerate() {
                        @if place == 0 { th scope="row" { (plain(cell, 80)) } } @else { td { (cell) } }
                    }
                } } }
            }
        }
    };
    let cost = workload::disturbance(&run.bundle.samples);
    page! {
        @if !rows.is_empty() || cost.is_some() {
            section #memory aria-labelledby="memory-head" {
                h2 #memory-head { "Memory of the workload" }
                @if !rows.is_empty() { (room.admit("the table of the workload's memory", table)) }
                @if let Some(cost) = cost { p { "What the act of measuring cost: " (cost) "." } }
                (room.omissions())
            }
        }
    }
}

#[cfg(test)]
mod tests;
