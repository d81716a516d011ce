//! Describes what this host offers to machines, and why it does not offer the rest.

#[cfg(feature = "run")]
mod find;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value as Json;

#[cfg(feature = "run")]
use crate::base::commands;

/// What a host may offer to machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// A CPU at native speed: the host itself is not emulated.
    NativeCpu,
    /// KVM, on which a guest starts.
    Kvm,
    /// The cgroup v2 controller that limits CPU time.
    Cpu,
    Memory,
    Pids,
    Io,
    /// User namespaces, one in another, as containers without root need them.
    UserNamespaces,
    Fuse,
    Tun,
    /// System containers with a network of their own.
    Nspawn,
}

impl Feature {
    pub fn name(self) -> &'static str {
        match self {
            Feature::NativeCpu => "native CPU",
            Feature::Kvm => "KVM",
            Feature::Cpu => "cgroup cpu",
            Feature::Memory => "cgroup memory",
            Feature::Pids => "cgroup pids",
            Feature::Io => "cgroup io",
            Feature::UserNamespaces => "nested user namespaces",
            Feature::Fuse => "/dev/fuse",
            Feature::Tun => "/dev/net/tun",
            Feature::Nspawn => "system containers",
        }
    }
}

/// Why a host does not offer something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Lack {
    Emulated,
    NoDevice,
    NoPermission,
    /// KVM is PVM, on which only kernels start that are built for it.
    Pvm,
    /// No guest was started on it yet.
    NotTried,
    GuestDoesNotStart {
        message: String,
    },
    /// cgroup v2 is not mounted.
    NoCgroup2,
    /// cgroup v1 has the controller.
    BoundToV1,
    /// The kernel has the controller, and this host's part of the control groups does not.
    NotDelegated,
    NotInKernel,
    NotInstalled {
        program: &'static str,
    },
    NeedsRoot,
    Fails {
        message: String,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Lack::Emulated => "this host is itself emulated",
            Lack::NoDevice => "there is no such device",
            Lack::NoPermission => "this user may not open the device",
            Lack::Pvm => "it is PVM, on which only kernels built for it start",
            Lack::NotTried => "the first machine tries whether a guest starts",
            Lack::GuestDoesNotStart { message } => return write!(out, "no guest starts on it: {message}"),
            Lack::NoCgroup2 => "cgroup v2 is not mounted",
            Lack::BoundToV1 => "bound to cgroup v1",
            Lack::NotDelegated => "not delegated to this host",
            Lack::NotInKernel => "not in this kernel",
            Lack::NotInstalled { program } => return write!(out, "{program} is not installed"),
            Lack::NeedsRoot => "needs root, or sudo without a password",
            Lack::Fails { message } => return write!(out, "does not work: {message}"),
        })
    }
}

impl Lack {
    /// Returns what to do about it; `None` if nothing on this host helps.
    #[cfg(feature = "run")]
    pub fn remedy(&self, feature: Feature) -> Option<String> {
        let remedy = match (self, feature) {
            (Lack::NotInstalled { .. }, _) => return Some(commands::setup("nspawn")),
            (Lack::NoPermission, Feature::Kvm) => "sudo usermod -aG kvm \"$USER\", and log in again",
            (Lack::BoundToV1 | Lack::NoCgroup2, _) => "boot with systemd.unified_cgroup_hierarchy=1",
            (Lack::NotDelegated, _) => "delegate it where this host is started: Delegate=yes",
            (Lack::NeedsRoot, _) => "run as root, or let sudo ask: sudo -v",
            (Lack::NoDevice, Feature::Fuse) => "sudo modprobe fuse",
            (Lack::NoDevice, Feature::Tun) => "sudo modprobe tun",
            (Lack::Fails { .. }, Feature::Nspawn) => "sudo modprobe --all fuse tun loop veth, or use --target vm",
            _ => return None,
        };
        Some(remedy.to_owned())
    }
}

/// Nothing, or why a host does not offer it.
pub type Finding = Result<(), Lack>;

/// What this host offers, and why it does not offer the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostOffers(BTreeMap<Feature, Finding>);

impl HostOffers {
    /// Returns what an ordinary host offers: this build starts nothing that could try it.
    #[cfg(not(feature = "run"))]
    pub fn find(_: &std::path::Path) -> HostOffers {
        HostOffers::all_but(&[(Feature::Kvm, Lack::NotTried)])
    }

    /// Returns a host that offers everything, or everything but these.
    pub fn all_but(lacking: &[(Feature, Lack)]) -> HostOffers {
        use Feature::{Cpu, Fuse, Io, Kvm, Memory, NativeCpu, Nspawn, Pids, Tun, UserNamespaces};
        let all = [NativeCpu, Kvm, Cpu, Memory, Pids, Io, UserNamespaces, Fuse, Tun, Nspawn];
        let lacks = lacking.iter().map(|(feature, lack)| (*feature, Err(lack.clone())));
        HostOffers(all.into_iter().map(|feature| (feature, Ok(()))).chain(lacks).collect())
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.0.get(&feature) == Some(&Ok(()))
    }

    /// Returns why it lacks something.
    pub fn lack(&self, feature: Feature) -> Option<&Lack> {
        self.0.get(&feature)?.as_ref().err()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Feature, Option<&Lack>)> {
        self.0.iter().map(|(feature, finding)| (*feature, finding.as_ref().err()))
    }

    /// Formats it in one sentence: what it lacks, and why.
    pub fn summary(&self) -> String {
        let mut lacks: Vec<(&Lack, Vec<&str>)> = Vec::new();
        for (feature, lack) in self.iter().filter_map(|(feature, lack)| Some((feature, lack?))) {
            match lacks.last_mut().filter(|(last, _)| *last == lack) {
                Some((_, features)) => features.push(feature.name()),
                None => lacks.push((lack, vec![feature.name()])),
            }
        }
        let lacks: Vec<String> =
            lacks.iter().map(|(lack, features)| format!("no {} ({lack})", features.join(", "))).collect();
        if lacks.is_empty() { "nothing is lacking".to_owned() } else { lacks.join("; ") }
    }
}

/// Each feature with `true`, or with why it is lacking.
impl Serialize for HostOffers {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.iter().map(|(feature, lack)| {
            (feature, lack.map_or(Json::Bool(true), |lack| serde_json::to_value(lack).unwrap_or_default()))
        }))
    }
}
