//! The program `assay`: one module for each command.

mod bench;
mod doctor;
mod gc;
mod init;
mod reports;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use crate::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use crate::base::platform::{Arch, TargetSpec};
use crate::base::progress::{self, Progress};
use crate::base::settings::Settings;
use crate::claims::plan::Capabilities;
use crate::claims::suite::ClaimSuite;
use crate::claims::workload::Workload;
use crate::e2e::{self, catalogue};
use crate::evidence::bundle::EvidenceBundle;
use crate::measurement::estimate::Estimate;
use crate::measurement::pricing::Budget;
use crate::report::{self, Coverage, PlanRow};
use crate::run::{Interrupted, with_temporary_context};
use crate::targets::instance_spec::InstanceSpec;
use crate::targets::{Context, Definition, Image};
use clap::{Parser, Subcommand};

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
    /// Test the claims on machines, and write the evidence and the reports
    Run(Box<e2e::options::Options>),
    /// Check everything that a target needs on this host, and show how to get what is missing
    ///
    /// Exit status: 0 the target would work; 1 something is missing: it is named, with the command that installs it.
    Doctor(doctor::Doctor),
    /// Make the machine image of a target now instead of in the first run, or install the packages it needs
    Setup {
        /// vm, vm:amd64 or vm:arm64; with --packages any target [default: vm; env: ASSAY_TARGET]
        target: Option<String>,
        /// Install the packages that the target needs and this host lacks, with sudo unless you are root; make no image
        #[arg(long, conflicts_with = "definition")]
        packages: bool,
        /// The definition of a machine that no target uses: only its image is made, and reported as JSON
        #[arg(long, hide = true)]
        definition: Option<PathBuf>,
        #[command(flatten)]
        verbosity: e2e::options::Verbosity,
    },
    /// Show what would run on a target, what would not, and why
    Plan {
        /// vm, vm:amd64, vm:arm64 or ec2 [default: vm; env: ASSAY_TARGET]
        #[arg(long)]
        target: Option<String>,
        #[command(flatten)]
        suite: Suite,
    },
    /// Show which scenario, controls and targets cover each claim, and what is not covered
    Coverage {
        /// vm, vm:amd64, vm:arm64 or ec2 [default: all there are]
        #[arg(long)]
        target: Option<String>,
        #[command(flatten)]
        suite: Suite,
    },
    /// Write the folder of a workload of your own: claims, scenarios with their controls, a Quadlet
    Init(init::Init),
    /// Measure what assay itself costs on this host; all parts together take minutes
    Bench(bench::Bench),
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
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
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
    /// List every step that features may use, with its parameters and an example
    Steps {
        #[command(flatten)]
        suite: Suite,
    },
    /// Remove what finished runs have left; a run in progress is not touched
    ///
    /// In AWS, lists every resource tagged by assay, then removes those that have expired or belong to a finished run
    /// of this host. Resources without such a tag are never touched.
    ///
    /// Exit status: 0 nothing is left that should be removed; 3 something could not be removed: it is named.
    Gc(gc::Gc),
}

/// Which claims, and in which format.
#[derive(Debug, clap::Args)]
struct Suite {
    /// The folder of a workload of your own, as `assay init` makes one [default: the annex]
    #[arg(long, value_name = "DIR")]
    suite: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Suite {
    /// Returns the folder that contains `features/`.
    fn folder<'a>(&'a self, settings: &'a Settings) -> &'a Path {
        self.suite.as_ref().unwrap_or(&settings.root)
    }

    fn read(&self, settings: &Settings) -> Result<ClaimSuite, Exit> {
        if let Some(folder) = &self.suite {
            Workload::read(folder).map_err(usage)?;
        }
        ClaimSuite::read(self.folder(settings)).map_err(usage)
    }
}

pub fn main() -> ExitStatus {
    let arguments = Assay::parse();
    let settings = || Settings::read().map_err(usage);
    let done = match arguments.todo {
        Todo::Run(options) => return end(e2e::run(*options)),
        // Reading a bundle needs neither the project's folder nor a home directory.
        Todo::Report(arguments) => reports::report(&arguments),
        Todo::Compare(arguments) => reports::compare(&arguments),
        Todo::Merge(arguments) => reports::merge(&arguments),
        Todo::Verify { folder, allowed_signers, json } => reports::verify(&folder, allowed_signers.as_deref(), json),
        Todo::Doctor(arguments) => settings().and_then(|settings| doctor::doctor(&arguments, &settings)),
        Todo::Setup { target, packages, definition, verbosity } => {
            verbosity.apply();
            settings().and_then(|settings| match definition {
                _ if packages => install_packages(target.as_deref(), &settings),
                None => setup(target.as_deref(), settings),
                Some(file) => setup_of(&file, target.as_deref(), &settings),
            })
        }
        Todo::Plan { target, suite } => settings().and_then(|settings| plan(target.as_deref(), &suite, &settings)),
        Todo::Coverage { target, suite } => {
            settings().and_then(|settings| coverage(target.as_deref(), &suite, &settings))
        }
        Todo::Init(arguments) => init::init(&arguments),
        Todo::Bench(arguments) => bench::bench(&arguments),
        Todo::Selfcheck { folder, json } => settings().and_then(|settings| selfcheck(folder, json, &settings)),
        Todo::Steps { suite } => settings().and_then(|settings| steps(&suite, &settings)),
        Todo::Gc(arguments) => settings().and_then(|settings| gc::gc(&arguments, &settings)),
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
fn say(text: &str) {
    progress::print(text);
}

fn choose(target: Option<&str>, settings: &Settings) -> Result<(TargetSpec, Arch), Exit> {
    let target = TargetSpec::choose(target, settings).map_err(usage)?;
    let arch = target.on_this_host().map_err(usage)?;
    Ok((target, arch))
}

fn plan(target: Option<&str>, suite: &Suite, settings: &Settings) -> Result<(), Exit> {
    let claims = suite.read(settings)?;
    let target = TargetSpec::choose(target, settings).map_err(usage)?;
    // What a remote machine offers is not known here.
    target.arch(&settings.stand_in).map_err(usage)?;
    let met = Capabilities::by(&target, &settings.stand_in, None);
    let plan = claims.plan(&met, |_, _| true, None).map_err(usage)?;
    if suite.json {
        let rows: Vec<PlanRow> = plan.scenarios.iter().map(PlanRow::of).collect();
        say(&serde_json::to_string_pretty(&rows).map_err(infrastructure)?);
    } else {
        if target == TargetSpec::Ec2 {
            let (order, budget) = (InstanceSpec::default(), Budget::default());
            let quote = Estimate::make(&settings.root, settings.region.as_deref(), order, budget).map_err(usage)?;
            say(report::order(&quote, &settings.stand_in).trim_end());
        }
        say(report::plan(&plan, &target).trim_end());
    }
    Ok(())
}

fn coverage(target: Option<&str>, suite: &Suite, settings: &Settings) -> Result<(), Exit> {
    let claims = suite.read(settings)?;
    let only = target.map(|target| TargetSpec::choose(Some(target), settings)).transpose().map_err(usage)?;
    let coverage = Coverage::of(&claims, only.as_ref(), &settings.stand_in).map_err(usage)?;
    match suite.json {
        true => say(&coverage.json().map_err(infrastructure)?),
        false => say(&coverage.show()),
    }
    Ok(())
}

fn steps(suite: &Suite, settings: &Settings) -> Result<(), Exit> {
    say(catalogue::listed(suite.folder(settings), suite.json).map_err(usage)?.trim_end());
    Ok(())
}

fn selfcheck(folder: Option<PathBuf>, json: bool, settings: &Settings) -> Result<(), Exit> {
    let folder = folder.unwrap_or_else(|| settings.root.join("fixtures/selfcheck"));
    let bundle = EvidenceBundle::open(&folder).map_err(usage)?;
    let score = crate::selfcheck::selfcheck(&bundle).map_err(|error| Exit::new(ExitStatus::Failed, error))?;
    match json {
        true => say(&serde_json::to_string(&score).map_err(infrastructure)?),
        false => say(&score.show()),
    }
    match score.perfect() {
        true => Ok(()),
        false if score.mutants == 0 => {
            Err(Exit::new(ExitStatus::Failed, anyhow::anyhow!("{}: nothing holds there", folder.display())))
        }
        false => Err(Exit::new(
            ExitStatus::Failed,
            anyhow::anyhow!("{} mutants are reported as holding", score.survivors.len()),
        )),
    }
}

fn setup(target: Option<&str>, settings: Settings) -> Result<(), Exit> {
    let (target, arch) = choose(target, &settings)?;
    // Machines with the same software share one image.
    let mut definitions = BTreeMap::new();
    for definition in Definition::all(&settings.root).map_err(usage)? {
        definitions.insert(Image::key(&definition, arch).map_err(usage)?, definition);
    }
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    for definition in definitions.values() {
        let image = runtime.block_on(provide(definition, arch, &settings));
        let image = image.map_err(|error| unmade(&target, error))?;
        let folder = image.disk.parent().unwrap_or(&image.disk).display();
        let made = &image.manifest;
        say(&format!(
            "{target}: {} with {} packages, made {}, is in {folder} and takes {}",
            made.distribution,
            made.packages.len(),
            made.built,
            image.room()
        ));
    }
    Ok(())
}

/// Becomes the script that installs packages; it has the same exit statuses as this program.
fn install_packages(target: Option<&str>, settings: &Settings) -> Result<(), Exit> {
    let target = TargetSpec::choose(target, settings).map_err(usage)?;
    let script = settings.root.join("ci/setup");
    let error = std::process::Command::new("bash").arg(&script).arg(target.to_string()).exec();
    Err(infrastructure(anyhow::Error::new(error).context(format!("cannot run bash {}", script.display()))))
}

/// Makes the image of one definition and prints where its parts are.
fn setup_of(file: &Path, target: Option<&str>, settings: &Settings) -> Result<(), Exit> {
    let (target, arch) = choose(target, settings)?;
    let definition = Definition::load(file).map_err(usage)?;
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    let image = runtime.block_on(provide(&definition, arch, settings)).map_err(|error| unmade(&target, error))?;
    let parts = serde_json::json!({
        "disk": image.disk,
        "kernel": image.kernel,
        "initrd": image.initrd,
        "cpus": definition.cpus,
        "memory": definition.guest_memory(arch),
        "mirror": image.manifest.mirror,
    });
    say(&parts.to_string());
    Ok(())
}

/// Provides the image of a definition, made as in a run.
async fn provide(definition: &Definition, arch: Arch, settings: &Settings) -> anyhow::Result<Image> {
    if let Some(image) = Image::kept(definition, arch, &settings.cache)? {
        return Ok(image);
    }
    let work = async |context: &Context| Image::provide(definition, arch, context).await;
    with_temporary_context(settings, &Progress::to_stderr(), work).await
}

/// Explains why a target has no image for its machines.
fn unmade(target: &TargetSpec, error: anyhow::Error) -> Exit {
    infrastructure(if error.is::<Interrupted>() { error } else { target.unusable(error) })
}
