//! Steps about cost and time of the whole run: sections A.8 and A.11 of the annex.

use crate::base::unit::Unit;
use crate::verdict::Rule;
use cucumber::{then, when};

use crate::e2e::params::{DollarsWord, DurationWord};
use crate::e2e::world::ScenarioWorld;

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
