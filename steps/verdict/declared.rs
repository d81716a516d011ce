//! Applies declared deviations, and finds wrong ones. Pure.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::claims::deviation::{Declared, Deviation, Deviations};
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
        match (self, &deviation.fails) {
            (Failure::Check(check), Declared::Check { probe, relation }) => {
                check.probe == *probe && check.rule.relation() == *relation
            }
            (Failure::Control(name), Declared::Control { control }) => name == control,
            _ => false,
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
    use crate::claims::deviation::tests::DECLARED;

    fn claim() -> ClaimId {
        "A5-7".parse().unwrap()
    }

    fn applying(text: &str, podman: &str) -> Vec<Deviation> {
        let fact = |name: &str| (name == "podman").then(|| podman.to_owned());
        Deviations::parse(text).unwrap().applying(claim(), fact)
    }

    const REASON: &str = "run.status is 0; bound ≠ 0";

    #[test]
    fn a_declaration_excuses_only_its_own_failure_where_and_while_it_is_declared() {
        for (verdict, reason, day, podman, expected) in [
            (Verdict::Fails, REASON, "2027-01-31", "5.4.2", Verdict::KnownDeviation),
            (Verdict::Fails, REASON, "2027-02-01", "5.4.2", Verdict::Fails),
            (Verdict::Fails, REASON, "2026-12-01", "4.9.3", Verdict::Fails),
            (Verdict::Fails, "run.stderr is \"no space left\"", "2026-12-01", "5.4.2", Verdict::Fails),
            (Verdict::Inconclusive, REASON, "2026-12-01", "5.4.2", Verdict::Inconclusive),
            // It is no longer true.
            (Verdict::Holds, REASON, "2026-12-01", "5.4.2", Verdict::Fails),
            (Verdict::Holds, REASON, "2026-12-01", "4.9.3", Verdict::Holds),
        ] {
            let (applied, _) = apply(verdict, reason, &applying(DECLARED, podman), day.parse().unwrap());
            assert_eq!(applied, expected, "{verdict}: {reason} on {day} with {podman}");
        }
    }

    #[test]
    fn a_declaration_that_has_expired_or_is_not_used_is_a_problem_of_its_own() {
        let other = DECLARED.replace("run.status is 0", "run.error is").replace("2027-01-31", "2027-03-31");
        let both = format!("{DECLARED}{other}");
        let problems = |verdict, podman: &str, day: &str| {
            let applying = applying(&both, podman);
            problems_of(&Deviations::parse(&both).unwrap(), claim(), (verdict, REASON), &applying, day.parse().unwrap())
        };
        let name = "the declaration for A5-7 (podman >=5)";
        let unused = format!("{name} is not used, though it is about this platform: remove it");
        assert_eq!(problems(Verdict::KnownDeviation, "5.4.2", "2027-01-31"), [unused]);
        assert!(problems(Verdict::Holds, "4.9.3", "2027-01-31").is_empty());
        let expired = format!("{name} expired on 2027-01-31: renew or remove it");
        assert_eq!(problems(Verdict::NotRun, "4.9.3", "2027-02-01"), [expired]);
    }
}
