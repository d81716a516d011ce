//! Steps about images: section A.3 of the annex.

use assay::base::unit::Unit;
use assay::measurement::Value;
use assay::verdict::Rule;
use assay::workloads::Recipe;
use cucumber::{given, then};

use crate::lab::Guest;
use crate::params::SizeWord;
use crate::world::Proof;

async fn about_image(proof: &mut Proof, guest: Guest, variant: &str, recipe: Recipe) -> anyhow::Result<()> {
    let subject = proof.lab.image_subject(&guest, variant, &recipe).await?;
    proof.about(subject);
    Ok(())
}

#[given("the image of the workload")]
async fn workload_image(proof: &mut Proof) -> anyhow::Result<()> {
    about_image(proof, Guest::Workload, "", Recipe::default()).await
}

#[given(expr = "an image of the guest {string}")]
async fn guest_image(proof: &mut Proof, guest: String) -> anyhow::Result<()> {
    about_image(proof, Guest::Named(guest), "", Recipe::default()).await
}

#[given(expr = "an image of the guest {string} for the platform {string}")]
async fn image_for_platform(proof: &mut Proof, guest: String, platform: String) -> anyhow::Result<()> {
    let recipe = Recipe { platform, ..Recipe::default() };
    about_image(proof, Guest::Named(guest), "-platform", recipe).await
}

#[given(expr = "an image of the guest {string} without annotation")]
async fn image_without_annotation(proof: &mut Proof, guest: String) -> anyhow::Result<()> {
    let recipe = Recipe { annotation: None, ..Recipe::default() };
    about_image(proof, Guest::Named(guest), "-bare", recipe).await
}

#[given(expr = "an image of the guest {string} with a second file")]
async fn image_with_two_files(proof: &mut Proof, guest: String) -> anyhow::Result<()> {
    let recipe = Recipe { extra: Some(("second".to_owned(), b"second".to_vec())), ..Recipe::default() };
    about_image(proof, Guest::Named(guest), "-two-files", recipe).await
}

#[then(expr = "its platform is {string}")]
fn platform_is(proof: &mut Proof, platform: String) -> anyhow::Result<()> {
    proof.check_text("image.platform", &platform)
}

#[then(expr = "its annotation {string} is {string}")]
fn annotation_is(proof: &mut Proof, key: String, value: String) -> anyhow::Result<()> {
    proof.check_text(&format!("image.annotation.{key}"), &value)
}

#[then(expr = "it has {int} layer(s)")]
fn has_layers(proof: &mut Proof, count: u32) -> anyhow::Result<()> {
    proof.check_number("image.layers", Unit::Count, f64::from(count))
}

#[then(expr = "it holds {int} file(s)")]
fn holds_files(proof: &mut Proof, count: u32) -> anyhow::Result<()> {
    proof.check_number("image.files", Unit::Count, f64::from(count))
}

#[then("it has no base image")]
fn has_no_base(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check_text("image.base", "none")
}

#[then("its entrypoint is that file")]
fn entrypoint_is_the_file(proof: &mut Proof) -> anyhow::Result<()> {
    let Some(Value::Text(file)) = proof.value("image.file").cloned() else { anyhow::bail!("the image holds no file") };
    proof.check_text("image.entrypoint", &file)
}

#[then(expr = "podman counts it below {size}")]
fn counted_below(proof: &mut Proof, size: SizeWord) -> anyhow::Result<()> {
    proof.check("image.size", Unit::Bytes, Rule::Below { bound: size.0.value() })
}

#[then("what is transferred of it is reported")]
fn transfer_reported(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check("image.transfer", Unit::Bytes, Rule::Recorded)
}
