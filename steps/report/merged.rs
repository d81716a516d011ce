//! Formats several runs for the console: the targets side by side, a row for each claim.

use std::path::Path;

use super::console::{WIDTH, counts, falls_short, frame, grouped, ids, mark, measured, places, short};
use super::sentence;
use crate::claims::plan::NotJudgedReason;
use crate::evidence::ClaimResult;
use crate::evidence::merge::{Column, Merged, PARTS};
use crate::verdict::claim_verdict::ControlVerdict;
use crate::verdict::{Reason, Verdict};

/// A claim on all targets.
pub(super) struct Row<'a> {
    /// What one of the targets reports about it: its sentence and bound are the same on all of them.
    pub claim: &'a ClaimResult,
    /// What each target reports, in the targets' order.
    pub on: Vec<Option<&'a ClaimResult>>,
}

/// Makes a row for each claim, except those that were not selected on any target.
pub(super) fn rows(merged: &Merged) -> Vec<Row<'_>> {
    let of = |id| {
        let on: Vec<_> = merged.columns.iter().map(|column| column.of_claim(id).map(|(claim, _)| claim)).collect();
        let asked = on.iter().flatten().any(|claim| claim.selected());
        Some(Row { claim: on.iter().flatten().next().filter(|_| asked)?, on })
    };
    merged.claims().into_iter().filter_map(of).collect()
}

/// Groups the targets by what they report about the claim, each group with one of its records.
pub(super) fn alike<'a>(merged: &'a Merged, row: &Row<'a>) -> Vec<(Vec<&'a str>, &'a ClaimResult)> {
    let known = merged.columns.iter().zip(&row.on).filter_map(|(column, claim)| Some((&*column.target, (*claim)?)));
    let groups = grouped(known.map(|(target, claim)| ((claim.verdict, &claim.reason), (target, claim))));
    let targets = |group: &[(&'a str, &ClaimResult)]| group.iter().map(|(target, _)| *target).collect();
    groups.iter().filter_map(|(_, group)| Some((targets(group), group.first()?.1))).collect()
}

/// Claims that were not run on some targets, for one reason.
pub(super) struct Skipped<'a> {
    pub reason: &'a Reason,
    pub targets: Vec<&'a str>,
    pub claims: Vec<&'a ClaimResult>,
}

/// Groups the claims that were not run by reason and targets.
pub(super) fn skipped<'a>(merged: &'a Merged, rows: &[Row<'a>]) -> Vec<Skipped<'a>> {
    let all = rows.iter().flat_map(|row| alike(merged, row));
    let all = all.filter(|(_, claim)| claim.verdict == Verdict::NotRun);
    let groups = grouped(all.map(|(targets, claim)| ((&claim.reason, targets), claim)));
    groups.into_iter().map(|((reason, targets), claims)| Skipped { reason, targets, claims }).collect()
}

/// Returns the targets on which a control of the claim passes although it must not, by the control's name.
fn passing<'a>(merged: &'a Merged, row: &Row<'a>) -> Vec<(&'a str, Vec<&'a str>)> {
    let on = |(column, claim): (&'a Column, &Option<&'a ClaimResult>)| {
        let controls = claim.iter().flat_map(|claim| &claim.controls);
        let passing = controls.filter(|control| control.verdict == ControlVerdict::NotCaught);
        passing.map(|control| (&*control.at.name, &*column.target)).collect::<Vec<_>>()
    };
    grouped(merged.columns.iter().zip(&row.on).flat_map(on))
}

/// Formats a table with a row for each claim and a column for each target and, below it, the reasons of claims that do
/// not simply hold.
pub fn merged_table(merged: &Merged) -> String {
    let mut table = frame(WIDTH);
    let targets = merged.columns.iter().map(|column| column.target.as_str());
    table.set_header(["id", "claim", "bound"].into_iter().chain(targets));
    let rows = rows(merged);
    for Row { claim: any, on } in &rows {
        let cells = on.iter().map(|claim| claim.map(cell).unwrap_or_default());
        table.add_row([any.id.to_string(), any.claim.clone(), any.bound.clone()].into_iter().chain(cells));
    }
    let mut text = format!("{table}\n");
    for row in &rows {
        for (targets, claim) in alike(merged, row).iter().filter(|(_, claim)| falls_short(claim)) {
            let targets = targets.join(", ");
            text += &format!("\n{} {:<5} {targets}: {}: ", mark(claim.verdict), claim.id, claim.verdict);
            text += &sentence::claim(claim);
            text.extend(places(claim).map(|line| format!("\n        {line}")));
        }
        for (scenario, targets) in passing(merged, row) {
            let (targets, id) = (targets.join(", "), row.claim.id);
            text += &format!("\n↯ {id:<5} {targets}: does not discriminate: {scenario}");
        }
    }
    for Skipped { reason, targets, claims } in skipped(merged, &rows) {
        text += &format!("\n– {}: {} not run: {}", targets.join(", "), ids(&claims), sentence::reason(reason));
    }
    for problem in merged.problems() {
        text += &format!("\n✘ features/deviations.toml: {}", sentence::problem(&problem));
    }
    for part in merged.parts.iter().filter(|part| !part.bundle.verdicts.complete) {
        text += &format!("\n? {}: run {} did not finish", part.target, part.run());
    }
    for missing in &merged.missing {
        text += &format!("\n? {}", sentence::missing(missing));
    }
    match merged.claims().len() - rows.len() {
        0 => text,
        rest => text + &format!("\n– {rest} other claims: {}", sentence::not_judged(&NotJudgedReason::NotSelected)),
    }
}

fn cell(claim: &ClaimResult) -> String {
    let verdict = format!("{} {}", mark(claim.verdict), claim.verdict);
    match measured(claim) {
        value if value.is_empty() => verdict,
        value => format!("{verdict}\n{}", short(&value)),
    }
}

/// Formats the last lines: each part's own report, the number of claims by verdict on each target, the exit status, and
/// the folder.
pub fn merged_summary(merged: &Merged, folder: &Path) -> String {
    let mut text = String::new();
    for part in &merged.parts {
        let shard = part.shard.map(|shard| format!(", shard {shard}")).unwrap_or_default();
        text +=
            &format!("{}{shard}: {}\n", part.target, folder.join(PARTS).join(&part.name).join("report.html").display());
    }
    text += &format!("side by side: {}\n\n", folder.join("report.html").display());
    for column in &merged.columns {
        text += &match column.parts.is_empty() {
            true => format!("{}: nothing was run\n", column.target),
            false => format!("{}: {}\n", column.target, counts(&column.verdicts)),
        };
    }
    text + &format!("exit status {}; evidence: {}", merged.exit, folder.display())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::super::example;
    use super::*;
    use crate::evidence::bundle::SandboxedDir;
    use crate::evidence::merge::Part;

    /// Merges the example run on two targets; on the second, the claims that fail on the first hold.
    pub fn side_by_side() -> (tempfile::TempDir, Merged) {
        let folder = tempfile::tempdir().unwrap();
        let part = |run: &str, target: &str| {
            let mut bundle = example::bundle();
            bundle.folder = SandboxedDir::open(folder.path()).unwrap();
            bundle.run["target"] = json!(target);
            bundle.verdicts.run = run.to_owned();
            Part::of(bundle).unwrap()
        };
        let mut second = part("b", "vm:arm64");
        for claim in second.bundle.verdicts.claims.iter_mut().filter(|claim| claim.verdict == Verdict::Fails) {
            claim.verdict = Verdict::Holds;
            claim.scenarios.iter_mut().for_each(|scenario| scenario.verdict = Verdict::Holds);
        }
        let parts = vec![part("a", "vm:amd64"), second];
        let asked = ["vm:amd64", "vm:arm64", "ec2"].map(str::to_owned);
        let merged = Merged::of("whole".to_owned(), &asked, parts).unwrap();
        (folder, merged)
    }

    #[test]
    fn the_targets_stand_side_by_side_with_reasons_that_are_the_same_named_once() {
        let (_folder, merged) = side_by_side();
        let summary = merged_summary(&merged, Path::new("out"));
        insta::assert_snapshot!("merged", format!("{}\n\n{summary}", merged_table(&merged)));
    }
}
