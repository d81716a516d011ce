//! Failures that somebody has declared: which claim, where, why, until when.
//!
//! A declared failure is shown as a known deviation, never as holding. A declaration that has expired, that nothing
//! bears out, or whose claim holds where it says it fails, is itself a failure.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::claim::ClaimId;
use crate::facts::Facts;
use crate::verdict::Verdict;

/// One declaration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// The claim that fails.
    pub claim: ClaimId,
    /// Where it fails: every one of these must be a fact of the machine, e.g. `podman = "5."` (a beginning).
    #[serde(default)]
    pub when: BTreeMap<String, String>,
    /// What the verdict's reason says where it is this failure and no other: one of these texts.
    pub because: Vec<String>,
    /// Why it fails.
    pub reason: String,
    /// Where more is said about it: an address, or a file of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Who declares it.
    pub declared_by: String,
    /// The last day on which the declaration counts.
    pub expires: Date,
}

impl Deviation {
    fn matches(&self, reason: &str) -> bool {
        self.because.iter().any(|text| reason.contains(text))
    }

    /// Which declaration it is, in a sentence about it.
    fn name(&self) -> String {
        let facts: Vec<String> = self.when.iter().map(|(name, start)| format!("{name} {start}")).collect();
        match facts.is_empty() {
            true => format!("the declaration for {}", self.claim),
            false => format!("the declaration for {} ({})", self.claim, facts.join(", ")),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        let name = self.name();
        if let Some(unknown) = self.when.keys().find(|name| !Facts::NAMES.contains(&name.as_str())) {
            anyhow::bail!("{name}: no machine has a fact \"{unknown}\": name one of {}", Facts::NAMES.join(", "));
        }
        let empty = |text: &String| text.trim().is_empty();
        anyhow::ensure!(
            !self.because.is_empty() && !self.because.iter().any(empty),
            "{name}: \"because\" is empty, which would excuse any failure: quote what the verdict's reason says"
        );
        anyhow::ensure!(!empty(&self.reason) && !empty(&self.declared_by), "{name}: say why it fails, and who says so");
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviationFile {
    #[serde(default)]
    deviation: Vec<Deviation>,
}

/// All declarations.
#[derive(Clone, Debug, Default)]
pub struct Deviations(Vec<Deviation>);

impl Deviations {
    /// Reads the text of `deviations.toml`.
    ///
    /// # Errors
    /// It is malformed, has an unknown key, or a declaration that could excuse anything or nothing.
    pub fn parse(text: &str) -> anyhow::Result<Deviations> {
        let all = toml::from_str::<DeviationFile>(text)?.deviation;
        all.iter().try_for_each(Deviation::check)?;
        Ok(Deviations(all))
    }

    /// The claims that are declared.
    pub fn claims(&self) -> impl Iterator<Item = ClaimId> + '_ {
        self.0.iter().map(|deviation| deviation.claim)
    }

    /// What is declared about a claim on a machine; `fact` gives the machine's facts by name.
    pub fn applying(&self, claim: ClaimId, fact: impl Fn(&str) -> Option<String>) -> Vec<Deviation> {
        let here = |(name, start): (&String, &String)| fact(name).is_some_and(|value| value.starts_with(start));
        let applies = |deviation: &&Deviation| deviation.claim == claim && deviation.when.iter().all(here);
        self.0.iter().filter(applies).cloned().collect()
    }

    /// What is wrong with the declarations about a claim beyond what its verdict says: those that have expired though
    /// they are about another platform, and those that its known deviation does not need.
    pub fn problems(
        &self,
        claim: ClaimId,
        (verdict, reason): (Verdict, &str),
        applying: &[Deviation],
        on: Date,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        for deviation in self.0.iter().filter(|deviation| deviation.claim == claim) {
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
}

/// What becomes of a verdict under what is declared about its claim here: the verdict to show, and what is to be added
/// to its reason.
pub fn apply(verdict: Verdict, reason: &str, applying: &[Deviation], on: Date) -> (Verdict, Option<String>) {
    let Some(first) = applying.first() else { return (verdict, None) };
    let said = match (verdict, applying.iter().find(|deviation| deviation.matches(reason))) {
        (Verdict::Fails, None) => "the deviation that is declared here is another one".to_owned(),
        (Verdict::Fails, Some(deviation)) if on > deviation.expires => {
            format!("its declaration as a known deviation expired on {}", deviation.expires)
        }
        (Verdict::Fails, Some(deviation)) => {
            let Deviation { declared_by, expires, reason, .. } = deviation;
            let link = deviation.link.as_ref().map(|link| format!(" ({link})")).unwrap_or_default();
            let said = format!("declared by {declared_by} until {expires}: {reason}{link}");
            return (Verdict::KnownDeviation, Some(said));
        }
        (Verdict::Holds, _) => format!("it holds, yet {} says that it fails here: remove it", first.name()),
        (other, _) => return (other, None),
    };
    (Verdict::Fails, Some(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &str = "[[deviation]]\nclaim = \"A5-7\"\nwhen = { podman = \"5.\" }\nbecause = [\"run.status is 0\"]\n\
        reason = \"podman 5 finds crun itself\"\ndeclared_by = \"us\"\nexpires = \"2027-01-31\"\n";

    fn claim() -> ClaimId {
        "A5-7".parse().unwrap()
    }

    fn applying(text: &str, podman: &str) -> Vec<Deviation> {
        let fact = |name: &str| (name == "podman").then(|| podman.to_owned());
        Deviations::parse(text).unwrap().applying(claim(), fact)
    }

    fn applied(verdict: Verdict, reason: &str, day: &str, podman: &str) -> Verdict {
        apply(verdict, reason, &applying(DECLARED, podman), day.parse().unwrap()).0
    }

    const REASON: &str = "run.status is 0; bound ≠ 0";

    #[test]
    fn a_declared_failure_is_a_known_deviation_only_where_and_while_it_is_declared() {
        assert_eq!(applied(Verdict::Fails, REASON, "2027-01-31", "5.4.2"), Verdict::KnownDeviation);
        assert_eq!(applied(Verdict::Fails, REASON, "2027-02-01", "5.4.2"), Verdict::Fails);
        assert_eq!(applied(Verdict::Fails, REASON, "2026-12-01", "4.9.3"), Verdict::Fails);
        assert_eq!(applied(Verdict::Inconclusive, REASON, "2026-12-01", "5.4.2"), Verdict::Inconclusive);
    }

    #[test]
    fn another_failure_of_the_same_claim_is_no_known_deviation() {
        let other = "run.stderr is \"no space left\"";
        assert_eq!(applied(Verdict::Fails, other, "2026-12-01", "5.4.2"), Verdict::Fails);
    }

    #[test]
    fn a_declaration_that_is_no_longer_true_fails_the_run() {
        assert_eq!(applied(Verdict::Holds, REASON, "2026-12-01", "5.4.2"), Verdict::Fails);
        assert_eq!(applied(Verdict::Holds, REASON, "2026-12-01", "4.9.3"), Verdict::Holds);
    }

    #[test]
    fn a_declaration_that_has_expired_or_is_not_used_is_a_problem_of_its_own() {
        let other = DECLARED.replace("run.status is 0", "run.error is").replace("2027-01-31", "2027-03-31");
        let both = format!("{DECLARED}{other}");
        let problems = |verdict, podman: &str, day: &str| {
            let applying = applying(&both, podman);
            Deviations::parse(&both).unwrap().problems(claim(), (verdict, REASON), &applying, day.parse().unwrap())
        };
        let name = "the declaration for A5-7 (podman 5.)";
        let unused = format!("{name} is not used, though it is about this platform: remove it");
        assert_eq!(problems(Verdict::KnownDeviation, "5.4.2", "2027-01-31"), [unused]);
        assert!(problems(Verdict::Holds, "4.9.3", "2027-01-31").is_empty());
        let expired = format!("{name} expired on 2027-01-31: renew or remove it");
        assert_eq!(problems(Verdict::NotRun, "4.9.3", "2027-02-01"), [expired]);
    }

    #[test]
    fn a_declaration_that_could_excuse_anything_or_nothing_is_refused() {
        for (good, bad, said) in [
            ("reason =", "until = \"x\"\nreason =", "unknown field `until`"),
            ("[\"run.status is 0\"]", "[]", "would excuse any failure"),
            ("[\"run.status is 0\"]", "[\" \"]", "would excuse any failure"),
            ("podman =", "docker =", "no machine has a fact \"docker\": name one of distribution"),
            ("\"us\"", "\"\"", "who says so"),
            ("2027-01-31", "2027-02-31", "day"),
        ] {
            let error = Deviations::parse(&DECLARED.replace(good, bad)).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
