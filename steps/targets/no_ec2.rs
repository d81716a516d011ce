//! What there is of EC2 in a build without its SDK: nothing, which the types say.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Context, Machine};
use crate::base::settings::Settings;
use crate::targets::ecr::Ecr;
use crate::targets::instance_spec::{Ami, InstanceSpec, PreflightFailure, Used};

/// What a run has in the cloud: none can be.
#[derive(Debug)]
pub enum Cloud {}

/// How long is waited: for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience(());

/// Closes a cloud: none can be open.
pub struct Keeper;

impl Cloud {
    /// Opens none.
    ///
    /// # Errors
    /// Always: this build has no SDK.
    pub async fn open(_: InstanceSpec, _: Patience, _: &Context) -> anyhow::Result<Cloud> {
        anyhow::bail!("this build knows no EC2: use ci/e2e --target ec2, or cargo test --features aws")
    }

    /// The region it is in.
    pub fn region(&self) -> &str {
        match *self {}
    }

    /// When everything of it may be removed.
    pub fn expires(&self) -> Timestamp {
        match *self {}
    }

    /// Canonical's images.
    pub fn images(&self) -> &[Ami] {
        match *self {}
    }

    /// The instances so far.
    pub fn used(&self) -> Vec<Used> {
        match *self {}
    }

    /// Starts an instance.
    ///
    /// # Errors
    /// Never: there is no cloud to start one in; so below.
    pub async fn provision(&self, _: &str) -> anyhow::Result<Machine> {
        match *self {}
    }

    /// Removes its instances.
    ///
    /// # Errors
    /// Never.
    pub async fn end(&self) -> anyhow::Result<()> {
        match *self {}
    }

    /// The account's ECR Public.
    pub fn ecr(&self) -> &Ecr {
        match *self {}
    }

    /// Removes everything of it.
    ///
    /// # Errors
    /// Never.
    pub async fn close(&self) -> anyhow::Result<()> {
        match *self {}
    }

    /// What is left of it.
    ///
    /// # Errors
    /// Never.
    pub async fn left(&self) -> anyhow::Result<Vec<String>> {
        match *self {}
    }

    /// What is left where a key pair was forgotten.
    ///
    /// # Errors
    /// Never.
    pub async fn left_by_the_forgetful(&self) -> anyhow::Result<Vec<String>> {
        match *self {}
    }

    /// Sees to it that it is closed.
    pub fn keeper(self: &Arc<Self>) -> Keeper {
        match **self {}
    }
}

/// What there is to see of the cloud before a run: nothing.
#[derive(Debug)]
pub enum Outlook {}

impl Outlook {
    /// There is none.
    pub async fn open(_: &InstanceSpec, _: &Settings) -> Option<Outlook> {
        None
    }

    /// The region that is set.
    pub fn region(&self) -> Option<&str> {
        match *self {}
    }

    /// Who AWS would be asked as.
    ///
    /// # Errors
    /// Never: there is nobody to ask; so below.
    pub async fn credentials(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }

    /// The image that an instance would be started from.
    ///
    /// # Errors
    /// Never.
    pub async fn image(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }

    /// The zones in which an instance might be started.
    ///
    /// # Errors
    /// Never.
    pub async fn places(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }

    /// Whether EC2 would make a key pair and a security group.
    ///
    /// # Errors
    /// Never.
    pub async fn making(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }

    /// Whether ECR Public lets us in.
    ///
    /// # Errors
    /// Never.
    pub async fn repositories(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }

    /// This host's address.
    ///
    /// # Errors
    /// Never.
    pub async fn address(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }
}
