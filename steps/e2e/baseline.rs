//! Steps about conventional containers as baselines of the workload: parts of sections A.7 and A.8 of the annex.

use crate::e2e::fixtures::{Beside, SideBySide};
use crate::e2e::prelude::*;

#[given("the images of mosquitto and of Python for comparison")]
async fn images_beside(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.images_side_by_side(Beside::Python).await)
}

#[given("the workload's own image in place of both")]
async fn own_image_beside(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.images_side_by_side(Beside::Itself).await)
}

#[when("the workload and a conventional container have run side by side")]
async fn ran_side_by_side(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.side_by_side(SideBySide::ColdAndWarm, Beside::Python, 0).await)
}

#[when("the workload has run side by side with itself")]
async fn ran_beside_itself(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.side_by_side(SideBySide::ColdAndWarm, Beside::Itself, 0).await)
}

#[when("the workload and a conventional container have run in pairs")]
async fn pairs_with_python(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.first_pairs(SideBySide::Warm, Beside::Python).await
}

#[when("the workload and the same program built natively have run in pairs")]
async fn pairs_with_native(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.first_pairs(SideBySide::Warm, Beside::Native).await
}

#[when("the workload has run in pairs with itself")]
async fn pairs_with_itself(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.first_pairs(SideBySide::Warm, Beside::Itself).await
}

#[when("the workload and a conventional container have been pulled and started in pairs")]
async fn pulled_with_python(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.first_pairs(SideBySide::Pulled, Beside::Python).await
}

#[when("the workload has been pulled and started in pairs with itself")]
async fn pulled_with_itself(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.first_pairs(SideBySide::Pulled, Beside::Itself).await
}

#[when(expr = "the workload has run with {word} caches")]
async fn ran_with_caches(world: &mut ScenarioWorld, caches: String) -> anyhow::Result<()> {
    world.about(world.fixtures.cold_or_warm(Beside::Itself, is_cold(&caches)?).await)
}

#[when(expr = "a conventional container has run with {word} caches")]
async fn conventional_ran_with_caches(world: &mut ScenarioWorld, caches: String) -> anyhow::Result<()> {
    world.about(world.fixtures.cold_or_warm(Beside::Python, is_cold(&caches)?).await)
}

fn is_cold(caches: &str) -> anyhow::Result<bool> {
    match caches {
        "cold" => Ok(true),
        "warm" => Ok(false),
        other => anyhow::bail!("caches are {other}: write cold or warm"),
    }
}

#[when("a guest has read a file of 64 MiB that is not in the page cache")]
async fn has_read_from_disk(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.read_from_disk().await)
}

#[then(expr = "it reads and writes at most {size} on disk")]
fn little_disk_use(world: &mut ScenarioWorld, size: SizeWord) -> anyhow::Result<()> {
    world.disk_use(Rule::AtMost { bound: size.0.value() })
}

#[then("its use of the disk is reported")]
fn disk_use_reported(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.disk_use(Rule::Recorded)
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
async fn starts_faster(world: &mut ScenarioWorld, times: u32) -> anyhow::Result<()> {
    world.check_ratio("ratio.start.time", f64::from(times)).await
}

#[then(expr = "the workload is there and started at least {int} times sooner")]
async fn there_sooner(world: &mut ScenarioWorld, times: u32) -> anyhow::Result<()> {
    world.check_ratio("ratio.cold.start", f64::from(times)).await
}

#[then(expr = "the workload uses at least {int} times less CPU time")]
async fn less_cpu(world: &mut ScenarioWorld, times: u32) -> anyhow::Result<()> {
    world.check_ratio("ratio.cpu.time", f64::from(times)).await
}
