//! Steps about the annex's own commands: section A.11 of the annex.

use crate::e2e::prelude::*;

#[when(expr = "the annex's block {word} has been pasted after those before it")]
async fn pasted(world: &mut ScenarioWorld, block: String) -> anyhow::Result<()> {
    world.about(world.fixtures.pasted(&block).await)
}

#[when(expr = "the annex's block {word} has been pasted with a wrong flag")]
async fn pasted_with_wrong_flag(world: &mut ScenarioWorld, block: String) -> anyhow::Result<()> {
    world.about(world.fixtures.pasted_with_wrong_flag(&block).await)
}

#[when("all blocks of the annex have been pasted")]
async fn all_pasted(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.pasted_blocks().await)
}

#[then(expr = "block {word} ends with {int}")]
fn block_ends_with(world: &mut ScenarioWorld, block: String, status: u32) -> anyhow::Result<()> {
    world.check_pasted(&block, "status", Unit::Count, f64::from(status).into())
}

#[then(expr = "block {word} prints what the annex shows")]
fn prints_what_is_shown(world: &mut ScenarioWorld, block: String) -> anyhow::Result<()> {
    world.check_pasted(&block, "lacks", Unit::Text, "nothing".into())
}

#[then(expr = "there are {int} of them")]
fn count_is(world: &mut ScenarioWorld, count: u32) -> anyhow::Result<()> {
    world.check_number("paste.blocks", Unit::Count, f64::from(count))
}
