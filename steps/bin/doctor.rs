//! What a target needs and this host lacks.

use assay::doctor;
use assay::progress::Progress;
use assay::settings::Settings;
use assay::target::Definition;
use clap::Args;

use crate::{Exit, FOUND, choose, infrastructure, say, unless_interrupted, usage};

/// Which target, and for whom.
#[derive(Debug, Args)]
pub struct Doctor {
    /// vm, vm:amd64 or vm:arm64 [default: vm; env: ASSAY_TARGET]
    #[arg(long)]
    target: Option<String>,
    /// As an object for programs
    #[arg(long)]
    json: bool,
}

/// Tries all that a target needs, and tells what is missing.
pub fn doctor(arguments: &Doctor, settings: &Settings) -> Result<(), Exit> {
    let (target, arch) = choose(arguments.target.as_deref(), settings)?;
    let definitions = Definition::all(&settings.root).map_err(usage)?;
    let progress = Progress::to_stderr();
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    let examined = doctor::examine(&target, arch, &definitions, settings, &progress);
    let diagnosis = runtime.block_on(unless_interrupted(examined)).map_err(infrastructure)?;
    match arguments.json {
        true => say(&serde_json::to_string_pretty(&diagnosis).map_err(infrastructure)?),
        false => say(diagnosis.show().trim_end()),
    }
    match diagnosis.works {
        true if arguments.json => Ok(()),
        true => {
            say(&diagnosis.conclusion());
            Ok(())
        }
        false => Err((FOUND, anyhow::anyhow!(diagnosis.conclusion()))),
    }
}
