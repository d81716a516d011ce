//! The commands that run something, on this host or on machines: the feature `run`.

mod adopt;
mod bench;
mod bisect;
mod doctor;
mod gc;
mod init;
mod setup;

use std::path::PathBuf;

use clap::Subcommand;

use super::{SuiteArgs, print_line};
use crate::e2e::{self, catalogue};
use assay::base::exit_status::{Exit, ExitStatus, usage};
use assay::base::settings::Settings;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum MachineTodo {
    /// Test the claims on machines, and write the evidence and the reports
    Run(Box<e2e::options::Options>),
    /// Check everything that a target needs on this host, and show how to get what is missing
    ///
    /// Exit status: 0 the target would work; 1 something is missing: it is named, with the command that installs it.
    Doctor(doctor::Doctor),
    /// Make the machine image of a target now instead of in the first run, or install the packages it needs
    Setup {
        /// local, nspawn, vm, vm:amd64 or vm:arm64; with --packages any target [default: local; env: ASSAY_TARGET]
        target: Option<String>,
        /// What the machines run: debian-13, debian-14, debian-sid, ubuntu-24.04, or a file of your own
        /// [default: debian-13; env: ASSAY_PLATFORM]
        #[arg(long, value_name = "NAME|FILE")]
        platform: Option<String>,
        /// Install the packages that the target needs and this host lacks, with sudo unless you are root; make no image
        #[arg(long, conflicts_with = "definition")]
        packages: bool,
        /// The definition of a machine that no target uses: only its image is made, and reported as JSON
        #[arg(long, hide = true)]
        definition: Option<PathBuf>,
        #[command(flatten)]
        verbosity: e2e::options::Verbosity,
    },
    /// Write the folder of a workload of your own: claims, scenarios with their controls, a Quadlet
    Init(init::Init),
    /// Write the folder of a workload from Quadlets as they are published: what they refer to, and claims with controls
    ///
    /// A folder is searched for all Quadlets; each set of them that belong together becomes a suite of its own. The
    /// Quadlets stay as they are, nothing is overwritten, and no secret is read.
    Adopt(adopt::Adopt),
    /// Find between which two platforms, or days of an archive, the verdict of a claim changed
    ///
    /// Exit status: 0 it is found and named; 1 the verdict is the same at both ends; 3 an end could not be judged.
    Bisect(bisect::Bisect),
    /// Measure what assay itself costs on this host; all parts together take minutes
    Bench(bench::Bench),
    /// List every step that features may use, with its parameters and an example
    Steps {
        #[command(flatten)]
        suite: SuiteArgs,
    },
    /// Remove what finished runs have left; a run in progress is not touched
    ///
    /// In AWS, lists every resource tagged by assay, then removes those that have expired or belong to a finished run
    /// of this host. Resources without such a tag are never touched.
    ///
    /// Exit status: 0 nothing is left that should be removed; 3 something could not be removed: it is named.
    Gc(gc::Gc),
}

pub fn main(todo: MachineTodo) -> Result<ExitStatus, Exit> {
    let settings = || Settings::read().map_err(usage);
    match todo {
        MachineTodo::Run(options) => return e2e::run(*options),
        MachineTodo::Bisect(arguments) => return bisect::bisect(&arguments),
        MachineTodo::Doctor(arguments) => doctor::doctor(&arguments, &settings()?),
        MachineTodo::Setup { target, platform, packages, definition, verbosity } => {
            verbosity.apply();
            let (target, settings) = (target.as_deref(), settings()?.on_platform(platform));
            match packages {
                true => setup::install_packages(target, &settings),
                false => setup::setup(target, definition.as_deref(), &settings),
            }
        }
        MachineTodo::Init(arguments) => init::init(&arguments),
        MachineTodo::Adopt(arguments) => adopt::adopt(&arguments),
        MachineTodo::Bench(arguments) => bench::bench(&arguments),
        MachineTodo::Steps { suite } => steps(&suite, &settings()?),
        MachineTodo::Gc(arguments) => gc::gc(&arguments, &settings()?),
    }?;
    Ok(ExitStatus::Success)
}

fn steps(suite: &SuiteArgs, settings: &Settings) -> Result<(), Exit> {
    print_line(catalogue::listed(&suite.read(settings)?, suite.json).map_err(usage)?.trim_end());
    Ok(())
}
