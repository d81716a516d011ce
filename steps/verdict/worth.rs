//! Says what a verdict is worth: what the measured runs show about all runs, which change the check would have seen with
//! 95 % probability, and how often a check saw a difference between equals. All of it follows from samples.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::stats::{Interval, rarely_exceeded, reached_again, share_within};
use crate::measurement::Sample;
use crate::verdict::claim_verdict::ControlResult;
use crate::verdict::{Judged, Reason, Rule, Verdict};

/// What the verdict of one check shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Worth {
    /// Every one of several runs was within the bound.
    Runs {
        runs: usize,
        /// The share of all runs that are within the bound at least, with 95 % confidence.
        share: f64,
        /// By how much all runs would have to be worse for as many runs to break the bound with 95 % probability.
        excess: Option<f64>,
    },
    /// Pairs were judged by the interval of their median ratio.
    Pairs {
        /// The interval of the control, which compares equals.
        equals: Interval,
        seen: Seen,
        /// The smallest true ratio that would have been found to be within the bound.
        within: f64,
        /// The largest one that would have been found to be outside.
        outside: f64,
    },
}

/// What a comparison of equals found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    /// A difference, but not the claimed one.
    Difference,
    /// The claimed ratio.
    FalseAlarm,
}

impl Seen {
    fn between_equals(interval: &Interval, bound: f64) -> Seen {
        match (interval.low, interval.high) {
            (low, _) if low >= bound => Seen::FalseAlarm,
            (low, high) if low > 1.0 || high < 1.0 => Seen::Difference,
            _ => Seen::Nothing,
        }
    }
}

/// Returns what a check's verdict is worth; `None` if its samples show nothing about other runs.
pub fn worth(judged: &Judged, samples: &[&Sample], controls: &[ControlResult]) -> Option<Worth> {
    match judged.check.rule {
        Rule::MedianAtLeast { bound } => {
            let width = |interval: &Interval| interval.high / interval.low;
            let intervals = controls.iter().filter_map(|control| equals(control, &judged.check.probe));
            let (equals, _) = intervals.max_by(|(a, _), (b, _)| width(a).total_cmp(&width(b)))?;
            let (seen, width) = (Seen::between_equals(&equals, bound), width(&equals));
            // The interval covers the true ratio, so it lies within the bound wherever it is narrower than the distance.
            Some(Worth::Pairs { equals, seen, within: bound * width, outside: bound / width })
        }
        Rule::Recorded => None,
        ref rule if judged.outcome.verdict == Verdict::Holds => {
            // Several samples of one run say no more about other runs than the worst of them.
            let mut runs = BTreeMap::<&str, f64>::new();
            for sample in samples {
                let value = sample.value.number()?;
                let worst = runs.entry(&sample.subject).or_insert(value);
                if rule.worse(value, *worst) {
                    *worst = value;
                }
            }
            let worst: Vec<f64> = runs.values().copied().collect();
            let excess = match rule {
                Rule::Below { bound } | Rule::AtMost { bound } => reached_again(&worst).map(|again| bound - again),
                Rule::AtLeast { bound } => {
                    let negative: Vec<f64> = worst.iter().map(|value| -value).collect();
                    reached_again(&negative).map(|again| -again - bound)
                }
                _ => None,
            };
            (runs.len() > 1).then(|| Worth::Runs { runs: runs.len(), share: share_within(runs.len()), excess })
        }
        _ => None,
    }
}

/// Returns the interval of a control that compares equals, and the ratio that its claim asks for. The control of each ratio
/// is the workload beside itself.
fn equals(control: &ControlResult, probe: &str) -> Option<(Interval, f64)> {
    let checks = &control.attempts.last()?.checks;
    checks.iter().filter(|judged| judged.check.probe == probe).find_map(|judged| {
        let Reason::Bound(seen) = &judged.outcome.reason else { return None };
        let Rule::MedianAtLeast { bound } = judged.check.rule else { return None };
        Some((seen.interval?, bound))
    })
}

/// How often comparisons of equals saw a difference.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FalseAlarms {
    /// How many were judged.
    pub verdicts: usize,
    /// How many of them found the claimed ratio.
    pub claimed: usize,
    /// How many found any difference.
    pub any: usize,
    /// The factor that 95 % of them would have seen, if they are at least twenty.
    pub smallest: Option<f64>,
}

impl FalseAlarms {
    /// Counts those of intervals of equals, each with the ratio that is claimed.
    pub fn among(intervals: &[(Interval, f64)]) -> FalseAlarms {
        let count = |wanted: &[Seen]| {
            intervals
                .iter()
                .filter(|(interval, bound)| wanted.contains(&Seen::between_equals(interval, *bound)))
                .count()
        };
        // A factor is seen if it moves the whole interval beyond 1.
        let needed: Vec<f64> = intervals.iter().map(|(interval, _)| 1.0 / interval.low).collect();
        FalseAlarms {
            verdicts: intervals.len(),
            claimed: count(&[Seen::FalseAlarm]),
            any: count(&[Seen::FalseAlarm, Seen::Difference]),
            smallest: rarely_exceeded(&needed),
        }
    }
}

/// Returns the intervals of controls that compare equals.
pub fn of_equals<'a>(controls: impl Iterator<Item = &'a ControlResult>) -> Vec<(Interval, f64)> {
    controls.filter_map(|control| equals(control, control.attempts.last()?.fails_on.as_deref()?)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::base::unit::Unit;
    use crate::claims::plan::ScenarioRef;
    use crate::verdict::claim_verdict::{Attempt, ControlVerdict};
    use crate::verdict::{Check, Source};

    /// Returns the recorded samples of a probe, of subjects whose name begins like this.
    fn recorded(probe: &str, subject: &str) -> Vec<Sample> {
        let lines = include_str!("../../fixtures/selfcheck/samples.jsonl").lines();
        let samples = lines.map(|line| serde_json::from_str::<Sample>(line).unwrap());
        samples.filter(|sample| sample.probe == probe && sample.subject.starts_with(subject)).collect()
    }

    /// Judges samples as those of their own subjects, machines and times.
    pub(crate) fn judged(samples: &[Sample], rule: Rule) -> Judged {
        let Sample { probe, unit, .. } = samples[0].clone();
        let source = |sample: &Sample| Source {
            subject: sample.subject.clone(),
            machine: sample.machine.clone(),
            kind: None,
            since: sample.at,
            until: sample.at,
        };
        let (sources, ids) = (samples.iter().map(source).collect(), samples.iter().map(|sample| sample.id).collect());
        Check { probe, unit, rule, sources, samples: ids }.judge(samples)
    }

    fn worth_of(samples: &[Sample], rule: Rule) -> Option<Worth> {
        worth(&judged(samples, rule), &samples.iter().collect::<Vec<_>>(), &[])
    }

    #[test]
    fn runs_that_are_all_within_show_which_change_they_would_have_seen() {
        // Of five sorted peaks (37408768, 37617664, 37703680, 39297024, 148787200) the second is reached again: the largest
        // of five others is lower in 6 of 252 orders.
        let peaks = recorded("memory.peak", "workload-no-limits");
        let runs = |excess| Some(Worth::Runs { runs: 5, share: share_within(5), excess });
        let reached = runs(Some(160e6 - 37_617_664.0));
        assert_eq!(worth_of(&peaks, Rule::Below { bound: 160e6 }), reached);
        assert_eq!(worth_of(&peaks, Rule::AtMost { bound: 160e6 }), reached);
        assert_eq!(worth_of(&peaks, Rule::AtLeast { bound: 30e6 }), runs(Some(39_297_024.0 - 30e6)));
        assert_eq!(worth_of(&peaks, Rule::Between { low: 30e6, high: 160e6 }), runs(None));
        for nothing in [Rule::Below { bound: 64e6 }, Rule::Recorded] {
            assert_eq!(worth_of(&peaks, nothing), None);
        }
        let (below, one) = (Rule::Below { bound: 160e6 }, &peaks[..1]);
        assert_eq!(worth_of(one, below.clone()), None, "one run shows nothing of others");
        assert!(matches!(worth_of(&peaks[..2], below.clone()), Some(Worth::Runs { runs: 2, excess: None, .. })));
        // A second, lower sample of the same runs changes nothing.
        let lower = |sample: &Sample| Sample { id: sample.id + 100_000, value: 1e6.into(), ..sample.clone() };
        let twice: Vec<Sample> = peaks.iter().cloned().chain(peaks.iter().map(lower)).collect();
        assert_eq!(worth_of(&twice, below), reached);
    }

    /// Makes a control of ratios, and judges it.
    pub(crate) fn control(ratios: &[f64], bound: f64) -> ControlResult {
        let sample =
            |(id, ratio): (u64, &f64)| Sample { id, ..Sample::of("in pairs", "ratio.start.time", *ratio, Unit::Times) };
        let samples: Vec<Sample> = (1..).zip(ratios).map(sample).collect();
        let attempt = Attempt::new(vec![judged(&samples, Rule::MedianAtLeast { bound })], None);
        let attempt = Attempt { fails_on: Some("ratio.start.time".to_owned()), ..attempt };
        let at = ScenarioRef { file: "a.feature".to_owned(), line: 1, name: "itself".to_owned() };
        ControlResult::judge(&at, None, vec![attempt])
    }

    /// The ratios of A8-2's control in a run on a system container: starts of the workload beside its own.
    pub(crate) const RECORDED: [f64; 7] = [0.8404, 1.3683, 0.9799, 0.8905, 1.0172, 0.8152, 1.0628];

    #[test]
    fn the_workload_beside_itself_shows_which_ratio_would_have_been_seen() {
        let itself = control(&RECORDED, 2.0);
        let own = &itself.attempts[0].checks[0];
        let Some(Worth::Pairs { equals, seen, within, outside }) = worth(own, &[], std::slice::from_ref(&itself))
        else {
            panic!("a ratio is judged by pairs")
        };
        assert_eq!((equals.low, equals.high, seen), (0.8152, 1.3683, Seen::Nothing));
        // 2 · 1.3683 / 0.8152 and 2 · 0.8152 / 1.3683.
        assert_eq!((format!("{within:.3}"), format!("{outside:.3}")), ("3.357".to_owned(), "1.192".to_owned()));
        assert_eq!(worth(own, &[], &[]), None, "without a control, nothing is known");
        let few = control(&RECORDED[..6], 2.0);
        assert_eq!(worth(own, &[], &[few]), None, "six pairs have no interval");
    }

    #[test]
    fn equals_that_seem_to_differ_are_counted_as_false_alarms() {
        let near = control(&RECORDED, 2.0);
        let [slower, alarm] = [1.5, 3.0].map(|factor| control(&RECORDED.map(|ratio| ratio * factor), 2.0));
        assert_eq!(alarm.verdict, ControlVerdict::NotCaught);
        let counted = FalseAlarms::among(&of_equals([&near, &slower, &alarm].into_iter()));
        assert_eq!(counted, FalseAlarms { verdicts: 3, claimed: 1, any: 2, smallest: None });
        // The smallest factor that 19 of 20 would have seen is 1 / 0.8152.
        let many: Vec<_> = std::iter::repeat_n(&near, 19).chain([&slower]).collect();
        let smallest = FalseAlarms::among(&of_equals(many.into_iter())).smallest.unwrap();
        assert_eq!(format!("{smallest:.4}"), "1.2267");
    }
}
