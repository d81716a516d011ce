//! Checks what a target needs on this host by using it: each requirement is tried, not just looked for.

#[cfg(feature = "aws")]
mod cloud;
mod containers;
mod remote;
mod host;
mod machines;
mod offers;
mod programs;
mod resources;
mod rust;

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use assay::base::platform::{Arch, TargetSpec};
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::targets::{Definition, RemoteAccess};
use host::Host;

/// The time limit of one check; a check that has not answered by then counts as failed.
const LIMIT: Duration = Duration::from_secs(15);
/// How long to wait silently; after that, progress names the checks that are pending.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state of one requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// It is absent or does not work, and the target needs it.
    Missing,
    /// The target works all the same, but the user should know about it.
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostCheck {
    pub name: String,
    pub state: State,
    /// Its version, or what is wrong with it.
    pub found: String,
    /// What to do; `None` if it works.
    pub remedy: Option<String>,
}

impl HostCheck {
    /// If the target works without the requirement, any problem is only a warning.
    fn of(name: String, remedy: String, needed: bool, outcome: Tried) -> HostCheck {
        match outcome {
            Ok(found) => HostCheck { name, state: State::Ok, found, remedy: None },
            Err(problem) => {
                let state = if needed { problem.state } else { State::Warning };
                HostCheck { name, state, found: problem.found, remedy: problem.remedy.or(Some(remedy)) }
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    schema: u32,
    /// The target, as `--target` names it.
    pub target: String,
    /// Whether a run on it would work.
    pub works: bool,
    /// The results, in the order of need.
    pub checks: Vec<HostCheck>,
    /// The command that installs what is missing on this host, if something is missing.
    #[serde(skip)]
    setup: Option<String>,
}

/// The outcome of one check: what was found, or what is wrong with it.
type Tried = Result<String, Fault>;

#[derive(Debug)]
struct Fault {
    state: State,
    found: String,
    /// Replaces the remedy of the [`Try`].
    remedy: Option<String>,
}

impl Fault {
    fn missing(found: impl Into<String>) -> Fault {
        Fault { state: State::Missing, found: found.into(), remedy: None }
    }

    fn warning(found: impl Into<String>) -> Fault {
        Fault { state: State::Warning, ..Fault::missing(found) }
    }

    fn late(limit: Duration) -> Fault {
        Fault::missing(format!("gives no answer within {} s", limit.as_secs_f64()))
    }

    fn remedy(self, remedy: impl Into<String>) -> Fault {
        Fault { remedy: Some(remedy.into()), ..self }
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Fault {
        Fault::missing(format!("{error:#}"))
    }
}

/// A check to make: its name, its future, and the remedy if it fails.
struct Try {
    name: String,
    remedy: String,
    needed: bool,
    attempt: Pin<Box<dyn Future<Output = Tried>>>,
}

impl Try {
    fn needed(
        name: impl Into<String>,
        remedy: impl Into<String>,
        attempt: impl Future<Output = Tried> + 'static,
    ) -> Try {
        Try { name: name.into(), remedy: remedy.into(), needed: true, attempt: Box::pin(attempt) }
    }

    fn optional(self) -> Try {
        Try { needed: false, ..self }
    }

    fn then<After: Future<Output = Tried>>(self, after: impl FnOnce(Tried) -> After + 'static) -> Try {
        let Try { name, remedy, needed, attempt } = self;
        Try { name, remedy, needed, attempt: Box::pin(async move { after(attempt.await).await }) }
    }

    async fn settle(self, limit: Duration) -> HostCheck {
        let outcome = tokio::time::timeout(limit, self.attempt).await;
        HostCheck::of(self.name, self.remedy, self.needed, outcome.unwrap_or_else(|_| Err(Fault::late(limit))))
    }
}

/// Checks everything that a target needs on this host, and also on a remote machine or in AWS if that is the target.
/// The remote machine's host key can be named by its fingerprint; the architecture is that of this host's machines.
/// Creates nothing on the target, and leaves nothing behind except the cached result about the accelerator.
pub async fn examine(
    target: &TargetSpec,
    host_key: Option<String>,
    arch: Arch,
    definitions: &[Definition],
    settings: &Settings,
    progress: &Progress,
) -> anyhow::Result<Diagnosis> {
    let host = Arc::new(Host::new(target, arch, definitions, settings)?);
    let tries = [rust::tries(&host), programs::tries(&host, target), containers::tries(&host)];
    let mut tries: Vec<Try> = tries.into_iter().flatten().collect();
    // Controls for a machine elsewhere run on local virtual machines.
    let machines = *target != TargetSpec::Podman;
    if machines {
        tries.extend(offers::tries(target, &settings.cache));
        tries.extend(machines::tries(&host));
    }
    tries.extend(resources::tries(&host, machines));
    let mut checks = side_by_side(tries, progress).await;
    let of_host = checks.len();
    if *target == TargetSpec::Ec2 {
        checks.push(sdk());
        #[cfg(feature = "aws")]
        checks.extend(cloud::checks(settings, progress).await);
    }
    if target.is_found() {
        progress.note(format!("looking at {target}"));
        checks.extend(
            remote::checks(RemoteAccess { target: target.clone(), host_key, provision: false }, settings).await?,
        );
    }
    let here = if *target == TargetSpec::Podman { checks.len() } else { of_host };
    let lacks = checks.iter().take(here).any(|check| check.state == State::Missing);
    let setup = lacks.then(|| host.setup());
    Ok(Diagnosis::of(target, setup, checks))
}

/// Checks whether this build has AWS's SDK.
fn sdk() -> HostCheck {
    let outcome = match cfg!(feature = "aws") {
        true => Ok("in this build".to_owned()),
        false => Err(Fault::missing("not in this build: nothing of AWS's was tried")),
    };
    HostCheck::of("ec2: AWS's SDK".to_owned(), format!("`{}` tries that, too", TargetSpec::Ec2.doctor()), true, outcome)
}

/// Makes all checks at once. Their results are in the order of need.
async fn side_by_side(tries: Vec<Try>, progress: &Progress) -> Vec<HostCheck> {
    let pending = RefCell::new(Vec::from_iter(tries.iter().map(|one| one.name.clone())));
    let settled = async |one: Try| {
        let check = one.settle(LIMIT).await;
        pending.borrow_mut().retain(|name| *name != check.name);
        check
    };
    let notes = async {
        loop {
            tokio::time::sleep(PATIENCE).await;
            progress.note(format!("trying: {}", pending.borrow().join(", ")));
        }
    };
    tokio::select! {
        checks = futures::future::join_all(tries.into_iter().map(settled)) => checks,
        () = notes => Vec::new(),
    }
}

impl Diagnosis {
    fn of(target: &TargetSpec, setup: Option<String>, checks: Vec<HostCheck>) -> Diagnosis {
        let works = checks.iter().all(|check| check.state != State::Missing);
        Diagnosis { schema: 1, target: target.to_string(), works, checks, setup }
    }

    /// Formats a line for each check, with the remedy below each that does not work.
    pub fn render(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for HostCheck { name, state, found, remedy } in &self.checks {
            let mark = match state {
                State::Ok => '✔',
                State::Missing => '✘',
                State::Warning => '!',
            };
            let apart = if found.ends_with('?') { " " } else { "; " };
            let remedy = remedy.as_ref().map(|remedy| format!("{apart}{remedy}")).unwrap_or_default();
            text.push_str(&format!("{mark} {name:width$}  {found}{remedy}\n"));
        }
        text
    }

    /// Formats the last line: whether the target works, and if not, how much is missing.
    pub fn conclusion(&self) -> String {
        let count = |state, what| match self.checks.iter().filter(|check| check.state == state).count() {
            0 => None,
            1 => Some(format!("1 {what}")),
            many => Some(format!("{many} {what}s")),
        };
        let target = &self.target;
        match (count(State::Missing, "thing"), count(State::Warning, "warning")) {
            (None, None) => format!("target {target} works here"),
            (None, Some(warnings)) => format!("target {target} works here; {warnings} above"),
            (Some(missing), _) => {
                let installs = self.setup.as_ref().map(|setup| format!("; {setup} installs what can be installed"));
                let installs = installs.unwrap_or_default();
                format!("target {target} does not work here: {missing} missing (✘ above){installs}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_has_a_remedy_and_is_only_a_warning_without_need() {
        let settled = async |thing: Try| {
            let check = thing.settle(Duration::from_millis(20)).await;
            (check.state, check.found, check.remedy.unwrap_or_default())
        };
        let result = |state, found: &str, remedy: &str| (state, found.to_owned(), remedy.to_owned());
        let broken = || Try::needed("x", "mend it", std::future::ready(Err(Fault::missing("broken"))));
        assert_eq!(settled(broken()).await, result(State::Missing, "broken", "mend it"));
        assert_eq!(settled(broken().optional()).await, result(State::Warning, "broken", "mend it"));
        let own = std::future::ready(Err(Fault::missing("old").remedy("renew it")));
        assert_eq!(settled(Try::needed("x", "mend it", own)).await, result(State::Missing, "old", "renew it"));
        let works = std::future::ready(Ok("1.0".to_owned()));
        assert_eq!(settled(Try::needed("x", "mend it", works)).await, result(State::Ok, "1.0", ""));
        let hangs = settled(Try::needed("x", "restart it", std::future::pending())).await;
        assert_eq!(hangs, result(State::Missing, "gives no answer within 0.02 s", "restart it"));
    }

    #[test]
    fn the_last_line_counts_what_is_missing() {
        let check = |state| HostCheck { name: "crun".into(), state, found: "1.8".into(), remedy: None };
        let of = |states: &[State]| {
            let checks = states.iter().map(|state| check(*state)).collect();
            Diagnosis::of(&TargetSpec::Vm(Arch::Arm64), Some("ci/setup vm:arm64".into()), checks)
        };
        assert_eq!(of(&[State::Ok]).conclusion(), "target vm:arm64 works here");
        assert_eq!(of(&[State::Ok, State::Warning]).conclusion(), "target vm:arm64 works here; 1 warning above");
        let broken = of(&[State::Missing, State::Warning, State::Missing]);
        assert!(!broken.works);
        let expected = "target vm:arm64 does not work here: 2 things missing (✘ above); ci/setup vm:arm64 installs \
                        what can be installed";
        assert_eq!(broken.conclusion(), expected);
        let elsewhere = Diagnosis { setup: None, ..of(&[State::Missing]) };
        assert_eq!(elsewhere.conclusion(), "target vm:arm64 does not work here: 1 thing missing (✘ above)");
    }
}
