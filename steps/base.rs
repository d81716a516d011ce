//! What everything else uses: units, statistics, settings, access to the host, progress and the work log.

pub mod commands;
pub mod digest;
pub mod embedded;
pub mod exit_status;
pub mod host_capacity;
pub mod once_map;
pub mod packages;
pub mod platform;
pub mod poll;
pub mod procfs;
pub mod programs;
pub mod progress;
pub mod redact;
pub mod settings;
pub mod stats;
pub mod status;
pub mod trace;
pub mod unit;
pub mod work_log;
