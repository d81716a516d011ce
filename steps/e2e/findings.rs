//! Steps about the annex's arithmetic, section A.8, and the one step that makes a scenario a control.

use crate::e2e::prelude::*;
use anyhow::Context as _;
use assay::measurement::{Reading, published_figures};
use cucumber::gherkin::Step;

#[then("the annex's derived figures follow from its published figures:")]
fn figures(world: &mut ScenarioWorld, step: &Step) -> anyhow::Result<()> {
    let rows = &step.table.as_ref().context("the step needs a table of figures")?.rows;
    let figures: anyhow::Result<Vec<Reading>> = rows.iter().skip(1).map(|row| published_figures::check(row)).collect();
    let figures = figures?;
    if world.rehearsed.is_none() {
        world.about(world.fixtures.subject("the annex's figures", "host", figures.clone()))?;
    }
    for figure in &figures {
        world.check_number(&figure.probe, Unit::Count, 1.0)?;
    }
    Ok(())
}

#[then(expr = "this check fails on {string}")]
fn fails_on(world: &mut ScenarioWorld, probe: String) {
    world.fails_on = Some(probe);
}
