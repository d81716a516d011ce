//! Measures how long the suite takes, compared with its critical path: a real run of `ci/e2e` on its default target.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::base::commands;
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::base::unit::Unit;
use crate::base::work_summary::Summary;
use crate::exec::command::Command;
use crate::exec::shell::Shell;

/// The time limit for a run on a host where everything still has to be made.
const LIMIT: Duration = Duration::from_secs(3600);
/// The exit code if a claim fails, which does not affect the time.
const FAILED: i32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// From the start of the first work to the end of the last, in seconds.
    pub suite_wall_s: f64,
    /// The longest chain of dependent work, in seconds.
    pub suite_critical_s: f64,
    pub suite_ratio: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [wall, critical] = [self.suite_wall_s, self.suite_critical_s].map(|seconds| Unit::Seconds.show(seconds));
        write!(out, "suite: {wall}, {} of its critical path of {critical}", Unit::Times.show(self.suite_ratio))
    }
}

pub async fn measure(progress: &Progress) -> anyhow::Result<Cost> {
    let settings = Settings::read()?;
    progress.say(format!("suite: a run of {}", commands::suite()));
    let folder = tempfile::tempdir().context("there is no room for a temporary folder")?;
    let evidence = folder.path().join("run");
    let command = match settings.embedded {
        None => Command::new(settings.root.join("ci/e2e").display().to_string()),
        Some(_) => Command::new(std::env::current_exe()?.display().to_string()).arg("run"),
    };
    let command = command.args(["--evidence".to_owned(), evidence.display().to_string()]);
    let output =
        Shell::local(std::sync::Arc::new(crate::exec::shell::NoopObserver)).run(&command.time_limit(LIMIT)).await?;
    let ended = output.status;
    ensure!(
        output.succeeded() || ended == crate::exec::command::Status::Code(FAILED),
        "the run was inconclusive ({ended}): {}",
        crate::exec::command::tail(&output.errors(), 5)
    );
    let record = std::fs::read_to_string(evidence.join("run.json")).context("the run left no run.json")?;
    read(&record)
}

fn read(record: &str) -> anyhow::Result<Cost> {
    #[derive(serde::Deserialize)]
    struct Record {
        time: Summary,
    }
    let Record { time } = serde_json::from_str(record).context("run.json does not say what its time went into")?;
    let suite_ratio = time.ratio().context("the run did no work")?;
    Ok(Cost { suite_wall_s: time.wall, suite_critical_s: time.critical, suite_ratio })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_read_off_the_record_of_the_run() {
        let record = r#"{"run":"x","time":{"wall":150.0,"critical":120.0,"path":[],"work":[]}}"#;
        let cost = read(record).unwrap();
        assert_eq!(cost, Cost { suite_wall_s: 150.0, suite_critical_s: 120.0, suite_ratio: 1.25 });
        assert!(read(r#"{"run":"x"}"#).is_err());
        assert!(read(&record.replace("120.0", "0.0")).unwrap_err().to_string().contains("did no work"));
    }
}
