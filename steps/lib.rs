//! assay puts the claims of a technical annex to the proof.
//!
//! ```text
//! feature text → step → target → command → raw sample → measurement → verdict → evidence → report
//! ```
//!
//! Each arrow is a plain value that can be printed and stored. Modules import from those above them, never from below.

pub mod artifact;
pub mod claim;
pub mod command;
pub mod deviation;
pub mod evidence;
pub mod facts;
pub mod lease;
pub mod plan;
pub mod probe;
pub mod progress;
pub mod registry;
pub mod settings;
pub mod shell;
pub mod target;
pub mod unit;
pub mod deployment;
pub mod arithmetic;
pub mod verdict;
pub mod wait;
