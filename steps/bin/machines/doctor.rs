//! The command `assay doctor`: what a target needs and this host lacks.

use crate::doctor;
use assay::base::platform::{Arch, TargetSpec};
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::targets::Definition;
use clap::Args;

use crate::bin::{failed, print, print_line};
use crate::e2e::options::Verbosity;
use assay::base::exit_status::{Exit, infrastructure, usage};
use assay::run::unless_interrupted;

/// Which target, and in which format.
#[derive(Debug, Args)]
pub struct Doctor {
    /// local, nspawn, vm, vm:amd64, vm:arm64, ssh://[user@]host[:port], podman, or ec2 (its SDK is in builds with
    /// --features aws)
    /// [default: local; env: ASSAY_TARGET]
    #[arg(long)]
    target: Option<String>,
    /// What the machines run: debian-13, debian-14, debian-sid, ubuntu-24.04, or a file of your own
    /// [default: debian-13; env: ASSAY_PLATFORM]
    #[arg(long, value_name = "NAME|FILE")]
    platform: Option<String>,
    /// With ssh://…: the fingerprint of its host key, as SHA256:…, if no known_hosts file has the key
    #[arg(long, value_name = "FINGERPRINT")]
    host_key: Option<String>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

pub fn doctor(arguments: &Doctor, settings: &Settings) -> Result<(), Exit> {
    arguments.verbosity.apply();
    let settings = &settings.on_platform(arguments.platform.clone());
    let target = TargetSpec::choose(arguments.target.as_deref(), settings).map_err(usage)?;
    let arch = match Arch::host() {
        Some(host) if !matches!(target, TargetSpec::Vm(_)) => host,
        _ => target.on_this_host().map_err(usage)?,
    };
    let definitions = Definition::all(settings).map_err(usage)?;
    let progress = Progress::to_stderr();
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    let examined = doctor::examine(&target, arguments.host_key.clone(), arch, &definitions, settings, &progress);
    let diagnosis = runtime.block_on(unless_interrupted(examined)).map_err(infrastructure)?;
    print(arguments.json, &diagnosis, || diagnosis.render())?;
    match diagnosis.works {
        true if arguments.json => {}
        true => print_line(&diagnosis.conclusion()),
        false => return Err(failed(diagnosis.conclusion())),
    }
    Ok(())
}
