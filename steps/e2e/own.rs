//! Steps about a workload of your own, as its folder deploys it (`--features DIR`): with its own Quadlet, or with one thing
//! of that changed, for controls.

use std::time::Duration;

use assay::base::unit::Unit;
use assay::claims::workload::Change;
use assay::measurement::trial::Until;
use assay::measurement::{Value, journal};
use assay::verdict::Rule;
use cucumber::{then, when};

use crate::params::{DurationWord, PercentWord, SizeWord};
use crate::world::Proof;

async fn about_own(proof: &mut Proof, change: Change, until: Until) -> anyhow::Result<()> {
    let subject = proof.lab.own_run(change, until).await?;
    proof.about(subject);
    Ok(())
}

fn held(time: DurationWord) -> Until {
    Until::Held(Duration::from_secs_f64(time.0.value()))
}

/// One that is up and has not said a word may only be slow, where the CPU is emulated.
async fn has_had_time_to_speak(proof: &Proof) -> anyhow::Result<()> {
    let is = |probe: &str, text: &str| proof.value(probe) == Some(&Value::from(text));
    if is("unit.state", "active") && is("log.text", journal::SILENT) {
        anyhow::ensure!(
            proof.lab.machines().native().await?,
            "it is up and has said nothing yet, which on an emulated CPU may take it longer: let it run for longer, or \
             on a machine whose CPU is its own"
        );
    }
    Ok(())
}

#[when("the workload has run as its Quadlet says")]
async fn ran(proof: &mut Proof) -> anyhow::Result<()> {
    about_own(proof, Change::Nothing, Until::Ended).await
}

/// Or until it has ended, if that comes first; after that time it is killed.
#[when(expr = "the workload has run for {duration} as its Quadlet says")]
async fn ran_for(proof: &mut Proof, time: DurationWord) -> anyhow::Result<()> {
    about_own(proof, Change::Nothing, held(time)).await
}

/// With that as its limit on memory, on a machine of its own.
#[when(expr = "the workload has run for {duration} within {size} of memory")]
async fn ran_within_memory(proof: &mut Proof, time: DurationWord, size: SizeWord) -> anyhow::Result<()> {
    about_own(proof, Change::Memory(size.0), held(time)).await
}

/// With that as its limit on CPU, on a machine of its own.
#[when(expr = "the workload has run for {duration} within {percent} of a CPU")]
async fn ran_within_cpu(proof: &mut Proof, time: DurationWord, share: PercentWord) -> anyhow::Result<()> {
    about_own(proof, Change::Cpu(share.0), held(time)).await
}

#[when("the workload has been started with no program in it")]
async fn started_empty(proof: &mut Proof) -> anyhow::Result<()> {
    about_own(proof, Change::Program, Until::Stopped(1)).await
}

/// A line of it has that in it; of a long log, one of the first 16 KiB. Not judged where the CPU is emulated and the workload
/// is up but has said nothing yet.
#[then(expr = "its log says {string}")]
async fn log_says(proof: &mut Proof, text: String) -> anyhow::Result<()> {
    has_had_time_to_speak(proof).await?;
    proof.check("log.text", Unit::Text, Rule::Contains { text })
}

#[then("it is still up")]
fn still_up(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check_text("unit.state", "active")
}

#[then(expr = "systemd holds it to {size} of memory")]
fn held_to_memory(proof: &mut Proof, size: SizeWord) -> anyhow::Result<()> {
    proof.check_number("limit.memory", Unit::Bytes, size.0.value())
}

#[then(expr = "systemd holds it to {percent} of a CPU")]
fn held_to_cpu(proof: &mut Proof, share: PercentWord) -> anyhow::Result<()> {
    proof.check_number("limit.cpu", Unit::Ratio, share.0.value())
}
