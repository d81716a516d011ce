//! The cucumber suite behind `assay run`: plans, runs the features, judges, and writes the evidence.

pub mod catalogue;
mod fixtures;
pub mod options;
mod params;
mod prelude;
mod rehearsal;
mod run_scenarios;
mod run;
mod multi_target;
mod tools;
mod traced;
mod world;
// The steps, by topic.
mod baseline;
mod podman_run;
mod cloud;
mod device;
mod findings;
mod guest;
mod image;
mod own;
mod pair;
mod paste;
mod registry;
mod resources;
mod service;
mod up;
mod wrong_subjects;

use crate::e2e::options::Options;
pub use crate::e2e::run::PlannedRun;
use assay::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::run::Signals;
use assay::workloads::registry::{point_testcontainers_at, socket};

/// Tests the claims as the options say, and returns the exit status of the run.
pub fn run(options: Options) -> Result<ExitStatus, Exit> {
    options.verbosity.apply();
    in_runtime(async |settings| {
        let (places, progress) = (options.places(&settings).map_err(usage)?, Progress::to_stderr());
        let [place] = &places[..] else {
            return multi_target::run(&options, &places, &settings, &progress).await;
        };
        match PlannedRun::prepare(options, &place.target, place.settings(&settings), &progress).await? {
            Some(planned) => {
                let mut signals = Signals::listen().map_err(infrastructure)?;
                planned.run(&progress, &mut signals).await
            }
            None => Ok(ExitStatus::Success),
        }
    })
}

/// Runs what tests claims; no thread may have been started before.
pub fn in_runtime(work: impl AsyncFnOnce(Settings) -> Result<ExitStatus, Exit>) -> Result<ExitStatus, Exit> {
    // Must come before any thread is started: see the function.
    point_testcontainers_at(&socket()).map_err(infrastructure)?;
    let settings = Settings::read().map_err(usage)?;
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    let ended = runtime.block_on(Box::pin(work(settings)));
    // A thread that hangs in a system call must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ended
}
