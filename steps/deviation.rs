//! Failures that somebody has declared: which claim, where, why, until when.
//!
//! A declared failure is shown as a known deviation, never as holding. A declaration that has expired, or whose claim
//! holds where it says it fails, is itself a failure.

use jiff::civil::Date;
use serde::Deserialize;

use crate::claim::ClaimId;
use crate::verdict::Verdict;

/// One declaration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// The claim that fails.
    pub claim: ClaimId,
    /// Where it fails: every one of these must be a fact of the machine, e.g. `podman = "5."` (a beginning).
    #[serde(default)]
    pub when: std::collections::BTreeMap<String, String>,
    /// What the verdict's reason says where it is this failure and no other: one of these texts.
    pub because: Vec<String>,
    /// Why it fails.
    pub reason: String,
    /// Who declares it.
    pub declared_by: String,
    /// The last day on which the declaration counts.
    pub expires: Date,
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
    /// It is malformed or has an unknown key.
    pub fn parse(text: &str) -> anyhow::Result<Deviations> {
        Ok(Deviations(toml::from_str::<DeviationFile>(text)?.deviation))
    }

    /// The claims that are declared.
    pub fn claims(&self) -> impl Iterator<Item = ClaimId> + '_ {
        self.0.iter().map(|deviation| deviation.claim)
    }

    /// What becomes of a verdict under the declarations: the verdict to show, and what is to be added to its reason.
    /// `fact` gives the machine's facts by name.
    pub fn apply(
        &self,
        claim: ClaimId,
        verdict: Verdict,
        reason: &str,
        today: Date,
        fact: impl Fn(&str) -> Option<String>,
    ) -> (Verdict, Option<String>) {
        let applies = |deviation: &&Deviation| {
            let here = |(name, start): (&String, &String)| fact(name).is_some_and(|value| value.starts_with(start));
            deviation.claim == claim && deviation.when.iter().all(here)
        };
        let Some(deviation) = self.0.iter().find(applies) else { return (verdict, None) };
        match verdict {
            Verdict::Fails if !deviation.because.iter().any(|text| reason.contains(text)) => {
                let said = "the deviation that is declared here is another one".to_owned();
                (Verdict::Fails, Some(said))
            }
            Verdict::Fails if today > deviation.expires => {
                let said = format!("its declaration as a known deviation expired on {}", deviation.expires);
                (Verdict::Fails, Some(said))
            }
            Verdict::Fails => (
                Verdict::KnownDeviation,
                Some(format!(
                    "declared by {} until {}: {}",
                    deviation.declared_by, deviation.expires, deviation.reason
                )),
            ),
            Verdict::Holds => {
                let said = "it holds, yet it is declared as a known deviation here: remove the declaration";
                (Verdict::Fails, Some(said.to_owned()))
            }
            other => (other, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Deviations {
        Deviations::parse(
            "[[deviation]]\nclaim = \"A5-7\"\nwhen = { podman = \"5.\" }\nbecause = [\"run.status is 0\"]\n\
             reason = \"podman 5 finds crun itself\"\ndeclared_by = \"us\"\nexpires = \"2027-01-31\"\n",
        )
        .unwrap()
    }

    fn apply(verdict: Verdict, day: &str, podman: &str) -> Verdict {
        applied(verdict, "run.status is 0; bound ≠ 0", day, podman)
    }

    fn applied(verdict: Verdict, reason: &str, day: &str, podman: &str) -> Verdict {
        let fact = |name: &str| (name == "podman").then(|| podman.to_owned());
        declared().apply("A5-7".parse().unwrap(), verdict, reason, day.parse().unwrap(), fact).0
    }

    #[test]
    fn another_failure_of_the_same_claim_is_no_known_deviation() {
        assert_eq!(applied(Verdict::Fails, "run.stderr is \"no space left\"", "2026-12-01", "5.4.2"), Verdict::Fails);
    }

    #[test]
    fn a_declared_failure_is_a_known_deviation_only_where_and_while_it_is_declared() {
        assert_eq!(apply(Verdict::Fails, "2027-01-31", "5.4.2"), Verdict::KnownDeviation);
        assert_eq!(apply(Verdict::Fails, "2027-02-01", "5.4.2"), Verdict::Fails);
        assert_eq!(apply(Verdict::Fails, "2026-12-01", "4.9.3"), Verdict::Fails);
        assert_eq!(apply(Verdict::Inconclusive, "2026-12-01", "5.4.2"), Verdict::Inconclusive);
    }

    #[test]
    fn a_declaration_that_is_no_longer_true_fails_the_run() {
        assert_eq!(apply(Verdict::Holds, "2026-12-01", "5.4.2"), Verdict::Fails);
        assert_eq!(apply(Verdict::Holds, "2026-12-01", "4.9.3"), Verdict::Holds);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(Deviations::parse("[[deviation]]\nclaim = \"A5-7\"\nuntil = \"x\"\n").is_err());
    }
}
