//! Steps about conventional containers beside the workload: parts of sections A.7 and A.8 of the annex.

use assay::base::unit::Unit;
use assay::verdict::Rule;
use cucumber::{given, then, when};

use crate::lab::Beside;
use crate::world::Proof;

#[given("images of mosquitto and of Python beside it")]
async fn images_beside(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.images_side_by_side(Beside::Conventional).await?;
    proof.about(subject);
    Ok(())
}

#[given("its own image in the place of both")]
async fn own_image_beside(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.images_side_by_side(Beside::Itself).await?;
    proof.about(subject);
    Ok(())
}

#[when("the workload and a conventional container have run side by side")]
async fn ran_side_by_side(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.side_by_side(Beside::Conventional).await?;
    proof.about(subject);
    Ok(())
}

#[when("the workload has run side by side with itself")]
async fn ran_beside_itself(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.side_by_side(Beside::Itself).await?;
    proof.about(subject);
    Ok(())
}

#[then(expr = "it is {int} times smaller than mosquitto's and {int} times smaller than Python's")]
fn smaller(proof: &mut Proof, mosquitto: u32, python: u32) -> anyhow::Result<()> {
    proof.check("ratio.image.size.mosquitto", Unit::Times, Rule::AtLeast { bound: f64::from(mosquitto) })?;
    proof.check("ratio.image.size.python", Unit::Times, Rule::AtLeast { bound: f64::from(python) })
}

#[then(expr = "it takes at least {int} times less memory")]
fn less_memory(proof: &mut Proof, times: u32) -> anyhow::Result<()> {
    proof.check("ratio.memory.peak", Unit::Times, Rule::AtLeast { bound: f64::from(times) })
}

#[then(expr = "it starts at least {int} times faster")]
fn starts_faster(proof: &mut Proof, times: u32) -> anyhow::Result<()> {
    proof.check("ratio.start.time", Unit::Times, Rule::AtLeast { bound: f64::from(times) })
}

#[then(expr = "it takes at least {int} times less CPU time")]
fn less_cpu(proof: &mut Proof, times: u32) -> anyhow::Result<()> {
    proof.check("ratio.cpu.time", Unit::Times, Rule::AtLeast { bound: f64::from(times) })
}
