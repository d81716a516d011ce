//! Formats what the console shows of verdicts: the table of claims, and a last line.

use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};

use super::sentence;
use crate::base::unit::Unit;
use crate::claims::plan::NotJudgedReason;
use crate::evidence::{ClaimResult, Verdicts};
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{ControlResult, ControlVerdict};

/// How much of a value a cell shows, in characters, and how much of a sentence a line; all of it is in the evidence.
const VALUE: usize = 60;
const SENTENCE: usize = 400;

/// The width of the table if the console's width is unknown.
pub(super) const WIDTH: u16 = 150;

/// Returns the mark before a verdict, for readers who cannot distinguish its colour.
pub(super) fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "✔",
        Verdict::Fails => "✘",
        Verdict::Inconclusive => "?",
        Verdict::NotRun => "–",
        Verdict::KnownDeviation => "≈",
    }
}

/// Puts a text on one line, without the control characters that could change the terminal.
pub(super) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Puts a value on one line, and cuts it if it is long.
pub(super) fn short(text: &str) -> String {
    cut(&one_line(text), VALUE)
}

/// Puts a sentence on one line, and cuts it if it is very long.
pub(super) fn line(sentence: &str) -> String {
    cut(&one_line(sentence), SENTENCE)
}

pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub(super) fn measured(claim: &ClaimResult) -> String {
    claim.value.as_ref().map(|value| value.format(claim.unit.unwrap_or(Unit::Text))).unwrap_or_default()
}

pub(super) fn word(control: &ControlResult) -> &'static str {
    match control.verdict {
        ControlVerdict::Caught => "caught",
        ControlVerdict::NotCaught => "NOT CAUGHT",
        ControlVerdict::NotRun => "not run",
        ControlVerdict::Inconclusive => "inconclusive",
    }
}

pub(super) fn controls(claim: &ClaimResult) -> String {
    let mut words: Vec<&str> = claim.controls.iter().map(word).collect();
    words.dedup();
    words.join(", ")
}

pub(super) fn published(claim: &ClaimResult) -> String {
    let published = claim.published.clone().unwrap_or_default();
    match &claim.typical {
        Some(typical) => format!("{published} (typical: {typical})"),
        None => published,
    }
}

/// Returns an empty table as wide as the console, or of this width if the console's is unknown, and in unit tests.
pub(super) fn frame(width: u16) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if cfg!(test) || table.width().is_none_or(|columns| columns == 0) {
        table.set_width(width);
    }
    table
}

/// Returns whether a claim was judged and does not simply hold.
pub(super) fn falls_short(claim: &&ClaimResult) -> bool {
    !matches!(claim.verdict, Verdict::Holds | Verdict::NotRun)
}

/// Groups values by their keys, in the order in which each key first occurs.
pub(super) fn grouped<K: PartialEq, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut groups: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in pairs {
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(value),
            None => groups.push((key, vec![value])),
        }
    }
    groups
}

pub(super) fn ids(claims: &[&ClaimResult]) -> String {
    claims.iter().map(|claim| claim.id.to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns where a claim's scenarios stand; if there are several, with the verdict and the name of each.
pub(super) fn places(claim: &ClaimResult) -> impl Iterator<Item = String> {
    claim.scenarios.iter().map(|scenario| match claim.scenarios.len() {
        1 => scenario.at.to_string(),
        _ => format!("{} {} {}: {}", mark(scenario.verdict), scenario.at, scenario.verdict, scenario.at.name),
    })
}

/// Formats the table of all claims and, below it, the reason of each that does not simply hold.
pub fn table(verdicts: &Verdicts) -> String {
    format!("{}\n{}", filled(frame(WIDTH), verdicts), below(verdicts))
}

fn filled(mut table: Table, verdicts: &Verdicts) -> Table {
    table.set_header(["id", "claim", "bound", "published", "measured", "control", "verdict"]);
    table.add_rows(verdicts.claims.iter().filter(|claim| claim.selected()).map(|claim| {
        [
            claim.id.to_string(),
            claim.claim.clone(),
            claim.bound.clone(),
            published(claim),
            short(&measured(claim)),
            controls(claim),
            format!("{} {}", mark(claim.verdict), claim.verdict),
        ]
    }));
    table
}

fn below(verdicts: &Verdicts) -> String {
    let claims = || verdicts.claims.iter();
    let mut lines = Vec::new();
    for claim in claims().filter(falls_short) {
        lines.push(format!(
            "{} {:<5} {}: {}",
            mark(claim.verdict),
            claim.id,
            claim.verdict,
            line(&sentence::claim(claim))
        ));
        lines.extend(places(claim).map(|line| format!("        {line}")));
    }
    for (claim, control) in claims().flat_map(|claim| claim.controls.iter().map(move |control| (claim, control))) {
        if control.verdict == ControlVerdict::NotCaught {
            let (scenario, reason) = (&control.at.name, line(&sentence::reason(&control.reason)));
            lines.push(format!("↯ {:<5} does not discriminate: {scenario}: {reason}", claim.id));
        }
    }
    let not_run = claims().filter(|claim| claim.selected()).filter(|claim| claim.verdict == Verdict::NotRun);
    for (reason, claims) in grouped(not_run.map(|claim| (&claim.reason, claim))) {
        lines.push(format!("– {} not run: {}", ids(&claims), line(&sentence::reason(reason))));
    }
    lines.extend(
        verdicts.problems.iter().map(|problem| format!("✘ features/deviations.toml: {}", sentence::problem(problem))),
    );
    let others = claims().filter(|claim| !claim.selected()).count();
    if others > 0 {
        lines.push(format!("– {others} more not run: {}", sentence::not_judged(&NotJudgedReason::NotSelected)));
    }
    lines.iter().map(|line| format!("\n{line}")).collect()
}

/// Says how many verdicts of each kind there are; of kinds without any, only if `all`.
pub fn tally(verdicts: &[Verdict], all: bool) -> String {
    let kinds = [Verdict::Holds, Verdict::Fails, Verdict::KnownDeviation, Verdict::Inconclusive, Verdict::NotRun];
    let count = |kind: Verdict| (verdicts.iter().filter(|verdict| **verdict == kind).count(), plural(kind));
    let counts = kinds.into_iter().map(count).filter(|(count, _)| all || *count > 0);
    counts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn plural(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "hold",
        Verdict::Fails => "fail",
        Verdict::Inconclusive => "inconclusive",
        Verdict::NotRun => "not run",
        Verdict::KnownDeviation => "known deviations",
    }
}

pub(super) fn counts(verdicts: &Verdicts) -> String {
    tally(&verdicts.claims.iter().map(|claim| claim.verdict).collect::<Vec<_>>(), true)
}

/// Formats the last line: the number of claims by verdict, the exit status, and the folder of the evidence.
pub fn summary(verdicts: &Verdicts, folder: &Path) -> String {
    format!("{}; exit status {}; evidence: {}", counts(verdicts), verdicts.exit, folder.display())
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::verdict::Reason;

    #[test]
    fn the_table_shows_each_claim_and_the_lines_below_it_what_does_not_simply_hold() {
        let mut verdicts = example::bundle().verdicts;
        verdicts.claims[0].typical = Some("8 bytes".to_owned());
        let mut other = verdicts.claims[3].clone();
        other.reason = Reason::NotJudged(NotJudgedReason::NotSelected);
        verdicts.claims.push(other);
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_width(WIDTH);
        let (table, last) = (filled(table, &verdicts), summary(&verdicts, Path::new("target/assay/r1")));
        insta::assert_snapshot!("console", format!("{table}\n{}\n\n{last}", below(&verdicts)));
    }
}
