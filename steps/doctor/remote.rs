//! Checks a remote machine: whether it accepts a login, and which of a run's requirements it meets.

use super::{Fault, HostCheck, Tried};
use assay::base::settings::Settings;
use assay::measurement::deployment;
use assay::targets::RemoteAccess;

/// Logs in to the machine and runs the preflight. Each name begins with the target, because this host's checks stand
/// next to it.
pub async fn checks(access: RemoteAccess, settings: &Settings) -> anyhow::Result<Vec<HostCheck>> {
    let units = deployment::units(&settings.root, None)?;
    let check = |name: &str, needed: bool, remedy: Option<String>, outcome: Tried| {
        HostCheck::of(format!("{}: {name}", access.target), remedy.unwrap_or_default(), needed, outcome)
    };
    let host = match access.clone().inspect(units, settings).await {
        Err(error) => return Ok(vec![check("login", true, Some("then ask again".to_owned()), Err(error.into()))]),
        Ok(host) => host,
    };
    let facts = &host.preflight.facts;
    let machine = format!("{}, {}, Linux {}", facts.distribution, facts.architecture, facts.kernel);
    let checks = access.checks(&host.preflight).into_iter().map(|one| match one.remedy {
        None => check(one.name, one.needed, None, Ok(one.found)),
        remedy => check(one.name, one.needed, remedy, Err(Fault::missing(one.found))),
    });
    Ok(std::iter::once(check("login", true, None, Ok(machine))).chain(checks).collect())
}
