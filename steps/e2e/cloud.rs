//! Steps about the device as an instance in AWS, and about the run's cost and time: sections A.5, A.8, A.10 and A.11 of
//! the annex.

use crate::e2e::params::DollarsWord;
use crate::e2e::prelude::*;
use assay::targets::cloud::CANONICAL;

#[given(expr = "the newest Ubuntu 24.04 image for arm64 from owner {string}")]
async fn newest_image(world: &mut ScenarioWorld, owner: String) -> anyhow::Result<()> {
    world.about(world.fixtures.newest_image(&owner).await)
}

#[given(expr = "a newer image with the name of Ubuntu 24.04 for arm64, from owner {string}")]
async fn lookalike_image(world: &mut ScenarioWorld, owner: String) -> anyhow::Result<()> {
    world.about(world.fixtures.lookalike_image(&owner).await)
}

#[then("the device has booted from this image")]
fn booted_from_it(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    let Some(Value::Text(id)) = world.value("ami.id").cloned() else { anyhow::bail!("there is no image to boot from") };
    world.check_text("ami.owner", CANONICAL)?;
    world.check_number("ami.newer", Unit::Count, 0.0)?;
    world.check_text("machine.ami", &id)
}

#[when("the run's instance has been terminated")]
async fn terminated(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.left_in_the_cloud(false).await)
}

#[when("the run's instance has been terminated, but its key pair has not been deleted")]
async fn terminated_but_for_a_key_pair(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.left_in_the_cloud(true).await)
}

#[then("no resource with the run's tag remains")]
fn nothing_is_left(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check_text("left.cloud", "nothing")
}

#[when("the whole run has ended")]
async fn whole_run(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.whole_run().await)
}

#[when("the run's bill has been calculated")]
async fn billed(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.billed_subject().await)
}

#[then(expr = "the run costs less than {dollars}")]
fn costs_less(world: &mut ScenarioWorld, amount: DollarsWord) -> anyhow::Result<()> {
    world.check("cost.total", Unit::Dollars, Rule::Below { bound: amount.0.value() })
}

#[then(expr = "the run took at most {duration}")]
fn took_at_most(world: &mut ScenarioWorld, time: DurationWord) -> anyhow::Result<()> {
    world.check("run.time", Unit::Seconds, Rule::AtMost { bound: time.0.value() })
}
