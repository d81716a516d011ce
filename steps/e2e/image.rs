//! Steps about images: section A.3 of the annex.

use crate::e2e::fixtures::Guest;
use crate::e2e::prelude::*;
use assay::workloads::Recipe;

async fn about_image(world: &mut ScenarioWorld, guest: Guest, variant: &str, recipe: Recipe) -> anyhow::Result<()> {
    world.about(world.fixtures.image_subject(&guest, variant, &recipe).await)
}

#[given("the image of the workload")]
async fn workload_image(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    about_image(world, Guest::Workload, "", Recipe::default()).await
}

#[given(expr = "an image of the guest {string}")]
async fn guest_image(world: &mut ScenarioWorld, guest: String) -> anyhow::Result<()> {
    about_image(world, Guest::Named(guest), "", Recipe::default()).await
}

#[given(expr = "an image of the guest {string} for the platform {string}")]
async fn image_for_platform(world: &mut ScenarioWorld, guest: String, platform: String) -> anyhow::Result<()> {
    let recipe = Recipe { platform, ..Recipe::default() };
    about_image(world, Guest::Named(guest), "-platform", recipe).await
}

#[given(expr = "an image of the guest {string} without annotations")]
async fn image_without_annotation(world: &mut ScenarioWorld, guest: String) -> anyhow::Result<()> {
    let recipe = Recipe { annotation: None, ..Recipe::default() };
    about_image(world, Guest::Named(guest), "-bare", recipe).await
}

#[given(expr = "an image of the guest {string} with a second file")]
async fn image_with_two_files(world: &mut ScenarioWorld, guest: String) -> anyhow::Result<()> {
    let recipe = Recipe { extra: Some(("second".to_owned(), b"second".to_vec())), ..Recipe::default() };
    about_image(world, Guest::Named(guest), "-two-files", recipe).await
}

#[then(expr = "its platform is {string}")]
fn platform_is(world: &mut ScenarioWorld, platform: String) -> anyhow::Result<()> {
    world.check_text("image.platform", &platform)
}

#[then(expr = "its annotation {string} is {string}")]
fn annotation_is(world: &mut ScenarioWorld, key: String, value: String) -> anyhow::Result<()> {
    world.check_text(&format!("image.annotation.{key}"), &value)
}

#[then(expr = "it has {int} layer(s)")]
fn has_layers(world: &mut ScenarioWorld, count: u32) -> anyhow::Result<()> {
    world.check_number("image.layers", Unit::Count, f64::from(count))
}

#[then(expr = "it contains {int} file(s)")]
fn holds_files(world: &mut ScenarioWorld, count: u32) -> anyhow::Result<()> {
    world.check_number("image.files", Unit::Count, f64::from(count))
}

#[then("it has no base image")]
fn has_no_base(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check_text("image.base", "none")
}

#[then("its entrypoint is that file")]
fn entrypoint_is_the_file(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    let Some(Value::Text(file)) = world.value("image.file").cloned() else { anyhow::bail!("the image holds no file") };
    world.check_text("image.entrypoint", &file)
}

#[then(expr = "its size as listed by Podman is below {size}")]
fn counted_below(world: &mut ScenarioWorld, size: SizeWord) -> anyhow::Result<()> {
    world.check("image.size", Unit::Bytes, Rule::Below { bound: size.0.value() })
}

#[then("its transfer size is reported")]
fn transfer_reported(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check("image.transfer", Unit::Bytes, Rule::Recorded)
}
