//! Steps about what the whole of it costs and takes: sections A.8 and A.11.

use assay::base::unit::Unit;
use assay::verdict::Rule;
use cucumber::{then, when};

use crate::params::{DollarsWord, DurationWord};
use crate::world::Proof;

#[when("the run has been billed")]
async fn billed(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.billed_subject().await?;
    proof.about(subject);
    Ok(())
}

#[then(expr = "it costs less than {dollars}")]
fn costs_less(proof: &mut Proof, amount: DollarsWord) -> anyhow::Result<()> {
    proof.check("cost.total", Unit::Dollars, Rule::Below { bound: amount.0.value() })
}

#[then(expr = "it took at most {duration}")]
fn took_at_most(proof: &mut Proof, time: DurationWord) -> anyhow::Result<()> {
    proof.check("run.time", Unit::Seconds, Rule::AtMost { bound: time.0.value() })
}
