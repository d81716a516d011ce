//! Shows what this host offers to machines, and why it does not offer the rest.

use std::path::Path;

use super::{Fault, Tried, Try};
use assay::base::host_offers::{Feature, HostOffers, Lack};
use assay::base::platform::TargetSpec;

/// Returns a check for each feature but KVM, which is tried with a guest. Only machines of a kind that was named need any.
pub fn tries(target: &TargetSpec, cache: &Path) -> Vec<Try> {
    let found = HostOffers::find(cache);
    let features = found.iter().filter(|(feature, _)| *feature != Feature::Kvm);
    let one = |(feature, lack): (Feature, Option<&Lack>)| {
        let outcome: Tried = match lack {
            None => Ok("works".to_owned()),
            Some(lack) => Err(Fault::missing(lack.to_string())),
        };
        let elsewhere = || "what needs it is judged on machines that have it".to_owned();
        let remedy = lack.and_then(|lack| lack.remedy(feature)).unwrap_or_else(elsewhere);
        let tried = Try::needed(feature.name(), remedy, std::future::ready(outcome));
        let needed = *target == TargetSpec::Nspawn && [Feature::Nspawn, Feature::Fuse, Feature::Tun].contains(&feature);
        if needed { tried } else { tried.optional() }
    };
    features.map(one).collect()
}
