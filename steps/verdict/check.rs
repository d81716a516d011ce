//! Judges all samples of a probe against a rule, with statistics.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::rule::Rule;
use super::{Bound, Outcome, Range, Reason, Verdict};
use crate::base::platform::MachineKind;
use crate::base::stats::{self, LOOKS, Summary};
use crate::base::unit::Unit;
use crate::measurement::{Sample, Value, catalogue};

/// Where and when samples must have been taken. Samples from elsewhere or from another time make a check inconclusive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub subject: String,
    pub machine: String,
    /// What kind of machine that is, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<MachineKind>,
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    #[serde(flatten)]
    pub check: Check,
    pub outcome: Outcome,
    /// Of its samples, if they are numbers and more than one. Outliers are named by their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Summary>,
}

impl Check {
    /// Judges from the samples alone, and ignores samples that are not the check's.
    pub fn judge(self, samples: &[Sample]) -> Judged {
        let ids: BTreeSet<u64> = self.samples.iter().copied().collect();
        let mine: Vec<&Sample> =
            samples.iter().filter(|sample| sample.probe == self.probe && ids.contains(&sample.id)).collect();
        let statistics = statistics(&mine);
        let outcome = match self.trust(&mine) {
            Err(reason) => Outcome::inconclusive(reason),
            Ok(()) => self.outcome(&mine, statistics.as_ref()),
        };
        Judged { check: self, outcome, statistics }
    }

    /// Checks that these samples can be judged.
    fn trust(&self, samples: &[&Sample]) -> Result<(), Reason> {
        let probe = || self.probe.clone();
        let (found, wanted) = (samples.len(), self.samples.len());
        if wanted == 0 || found != wanted {
            return Err(Reason::MissingSamples { probe: probe(), found, wanted });
        }
        if let Some(sample) = samples.iter().find(|sample| !self.sources.iter().any(|source| source.covers(sample))) {
            let expected = self.sources.iter().find(|source| source.subject == sample.subject);
            let Sample { id, subject, machine, at, .. } = (*sample).clone();
            let expected = expected.cloned().map(Box::new);
            return Err(Reason::StraySample { probe: probe(), sample: id, subject, machine, at, expected });
        }
        let silent = |source: &&Source| !samples.iter().any(|sample| source.covers(sample));
        if let Some(Source { subject, machine, .. }) = self.sources.iter().find(silent).cloned() {
            return Err(Reason::NoSampleOf { probe: probe(), subject, machine });
        }
        for Sample { value, unit, .. } in samples.iter().copied() {
            let (value, unit) = (value.clone(), *unit);
            if unit != self.unit {
                return Err(Reason::WrongUnit { probe: probe(), value, unit, expected: self.unit });
            }
            let plausible = catalogue::plausible(&self.probe, unit, &value).is_ok();
            if !plausible || self.rule.accepts(&value).is_none() {
                return Err(Reason::Implausible { probe: probe(), value, unit });
            }
        }
        Ok(())
    }

    /// Judges a median by its interval: it holds if all of that is within the bound, and fails if all of it is outside.
    fn of_median(&self, bound: f64, samples: &[&Sample], statistics: Option<&Summary>) -> Outcome {
        let numbers: Vec<f64> = samples.iter().filter_map(|sample| sample.value.number()).collect();
        let (Some(median), Some(interval), [first, ..]) = (stats::median(&numbers), stats::look(&numbers), samples)
        else {
            let (probe, pairs) = (self.probe.clone(), numbers.len());
            return Outcome::inconclusive(Reason::Pairs { probe, pairs, looks: LOOKS.to_vec() });
        };
        let verdict = match () {
            () if interval.low >= bound => Verdict::Holds,
            () if interval.high < bound => Verdict::Fails,
            () => Verdict::Inconclusive,
        };
        let value = Value::Number(median);
        let seen = Bound { interval: Some(interval), raw: None, ..self.bound(first, value.clone(), None, statistics) };
        Outcome { verdict, reason: Reason::Bound(Box::new(seen)), value: Some(value) }
    }

    /// Returns a value of a sample with its bound.
    fn bound(&self, of: &Sample, value: Value, lines: Option<usize>, statistics: Option<&Summary>) -> Bound {
        Bound {
            probe: self.probe.clone(),
            rule: self.rule.clone(),
            value,
            unit: self.unit,
            subject: of.subject.clone(),
            // A ratio says little without its two values.
            raw: (self.unit == Unit::Times).then(|| of.raw.clone()),
            lines,
            all: statistics.map(|Summary { n, min, median, max, .. }| Range {
                n: *n,
                min: *min,
                median: *median,
                max: *max,
            }),
            interval: None,
        }
    }

    fn outcome(&self, samples: &[&Sample], statistics: Option<&Summary>) -> Outcome {
        if let Rule::MedianAtLeast { bound } = self.rule {
            return self.of_median(bound, samples, statistics);
        }
        let broken: Vec<&Sample> =
            samples.iter().copied().filter(|sample| self.rule.accepts(&sample.value) != Some(true)).collect();
        let (verdict, judged) = match broken.is_empty() {
            true => (Verdict::Holds, samples),
            false => (Verdict::Fails, &broken[..]),
        };
        let Some(worst) = judged.iter().copied().reduce(|worst, sample| self.worse(worst, sample)) else {
            let (found, wanted) = (0, self.samples.len());
            return Outcome::inconclusive(Reason::MissingSamples { probe: self.probe.clone(), found, wanted });
        };
        let (value, lines) = match (&self.rule, statistics) {
            (Rule::Recorded, Some(statistics)) => (Value::Number(statistics.median), None),
            (rule, _) => rule.excerpt(&worst.value),
        };
        let bound = self.bound(worst, value.clone(), lines, statistics);
        Outcome { verdict, reason: Reason::Bound(Box::new(bound)), value: Some(value) }
    }

    fn worse<'a>(&self, worst: &'a Sample, sample: &'a Sample) -> &'a Sample {
        match (&sample.value, &worst.value) {
            (Value::Number(a), Value::Number(b)) if self.rule.worse(*a, *b) => sample,
            _ => worst,
        }
    }
}

fn statistics(samples: &[&Sample]) -> Option<Summary> {
    let numbers: Vec<f64> = samples.iter().map(|sample| sample.value.number()).collect::<Option<_>>()?;
    let mut summary = Summary::of(&numbers)?;
    summary.outliers.iter_mut().for_each(|outlier| *outlier = samples[*outlier as usize].id);
    (numbers.len() > 1).then_some(summary)
}
