//! assay puts the claims of a technical annex to the proof.
//!
//! ```text
//! feature text → step → target → command → raw sample → measurement → verdict → evidence → report
//! ```
//!
//! Each arrow is a plain value that can be printed and stored. Modules import from those above them, never from below.

// What everything is made of.
pub mod unit;
pub mod stats;
pub mod command;
pub mod redact;
pub mod settings;
pub mod progress;
pub mod tool;
pub mod wait;
pub mod schedule;
pub mod memo;
// Where commands run, and what must not outlive a run.
pub mod shell;
pub mod fleet;
pub mod lease;
// What a machine in the cloud is.
pub mod cloud;
// What is put to the proof, and where.
pub mod artifact;
pub mod registry;
pub mod facts;
pub mod target;
// What is seen.
pub mod probe;
pub mod inventory;
pub mod deployment;
pub mod conventional;
pub mod arithmetic;
pub mod cost;
// What it means: pure, from here to the verdict.
pub mod verdict;
pub mod claim;
pub mod deviation;
pub mod plan;
pub mod conclusion;
pub mod trend;
// The annex and the prices, as their files have them.
pub mod annex;
pub mod quote;
// What is left, and how it is shown.
pub mod evidence;
pub mod record;
pub mod bundle;
pub mod merge;
pub mod seal;
pub mod attestation;
pub mod verify;
pub mod selfcheck;
pub mod report;
pub mod closing;
// What assay itself costs, and what it needs.
pub mod bench;
pub mod doctor;
