//! Checks a remote machine: whether it accepts a login, and which of a run's requirements it meets.

use std::sync::Arc;

use super::{Check, State};
use crate::base::settings::Settings;
use crate::exec::shell::NoopObserver;
use crate::measurement::deployment;
use crate::targets::RemoteAccess;
use crate::targets::preflight::PreflightCheck;

/// Logs in to the machine and runs the preflight. Each name begins with the target, because this host's checks stand
/// next to it.
pub async fn checks(way: RemoteAccess, settings: &Settings) -> anyhow::Result<Vec<Check>> {
    let units = deployment::units(&settings.root, None)?;
    let target = way.target.to_string();
    let login = |state, found: String, remedy| Check { name: format!("{target}: login"), state, found, remedy };
    Ok(match way.clone().look(units, settings, Arc::new(NoopObserver)).await {
        Err(error) => {
            vec![login(State::Missing, format!("{error:#}"), Some("then ask again".to_owned()))]
        }
        Ok(found) => {
            let facts = &found.preflight.facts;
            let what = format!("{}, {}, Linux {}", facts.distribution, facts.architecture, facts.kernel);
            let points = way.points(&found.preflight).into_iter().map(|point| check(&target, point));
            [login(State::Ok, what, None)].into_iter().chain(points).collect()
        }
    })
}

fn check(target: &str, point: PreflightCheck) -> Check {
    let state = match (&point.remedy, point.needed) {
        (None, _) => State::Ok,
        (Some(_), true) => State::Missing,
        (Some(_), false) => State::Warning,
    };
    Check { name: format!("{target}: {}", point.name), state, found: point.found, remedy: point.remedy }
}
