//! Computes verdicts from samples. Pure: the same samples and rule give the same verdict on any day and any machine.

pub mod sample_set;
pub mod claim_verdict;
pub mod declared;
mod check;
mod properties;
mod rule;

use serde::{Deserialize, Serialize};

use crate::measurement::Value;

pub use check::{Check, Judged, Source, Statistics};
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
    pub reason: String,
    /// The sample nearest to its bound, or the one that broke it.
    pub value: Option<Value>,
}

impl Outcome {
    fn inconclusive(reason: impl Into<String>) -> Outcome {
        Outcome { verdict: Verdict::Inconclusive, reason: reason.into(), value: None }
    }
}

/// Combines the outcomes of all checks of a claim: failed checks take precedence, then checks that could not be made.
pub fn combine_checks(outcomes: &[&Outcome]) -> Outcome {
    for decisive in [Verdict::Fails, Verdict::Inconclusive] {
        let deciding: Vec<_> = outcomes.iter().filter(|outcome| outcome.verdict == decisive).collect();
        if let Some(first) = deciding.first() {
            let reason = deciding.iter().map(|outcome| outcome.reason.as_str()).collect::<Vec<_>>().join("; ");
            return Outcome { verdict: decisive, reason, value: first.value.clone() };
        }
    }
    let Some(headline) = outcomes.first() else {
        return Outcome::inconclusive("nothing was checked");
    };
    let reason = outcomes.iter().map(|outcome| outcome.reason.as_str()).collect::<Vec<_>>().join("; ");
    Outcome { verdict: Verdict::Holds, reason, value: headline.value.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::unit::Unit;
    use crate::measurement::Sample;
    use jiff::Timestamp;

    const HOUR: &str = "2026-11-23T10:00:00Z";

    fn at(minute: &str) -> Timestamp {
        HOUR.replace("10:00", &format!("10:{minute}")).parse().unwrap()
    }

    fn sample(id: u64, value: impl Into<Value>, unit: Unit) -> Sample {
        Sample { id, at: at("05"), ..Sample::of("hello", "memory.peak", value, unit) }
    }

    fn hello() -> Source {
        Source { subject: "hello".into(), machine: "nano".into(), since: at("00"), until: at("10") }
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
        assert_eq!(fails.reason, "memory.peak is 65 MB, worst of 3 (median 37 MB); bound < 64 MB (hello)");
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
            assert_eq!(outcome.verdict, Verdict::Inconclusive, "{}", outcome.reason);
            assert!(outcome.reason.contains(reason), "{}", outcome.reason);
        };
        for (sample, reason) in [
            (sample(2, 36e6, Unit::Bytes), "memory.peak: 0 of 1 samples are there"),
            (sample(1, -1.0, Unit::Bytes), "plausible"),
            (sample(1, f64::NAN, Unit::Bytes), ""),
            // Megabytes that are labelled as bytes.
            (sample(1, 36.0, Unit::Bytes), "plausible"),
            (sample(1, 36e6, Unit::Seconds), "is in Seconds, not in Bytes"),
            (sample(1, "small", Unit::Bytes), ""),
            (Sample { machine: "mega".into(), ..good.clone() }, "memory.peak: sample 1 is from mega, not from nano"),
            (Sample { at: at("00") - jiff::SignedDuration::from_secs(1), ..good.clone() }, "stale, or a clock jumped"),
            (Sample { subject: "hog".into(), ..good.clone() }, "is of hog, which this check is not about"),
        ] {
            inconclusive(&[sample], vec![hello()], reason);
        }
        inconclusive(&[], vec![hello()], "memory.peak: 0 of 1 samples are there");
        let second = Source { subject: "hello 2".into(), ..hello() };
        let silent = "memory.peak: no sample of it was taken of hello 2 on nano";
        inconclusive(std::slice::from_ref(&good), vec![hello(), second], silent);
        inconclusive(std::slice::from_ref(&good), vec![], "");
        assert_eq!(judge(below(64e6, &[]), &[good]).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn what_is_only_reported_tells_its_range_and_median() {
        let samples = [sample(1, 3e6, Unit::Bytes), sample(2, 1e6, Unit::Bytes), sample(3, 2e6, Unit::Bytes)];
        let judged = Check { rule: Rule::Recorded, ..below(0.0, &[1, 2, 3]) }.judge(&samples);
        assert_eq!(judged.outcome.reason, "memory.peak is 1 MB to 3 MB, median 2 MB of 3");
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
        let says = |text: &str| judge(check(Rule::Contains { text: text.into() }), &log).reason;
        assert_eq!(says("listening"), "image.platform is \"listening on 1883\"; bound says \"listening\"");
        assert!(says("ended").starts_with("image.platform is \"running (the last of 3 lines)\"; bound says \"ended\""));
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
        let outcome = |verdict| Outcome { verdict, reason: verdict.to_string(), value: None };
        let of = |verdicts: &[Verdict]| {
            let outcomes: Vec<Outcome> = verdicts.iter().copied().map(outcome).collect();
            combine_checks(&outcomes.iter().collect::<Vec<_>>()).verdict
        };
        assert_eq!(of(&[Verdict::Holds, Verdict::Inconclusive, Verdict::Fails]), Verdict::Fails);
        assert_eq!(of(&[Verdict::Holds, Verdict::Inconclusive]), Verdict::Inconclusive);
        assert_eq!(of(&[Verdict::Holds, Verdict::Holds]), Verdict::Holds);
        assert_eq!(of(&[]), Verdict::Inconclusive);
    }
}
