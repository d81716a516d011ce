//! Measures comparing a year of nightly runs: a recorded run is copied to a folder for each night.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

use super::{BenchResult, format, scaled};
use assay::base::progress::Progress;
use assay::base::unit::Unit;
use assay::report;
use assay::report::comparison::{self, Comparison};

/// The two files of a run that a comparison reads.
const RUN: &str = include_str!("../../fixtures/selfcheck/run.json");
const VERDICTS: &str = include_str!("../../fixtures/selfcheck/verdicts.json");
const YEAR: usize = 365;
const MONTH: usize = 30;

pub async fn measure(repetitions: usize, progress: &Progress) -> anyhow::Result<BenchResult> {
    let folder = tempfile::tempdir().context("no folder can be made for runs")?;
    progress.note(format!("report: comparing {YEAR} copies of a recorded run {repetitions} times"));
    let nights = copies(folder.path(), YEAR)?;
    let make = move |runs: usize| {
        let nights = nights[..runs].to_vec();
        Ok(move || compare(&nights))
    };
    let (year, ratio) = scaled([MONTH, YEAR], repetitions, make).await?;
    let (took, shown) = (format(&year), Unit::Times.format(ratio));
    Ok(BenchResult {
        line: format!("report: 365 runs read and compared, with a page of it, in {took}; a run costs {shown} of 30's"),
        numbers: json!({ "report_365_s": year.median, "report_cost_ratio": ratio }),
    })
}

fn compare(nights: &[PathBuf]) -> anyhow::Result<usize> {
    let comparison = Comparison::of(comparison::briefs(nights)?)?;
    let page = report::trend_html(&comparison);
    ensure!(page.contains("</html>"), "the comparison has no page");
    Ok(comparison.runs.len())
}

/// Copies the recorded run, giving each copy its own name and night.
fn copies(folder: &Path, nights: usize) -> anyhow::Result<Vec<PathBuf>> {
    let mut run: Json = serde_json::from_str(RUN).context("the recorded run is not read")?;
    let name = run.get("run").and_then(Json::as_str).context("the recorded run has no name")?.to_owned();
    let first: Timestamp = serde_json::from_value(run.get("started").cloned().context("it has no time")?)?;
    let copy = |night: usize| -> anyhow::Result<PathBuf> {
        let (copy, own) = (folder.join(format!("{night:03}")), format!("night-{night:03}"));
        let started = first + SignedDuration::from_hours(24 * night as i64);
        if let Some(run) = run.as_object_mut() {
            run.insert("run".to_owned(), own.as_str().into());
            run.insert("started".to_owned(), started.to_string().into());
        }
        let cannot = || format!("cannot write {}", copy.display());
        fs::create_dir(&copy).with_context(cannot)?;
        fs::write(copy.join("run.json"), run.to_string()).with_context(cannot)?;
        fs::write(copy.join("verdicts.json"), VERDICTS.replace(&name, &own)).with_context(cannot)?;
        Ok(copy)
    };
    (0..nights).map(copy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_runs_of_their_own_and_say_of_each_claim_what_the_recorded_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let nights = copies(folder.path(), 3).unwrap();
        let comparison = Comparison::of(comparison::briefs(&nights).unwrap()).unwrap();
        let names = comparison.runs.iter().map(|run| run.run.as_str());
        assert!(names.eq(["night-000", "night-001", "night-002"]));
        assert!(comparison.claims.len() > 40 && !comparison.worse());
        assert!(comparison.claims.iter().all(|trend| trend.verdicts[0] == trend.verdicts[2]));
        assert_eq!(compare(&nights).unwrap(), 3);
    }
}
