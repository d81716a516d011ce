//! ECR Public without the feature `aws`: there is none, and so nobody who could ask it.

use jiff::Timestamp;

use super::repository::{NotMade, Refusal, Repository};

/// The ECR Public of an account. Without the feature `aws` nobody has one.
#[derive(Clone, Debug)]
pub enum Ecr {}

impl Ecr {
    /// Where this host reaches the registry.
    pub fn host(&self) -> &str {
        match *self {}
    }

    /// Where machines reach the registry.
    pub fn host_for_machines(&self) -> &str {
        match *self {}
    }

    /// Makes the repository of a run.
    ///
    /// # Errors
    /// None: nobody can ask.
    pub async fn create(&self, _run: &str, _expires: Timestamp) -> Result<Repository, NotMade> {
        match *self {}
    }

    /// The repository of a run, made now unless it has one.
    ///
    /// # Errors
    /// None: nobody can ask.
    pub async fn have(&self, _run: &str, _expires: Timestamp) -> Result<Repository, NotMade> {
        match *self {}
    }

    /// The repository of a run, if there is one and its tag says so.
    ///
    /// # Errors
    /// None: nobody can ask.
    pub async fn find(&self, _run: &str) -> anyhow::Result<Option<Repository>> {
        match *self {}
    }

    /// All repositories that runs made.
    ///
    /// # Errors
    /// None: nobody can ask.
    pub async fn list(&self) -> anyhow::Result<Vec<Repository>> {
        match *self {}
    }

    /// What the API says when it is asked for a repository.
    ///
    /// # Errors
    /// None: nobody can ask.
    pub async fn state(&self, _name: &str) -> anyhow::Result<String> {
        match *self {}
    }

    /// Removes a repository with all its images.
    ///
    /// # Errors
    /// None: nobody can ask.
    pub async fn remove(&self, _name: &str) -> anyhow::Result<bool> {
        match *self {}
    }

    /// A password to log in with.
    ///
    /// # Errors
    /// None: nobody can ask.
    pub async fn login_password(&self) -> anyhow::Result<String> {
        match *self {}
    }

    /// Puts a text where a manifest should be.
    ///
    /// # Errors
    /// None: nobody can ask.
    pub async fn put_text(&self, _name: &str, _tag: &str, _text: &str) -> Result<(), Refusal> {
        match *self {}
    }
}
