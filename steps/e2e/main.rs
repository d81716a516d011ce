//! The annex, put to the proof: plans, runs the features with cucumber, judges, and leaves the evidence.

mod catalogue;
mod lab;
mod options;
mod params;
mod prove;
mod run;
mod several;
mod tools;
mod traced;
mod world;
// The steps, by subject.
mod beside;
mod by_hand;
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
mod stand_ins;

use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;
use crate::run::{Mistake, Run};

/// The options or the features are wrong.
const USAGE: u8 = 2;
/// The infrastructure let us down.
const INCONCLUSIVE: u8 = 3;

fn main() -> ExitCode {
    let options = Options::parse();
    let exit = match options.target.len() {
        0 | 1 => Run::prepare(options).and_then(|run| run.map_or(Ok(0), Run::run)),
        _ if options.steps => Run::prepare(options).map(|_| 0),
        _ => several::prove(&options),
    };
    ExitCode::from(exit.unwrap_or_else(|mistake| {
        eprintln!("e2e: {mistake}");
        match mistake {
            Mistake::Usage(_) => USAGE,
            Mistake::Infrastructure(_) => INCONCLUSIVE,
        }
    }))
}
