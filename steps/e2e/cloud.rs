//! Steps about the device's place in the cloud: sections A.5, A.10 and A.11 of the annex.

use assay::base::unit::Unit;
use assay::measurement::Value;
use assay::targets::instance_spec::CANONICAL;
use cucumber::{given, then, when};

use crate::world::Proof;

#[given(expr = "the newest Ubuntu 24.04 image for arm64 of owner {string}")]
async fn newest_image(proof: &mut Proof, owner: String) -> anyhow::Result<()> {
    let subject = proof.lab.newest_image(&owner).await?;
    proof.about(subject);
    Ok(())
}

#[given(expr = "a newer image with the name of Ubuntu 24.04 for arm64, of owner {string}")]
async fn lookalike_image(proof: &mut Proof, owner: String) -> anyhow::Result<()> {
    let subject = proof.lab.lookalike_image(&owner).await?;
    proof.about(subject);
    Ok(())
}

#[then("the device has booted from it")]
fn booted_from_it(proof: &mut Proof) -> anyhow::Result<()> {
    let Some(Value::Text(id)) = proof.value("ami.id").cloned() else { anyhow::bail!("there is no image to boot from") };
    proof.check_text("ami.owner", CANONICAL)?;
    proof.check_number("ami.newer", Unit::Count, 0.0)?;
    proof.check_text("machine.ami", &id)
}

#[when("the run's instance has been terminated")]
async fn terminated(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.left_in_the_cloud(false).await?;
    proof.about(subject);
    Ok(())
}

#[when("the run's instance has been terminated and its key pair forgotten")]
async fn terminated_but_for_a_key_pair(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.left_in_the_cloud(true).await?;
    proof.about(subject);
    Ok(())
}

#[then("nothing that carries the run's tag is left")]
fn nothing_is_left(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check_text("left.cloud", "nothing")
}

#[when("the whole run has ended")]
async fn whole_run(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.whole_run().await?;
    proof.about(subject);
    Ok(())
}
