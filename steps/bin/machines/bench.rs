//! The command `assay bench`: what assay itself costs, part by part.

use std::sync::Arc;

use crate::base::platform::TargetSpec;
use crate::base::progress::Progress;
use crate::bench::{PROFILE, plan, report, restore, sampler, ssh, suite};
use crate::exec::shell::{NoopObserver, Shell};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::exit_status::{Exit, infrastructure, usage};
use crate::bin::say;
use crate::e2e::options::Verbosity;
use crate::run::unless_interrupted;

/// How often the ways to run a command over SSH are measured.
const ROUNDS: usize = 20;
/// How often everything else is measured.
const REPETITIONS: usize = 3;
const RESTORES: usize = 10;

/// Which part, and in which format.
#[derive(Debug, Args)]
pub struct Bench {
    /// The part to measure [default: all]
    part: Option<Part>,
    /// For restore: restore this many machines, one after the other, besides one boot
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    times: Option<u16>,
    /// Print a flat JSON object for programs, with only the names of the chosen part
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// The parts that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The first command on a machine: restored from its snapshot, and booted
    Restore,
    /// The CPU and memory that watching a workload takes from the device
    Sampler,
    /// A command over SSH: on the open connection, by a fresh ssh, by ssh with ControlMaster
    Ssh,
    /// Planning and judging 10,000 scenarios
    Plan,
    /// Comparing the runs of a year
    Report,
    /// A run of the suite, against its critical path
    Suite,
}

/// The result of one part: text for people, and named values for programs.
type Told = (String, Map<String, Value>);

pub fn bench(arguments: &Bench) -> Result<(), Exit> {
    arguments.verbosity.apply();
    if arguments.times.is_some() && arguments.part != Some(Part::Restore) {
        return Err(usage(anyhow::anyhow!("--times only applies to restore: write assay bench restore --times N")));
    }
    let parts = arguments.part.as_ref().map_or(Part::value_variants(), std::slice::from_ref);
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    let told = runtime.block_on(unless_interrupted(all(parts, arguments)));
    // Otherwise interrupted work would run to its end first.
    runtime.shutdown_background();
    let told = told.map_err(infrastructure)?;
    match arguments.json {
        true => say(&Value::Object(told.into_iter().flat_map(|(_, names)| names).collect()).to_string()),
        false => told.iter().for_each(|(text, _)| say(text)),
    }
    Ok(())
}

async fn all(parts: &[Part], arguments: &Bench) -> anyhow::Result<Vec<Told>> {
    let progress = Progress::to_stderr();
    if !arguments.json {
        say(&format!("a {PROFILE} build; medians, with the least and the most"));
    }
    let mut told = Vec::new();
    for part in parts {
        told.push(match part {
            Part::Sampler => {
                progress.say("sampler: 10 looks, 3 times");
                tell(sampler::measure(&Shell::local(Arc::new(NoopObserver)), 10, 3).await?)?
            }
            Part::Restore => {
                let (boots, restores) = match arguments.times {
                    Some(times) => (1, usize::from(times)),
                    None => (REPETITIONS, RESTORES),
                };
                let measured = restore::measure(boots, restores, &progress).await;
                tell(measured.or_else(|error| Err("vm".parse::<TargetSpec>()?.unusable(error)))?)?
            }
            Part::Suite => tell(suite::measure(&progress).await?)?,
            Part::Ssh => tell(ssh::measure(ROUNDS, &progress).await?)?,
            Part::Plan => tell(plan::measure(REPETITIONS, &progress).await?)?,
            Part::Report => tell(report::measure(REPETITIONS, &progress).await?)?,
        });
    }
    Ok(told)
}

fn tell(cost: impl Serialize + std::fmt::Display) -> anyhow::Result<Told> {
    let text = cost.to_string();
    match serde_json::to_value(cost)? {
        Value::Object(names) => Ok((text, names)),
        other => anyhow::bail!("{other} has no names"),
    }
}
