//! Feature text and registers: what is claimed, and what of it runs where.

pub mod deviation;
pub mod plan;
pub mod register;
pub mod suite;
pub mod workload;
