//! Formats what the console shows of verdicts: the table of claims, and a last line.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};

use crate::base::unit::Unit;
use crate::claims::plan::NOT_SELECTED;
use crate::evidence::{ClaimResult, Verdicts};
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{ControlResult, ControlVerdict};

/// How much of a reason a line shows, in characters; all of it is in the evidence.
const REASON: usize = 150;

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

/// Puts a text on one line, and cuts it if it is long.
pub(super) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&line, REASON)
}

/// Cuts a text to this many characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub(super) fn measured(claim: &ClaimResult) -> String {
    match (&claim.value, claim.unit) {
        (Some(value), unit) => value.show(unit.unwrap_or(Unit::Text)),
        (None, _) => String::new(),
    }
}

/// Returns the result of a control, in a word.
pub(super) fn word(control: &ControlResult) -> &'static str {
    match control.verdict {
        ControlVerdict::Discriminates => "caught",
        ControlVerdict::DoesNotDiscriminate => "NOT CAUGHT",
        ControlVerdict::None if control.attempts.is_empty() => "not run",
        ControlVerdict::None => "inconclusive",
    }
}

/// Lists the controls' results; equal neighbours appear once.
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
    if cfg!(test) || table.width().is_none() {
        table.set_width(width);
    }
    table
}

/// Formats the table of all claims and, below it, the reason of each that does not simply hold.
pub fn table(verdicts: &Verdicts) -> String {
    let mut table = frame(WIDTH);
    table.set_header(["id", "claim", "bound", "published", "measured", "control", "verdict"]);
    let (selected, rest): (Vec<_>, Vec<_>) =
        verdicts.claims.iter().partition(|claim| !(claim.verdict == Verdict::NotRun && claim.reason == NOT_SELECTED));
    for claim in &selected {
        table.add_row([
            claim.id.to_string(),
            claim.claim.clone(),
            claim.bound.clone(),
            published(claim),
            short(&measured(claim)),
            controls(claim),
            format!("{} {}", mark(claim.verdict), claim.verdict),
        ]);
    }
    let mut text = format!("{table}\n");
    let judged = |claim: &&&ClaimResult| !matches!(claim.verdict, Verdict::Holds | Verdict::NotRun);
    for claim in selected.iter().filter(judged) {
        text += &format!("\n{} {:<5} {}: {}", mark(claim.verdict), claim.id, claim.verdict, claim.reason);
        text += &format!("\n        {}:{}", claim.feature, claim.line);
    }
    for claim in selected.iter().filter(|claim| claim.control.verdict == ControlVerdict::DoesNotDiscriminate) {
        let passed = claim.controls.iter().filter(|control| control.verdict == ControlVerdict::DoesNotDiscriminate);
        for control in passed {
            text += &format!("\n↯ {:<5} does not discriminate: {}: {}", claim.id, control.scenario, control.reason);
        }
    }
    let mut unrun: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for claim in selected.iter().filter(|claim| claim.verdict == Verdict::NotRun) {
        unrun.entry(&claim.reason).or_default().push(claim.id.to_string());
    }
    for (reason, claims) in unrun {
        text += &format!("\n– {} not run: {reason}", claims.join(", "));
    }
    for problem in &verdicts.problems {
        text += &format!("\n✘ features/deviations.toml: {problem}");
    }
    if !rest.is_empty() {
        text += &format!("\n– {} other claims: {NOT_SELECTED}", rest.len());
    }
    text
}

pub(super) fn counts(verdicts: &Verdicts) -> String {
    let count = |verdict: Verdict| verdicts.claims.iter().filter(|claim| claim.verdict == verdict).count();
    format!(
        "{} hold, {} fail, {} known deviations, {} inconclusive, {} not run",
        count(Verdict::Holds),
        count(Verdict::Fails),
        count(Verdict::KnownDeviation),
        count(Verdict::Inconclusive),
        count(Verdict::NotRun),
    )
}

/// Formats the last line: the number of claims by verdict, the exit status, and the folder of the evidence.
pub fn summary(verdicts: &Verdicts, folder: &Path) -> String {
    format!("{}; exit status {}; evidence: {}", counts(verdicts), verdicts.exit, folder.display())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::example;
    use super::*;
    use crate::evidence::verdicts::Control;
    use crate::measurement::Value;
    use crate::verdict::claim_verdict::Attempt;

    pub fn claim(id: &str, verdict: Verdict) -> ClaimResult {
        let control = |scenario: &str, line, verdict| ControlResult {
            verdict,
            attempts: vec![Attempt::new(Vec::new(), None)],
            ..ControlResult::weigh(scenario, "features/a2_build.feature", line, Vec::new())
        };
        let controls = vec![
            control("a padded one", 30, ControlVerdict::Discriminates),
            control("one that passes", 35, ControlVerdict::DoesNotDiscriminate),
        ];
        ClaimResult {
            line: 21,
            reason: "module.size is 101 kB; bound < 100 kB".into(),
            typical: Some("15 MB".into()),
            value: Some(Value::Number(101_000.0)),
            unit: Some(Unit::Bytes),
            samples: 1,
            control: Control::of(&controls),
            controls,
            ..example::small_module(id, verdict)
        }
    }

    #[test]
    fn the_table_shows_each_claim_and_the_place_of_each_that_does_not_hold() {
        let claims = vec![claim("A2-1", Verdict::Holds), claim("A2-2", Verdict::Fails)];
        let (on, problems) = ("2026-11-23".parse().unwrap(), vec!["the declaration for A6-4 expired".to_owned()]);
        let verdicts = Verdicts { schema: 1, run: "r".into(), on, complete: true, exit: 1, problems, claims };
        let text = table(&verdicts);
        assert!(text.contains("101 kB") && text.contains("85 KB"), "{text}");
        assert!(text.contains("caught, NOT") && text.contains("(typical:"), "each control's own word: {text}");
        assert!(text.contains("A2-1  does not discriminate: one that passes"), "{text}");
        assert!(text.contains("✘ features/deviations.toml: the declaration for A6-4 expired"), "{text}");
        assert!(text.contains("A2-2  fails: module.size is 101 kB") && text.contains("a2_build.feature:21"), "{text}");
        assert!(!text.contains("A2-1  holds:"), "{text}");
        let last = summary(&verdicts, Path::new("target/assay/r"));
        assert_eq!(
            last,
            "1 hold, 1 fail, 0 known deviations, 0 inconclusive, 0 not run; exit status 1; evidence: target/assay/r"
        );
    }
}
