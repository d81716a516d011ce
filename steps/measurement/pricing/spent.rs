//! Bills what a run has used: CPU time, readings of the bill, and how long the run may go on.

use std::time::Duration;

use super::{Bill, Billed, Budget, HOUR, Item, MINIMUM, Surplus};
use crate::base::unit::{Dollars, Unit};
use crate::measurement::Reading;

impl Billed {
    /// Returns the probe for the cost of this resource.
    fn probe(&self) -> &'static str {
        match self {
            Billed::Instance(_) => "cost.instance",
            Billed::Address => "cost.address",
            Billed::Disk(_) => "cost.disk",
        }
    }
}

impl Bill {
    /// Adds the charge for an instance whose vCPUs were busy for this many seconds in total.
    pub fn with_busy(self, busy: f64, surplus: Surplus) -> Bill {
        let beyond = (busy - surplus.earned * self.seconds as f64).max(0.0);
        let dollars = Dollars(beyond / HOUR * surplus.per_hour.value());
        let words = format!(
            "{busy:.1} s of vCPU time in {} s, of which {} s a second are earned: {beyond:.1} s at {} an hour",
            self.seconds, surplus.earned, surplus.per_hour
        );
        Bill { surplus: Some((dollars, words)), ..self }
    }
}

/// Turns a bill into readings: each item, the total, and the billed seconds.
pub fn readings(bill: &Bill) -> Vec<Reading> {
    let seconds = bill.seconds;
    let of_item = |item: &Item| {
        let Item { billed, per_hour, basis } = item;
        let raw = format!("{billed}: {seconds} s at {per_hour} an hour ({basis})");
        Reading::new(billed.probe(), bill.cost(item).value(), Unit::Dollars, raw)
    };
    let mut readings: Vec<Reading> = bill.items.iter().map(of_item).collect();
    let mut sum: Vec<String> = bill.items.iter().map(|item| bill.cost(item).to_string()).collect();
    if let Some((dollars, words)) = &bill.surplus {
        readings.push(Reading::new("cost.surplus", dollars.value(), Unit::Dollars, words.clone()));
        sum.push(dollars.to_string());
    }
    let raw = format!("{} for {seconds} s", sum.join(" + "));
    readings.push(Reading::new("cost.total", bill.total().value(), Unit::Dollars, raw));
    let raw = format!("{seconds} s, each second that was begun, and {MINIMUM} at least");
    readings.push(Reading::new("cost.billed", seconds as f64, Unit::Seconds, raw));
    readings
}

impl Budget {
    /// Returns how much longer the billed resources may exist within the budget, or `None` if it is already exceeded.
    pub fn left(&self, spent: &Bill) -> Option<Duration> {
        self.seconds(&spent.items).checked_sub(spent.seconds).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{items, near};
    use super::*;
    use crate::measurement::Value;

    #[test]
    fn a_bill_is_read_as_plausible_samples_that_add_up() {
        for seconds in [60, 1200, 6 * 3600] {
            let readings = readings(&Bill::of(&items(), Duration::from_secs(seconds)));
            let probes: Vec<&str> = readings.iter().map(|reading| reading.probe.as_str()).collect();
            assert_eq!(probes, ["cost.instance", "cost.address", "cost.disk", "cost.total", "cost.billed"]);
            for reading in &readings {
                let Reading { probe, value, unit, .. } = reading;
                assert_eq!(crate::measurement::catalogue::plausible(probe, *unit, value), Ok(()));
            }
            let numbers: Vec<f64> = readings.iter().filter_map(|reading| reading.value.number()).collect();
            near(Dollars(numbers[..3].iter().sum()), numbers[3]);
            assert_eq!(readings[4].value, Value::Number(seconds as f64));
        }
        let raw = &readings(&Bill::of(&items(), Duration::from_secs(1200)))[0].raw;
        assert_eq!(raw, "instance t4g.nano: 1200 s at $0.0042 an hour (on demand in us-east-1)");
    }

    #[test]
    fn cpu_time_beyond_what_is_earned_is_billed_and_less_is_not() {
        let surplus = Surplus { per_hour: Dollars(0.04), earned: 0.1 };
        let hour = Bill::of(&[], Duration::from_secs(3600));
        let busy = |seconds: f64| hour.clone().with_busy(seconds, surplus);
        assert_eq!(busy(360.0).total(), Dollars(0.0));
        assert!((busy(360.0 + 1800.0).total().value() - 0.02).abs() < 1e-12);
        let readings = readings(&busy(2160.0));
        let mine = readings.iter().find(|reading| reading.probe == "cost.surplus").expect("a reading");
        assert_eq!(
            mine.raw,
            "2160.0 s of vCPU time in 3600 s, of which 0.1 s a second are earned: 1800.0 s at $0.04 an hour"
        );
    }

    #[test]
    fn what_is_left_of_a_budget_is_time() {
        let budget = Budget(Dollars(0.01));
        let left = |seconds: u64| budget.left(&Bill::of(&items(), Duration::from_secs(seconds)));
        // All three together cost $0.010076712 an hour.
        assert_eq!(left(60), Some(Duration::from_secs(3572 - 60)));
        assert_eq!(left(1), left(60), "a minute is billed");
        assert_eq!(left(3572), Some(Duration::ZERO));
        assert_eq!(left(3573), None);
        assert!(Bill::of(&items(), Duration::from_secs(3572)).total() <= budget.0);
        assert!(Bill::of(&items(), Duration::from_secs(3573)).total() > budget.0);
    }
}
