//! Describes images and instances in EC2, without the SDK.

use jiff::Timestamp;

/// Canonical's account, which owns Ubuntu's own images.
pub const CANONICAL: &str = "099720109477";

/// A machine image, as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ami {
    /// Its id: `ami-…`.
    pub id: String,
    /// Its name, which ends with a date.
    pub name: String,
    /// The account that owns it.
    pub owner: String,
    /// When it was made, as EC2 writes it: `2026-02-09T12:00:00.000Z`.
    pub created: String,
    /// The device name of its root disk: `/dev/sda1`.
    pub root: String,
}

/// An instance that was launched, for computing the cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its id.
    pub id: String,
    /// The image it was started from, as EC2 reports it.
    pub image: String,
    /// When EC2 accepted the order.
    pub since: Timestamp,
    /// When it was seen to be gone.
    pub until: Option<Timestamp>,
}

/// What prevents a run in AWS from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightFailure {
    /// What was found, in AWS's own words where it has answered.
    pub found: String,
    /// The remedy, unless `found` names it.
    pub remedy: Option<String>,
    /// Whether other checks may still succeed.
    pub only_here: bool,
}
