//! Steps about the machine: section A.5 of the annex.

use assay::unit::Unit;
use assay::verdict::Rule;
use cucumber::{given, then, when};

use crate::lab::Condition;
use crate::params::SizeWord;
use crate::world::Proof;

#[given("the device")]
async fn the_device(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.device_subject().await?;
    proof.about(subject);
    Ok(())
}

#[given("a machine with 1 GiB")]
async fn larger_machine(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.machine_subject("mega").await?;
    proof.about(subject);
    Ok(())
}

#[then(expr = "it has {int} CPUs")]
fn has_cpus(proof: &mut Proof, count: u32) -> anyhow::Result<()> {
    proof.check_number("machine.cpus", Unit::Count, f64::from(count))
}

#[then(expr = "its usable memory is at most {size}")]
fn usable_memory(proof: &mut Proof, size: SizeWord) -> anyhow::Result<()> {
    proof.check("machine.memory", Unit::Bytes, Rule::AtMost { bound: size.0.value() })
}

#[then(expr = "its architecture is {string}")]
fn architecture_is(proof: &mut Proof, architecture: String) -> anyhow::Result<()> {
    proof.check_text("machine.architecture", &architecture)
}

#[then(regex = r"^its Podman is version ([\d.]+) or newer$")]
fn podman_is_new_enough(proof: &mut Proof, version: String) -> anyhow::Result<()> {
    proof.check("podman.version", Unit::Text, Rule::AtLeastVersion { version })
}

#[then(expr = "its crun has the feature {string}")]
fn crun_has(proof: &mut Proof, feature: String) -> anyhow::Result<()> {
    proof.check("crun.features", Unit::Text, Rule::Contains { text: feature })
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
