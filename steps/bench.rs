//! Measures what assay itself costs on this host, at this host's own speed: the device of a run is often an emulated
//! one.
//!
//! Each part measures several times and keeps the median; ratios are taken within one run, on one host.

pub mod native;
pub mod plan;
pub mod report;
pub mod restore;
pub mod sampler;
pub mod ssh;
pub mod suite;

use std::time::Instant;

use anyhow::Context as _;

use assay::base::stats::Summary;
use assay::base::unit::Unit;

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

/// Measures how long work takes, on a thread for blocking tasks.
async fn repeated(
    repetitions: usize,
    work: impl Fn() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Summary> {
    let measured = move || {
        let mut seconds = Vec::new();
        for _ in 0..repetitions {
            let started = Instant::now();
            work()?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        summary(&seconds)
    };
    tokio::task::spawn_blocking(measured).await.context("the measurement did not finish")?
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
