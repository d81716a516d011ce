//! Replaces the module `ecr` in a build without the feature `aws`: its type has no values.

use jiff::Timestamp;

use super::repository::{NotMade, Refusal, Repository};

/// The ECR Public of an account. Without the feature `aws`, it never exists.
#[derive(Clone, Debug)]
pub enum Ecr {}

impl Ecr {
    /// Returns the registry's host as this host reaches it.
    pub fn host(&self) -> &str {
        match *self {}
    }

    /// Returns the registry's host as machines reach it.
    pub fn host_for_machines(&self) -> &str {
        match *self {}
    }

    /// Creates the repository of a run.
    pub async fn create(&self, _run: &str, _expires: Timestamp) -> Result<Repository, NotMade> {
        match *self {}
    }

    /// Returns the repository of a run, and creates it unless it exists.
    pub async fn have(&self, _run: &str, _expires: Timestamp) -> Result<Repository, NotMade> {
        match *self {}
    }

    /// Returns the API's answer about a repository.
    pub async fn state(&self, _name: &str) -> anyhow::Result<String> {
        match *self {}
    }

    /// Removes a repository with all its images.
    pub async fn remove(&self, _name: &str) -> anyhow::Result<bool> {
        match *self {}
    }

    /// Requests a password to log in with.
    pub async fn login_password(&self) -> anyhow::Result<String> {
        match *self {}
    }

    /// Uploads a text in place of a manifest.
    pub async fn put_text(&self, _name: &str, _tag: &str, _text: &str) -> Result<(), Refusal> {
        match *self {}
    }
}
