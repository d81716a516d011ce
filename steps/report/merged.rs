//! Formats several runs for the console: the targets side by side, a row for each claim.

use std::path::Path;

use super::console::{WIDTH, counts, frame, mark, measured, short};
use crate::claims::plan::NOT_SELECTED;
use crate::claims::register::ClaimId;
use crate::evidence::ClaimResult;
use crate::evidence::merge::{Merged, PARTS};
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::ControlVerdict;

/// A claim on all targets, in the targets' order.
pub(super) type Row<'a> = (ClaimId, Vec<Option<&'a ClaimResult>>);

/// Makes a row for each claim, except those that were not selected on any target.
pub(super) fn rows(merged: &Merged) -> Vec<Row<'_>> {
    let of = |id| merged.columns.iter().map(|column| column.of_claim(id).map(|(claim, _)| claim)).collect();
    let rows = merged.claims().into_iter().map(|id| (id, of(id)));
    let asked = |(_, claims): &Row| claims.iter().flatten().any(|claim| claim.reason != NOT_SELECTED);
    rows.filter(asked).collect()
}

/// The targets that report the same about a claim, and one of their records.
pub(super) type Alike<'a> = (Vec<&'a str>, &'a ClaimResult);

/// Groups the targets by what they report about the claim.
pub(super) fn alike<'a>(merged: &'a Merged, (_, claims): &Row<'a>) -> Vec<Alike<'a>> {
    let mut all: Vec<Alike> = Vec::new();
    for (column, claim) in merged.columns.iter().zip(claims) {
        let Some(claim) = *claim else { continue };
        let same = |(_, known): &&mut Alike| (known.verdict, &known.reason) == (claim.verdict, &claim.reason);
        match all.iter_mut().find(same) {
            Some((targets, _)) => targets.push(&column.target),
            None => all.push((vec![&column.target], claim)),
        }
    }
    all
}

/// Returns what was not run, by reason: the reason, the targets, the claims.
pub(super) fn unrun<'a>(merged: &'a Merged, rows: &[Row<'a>]) -> Vec<(String, Vec<&'a str>, Vec<ClaimId>)> {
    let mut all: Vec<(String, Vec<&str>, Vec<ClaimId>)> = Vec::new();
    for row in rows {
        for (targets, claim) in alike(merged, row) {
            if claim.verdict != Verdict::NotRun {
                continue;
            }
            match all.iter_mut().find(|(why, of, _)| *why == claim.reason && *of == targets) {
                Some((_, _, claims)) => claims.push(claim.id),
                None => all.push((claim.reason.clone(), targets, vec![claim.id])),
            }
        }
    }
    all
}

/// Formats a table with a row for each claim and a column for each target and, below it, the reasons of claims that do
/// not simply hold.
pub fn merged_table(merged: &Merged) -> String {
    let mut table = frame(WIDTH);
    let targets = merged.columns.iter().map(|column| column.target.as_str());
    table.set_header(["id", "claim", "bound"].into_iter().chain(targets));
    let rows = rows(merged);
    for (id, claims) in &rows {
        let Some(any) = claims.iter().flatten().next() else { continue };
        let cells = claims.iter().map(|claim| claim.map(cell).unwrap_or_default());
        table.add_row([id.to_string(), any.claim.clone(), any.bound.clone()].into_iter().chain(cells));
    }
    let mut text = format!("{table}\n");
    for row in &rows {
        for (targets, claim) in alike(merged, row) {
            let targets = targets.join(", ");
            if !matches!(claim.verdict, Verdict::Holds | Verdict::NotRun) {
                text += &format!("\n{} {:<5} {targets}: {}: ", mark(claim.verdict), claim.id, claim.verdict);
                text += &format!("{}\n        {}:{}", claim.reason, claim.feature, claim.line);
            }
        }
        for (targets, scenario, reason) in passing(merged, row) {
            let (targets, id) = (targets.join(", "), row.0);
            text += &format!("\n↯ {id:<5} {targets}: does not discriminate: {scenario}: {reason}");
        }
    }
    for (reason, targets, claims) in unrun(merged, &rows) {
        let claims: Vec<String> = claims.iter().map(ClaimId::to_string).collect();
        text += &format!("\n– {}: {} not run: {reason}", targets.join(", "), claims.join(", "));
    }
    for problem in merged.problems() {
        text += &format!("\n✘ features/deviations.toml: {problem}");
    }
    for part in merged.parts.iter().filter(|part| !part.bundle.verdicts.complete) {
        text += &format!("\n? {}: run {} did not finish", part.target, part.run());
    }
    for missing in &merged.missing {
        text += &format!("\n? {missing}");
    }
    match merged.claims().len() - rows.len() {
        0 => text,
        rest => text + &format!("\n– {rest} other claims: {NOT_SELECTED}"),
    }
}

/// Returns the controls of a claim that pass although they must not: the targets, the control's name, the reason.
fn passing<'a>(merged: &'a Merged, (_, claims): &Row<'a>) -> Vec<(Vec<&'a str>, &'a str, &'a str)> {
    let mut all: Vec<(Vec<&str>, &str, &str)> = Vec::new();
    for (column, claim) in merged.columns.iter().zip(claims) {
        let controls = claim.iter().flat_map(|claim| &claim.controls);
        for control in controls.filter(|control| control.verdict == ControlVerdict::DoesNotDiscriminate) {
            let (scenario, reason) = (control.scenario.as_str(), control.reason.as_str());
            match all.iter_mut().find(|(_, name, why)| (*name, *why) == (scenario, reason)) {
                Some((targets, _, _)) => targets.push(&column.target),
                None => all.push((vec![&column.target], scenario, reason)),
            }
        }
    }
    all
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
        }
        let parts = vec![part("a", "vm:amd64"), second];
        let asked = ["vm:amd64", "vm:arm64", "ec2"].map(str::to_owned);
        let merged = Merged::of("whole".to_owned(), &asked, parts).unwrap();
        (folder, merged)
    }

    #[test]
    fn the_targets_stand_side_by_side_and_reasons_that_are_the_same_are_told_once() {
        let (_folder, merged) = side_by_side();
        let table = merged_table(&merged);
        let line = |begin: &str| table.lines().find(|line| line.starts_with(begin)).unwrap_or_default().to_owned();
        let head = table.lines().nth(1).unwrap().trim_matches('│').split('┆').map(str::trim);
        assert_eq!(head.collect::<Vec<_>>(), ["id", "claim", "bound", "vm:amd64", "vm:arm64", "ec2"]);
        let row = line("│ A2-2");
        assert!(row.contains("✘ fails") && row.contains("✔ holds"), "{table}");
        assert!(line("✘ A2-2").starts_with("✘ A2-2  vm:amd64: fails: "), "{table}");
        assert!(line("? A2-3").starts_with("? A2-3  vm:amd64, vm:arm64: inconclusive: no route to host"), "{table}");
        assert!(table.contains("– vm:amd64, vm:arm64: A2-4 not run: needs an AWS account"), "{table}");
        assert!(table.contains("does not discriminate: A wrong one passes"), "{table}");
        assert!(table.contains("✘ features/deviations.toml: vm:arm64: "), "{table}");
        assert!(table.ends_with("? ec2: no run on it is here"), "{table}");
    }

    #[test]
    fn the_last_lines_count_for_each_target_and_lead_to_each_report() {
        let (_folder, merged) = side_by_side();
        let summary = merged_summary(&merged, Path::new("out"));
        for said in [
            "vm:amd64: out/parts/vm-amd64/report.html\n",
            "side by side: out/report.html\n",
            "vm:amd64: 1 hold, 1 fail, ",
            "vm:arm64: 2 hold, 0 fail, ",
            "ec2: nothing was run\n",
        ] {
            assert!(summary.contains(said), "no {said:?} in {summary}");
        }
        assert!(summary.ends_with("exit status 1; evidence: out"), "{summary}");
    }
}
