//! Decides on which kind of machine a claim is judged, from what it needs and what each kind offers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::host_offers::{Feature, HostOffers};
use crate::base::platform::{Arch, MachineKind, TargetSpec};
use crate::base::settings::FakeAws;
use crate::claims::plan::Shard;
use crate::claims::register::{Claim, Requirement};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    Run,
    /// It runs and its samples are kept, but it is not judged, for this reason.
    #[serde(rename = "record")]
    MeasureOnly(NotJudgedReason),
    /// It does not run, for this reason.
    Skip(NotJudgedReason),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NotJudgedReason {
    /// The claim needs what its kind of machine does not offer. If the machine turns out to offer it, a measured scenario
    /// is judged.
    Needs {
        what: Requirement,
    },
    /// A stand-in replaces AWS, and its behaviour says nothing about AWS, on any machine.
    StandIn,
    NotSelected,
    /// The run is this shard, and the claim belongs to another one.
    OtherShard {
        shard: Shard,
    },
    /// It is in none of the merged shards: these are missing.
    MissingShards {
        shards: Vec<Shard>,
    },
}

/// A kind of machine, and the requirements of claims that it meets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    kind: MachineKind,
    meets: Vec<Requirement>,
}

impl Offer {
    fn of(kind: MachineKind, met: impl IntoIterator<Item = Requirement>) -> Offer {
        let met = met.into_iter().filter(|need| !never(*need, kind));
        Offer { kind, meets: met.chain([Requirement::Host]).collect() }
    }

    fn lacks(&self, claim: &Claim) -> Vec<Requirement> {
        claim.needs.iter().copied().filter(|need| !self.meets.contains(need)).collect()
    }
}

/// Returns whether no machine of a kind ever meets a requirement.
fn never(need: Requirement, kind: MachineKind) -> bool {
    use MachineKind::{Ec2, Nspawn, Podman, Ssh};
    match need {
        Requirement::OwnMemory | Requirement::OwnKernel | Requirement::ColdCache => kind == Nspawn,
        Requirement::Device => kind == Podman,
        Requirement::OwnMachine => matches!(kind, Podman | Ssh),
        Requirement::Aws => kind != Ec2,
        _ => false,
    }
}

/// Returns whether a machine of this kind with these facts lacks what a claim needs. `None` if that is not known.
pub fn lacks(need: Requirement, kind: MachineKind, facts: &BTreeMap<String, String>) -> Option<bool> {
    let has = |fact: &str, word: &str| facts.get(fact).is_some_and(|value| value.split(' ').any(|one| one == word));
    match need {
        _ if never(need, kind) => Some(true),
        _ if facts.is_empty() => None,
        Requirement::NativeCpu => Some(!facts.contains_key("accelerator") || has("accelerator", "tcg")),
        Requirement::MemoryLimit => Some(!has("controllers", "memory")),
        Requirement::CpuLimit => Some(!has("controllers", "cpu")),
        Requirement::Arm64 => Some(!has("architecture", "arm64")),
        Requirement::Wasm => Some(facts.get("wasm").is_none_or(|engines| engines == "none")),
        _ => Some(false),
    }
}

/// The kinds of machines that a target has, from the cheapest to the dearest, and the requirements that each meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    offers: Vec<Offer>,
    fake_aws: bool,
}

/// Virtual machines of which nothing is known.
impl Default for Capabilities {
    fn default() -> Capabilities {
        Capabilities { offers: vec![Offer::of(MachineKind::Vm, [])], fake_aws: false }
    }
}

impl Capabilities {
    /// Returns a target's capabilities on a host that offers this. With a stand-in for AWS, EC2 instances have this
    /// host's architecture. A remote machine or this host is assumed to meet all that it can until it is inspected:
    /// `seen` are the requirements that it meets by then.
    pub fn by(
        target: &TargetSpec,
        fake_aws: &FakeAws,
        host: &HostOffers,
        seen: Option<&[Requirement]>,
    ) -> Capabilities {
        use Requirement::{Arm64, Aws, ColdCache, CpuLimit, Device, MemoryLimit, NativeCpu};
        use Requirement::{OwnKernel, OwnMachine, OwnMemory, Root, Units, Wasm};
        let Some(kind) = target.kind() else {
            let one = |target: TargetSpec| Capabilities::by(&target, fake_aws, host, None).offers;
            let nspawn = if host.has(Feature::Nspawn) { one(TargetSpec::Nspawn) } else { Vec::new() };
            let vm = Arch::host().map(|arch| one(TargetSpec::Vm(arch))).unwrap_or_default();
            return Capabilities { offers: nspawn.into_iter().chain(vm).collect(), fake_aws: false };
        };
        let arch = target.arch(fake_aws).ok();
        let aws = kind == MachineKind::Ec2 && !fake_aws.any();
        let native = match kind {
            MachineKind::Nspawn => host.has(Feature::NativeCpu),
            MachineKind::Vm => arch == Arch::host() && host.has(Feature::Kvm),
            _ => aws || target.is_found(),
        };
        let limit = |controller: Feature| kind != MachineKind::Nspawn || host.has(controller);
        let offered = |need: &Requirement| match need {
            Arm64 => target.is_found() || arch == Some(Arch::Arm64),
            NativeCpu => native,
            MemoryLimit => limit(Feature::Memory),
            CpuLimit => limit(Feature::Cpu),
            Aws => aws,
            _ => true,
        };
        let machine = [Arm64, NativeCpu, OwnMemory, OwnKernel, ColdCache, MemoryLimit, CpuLimit, Aws];
        let all = machine.into_iter().chain([Device, OwnMachine, Units, Wasm, Root]);
        let met = all.filter(|need| offered(need) && seen.is_none_or(|seen| seen.contains(need)));
        let fake_aws = kind == MachineKind::Ec2 && fake_aws.any();
        Capabilities { offers: vec![Offer::of(kind, met)], fake_aws }
    }

    /// Returns them with a requirement that is met on every kind.
    pub fn with(mut self, need: Requirement) -> Capabilities {
        self.offers.iter_mut().for_each(|offer| offer.meets.push(need));
        self
    }

    /// Returns the kinds, from the cheapest to the dearest.
    pub fn kinds(&self) -> Vec<MachineKind> {
        self.offers.iter().map(|offer| offer.kind).collect()
    }

    pub fn describe(&self) -> String {
        let line = |offer: &Offer| {
            let meets = offer.meets.iter().filter(|need| **need != Requirement::Host);
            let meets: Vec<String> = meets.map(|need| need.name()).collect();
            format!("{} offers {}\n", offer.kind, meets.join(", "))
        };
        self.offers.iter().map(line).collect()
    }

    fn stood_in(&self, need: Requirement) -> bool {
        need == Requirement::Aws && self.fake_aws
    }
}

/// Where a claim and its controls go, and what is decided for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub on: MachineKind,
    /// The first cheaper kind, and what the claim needs and it lacks.
    pub passed: Option<(MachineKind, Requirement)>,
    pub decision: Decision,
}

/// Places a claim on the cheapest kind that offers all that it needs. Without one, it is measured where that says most,
/// if it says anything, and otherwise skipped. A reason that no other machine can change (the stand-in) comes first.
pub(super) fn place(claim: &Claim, met: &Capabilities) -> Placement {
    let bars = |need: &Requirement| !need.still_measured() && !met.stood_in(*need);
    let rank = |offer: &&Offer| {
        let lacks = offer.lacks(claim);
        (lacks.iter().any(bars), lacks.contains(&Requirement::NativeCpu), lacks.len())
    };
    let Some(best) = met.offers.iter().min_by_key(rank) else {
        let decision = Decision::Skip(NotJudgedReason::Needs { what: Requirement::OwnMachine });
        return Placement { on: MachineKind::Vm, passed: None, decision };
    };
    let on = if claim.needs.contains(&Requirement::Host) { MachineKind::Host } else { best.kind };
    let cheaper = met.offers.iter().take_while(|offer| offer.kind != best.kind);
    let passed = cheaper.into_iter().find_map(|offer| Some((offer.kind, *offer.lacks(claim).first()?)));
    let missing = best.lacks(claim);
    let decision = match missing.iter().find(|need| bars(need)) {
        Some(need) => Decision::Skip(NotJudgedReason::Needs { what: *need }),
        None if missing.contains(&Requirement::Aws) => Decision::MeasureOnly(NotJudgedReason::StandIn),
        None => {
            missing.first().map_or(Decision::Run, |what| Decision::MeasureOnly(NotJudgedReason::Needs { what: *what }))
        }
    };
    Placement { on, passed, decision }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::host_offers::Lack;
    use crate::claims::register::Register;

    /// Returns a claim with these needs.
    fn needing(needs: &str) -> Claim {
        let needs: Vec<&str> = needs.split_whitespace().collect();
        let row = format!("[[claim]]\nid = \"A5-1\"\nclaim = \"x\"\nbound = \"y\"\nneeds = {needs:?}\n");
        Register::parse(&row).unwrap().iter().next().unwrap().clone()
    }

    /// Returns in words what is decided for claims that need nothing, `arm64`, `native-cpu`, `aws`, `device`,
    /// `own-machine` and `root`.
    fn decided(target: &str, fake_aws: &FakeAws, seen: Option<&[Requirement]>) -> [&'static str; 7] {
        let needs = ["", "arm64", "native-cpu", "aws", "device", "own-machine", "root"];
        let host = HostOffers::all_but(&[(Feature::Kvm, Lack::NoDevice)]);
        let met = Capabilities::by(&target.parse().unwrap(), fake_aws, &host, seen);
        needs.map(|need| {
            let claim = needing(need);
            match place(&claim, &met).decision {
                Decision::Run => "run",
                Decision::MeasureOnly(NotJudgedReason::Needs { what: Requirement::NativeCpu }) => "emulated",
                Decision::MeasureOnly(NotJudgedReason::StandIn) => "fake",
                Decision::Skip(NotJudgedReason::Needs { what }) if what == claim.needs[0] => "skip",
                other => panic!("{other:?}"),
            }
        })
    }

    #[test]
    fn a_target_is_judged_by_what_it_brings() {
        let none = FakeAws::default();
        let own = [Requirement::OwnMemory, Requirement::OwnKernel, Requirement::ColdCache];
        let seen = [&[Requirement::Device, Requirement::OwnMachine, Requirement::Units, Requirement::Root], &own[..]];
        let seen = seen.concat();
        let on_arm = if Arch::host() == Some(Arch::Arm64) { "run" } else { "skip" };
        for (target, seen, decisions) in [
            ("nspawn", None, ["run", on_arm, "run", "skip", "run", "run", "run"]),
            ("vm:amd64", None, ["run", "skip", "emulated", "skip", "run", "run", "run"]),
            ("vm:arm64", None, ["run", "run", "emulated", "skip", "run", "run", "run"]),
            ("ec2", None, ["run", "run", "run", "run", "run", "run", "run"]),
            ("ssh://a@b", None, ["run", "run", "run", "skip", "run", "skip", "run"]),
            ("podman", None, ["run", "run", "run", "skip", "skip", "skip", "run"]),
            ("ssh://a@b", Some(&seen[..]), ["run", "skip", "emulated", "skip", "run", "skip", "run"]),
            ("podman", Some(&seen[..3]), ["run", "skip", "emulated", "skip", "skip", "skip", "skip"]),
        ] {
            assert_eq!(decided(target, &none, seen), decisions, "{target} {seen:?}");
        }
        let met = |seen: &[Requirement]| {
            let target = "ssh://a@b".parse().unwrap();
            Capabilities::by(&target, &none, &HostOffers::all_but(&[]), Some(seen)).describe()
        };
        assert_eq!(met(&seen), "ssh offers own-memory, own-kernel, cold-cache, device, units, root\n");
        assert_eq!(met(&seen[..4]), "ssh offers device, units, root\n");
        // A stand-in's instance is a machine of this host's kind, and its settings do not affect a virtual machine.
        let fake_aws = FakeAws { ssh: Some("127.0.0.1:22".into()), ..none.clone() };
        let arm = if Arch::host() == Some(Arch::Arm64) { "run" } else { "skip" };
        assert_eq!(decided("ec2", &fake_aws, None), ["run", arm, "emulated", "fake", "run", "run", "run"]);
        assert_eq!(decided("vm:amd64", &fake_aws, None), decided("vm:amd64", &none, None));
    }

    #[test]
    fn a_claim_goes_to_the_cheapest_kind_that_offers_all_it_needs() {
        use Feature::{Cpu, Kvm, Memory, Nspawn};
        let why = [(Cpu, Lack::BoundToV1), (Memory, Lack::BoundToV1), (Kvm, Lack::Pvm), (Nspawn, Lack::NeedsRoot)];
        let but = |count: usize| HostOffers::all_but(&why[..count]);
        let kvm = HostOffers::all_but(&why[..2]);
        let no_machines = HostOffers::all_but(&why);
        for (needs, expected) in [
            // On an ordinary host with KVM; without controllers; without KVM either; without containers either.
            ("", ["nspawn run", "nspawn run", "nspawn run", "vm run"]),
            ("host", ["host run", "host run", "host run", "host run"]),
            ("own-memory", ["vm run", "vm run", "vm run", "vm run"]),
            ("memory-limit", ["nspawn run", "vm run", "vm run", "vm run"]),
            ("native-cpu", ["nspawn run", "nspawn run", "nspawn run", "vm native-cpu"]),
            ("native-cpu own-kernel", ["vm run", "vm run", "vm native-cpu", "vm native-cpu"]),
            // Measured where it says most: a start natively without its limit, rather than one that is emulated.
            ("native-cpu cpu-limit", ["nspawn run", "vm run", "nspawn cpu-limit", "vm native-cpu"]),
            ("aws", ["nspawn skip", "nspawn skip", "nspawn skip", "vm skip"]),
        ] {
            let claim = needing(needs);
            let placed = [&but(0), &kvm, &but(3), &no_machines].map(|host| {
                let met = Capabilities::by(&TargetSpec::Local, &FakeAws::default(), host, None);
                let Placement { on, decision, .. } = place(&claim, &met);
                match decision {
                    Decision::Run => format!("{on} run"),
                    Decision::MeasureOnly(NotJudgedReason::Needs { what }) => format!("{on} {}", what.name()),
                    _ => format!("{on} skip"),
                }
            });
            assert_eq!(placed, expected, "{needs}");
        }
    }

    #[test]
    fn what_a_machine_lacks_is_known_from_its_kind_and_its_facts() {
        let facts = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let native = facts(&[("accelerator", "none"), ("controllers", "cpu pids")]);
        let emulated = facts(&[("accelerator", "tcg"), ("controllers", "cpu memory pids")]);
        for (need, kind, facts, expected) in [
            (Requirement::OwnMemory, MachineKind::Nspawn, &facts(&[]), Some(true)),
            (Requirement::NativeCpu, MachineKind::Nspawn, &facts(&[]), None),
            (Requirement::NativeCpu, MachineKind::Nspawn, &native, Some(false)),
            (Requirement::NativeCpu, MachineKind::Vm, &emulated, Some(true)),
            (Requirement::MemoryLimit, MachineKind::Nspawn, &native, Some(true)),
            (Requirement::MemoryLimit, MachineKind::Vm, &emulated, Some(false)),
            (Requirement::CpuLimit, MachineKind::Nspawn, &native, Some(false)),
            (Requirement::Units, MachineKind::Vm, &emulated, Some(false)),
            (Requirement::Wasm, MachineKind::Vm, &facts(&[("wasm", "wasmedge")]), Some(false)),
            (Requirement::Wasm, MachineKind::Vm, &facts(&[("wasm", "none")]), Some(true)),
            (Requirement::Wasm, MachineKind::Nspawn, &emulated, Some(true)),
        ] {
            assert_eq!(lacks(need, kind, facts), expected, "{need:?} {kind}");
        }
    }
}
