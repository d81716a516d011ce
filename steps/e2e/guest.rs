//! Steps about guests and their modules: sections A.2 of the annex.

use assay::base::unit::Unit;
use assay::measurement::Value;
use assay::verdict::Rule;
use cucumber::{given, then, when};

use crate::lab::Guest;
use crate::params::{DurationWord, SizeWord};
use crate::world::Proof;

#[when(expr = "the guest {string} is built from a clean tree")]
async fn built(proof: &mut Proof, guest: String) -> anyhow::Result<()> {
    let subject = proof.lab.build_subject(&guest).await?;
    proof.about(subject);
    Ok(())
}

#[then(expr = "the compiler exits with code {int}")]
fn compiler_exits(proof: &mut Proof, code: i32) -> anyhow::Result<()> {
    proof.check_number("build.status", Unit::Count, f64::from(code))
}

#[then(expr = "exactly {int} module comes out")]
fn modules_come_out(proof: &mut Proof, count: u32) -> anyhow::Result<()> {
    proof.check_number("build.modules", Unit::Count, f64::from(count))
}

#[then("a second build gives the same module")]
fn same_module(proof: &mut Proof) -> anyhow::Result<()> {
    let Some(Value::Text(first)) = proof.value("build.sha256").cloned() else { anyhow::bail!("no module came out") };
    proof.check_text("build.sha256", &first)
}

#[given("the module of the workload")]
async fn workload_module(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.module_subject(&Guest::Workload).await?;
    proof.about(subject);
    Ok(())
}

#[given(expr = "the module of the guest {string}")]
async fn guest_module(proof: &mut Proof, guest: String) -> anyhow::Result<()> {
    let subject = proof.lab.module_subject(&Guest::Named(guest)).await?;
    proof.about(subject);
    Ok(())
}

#[then(expr = "the module is smaller than {size}")]
fn module_is_small(proof: &mut Proof, size: SizeWord) -> anyhow::Result<()> {
    proof.check("module.size", Unit::Bytes, Rule::Below { bound: size.0.value() })
}

#[then(expr = "it imports only from {string}")]
fn imports_only(proof: &mut Proof, namespace: String) -> anyhow::Result<()> {
    proof.check_text("module.imports", &namespace)
}

#[then(expr = "it exports the {word} {string}")]
fn exports(proof: &mut Proof, kind: String, name: String) -> anyhow::Result<()> {
    proof.check_text(&format!("module.export.{name}"), &kind)
}

#[then(expr = "its clock has moved by {duration} to {duration}")]
fn clock_moved(proof: &mut Proof, low: DurationWord, high: DurationWord) -> anyhow::Result<()> {
    proof.check("guest.clock", Unit::Seconds, Rule::Between { low: low.0.value(), high: high.0.value() })
}

#[then("whether it could start a thread is reported")]
fn thread_reported(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check("guest.threads", Unit::Text, Rule::Recorded)
}
