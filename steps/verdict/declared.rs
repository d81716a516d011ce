//! Applies declared deviations, and finds wrong ones. Pure.

use jiff::civil::Date;

use crate::claims::deviation::{Deviation, Deviations};
use crate::claims::register::ClaimId;
use crate::verdict::Verdict;

/// Lists problems with a claim's declarations that its verdict does not show: those that have expired although they are
/// for another platform, and those that its known deviation does not use.
pub fn problems_of(
    deviations: &Deviations,
    claim: ClaimId,
    (verdict, reason): (Verdict, &str),
    applying: &[Deviation],
    on: Date,
) -> Vec<String> {
    let mut problems = Vec::new();
    for deviation in deviations.iter().filter(|deviation| deviation.claim == claim) {
        let name = deviation.name();
        let applies = applying.contains(deviation);
        if on > deviation.expires && !(applies && verdict == Verdict::Fails) {
            problems.push(format!("{name} expired on {}: renew or remove it", deviation.expires));
        } else if applies && verdict == Verdict::KnownDeviation && !deviation.matches(reason) {
            problems.push(format!("{name} is not used, though it is about this platform: remove it"));
        }
    }
    problems
}

/// Applies the declarations about a claim to its verdict. Returns the new verdict, and a text to add to its reason.
pub fn apply(verdict: Verdict, reason: &str, applying: &[Deviation], on: Date) -> (Verdict, Option<String>) {
    let Some(first) = applying.first() else { return (verdict, None) };
    let printed = match (verdict, applying.iter().find(|deviation| deviation.matches(reason))) {
        (Verdict::Fails, None) => "the deviation that is declared here is another one".to_owned(),
        (Verdict::Fails, Some(deviation)) if on > deviation.expires => {
            format!("its declaration as a known deviation expired on {}", deviation.expires)
        }
        (Verdict::Fails, Some(deviation)) => {
            let Deviation { declared_by, expires, reason, .. } = deviation;
            let link = deviation.link.as_ref().map(|link| format!(" ({link})")).unwrap_or_default();
            let printed = format!("declared by {declared_by} until {expires}: {reason}{link}");
            return (Verdict::KnownDeviation, Some(printed));
        }
        (Verdict::Holds, _) => format!("it holds, yet {} says that it fails here: remove it", first.name()),
        (other, _) => return (other, None),
    };
    (Verdict::Fails, Some(printed))
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
