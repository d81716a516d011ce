//! Statistics of small samples, without assuming a distribution.

use serde::{Deserialize, Serialize};

pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Interpolates linearly between the two nearest of the sorted values (Hyndman and Fan's type 7).
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// A confidence interval of the median that does not depend on the distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// From 0 to 1: at least 0.95 for six samples or more; for fewer, as much as they allow.
    pub confidence: f64,
}

const CONFIDENCE: f64 = 0.95;

/// The numbers of pairs at which a ratio is looked at; it is judged at the first look that decides it.
pub const LOOKS: [usize; 3] = [7, 14, 28];

/// Returns the interval of the median of ratios at one of the [`LOOKS`], or `None` for any other number of ratios. Each
/// look may be wrong with an equal part of the total error (Bonferroni's correction): all looks together are right with
/// 95 % confidence, however many are taken.
pub fn look(ratios: &[f64]) -> Option<Interval> {
    let each = 1.0 - (1.0 - CONFIDENCE) / LOOKS.len() as f64;
    LOOKS.contains(&ratios.len()).then(|| interval(&sorted(ratios), each)).flatten()
}

/// Returns the share of all runs that are within a bound at least, with 95 % confidence, if `n` of `n` runs were.
pub fn share_within(n: usize) -> f64 {
    (1.0 - CONFIDENCE).powf(1.0 / n as f64)
}

/// Returns the one of `n` values that the largest of `n` others reaches with 95 % probability, if all come from the same
/// distribution: the fifth largest, or a lower one of fewer than sixteen. `None` for fewer than three. All `n` others stay
/// below the `rank`-th largest only if the `rank` largest of all `2n` are among the given ones.
pub fn reached_again(values: &[f64]) -> Option<f64> {
    let n = values.len();
    let mut never = 1.0;
    let rank = (0..n).position(|larger| {
        never *= (n - larger) as f64 / (2 * n - larger) as f64;
        never <= 1.0 - CONFIDENCE
    })?;
    sorted(values).get(n - 1 - rank).copied()
}

/// Returns the value that 95 % of at least twenty values do not exceed.
pub fn rarely_exceeded(values: &[f64]) -> Option<f64> {
    let place = (values.len() * 95).div_ceil(100).checked_sub(1).filter(|_| values.len() >= 20)?;
    sorted(values).get(place).copied()
}

/// Returns the narrowest pair of samples, equally far from the smallest and the largest, that encloses the true median
/// with this `confidence`, or the widest pair if none does. It uses the binomial distribution: each sample lies below the
/// median with probability one half.
fn interval(sorted: &[f64], confidence: f64) -> Option<Interval> {
    let n = sorted.len();
    if n < 2 {
        return None;
    }
    // The logarithm of the probability that exactly `below` samples lie below the median, which itself underflows.
    let mut log_chance = -(n as f64) * std::f64::consts::LN_2;
    let mut outside = 2.0 * log_chance.exp();
    let mut chosen = (0, 1.0 - outside);
    for below in 1..n.div_ceil(2) {
        log_chance += ((n - below + 1) as f64 / below as f64).ln();
        outside += 2.0 * log_chance.exp();
        if 1.0 - outside < confidence {
            break;
        }
        chosen = (below, 1.0 - outside);
    }
    let (below, confidence) = chosen;
    Some(Interval { low: sorted[below], high: sorted[n - 1 - below], confidence })
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub n: usize,
    pub min: f64,
    pub median: f64,
    pub max: f64,
    /// The confidence interval of the median; `None` for a single sample.
    pub interval: Option<Interval>,
    /// The indices, from 0, of outliers: samples beyond a quartile by more than 1.5 times the distance between the
    /// quartiles (Tukey). They are only marked, and still count in everything else. Fewer than five samples have none.
    pub outliers: Vec<u64>,
}

impl Summary {
    /// Summarizes samples in the order in which they were taken; `None` if there are none or one is not finite.
    pub fn of(values: &[f64]) -> Option<Summary> {
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let sorted = sorted(values);
        let (low, high) = (quantile(&sorted, 0.25)?, quantile(&sorted, 0.75)?);
        let reach = 1.5 * (high - low);
        let far = |value: f64| values.len() >= 5 && (value < low - reach || value > high + reach);
        Some(Summary {
            n: values.len(),
            min: *sorted.first()?,
            median: quantile(&sorted, 0.5)?,
            max: *sorted.last()?,
            interval: interval(&sorted, CONFIDENCE),
            outliers: (0..).zip(values).filter(|(_, value)| far(**value)).map(|(place, _)| place).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval_of(n: usize) -> Interval {
        Summary::of(&(1..=n).map(|value| value as f64).collect::<Vec<_>>()).unwrap().interval.unwrap()
    }

    #[test]
    fn a_summary_has_the_extremes_and_the_median_of_finite_samples() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        let summary = Summary::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((summary.n, summary.min, summary.median, summary.max), (3, 1.0, 2.0, 3.0));
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        assert_eq!(Summary::of(&[7.0]).unwrap().interval, None);
    }

    /// From the table of the sign test: Conover, Practical Nonparametric Statistics, 3rd edition, table A3 (p = 0.5).
    #[test]
    fn the_interval_of_the_median_is_that_of_the_tables() {
        let close = |interval: Interval, low: f64, high: f64, confidence: f64| {
            assert_eq!((interval.low, interval.high), (low, high));
            assert!((interval.confidence - confidence).abs() < 5e-4, "{interval:?}");
        };
        close(interval_of(5), 1.0, 5.0, 0.9375);
        close(interval_of(6), 1.0, 6.0, 0.9688);
        close(interval_of(9), 2.0, 8.0, 0.9609);
        close(interval_of(20), 6.0, 15.0, 0.9586);
        let many = interval_of(5000);
        assert!(many.confidence >= CONFIDENCE && many.high - many.low < 145.0, "{many:?}");
    }

    #[test]
    fn n_runs_within_a_bound_show_how_many_of_all_are() {
        for (n, share) in [(1, 0.05), (5, 0.549), (20, 0.861), (59, 0.950)] {
            assert!((share_within(n) - share).abs() < 5e-4, "{n}: {}", share_within(n));
        }
    }

    /// Returns random numbers from 0 to 1 (SplitMix64).
    fn random() -> impl FnMut() -> f64 {
        let mut state = 20_u64;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
        }
    }

    #[test]
    fn the_largest_of_as_many_others_nearly_always_reaches_a_value_again() {
        let one_to = |n: usize| (1..=n).map(|value| value as f64).collect::<Vec<_>>();
        // By hand: all of three new values are below the smallest of three old ones in one of 20 orders, 6! / (3! · 3!).
        for (n, reached) in
            [(2, None), (3, Some(1.0)), (5, Some(2.0)), (15, Some(12.0)), (16, Some(12.0)), (20, Some(16.0))]
        {
            assert_eq!(reached_again(&one_to(n)), reached, "{n}");
        }
        let mut random = random();
        for n in [3, 5, 20, 59] {
            // Skewed, as times are.
            let mut draw = || (0..n).map(|_| -(1.0 - random()).ln()).collect::<Vec<_>>();
            let reached = (0..4000).filter(|_| {
                let again = reached_again(&draw()).unwrap();
                draw().iter().any(|value| *value >= again)
            });
            let share = reached.count() as f64 / 4000.0;
            assert!((0.94..0.99).contains(&share), "{n}: {share}");
        }
    }

    #[test]
    fn one_of_twenty_values_may_exceed_what_is_rarely_exceeded() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(rarely_exceeded(&values), Some(19.0));
        assert_eq!(rarely_exceeded(&values[1..]), None);
    }

    /// Returns how often, in 2000 seeded simulations, ratios around a true one are found to be at least `bound`, found to
    /// be less, and not decided. A ratio is skewed, and one in ten is far off.
    fn simulated(truth: f64, bound: f64) -> [f64; 3] {
        let mut random = random();
        let mut ratio = || {
            let spread = if random() < 0.1 { 2.0 } else { 0.3 };
            truth * (spread * (random() + random() + random() - 1.5)).exp()
        };
        let mut found = [0.0; 3];
        for _ in 0..2000 {
            let ratios: Vec<f64> = (0..LOOKS[LOOKS.len() - 1]).map(|_| ratio()).collect();
            let decided = LOOKS.iter().find_map(|n| match look(&ratios[..*n])? {
                seen if seen.low >= bound => Some(0),
                seen if seen.high < bound => Some(1),
                _ => None,
            });
            found[decided.unwrap_or(2)] += 1.0 / 2000.0;
        }
        found
    }

    #[test]
    fn looking_three_times_is_wrong_in_a_twentieth_of_all_runs_at_most() {
        // The hardest case: the true ratio is the bound itself.
        let [at_least, less, undecided] = simulated(1.0, 1.0);
        assert!(at_least + less <= 0.05 && undecided >= 0.95, "{at_least} {less} {undecided}");
        assert!(at_least + less > 0.01, "the looks are never wrong, so they are too wide");
        // The workload beside itself is never twice as fast, and what is three times as fast is.
        for (truth, bound, expected) in [(1.0, 2.0, 1), (3.0, 2.0, 0), (2.0, 3.0, 1), (1.0, 0.5, 0)] {
            let found = simulated(truth, bound);
            assert!(found[expected] >= 0.99 && found[1 - expected] == 0.0, "{truth} against {bound}: {found:?}");
        }
        assert_eq!(look(&[3.0; 6]), None);
    }

    #[test]
    fn an_outlier_is_marked_and_still_counts() {
        let summary = Summary::of(&[36.0, 37.0, 98.0, 36.5, 37.5]).unwrap();
        assert_eq!(summary.outliers, [2]);
        assert_eq!((summary.n, summary.max), (5, 98.0));
        assert!(Summary::of(&[36.0, 37.0, 98.0]).unwrap().outliers.is_empty(), "three tell nothing of the usual");
    }
}
