//! What a run orders in the cloud: plain values, which can be told and priced without an account or its SDK.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;

/// The tag that carries the id of the run that made a thing.
pub const RUN: &str = "assay:run";

/// The tag that says when a thing may be removed by whoever finds it: seconds since 1970, in decimal.
pub const EXPIRES: &str = "assay:expires";

/// Canonical's account, which Ubuntu's own images belong to.
pub const CANONICAL: &str = "099720109477";

/// What everything that a run makes in the cloud is called: `assay-<run>`.
pub fn name(run: &str) -> String {
    format!("assay-{run}")
}

/// For how many minutes an instance may be ordered.
pub const MINUTES: RangeInclusive<u64> = 10..=360;

/// For how long an instance is there if all goes as the annex has it, whose third party takes no longer.
pub const EXPECTED: Duration = Duration::from_secs(45 * 60);

/// The machine that a run orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSpec {
    /// The kind of instance: `t4g.nano`.
    pub instance_type: String,
    /// The size of its disk, in GiB.
    pub disk_gib: u32,
    /// Whether at the price of the moment, with the risk that it is taken away.
    pub spot: bool,
    /// The subnet to start it in; the default VPC's, else.
    pub subnet: Option<String>,
    /// After this it is shut down, by a timer of its own, and is gone with it.
    pub time_limit: Duration,
}

impl Default for InstanceSpec {
    /// The annex's: a t4g.nano with 8 GiB, for an hour at most.
    fn default() -> InstanceSpec {
        InstanceSpec {
            instance_type: "t4g.nano".to_owned(),
            disk_gib: 8,
            spot: false,
            subnet: None,
            time_limit: Duration::from_secs(60 * 60),
        }
    }
}

/// A machine image, as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ami {
    /// Its id: `ami-…`.
    pub id: String,
    /// Its name, which ends with a date.
    pub name: String,
    /// The account that it belongs to.
    pub owner: String,
    /// When it was made, as EC2 writes it: `2026-02-09T12:00:00.000Z`.
    pub created: String,
    /// The device that its root disk is: `/dev/sda1`.
    pub root: String,
}

/// An instance that was launched, for the bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its id.
    pub id: String,
    /// What it was started from, by EC2's own word.
    pub image: String,
    /// When EC2 took the order.
    pub since: Timestamp,
    /// When it was seen to be gone.
    pub until: Option<Timestamp>,
}

/// What keeps a run in the cloud from beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightFailure {
    /// What was seen, in AWS's own words where it has said something.
    pub found: String,
    /// What mends it, where what was seen does not say that.
    pub remedy: Option<String>,
    /// Whether another question may be answered all the same.
    pub only_here: bool,
}
