//! Measures what assay itself costs on this host, at this host's own speed: the device of a run is often an emulated
//! one.
//!
//! Each part measures several times and keeps the median; ratios are taken within one run, on one host.

pub mod aa;
pub mod native;
pub mod plan;
pub mod report;
pub mod restore;
pub mod sampler;
pub mod ssh;
pub mod suite;

use std::time::Instant;

use anyhow::{Context as _, ensure};

use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::base::stats::Summary;
use assay::base::unit::Unit;
use assay::run::with_temporary_context;
use assay::targets::{Context, run_folder_path};

/// How this program was built: a debug build is several times slower.
pub const PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

fn summary(values: &[f64]) -> anyhow::Result<Summary> {
    Summary::of(values).context("nothing was measured: ask for one repetition or more")
}

/// Formats how many seconds something took.
fn format(times: &Summary) -> String {
    let [median, least, most] = [times.median, times.min, times.max].map(|seconds| Unit::Seconds.format(seconds));
    format!("{median} ({least} to {most}, n = {})", times.n)
}

/// What one part has measured: a line for people, and an object of named numbers for programs.
pub struct BenchResult {
    pub line: String,
    pub numbers: serde_json::Value,
}

/// Measures work of two sizes, on a thread for blocking tasks. Returns how long the larger takes, and how much more a piece
/// costs there.
async fn scaled<Work: Fn() -> anyhow::Result<usize>>(
    [few, many]: [usize; 2],
    repetitions: usize,
    make: impl Fn(usize) -> anyhow::Result<Work> + Send + 'static,
) -> anyhow::Result<(Summary, f64)> {
    let series = move |pieces: usize| {
        let (work, mut seconds) = (make(pieces)?, Vec::new());
        for _ in 0..repetitions {
            let started = Instant::now();
            let done = work()?;
            seconds.push(started.elapsed().as_secs_f64());
            ensure!(done == pieces, "{done} of {pieces} were done");
        }
        summary(&seconds)
    };
    let both = move || anyhow::Ok((series(few)?, series(many)?));
    let (one, all) = tokio::task::spawn_blocking(both).await.context("the measurement did not finish")??;
    let ratio = all.median / one.median * few as f64 / many as f64;
    Ok((all, ratio))
}

/// Measures on machines of this host, and checks that nothing of them is left.
async fn on_machines(
    progress: &Progress,
    rounds: impl AsyncFnOnce(&Context) -> anyhow::Result<BenchResult>,
) -> anyhow::Result<BenchResult> {
    let work = async |context: &Context| Ok((rounds(context).await?, run_folder_path(&context.run)));
    let (cost, folder) = with_temporary_context(&Settings::read()?, progress, work).await?;
    ensure!(!folder.exists(), "{} is left", folder.display());
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_by_their_median_and_range() {
        assert_eq!(format(&summary(&[2.0, 0.5, 3.0]).unwrap()), "2 s (500 ms to 3 s, n = 3)");
        let error = summary(&[]).unwrap_err().to_string();
        assert!(error.contains("ask for one repetition or more"), "{error}");
    }
}
