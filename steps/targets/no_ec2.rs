//! Replaces the module `ec2` in a build without the feature `aws`: its types have no values.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Context, Machine};
use crate::base::instance_spec::InstanceSpec;
use crate::base::settings::Settings;
use crate::targets::cloud::{Ami, PreflightFailure, Used};
use crate::targets::ecr::Ecr;

/// Everything that a run has in AWS: never exists in this build.
#[derive(Debug)]
pub enum Cloud {}

/// How long to wait for EC2: unused in this build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience(());

/// Closes a cloud when it is dropped: never exists in this build.
pub struct Keeper;

impl Cloud {
    /// Always fails.
    pub async fn open(_: InstanceSpec, _: Patience, _: &Context) -> anyhow::Result<Cloud> {
        anyhow::bail!("this build knows no EC2: use ci/e2e --target ec2, or cargo test --features aws")
    }

    /// Returns the region.
    pub fn region(&self) -> &str {
        match *self {}
    }

    /// Returns when everything of this run expires.
    pub fn expires(&self) -> Timestamp {
        match *self {}
    }

    /// Returns Canonical's images.
    pub fn images(&self) -> &[Ami] {
        match *self {}
    }

    /// Returns the instances launched so far.
    pub fn used(&self) -> Vec<Used> {
        match *self {}
    }

    /// Starts an instance.
    pub async fn provision(&self, _: &str) -> anyhow::Result<Machine> {
        match *self {}
    }

    /// Removes the run's instances.
    pub async fn end(&self) -> anyhow::Result<()> {
        match *self {}
    }

    /// Returns the account's ECR Public.
    pub fn ecr(&self) -> &Ecr {
        match *self {}
    }

    /// Removes everything of the run.
    pub async fn close(&self) -> anyhow::Result<()> {
        match *self {}
    }

    /// Lists what is left of the run.
    pub async fn left(&self) -> anyhow::Result<Vec<String>> {
        match *self {}
    }

    /// Lists what is left when a key pair was not removed.
    pub async fn left_by_the_forgetful(&self) -> anyhow::Result<Vec<String>> {
        match *self {}
    }

    /// Returns a guard that closes the cloud.
    pub fn keeper(self: &Arc<Self>) -> Keeper {
        match **self {}
    }
}

/// The checks of AWS before a run: never exists in this build.
#[derive(Debug)]
pub enum Outlook {}

impl Outlook {
    /// Returns `None`.
    pub async fn open(_: &InstanceSpec, _: &Settings) -> Option<Outlook> {
        None
    }

    /// Returns the region that is set.
    pub fn region(&self) -> Option<&str> {
        match *self {}
    }

    /// Returns the credentials that AWS would see.
    pub async fn credentials(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }

    /// Returns the image that an instance would be started from.
    pub async fn image(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }

    /// Returns the zones in which an instance might be started.
    pub async fn places(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }

    /// Checks whether EC2 would make a key pair and a security group.
    pub async fn making(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }

    /// Checks whether ECR Public accepts our login.
    pub async fn repositories(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }

    /// Returns this host's public address.
    pub async fn address(&self) -> Result<String, PreflightFailure> {
        match *self {}
    }
}
