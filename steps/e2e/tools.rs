//! Checks, before anything is started, that this host has what the planned scenarios need.

use std::collections::BTreeSet;
use std::path::Path;

use assay::base::commands;
use assay::base::platform::{Arch, MachineKind};
use assay::base::programs;
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::claims::plan::{FeatureFile, Plan, Planned};
use assay::targets::{self, Definition};
use cucumber::gherkin::{Scenario, Step, StepType};

use crate::e2e::traced;

/// What a step may need, in the order in which it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Podman,
    Runc,
    Machines(MachineKind, Arch),
}

/// Where the device and the other machines run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceHome {
    pub arch: Arch,
    /// What the device's kind of machine is here.
    pub kind: MachineKind,
    /// Whether the device is one of them; otherwise it is elsewhere.
    pub device: bool,
}

/// Returns what a step needs, according to its module. A step that only looks at what others have made needs nothing.
fn needs(module: &str, step: &Step, home: DeviceHome) -> Vec<Need> {
    let named = || step.value.split_whitespace().find_map(|word| word.parse().ok());
    let machines = Need::Machines(home.kind, home.arch);
    match module {
        _ if step.ty == StepType::Then => vec![],
        "guest" | "cloud" => vec![],
        "image" | "registry" => vec![Need::Podman],
        "baseline" | "pair" if step.ty == StepType::Given => vec![Need::Podman],
        "device" if step.value == "the device" && !home.device => vec![],
        "device" => vec![machines],
        "wrong_subjects" if step.value.contains("runc") => vec![Need::Runc],
        "wrong_subjects" => {
            named().map_or(vec![Need::Podman, machines], |arch| vec![Need::Machines(MachineKind::Vm, arch)])
        }
        _ if home.device => vec![Need::Podman, machines],
        _ => vec![Need::Podman],
    }
}

/// Returns all scenarios that will run, each with its file.
pub fn running<'a>(features: &'a [FeatureFile], plan: &'a Plan) -> impl Iterator<Item = (&'a FeatureFile, Scenario)> {
    features.iter().flat_map(|file| {
        let scenarios = file.scenarios().into_iter().map(move |expanded| (file, expanded.scenario));
        scenarios.filter(|(file, scenario)| plan.at(&file.path, scenario.position.line).is_some_and(Planned::runs))
    })
}

pub fn check(
    features: &[FeatureFile],
    plan: &Plan,
    given_image: bool,
    definitions: &[Definition],
    home: DeviceHome,
    settings: &Settings,
    progress: &Progress,
) -> anyhow::Result<()> {
    let written = traced::written();
    let module = |step: &Step| {
        let (_, _, place, _) = written.find(step).ok()??;
        Path::new(place?.path).file_stem()?.to_str()
    };
    let steps = running(features, plan).flat_map(|(_, scenario)| scenario.steps);
    let mut all: BTreeSet<Need> =
        steps.flat_map(|step| needs(module(&step).unwrap_or_default(), &step, home)).collect();
    if given_image {
        all.insert(Need::Podman);
    }
    for need in all {
        match need {
            Need::Podman => {
                // Without root, Podman takes its users' ids by newuidmap.
                let rootless = !rustix::process::geteuid().is_root();
                for program in ["podman", "newuidmap"].iter().take(1 + usize::from(rootless)) {
                    programs::need(program, &commands::setup(""))?;
                }
            }
            Need::Runc => drop(programs::need("runc", &commands::setup(""))?),
            Need::Machines(kind, arch) => {
                let check = |definition: &Definition| targets::check_host(kind, definition, arch, settings, progress);
                match arch == home.arch {
                    true => definitions.iter().try_for_each(check)?,
                    false => Definition::all(&settings.without_disk())?.iter().try_for_each(check)?,
                }
            }
        }
    }
    Ok(())
}
