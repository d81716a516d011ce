//! Builds the command that watches a unit, and checks the clock of the machine that ran it.

use std::time::Duration;

use super::{STANDSTILL, Trial, stood_still};
use crate::exec::command::Command;
use crate::measurement::Unreadable;

/// POSIX shell functions that read a unit's control group (`now; look`, with `cgroup` set) and measure their own cost
/// (`spent`, `weigh`).
pub const LOOK: &str = include_str!("../look.sh");
const SCRIPT: &str = concat!(include_str!("../look.sh"), include_str!("../trial.sh"));

/// The condition that ends a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The unit has ended by itself.
    Ended,
    /// This long after the unit became active, unless it has ended before; it is killed then.
    Held(Duration),
    /// The unit has ended this many times or stays down; it is killed then.
    Stopped(u32),
}

/// Returns the command that runs a trial of `unit` (without its suffix) in `slice`. Its output repeats `token`, which
/// must be different for each trial. `limit` does not include the time for which the unit is held.
pub fn command(unit: &str, slice: &str, until: Until, limit: Duration, token: &str) -> Command {
    let (hold, stops) = match until {
        Until::Ended => (0, 0),
        // In hundredths of a second, and never 0, which stands for no such time.
        Until::Held(time) => (time.as_millis().div_ceil(10).max(1) as u64, 0),
        Until::Stopped(times) => (0, times),
    };
    let limit = limit + Duration::from_secs(hold.div_ceil(100));
    let (hold, stops, seconds) = (hold.to_string(), stops.to_string(), limit.as_secs().to_string());
    Command::script(SCRIPT, &[unit, slice, &hold, &stops, &seconds, token]).time_limit(limit + Duration::from_secs(60))
}

impl Trial {
    /// Checks that the machine's clock was as fast as this host's clock, by which the trial took `wall`.
    pub fn kept_pace(&self, wall: Duration) -> Result<(), Unreadable> {
        let (theirs, ours) = (self.end - self.begin, wall.as_secs_f64());
        match (theirs - ours).abs() <= STANDSTILL {
            true => Ok(()),
            false => Err(stood_still(&format!("a trial of {theirs:.0} s by its clock, of {ours:.0} s by ours"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::trial;
    use super::*;

    #[test]
    fn a_workload_is_held_for_at_least_the_time_that_is_asked_for() {
        for (millis, hundredths, limit) in
            [(0, "1", "61"), (500, "50", "61"), (1505, "151", "62"), (12_000, "1200", "72")]
        {
            let until = Until::Held(Duration::from_millis(millis));
            let command = command("w", "app.slice", until, Duration::from_secs(60), "t");
            assert!(command.argv.ends_with(&["w", "app.slice", hundredths, "0", limit, "t"].map(str::to_owned)));
        }
    }

    #[test]
    fn a_trial_takes_as_long_for_us_as_for_the_machine() {
        let trial = trial("");
        assert_eq!(trial.kept_pace(Duration::from_secs(12)), Ok(()));
        let error = trial.kept_pace(Duration::from_secs(300)).unwrap_err().to_string();
        assert!(error.ends_with("saw \"a trial of 8 s by its clock, of 300 s by ours\""), "{error}");
        let jumped = Trial { end: 500.0, ..trial };
        assert!(jumped.kept_pace(Duration::from_secs(12)).is_err());
    }
}
