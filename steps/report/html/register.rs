//! Shows the register as a table: a row for each claim, with filters by verdict, section and words.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::parts::omitted;
use super::words::{VERDICTS, chip, class, control_chip, link, plain};
use super::{Run, section};
use crate::claims::plan::FeatureFile;
use crate::evidence::ClaimResult;
use crate::report::console;

/// The maximum size of the table, in bytes, if the run is not too large for whole rows.
const BYTES: usize = 460_000;
/// How much of a cell is shown, in characters.
const CELL: usize = 240;

pub(super) fn measured(claim: &ClaimResult, most: usize) -> String {
    plain(&console::measured(claim), most)
}

pub(super) fn register(run: &Run) -> Markup {
    let (all, shown) = (run.bundle.verdicts.claims.len(), run.claims.len());
    let filter = filter(run.claims.iter().copied(), &run.bundle.features);
    let share = BYTES.saturating_sub(filter.0.len()) / shown.max(1);
    let rows: Vec<(Markup, bool)> = run.claims.iter().map(|claim| row(claim, share)).collect();
    let content = html! {
        (filter)
        table.register {
            thead { tr {
                @for head in ["id", "claim", "bound", "published", "measured", "verdict", "control"] {
                    th scope="col" { (head) }
                }
            } }
            tbody { @for (row, _) in &rows { (row) } }
        }
        @if all > shown {
            p.omitted { "The run has " (all) " claims; " (shown) " are shown, and all are in verdicts.json." }
        }
        @if rows.iter().any(|(_, whole)| !whole) { (omitted("cells of the register")) }
    };
    section("register", "The register", &content)
}

/// Shows a claim's row; a short one if the row takes more than its share of bytes, which is the second value.
fn row(claim: &ClaimResult, share: usize) -> (Markup, bool) {
    let id = html! { th scope="row" data-label="id" { (link(claim.id)) } };
    let section = format!("A{}", claim.id.section());
    let full = html! {
        tr data-verdict=(class(claim.verdict)) data-section=(section) {
            (id)
            td data-label="claim" { (plain(&claim.claim, CELL)) }
            td data-label="bound" { (plain(&claim.bound, CELL)) }
            td data-label="published" {
                @if let Some(published) = &claim.published { (plain(published, CELL)) }
                @if let Some(typical) = &claim.typical { " " span.quiet { "typical: " (plain(typical, CELL)) } }
            }
            td data-label="measured" { (measured(claim, 48)) }
            td data-label="verdict" { (chip(claim.verdict)) }
            td data-label="control" { (controls(claim)) }
        }
    };
    if full.0.len() <= share {
        return (full, true);
    }
    let short = html! {
        tr data-verdict=(class(claim.verdict)) data-section=(section) {
            (id) td data-label="verdict" colspan="6" { (chip(claim.verdict)) }
        }
    };
    (short, false)
}

/// Shows the results of a claim's controls, each result once with its count.
pub(super) fn controls(claim: &ClaimResult) -> Markup {
    let mut chips = BTreeMap::<String, usize>::new();
    for control in &claim.controls {
        *chips.entry(control_chip(control).into_string()).or_default() += 1;
    }
    html! {
        @if chips.is_empty() { span.quiet { "none" } }
        @for (chip, times) in chips {
            @if times > 1 { (times) "× " }
            (maud::PreEscaped(chip)) " "
        }
    }
}

/// Shows the filter. It is hidden until the page's script shows it, because it does nothing without the script.
pub(super) fn filter<'a>(claims: impl Iterator<Item = &'a ClaimResult>, features: &[FeatureFile]) -> Markup {
    let mut sections = BTreeMap::<u8, String>::new();
    for claim in claims {
        let file = claim.scenarios.first().map(|scenario| scenario.at.file.as_str());
        let feature = features.iter().find(|feature| Some(feature.path.as_str()) == file);
        let name = feature.map(|file| plain(&file.feature.name, 60)).unwrap_or_default();
        sections.entry(claim.id.section()).or_insert(name);
    }
    html! {
        form #filter hidden aria-label="Filter the register" {
            label { "Verdict " select name="verdict" {
                option value="" { "all" }
                @for verdict in VERDICTS { option value=(class(verdict)) { (verdict) } }
            } }
            label { "Section " select name="section" {
                option value="" { "all" }
                @for (number, name) in sections {
                    option value={ "A" (number) } { "A" (number) @if !name.is_empty() { ": " (name) } }
                }
            } }
            label { "Words " input type="search" name="words" autocomplete="off"; }
            button type="reset" { "Show all" }
            output name="shown" aria-live="polite" {}
        }
    }
}
