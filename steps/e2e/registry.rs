//! Steps about publishing: section A.4 of the annex, and what is left of it in the end.

use crate::e2e::fixtures::{Beside, RegistryAccess};
use crate::e2e::prelude::*;

#[given("an ECR Public repository created for this run")]
async fn own_repository(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.repository_subject().await)
}

#[given("an ECR Public repository whose name is already taken")]
async fn taken_repository(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.taken_repository_subject().await)
}

#[then("its address is public")]
fn address_is_public(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check("ecr.uri", Unit::Text, Rule::Shape { shape: "public.ecr.aws/*/*".to_owned() })
}

#[when("the run's repository has been deleted with its images")]
async fn repository_deleted(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.deleted_repository_subject().await)
}

#[then("the repository no longer exists")]
fn repository_is_gone(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check_text("repository.state", "RepositoryNotFoundException")?;
    world.check("repository.pull", Unit::Text, Rule::Contains { text: "name unknown".to_owned() })
}

#[when(expr = "the image of the workload is pushed with a login")]
async fn pushed_with_login(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.push_subject(true).await)
}

#[when(expr = "the image of the workload is pushed without a login")]
async fn pushed_without_login(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.push_subject(false).await)
}

#[then("the push is accepted")]
fn push_accepted(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check_text("push.result", "accepted")
}

#[given("the image of the workload in the registry")]
async fn in_the_registry(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.pushed_subject().await)
}

#[when("it is pulled without credentials")]
async fn pulled_by_anybody(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.pull_subject(RegistryAccess::Open).await)
}

#[when("it is pulled without credentials from the endpoint that requires a login")]
async fn pulled_from_closed_door(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.pull_subject(RegistryAccess::Closed).await)
}

#[then("the pull is accepted")]
fn pull_accepted(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check_text("pull.result", "accepted")
}

#[then("the pulled digest equals the pushed digest")]
fn same_digest(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    let Some(Value::Text(pushed)) = world.value("push.digest").cloned() else { anyhow::bail!("nothing was pushed") };
    world.check_text("pull.digest", &pushed)
}

#[then("no credentials were available for the pull")]
fn no_credentials(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check_text("pull.auth-file", "{}")?;
    world.check_text("pull.environment", "HOME PATH REGISTRY_AUTH_FILE XDG_RUNTIME_DIR")?;
    world.check("pull.token", Unit::Text, Rule::Contains { text: "no credentials".to_owned() })
}

#[when("content that is not an OCI image is pushed with a login")]
async fn payload_pushed(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.payload_subject().await)
}

#[when("the image of the workload has been pulled once")]
async fn pulled_once(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.served_subject(Beside::Itself).await)
}

#[when("the image of a conventional container has been pulled once")]
async fn conventional_pulled_once(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about(world.fixtures.served_subject(Beside::Python).await)
}

#[then(expr = "the registry has served less than {size}")]
fn served_less(world: &mut ScenarioWorld, size: SizeWord) -> anyhow::Result<()> {
    world.check("pull.served", Unit::Bytes, Rule::Below { bound: size.0.value() })
}

#[then("Podman can inspect the pulled image")]
fn inspected(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.check("pull.inspected", Unit::Text, Rule::Contains { text: "sha256:".to_owned() })
}
