//! assay tests the claims of a technical annex.
//!
//! ```text
//! feature text → step → target → command → raw sample → measurement → verdict → evidence → report
//! ```
//!
//! Each arrow is a plain value that can be printed and stored. `ARCHITECTURE.md` lists the modules in this order.
//!
//! # In another crate
//!
//! A [`Run`] plans the claims of a folder and starts each [`Machine`] from its [`Definition`]. A [`Shell`] runs each
//! [`Command`] there, a probe returns a [`Reading`], and a [`Rule`] judges it. The run writes evidence that
//! `assay verify` and `assay report` read like that of any other run. It does not need cucumber, but cucumber steps can
//! call it. `steps/example/disk_space.rs` is such a program, and `docs/library.md` walks through it.

// The program `assay` (`main.rs`) uses all of it; another crate needs only the names below.
#[doc(hidden)]
pub mod base;
#[doc(hidden)]
pub mod claims;
#[doc(hidden)]
pub mod exec;
#[cfg(feature = "run")]
#[doc(hidden)]
pub mod targets;
#[cfg(feature = "run")]
#[doc(hidden)]
pub mod workloads;
#[doc(hidden)]
pub mod measurement;
#[doc(hidden)]
pub mod verdict;
#[doc(hidden)]
pub mod evidence;
#[doc(hidden)]
pub mod report;
#[cfg(feature = "run")]
#[doc(hidden)]
pub mod run;

pub use base::exit_status::ExitStatus;
pub use base::platform::TargetSpec;
#[cfg(feature = "run")]
pub use base::progress::Progress;
pub use base::settings::Settings;
pub use base::unit::{Bytes, Unit};
pub use claims::plan::Planned;
pub use evidence::Verdicts;
pub use exec::command::{Command, Output};
#[cfg(feature = "run")]
pub use exec::shell::Shell;
pub use measurement::{Reading, Unreadable, Value};
pub use report::{summary, table};
#[cfg(feature = "run")]
pub use run::{Run, ScenarioChecks};
#[cfg(feature = "run")]
pub use targets::{Definition, Machine};
pub use verdict::sample_set::SampleSet;
pub use verdict::{Rule, Verdict};
