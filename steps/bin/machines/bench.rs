//! The command `assay bench`: what assay itself costs, part by part.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bench::{BenchResult, PROFILE, aa, native, plan, report, restore, sampler, ssh, suite};
use assay::base::platform::TargetSpec;
use assay::base::progress::Progress;
use assay::exec::shell::{NoopObserver, Shell};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::bin::print_line;
use crate::e2e::options::Verbosity;
use assay::base::commands;
use assay::base::exit_status::{Exit, infrastructure, usage};
use assay::run::unless_interrupted;

/// How often the ways to run a command over SSH are measured.
const ROUNDS: usize = 20;
/// How often everything else is measured.
const REPETITIONS: usize = 3;
const RESTORES: usize = 10;
/// How many system containers are started.
const STARTS: usize = 20;
/// How many verdicts on the workload beside itself show that at most one in a hundred is wrong.
const VERDICTS: usize = 300;

/// Which part, and in which format.
#[derive(Debug, Args)]
pub struct Bench {
    /// The part to measure [default: all but aa]
    part: Option<BenchPart>,
    /// For restore and native: start this many machines, one after the other; for restore, besides one boot. For aa: reach
    /// this many verdicts
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
enum BenchPart {
    /// The first command on a machine: restored from its snapshot, and booted
    Restore,
    /// The first command on a system container
    Native,
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
    /// How often the workload is found to start faster than itself, in 300 verdicts; takes half an hour
    Aa,
}

pub fn bench(arguments: &Bench) -> Result<(), Exit> {
    arguments.verbosity.apply();
    if arguments.times.is_some()
        && !matches!(arguments.part, Some(BenchPart::Restore | BenchPart::Native | BenchPart::Aa))
    {
        let right = commands::assay("bench restore --times N");
        return Err(usage(anyhow::anyhow!("--times only applies to restore, native and aa: write {right}")));
    }
    let named = |part: &&BenchPart| arguments.part.map_or(**part != BenchPart::Aa, |named| named == **part);
    let parts: Vec<BenchPart> = BenchPart::value_variants().iter().filter(named).copied().collect();
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    let results = runtime.block_on(unless_interrupted(all(&parts, arguments)));
    // Otherwise interrupted work would run to its end first.
    runtime.shutdown_background();
    let results = results.map_err(infrastructure)?;
    match arguments.json {
        true => {
            let numbers = results.iter().filter_map(|result| result.numbers.as_object()).flatten();
            print_line(&json!(BTreeMap::from_iter(numbers)).to_string());
        }
        false => results.iter().for_each(|result| print_line(&result.line)),
    }
    Ok(())
}

async fn all(parts: &[BenchPart], arguments: &Bench) -> anyhow::Result<Vec<BenchResult>> {
    let progress = Progress::to_stderr();
    if !arguments.json {
        print_line(&format!("a {PROFILE} build; medians, with the least and the most"));
    }
    let mut results = Vec::new();
    for part in parts {
        results.push(match part {
            BenchPart::Sampler => {
                progress.note("sampler: 10 looks, 3 times");
                sampler::measure(&Shell::local(Arc::new(NoopObserver)), 10, 3).await?
            }
            BenchPart::Restore => {
                let (boots, restores) = match arguments.times {
                    Some(times) => (1, usize::from(times)),
                    None => (REPETITIONS, RESTORES),
                };
                let measured = restore::measure(boots, restores, &progress).await;
                measured.or_else(|error| Err("vm".parse::<TargetSpec>()?.unusable(error)))?
            }
            BenchPart::Native => {
                let measured = native::measure(arguments.times.map_or(STARTS, usize::from), &progress).await;
                measured.map_err(|error| TargetSpec::Nspawn.unusable(error))?
            }
            BenchPart::Aa => {
                let measured = aa::measure(arguments.times.map_or(VERDICTS, usize::from), &progress).await;
                measured.map_err(|error| TargetSpec::Nspawn.unusable(error))?
            }
            BenchPart::Suite => suite::measure(&progress).await?,
            BenchPart::Ssh => ssh::measure(ROUNDS, &progress).await?,
            BenchPart::Plan => plan::measure(REPETITIONS, &progress).await?,
            BenchPart::Report => report::measure(REPETITIONS, &progress).await?,
        });
    }
    Ok(results)
}
