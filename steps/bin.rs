//! The program `assay`: its arguments, and the commands that need no machine.

#[cfg(not(feature = "run"))]
mod absent;
#[cfg(feature = "run")]
mod machines;
mod replicate;
mod reports;

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use assay::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use assay::base::host_offers::HostOffers;
use assay::base::instance_spec::InstanceSpec;
use assay::base::platform::TargetSpec;
use assay::base::settings::Settings;
use assay::claims::annex_text::AnnexText;
use assay::claims::plan::Capabilities;
use assay::claims::register::Requirement;
use assay::claims::suite::ClaimSuite;
use assay::claims::workload::Workload;
use assay::evidence::bundle::EvidenceBundle;
use assay::evidence::verify::Trust;
use assay::measurement::catalogue as probes;
use assay::measurement::pricing::{Budget, Estimate};
use assay::report::{self, Coverage, PlanRow};
use clap::{Parser, Subcommand};
use serde::Serialize;

/// Tests the claims of a technical annex on real machines: each claim is a scenario, and each verdict can be recomputed
/// from the evidence.
///
/// Exit status: 0 done; 2 the arguments or the project's files are wrong; 3 the environment failed.
#[derive(Debug, Parser)]
#[command(name = "assay", version)]
struct Assay {
    #[command(subcommand)]
    todo: Todo,
}

#[derive(Debug, Subcommand)]
enum Todo {
    #[cfg(feature = "run")]
    #[command(flatten)]
    OnMachines(Box<machines::MachineTodo>),
    /// Show what would run on a target, what would not, and why
    Plan {
        /// local, nspawn, vm, vm:amd64, vm:arm64 or ec2 [default: local; env: ASSAY_TARGET]
        #[arg(long)]
        target: Option<String>,
        /// The annex's own text, as for `assay run` [env: ASSAY_ANNEX]
        #[arg(long, value_name = "FILE")]
        annex: Option<PathBuf>,
        #[command(flatten)]
        suite: SuiteArgs,
    },
    /// Show which scenario, controls and targets cover each claim, and what is not covered
    Coverage {
        /// local, nspawn, vm, vm:amd64, vm:arm64 or ec2 [default: all there are]
        #[arg(long)]
        target: Option<String>,
        #[command(flatten)]
        suite: SuiteArgs,
    },
    /// Make the reports of a run again from its evidence
    Report(reports::Report),
    /// Compare runs, claim by claim: what changed, by how much, and whether that exceeds noise
    ///
    /// Exit status: 0 nothing got worse; 1 a claim that held, or was a known deviation, now fails or is
    /// inconclusive.
    Compare(reports::Compare),
    /// Merge runs into one bundle: shards of a target, or targets side by side
    ///
    /// Exit status: the worst of the runs (1 a claim fails, 3 something could not be judged or is missing); 2 the runs
    /// do not fit together, and nothing is written.
    Merge(reports::Merge),
    /// Check a run's folder: its checksums, and every verdict again from the samples alone
    ///
    /// Exit status: 0 everything agrees; 1 something does not: it is named.
    Verify {
        /// The folder of a run, e.g. target/assay/latest
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The accepted signers: a file as described in ssh-keygen(1), ALLOWED SIGNERS
        #[arg(long, value_name = "FILE")]
        allowed_signers: Option<PathBuf>,
        /// The certificates of the authority that must have time-stamped the plan
        #[arg(long, value_name = "FILE")]
        time_authority: Option<PathBuf>,
        /// Also check that no run before this one is missing from the folder that contains it
        #[arg(long)]
        history: bool,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Show the chain of runs in a folder: each plan names the run before it, finished or not
    ///
    /// Exit status: 0 every run that is named is there; 1 one is missing, or its plan was changed.
    History {
        /// The folder of runs, target/assay
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Run the claims of a bundle again, and say for each whether both runs agree
    ///
    /// Checks the bundle, names what differs here, and leaves a bundle of its own with a statement about the first one.
    ///
    /// Exit status: 0 no claim disagrees; 1 a claim disagrees, or the bundle cannot be relied on; 3 nothing can be said.
    Replicate(Box<replicate::Replicate>),
    /// Falsify a run's evidence, one change at a time, and check that nothing falsified is reported as holding
    ///
    /// Exit status: 0 every mutant was caught; 1 one survived, or the run's samples do not support its verdicts.
    Selfcheck {
        /// The folder of a run, e.g. target/assay/latest [default: fixtures/selfcheck, a recorded one]
        folder: Option<PathBuf>,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
}

/// Which claims, and in which format.
#[derive(Debug, clap::Args)]
struct SuiteArgs {
    /// The folder of a workload of your own, as `assay init` makes one [default: the annex]
    #[arg(long, value_name = "DIR")]
    suite: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl SuiteArgs {
    /// Returns the folder that contains `features/`.
    fn folder<'a>(&'a self, settings: &'a Settings) -> &'a Path {
        self.suite.as_ref().unwrap_or(&settings.root)
    }

    fn read(&self, settings: &Settings) -> Result<ClaimSuite, Exit> {
        if let Some(folder) = &self.suite {
            Workload::read(folder).map_err(usage)?;
        }
        let suite = ClaimSuite::read(self.folder(settings)).map_err(usage)?;
        probes::check_deviations(&suite).map_err(usage)?;
        Ok(suite)
    }
}

pub fn main() -> ExitStatus {
    let arguments = match Assay::try_parse() {
        Ok(arguments) => arguments,
        #[cfg(not(feature = "run"))]
        Err(error) if absent::named(&error).is_some() => return end(Err(absent::explain(&error))),
        Err(error) => error.exit(),
    };
    let settings = || Settings::read().map_err(usage);
    let done = match arguments.todo {
        #[cfg(feature = "run")]
        Todo::OnMachines(todo) => return end(machines::main(*todo)),
        // Reading a bundle needs neither the project's folder nor a home directory.
        Todo::Report(arguments) => reports::report(&arguments),
        Todo::Compare(arguments) => reports::compare(&arguments),
        Todo::Merge(arguments) => reports::merge(&arguments),
        Todo::Verify { folder, allowed_signers, time_authority, history, json } => {
            let (allowed, authority) = (allowed_signers.as_deref(), time_authority.as_deref());
            reports::verify(&folder, &Trust { allowed, authority, history }, json)
        }
        Todo::Replicate(arguments) => replicate::replicate(&arguments),
        Todo::History { folder, json } => reports::history(&folder, json),
        Todo::Plan { target, annex, suite } => {
            settings().and_then(|settings| plan(target.as_deref(), annex, &suite, &settings))
        }
        Todo::Coverage { target, suite } => {
            settings().and_then(|settings| coverage(target.as_deref(), &suite, &settings))
        }
        Todo::Selfcheck { folder, json } => settings().and_then(|settings| selfcheck(folder, json, &settings)),
    };
    end(done.map(|()| ExitStatus::Success))
}

fn end(done: Result<ExitStatus, Exit>) -> ExitStatus {
    done.unwrap_or_else(|Exit { status, error }| {
        eprintln!("assay: {error:#}");
        status
    })
}

/// Prints a line, and ignores a closed pipe, as in `assay plan | head`.
fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints JSON for programs if that is wanted, and otherwise text for people.
fn print(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Exit> {
    match json {
        true => print_line(&serde_json::to_string_pretty(value).map_err(infrastructure)?),
        false => print_line(text().trim_end()),
    }
    Ok(())
}

/// The command has found a fault: exit status 1.
fn failed(error: impl Display) -> Exit {
    Exit::new(ExitStatus::Failed, anyhow::anyhow!("{error:#}"))
}

fn plan(target: Option<&str>, annex: Option<PathBuf>, suite: &SuiteArgs, settings: &Settings) -> Result<(), Exit> {
    let claims = suite.read(settings)?;
    let target = TargetSpec::choose(target, settings).map_err(usage)?;
    // What a remote machine offers is not known here.
    target.arch(&settings.fake_aws).map_err(usage)?;
    let host = HostOffers::find(&settings.cache);
    let mut met = Capabilities::by(&target, &settings.fake_aws, &host, None);
    if let Some(annex) = annex.as_ref().or(settings.annex.as_ref()) {
        AnnexText::read(annex).map_err(usage)?;
        met = met.with(Requirement::AnnexText);
    }
    let plan = claims.plan(&met, |_| true, None).map_err(usage)?;
    let rows: Vec<PlanRow> = plan.scenarios.iter().map(PlanRow::of).collect();
    if !suite.json && target == TargetSpec::Ec2 {
        let (order, budget) = (InstanceSpec::default(), Budget::default());
        let quote = Estimate::make(&settings.root, settings.region.as_deref(), order, budget).map_err(usage)?;
        print_line(report::order(&quote, &settings.fake_aws).trim_end());
    }
    print(suite.json, &rows, || report::plan(&plan, &target, &met, &host))
}

fn coverage(target: Option<&str>, suite: &SuiteArgs, settings: &Settings) -> Result<(), Exit> {
    let claims = suite.read(settings)?;
    let only = target.map(|target| TargetSpec::choose(Some(target), settings)).transpose().map_err(usage)?;
    let coverage = Coverage::of(&claims, only.as_ref(), &settings.fake_aws).map_err(usage)?;
    match suite.json {
        true => print_line(&coverage.json().map_err(infrastructure)?),
        false => print_line(&coverage.render()),
    }
    Ok(())
}

fn selfcheck(folder: Option<PathBuf>, json: bool, settings: &Settings) -> Result<(), Exit> {
    let folder = folder.unwrap_or_else(|| settings.root.join("fixtures/selfcheck"));
    let bundle = EvidenceBundle::open(&folder).map_err(usage)?;
    let score = crate::selfcheck::selfcheck(&bundle).map_err(failed)?;
    print(json, &score, || score.render())?;
    match (score.mutants, score.survivors.len()) {
        (0, _) => Err(failed(format!("{}: nothing holds there", folder.display()))),
        (_, 0) => Ok(()),
        (_, survivors) => Err(failed(format!("{survivors} mutants are reported as holding"))),
    }
}
