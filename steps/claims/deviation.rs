//! Declared failures (known deviations): which claim fails, where, why, and until when.
//!
//! A declared failure is reported as a known deviation, never as holding. A declaration is itself a failure if it has
//! expired, if it matches no failure, or if its claim holds where it should fail.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::claims::register::ClaimId;

/// The machine properties that a declaration's `when` may name.
pub const FACTS: [&str; 8] =
    ["distribution", "architecture", "accelerator", "kernel", "podman", "crun", "wasmedge", "systemd"];

/// One declared failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    pub claim: ClaimId,
    /// Where it fails: each of these must be the beginning of a property of the machine, e.g. `podman = "5."`.
    #[serde(default)]
    pub when: BTreeMap<String, String>,
    /// Texts that identify this failure: the verdict's reason contains at least one of them.
    pub because: Vec<String>,
    pub reason: String,
    /// The address or the project file that explains more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    pub declared_by: String,
    /// The last day on which the declaration is valid.
    pub expires: Date,
}

impl Deviation {
    pub fn matches(&self, reason: &str) -> bool {
        self.because.iter().any(|text| reason.contains(text))
    }

    /// Returns a phrase that identifies the declaration in a sentence.
    pub fn name(&self) -> String {
        let facts: Vec<String> = self.when.iter().map(|(name, start)| format!("{name} {start}")).collect();
        match facts.is_empty() {
            true => format!("the declaration for {}", self.claim),
            false => format!("the declaration for {} ({})", self.claim, facts.join(", ")),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        let name = self.name();
        if let Some(unknown) = self.when.keys().find(|name| !FACTS.contains(&name.as_str())) {
            anyhow::bail!("{name}: no machine has a fact \"{unknown}\": name one of {}", FACTS.join(", "));
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

#[derive(Clone, Debug, Default)]
pub struct Deviations(Vec<Deviation>);

impl Deviations {
    pub fn parse(text: &str) -> anyhow::Result<Deviations> {
        let all = toml::from_str::<DeviationFile>(text)?.deviation;
        all.iter().try_for_each(Deviation::check)?;
        Ok(Deviations(all))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Deviation> {
        self.0.iter()
    }

    /// Returns the declarations for a claim on a machine; `fact` looks up a property of the machine by name.
    pub fn applying(&self, claim: ClaimId, fact: impl Fn(&str) -> Option<String>) -> Vec<Deviation> {
        let here = |(name, start): (&String, &String)| fact(name).is_some_and(|value| value.starts_with(start));
        let applies = |deviation: &&Deviation| deviation.claim == claim && deviation.when.iter().all(here);
        self.0.iter().filter(applies).cloned().collect()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const DECLARED: &str = "[[deviation]]\nclaim = \"A5-7\"\nwhen = { podman = \"5.\" }\nbecause = [\"run.status is 0\"]\n\
        reason = \"podman 5 finds crun itself\"\ndeclared_by = \"us\"\nexpires = \"2027-01-31\"\n";

    #[test]
    fn a_declaration_that_could_excuse_anything_or_nothing_is_refused() {
        for (good, bad, expected) in [
            ("reason =", "until = \"x\"\nreason =", "unknown field `until`"),
            ("[\"run.status is 0\"]", "[]", "would excuse any failure"),
            ("[\"run.status is 0\"]", "[\" \"]", "would excuse any failure"),
            ("podman =", "docker =", "no machine has a fact \"docker\": name one of distribution"),
            ("\"us\"", "\"\"", "who says so"),
            ("2027-01-31", "2027-02-31", "day"),
        ] {
            let error = Deviations::parse(&DECLARED.replace(good, bad)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
