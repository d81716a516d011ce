//! Steps about wrong subjects, which replace the device, or a part of it, in controls.

use crate::e2e::fixtures::JobKind;
use crate::e2e::prelude::*;
use assay::base::platform::Arch;

#[given("runc in place of crun")]
async fn runc(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.runc_subject().await)
}

#[given(expr = "an {word} machine of the device's type")]
async fn foreign_machine(world: &mut ScenarioWorld, arch: Arch) -> anyhow::Result<()> {
    world.about(world.fixtures.machine_subject(JobKind::Foreign(arch)).await)
}

#[given("a machine with 224 MiB of memory")]
async fn small_machine(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    deployed_there(world).await
}

/// This is the same visit to that machine: it was inspected when the workload was deployed there.
#[when("the workload has run there without a CPU limit")]
async fn deployed_there(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.deployed_on("tiny").await)
}
