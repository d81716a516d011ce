//! Steps about a workload of your own (`--suite DIR`): with its own Quadlet, or with one thing changed for controls.

use crate::e2e::prelude::*;
use assay::claims::workload::change::QuadletChange;
use assay::measurement::journal;
use assay::measurement::trial::watch::Until;
use assay::verdict::{Phase, Reason};

async fn about_own(world: &mut ScenarioWorld, change: QuadletChange, until: Until) -> anyhow::Result<()> {
    world.about(world.fixtures.own_run(change, until).await)
}

/// Returns an error if the workload is up but has printed nothing on an emulated CPU, where it may only be slow.
async fn has_had_time_to_speak(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    let is = |probe: &str, text: &str| world.value(probe) == Some(&Value::from(text));
    let silent = is("unit.state", "active") && is("log.text", journal::SILENT);
    if silent && !world.fixtures.machines().native().await? {
        let message = "it is up and has said nothing yet, which on an emulated CPU may take it longer: let it run for \
                       longer, or on a machine whose CPU is its own";
        return Err(world.checks.block(Reason::Infrastructure { during: Phase::Log, message: message.to_owned() }));
    }
    Ok(())
}

#[when("the workload has run as its Quadlet specifies")]
async fn ran(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    about_own(world, QuadletChange::Nothing, Until::Ended).await
}

/// Counted from when its unit is active. Or until it has ended, if that comes first; after that time it is killed.
#[when(expr = "the workload has run for {duration} as its Quadlet specifies")]
async fn ran_for(world: &mut ScenarioWorld, time: DurationWord) -> anyhow::Result<()> {
    about_own(world, QuadletChange::Nothing, time.held()).await
}

/// With that as its memory limit, on a separate machine.
#[when(expr = "the workload has run for {duration} with a limit of {size} of memory")]
async fn ran_within_memory(world: &mut ScenarioWorld, time: DurationWord, size: SizeWord) -> anyhow::Result<()> {
    about_own(world, QuadletChange::Memory(size.0), time.held()).await
}

/// With that as its CPU limit, on a separate machine.
#[when(expr = "the workload has run for {duration} with a limit of {percent} of a CPU")]
async fn ran_within_cpu(world: &mut ScenarioWorld, time: DurationWord, share: PercentWord) -> anyhow::Result<()> {
    about_own(world, QuadletChange::Cpu(share.0), time.held()).await
}

#[when("the workload has been started with an entrypoint that does not exist")]
async fn started_empty(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    match world.questions.is_empty() {
        true => about_own(world, QuadletChange::Program, Until::Stopped(1)).await,
        false => world.about_up(QuadletChange::Program).await,
    }
}

/// Looks for a line that contains the text; in a long log, only in the first 256 KiB. Not judged if a line may be missing,
/// or if the CPU is emulated and the workload is up but has printed nothing yet.
#[then(expr = "its log contains {string}")]
async fn log_says(world: &mut ScenarioWorld, text: String) -> anyhow::Result<()> {
    let rule = Rule::Contains { text };
    world.has_whole_log("log.text", &rule)?;
    has_had_time_to_speak(world).await?;
    world.check("log.text", Unit::Text, rule)
}

#[then("it is still running")]
fn still_up(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check_text("unit.state", "active")
}

#[then(expr = "systemd limits it to {size} of memory")]
fn held_to_memory(world: &mut ScenarioWorld, size: SizeWord) -> anyhow::Result<()> {
    held_to(world, "limit.memory", Unit::Bytes, size.0.value())
}

#[then(expr = "systemd limits it to {percent} of a CPU")]
fn held_to_cpu(world: &mut ScenarioWorld, share: PercentWord) -> anyhow::Result<()> {
    held_to(world, "limit.cpu", Unit::Ratio, share.0.value())
}

/// A unit that has no limit breaks each one.
fn held_to(world: &mut ScenarioWorld, probe: &str, unit: Unit, bound: f64) -> anyhow::Result<()> {
    let unset = format!("{probe}.unset");
    match world.value(&unset).filter(|_| world.rehearsed.is_none()) {
        Some(_) => world.check_text(&unset, &unit.format(bound)),
        None => world.check_number(probe, unit, bound),
    }
}
