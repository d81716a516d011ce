//! Names the remedy for commands that this build does not have.

use anyhow::anyhow;
use clap::error::{ContextKind, ContextValue};

use assay::base::exit_status::{Exit, usage};

/// The commands of the feature `run`.
const ABSENT: [&str; 9] = ["run", "doctor", "setup", "init", "adopt", "bisect", "bench", "steps", "gc"];

/// Returns the command that is wrong only because this build does not have it.
pub fn named(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(command)) if ABSENT.contains(&command.as_str()) => Some(command),
        _ => None,
    }
}

pub fn explain(error: &clap::Error) -> Exit {
    let command = named(error).unwrap_or_default();
    usage(anyhow!(
        "this build has no command `{command}`: build it with the default features, `cargo install --path .`"
    ))
}
