//! Computes verdicts from samples. Pure: the same samples and rule give the same verdict on any day and any machine.

pub mod sample_set;
pub mod claim_verdict;
pub mod declared;
pub mod worth;
mod check;
mod properties;
mod reason;
mod rule;

use serde::{Deserialize, Serialize};

use crate::measurement::Value;

pub use check::{Check, Judged, Source};
pub use reason::{Blocked, Bound, Phase, Range, Reason};
pub use rule::Rule;

/// The result for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every check was made, and every sample was within its bound.
    Holds,
    /// A sample was outside its bound.
    Fails,
    /// It could not be judged, because the infrastructure failed or a sample cannot be trusted.
    Inconclusive,
    /// This target cannot judge it.
    NotRun,
    /// It fails as declared, with a reason, a platform and an expiry date.
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The verdict: holds, fails or inconclusive.
    pub verdict: Verdict,
    pub reason: Reason,
    /// The sample nearest to its bound, or the one that broke it.
    pub value: Option<Value>,
}

impl Outcome {
    fn inconclusive(reason: Reason) -> Outcome {
        Outcome { verdict: Verdict::Inconclusive, reason, value: None }
    }
}

/// Combines the outcomes of all checks of a claim: the first that failed decides, else the first that could not be made,
/// else the first.
pub fn combine_checks(outcomes: &[&Outcome]) -> Outcome {
    let first = |verdict| outcomes.iter().find(|outcome| outcome.verdict == verdict);
    let decisive = first(Verdict::Fails).or(first(Verdict::Inconclusive)).or(outcomes.first());
    decisive.map_or_else(|| Outcome::inconclusive(Reason::NothingChecked), |outcome| (*outcome).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::unit::Unit;
    use crate::claims::plan::{Decision, NotJudgedReason, ScenarioRef};
    use crate::claims::register::Requirement;
    use crate::measurement::Sample;
    use crate::verdict::claim_verdict::{Attempt, ScenarioResult};
    use jiff::Timestamp;

    const HOUR: &str = "2026-11-23T10:00:00Z";

    fn at(minute: &str) -> Timestamp {
        HOUR.replace("10:00", &format!("10:{minute}")).parse().unwrap()
    }

    fn sample(id: u64, value: impl Into<Value>, unit: Unit) -> Sample {
        Sample { id, at: at("05"), ..Sample::of("hello", "memory.peak", value, unit) }
    }

    fn hello() -> Source {
        Source { subject: "hello".into(), machine: "nano".into(), kind: None, since: at("00"), until: at("10") }
    }

    fn below(bound: f64, samples: &[u64]) -> Check {
        let (rule, sources) = (Rule::Below { bound }, vec![hello()]);
        Check { probe: "memory.peak".into(), unit: Unit::Bytes, rule, sources, samples: samples.to_vec() }
    }

    fn judge(check: Check, samples: &[Sample]) -> Outcome {
        check.judge(samples).outcome
    }

    #[test]
    fn the_verdict_is_on_the_worst_sample() {
        let samples = [sample(1, 36e6, Unit::Bytes), sample(2, 65e6, Unit::Bytes), sample(3, 37e6, Unit::Bytes)];
        let holds = judge(below(70e6, &[1, 2, 3]), &samples);
        assert_eq!((holds.verdict, holds.value), (Verdict::Holds, Some(Value::Number(65e6))));
        let fails = judge(below(64e6, &[1, 2, 3]), &samples);
        assert_eq!(fails.verdict, Verdict::Fails);
        let reason = serde_json::to_value(&fails.reason).unwrap();
        let expected = serde_json::json!({
            "kind": "bound", "probe": "memory.peak", "relation": "<", "bound": 64e6, "value": 65e6, "unit": "bytes",
            "subject": "hello", "all": { "n": 3, "min": 36e6, "median": 37e6, "max": 65e6 },
        });
        assert_eq!(reason, expected);
        assert_eq!(serde_json::from_value::<Reason>(reason).unwrap(), fails.reason);
    }

    #[test]
    fn a_bound_is_sharp() {
        let samples = [sample(1, 64e6, Unit::Bytes)];
        assert_eq!(judge(below(64e6, &[1]), &samples).verdict, Verdict::Fails);
        let at_most = Check { rule: Rule::AtMost { bound: 64e6 }, ..below(0.0, &[1]) };
        assert_eq!(judge(at_most, &samples).verdict, Verdict::Holds);
    }

    #[test]
    fn what_is_missing_absurd_or_from_elsewhere_never_holds() {
        let good = sample(1, 36e6, Unit::Bytes);
        assert_eq!(judge(below(64e6, &[1]), std::slice::from_ref(&good)).verdict, Verdict::Holds);
        let inconclusive = |samples: &[Sample], sources: Vec<Source>, reason: &str| {
            let outcome = judge(Check { sources, ..below(64e6, &[1]) }, samples);
            assert_eq!(outcome.verdict, Verdict::Inconclusive, "{outcome:?}");
            assert_eq!(serde_json::to_value(&outcome.reason).unwrap()["kind"], reason, "{outcome:?}");
        };
        for (sample, reason) in [
            (sample(2, 36e6, Unit::Bytes), "missing-samples"),
            (sample(1, -1.0, Unit::Bytes), "implausible"),
            (sample(1, f64::NAN, Unit::Bytes), "implausible"),
            // Megabytes that are labelled as bytes.
            (sample(1, 36.0, Unit::Bytes), "implausible"),
            (sample(1, 36e6, Unit::Seconds), "wrong-unit"),
            (sample(1, "small", Unit::Bytes), "implausible"),
            (Sample { machine: "mega".into(), ..good.clone() }, "stray-sample"),
            (Sample { at: at("00") - jiff::SignedDuration::from_secs(1), ..good.clone() }, "stray-sample"),
            (Sample { subject: "hog".into(), ..good.clone() }, "stray-sample"),
        ] {
            inconclusive(&[sample], vec![hello()], reason);
        }
        inconclusive(&[], vec![hello()], "missing-samples");
        let second = Source { subject: "hello 2".into(), ..hello() };
        inconclusive(std::slice::from_ref(&good), vec![hello(), second], "no-sample-of");
        inconclusive(std::slice::from_ref(&good), vec![], "stray-sample");
        assert_eq!(judge(below(64e6, &[]), &[good]).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn what_is_only_reported_tells_its_range_and_median() {
        let samples = [sample(1, 3e6, Unit::Bytes), sample(2, 1e6, Unit::Bytes), sample(3, 2e6, Unit::Bytes)];
        let judged = Check { rule: Rule::Recorded, ..below(0.0, &[1, 2, 3]) }.judge(&samples);
        assert_eq!((judged.outcome.verdict, judged.outcome.value), (Verdict::Holds, Some(Value::Number(2e6))));
        let statistics = judged.statistics.unwrap();
        assert_eq!((statistics.n, statistics.min, statistics.median, statistics.max), (3, 1e6, 2e6, 3e6));
    }

    #[test]
    fn texts_are_compared_as_texts() {
        let check = |rule| Check { probe: "image.platform".into(), unit: Unit::Text, rule, ..below(0.0, &[1]) };
        let text = |seen: &str| Sample { probe: "image.platform".into(), ..sample(1, seen, Unit::Text) };
        let seen = [text("wasi/wasm")];
        let equals = |text: &str| judge(check(Rule::Equals { value: text.into() }), &seen).verdict;
        assert_eq!(equals("wasi/wasm"), Verdict::Holds);
        assert_eq!(equals("linux/amd64"), Verdict::Fails);
        assert_eq!(judge(check(Rule::Equals { value: 3.0.into() }), &seen).verdict, Verdict::Inconclusive);
        assert_eq!(judge(check(Rule::Contains { text: "wasm".into() }), &seen).verdict, Verdict::Holds);
        let log = [text("starting\nlistening on 1883\nrunning")];
        let says = |text: &str| judge(check(Rule::Contains { text: text.into() }), &log).value;
        assert_eq!(says("listening"), Some("listening on 1883".into()), "the line that matters");
        assert_eq!(says("ended"), Some("running".into()), "the last line");
        let newer = |version: &str, seen: &str| {
            let rule = Rule::AtLeastVersion { version: version.to_owned() };
            judge(check(rule), &[text(seen)]).verdict
        };
        assert_eq!(newer("4.9", "4.10.0"), Verdict::Holds);
        assert_eq!(newer("4.9", "4.9"), Verdict::Holds);
        assert_eq!(newer("4.9", "4.3.1+ds1"), Verdict::Fails);
        assert_eq!(newer("4.9", "unknown"), Verdict::Inconclusive);
        assert_eq!(judge(check(Rule::Differs { value: "none".into() }), &[text(" ")]).verdict, Verdict::Inconclusive);
        assert_eq!(judge(check(Rule::Below { bound: 3.0 }), &seen).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn an_address_has_a_shape_or_it_has_not() {
        let rule = Rule::Shape { shape: "public.ecr.aws/*/*".to_owned() };
        let accepts = |seen: &str| rule.accepts(&seen.into());
        for public in ["public.ecr.aws/x1y2z3a4/assay-20261123-040232-114c", "public.ecr.aws/a/b.c_d"] {
            assert_eq!(accepts(public), Some(true), "{public}");
        }
        for other in [
            "RepositoryAlreadyExistsException: the name is taken",
            "https://public.ecr.aws/a/b",
            "public.ecr.aws/a",
            "public.ecr.aws/a/b/c",
            "public.ecr.aws/a/",
            "public.ecr.aws//b",
            "public.ecr.aws/A/b",
            "public.ecr.aws/a/b:1",
            "public.ecr.aws/a/-b",
            "public.ecr.aws.example.org/a/b",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/b",
        ] {
            assert_eq!(accepts(other), Some(false), "{other}");
        }
        assert_eq!(rule.accepts(&1.0.into()), None);
        assert!(rule.broken_by(Unit::Text).iter().all(|value| rule.accepts(value) == Some(false)));
        assert_eq!(rule.format(Unit::Text), "as public.ecr.aws/*/*");
    }

    #[test]
    fn one_check_that_fails_decides_and_no_check_at_all_is_inconclusive() {
        let outcome = |verdict| Outcome { verdict, reason: Reason::NothingChecked, value: None };
        let of = |verdicts: &[Verdict]| {
            let outcomes: Vec<Outcome> = verdicts.iter().copied().map(outcome).collect();
            combine_checks(&outcomes.iter().collect::<Vec<_>>()).verdict
        };
        assert_eq!(of(&[Verdict::Holds, Verdict::Inconclusive, Verdict::Fails]), Verdict::Fails);
        assert_eq!(of(&[Verdict::Holds, Verdict::Inconclusive]), Verdict::Inconclusive);
        assert_eq!(of(&[Verdict::Holds, Verdict::Holds]), Verdict::Holds);
        assert_eq!(of(&[]), Verdict::Inconclusive);
    }

    #[test]
    fn what_is_only_recorded_needs_no_more_than_its_pairs() {
        let at = ScenarioRef { file: "a.feature".into(), line: 1, name: "it starts".into() };
        let needs = |what| Decision::MeasureOnly(NotJudgedReason::Needs { what });
        let (only, without_wasm) = (needs(Requirement::NativeCpu), needs(Requirement::Wasm));
        let few = Reason::Pairs { probe: "ratio.start.time".into(), pairs: 2, looks: vec![7] };
        for (decision, reason, expected) in [
            (&only, &few, Verdict::NotRun),
            (&Decision::Run, &few, Verdict::Inconclusive),
            (&only, &Reason::step("the machine is gone"), Verdict::Inconclusive),
            (&without_wasm, &Reason::step("podman run exited with code 126"), Verdict::NotRun),
        ] {
            let attempts = vec![Attempt::new(Vec::new(), Some(reason.clone()))];
            let judged = ScenarioResult::new(&at, decision.clone(), attempts).judged(&[], jiff::civil::Date::default());
            assert_eq!(judged.verdict, expected, "{decision:?}, {reason:?}");
        }
    }
}
