//! Steps about what the workload uses: section A.7 of the annex.

use crate::e2e::fixtures::Limits;
use crate::e2e::prelude::*;

#[when("the workload has run several times under its memory limit")]
async fn ran_several_times(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.repeated_run().await)
}

#[when("the workload has run without any limit")]
async fn ran_without_any_limit(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.unlimited_run().await)
}

#[when("the workload has started 20 times as the annex deploys it")]
async fn started_as_annex(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.starts(Limits::Annex).await)
}

#[when("the workload has started 20 times without a CPU limit")]
async fn started_without_quota(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.starts(Limits::Memory).await)
}

#[when("the workload has run with a sleep of 3 s before its start")]
async fn ran_after_a_sleep(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.late_run().await)
}

#[then(expr = "its peak memory is below {size}")]
fn peak_below(world: &mut ScenarioWorld, size: SizeWord) -> anyhow::Result<()> {
    world.check("memory.peak", Unit::Bytes, Rule::Below { bound: size.0.value() })
}

#[then("it never reached its memory limit")]
fn never_capped(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check_number("memory.events.max", Unit::Count, 0.0)
}

#[then("its memory use while running is reported")]
fn running_reported(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check("memory.running", Unit::Bytes, Rule::Recorded)
}

#[then("its memory headroom while running is reported")]
fn headroom_reported(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check("memory.headroom", Unit::Bytes, Rule::Recorded)
}

#[then("it used no swap")]
fn no_swap(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check_number("memory.swap.peak", Unit::Bytes, 0.0)
}

#[then(expr = "the guest and its WasmEdge runtime use {size} to {size}")]
fn guest_takes(world: &mut ScenarioWorld, low: SizeWord, high: SizeWord) -> anyhow::Result<()> {
    world.check("memory.guest", Unit::Bytes, Rule::Between { low: low.0.value(), high: high.0.value() })
}

#[then(expr = "Podman's helper processes use {size} to {size}")]
fn helpers_take(world: &mut ScenarioWorld, low: SizeWord, high: SizeWord) -> anyhow::Result<()> {
    world.check("memory.helpers", Unit::Bytes, Rule::Between { low: low.0.value(), high: high.0.value() })
}

#[then(expr = "{size} to {size} of memory stay available on the device")]
fn stays_available(world: &mut ScenarioWorld, low: SizeWord, high: SizeWord) -> anyhow::Result<()> {
    world.check("memory.available", Unit::Bytes, Rule::Between { low: low.0.value(), high: high.0.value() })
}

#[then(expr = "its CPU time is at most {duration}")]
fn cpu_time(world: &mut ScenarioWorld, time: DurationWord) -> anyhow::Result<()> {
    world.check("cpu.time", Unit::Seconds, Rule::AtMost { bound: time.0.value() })
}

#[then("its CPU time while it ran is reported")]
fn cpu_while_running(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check("cpu.running", Unit::Seconds, Rule::Recorded)
}

#[then(expr = "its start takes at most {duration}")]
fn start_takes(world: &mut ScenarioWorld, time: DurationWord) -> anyhow::Result<()> {
    world.check_start("start.time", time.0.value())
}

#[then("the duration of each step of its start is reported")]
fn start_steps(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    for step in ["create", "init", "start", "output"] {
        world.check(&format!("start.{step}"), Unit::Seconds, Rule::Recorded)?;
    }
    Ok(())
}
