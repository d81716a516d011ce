//! Steps about guests and their modules: section A.2 of the annex.

use crate::e2e::fixtures::Guest;
use crate::e2e::prelude::*;

#[when(expr = "the guest {string} is built from a clean tree")]
async fn built(world: &mut ScenarioWorld, guest: String) -> anyhow::Result<()> {
    world.about(world.fixtures.build_subject(&guest).await)
}

#[then(expr = "the compiler exits with code {int}")]
fn compiler_exits(world: &mut ScenarioWorld, code: i32) -> anyhow::Result<()> {
    world.check_number("build.status", Unit::Count, f64::from(code))
}

#[then(expr = "the build produces exactly {int} module")]
fn modules_come_out(world: &mut ScenarioWorld, count: u32) -> anyhow::Result<()> {
    world.check_number("build.modules", Unit::Count, f64::from(count))
}

#[then("a second build produces the same module")]
fn same_module(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    let Some(Value::Text(first)) = world.value("build.sha256").cloned() else { anyhow::bail!("no module came out") };
    world.check_text("build.sha256", &first)
}

#[given("the module of the workload")]
async fn workload_module(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.module_subject(&Guest::Workload).await)
}

#[given(expr = "the module of the guest {string}")]
async fn guest_module(world: &mut ScenarioWorld, guest: String) -> anyhow::Result<()> {
    world.about(world.fixtures.module_subject(&Guest::Named(guest)).await)
}

#[then(expr = "the module is smaller than {size}")]
fn module_is_small(world: &mut ScenarioWorld, size: SizeWord) -> anyhow::Result<()> {
    world.check("module.size", Unit::Bytes, Rule::Below { bound: size.0.value() })
}

#[then(expr = "it imports only from {string}")]
fn imports_only(world: &mut ScenarioWorld, namespace: String) -> anyhow::Result<()> {
    world.check_text("module.imports", &namespace)
}

#[then(expr = "it exports the {word} {string}")]
fn exports(world: &mut ScenarioWorld, kind: String, name: String) -> anyhow::Result<()> {
    world.check_text(&format!("module.export.{name}"), &kind)
}

#[then(expr = "its clock has advanced by {duration} to {duration}")]
async fn clock_moved(world: &mut ScenarioWorld, low: DurationWord, high: DurationWord) -> anyhow::Result<()> {
    world.check_time("guest.clock", low.0.value(), high.0.value()).await
}

#[then("the result of its attempt to start a thread is reported")]
fn thread_reported(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check("guest.threads", Unit::Text, Rule::Recorded)
}
