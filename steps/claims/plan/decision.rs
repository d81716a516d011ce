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
#[serde(from = "String", into = "String")]
pub enum NotJudgedReason {
    /// The CPU is assumed to be emulated. If the machine turns out to have one at native speed, the scenario is judged.
    EmulatedCpu,
    /// A stand-in replaces AWS, and its behaviour says nothing about AWS, on any machine.
    FakeAws,
    /// A reason that this version does not know.
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

impl From<String> for NotJudgedReason {
    fn from(why: String) -> NotJudgedReason {
        [NotJudgedReason::EmulatedCpu, NotJudgedReason::FakeAws]
            .into_iter()
            .find(|known| known.why() == why)
            .unwrap_or(NotJudgedReason::Other(why))
    }
}

impl From<NotJudgedReason> for String {
    fn from(unjudged: NotJudgedReason) -> String {
        unjudged.why().to_owned()
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
    stand_in: bool,
}

impl Capabilities {
    /// Returns a target's capabilities. With a stand-in for AWS, EC2 instances have this host's architecture. A remote
    /// machine or this host is assumed to meet all that it can until it is inspected (`seen`).
    pub fn by(target: &TargetSpec, stand_in: &FakeAws, seen: Option<Seen>) -> Capabilities {
        let unseen = target.is_found() && seen.is_none();
        let arm64 = seen.map_or_else(|| target.arch(stand_in), |seen| Ok(seen.arch));
        let aws = *target == TargetSpec::Ec2 && !stand_in.any();
        let needs = [
            (Requirement::Arm64, unseen || arm64 == Ok(Arch::Arm64)),
            (Requirement::Aws, aws),
            (Requirement::NativeCpu, unseen || aws || seen.is_some_and(|seen| seen.native)),
            (Requirement::Device, *target != TargetSpec::Podman),
            (Requirement::OwnMachine, !target.is_found()),
            (Requirement::Units, seen.is_none_or(|seen| seen.units)),
            (Requirement::Root, seen.is_none_or(|seen| seen.root)),
        ];
        let needs = needs.into_iter().filter_map(|(need, met)| met.then_some(need)).collect();
        Capabilities { needs, stand_in: *target == TargetSpec::Ec2 && stand_in.any() }
    }
}

/// Skips a claim that cannot run. Otherwise prefers the reason that the actual machine cannot change (the stand-in).
pub(super) fn decide(claim: &Claim, met: &Capabilities) -> Decision {
    let missing: Vec<Requirement> = claim.needs.iter().copied().filter(|need| !met.needs.contains(need)).collect();
    let stood_in = |need: Requirement| need == Requirement::Aws && met.stand_in;
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

    #[test]
    fn what_a_target_brings_is_the_machines_and_in_ec2_the_account_too() {
        let row = |(id, needs)| format!("[[claim]]\nid = \"{id}\"\nclaim = \"x\"\nbound = \"y\"\nneeds = [{needs}]\n");
        let needs = [("A2-1", ""), ("A5-2", "\"arm64\""), ("A7-7", "\"native-cpu\""), ("A8-5", "\"aws\"")];
        let register = Register::parse(&needs.map(row).concat()).unwrap();
        let decided = |target: &str, stand_in: &FakeAws| {
            let met = Capabilities::by(&target.parse().unwrap(), stand_in, None);
            ["A2-1", "A5-2", "A7-7", "A8-5"].map(|id| decide(register.get(id.parse().unwrap()).unwrap(), &met))
        };
        let (emulated, skip) = (Decision::MeasureOnly(NotJudgedReason::EmulatedCpu), |need: Requirement| {
            Decision::Skip(need.missing().into())
        });
        let (run, none) = (Decision::Run, FakeAws::default());
        let [no_arm, no_aws] = [Requirement::Arm64, Requirement::Aws].map(skip);
        assert_eq!(decided("vm:amd64", &none), [run.clone(), no_arm.clone(), emulated.clone(), no_aws.clone()]);
        assert_eq!(decided("vm:arm64", &none), [run.clone(), run.clone(), emulated.clone(), no_aws.clone()]);
        assert_eq!(decided("ec2", &none), [(); 4].map(|()| run.clone()));
        // A stand-in's instance is a machine of this host's kind, and its settings do not affect a virtual machine.
        let stand_in = FakeAws { ssh: Some("127.0.0.1:22".into()), ..none };
        let arm = if Arch::host() == Some(Arch::Arm64) { run.clone() } else { no_arm.clone() };
        assert_eq!(
            decided("ec2", &stand_in),
            [run.clone(), arm, emulated.clone(), Decision::MeasureOnly(NotJudgedReason::FakeAws)]
        );
        assert_eq!(decided("vm:amd64", &stand_in), [run, no_arm, emulated, no_aws]);
    }

    #[test]
    fn a_machine_of_somebody_else_keeps_what_it_has_and_is_judged_by_what_was_seen() {
        let needs = ["\"device\"", "\"own-machine\"", "\"root\"", "\"native-cpu\""];
        let row = |(number, needs)| {
            format!("[[claim]]\nid = \"A5-{number}\"\nclaim = \"x\"\nbound = \"y\"\nneeds = [{needs}]\n")
        };
        let rows: String = needs.into_iter().enumerate().map(row).collect();
        let register = Register::parse(&rows).unwrap();
        let decided = |target: &str, seen: Option<Seen>| {
            let met = Capabilities::by(&target.parse().unwrap(), &FakeAws::default(), seen);
            register.iter().map(|claim| decide(claim, &met)).collect::<Vec<_>>()
        };
        let skip = |need: Requirement| Decision::Skip(need.missing().into());
        let [no_device, not_ours, no_root] =
            [Requirement::Device, Requirement::OwnMachine, Requirement::Root].map(skip);
        let (run, emulated) = (Decision::Run, Decision::MeasureOnly(NotJudgedReason::EmulatedCpu));
        assert_eq!(decided("ssh://a@b", None), [run.clone(), not_ours.clone(), run.clone(), run.clone()]);
        assert_eq!(decided("podman", None), [no_device.clone(), not_ours.clone(), run.clone(), run.clone()]);
        let seen = Seen { arch: Arch::Amd64, native: false, units: true, root: true };
        assert_eq!(decided("ssh://a@b", Some(seen)), [run.clone(), not_ours.clone(), run, emulated.clone()]);
        assert_eq!(decided("podman", Some(Seen { root: false, ..seen })), [no_device, not_ours, no_root, emulated]);
    }

    #[test]
    fn why_something_is_not_judged_is_stored_as_it_is_told() {
        for (unjudged, text) in [
            (NotJudgedReason::EmulatedCpu, "needs a CPU at native speed; measured and recorded, not judged"),
            (NotJudgedReason::FakeAws, "measured on a stand-in for AWS: recorded, not judged"),
            (NotJudgedReason::Other("of another version".into()), "of another version"),
        ] {
            let decision = Decision::MeasureOnly(unjudged);
            let stored = serde_json::json!({ "record": text });
            assert_eq!(serde_json::to_value(&decision).unwrap(), stored);
            assert_eq!(serde_json::from_value::<Decision>(stored).unwrap(), decision);
        }
    }
}
