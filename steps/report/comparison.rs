//! Compares several runs claim by claim: which verdicts and which figures changed, and whether a change exceeds noise.
//! Pure: it takes values and returns a comparison.
//!
//! A claim's *figure* in a run is the median of the samples of the check that decided it, or the sample itself if there
//! is only one. (A verdict rests on the worst sample; a trend does not, because one bad moment can produce it.) Two
//! figures are *comparable* if they have the same probe, unit and bound, and were taken on the same kind of machine:
//! target, accelerator and architecture; for what was measured on the host itself, the machine does not matter. A
//! difference in any of these is reported in words, not as a number. The last run's figure is compared with the median
//! of the comparable figures before it. `comparison/story.rs` defines what counts as noise, and every change states how
//! it was decided.

mod brief;
mod story;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::base::stats::Interval;
use crate::base::unit::Unit;
use crate::claims::register::ClaimId;
use crate::measurement::Value;
use crate::verdict::{Reason, Verdict};

pub use brief::briefs;

/// The version of the layout of a [`Comparison`].
pub const SCHEMA: u32 = 1;

/// The parts of a run that a comparison needs.
#[derive(Clone, Debug)]
pub struct ComparedRun {
    pub about: About,
    pub findings: BTreeMap<ClaimId, ClaimSummary>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct About {
    pub run: String,
    pub started: Timestamp,
    pub target: String,
    pub commit: Option<String>,
    pub exit: u8,
    pub complete: bool,
}

/// What a run reports about a claim.
#[derive(Clone, Debug)]
pub struct ClaimSummary {
    pub claim: String,
    pub verdict: Verdict,
    pub reason: Reason,
    pub figure: Option<Figure>,
}

#[derive(Clone, Debug)]
pub struct Figure {
    /// The median of the samples, or the only one.
    pub value: Value,
    pub unit: Unit,
    pub probe: String,
    /// The confidence interval of the true median, if there are enough samples for one.
    pub interval: Option<Interval>,
    /// Everything that must be the same for figures to be compared, by name.
    pub circumstances: Vec<(&'static str, String)>,
}

/// Several runs, in the order in which they began, and what happened to each claim in them; the layout that programs read.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub schema: u32,
    pub runs: Vec<About>,
    pub claims: Vec<Trend>,
}

/// A claim's verdicts and figures over the runs.
#[derive(Clone, Debug, Serialize)]
pub struct Trend {
    pub id: ClaimId,
    /// The claim's sentence, from the last run that knows the claim.
    pub claim: String,
    /// Its verdict in each run; `None` if the run does not know the claim.
    pub verdicts: Vec<Option<Verdict>>,
    /// Its figure in each run; `None` if there is none, or if it cannot be compared with the newest.
    pub values: Vec<Option<Value>>,
    pub unit: Option<Unit>,
    pub probe: Option<String>,
    /// How the number changed in the last run; `None` if there is nothing to compare it with.
    pub change: Option<FigureChange>,
    /// Whether its verdict changed from any run to the next one that judged it.
    pub changed_verdict: bool,
    /// Further remarks: a change of verdict with both reasons, what is not comparable, what is missing.
    pub note: Option<String>,
}

/// The distance of the last run's figure from the median of the comparable ones before it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FigureChange {
    pub absolute: f64,
    /// The difference as a proportion of that median, 0.1 being 10 % more; `None` if the median is zero.
    pub relative: Option<f64>,
    /// Whether the change exceeds noise; `None` if the noise is unknown.
    pub exceeds_noise: Option<bool>,
    pub noise: String,
}

impl Comparison {
    /// Compares runs, given in any order.
    pub fn of(mut runs: Vec<ComparedRun>) -> anyhow::Result<Comparison> {
        runs.sort_by(|a, b| (a.about.started, &a.about.run).cmp(&(b.about.started, &b.about.run)));
        let mut names = BTreeSet::new();
        for ComparedRun { about, .. } in &runs {
            anyhow::ensure!(names.insert(&about.run), "run {} is named twice: name it once", about.run);
        }
        anyhow::ensure!(runs.len() > 1, "a comparison needs two runs or more: name another one");
        let ids: BTreeSet<ClaimId> = runs.iter().flat_map(|run| run.findings.keys().copied()).collect();
        let claims = ids.into_iter().map(|id| story::trend(id, &runs)).collect();
        Ok(Comparison { schema: SCHEMA, runs: runs.into_iter().map(|run| run.about).collect(), claims })
    }

    /// Returns whether any claim got worse: .
    pub fn worse(&self) -> bool {
        self.claims.iter().any(Trend::worse)
    }
}

impl Trend {
    /// Returns whether the claim held or was a known deviation in an earlier run, and fails or is inconclusive in the
    /// last.
    pub fn worse(&self) -> bool {
        let good = |verdict: &Verdict| matches!(verdict, Verdict::Holds | Verdict::KnownDeviation);
        let bad = |verdict: &Verdict| matches!(verdict, Verdict::Fails | Verdict::Inconclusive);
        match &self.verdicts[..] {
            [earlier @ .., Some(last)] => bad(last) && earlier.iter().flatten().any(good),
            _ => false,
        }
    }

    /// Returns how its figure changed in the last run, if it did.
    pub fn moved(&self) -> Option<&FigureChange> {
        self.change.as_ref().filter(|change| change.absolute != 0.0)
    }

    /// Returns the figures that exist, each with the index of its run.
    pub fn figures(&self) -> impl DoubleEndedIterator<Item = (usize, &Value)> {
        self.values.iter().enumerate().filter_map(|(place, value)| Some((place, value.as_ref()?)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const ID: &str = "A7-1";

    pub(super) fn figure(value: impl Into<Value>) -> Figure {
        Figure {
            value: value.into(),
            unit: Unit::Bytes,
            probe: "memory.peak".into(),
            interval: None,
            circumstances: [("bound", "< 64 MB"), ("target", "vm:amd64"), ("CPU", "emulated")]
                .map(|(name, value)| (name, value.to_owned()))
                .to_vec(),
        }
    }

    pub(super) fn finding(verdict: Verdict, reason: Reason, figure: Option<Figure>) -> ClaimSummary {
        ClaimSummary { claim: "it is small".into(), verdict, reason, figure }
    }

    pub(super) fn held(figure: Figure) -> ClaimSummary {
        finding(Verdict::Holds, Reason::step("so it was seen"), Some(figure))
    }

    /// Makes the run of a day in November.
    pub(in crate::report) fn run(day: usize, finding: Option<ClaimSummary>) -> ComparedRun {
        ComparedRun {
            about: About {
                run: format!("night-{day}"),
                started: format!("2026-11-{day:02}T02:00:00Z").parse().unwrap(),
                target: "vm:amd64".into(),
                commit: None,
                exit: 0,
                complete: true,
            },
            findings: finding.into_iter().map(|finding| (ID.parse().unwrap(), finding)).collect(),
        }
    }

    pub(super) fn compared(runs: Vec<ComparedRun>) -> Trend {
        Comparison::of(runs).unwrap().claims.remove(0)
    }

    pub(super) fn nights(findings: Vec<ClaimSummary>) -> Trend {
        compared(findings.into_iter().enumerate().map(|(day, finding)| run(day + 1, Some(finding))).collect())
    }

    #[test]
    fn runs_are_ordered_by_when_they_began_and_none_is_compared_with_itself() {
        let there = |day: usize, value: f64| run(day, Some(held(figure(value))));
        let comparison = Comparison::of(vec![there(3, 3.0), there(1, 1.0), there(2, 2.0)]).unwrap();
        let names: Vec<&str> = comparison.runs.iter().map(|run| run.run.as_str()).collect();
        assert_eq!(names, ["night-1", "night-2", "night-3"]);
        assert_eq!(comparison.claims[0].values, [1.0, 2.0, 3.0].map(|value| Some(Value::Number(value))));
        let twice = Comparison::of(vec![there(1, 1.0), there(1, 1.0)]).unwrap_err();
        assert_eq!(twice.to_string(), "run night-1 is named twice: name it once");
        assert!(Comparison::of(vec![there(1, 1.0)]).unwrap_err().to_string().contains("two runs or more"));
    }

    #[test]
    fn programs_read_names_that_stay() {
        let runs = [(1, 4.0), (2, 5.0)].map(|(day, value)| run(day, Some(held(figure(value)))));
        let comparison = Comparison::of(runs.to_vec()).unwrap();
        insta::assert_snapshot!("comparison-json", serde_json::to_string_pretty(&comparison).unwrap());
    }
}
