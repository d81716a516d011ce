//! Steps about the workload as a service: sections A.6 and A.10 of the annex.

use crate::e2e::fixtures::{Guest, Limits, TrialSpec};
use crate::e2e::prelude::*;
use assay::measurement::trial::watch::Until;

async fn about_trial(world: &mut ScenarioWorld, guest: String, limits: Limits, until: Until) -> anyhow::Result<()> {
    let spec = TrialSpec { guest: Guest::Named(guest), limits, until, runs: 1, cold: false };
    world.about(world.fixtures.trial(&spec).await)
}

#[when("the workload has run as the annex deploys it")]
async fn ran_as_annex(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.annex_run().await)
}

#[when(expr = "the guest {string} has run without a CPU limit")]
async fn ran_without_quota(world: &mut ScenarioWorld, guest: String) -> anyhow::Result<()> {
    about_trial(world, guest, Limits::Memory, Until::Ended).await
}

#[when(expr = "the guest {string} has run without any limit")]
async fn ran_without_limits(world: &mut ScenarioWorld, guest: String) -> anyhow::Result<()> {
    about_trial(world, guest, Limits::None, Until::Ended).await
}

#[when(expr = "the guest {string} has run for {duration} as the annex deploys it")]
async fn ran_for_as_annex(world: &mut ScenarioWorld, guest: String, time: DurationWord) -> anyhow::Result<()> {
    about_trial(world, guest, Limits::Annex, time.held()).await
}

#[when(expr = "the guest {string} has run for {duration} without a CPU limit")]
async fn ran_for_without_quota(world: &mut ScenarioWorld, guest: String, time: DurationWord) -> anyhow::Result<()> {
    about_trial(world, guest, Limits::Memory, time.held()).await
}

#[when(expr = "the guest {string} has ended {int} times")]
async fn ended_times(world: &mut ScenarioWorld, guest: String, times: u32) -> anyhow::Result<()> {
    about_trial(world, guest, Limits::Memory, Until::Stopped(times)).await
}

#[when("a Quadlet with an unknown key is installed")]
async fn bad_quadlet(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.bad_quadlet().await)
}

#[then(expr = "systemd reports its unit as {string}")]
fn unit_is(world: &mut ScenarioWorld, state: String) -> anyhow::Result<()> {
    world.check_text("unit.load", &state)
}

#[then("its user is not root")]
fn user_is_not_root(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check("unit.uid", Unit::Count, Rule::Differs { value: 0.0.into() })
}

#[then(expr = "its log has a greeting that contains {string}")]
fn has_greeting(world: &mut ScenarioWorld, text: String) -> anyhow::Result<()> {
    world.check("log.greeting", Unit::Text, Rule::Contains { text })
}

#[then(expr = "its log has {int} readings")]
fn has_readings(world: &mut ScenarioWorld, count: u32) -> anyhow::Result<()> {
    world.check_number("log.readings", Unit::Count, f64::from(count))
}

#[then(expr = "the temperatures are {string}")]
fn temperatures_are(world: &mut ScenarioWorld, temperatures: String) -> anyhow::Result<()> {
    world.check_text("log.temperatures", &temperatures)
}

#[then(expr = "the readings are {duration} to {duration} apart")]
async fn spacing(world: &mut ScenarioWorld, low: DurationWord, high: DurationWord) -> anyhow::Result<()> {
    world.check_time("log.spacing", low.0.value(), high.0.value()).await
}

#[then(expr = "its log has a completion message that contains {string}")]
fn has_completion(world: &mut ScenarioWorld, text: String) -> anyhow::Result<()> {
    world.check("log.completion", Unit::Text, Rule::Contains { text })
}

#[then(expr = "the time from its first log line to its last is {duration} to {duration}, give or take {duration}")]
async fn takes(
    world: &mut ScenarioWorld,
    low: DurationWord,
    high: DurationWord,
    jitter: DurationWord,
) -> anyhow::Result<()> {
    let (low, high) = (low.0.value() - jitter.0.value(), high.0.value() + jitter.0.value());
    world.check_time("log.duration", low, high).await
}

#[then(expr = "its result is {string}")]
fn ended_with_result(world: &mut ScenarioWorld, result: String) -> anyhow::Result<()> {
    world.check_text("unit.result", &result)
}

#[then(expr = "its exit code is {int}")]
fn ended_with_code(world: &mut ScenarioWorld, code: u32) -> anyhow::Result<()> {
    world.check_number("unit.status", Unit::Count, f64::from(code))
}

#[then(expr = "it was restarted {int} times")]
fn was_restarted(world: &mut ScenarioWorld, count: u32) -> anyhow::Result<()> {
    world.check_number("unit.restarts", Unit::Count, f64::from(count))
}

#[then("it was killed because it ran out of memory")]
fn was_killed(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check("memory.events.oom_kill", Unit::Count, Rule::AtLeast { bound: 1.0 })
}

#[then(expr = "it never used more than {size} of memory")]
fn never_more(world: &mut ScenarioWorld, size: SizeWord) -> anyhow::Result<()> {
    world.check("memory.unit.peak", Unit::Bytes, Rule::AtMost { bound: size.0.value() })
}

#[then(expr = "its share of a CPU is {percent} to {percent}")]
fn cpu_share(world: &mut ScenarioWorld, low: PercentWord, high: PercentWord) -> anyhow::Result<()> {
    world.check("cpu.share", Unit::Ratio, Rule::Between { low: low.0.value(), high: high.0.value() })
}

#[when("the workload has been deployed, started and cleaned up as the annex describes")]
async fn cleaned_up(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.cleaned_up(false).await)
}

#[when("the workload has been deployed, started and cleaned up, except for its Quadlet")]
async fn cleaned_up_in_part(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.cleaned_up(true).await)
}

#[then("no unit, Quadlet or image of the workload is left")]
fn nothing_left(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check_text("left.units", "none")?;
    world.check_text("left.quadlets", "none")?;
    world.check_text("left.images", "none")
}
