//! Steps about publishing: section A.4 of the annex, and what is left of it in the end.

use assay::base::unit::Unit;
use assay::measurement::Value;
use assay::verdict::Rule;
use cucumber::{given, then, when};

use crate::lab::Door;
use crate::world::Proof;

#[given("an ECR Public repository made for this run")]
async fn own_repository(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.repository_subject().await?;
    proof.about(subject);
    Ok(())
}

#[given("an ECR Public repository by a name that is taken already")]
async fn taken_repository(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.taken_repository_subject().await?;
    proof.about(subject);
    Ok(())
}

#[then("its address is public")]
fn address_is_public(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check("ecr.uri", Unit::Text, Rule::Shape { shape: "public.ecr.aws/*/*".to_owned() })
}

#[when("the run's repository has been deleted with its images")]
async fn repository_deleted(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.deleted_repository_subject().await?;
    proof.about(subject);
    Ok(())
}

#[then("the repository is gone")]
fn repository_is_gone(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check_text("repository.state", "RepositoryNotFoundException")?;
    proof.check("repository.pull", Unit::Text, Rule::Contains { text: "name unknown".to_owned() })
}

#[when(expr = "the image of the workload is pushed with the login")]
async fn pushed_with_login(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.push_subject(true).await?;
    proof.about(subject);
    Ok(())
}

#[when(expr = "the image of the workload is pushed without a login")]
async fn pushed_without_login(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.push_subject(false).await?;
    proof.about(subject);
    Ok(())
}

#[then("the push is accepted")]
fn push_accepted(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check_text("push.result", "accepted")
}

#[given("the image of the workload in the registry")]
async fn in_the_registry(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.pushed_subject().await?;
    proof.about(subject);
    Ok(())
}

#[when("it is pulled without any credentials")]
async fn pulled_by_anybody(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.pull_subject(Door::Open).await?;
    proof.about(subject);
    Ok(())
}

#[when("it is pulled without any credentials from the door that demands a login")]
async fn pulled_from_closed_door(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.pull_subject(Door::Closed).await?;
    proof.about(subject);
    Ok(())
}

#[then("the pull is accepted")]
fn pull_accepted(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check_text("pull.result", "accepted")
}

#[then("the digest pulled is the digest pushed")]
fn same_digest(proof: &mut Proof) -> anyhow::Result<()> {
    let Some(Value::Text(pushed)) = proof.value("push.digest").cloned() else { anyhow::bail!("nothing was pushed") };
    proof.check_text("pull.digest", &pushed)
}

#[then("there were no credentials to use")]
fn no_credentials(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check_text("pull.auth-file", "{}")?;
    proof.check_text("pull.environment", "HOME PATH REGISTRY_AUTH_FILE XDG_RUNTIME_DIR")?;
    proof.check("pull.token", Unit::Text, Rule::Contains { text: "no credentials".to_owned() })
}

#[when("something that is no OCI image is pushed with the login")]
async fn payload_pushed(proof: &mut Proof) -> anyhow::Result<()> {
    let subject = proof.lab.payload_subject().await?;
    proof.about(subject);
    Ok(())
}

#[then("podman can inspect what it pulled")]
fn inspected(proof: &mut Proof) -> anyhow::Result<()> {
    proof.check("pull.inspected", Unit::Text, Rule::Contains { text: "sha256:".to_owned() })
}
