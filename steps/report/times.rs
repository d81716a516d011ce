//! Reads times from the evidence, which may be incomplete: the run may have been killed, or its files damaged.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use crate::evidence::bundle::EvidenceBundle;
use crate::verdict::claim_verdict::{Attempt, Step};

fn noted(bundle: &EvidenceBundle, name: &str) -> Option<Timestamp> {
    bundle.run.get(name).and_then(Json::as_str).and_then(|text| text.parse().ok())
}

/// Returns when the run began: the recorded time, or else the beginning of its day.
pub fn started(bundle: &EvidenceBundle) -> Timestamp {
    let day = || bundle.verdicts.on.to_zoned(TimeZone::UTC).map(|day| day.timestamp());
    noted(bundle, "started").or_else(|| day().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Returns when the run ended: the recorded time, or else the end of the last known step.
pub fn ended(bundle: &EvidenceBundle) -> Timestamp {
    let attempts = bundle.verdicts.claims.iter().flat_map(|claim| claim.all_attempts());
    let last = || attempts.flat_map(|attempt| &attempt.steps).map(over).max();
    noted(bundle, "ended").or_else(last).unwrap_or_else(|| started(bundle))
}

/// Returns when the first step of any of these attempts began.
pub fn first<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> Option<Timestamp> {
    attempts.into_iter().find_map(|attempt| attempt.steps.first()).map(|step| step.at)
}

/// Returns when a step was over; for one that did not finish, when it began.
pub fn over(step: &Step) -> Timestamp {
    step.at.checked_add(length(step.seconds.unwrap_or(0.0))).unwrap_or(step.at)
}

/// Converts seconds to a duration; zero if the number is not a valid one.
pub fn length(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_killed_run_ended_with_its_last_step_and_a_damaged_one_began_with_its_day() {
        let mut killed = example::killed();
        assert_eq!((started(&killed), ended(&example::bundle())), (example::at(0), example::at(100)));
        assert_eq!(ended(&killed), example::at(3).checked_add(Duration::from_millis(500)).unwrap());
        killed.run = Json::Null;
        assert_eq!(started(&killed).to_string(), "2026-11-24T00:00:00Z");
        assert_eq!(length(-1.0) + length(f64::NAN) + length(1e300), Duration::ZERO);
    }
}
