//! Steps about what stands in for the device, or for a part of it, in controls.

use assay::base::platform::Arch;
use cucumber::{given, when};

use crate::lab::Kind;
use crate::world::Proof;

#[given("runc in place of crun")]
async fn runc(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.runc_subject().await?;
    proof.about(subject);
    Ok(())
}

#[given(expr = "an {word} machine of the device's kind")]
async fn foreign_machine(proof: &mut Proof, arch: Arch) -> anyhow::Result<()> {
    let subject = proof.lab.machine_subject(Kind::Foreign(arch)).await?;
    proof.about(subject);
    Ok(())
}

#[given("a machine with 224 MiB")]
async fn small_machine(proof: &mut Proof) -> anyhow::Result<()> {
    deployed_there(proof).await
}

/// It is one machine and one visit: what it is was seen when the workload was deployed there.
#[when("the workload has run there without a limit on CPU")]
async fn deployed_there(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.deployed_on("tiny").await?;
    proof.about(subject);
    Ok(())
}
