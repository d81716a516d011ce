//! Steps about the workload as a service: sections A.6 and A.10 of the annex.

use std::time::Duration;

use assay::base::unit::Unit;
use assay::measurement::trial::Until;
use assay::verdict::Rule;
use cucumber::{then, when};

use crate::lab::{Guest, Limits, TrialSpec};
use crate::params::{DurationWord, PercentWord, SizeWord};
use crate::world::Proof;

async fn about_trial(proof: &mut Proof, guest: String, limits: Limits, until: Until) -> anyhow::Result<()> {
    let spec = TrialSpec { guest: Guest::Named(guest), limits, until, runs: 1, cold: false };
    let subject = proof.lab.trial(&spec).await?;
    proof.about(subject);
    Ok(())
}

fn held(time: DurationWord) -> Until {
    Until::Held(Duration::from_secs_f64(time.0.value()))
}

#[when("the workload has run as the annex deploys it")]
async fn ran_as_annex(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.annex_run().await?;
    proof.about(subject);
    Ok(())
}

#[when(expr = "the guest {string} has run without a limit on CPU")]
async fn ran_without_quota(proof: &mut Proof, guest: String) -> anyhow::Result<()> {
    about_trial(proof, guest, Limits::Memory, Until::Ended).await
}

#[when(expr = "the guest {string} has run without any limit")]
async fn ran_without_limits(proof: &mut Proof, guest: String) -> anyhow::Result<()> {
    about_trial(proof, guest, Limits::None, Until::Ended).await
}

#[when(expr = "the guest {string} has run for {duration} as the annex deploys it")]
async fn ran_for_as_annex(proof: &mut Proof, guest: String, time: DurationWord) -> anyhow::Result<()> {
    about_trial(proof, guest, Limits::Annex, held(time)).await
}

#[when(expr = "the guest {string} has run for {duration} without a limit on CPU")]
async fn ran_for_without_quota(proof: &mut Proof, guest: String, time: DurationWord) -> anyhow::Result<()> {
    about_trial(proof, guest, Limits::Memory, held(time)).await
}

#[when(expr = "the guest {string} has ended {int} times")]
async fn ended_times(proof: &mut Proof, guest: String, times: u32) -> anyhow::Result<()> {
    about_trial(proof, guest, Limits::Memory, Until::Stopped(times)).await
}

#[when("a Quadlet with an unknown key is installed")]
async fn bad_quadlet(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.bad_quadlet().await?;
    proof.about(subject);
    Ok(())
}

#[then(expr = "systemd has its unit {string}")]
fn unit_is(proof: &mut Proof, state: String) -> anyhow::Result<()> {
    proof.check_text("unit.load", &state)
}

#[then("its user is not root")]
fn user_is_not_root(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check("unit.uid", Unit::Count, Rule::Differs { value: 0.0.into() })
}

#[then(expr = "its log has a greeting that says {string}")]
fn has_greeting(proof: &mut Proof, text: String) -> anyhow::Result<()> {
    proof.check("log.greeting", Unit::Text, Rule::Contains { text })
}

#[then(expr = "its log has {int} readings")]
fn has_readings(proof: &mut Proof, count: u32) -> anyhow::Result<()> {
    proof.check_number("log.readings", Unit::Count, f64::from(count))
}

#[then(expr = "the temperatures are {string}")]
fn temperatures_are(proof: &mut Proof, temperatures: String) -> anyhow::Result<()> {
    proof.check_text("log.temperatures", &temperatures)
}

#[then(expr = "the readings are {duration} to {duration} apart")]
fn spacing(proof: &mut Proof, low: DurationWord, high: DurationWord) -> anyhow::Result<()> {
    proof.check("log.spacing", Unit::Seconds, Rule::Between { low: low.0.value(), high: high.0.value() })
}

#[then(expr = "its log has a completion that says {string}")]
fn has_completion(proof: &mut Proof, text: String) -> anyhow::Result<()> {
    proof.check("log.completion", Unit::Text, Rule::Contains { text })
}

#[then(expr = "from its first line to its last it takes {duration} to {duration}, give or take {duration}")]
fn takes(proof: &mut Proof, low: DurationWord, high: DurationWord, jitter: DurationWord) -> anyhow::Result<()> {
    let (low, high) = (low.0.value() - jitter.0.value(), high.0.value() + jitter.0.value());
    proof.check("log.duration", Unit::Seconds, Rule::Between { low, high })
}

#[then(expr = "it ended with result {string}")]
fn ended_with_result(proof: &mut Proof, result: String) -> anyhow::Result<()> {
    proof.check_text("unit.result", &result)
}

#[then(expr = "it ended with exit code {int}")]
fn ended_with_code(proof: &mut Proof, code: u32) -> anyhow::Result<()> {
    proof.check_number("unit.status", Unit::Count, f64::from(code))
}

#[then(expr = "it was restarted {int} times")]
fn was_restarted(proof: &mut Proof, count: u32) -> anyhow::Result<()> {
    proof.check_number("unit.restarts", Unit::Count, f64::from(count))
}

#[then("it was killed for want of memory")]
fn was_killed(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check("memory.events.oom_kill", Unit::Count, Rule::AtLeast { bound: 1.0 })
}

#[then(expr = "it never had more than {size}")]
fn never_more(proof: &mut Proof, size: SizeWord) -> anyhow::Result<()> {
    proof.check("memory.unit.peak", Unit::Bytes, Rule::AtMost { bound: size.0.value() })
}

#[then(expr = "its share of a CPU is {percent} to {percent}")]
fn cpu_share(proof: &mut Proof, low: PercentWord, high: PercentWord) -> anyhow::Result<()> {
    proof.check("cpu.share", Unit::Ratio, Rule::Between { low: low.0.value(), high: high.0.value() })
}

#[when("the workload has been deployed, started and cleaned up as the annex says")]
async fn cleaned_up(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.cleaned_up(false).await?;
    proof.about(subject);
    Ok(())
}

#[when("the workload has been deployed, started and cleaned up but for its Quadlet")]
async fn cleaned_up_in_part(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.cleaned_up(true).await?;
    proof.about(subject);
    Ok(())
}

#[then("no unit, no Quadlet and no image of it are left")]
fn nothing_left(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check_text("left.units", "none")?;
    proof.check_text("left.quadlets", "none")?;
    proof.check_text("left.images", "none")
}
