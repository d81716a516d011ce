//! Reads feature text and registers, and decides what runs where.

pub mod annex_text;
pub mod deviation;
pub mod expand;
pub mod feature_file;
pub mod plan;
pub mod register;
pub mod suite;
pub mod workload;
