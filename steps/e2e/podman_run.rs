//! Steps about images that are run with `podman run`: sections A.2 and A.5 of the annex.

use crate::e2e::fixtures::{Condition, Guest};
use crate::e2e::prelude::*;
use assay::measurement::sandbox;

#[when(expr = "the guest {string} has run on the device with podman run")]
async fn guest_ran(world: &mut ScenarioWorld, guest: String) -> anyhow::Result<()> {
    world.about(world.fixtures.podman_run(&Guest::Named(guest), Condition::Complete).await)
}

#[given("a device with everything that the annex installs")]
fn complete_device(world: &mut ScenarioWorld) {
    world.condition = Some(Condition::Complete);
}

#[given("a device without the WasmEdge library")]
fn device_without_library(world: &mut ScenarioWorld) {
    world.condition = Some(Condition::WithoutLibrary);
}

#[given("a device without the crun-wasm link")]
fn device_without_link(world: &mut ScenarioWorld) {
    world.condition = Some(Condition::WithoutLink);
}

#[when("the workload has run there with podman run")]
async fn workload_ran(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    let condition = world.condition.unwrap_or(Condition::Complete);
    world.about(world.fixtures.podman_run(&Guest::Workload, condition).await)
}

#[when(expr = "a guest has looked for what is the host's, given its {word}")]
async fn intruder_given(world: &mut ScenarioWorld, given: String) -> anyhow::Result<()> {
    anyhow::ensure!(
        sandbox::KINDS.contains(&given.as_str()),
        "{given} cannot be given: write one of {:?}",
        sandbox::KINDS
    );
    world.about(world.fixtures.sandbox(&given).await)
}

#[when("a guest has looked for what is the host's")]
async fn intruder(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.sandbox("nothing").await)
}

#[then("it has found no file, directory, socket or variable of the host")]
fn found_nothing(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    let found = |kind: &str| world.check_text(&format!("sandbox.{kind}"), "refused");
    sandbox::KINDS.into_iter().try_for_each(found)
}

#[then("podman run fails")]
fn it_fails(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check("run.status", Unit::Count, Rule::Differs { value: 0.0.into() })
}

#[then(expr = "its error message contains {string}")]
fn error_says(world: &mut ScenarioWorld, text: String) -> anyhow::Result<()> {
    world.check("run.error", Unit::Text, Rule::Contains { text })
}
