//! What the planned scenarios need of this host: looked for before anything is started.

use assay::facts::Arch;
use assay::plan::{FeatureFile, Plan, every_scenario};
use assay::settings::Settings;
use assay::target::{self, Definition};
use assay::tool;
use cucumber::gherkin::{Scenario, StepType};

/// The words by which steps call for a machine.
const MACHINE: [&str; 7] = ["device", "deployed", "machine", " has run", " has ended", "run there", "Quadlet"];
/// The words by which steps call for images, which are Podman's business.
const IMAGES: [&str; 6] = ["image", "pulled", "the workload", " has run", " has ended", "Quadlet"];
/// What is made without an image, but named like what is not.
const MODULE: &str = "the module of the workload";

/// Whether a step of a scenario that would run calls for one of these.
fn called_for(words: &[&str], features: &[FeatureFile], plan: &Plan) -> bool {
    let calls = |scenario: &Scenario| {
        let subjects = scenario.steps.iter().filter(|step| step.ty != StepType::Then && step.value != MODULE);
        subjects.into_iter().any(|step| words.iter().any(|word| step.value.contains(word)))
    };
    features.iter().any(|file| {
        let runs = |scenario: &&Scenario| plan.at(&file.path, scenario.position.line).is_some_and(|p| p.runs());
        every_scenario(&file.feature).filter(runs).any(calls)
    })
}

/// Looks for the programs that the plan needs.
pub fn check(
    features: &[FeatureFile],
    plan: &Plan,
    given_image: bool,
    definitions: &[Definition],
    arch: Arch,
    settings: &Settings,
) -> anyhow::Result<()> {
    if given_image || called_for(&IMAGES, features, plan) {
        tool::need("podman", "ci/setup")?;
    }
    if called_for(&MACHINE, features, plan) {
        for definition in definitions {
            target::check_host(definition, arch, settings)?;
        }
    }
    Ok(())
}
