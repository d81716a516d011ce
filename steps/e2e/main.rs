//! Tests the annex's claims: plans, runs the features with cucumber, judges, and writes the evidence.

mod catalogue;
mod fixtures;
mod options;
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

use std::process::ExitCode;

use assay::base::exit_status::ExitStatus;
use clap::Parser;

use crate::options::Options;
use crate::run::{Run, RunError};

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match options.target.len() {
        0 | 1 => Run::prepare(options).and_then(|run| run.map_or(Ok(ExitStatus::Success), Run::run)),
        _ if options.steps => Run::prepare(options).map(|_| ExitStatus::Success),
        _ => multi_target::prove(&options),
    };
    let status = ended.unwrap_or_else(|error| {
        eprintln!("e2e: {error}");
        match error {
            RunError::Usage(_) => ExitStatus::Usage,
            RunError::Infrastructure(_) => ExitStatus::Inconclusive,
        }
    });
    status.into()
}
