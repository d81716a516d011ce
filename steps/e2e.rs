//! The cucumber suite behind `assay run`: plans, runs the features, judges, and writes the evidence.

pub mod catalogue;
mod fixtures;
pub mod options;
mod params;
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
mod cost;
mod device;
mod findings;
mod guest;
mod image;
mod own;
mod registry;
mod resources;
mod service;
mod wrong_subjects;

use crate::base::exit_status::{Exit, ExitStatus};
use crate::e2e::options::Options;
use crate::e2e::run::Run;

/// Tests the claims as the options say, and returns the exit status of the run.
pub fn run(options: Options) -> Result<ExitStatus, Exit> {
    options.verbosity.apply();
    match options.target.len() {
        0 | 1 => Run::prepare(options)?.map_or(Ok(ExitStatus::Success), Run::run),
        _ => multi_target::prove(&options),
    }
}
