//! Describes what a run orders in EC2, as plain values that can be printed and priced without an account or the SDK.

use std::ops::RangeInclusive;
use std::time::Duration;

/// For how many minutes an instance may be ordered.
pub const MINUTES: RangeInclusive<u64> = 10..=360;

/// How long an instance exists if all goes as in the annex, whose third party takes no longer.
pub const EXPECTED: Duration = Duration::from_secs(45 * 60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSpec {
    pub instance_type: String,
    pub disk_gib: u32,
    /// Whether to order a spot instance, with the risk that it is interrupted.
    pub spot: bool,
    /// The subnet to start it in; otherwise one of the default VPC's.
    pub subnet: Option<String>,
    /// When a timer on the instance shuts it down, which also terminates it.
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
