//! The register of claims: what the annex promises, its published figures, and what a target needs to judge each claim.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::base::unit::{Bytes, Duration, Ratio, Unit};

/// A claim's id: `A6-4` is the fourth claim of section A.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId {
    section: u8,
    number: u8,
}

impl ClaimId {
    pub fn section(self) -> u8 {
        self.section
    }
}

impl std::fmt::Display for ClaimId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(&format!("A{}-{}", self.section, self.number))
    }
}

impl FromStr for ClaimId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a claim id: write it as A6-4");
        let (section, number) = text.strip_prefix('A').and_then(|rest| rest.split_once('-')).ok_or_else(wrong)?;
        let part = |digits: &str| digits.parse().map_err(|_| wrong());
        Ok(ClaimId { section: part(section)?, number: part(number)? })
    }
}

impl serde::Serialize for ClaimId {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClaimId {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a machine must offer before a claim can be judged on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// A 64-bit Arm processor, emulated or not.
    Arm64,
    /// A processor at native speed. Without one, the claim is measured and recorded but not judged.
    NativeCpu,
    /// A `MemTotal` of its own, of the device's size.
    OwnMemory,
    OwnKernel,
    /// A page cache of its own, which may be emptied.
    ColdCache,
    /// The memory controller for the user's units: limits are enforced, and peaks are counted.
    MemoryLimit,
    /// The cpu controller for the user's units. Without it, the claim is measured and recorded but not judged.
    CpuLimit,
    Aws,
    /// A machine that stands for the annex's device.
    Device,
    /// A machine from which assay may briefly take something away.
    OwnMachine,
    Root,
    /// A crun that runs WebAssembly, so that what is measured is of the workload.
    Wasm,
    /// A systemd that generates units from the user's Quadlets.
    Units,
    /// The annex's own text, which the user names.
    AnnexText,
    /// No machine: it is about what is built, packed, published or computed on this host.
    Host,
}

impl Requirement {
    /// Returns its name, as `needs` has it: `native-cpu`.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
    }

    /// Returns whether a claim is worth measuring without it, though it cannot be judged then.
    pub fn still_measured(self) -> bool {
        matches!(self, Requirement::NativeCpu | Requirement::CpuLimit)
    }
}

/// What scenarios of several claims share, so that the run starts it early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shared {
    Device,
    Registry,
    AnnexRun,
    RepeatedRuns,
    UnlimitedRuns,
    BaselineRuns,
}

/// How far the figures of two runs may be apart and still be the same: a share of the first, or an amount in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum Margin {
    Share(f64),
    Of(f64, Unit),
}

impl TryFrom<String> for Margin {
    type Error = String;

    fn try_from(text: String) -> Result<Margin, String> {
        let share = text.parse().map(|share: Ratio| Margin::Share(share.value())).ok();
        let size = || text.parse().map(|size: Bytes| Margin::Of(size.value(), Unit::Bytes)).ok();
        let time = || text.parse().map(|time: Duration| Margin::Of(time.value(), Unit::Seconds)).ok();
        share
            .or_else(size)
            .or_else(time)
            .ok_or_else(|| format!("\"{text}\" is not a margin: write it as 10 %, 2 MB or 50 ms"))
    }
}

impl Claim {
    /// Returns whether a scenario of it is about time or CPU, or shares what it measures with one that may be: then the
    /// rest of the host must be at rest.
    pub fn measured_at_rest(&self, shared: bool) -> bool {
        let runs = |one: &Shared| !matches!(one, Shared::Device | Shared::Registry);
        self.needs.contains(&Requirement::NativeCpu) || (shared && self.uses.iter().any(runs))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub id: ClaimId,
    pub claim: String,
    /// The figure that the annex publishes.
    #[serde(default)]
    pub published: Option<String>,
    /// What the annex gives as typical of conventional containers, if it compares the workload with them.
    #[serde(default)]
    pub typical: Option<String>,
    /// The bound that the claim promises and is judged by.
    pub bound: String,
    /// How far its figures may be from those of another run that agrees.
    #[serde(default)]
    pub margin: Option<Margin>,
    /// The wrong subject that the same check must reject, if the claim has a control.
    #[serde(default)]
    pub control: Option<String>,
    #[serde(default)]
    pub needs: Vec<Requirement>,
    /// What its scenarios share with those of other claims.
    #[serde(default)]
    pub uses: Vec<Shared>,
}

/// All claims, ordered by id.
#[derive(Clone, Debug)]
pub struct Register(BTreeMap<ClaimId, Claim>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterFile {
    claim: Vec<Claim>,
}

impl Register {
    pub fn parse(text: &str) -> anyhow::Result<Register> {
        let file: RegisterFile = toml::from_str(text)?;
        let mut claims = BTreeMap::new();
        for claim in file.claim {
            let id = claim.id;
            let texts = [
                ("claim", Some(&claim.claim)),
                ("bound", Some(&claim.bound)),
                ("published", claim.published.as_ref()),
                ("typical", claim.typical.as_ref()),
                ("control", claim.control.as_ref()),
            ];
            for (key, text) in texts {
                let stated = text.is_none_or(|text| !text.trim().is_empty());
                anyhow::ensure!(stated, "claim {id}: its {key} is empty: write what it is");
            }
            anyhow::ensure!(claims.insert(id, claim).is_none(), "claim {id} is there twice: remove one");
        }
        Ok(Register(claims))
    }

    pub fn get(&self, id: ClaimId) -> Option<&Claim> {
        self.0.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_ordered_by_number_and_not_by_letter() {
        let mut ids: Vec<ClaimId> = ["A10-1", "A2-4", "A2-12"].iter().map(|id| id.parse().unwrap()).collect();
        ids.sort();
        assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), ["A2-4", "A2-12", "A10-1"]);
        assert!("B1-1".parse::<ClaimId>().is_err() && "A1".parse::<ClaimId>().is_err());
    }

    #[test]
    fn a_margin_is_a_share_or_an_amount() {
        let margin = |text: &str| Margin::try_from(text.to_owned());
        assert_eq!(margin("10 %"), Ok(Margin::Share(0.1)));
        assert_eq!(margin("2 MB"), Ok(Margin::Of(2e6, Unit::Bytes)));
        assert_eq!(margin("50 ms"), Ok(Margin::Of(0.05, Unit::Seconds)));
        assert!(margin("much").unwrap_err().contains("write it as 10 %"), "{:?}", margin("much"));
    }

    #[test]
    fn a_claim_is_listed_once_and_no_text_of_it_is_empty() {
        let texts =
            [("claim", "builds"), ("bound", "zero"), ("published", "yes"), ("typical", "much"), ("control", "no")];
        let row = texts.map(|(key, text)| format!("{key} = \"{text}\"\n")).concat();
        let row = format!("[[claim]]\nid = \"A2-1\"\n{row}");
        assert!(Register::parse(&row).is_ok());
        let twice = Register::parse(&row.repeat(2)).unwrap_err();
        assert_eq!(twice.to_string(), "claim A2-1 is there twice: remove one");
        for (key, text) in texts {
            let error = Register::parse(&row.replace(text, " ")).unwrap_err().to_string();
            assert_eq!(error, format!("claim A2-1: its {key} is empty: write what it is"));
        }
    }
}
