//! Steps about what the workload takes: section A.7 of the annex.

use assay::base::unit::Unit;
use assay::verdict::Rule;
use cucumber::{then, when};

use crate::params::{DurationWord, SizeWord};
use crate::world::Proof;

#[when("the workload has run several times under its memory limit")]
async fn ran_several_times(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.repeated_run().await?;
    proof.about(subject);
    Ok(())
}

#[when("the workload has run without any limit")]
async fn ran_without_any_limit(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.unlimited_run().await?;
    proof.about(subject);
    Ok(())
}

#[when("the workload has run with a sleep of 3 s before its start")]
async fn ran_after_a_sleep(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.late_run().await?;
    proof.about(subject);
    Ok(())
}

#[then(expr = "its peak memory is below {size}")]
fn peak_below(proof: &mut Proof, size: SizeWord) -> anyhow::Result<()> {
    proof.check("memory.peak", Unit::Bytes, Rule::Below { bound: size.0.value() })
}

#[then("it never ran into its memory limit")]
fn never_capped(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check_number("memory.events.max", Unit::Count, 0.0)
}

#[then("its memory while running is reported")]
fn running_reported(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check("memory.running", Unit::Bytes, Rule::Recorded)
}

#[then("its headroom while running is reported")]
fn headroom_reported(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check("memory.headroom", Unit::Bytes, Rule::Recorded)
}

#[then("it used no swap")]
fn no_swap(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check_number("memory.swap.peak", Unit::Bytes, 0.0)
}

#[then(expr = "the guest and its WasmEdge runtime take {size} to {size}")]
fn guest_takes(proof: &mut Proof, low: SizeWord, high: SizeWord) -> anyhow::Result<()> {
    proof.check("memory.guest", Unit::Bytes, Rule::Between { low: low.0.value(), high: high.0.value() })
}

#[then(expr = "podman's helpers take {size} to {size}")]
fn helpers_take(proof: &mut Proof, low: SizeWord, high: SizeWord) -> anyhow::Result<()> {
    proof.check("memory.helpers", Unit::Bytes, Rule::Between { low: low.0.value(), high: high.0.value() })
}

#[then(expr = "{size} to {size} stay available on the device")]
fn stays_available(proof: &mut Proof, low: SizeWord, high: SizeWord) -> anyhow::Result<()> {
    proof.check("memory.available", Unit::Bytes, Rule::Between { low: low.0.value(), high: high.0.value() })
}

#[then(expr = "its CPU time is at most {duration}")]
fn cpu_time(proof: &mut Proof, time: DurationWord) -> anyhow::Result<()> {
    proof.check("cpu.time", Unit::Seconds, Rule::AtMost { bound: time.0.value() })
}

#[then(expr = "its start takes at most {duration}")]
fn start_takes(proof: &mut Proof, time: DurationWord) -> anyhow::Result<()> {
    proof.check("start.time", Unit::Seconds, Rule::AtMost { bound: time.0.value() })
}

#[then("the steps of its start are reported")]
fn start_steps(proof: &mut Proof) -> anyhow::Result<()> {
    for step in ["create", "init", "start", "output"] {
        proof.check(&format!("start.{step}"), Unit::Seconds, Rule::Recorded)?;
    }
    Ok(())
}
