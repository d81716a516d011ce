//! Steps about images that are run by hand, with `podman run`: sections A.2 and A.5 of the annex.

use assay::base::unit::Unit;
use assay::verdict::Rule;
use cucumber::{given, then, when};

use crate::lab::Condition;
use crate::world::Proof;

#[when(expr = "the guest {string} has run on the device")]
async fn guest_ran(proof: &mut Proof, guest: String) -> anyhow::Result<()> {
    let subject = proof.lab.run_guest(&guest).await?;
    proof.about(subject);
    Ok(())
}

#[given("a device with everything the annex installs")]
fn complete_device(proof: &mut Proof) {
    proof.condition = Some(Condition::Complete);
}

#[given("a device without the WasmEdge library")]
fn device_without_library(proof: &mut Proof) {
    proof.condition = Some(Condition::WithoutLibrary);
}

#[given("a device without the crun-wasm link")]
fn device_without_link(proof: &mut Proof) {
    proof.condition = Some(Condition::WithoutLink);
}

#[when("the workload is run there by hand")]
async fn run_by_hand(proof: &mut Proof) -> anyhow::Result<()> {
    let condition = proof.condition.unwrap_or(Condition::Complete);
    let subject = proof.lab.run_by_hand(condition).await?;
    proof.about(subject);
    Ok(())
}

#[then("it fails")]
fn it_fails(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check("run.status", Unit::Count, Rule::Differs { value: 0.0.into() })
}

#[then(expr = "the error says {string}")]
fn error_says(proof: &mut Proof, text: String) -> anyhow::Result<()> {
    proof.check("run.error", Unit::Text, Rule::Contains { text })
}
