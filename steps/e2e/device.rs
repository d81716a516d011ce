//! Steps about the machine: section A.5 of the annex.

use crate::e2e::fixtures::JobKind;
use crate::e2e::prelude::*;

#[given("the device")]
async fn the_device(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.device_subject().await)
}

#[given("a machine with 1 GiB of memory")]
async fn larger_machine(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.machine_subject(JobKind::Defined("mega")).await)
}

#[then(expr = "it has {int} CPUs")]
fn has_cpus(world: &mut ScenarioWorld, count: u32) -> anyhow::Result<()> {
    world.check_number("machine.cpus", Unit::Count, f64::from(count))
}

#[then(expr = "its usable memory is at most {size}")]
fn usable_memory(world: &mut ScenarioWorld, size: SizeWord) -> anyhow::Result<()> {
    world.check("machine.memory", Unit::Bytes, Rule::AtMost { bound: size.0.value() })
}

#[then(expr = "its architecture is {string}")]
fn architecture_is(world: &mut ScenarioWorld, architecture: String) -> anyhow::Result<()> {
    world.check_text("machine.architecture", &architecture)
}

#[then(regex = r"^its Podman is version ([\d.]+) or newer$")]
fn podman_is_new_enough(world: &mut ScenarioWorld, version: String) -> anyhow::Result<()> {
    world.check("podman.version", Unit::Text, Rule::AtLeastVersion { version })
}

#[then(expr = "its crun has the feature {string}")]
fn crun_has(world: &mut ScenarioWorld, feature: String) -> anyhow::Result<()> {
    world.check("crun.features", Unit::Text, Rule::Contains { text: feature })
}
