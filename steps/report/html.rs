//! Writes `report.html`: everything a run tells an auditor, on one page that loads nothing from the network, in the
//! order of an auditor's questions: the results, whether to trust them, the environment, claim by claim, what was not
//! run.
//!
//! The page stays below [`MOST`] bytes for every run: each part has its byte budget, and states what did not fit.

mod claim;
mod commands;
mod facts;
mod merged;
mod register;
mod parts;
mod samples;
mod verdict;
mod words;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html as page};
use sha2::{Digest as _, Sha256};

use crate::claims::plan::FeatureFile;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::{ClaimResult, trial_file};
use crate::measurement::Sample;
use crate::report::console::grouped;
use crate::report::{sentence, workload};
use crate::verdict::Verdict;
use commands::Commands;
pub use merged::merged_html;
use parts::ByteBudget;
pub(super) use words::count;
use words::plain;

/// The maximum size of the page, in bytes.
const MOST: usize = 1_990_000;
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
    /// The claims that are shown.
    claims: Vec<&'a ClaimResult>,
    samples: BTreeMap<u64, &'a Sample>,
    /// The samples of timelines and starts, by subject.
    watched: BTreeMap<&'a str, Vec<&'a Sample>>,
    /// The subjects of watched runs, by the file that holds a run's text.
    trials: BTreeMap<String, &'a str>,
    commands: Commands,
    /// The scenarios of the features as they run, by file and line.
    scenarios: BTreeMap<(&'a str, usize), gherkin::Scenario>,
    /// The names of the machines' logs.
    logs: Vec<String>,
}

impl<'a> Run<'a> {
    fn of(bundle: &'a EvidenceBundle) -> anyhow::Result<Run<'a>> {
        let mut watched = BTreeMap::<&str, Vec<&Sample>>::new();
        let runs = |probe: &str| probe.starts_with("timeline.unit.") || probe.starts_with("start.");
        for sample in bundle.samples.iter().filter(|sample| runs(&sample.probe)) {
            watched.entry(&sample.subject).or_default().push(sample);
        }
        let samples = bundle.samples.iter().map(|sample| (sample.id, sample)).collect();
        let claims = shown(&bundle.verdicts.claims);
        let commands = Commands::of(bundle, &claims);
        let trials = watched.keys().map(|subject| (trial_file(subject), *subject)).collect();
        let logs = commands::in_order(bundle.folder.names()?);
        let of = |file: &'a FeatureFile| {
            let all = file.scenarios().into_iter().map(|expanded| expanded.scenario);
            all.map(|scenario| ((file.path.as_str(), scenario.position.line), scenario)).collect::<Vec<_>>()
        };
        let scenarios = bundle.features.iter().flat_map(of).collect();
        Ok(Run { bundle, claims, samples, watched, trials, commands, scenarios, logs })
    }
}

/// Returns the claims that are shown. If there are too many, those that hold or were not run are left out first.
fn shown(claims: &[ClaimResult]) -> Vec<&ClaimResult> {
    let rank = |claim: &ClaimResult| words::VERDICTS.iter().position(|verdict| *verdict == claim.verdict);
    let mut places: Vec<(usize, &ClaimResult)> = claims.iter().enumerate().collect();
    places.sort_by_key(|(_, claim)| rank(claim));
    places.truncate(CLAIMS);
    places.sort_by_key(|(place, _)| *place);
    places.into_iter().map(|(_, claim)| claim).collect()
}

pub fn html(bundle: &EvidenceBundle) -> anyhow::Result<Vec<u8>> {
    let run = Run::of(bundle)?;
    let title = format!("{} · assay", plain(&bundle.verdicts.run, 80));
    let before = page! {
        (verdict::verdict(&run, &mut ByteBudget::of(PART)))
        (facts::facts(&bundle.run, &mut ByteBudget::of(PART)))
        (register::register(&run))
    };
    let after = page! {
        (not_run(&unrun(&run)))
        (memory(&run, &mut ByteBudget::of(PART)))
        (commands::logs(&run, &mut ByteBudget::of(LOGS)))
    };
    let around = frame(&title, STYLE, SCRIPT, &page! { (before) (after) }).0.len();
    let claims = claim::claims(&run, MOST.saturating_sub(around));
    Ok(frame(&title, STYLE, SCRIPT, &page! { (before) (claims) (after) }).into_string().into_bytes())
}

fn sha256(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// Makes a page around its content. Nothing runs or is fetched except this style and this script.
pub(super) fn frame(title: &str, style: &str, script: &str, content: &Markup) -> Markup {
    let (styles, scripts) = (sha256(style), sha256(script));
    let policy =
        format!("default-src 'none'; style-src {styles}; script-src {scripts}; base-uri 'none'; form-action 'none'");
    page! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body {
                main { (content) }
                @if !script.is_empty() { script { (PreEscaped(script)) } }
            }
        }
    }
}

fn section(id: &str, heading: &str, content: &Markup) -> Markup {
    let head = format!("{id}-head");
    page! { section id=(id) aria-labelledby=(head) { h2 id=(head) { (heading) } (content) } }
}

/// Makes a table that scrolls sideways by itself where the page is narrow.
pub(super) fn table(name: &str, class: &str, heads: &[&str], rows: &Markup) -> Markup {
    page! {
        div.wide role="region" aria-label=(name) tabindex="0" {
            table class=(class) {
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// Claims by a sentence about why they were not run.
type Unrun<'a> = Vec<(String, Vec<&'a ClaimResult>)>;

fn unrun<'a>(run: &Run<'a>) -> Unrun<'a> {
    let not_run = run.claims.iter().filter(|claim| claim.verdict == Verdict::NotRun);
    let groups = grouped(not_run.map(|claim| (&claim.reason, *claim)));
    groups.into_iter().map(|(reason, claims)| (plain(&sentence::reason(reason), 300), claims)).collect()
}

fn not_run(reasons: &Unrun) -> Markup {
    let mut budget = ByteBudget::of(PART);
    let content = page! {
        @if reasons.is_empty() { p { "Everything was run and judged." } }
        @for (why, claims) in reasons {
            (budget.admit("reasons", page! {
                div.reason {
                    h3 { (why) " " span.quiet { "(" (words::count(claims.len(), "claim", "claims")) ")" } }
                    ul {
                        @for claim in claims.iter().take(LISTED) {
                            li { (words::link(claim.id)) " " (plain(&claim.claim, 160)) }
                        }
                        @if claims.len() > LISTED { li { "… and more: the register has them all" } }
                    }
                }
            }))
        }
        (budget.omissions())
    };
    section("not-run", "What was not run, and why", &content)
}

/// Shows the workload's memory, series by series, and the cost of watching it.
fn memory(run: &Run, budget: &mut ByteBudget) -> Markup {
    let (rows, cost) = (workload::rows(&run.bundle.samples), workload::disturbance(&run.bundle.samples));
    if rows.is_empty() && cost.is_none() {
        return page! {};
    }
    let cells = page! {
        @for row in rows.iter().take(100) { tr {
            @for (place, cell) in row.iter().enumerate() {
                @if place == 0 { th scope="row" { (plain(cell, 80)) } } @else { td { (cell) } }
            }
        } }
    };
    let heads: Vec<&str> = workload::heads().collect();
    let table = page! {
        p { "A line per series of runs: cold with nothing of the workload in the page cache, warm with all of it. Beside
            the peak stand the medians of what each run reached." }
        (table("Memory of the workload", "numbers", &heads, &cells))
    };
    let content = page! {
        @if !rows.is_empty() { (budget.admit("the table of the workload's memory", table)) }
        @if let Some(cost) = cost { p { "What the act of measuring cost: " (cost) "." } }
        (budget.omissions())
    };
    section("memory", "Memory of the workload", &content)
}

#[cfg(test)]
pub(super) mod tests;
