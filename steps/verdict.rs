//! From samples to a verdict. Pure: the same samples and the same rule give the same verdict, on any day, anywhere.

use serde::{Deserialize, Serialize};

use crate::probe::{Sample, Value};
use crate::stats::{median, range};
use crate::unit::Unit;

/// What is said of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every check was made and every sample kept its bound.
    Holds,
    /// A sample broke its bound.
    Fails,
    /// It could not be judged: the infrastructure, or a sample that cannot be trusted.
    Inconclusive,
    /// This target cannot judge it.
    NotRun,
    /// It fails, and somebody has declared why, where and until when.
    KnownDeviation,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Verdict::Holds => "holds",
            Verdict::Fails => "fails",
            Verdict::Inconclusive => "inconclusive",
            Verdict::NotRun => "not run",
            Verdict::KnownDeviation => "known deviation",
        })
    }
}

/// What every sample of a check must satisfy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum Rule {
    /// Less than the bound.
    Below {
        /// In the check's unit.
        bound: f64,
    },
    /// The bound or less.
    AtMost {
        /// In the check's unit.
        bound: f64,
    },
    /// The bound or more.
    AtLeast {
        /// In the check's unit.
        bound: f64,
    },
    /// From `low` to `high`, both included.
    Between {
        /// In the check's unit.
        low: f64,
        /// In the check's unit.
        high: f64,
    },
    /// Exactly this.
    Equals {
        /// A number in the check's unit, or a text.
        value: Value,
    },
    /// Anything but this.
    Differs {
        /// A number in the check's unit, or a text.
        value: Value,
    },
    /// A version, such as `5.4.2`, that is this one or newer.
    AtLeastVersion {
        /// As in `4.9`.
        version: String,
    },
    /// A text that has this in it.
    Contains {
        /// The part.
        text: String,
    },
    /// Nothing: the value is reported, the claim promises no bound.
    Recorded,
}

impl Rule {
    /// The bound as people write it.
    pub fn show(&self, unit: Unit) -> String {
        match self {
            Rule::Below { bound } => format!("< {}", unit.show(*bound)),
            Rule::AtMost { bound } => format!("≤ {}", unit.show(*bound)),
            Rule::AtLeast { bound } => format!("≥ {}", unit.show(*bound)),
            Rule::Between { low, high } => format!("{} to {}", unit.show(*low), unit.show(*high)),
            Rule::Equals { value } => format!("= {}", value.show(unit)),
            Rule::Differs { value } => format!("≠ {}", value.show(unit)),
            Rule::AtLeastVersion { version } => format!("≥ {version}"),
            Rule::Contains { text } => format!("says \"{text}\""),
            Rule::Recorded => "reported".to_owned(),
        }
    }

    /// Whether a value satisfies the rule; `None` where the two cannot be compared.
    fn accepts(&self, value: &Value) -> Option<bool> {
        Some(match (self, value) {
            (Rule::Below { bound }, Value::Number(number)) => number < bound,
            (Rule::AtMost { bound }, Value::Number(number)) => number <= bound,
            (Rule::AtLeast { bound }, Value::Number(number)) => number >= bound,
            (Rule::Between { low, high }, Value::Number(number)) => low <= number && number <= high,
            (Rule::Equals { value: wanted }, seen) if same_kind(wanted, seen) => wanted == seen,
            (Rule::Differs { value: unwanted }, seen) if same_kind(unwanted, seen) => unwanted != seen,
            (Rule::AtLeastVersion { version: wanted }, Value::Text(seen)) => version(seen)? >= version(wanted)?,
            (Rule::Contains { text }, Value::Text(seen)) => seen.contains(text.as_str()),
            (Rule::Recorded, _) => true,
            _ => return None,
        })
    }

    /// Whether `a` is nearer to breaking the rule than `b`.
    fn worse(&self, a: f64, b: f64) -> bool {
        match self {
            Rule::AtLeast { .. } => a < b,
            Rule::Between { low, high } => (a - (low + high) / 2.0).abs() > (b - (low + high) / 2.0).abs(),
            _ => a > b,
        }
    }
}

/// The numbers of a version, `4.9.3+ds1` being 4, 9, 3.
fn version(text: &str) -> Option<Vec<u64>> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].trim_end_matches('.').split('.').map(|part| part.parse().ok()).collect()
}

fn same_kind(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// One question to the samples: do all of these keep this rule?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Which probe's samples.
    pub probe: String,
    /// The unit they must be in.
    pub unit: Unit,
    /// What they must satisfy.
    #[serde(flatten)]
    pub rule: Rule,
    /// Their numbers in `samples.jsonl`.
    pub samples: Vec<u64>,
}

/// What a check, or all checks of a claim together, came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The verdict: holds, fails or inconclusive.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
    /// The sample nearest to its bound, or the one that broke it.
    pub value: Option<Value>,
}

impl Check {
    /// Judges from the samples alone; those that are not the check's are ignored.
    pub fn judge(&self, samples: &[Sample]) -> Outcome {
        let inconclusive = |reason: String| Outcome { verdict: Verdict::Inconclusive, reason, value: None };
        let mine: Vec<&Sample> =
            samples.iter().filter(|sample| sample.probe == self.probe && self.samples.contains(&sample.id)).collect();
        if mine.is_empty() || mine.len() != self.samples.len() {
            let (found, wanted) = (mine.len(), self.samples.len());
            return inconclusive(match wanted {
                0 => format!("{}: no sample of it was taken", self.probe),
                _ => format!("{}: {found} of {wanted} samples are there", self.probe),
            });
        }
        if let Some(sample) = mine.iter().find(|sample| !self.sane(sample)) {
            let seen = sample.value.show(sample.unit);
            return inconclusive(format!("{}: {seen} ({:?}) cannot be a sample of it", self.probe, sample.unit));
        }
        if let Some(sample) = mine.iter().find(|sample| self.rule.accepts(&sample.value).is_none()) {
            return inconclusive(format!("{}: {} cannot be compared", self.probe, sample.value.show(self.unit)));
        }
        if let (Rule::Recorded, Some(recorded)) = (&self.rule, self.recorded(&mine)) {
            return recorded;
        }
        let broken: Vec<&Sample> =
            mine.iter().copied().filter(|sample| self.rule.accepts(&sample.value) == Some(false)).collect();
        let judged = if broken.is_empty() { &mine } else { &broken };
        let worst = judged.iter().copied().reduce(|worst, sample| self.worse(worst, sample)).unwrap_or(mine[0]);
        let sentence = self.sentence(worst, mine.len());
        let (verdict, reason) = match broken.is_empty() {
            true => (Verdict::Holds, sentence),
            false => (Verdict::Fails, format!("{sentence} ({})", worst.subject)),
        };
        Outcome { verdict, reason, value: Some(worst.value.clone()) }
    }

    /// Several numbers that are only reported: their range, and the median for a value.
    fn recorded(&self, samples: &[&Sample]) -> Option<Outcome> {
        let numbers: Vec<f64> = samples
            .iter()
            .filter_map(|sample| match sample.value {
                Value::Number(number) => Some(number),
                Value::Text(_) => None,
            })
            .collect();
        let (middle, (low, high)) = (median(&numbers)?, range(&numbers)?);
        let show = |number| self.unit.show(number);
        let reason = match numbers.len() {
            1 => format!("{} is {}", self.probe, show(middle)),
            n => format!("{} is {} to {}, median {} of {n}", self.probe, show(low), show(high), show(middle)),
        };
        Some(Outcome { verdict: Verdict::Holds, reason, value: Some(Value::Number(middle)) })
    }

    fn sane(&self, sample: &Sample) -> bool {
        let number = match &sample.value {
            Value::Number(number) => *number,
            Value::Text(_) => return sample.unit == self.unit && self.unit == Unit::Text,
        };
        sample.unit == self.unit && number.is_finite() && (number >= 0.0 || self.unit == Unit::Celsius)
    }

    fn worse<'a>(&self, worst: &'a Sample, sample: &'a Sample) -> &'a Sample {
        match (&sample.value, &worst.value) {
            (Value::Number(a), Value::Number(b)) if self.rule.worse(*a, *b) => sample,
            _ => worst,
        }
    }

    fn sentence(&self, worst: &Sample, of: usize) -> String {
        let count = if of == 1 { String::new() } else { format!(", worst of {of}") };
        let seen = worst.value.show(self.unit);
        let kept = self.rule.accepts(&worst.value) == Some(true);
        match &self.rule {
            // The bound would only say the same again.
            Rule::Recorded => format!("{} is {seen}{count}", self.probe),
            Rule::Equals { .. } | Rule::Differs { .. } if kept => format!("{} is {seen}{count}", self.probe),
            rule => format!("{} is {seen}{count}; bound {}", self.probe, rule.show(self.unit)),
        }
    }
}

/// All checks of a claim together: those that fail decide, then those that could not be made.
pub fn together(outcomes: &[Outcome]) -> Outcome {
    for decisive in [Verdict::Fails, Verdict::Inconclusive] {
        let deciding: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.verdict == decisive).collect();
        if let Some(first) = deciding.first() {
            let reason = deciding.iter().map(|outcome| outcome.reason.as_str()).collect::<Vec<_>>().join("; ");
            return Outcome { verdict: decisive, reason, value: first.value.clone() };
        }
    }
    let Some(headline) = outcomes.first() else {
        return Outcome { verdict: Verdict::Inconclusive, reason: "nothing was checked".to_owned(), value: None };
    };
    let reason = outcomes.iter().map(|outcome| outcome.reason.as_str()).collect::<Vec<_>>().join("; ");
    Outcome { verdict: Verdict::Holds, reason, value: headline.value.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn sample(id: u64, value: impl Into<Value>, unit: Unit) -> Sample {
        Sample {
            id,
            probe: "memory.peak".into(),
            subject: format!("run {id}"),
            machine: "nano".into(),
            value: value.into(),
            unit,
            at: Timestamp::UNIX_EPOCH,
            raw: String::new(),
        }
    }

    fn below(bound: f64, samples: &[u64]) -> Check {
        let rule = Rule::Below { bound };
        Check { probe: "memory.peak".into(), unit: Unit::Bytes, rule, samples: samples.to_vec() }
    }

    #[test]
    fn the_verdict_is_on_the_worst_sample() {
        let samples = [sample(1, 36e6, Unit::Bytes), sample(2, 65e6, Unit::Bytes), sample(3, 37e6, Unit::Bytes)];
        let holds = below(70e6, &[1, 2, 3]).judge(&samples);
        assert_eq!((holds.verdict, holds.value), (Verdict::Holds, Some(Value::Number(65e6))));
        let fails = below(64e6, &[1, 2, 3]).judge(&samples);
        assert_eq!(fails.verdict, Verdict::Fails);
        assert_eq!(fails.reason, "memory.peak is 65 MB, worst of 3; bound < 64 MB (run 2)");
    }

    #[test]
    fn a_bound_is_sharp() {
        let at = [sample(1, 64e6, Unit::Bytes)];
        assert_eq!(below(64e6, &[1]).judge(&at).verdict, Verdict::Fails);
        let at_most = Check { rule: Rule::AtMost { bound: 64e6 }, ..below(0.0, &[1]) };
        assert_eq!(at_most.judge(&at).verdict, Verdict::Holds);
    }

    #[test]
    fn what_is_missing_absurd_or_in_another_unit_never_holds() {
        let judge = |samples: &[Sample]| below(64e6, &[1]).judge(samples).verdict;
        assert_eq!(judge(&[]), Verdict::Inconclusive);
        assert_eq!(judge(&[sample(2, 1.0, Unit::Bytes)]), Verdict::Inconclusive);
        assert_eq!(judge(&[sample(1, -1.0, Unit::Bytes)]), Verdict::Inconclusive);
        assert_eq!(judge(&[sample(1, f64::NAN, Unit::Bytes)]), Verdict::Inconclusive);
        assert_eq!(judge(&[sample(1, 1.0, Unit::Seconds)]), Verdict::Inconclusive);
        assert_eq!(judge(&[sample(1, "small", Unit::Bytes)]), Verdict::Inconclusive);
        assert_eq!(below(64e6, &[]).judge(&[sample(1, 1.0, Unit::Bytes)]).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn what_is_only_reported_tells_its_range_and_median() {
        let samples = [sample(1, 3.0, Unit::Count), sample(2, 1.0, Unit::Count), sample(3, 2.0, Unit::Count)];
        let check = Check { rule: Rule::Recorded, unit: Unit::Count, ..below(0.0, &[1, 2, 3]) };
        let outcome = check.judge(&samples);
        assert_eq!(outcome.reason, "memory.peak is 1 to 3, median 2 of 3");
        assert_eq!((outcome.verdict, outcome.value), (Verdict::Holds, Some(Value::Number(2.0))));
    }

    #[test]
    fn texts_are_compared_as_texts() {
        let check = |rule| Check { probe: "memory.peak".into(), unit: Unit::Text, rule, samples: vec![1] };
        let seen = [sample(1, "wasi/wasm", Unit::Text)];
        let equals = |text: &str| check(Rule::Equals { value: text.into() }).judge(&seen).verdict;
        assert_eq!(equals("wasi/wasm"), Verdict::Holds);
        assert_eq!(equals("linux/amd64"), Verdict::Fails);
        assert_eq!(check(Rule::Equals { value: 3.0.into() }).judge(&seen).verdict, Verdict::Inconclusive);
        assert_eq!(check(Rule::Contains { text: "wasm".into() }).judge(&seen).verdict, Verdict::Holds);
        let newer = |version: &str, seen: &str| {
            let rule = Rule::AtLeastVersion { version: version.to_owned() };
            check(rule).judge(&[sample(1, seen, Unit::Text)]).verdict
        };
        assert_eq!(newer("4.9", "4.10.0"), Verdict::Holds);
        assert_eq!(newer("4.9", "4.9"), Verdict::Holds);
        assert_eq!(newer("4.9", "4.3.1+ds1"), Verdict::Fails);
        assert_eq!(newer("4.9", "unknown"), Verdict::Inconclusive);
        assert_eq!(check(Rule::Below { bound: 3.0 }).judge(&seen).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn one_check_that_fails_decides_and_no_check_at_all_is_inconclusive() {
        let outcome = |verdict| Outcome { verdict, reason: verdict.to_string(), value: None };
        let of = |verdicts: &[Verdict]| together(&verdicts.iter().copied().map(outcome).collect::<Vec<_>>()).verdict;
        assert_eq!(of(&[Verdict::Holds, Verdict::Inconclusive, Verdict::Fails]), Verdict::Fails);
        assert_eq!(of(&[Verdict::Holds, Verdict::Inconclusive]), Verdict::Inconclusive);
        assert_eq!(of(&[Verdict::Holds, Verdict::Holds]), Verdict::Holds);
        assert_eq!(of(&[]), Verdict::Inconclusive);
    }
}
