//! Steps about what stands in for the device, or for a part of it, in controls.

use assay::base::platform::Arch;
use cucumber::{given, when};

use crate::fixtures::Kind;
use crate::world::ScenarioWorld;

#[given("runc in place of crun")]
async fn runc(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    let subject = world.fixtures.runc_subject().await?;
    world.about(subject);
    Ok(())
}

#[given(expr = "an {word} machine of the device's kind")]
async fn foreign_machine(world: &mut ScenarioWorld, arch: Arch) -> anyhow::Result<()> {
    let subject = world.fixtures.machine_subject(Kind::Foreign(arch)).await?;
    world.about(subject);
    Ok(())
}

#[given("a machine with 224 MiB")]
async fn small_machine(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    deployed_there(world).await
}

/// It is one machine and one visit: what it is was seen when the workload was deployed there.
#[when("the workload has run there without a limit on CPU")]
async fn deployed_there(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    let subject = world.fixtures.deployed_on("tiny").await?;
    world.about(subject);
    Ok(())
}
