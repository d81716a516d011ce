//! Measures how long the suite takes, compared with its critical path: a real run of `ci/e2e` on its default target.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::BenchResult;
use assay::base::commands;
use assay::base::exit_status::ExitStatus;
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::base::unit::Unit;
use assay::base::work_summary::WorkSummary;
use assay::exec::command::{Command, Status, tail};
use assay::exec::shell::{NoopObserver, Shell};

/// The time limit for a run on a host where everything still has to be made.
const LIMIT: Duration = Duration::from_secs(3600);

pub async fn measure(progress: &Progress) -> anyhow::Result<BenchResult> {
    let settings = Settings::read()?;
    progress.note(format!("suite: a run of {}", commands::suite()));
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let evidence = folder.path().join("run");
    let command = match settings.embedded {
        None => Command::new(settings.root.join("ci/e2e").display().to_string()),
        Some(_) => Command::new(std::env::current_exe()?.display().to_string()).arg("run"),
    };
    let command = command.args(["--evidence".to_owned(), evidence.display().to_string()]);
    let output = Shell::local(Arc::new(NoopObserver)).run(&command.time_limit(LIMIT)).await?;
    // A claim that fails does not affect the time.
    ensure!(
        output.succeeded() || output.status == Status::Code(ExitStatus::Failed.code().into()),
        "the run was inconclusive ({}): {}",
        output.status,
        tail(&output.errors(), 5)
    );
    let record = std::fs::read_to_string(evidence.join("run.json")).context("the run left no run.json")?;
    read(&record)
}

fn read(record: &str) -> anyhow::Result<BenchResult> {
    #[derive(serde::Deserialize)]
    struct Record {
        time: WorkSummary,
    }
    let Record { time } = serde_json::from_str(record).context("run.json does not say what its time went into")?;
    let ratio = time.ratio().context("the run did no work")?;
    let [wall, critical] = [time.wall, time.critical].map(|seconds| Unit::Seconds.format(seconds));
    Ok(BenchResult {
        line: format!("suite: {wall}, {} of its critical path of {critical}", Unit::Times.format(ratio)),
        // From the start of the first work to the end of the last, and the longest chain of dependent work.
        numbers: json!({ "suite_wall_s": time.wall, "suite_critical_s": time.critical, "suite_ratio": ratio }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_read_from_the_record_of_the_run() {
        let record = r#"{"run":"x","time":{"wall":150.0,"critical":120.0,"path":[],"work":[]}}"#;
        let numbers = json!({ "suite_wall_s": 150.0, "suite_critical_s": 120.0, "suite_ratio": 1.25 });
        assert_eq!(read(record).unwrap().numbers, numbers);
        assert!(read(r#"{"run":"x"}"#).is_err());
        let error = read(&record.replace("120.0", "0.0")).err().unwrap().to_string();
        assert!(error.contains("did no work"), "{error}");
    }
}
