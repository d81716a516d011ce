//! Steps about conventional containers as baselines of the workload: parts of sections A.7 and A.8 of the annex.

use crate::e2e::fixtures::Beside;
use crate::e2e::prelude::*;

#[given("the images of mosquitto and of Python for comparison")]
async fn images_beside(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.images_side_by_side(Beside::Conventional).await)
}

#[given("the workload's own image in place of both")]
async fn own_image_beside(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.images_side_by_side(Beside::Itself).await)
}

#[when("the workload and a conventional container have run side by side")]
async fn ran_side_by_side(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.side_by_side(Beside::Conventional).await)
}

#[when("the workload has run side by side with itself")]
async fn ran_beside_itself(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.side_by_side(Beside::Itself).await)
}

#[then(expr = "the image is at least {int} times smaller than mosquitto's and {int} times smaller than Python's")]
fn smaller(world: &mut ScenarioWorld, mosquitto: u32, python: u32) -> anyhow::Result<()> {
    world.check("ratio.image.size.mosquitto", Unit::Times, Rule::AtLeast { bound: f64::from(mosquitto) })?;
    world.check("ratio.image.size.python", Unit::Times, Rule::AtLeast { bound: f64::from(python) })
}

#[then(expr = "the workload uses at least {int} times less memory")]
fn less_memory(world: &mut ScenarioWorld, times: u32) -> anyhow::Result<()> {
    world.check("ratio.memory.peak", Unit::Times, Rule::AtLeast { bound: f64::from(times) })
}

#[then(expr = "the workload starts at least {int} times faster")]
fn starts_faster(world: &mut ScenarioWorld, times: u32) -> anyhow::Result<()> {
    world.check("ratio.start.time", Unit::Times, Rule::AtLeast { bound: f64::from(times) })
}

#[then(expr = "the workload uses at least {int} times less CPU time")]
fn less_cpu(world: &mut ScenarioWorld, times: u32) -> anyhow::Result<()> {
    world.check("ratio.cpu.time", Unit::Times, Rule::AtLeast { bound: f64::from(times) })
}
