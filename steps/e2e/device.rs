//! Steps about the machine: section A.5 of the annex.

use assay::base::unit::Unit;
use assay::verdict::Rule;
use cucumber::{given, then};

use crate::lab::Kind;
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
    let subject = proof.lab.machine_subject(Kind::Defined("mega")).await?;
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
