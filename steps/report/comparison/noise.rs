//! Decides how far a figure may be from earlier ones without meaning anything. Assumes no distribution.
//!
//! - With [`MANY`] earlier runs or more, these show how much a figure varies. A figure exceeds the noise if it lies
//!   outside all of them *and* beyond Tukey's fences (one and a half times the distance between the hinges, which are
//!   the medians of the lower and the upper half). If nothing had changed, and all nights were alike, the newest of
//!   n + 1 figures would be the smallest or the largest of all with a probability of at most 2 in n + 1; the result
//!   states this probability of a false alarm.
//!   A step that several of the earlier runs already show counts as variation: it was reported in the run in which it
//!   occurred, and the figures over all runs still show it.
//! - With fewer, the samples within each run decide. A figure exceeds the noise if the interval of its median lies
//!   wholly above or wholly below the intervals of all earlier runs. Intervals with a confidence below [`CONFIDENCE`]
//!   do not count; fewer than five samples cannot reach it.
//! - Otherwise the noise is unknown, and nothing is stated about whether the change exceeds it.

use crate::base::stats::{Interval, median};
use crate::base::unit::Unit;

/// This many earlier runs show how much a figure varies.
const MANY: usize = 5;

/// The confidence that an interval must have to count.
const CONFIDENCE: f64 = 0.9;

/// The known variation of a figure.
pub(super) struct Noise<'a> {
    /// The figures of the earlier runs, at least one.
    pub earlier: &'a [f64],
    /// The intervals of these runs' medians, if known for each.
    pub intervals: Option<&'a [Interval]>,
    pub unit: Unit,
}

impl Noise<'_> {
    /// Returns whether a figure with this interval is further from the earlier ones than noise explains, and the
    /// reason.
    pub(super) fn exceeded(&self, now: f64, interval: Option<Interval>) -> (Option<bool>, String) {
        if self.earlier.iter().all(|earlier| *earlier == now) {
            return (Some(false), format!("the same as in {}", runs(self.earlier.len())));
        }
        if self.earlier.len() >= MANY {
            return self.beyond_the_usual(now);
        }
        let sure = |interval: &Interval| interval.confidence >= CONFIDENCE;
        match (interval.filter(sure), self.intervals) {
            (Some(now), Some(earlier)) if earlier.iter().all(sure) => self.apart(now, earlier),
            _ => (None, format!("unknown: fewer than {MANY} earlier runs, and fewer than 5 samples in a run")),
        }
    }

    fn range(&self, low: f64, high: f64) -> String {
        match low == high {
            true => self.unit.format(low),
            false => format!("{} to {}", self.unit.format(low), self.unit.format(high)),
        }
    }

    fn beyond_the_usual(&self, now: f64) -> (Option<bool>, String) {
        let many = runs(self.earlier.len());
        let (low, high) = ends(self.earlier.iter().copied());
        let usual = self.range(low, high);
        if (low..=high).contains(&now) {
            return (Some(false), format!("within what {many} gave: {usual}"));
        }
        let (fence_low, fence_high) = fences(self.earlier);
        if (fence_low..=fence_high).contains(&now) {
            let fences = self.range(fence_low, fence_high);
            return (Some(false), format!("outside of what {many} gave ({usual}), within their fences ({fences})"));
        }
        let chance = Unit::Ratio.format(2.0 / (self.earlier.len() + 1) as f64);
        let reason =
            format!("beyond what {many} gave ({usual}) and their fences; by chance in at most {chance} of cases");
        (Some(true), reason)
    }

    fn apart(&self, now: Interval, earlier: &[Interval]) -> (Option<bool>, String) {
        let (low, _) = ends(earlier.iter().map(|interval| interval.low));
        let (_, high) = ends(earlier.iter().map(|interval| interval.high));
        let apart = now.low > high || now.high < low;
        let (least, _) = ends(earlier.iter().chain([&now]).map(|interval| interval.confidence));
        let word = if apart { "apart from" } else { "overlapping" };
        let reason = format!(
            "its median lies in {}, {word} that of {}, {} (confidence {} each)",
            self.range(now.low, now.high),
            runs(earlier.len()),
            self.range(low, high),
            Unit::Ratio.format(least)
        );
        (Some(apart), reason)
    }
}

fn runs(count: usize) -> String {
    match count {
        1 => "the run before".to_owned(),
        many => format!("{many} earlier runs"),
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

fn fences(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len().div_ceil(2);
    let hinge = |part: &[f64]| median(part).unwrap_or_default();
    let (low, high) = (hinge(&sorted[..half]), hinge(&sorted[sorted.len() - half..]));
    let reach = 1.5 * (high - low);
    (low - reach, high + reach)
}

#[cfg(test)]
mod tests {
    use super::super::Figure;
    use super::super::tests::{figure, held, nights};
    use super::*;

    /// Makes a figure with a confidence interval of this half-width around its median.
    fn around(value: f64, reach: f64) -> Figure {
        let interval = Interval { low: value - reach, high: value + reach, confidence: 0.9375 };
        Figure { interval: Some(interval), ..figure(value) }
    }

    #[test]
    fn a_reader_learns_whether_a_change_exceeds_noise_and_why() {
        let same = |values: &[f64]| values.iter().copied().map(figure).collect::<Vec<_>>();
        let after = |now: f64| same(&[40e6, 41e6, 42e6, 43e6, 44e6, now]);
        let mut unsure = around(80e6, 1e6);
        unsure.interval.as_mut().unwrap().confidence = 0.875;
        let situations = [
            ("intervals apart", vec![around(40e6, 1e6), around(50e6, 1e6)]),
            ("intervals overlapping", vec![around(40e6, 3e6), around(45e6, 3e6)]),
            ("earlier runs differed by as much", vec![around(40e6, 2e6), around(60e6, 2e6), around(50e6, 2e6)]),
            ("single samples", same(&[40e6, 80e6])),
            ("four samples", vec![around(40e6, 1e6), unsure]),
            ("a run before with a single sample", vec![around(40e6, 1e6), figure(41e6), around(80e6, 1e6)]),
            ("the same", same(&[40e6, 40e6])),
            ("four earlier runs", same(&[40e6, 41e6, 42e6, 43e6, 60e6])),
            ("within the range of five", after(44e6)),
            ("within the fences", after(46e6)),
            ("above the fences", after(46.1e6)),
            ("below the fences", after(37.9e6)),
            ("what never varied", same(&[40e6, 40e6, 40e6, 40e6, 40e6, 41e6])),
        ];
        let learnt = situations.map(|(name, figures)| {
            let change = nights(figures.into_iter().map(held).collect()).change.unwrap();
            format!("{name}: exceeds it: {:?}; {}", change.exceeds_noise, change.noise)
        });
        insta::assert_snapshot!("noise", learnt.join("\n"));
    }
}
