//! What everything else uses: units, statistics, settings, access to the host, progress and the work log.

pub mod digest;
pub mod exit_status;
#[cfg(feature = "run")]
pub mod host_capacity;
pub mod instance_spec;
#[cfg(feature = "run")]
pub mod once_map;
#[cfg(feature = "run")]
pub mod packages;
pub mod platform;
#[cfg(feature = "run")]
pub mod poll;
#[cfg(feature = "run")]
pub mod procfs;
#[cfg(feature = "run")]
pub mod programs;
#[cfg(feature = "run")]
pub mod progress;
#[cfg(feature = "run")]
pub mod redact;
pub mod settings;
pub mod stats;
pub mod unit;
#[cfg(feature = "run")]
pub mod work_log;
pub mod work_summary;
