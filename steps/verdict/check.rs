//! Judges all samples of a probe against a rule, with statistics.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::rule::Rule;
use super::{Outcome, Verdict};
use crate::base::stats::{self, Interval, LOOKS, Summary};
use crate::base::unit::Unit;
use crate::measurement::{Sample, Value, catalogue};

/// Where and when samples must have been taken. Samples from elsewhere or from another time make a check inconclusive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub subject: String,
    pub machine: String,
    /// When the measurement began.
    pub since: Timestamp,
    /// When it ended.
    pub until: Timestamp,
}

impl Source {
    fn covers(&self, sample: &Sample) -> bool {
        sample.subject == self.subject
            && sample.machine == self.machine
            && (self.since..=self.until).contains(&sample.at)
    }
}

/// A question to samples: do all of them satisfy this rule?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub probe: String,
    pub unit: Unit,
    #[serde(flatten)]
    pub rule: Rule,
    /// The allowed origins; each must have given at least one sample.
    pub sources: Vec<Source>,
    /// The samples' ids in `samples.jsonl`.
    pub samples: Vec<u64>,
}

/// Statistics of a check's samples, if they are numbers and more than one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    pub n: usize,
    /// The smallest, in the check's unit, as the others below.
    pub min: f64,
    pub median: f64,
    pub max: f64,
    pub interval: Option<Interval>,
    /// The ids of samples far from the rest, which are included in all of the above.
    pub outliers: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    #[serde(flatten)]
    pub check: Check,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
}

impl Check {
    /// Judges from the samples alone, and ignores samples that are not the check's.
    pub fn judge(self, samples: &[Sample]) -> Judged {
        let ids: BTreeSet<u64> = self.samples.iter().copied().collect();
        let mine: Vec<&Sample> =
            samples.iter().filter(|sample| sample.probe == self.probe && ids.contains(&sample.id)).collect();
        let statistics = statistics(&mine);
        let outcome = match self.trust(&mine) {
            Err(reason) => Outcome::inconclusive(reason.to_string()),
            Ok(()) => self.outcome(&mine, statistics.as_ref()),
        };
        Judged { check: self, outcome, statistics }
    }

    /// Checks that these samples can be judged.
    fn trust(&self, samples: &[&Sample]) -> anyhow::Result<()> {
        let probe = &self.probe;
        let (found, wanted) = (samples.len(), self.samples.len());
        anyhow::ensure!(wanted > 0, "{probe}: no sample of it was taken");
        anyhow::ensure!(found == wanted, "{probe}: {found} of {wanted} samples are there");
        if let Some(sample) = samples.iter().find(|sample| !self.sources.iter().any(|source| source.covers(sample))) {
            anyhow::bail!("{probe}: {}", self.stray(sample));
        }
        let silent = |source: &&Source| !samples.iter().any(|sample| source.covers(sample));
        if let Some(source) = self.sources.iter().find(silent) {
            anyhow::bail!("{probe}: no sample of it was taken of {} on {}", source.subject, source.machine);
        }
        for sample in samples {
            let seen = sample.value.format(sample.unit);
            anyhow::ensure!(
                sample.unit == self.unit,
                "{probe}: {seen} is in {:?}, not in {:?}",
                sample.unit,
                self.unit
            );
            catalogue::plausible(probe, self.unit, &sample.value).map_err(anyhow::Error::msg)?;
            anyhow::ensure!(self.rule.accepts(&sample.value).is_some(), "{probe}: {seen} cannot be compared");
        }
        Ok(())
    }

    /// Explains why a sample does not belong to this check.
    fn stray(&self, sample: &Sample) -> String {
        let (subject, machine, at) = (&sample.subject, &sample.machine, sample.at);
        match self.sources.iter().find(|source| source.subject == *subject) {
            Some(source) if source.machine != *machine => {
                format!("sample {} is from {machine}, not from {}", sample.id, source.machine)
            }
            Some(source) => format!(
                "sample {} is of {at}, but {subject} was watched from {} to {}: it is stale, or a clock jumped",
                sample.id, source.since, source.until
            ),
            None => format!("sample {} is of {subject}, which this check is not about", sample.id),
        }
    }

    /// Judges a median by its interval: it holds if all of that is within the bound, and fails if all of it is outside.
    fn of_median(&self, bound: f64, samples: &[&Sample]) -> Outcome {
        let (probe, show) = (&self.probe, |value: f64| self.unit.format(value));
        let numbers: Vec<f64> = samples.iter().filter_map(|sample| sample.value.number()).collect();
        let (Some(median), Some(Interval { low, high, confidence })) = (stats::median(&numbers), stats::look(&numbers))
        else {
            let [few, more, most] = LOOKS;
            return Outcome::inconclusive(format!(
                "{probe}: there are {} pairs, and it is judged at {few}, {more} or {most}",
                numbers.len()
            ));
        };
        let verdict = match () {
            () if low >= bound => Verdict::Holds,
            () if high < bound => Verdict::Fails,
            () => Verdict::Inconclusive,
        };
        let (n, confidence) = (numbers.len(), (confidence * 1000.0).floor() / 10.0);
        let reason = format!(
            "{probe} is {}, median of {n} pairs ({} to {} with {confidence:.1} % confidence); bound {}{}",
            show(median),
            show(low),
            show(high),
            self.rule.format(self.unit),
            if verdict == Verdict::Inconclusive { ", which lies between these" } else { "" }
        );
        Outcome { verdict, reason, value: Some(Value::Number(median)) }
    }

    fn outcome(&self, samples: &[&Sample], statistics: Option<&Statistics>) -> Outcome {
        if let Rule::MedianAtLeast { bound } = self.rule {
            return self.of_median(bound, samples);
        }
        let broken: Vec<&Sample> =
            samples.iter().copied().filter(|sample| self.rule.accepts(&sample.value) != Some(true)).collect();
        let (verdict, judged) = match broken.is_empty() {
            true => (Verdict::Holds, samples),
            false => (Verdict::Fails, &broken[..]),
        };
        let Some(worst) = judged.iter().copied().reduce(|worst, sample| self.worse(worst, sample)) else {
            return Outcome::inconclusive(format!("{}: no sample of it was taken", self.probe));
        };
        if let (Rule::Recorded, Some(statistics)) = (&self.rule, statistics) {
            let value = Some(Value::Number(statistics.median));
            return Outcome { verdict, reason: self.range(statistics), value };
        }
        let mut reason = self.sentence(worst, statistics);
        if verdict == Verdict::Fails {
            reason += &format!(" ({})", worst.subject);
        }
        Outcome { verdict, reason, value: Some(worst.value.clone()) }
    }

    fn worse<'a>(&self, worst: &'a Sample, sample: &'a Sample) -> &'a Sample {
        match (&sample.value, &worst.value) {
            (Value::Number(a), Value::Number(b)) if self.rule.worse(*a, *b) => sample,
            _ => worst,
        }
    }

    fn range(&self, seen: &Statistics) -> String {
        let [low, middle, high] = [seen.min, seen.median, seen.max].map(|number| self.unit.format(number));
        format!("{} is {low} to {high}, median {middle} of {}", self.probe, seen.n)
    }

    fn sentence(&self, worst: &Sample, statistics: Option<&Statistics>) -> String {
        let count = match statistics {
            // If all are equal, the median adds nothing.
            Some(seen) if seen.min == seen.max => format!(" in all {}", seen.n),
            Some(seen) => format!(", worst of {} (median {})", seen.n, self.unit.format(seen.median)),
            None => String::new(),
        };
        let mut seen = self.rule.excerpt(&worst.value).format(self.unit);
        if self.unit == Unit::Times {
            // A ratio says little without its two values.
            seen += &format!(" ({})", worst.raw);
        }
        let kept = self.rule.accepts(&worst.value) == Some(true);
        match &self.rule {
            // The bound would repeat the value.
            Rule::Recorded => format!("{} is {seen}{count}", self.probe),
            Rule::Equals { .. } | Rule::Differs { .. } if kept => format!("{} is {seen}{count}", self.probe),
            rule => format!("{} is {seen}{count}; bound {}", self.probe, rule.format(self.unit)),
        }
    }
}

fn statistics(samples: &[&Sample]) -> Option<Statistics> {
    let numbers: Vec<f64> = samples.iter().map(|sample| sample.value.number()).collect::<Option<_>>()?;
    let Summary { n, min, median, max, interval, outliers } = Summary::of(&numbers)?;
    let outliers = outliers.into_iter().map(|place| samples[place].id).collect();
    (n > 1).then_some(Statistics { n, min, median, max, interval, outliers })
}
