//! Declared failures (known deviations): which claim fails, where, why, and until when.
//!
//! A declared failure is reported as a known deviation, never as holding. A declaration is itself a failure if it has
//! expired, if it matches no failure, or if its claim holds where it should fail.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::base::version::{Version, VersionRange};
use crate::claims::register::ClaimId;

/// How a declaration names values of a fact about a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FactKind {
    /// A range of versions.
    Version,
    /// The whole text, or whole words at its beginning.
    Text,
    /// One of several words.
    Capability,
}

/// The facts about a machine that a declaration's `when` may name.
const FACTS: [(&str, FactKind); 11] = [
    ("podman", FactKind::Version),
    ("crun", FactKind::Version),
    ("wasmedge", FactKind::Version),
    ("systemd", FactKind::Version),
    ("kernel", FactKind::Version),
    ("wasm", FactKind::Capability),
    ("controllers", FactKind::Capability),
    ("distribution", FactKind::Text),
    ("platform", FactKind::Text),
    ("architecture", FactKind::Text),
    ("accelerator", FactKind::Text),
];

/// Returns the facts that declarations may name, from a description of a machine such as the one in `run.json`. What is
/// not known, or not installed, is left out.
pub fn facts(machine: &Json) -> BTreeMap<String, String> {
    let words = |name: &str| {
        let all = machine.get(name)?.as_array()?;
        Some(all.iter().filter_map(Json::as_str).collect::<Vec<_>>()).filter(|words| !words.is_empty())
    };
    let fact = |name: &str| match name {
        // What crun runs WebAssembly with, as it was built.
        "wasm" => {
            let engines = words("crun_features")?.into_iter().filter_map(|word| word.strip_prefix("+WASM:"));
            Some(engines.collect::<Vec<_>>().join(" ")).map(|all| if all.is_empty() { "none".to_owned() } else { all })
        }
        "controllers" => words(name).map(|words| words.join(" ")),
        _ => machine.get(name)?.as_str().map(str::to_owned),
    };
    FACTS.iter().filter_map(|(name, _)| Some(((*name).to_owned(), fact(name)?))).collect()
}

fn fits(name: &str, wanted: &str, value: &str) -> bool {
    match FACTS.iter().find(|(fact, _)| *fact == name) {
        Some((_, FactKind::Version)) => {
            let range = wanted.parse::<VersionRange>().ok();
            range.zip(Version::parse(value)).is_some_and(|(range, version)| range.contains(&version))
        }
        Some((_, FactKind::Text)) => {
            value.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        }
        Some((_, FactKind::Capability)) => value.split(' ').any(|word| word == wanted),
        None => false,
    }
}

/// How a check compares values with its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    #[serde(rename = "<")]
    Below,
    #[serde(rename = "<=", alias = "≤")]
    AtMost,
    #[serde(rename = ">=", alias = "≥")]
    AtLeast,
    #[serde(rename = "median>=", alias = "median≥")]
    MedianAtLeast,
    #[serde(rename = "between")]
    Between,
    #[serde(rename = "=")]
    Equals,
    #[serde(rename = "!=", alias = "≠")]
    Differs,
    #[serde(rename = "version>=")]
    AtLeastVersion,
    #[serde(rename = "contains")]
    Contains,
    #[serde(rename = "shape")]
    Shape,
    #[serde(rename = "reported")]
    Reported,
}

/// One declared failure: of a check, by its probe and relation, or of a control that is not caught.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    pub claim: ClaimId,
    /// Where it fails: each of these must be true of the machine, e.g. `podman = ">=5"` or `wasm = "wasmedge"`.
    #[serde(default)]
    pub when: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    pub reason: String,
    /// The address or the project file that explains more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    pub declared_by: String,
    /// The last day on which the declaration is valid.
    pub expires: Date,
}

impl Deviation {
    /// Returns a phrase that identifies the declaration in a sentence.
    pub fn name(&self) -> String {
        let facts: Vec<String> = self.when.iter().map(|(name, wanted)| format!("{name} {wanted}")).collect();
        match facts.is_empty() {
            true => format!("the declaration for {}", self.claim),
            false => format!("the declaration for {} ({})", self.claim, facts.join(", ")),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        let name = self.name();
        for (fact, wanted) in &self.when {
            let kind = FACTS.iter().find(|(known, _)| known == fact).map(|(_, kind)| *kind);
            let known = || FACTS.map(|(known, _)| known).join(", ");
            let kind =
                kind.with_context(|| format!("{name}: no machine has a fact \"{fact}\": name one of {}", known()))?;
            if kind == FactKind::Version {
                wanted.parse::<VersionRange>().map_err(|error| anyhow::anyhow!("{name}: {fact} = {error}"))?;
            }
            anyhow::ensure!(!wanted.is_empty(), "{name}: its {fact} is empty: write a value, or leave it out");
        }
        let empty = |text: &String| text.trim().is_empty();
        anyhow::ensure!(
            self.probe.is_some() == self.relation.is_some() && self.probe.is_some() != self.control.is_some(),
            "{name}: say what fails: probe and relation of a check, such as probe = \"memory.peak\" and relation = \"<\", \
             or the name of a control that is not caught"
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
        let here = |(name, wanted): (&String, &String)| fact(name).is_some_and(|value| fits(name, wanted, &value));
        let applies = |deviation: &&Deviation| deviation.claim == claim && deviation.when.iter().all(here);
        self.0.iter().filter(applies).cloned().collect()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const DECLARED: &str = "[[deviation]]\nclaim = \"A5-7\"\nwhen = { podman = \">=5\" }\nprobe = \"run.status\"\nrelation = \"!=\"\n\
        reason = \"podman 5 finds crun itself\"\ndeclared_by = \"us\"\nexpires = \"2027-01-31\"\n";

    #[test]
    fn a_declaration_that_could_excuse_anything_or_nothing_is_refused() {
        for (good, bad, expected) in [
            ("reason =", "until = \"x\"\nreason =", "unknown field `until`"),
            ("relation = \"!=\"", "", "say what fails: probe and relation of a check"),
            ("probe = \"run.status\"", "", "say what fails: probe and relation of a check"),
            ("relation = \"!=\"", "relation = \"!=\"\ncontrol = \"x\"", "say what fails"),
            ("!=", "about", "unknown variant `about`, expected one of `<`"),
            ("podman =", "docker =", "no machine has a fact \"docker\": name one of podman"),
            (">=5", "5.", "podman = \"5.\" is not a range of versions: write it as \">=5, <6\""),
            ("podman = \">=5\"", "wasm = \"\"", "its wasm is empty"),
            ("\"us\"", "\"\"", "who says so"),
            ("2027-01-31", "2027-02-31", "day"),
        ] {
            let error = Deviations::parse(&DECLARED.replace(good, bad)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_declaration_is_about_a_machine_of_which_all_it_says_is_true() {
        let debian = serde_json::json!({
            "distribution": "Debian GNU/Linux 13 (trixie)", "architecture": "amd64", "accelerator": "tcg",
            "kernel": "6.12.107+deb13-cloud-amd64", "podman": "5.4.2", "crun": "1.21", "wasmedge": "0.14.1+dfsg-3.1",
            "crun_features": ["+SYSTEMD", "+WASM:wasmedge"], "controllers": ["cpu", "memory"],
        });
        let mut forky = debian.clone();
        (forky["crun"], forky["crun_features"]) = ("1.28".into(), ["+SYSTEMD"].into());
        for (when, on_debian, on_forky) in [
            ("crun = \">=1.14, <1.30\"", true, true),
            ("crun = \">=1.14, <1.30\", wasm = \"wasmedge\"", true, false),
            ("wasm = \"none\"", false, true),
            ("wasm = \"wasm\"", false, false),
            ("controllers = \"memory\"", true, true),
            ("controllers = \"pids\"", false, false),
            ("kernel = \">=6.12\"", true, true),
            ("distribution = \"Debian GNU/Linux 13\"", true, true),
            ("distribution = \"Debian GNU/Linux 1\"", false, false),
            ("architecture = \"amd64\", accelerator = \"kvm\"", false, false),
            // What is not there is in no range.
            ("systemd = \"<300\"", false, false),
        ] {
            let text = DECLARED.replace("podman = \">=5\"", when);
            let applies = |machine: &Json| {
                let known = facts(machine);
                let declared = Deviations::parse(&text).unwrap();
                !declared.applying("A5-7".parse().unwrap(), |name| known.get(name).cloned()).is_empty()
            };
            assert_eq!((applies(&debian), applies(&forky)), (on_debian, on_forky), "{when}");
        }
    }
}
