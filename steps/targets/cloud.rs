//! Describes what a run needs of AWS. `ec2` and `ecr` implement it with the SDK, in builds with the feature `aws`.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;

use super::Machine;
use crate::base::progress::Progress;

pub const PUBLIC: &str = "public.ecr.aws";
/// The tag that holds the id of the run that made a resource.
pub const RUN_TAG: &str = "assay:run";
/// The tag that holds when anyone may remove a resource: seconds since 1970, in decimal.
pub const EXPIRES_TAG: &str = "assay:expires";
/// Canonical's account, which owns Ubuntu's own images.
pub const CANONICAL: &str = "099720109477";

/// A machine image, as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ami {
    pub id: String,
    pub name: String,
    pub owner: String,
    /// When it was made, as EC2 writes it: `2026-02-09T12:00:00.000Z`.
    pub created: String,
    /// The device name of its root disk: `/dev/sda1`.
    pub root: String,
}

/// An instance that was launched, and is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    pub id: String,
    /// The image it was started from, as EC2 reports it.
    pub image: String,
    pub since: Timestamp,
    pub until: Option<Timestamp>,
}

/// What AWS will have answered.
pub type AwsFuture<'a, T, E = anyhow::Error> = Pin<Box<dyn Future<Output = Result<T, E>> + 'a>>;

/// Everything that a run has in AWS.
pub trait Cloud: Debug + Send + Sync {
    fn region(&self) -> &str;

    /// Returns when everything of this run expires, so that anyone may remove it.
    fn expires(&self) -> Timestamp;

    /// Returns Canonical's images, the newest first: instances are started from that one.
    fn images(&self) -> &[Ami];

    fn used(&self) -> Vec<Used>;

    /// Starts an instance as ordered, logs in, and makes it the annex's device.
    fn provision<'a>(&'a self, name: &'a str) -> AwsFuture<'a, Machine>;

    /// Removes every instance and all that was made for it, and waits until listings find nothing more.
    fn end(&self) -> AwsFuture<'_, ()>;

    fn registry(&self) -> &dyn PublicRegistry;

    /// Lists what carries the run's tag: the type and id of each.
    fn left(&self) -> AwsFuture<'_, Vec<String>>;

    /// Lists what is left when a key pair was not removed, by making one first; then removes it.
    fn left_with_a_key_pair(&self) -> AwsFuture<'_, Vec<String>>;

    /// Removes everything of the run and the entry in the cleanup journal, unless that was done before.
    fn close(&self) -> AwsFuture<'_, ()>;
}

/// Returns the name of everything that a run makes in AWS: `assay-<run>`.
pub fn aws_name(run: &str) -> String {
    format!("assay-{run}")
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its name: `assay-<run>`.
    pub name: String,
    /// Its address as ECR Public returns it: `public.ecr.aws/<alias>/<name>`.
    pub uri: String,
    pub arn: String,
    pub run: String,
    /// When anyone may remove it; `None` if its tag holds no valid time.
    pub expires: Option<Timestamp>,
    pub created: Option<Timestamp>,
}

impl Repository {
    /// Returns its address at another host and port that lead to the same registry.
    pub fn at(&self, host: &str) -> String {
        match self.uri.strip_prefix(PUBLIC) {
            Some(rest) => format!("{host}{rest}"),
            None => self.uri.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    /// There is one already; with the API's code and message.
    #[error("{0}")]
    Taken(String),
    /// Any other reason; it may exist all the same, if only the answer was lost.
    #[error("{0}")]
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The registry was reached and rejects the request.
    #[error("the registry refuses: {0}")]
    Unauthorized(String),
    /// Anything else: no connection, a time-out, too many requests, a payload that is not an image.
    #[error("the registry was not asked or did not answer: {0}")]
    Other(String),
}

/// ECR Public, where a run has a repository.
pub trait PublicRegistry: Send + Sync {
    /// Returns the registry's host as this host reaches it: `public.ecr.aws`, or a stand-in with its port.
    fn host(&self) -> &str;

    /// Returns the registry's host as machines reach it.
    fn host_for_machines(&self) -> &str;

    /// Creates the repository of a run, with the tags by which anyone finds it once it has expired.
    fn create<'a>(&'a self, run: &'a str, expires: Timestamp) -> AwsFuture<'a, Repository, NotMade>;

    /// Returns the repository of a run, and creates it unless it exists: an earlier answer may have been lost.
    fn have<'a>(&'a self, run: &'a str, expires: Timestamp) -> AwsFuture<'a, Repository, NotMade>;

    /// Returns the API's answer about a repository: its address, or the error code if it does not exist.
    fn state<'a>(&'a self, name: &'a str) -> AwsFuture<'a, String>;

    /// Removes a repository with all its images, and returns whether it existed.
    fn remove<'a>(&'a self, name: &'a str) -> AwsFuture<'a, bool>;

    /// Requests a password for the user `AWS`, valid for twelve hours. Redact it from the evidence before using it.
    fn login_password(&self) -> AwsFuture<'_, String>;

    /// Uploads a text in place of a manifest, through the API, which accepts manifests as the registry does.
    fn put_text<'a>(&'a self, name: &'a str, tag: &'a str, text: &'a str) -> AwsFuture<'a, (), Denial>;
}

/// Closes a cloud that is still open when this is dropped: after a panic, or an early return.
pub struct Keeper {
    pub cloud: Arc<dyn Cloud>,
    pub progress: Progress,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let close = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.cloud.close())
        };
        // In a separate thread: this one may belong to a runtime that is shutting down.
        if let Ok(Err(error)) = std::thread::scope(|scope| scope.spawn(close).join()) {
            self.progress.note(format!("ec2: {error:#}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_the_same_path_wherever_its_registry_is() {
        let repository = Repository {
            name: "assay-r1".to_owned(),
            uri: "public.ecr.aws/x1y2z3a4/assay-r1".to_owned(),
            arn: "arn:aws:ecr-public::123456789012:repository/assay-r1".to_owned(),
            run: "r1".to_owned(),
            expires: None,
            created: None,
        };
        assert_eq!(repository.at(PUBLIC), repository.uri);
        assert_eq!(repository.at("127.0.0.1:5000"), "127.0.0.1:5000/x1y2z3a4/assay-r1");
        let elsewhere = Repository { uri: "registry.example.org/assay-r1".to_owned(), ..repository };
        assert_eq!(elsewhere.at("127.0.0.1:5000"), elsewhere.uri, "what is not there is not looked for there");
    }
}
