//! What a run leaves: one folder with its samples, verdicts, transcript and reports, written, read and checked here.

pub mod attestation;
pub mod bundle;
pub mod checksums;
pub mod earlier;
pub mod history;
pub mod merge;
pub mod replication;
#[cfg(feature = "run")]
pub mod run_state;
pub mod sealed_plan;
pub mod timestamp;
pub mod verdicts;
pub mod verify;
mod transcript;
#[cfg(feature = "run")]
mod writer;

use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;

pub use transcript::{Ran, Stream};
pub use verdicts::{ClaimResult, Verdicts, exit};
#[cfg(feature = "run")]
pub use writer::{EvidenceWriter, check_empty, new_or_empty, noting_commands, point_latest};

/// The version of the layout of the folder and its files.
pub const SCHEMA: u32 = 2;

/// Returns the path, relative to a run's folder, of the file with the output of a watched run of a workload.
pub fn trial_file(subject: &str) -> String {
    format!("trials/{}.txt", subject.replace(' ', "-"))
}

/// Returns a name for a run that starts now: its time, and what distinguishes two runs of the same second: the process,
/// and for all but the first run of a process its number.
pub fn new_run_id() -> String {
    static RUNS: AtomicU32 = AtomicU32::new(1);
    let (now, number) = (Timestamp::now(), RUNS.fetch_add(1, Ordering::Relaxed));
    let more = if number > 1 { format!("-{number}") } else { String::new() };
    format!("{}-{:04x}{more}", now.strftime("%Y%m%d-%H%M%S"), std::process::id() & 0xffff)
}
