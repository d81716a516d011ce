//! Steps about two units of a workload of your own that are compared (`--suite DIR`, with `[[pair]]` in its workload.toml).

use anyhow::{Context as _, ensure};
use assay::claims::workload::{Workload, pair};
use cucumber::gherkin::{Step, StepType};

use crate::e2e::fixtures::Compared;
use crate::e2e::prelude::*;

/// Checks a step of this module before anything runs: its units are a pair's, and if it judges, the step above it, which
/// `above` remembers, has run these two.
pub fn check(own: Option<&Workload>, step: &Step, above: &mut Option<[String; 2]>) -> anyhow::Result<()> {
    let own = own.context("it is about a workload of your own: name its folder with --suite")?;
    let mut units = pair::units(&step.value)?;
    let pair = own.pair(&units)?;
    units.sort();
    if step.ty != StepType::Then {
        *above = Some(units);
        return Ok(());
    }
    let same = above.as_ref() == Some(&units);
    ensure!(
        same,
        "no step above it is about the same two units: write When … have been up in pairs, or Given the images …"
    );
    let url = pair.url.is_some() || !step.value.contains(" requests a second as ");
    ensure!(url, "the pair {} has no url: write url = \"http://localhost:PORT/\" below [[pair]]", pair.name);
    Ok(())
}

/// Starts each of them alone on one machine, asks it, and kills it: in up to 28 rounds, in a random order.
#[when(expr = "{string} and {string} have been up in pairs")]
async fn in_pairs(world: &mut ScenarioWorld, one: String, other: String) -> anyhow::Result<()> {
    world.about(world.fixtures.units_in_pairs(&[one, other], 0).await)
}

/// The same for the first unit of a pair, for a control.
#[when(expr = "{string} has been up in pairs with itself")]
async fn beside_itself(world: &mut ScenarioWorld, unit: String) -> anyhow::Result<()> {
    world.about(world.fixtures.units_in_pairs(&[unit.clone(), unit], 0).await)
}

/// The proportional share (Pss) of its container's processes, after it has answered a request to the `url` of the pair, or
/// 1 s after it is up.
#[then(expr = "{string} takes at least {float} times less memory than {string}")]
async fn less_memory(world: &mut ScenarioWorld, one: String, times: f64, other: String) -> anyhow::Result<()> {
    world.check_pair([one, other], Compared::Memory, times).await
}

/// From when systemd begins to start its unit until this is active; with `Notify=healthy`, until it is healthy.
#[then(expr = "{string} starts at least {float} times faster than {string}")]
async fn starts_faster(world: &mut ScenarioWorld, one: String, times: f64, other: String) -> anyhow::Result<()> {
    world.check_pair([one, other], Compared::Start, times).await
}

/// One client on the machine asks for 1 s for the `url` of the pair, each time after the answer, on one connection.
#[then(expr = "{string} answers at least {float} times as many requests a second as {string}")]
async fn more_requests(world: &mut ScenarioWorld, one: String, times: f64, other: String) -> anyhow::Result<()> {
    world.check_pair([one, other], Compared::Requests, times).await
}

#[given(expr = "the images of {string} and {string}")]
async fn images(world: &mut ScenarioWorld, one: String, other: String) -> anyhow::Result<()> {
    world.about(world.fixtures.images_in_pair(&[one, other]).await)
}

#[given(expr = "the image of {string} beside itself")]
async fn image_beside_itself(world: &mut ScenarioWorld, unit: String) -> anyhow::Result<()> {
    world.about(world.fixtures.images_in_pair(&[unit.clone(), unit]).await)
}

/// As Podman counts them.
#[then(expr = "the image of {string} is at least {float} times smaller than that of {string}")]
async fn smaller_image(world: &mut ScenarioWorld, one: String, times: f64, other: String) -> anyhow::Result<()> {
    if world.rehearsed.is_none() {
        world.about(world.fixtures.images_in_pair(&[one, other]).await)?;
    }
    world.check("ratio.pair.image", Unit::Times, Rule::AtLeast { bound: times })
}
