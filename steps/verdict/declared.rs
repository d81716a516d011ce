//! Applies declared deviations, and finds wrong ones. Pure.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::claims::deviation::{Deviation, Deviations};
use crate::claims::register::ClaimId;
use crate::verdict::{Check, Reason, Verdict};

/// Something that failed, and that a declaration may be about.
#[derive(Clone, Copy, Debug)]
pub enum Failure<'a> {
    Check(&'a Check),
    /// A control that was not caught, by its name.
    Control(&'a str),
}

impl Failure<'_> {
    fn is_declared_by(self, deviation: &Deviation) -> bool {
        match self {
            Failure::Check(Check { probe, rule, .. }) => {
                (deviation.probe.as_ref(), deviation.relation) == (Some(probe), Some(rule.relation()))
            }
            Failure::Control(name) => deviation.control.as_deref() == Some(name),
        }
    }
}

/// A problem with a declaration that the verdict of its claim does not show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    pub kind: ProblemKind,
    pub deviation: Deviation,
    /// In a merged bundle: the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// Its last day is over.
    Expired,
    /// It is about this machine, and nothing that it declares has failed.
    Unused,
}

/// Lists problems with a claim's declarations that its verdict does not show: those that have expired although they are
/// for another platform, and those that its known deviation does not use.
pub fn problems_of(
    deviations: &Deviations,
    claim: ClaimId,
    (verdict, failures): (Verdict, &[Failure]),
    applying: &[Deviation],
    on: Date,
) -> Vec<Problem> {
    let used = |deviation: &Deviation| failures.iter().any(|failure| failure.is_declared_by(deviation));
    // Declarations about the same machines name the ways in which a claim fails there, one of which is enough.
    let any_used = |when| applying.iter().any(|other| other.when == when && used(other));
    let problem = |deviation: &Deviation| {
        let applies = applying.contains(deviation);
        let expired = on > deviation.expires && !(applies && verdict == Verdict::Fails);
        let unused = applies && verdict == Verdict::KnownDeviation && !any_used(deviation.when.clone());
        let kind = match (expired, unused) {
            (true, _) => ProblemKind::Expired,
            (false, true) => ProblemKind::Unused,
            (false, false) => return None,
        };
        Some(Problem { kind, deviation: deviation.clone(), target: None })
    };
    deviations.iter().filter(|deviation| deviation.claim == claim).filter_map(problem).collect()
}

/// Applies the declarations about a claim to its failure for this reason: it is a known deviation if all that failed is
/// declared.
pub fn apply(reason: Reason, failures: &[Failure], applying: &[Deviation], on: Date) -> (Verdict, Reason) {
    let declared = |failure: &Failure| {
        applying.iter().filter(|deviation| failure.is_declared_by(deviation)).max_by_key(|deviation| deviation.expires)
    };
    let all: Option<Vec<&Deviation>> = failures.iter().map(declared).collect();
    let first = all.unwrap_or_default().into_iter().min_by_key(|deviation| deviation.expires);
    let Some(Deviation { declared_by, expires, .. }) = first.cloned() else { return (Verdict::Fails, reason) };
    let failure = Box::new(reason);
    match on > expires {
        true => (Verdict::Fails, Reason::DeclarationExpired { on: expires, failure }),
        false => (Verdict::KnownDeviation, Reason::Declared { by: declared_by, until: expires, failure }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::unit::Unit;
    use crate::claims::deviation::tests::DECLARED;
    use crate::verdict::Rule;

    fn claim() -> ClaimId {
        "A5-7".parse().unwrap()
    }

    fn applying(text: &str, podman: &str) -> Vec<Deviation> {
        let fact = |name: &str| (name == "podman").then(|| podman.to_owned());
        Deviations::parse(text).unwrap().applying(claim(), fact)
    }

    fn check(probe: &str, rule: Rule) -> Check {
        Check { probe: probe.to_owned(), unit: Unit::Count, rule, sources: Vec::new(), samples: Vec::new() }
    }

    #[test]
    fn a_declaration_excuses_only_its_own_failure_where_and_while_it_is_declared() {
        let status = check("run.status", Rule::Differs { value: 0.0.into() });
        let other = check("run.error", Rule::Contains { text: "x".into() });
        let related = check("run.status", Rule::Equals { value: 1.0.into() });
        for (failed, day, podman, expected) in [
            (vec![&status], "2027-01-31", "5.4.2", Verdict::KnownDeviation),
            (vec![&status, &status], "2027-01-31", "5.4.2", Verdict::KnownDeviation),
            (vec![&status], "2027-02-01", "5.4.2", Verdict::Fails),
            (vec![&status], "2026-12-01", "4.9.3", Verdict::Fails),
            (vec![&other], "2026-12-01", "5.4.2", Verdict::Fails),
            (vec![&related], "2026-12-01", "5.4.2", Verdict::Fails),
            // All that fails must be declared.
            (vec![&status, &other], "2026-12-01", "5.4.2", Verdict::Fails),
            (vec![], "2026-12-01", "5.4.2", Verdict::Fails),
        ] {
            let failures: Vec<Failure> = failed.iter().map(|check| Failure::Check(check)).collect();
            let applied = apply(Reason::NoScenario, &failures, &applying(DECLARED, podman), day.parse().unwrap());
            assert_eq!(applied.0, expected, "{failed:?} on {day} with {podman}");
        }
        let control = DECLARED.replace("probe = \"run.status\"\nrelation = \"!=\"", "control = \"a wrong one\"");
        for (name, expected) in [("a wrong one", Verdict::KnownDeviation), ("another", Verdict::Fails)] {
            let applying = applying(&control, "5.4.2");
            let applied =
                apply(Reason::NoScenario, &[Failure::Control(name)], &applying, "2027-01-31".parse().unwrap());
            assert_eq!(applied.0, expected);
        }
    }

    #[test]
    fn a_declaration_that_has_expired_or_is_not_used_is_a_problem_of_its_own() {
        let other = DECLARED.replace("run.status", "run.error").replace("2027-01-31", "2027-03-31");
        let elsewhere = other.replace("podman = \">=5\"", "podman = \">=5.1\"");
        let status = check("run.status", Rule::Differs { value: 0.0.into() });
        let problems = |text: &str, verdict, podman: &str, day: &str| -> Vec<_> {
            let text = format!("{DECLARED}{text}");
            let found = (verdict, &[Failure::Check(&status)][..]);
            let (all, applying) = (Deviations::parse(&text).unwrap(), applying(&text, podman));
            let problems = problems_of(&all, claim(), found, &applying, day.parse().unwrap());
            problems.into_iter().map(|problem| (problem.kind, problem.deviation.when["podman"].clone())).collect()
        };
        let unused = (ProblemKind::Unused, ">=5.1".to_owned());
        assert_eq!(problems(&elsewhere, Verdict::KnownDeviation, "5.4.2", "2027-01-31"), [unused]);
        assert_eq!(problems(&other, Verdict::KnownDeviation, "5.4.2", "2027-01-31"), [], "one of two ways is enough");
        assert_eq!(problems(&other, Verdict::Holds, "4.9.3", "2027-01-31"), []);
        let expired = (ProblemKind::Expired, ">=5".to_owned());
        assert_eq!(problems(&other, Verdict::NotRun, "4.9.3", "2027-02-01"), [expired]);
    }
}
