//! Decides what happens to a claim on a target, from the claim's requirements and the target's capabilities.

use serde::{Deserialize, Serialize};

use crate::base::platform::{Arch, TargetSpec};
use crate::base::settings::FakeAws;
use crate::claims::register::{Claim, Requirement};

/// What the plan decides for a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It runs and is judged.
    Run,
    /// It runs and its samples are kept, but it is not judged, for this reason.
    #[serde(rename = "record")]
    MeasureOnly(NotJudgedReason),
    /// It does not run, for this reason.
    Skip(String),
}

/// Why a measured scenario is not judged. Stored as the text that people read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotJudgedReason {
    /// The CPU is assumed to be emulated. If the machine turns out to have one at native speed, the scenario is judged.
    #[serde(rename = "needs a CPU at native speed; measured and recorded, not judged")]
    EmulatedCpu,
    /// A stand-in replaces AWS, and its behaviour says nothing about AWS, on any machine.
    #[serde(rename = "measured on a stand-in for AWS: recorded, not judged")]
    FakeAws,
    /// A reason that this version does not know.
    #[serde(untagged)]
    Other(String),
}

impl NotJudgedReason {
    pub fn why(&self) -> &str {
        match self {
            NotJudgedReason::EmulatedCpu => Requirement::NativeCpu.missing(),
            NotJudgedReason::FakeAws => "measured on a stand-in for AWS: recorded, not judged",
            NotJudgedReason::Other(why) => why,
        }
    }
}

/// Observations on a remote machine or this host that decide what can be judged there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub arch: Arch,
    /// Whether times and CPU shares are meaningful on it.
    pub native: bool,
    /// Whether systemd generates units from the user's Quadlets.
    pub units: bool,
    pub root: bool,
}

/// The requirements of claims that a target meets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    needs: Vec<Requirement>,
    /// Whether a stand-in replaces AWS on this target.
    fake_aws: bool,
}

impl Capabilities {
    /// Returns a target's capabilities. With a stand-in for AWS, EC2 instances have this host's architecture. A remote
    /// machine or this host is assumed to meet all that it can until it is inspected (`seen`).
    pub fn by(target: &TargetSpec, fake_aws: &FakeAws, seen: Option<Seen>) -> Capabilities {
        let unseen = target.is_found() && seen.is_none();
        let arch = seen.map(|seen| seen.arch).or_else(|| target.arch(fake_aws).ok());
        let aws = *target == TargetSpec::Ec2 && !fake_aws.any();
        let native = *target == TargetSpec::Nspawn;
        let needs = [
            (Requirement::Arm64, unseen || arch == Some(Arch::Arm64)),
            (Requirement::Aws, aws),
            (Requirement::NativeCpu, unseen || aws || native || seen.is_some_and(|seen| seen.native)),
            (Requirement::Device, !matches!(target, TargetSpec::Podman | TargetSpec::Nspawn)),
            (Requirement::OwnMachine, !target.is_found()),
            (Requirement::Units, seen.is_none_or(|seen| seen.units)),
            (Requirement::Root, seen.is_none_or(|seen| seen.root)),
        ];
        let needs = needs.into_iter().filter_map(|(need, met)| met.then_some(need)).collect();
        Capabilities { needs, fake_aws: *target == TargetSpec::Ec2 && fake_aws.any() }
    }
}

/// Skips a claim that cannot run. Otherwise prefers the reason that the actual machine cannot change (the stand-in).
pub(super) fn decide(claim: &Claim, met: &Capabilities) -> Decision {
    let missing: Vec<Requirement> = claim.needs.iter().copied().filter(|need| !met.needs.contains(need)).collect();
    let stood_in = |need: Requirement| need == Requirement::Aws && met.fake_aws;
    match missing.iter().find(|need| **need != Requirement::NativeCpu && !stood_in(**need)) {
        Some(need) => Decision::Skip(need.missing().to_owned()),
        None if missing.contains(&Requirement::Aws) => Decision::MeasureOnly(NotJudgedReason::FakeAws),
        None if missing.contains(&Requirement::NativeCpu) => Decision::MeasureOnly(NotJudgedReason::EmulatedCpu),
        None => Decision::Run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::register::Register;

    /// Returns in words what is decided for claims that need nothing, `arm64`, `native-cpu`, `aws`, `device`,
    /// `own-machine` and `root`.
    fn decided(target: &str, fake_aws: &FakeAws, seen: Option<Seen>) -> [&'static str; 7] {
        let needs = ["", "\"arm64\"", "\"native-cpu\"", "\"aws\"", "\"device\"", "\"own-machine\"", "\"root\""];
        let met = Capabilities::by(&target.parse().unwrap(), fake_aws, seen);
        needs.map(|need| {
            let row = format!("[[claim]]\nid = \"A5-1\"\nclaim = \"x\"\nbound = \"y\"\nneeds = [{need}]\n");
            let register = Register::parse(&row).unwrap();
            let claim = register.iter().next().unwrap();
            match decide(claim, &met) {
                Decision::Run => "run",
                Decision::MeasureOnly(NotJudgedReason::EmulatedCpu) => "emulated",
                Decision::MeasureOnly(NotJudgedReason::FakeAws) => "fake",
                Decision::MeasureOnly(NotJudgedReason::Other(why)) => panic!("{why}"),
                Decision::Skip(why) => {
                    assert_eq!(why, claim.needs[0].missing());
                    "skip"
                }
            }
        })
    }

    #[test]
    fn a_target_is_judged_by_what_it_brings() {
        let none = FakeAws::default();
        let on_arm = if Arch::host() == Some(Arch::Arm64) { "run" } else { "skip" };
        let seen = Seen { arch: Arch::Amd64, native: false, units: true, root: true };
        for (target, seen, decisions) in [
            ("nspawn", None, ["run", on_arm, "run", "skip", "skip", "run", "run"]),
            ("vm:amd64", None, ["run", "skip", "emulated", "skip", "run", "run", "run"]),
            ("vm:arm64", None, ["run", "run", "emulated", "skip", "run", "run", "run"]),
            ("ec2", None, ["run", "run", "run", "run", "run", "run", "run"]),
            ("ssh://a@b", None, ["run", "run", "run", "skip", "run", "skip", "run"]),
            ("podman", None, ["run", "run", "run", "skip", "skip", "skip", "run"]),
            ("ssh://a@b", Some(seen), ["run", "skip", "emulated", "skip", "run", "skip", "run"]),
            ("podman", Some(Seen { root: false, ..seen }), ["run", "skip", "emulated", "skip", "skip", "skip", "skip"]),
        ] {
            assert_eq!(decided(target, &none, seen), decisions, "{target} {seen:?}");
        }
        // A stand-in's instance is a machine of this host's kind, and its settings do not affect a virtual machine.
        let fake_aws = FakeAws { ssh: Some("127.0.0.1:22".into()), ..none.clone() };
        assert_eq!(decided("ec2", &fake_aws, None), ["run", on_arm, "emulated", "fake", "run", "run", "run"]);
        assert_eq!(decided("vm:amd64", &fake_aws, None), decided("vm:amd64", &none, None));
    }

    #[test]
    fn why_something_is_not_judged_is_stored_in_words() {
        let other = NotJudgedReason::Other("of another version".into());
        for reason in [NotJudgedReason::EmulatedCpu, NotJudgedReason::FakeAws, other] {
            let stored = serde_json::json!({ "record": reason.why() });
            let decision = Decision::MeasureOnly(reason);
            assert_eq!(serde_json::to_value(&decision).unwrap(), stored);
            assert_eq!(serde_json::from_value::<Decision>(stored).unwrap(), decision);
        }
    }
}
