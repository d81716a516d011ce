//! assay tests the claims of a technical annex.
//!
//! ```text
//! feature text → step → target → command → raw sample → measurement → verdict → evidence → report
//! ```
//!
//! Each arrow is a plain value that can be printed and stored. The folders are in this order, and each imports only
//! from those before it: [`base`], [`claims`], [`exec`], [`targets`], [`workloads`], [`measurement`], [`verdict`],
//! [`evidence`], [`report`].
//!
//! # In another crate
//!
//! The parts that the annex's own steps use are public: [`targets`] provisions machines, an [`exec::shell::Shell`] runs
//! commands on them, [`measurement`] defines readings, a [`verdict::Rule`] judges them, and [`run::Run`] combines these
//! parts. It writes evidence that `assay verify` and `assay report` read like that of any other run. It does not need
//! cucumber, but cucumber steps can call it.
//!
//! ```no_run
//! use assay::exec::command::Command;
//! use assay::measurement::{Reading, Unreadable};
//! use assay::base::progress::Progress;
//! use assay::run::Run;
//! use assay::base::settings::Settings;
//! use assay::targets::Definition;
//! use assay::base::unit::Unit;
//! use assay::verdict::Rule;
//!
//! // A probe is a command and a pure function that parses its output.
//! fn read_load(printed: &str) -> Result<Reading, Unreadable> {
//!     let number = printed.split(' ').next().and_then(|word| word.parse::<f64>().ok());
//!     let load = number.ok_or_else(|| Unreadable::new("load.minute", "a number first", printed))?;
//!     Ok(Reading::new("load.minute", load, Unit::Count, printed))
//! }
//!
//! # async fn example() -> anyhow::Result<()> {
//! let settings = Settings::read()?;
//! let device = Definition::named(&settings.root, "nano")?;
//! // The folder "my-claims" contains features/claims.toml and features/*.feature.
//! let run = Run::begin("my-claims".as_ref(), &"vm".parse()?, settings, Progress::to_stderr())?;
//! let machine = run.machine(&device).await?;
//! for planned in run.scenarios() {
//!     if planned.control {
//!         // The same check on a wrong subject: here a busy machine.
//!         machine.shell.run(&Command::new("timeout").args(["60", "sh", "-c", "yes >/dev/null"])).await?;
//!     }
//!     let load = Command::new("cat").arg("/proc/loadavg");
//!     let look = async { Ok(vec![read_load(&machine.shell.read(&load).await?)?]) };
//!     let subject = run.look(&planned.scenario, &machine.name, look).await?;
//!     let idle = Rule::Between { low: 0.0, high: 0.2 };
//!     run.prove(&planned, async |proof| proof.check(&subject, "load.minute", Unit::Count, idle)).await?;
//! }
//! machine.shut_down().await;
//! let (verdicts, evidence) = run.end()?;
//! println!("exit status {}; evidence: {}", verdicts.exit, evidence.display());
//! # Ok(())
//! # }
//! ```

pub mod base;
pub mod claims;
pub mod exec;
pub mod targets;
pub mod workloads;
pub mod measurement;
pub mod verdict;
pub mod evidence;
pub mod report;
pub mod run;
// The parts behind commands of the program `assay`.
pub mod bench;
pub mod doctor;
pub mod selfcheck;
mod bin;
mod e2e;

/// Runs the program `assay` with the arguments of this process.
pub fn main() -> std::process::ExitCode {
    bin::main().into()
}
