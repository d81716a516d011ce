//! Checks what a target needs on this host by using it: each requirement is tried, not just looked for.

#[cfg(feature = "aws")]
mod cloud;
mod containers;
mod found;
mod host;
mod machines;
mod programs;
mod resources;
mod rust;
mod sdk;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};

use crate::base::platform::{Arch, TargetSpec};
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::targets::{Definition, RemoteAccess};
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
pub struct Check {
    pub name: String,
    pub state: State,
    /// Its version, or what is wrong with it.
    pub found: String,
    /// What to do; `None` if it works.
    pub remedy: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    schema: u32,
    /// The target, as `--target` names it.
    pub target: String,
    /// Whether a run on it would work.
    pub works: bool,
    /// The results, in the order of need.
    pub checks: Vec<Check>,
    /// The command that installs what is missing on this host, if something is missing.
    #[serde(skip)]
    setup: Option<String>,
}

/// The outcome of one check, before it has a name.
#[derive(Debug)]
struct CheckResult {
    state: State,
    found: String,
    remedy: Option<String>,
}

impl CheckResult {
    fn works(found: impl Into<String>) -> CheckResult {
        CheckResult { state: State::Ok, found: found.into(), remedy: None }
    }

    fn fails(found: impl Into<String>) -> CheckResult {
        CheckResult { state: State::Missing, found: found.into(), remedy: None }
    }

    fn worth_knowing(found: impl Into<String>) -> CheckResult {
        CheckResult { state: State::Warning, found: found.into(), remedy: None }
    }

    fn late(limit: Duration) -> CheckResult {
        CheckResult::fails(format!("gives no answer within {} s", limit.as_secs_f64()))
    }

    /// Makes the check's result. If the target works without the requirement, a failure is only a warning. `remedy` is
    /// used if the outcome does not bring its own.
    fn of(self, name: String, remedy: String, needed: bool) -> Check {
        let state = match self.state {
            State::Missing if !needed => State::Warning,
            state => state,
        };
        let remedy = (state != State::Ok).then(|| self.remedy.unwrap_or(remedy));
        Check { name, state, found: self.found, remedy }
    }

    /// Sets a remedy that replaces the one of its [`Try`].
    fn remedy(self, remedy: impl Into<String>) -> CheckResult {
        CheckResult { remedy: Some(remedy.into()), ..self }
    }
}

/// A check to make: its name, its future, and the remedy if it fails.
struct Try {
    name: String,
    remedy: String,
    needed: bool,
    attempt: Pin<Box<dyn Future<Output = CheckResult>>>,
}

impl Try {
    fn needed(
        name: impl Into<String>,
        remedy: impl Into<String>,
        attempt: impl Future<Output = CheckResult> + 'static,
    ) -> Try {
        Try { name: name.into(), remedy: remedy.into(), needed: true, attempt: Box::pin(attempt) }
    }

    fn optional(
        name: impl Into<String>,
        remedy: impl Into<String>,
        attempt: impl Future<Output = CheckResult> + 'static,
    ) -> Try {
        Try { needed: false, ..Try::needed(name, remedy, attempt) }
    }

    async fn settle(self, limit: Duration) -> Check {
        let finding = tokio::time::timeout(limit, self.attempt).await;
        finding.unwrap_or_else(|_| CheckResult::late(limit)).of(self.name, self.remedy, self.needed)
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
        tries.extend(machines::tries(&host));
    }
    tries.extend(resources::tries(&host, machines));
    if *target == TargetSpec::Ec2 {
        tries.push(sdk::room());
    }
    let mut checks = LocalSet::new().run_until(side_by_side(tries, LIMIT, progress)).await?;
    let of_host = checks.len();
    if *target == TargetSpec::Ec2 {
        checks.push(sdk::built());
        #[cfg(feature = "aws")]
        checks.extend(cloud::checks(settings, progress).await);
    }
    if target.is_found() {
        progress.say(format!("looking at {target}"));
        checks.extend(
            found::checks(RemoteAccess { target: target.clone(), host_key, provision: false }, settings).await?,
        );
    }
    let here = if *target == TargetSpec::Podman { checks.len() } else { of_host };
    let lacks = checks.iter().take(here).any(|check| check.state == State::Missing);
    let setup = lacks.then(|| host.setup());
    Ok(Diagnosis::of(target, setup, checks))
}

async fn side_by_side(tries: Vec<Try>, limit: Duration, progress: &Progress) -> anyhow::Result<Vec<Check>> {
    let mut pending: BTreeMap<usize, String> = tries.iter().map(|thing| thing.name.clone()).enumerate().collect();
    let mut running = JoinSet::new();
    for (number, thing) in tries.into_iter().enumerate() {
        running.spawn_local(async move { (number, thing.settle(limit).await) });
    }
    let mut done = BTreeMap::new();
    loop {
        match tokio::time::timeout(PATIENCE, running.join_next()).await {
            Ok(None) => return Ok(done.into_values().collect()),
            Ok(Some(ended)) => {
                let (number, check) = ended?;
                pending.remove(&number);
                done.insert(number, check);
            }
            Err(_) => {
                let names: Vec<&str> = pending.values().map(String::as_str).collect();
                progress.say(format!("trying: {}", names.join(", ")));
            }
        }
    }
}

impl Diagnosis {
    fn of(target: &TargetSpec, setup: Option<String>, checks: Vec<Check>) -> Diagnosis {
        let works = checks.iter().all(|check| check.state != State::Missing);
        Diagnosis { schema: 1, target: target.to_string(), works, checks, setup }
    }

    fn count(&self, state: State) -> usize {
        self.checks.iter().filter(|check| check.state == state).count()
    }

    /// Formats a line for each check, with the remedy below each that does not work.
    pub fn show(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for Check { name, state, found, remedy } in &self.checks {
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
        let (target, plural) = (&self.target, |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        });
        match (self.count(State::Missing), self.count(State::Warning)) {
            (0, 0) => format!("target {target} works here"),
            (0, warnings) => format!("target {target} works here; {} above", plural(warnings, "warning")),
            (missing, _) => {
                let installs = self.setup.as_ref().map(|setup| format!("; what can be installed, {setup} installs"));
                let (missing, installs) = (plural(missing, "thing"), installs.unwrap_or_default());
                format!("target {target} does not work here: {missing} missing (✘ above){installs}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn settled(thing: Try) -> Check {
        thing.settle(Duration::from_millis(20)).await
    }

    #[tokio::test]
    async fn what_hangs_is_given_up_and_named() {
        let check = settled(Try::needed("podman", "restart it", std::future::pending())).await;
        assert_eq!((check.state, check.found.as_str()), (State::Missing, "gives no answer within 0.02 s"));
        assert_eq!(check.remedy.as_deref(), Some("restart it"));
    }

    #[tokio::test]
    async fn what_is_not_needed_is_a_warning_and_what_works_has_no_remedy() {
        let broken = || std::future::ready(CheckResult::fails("broken"));
        assert_eq!(settled(Try::needed("x", "mend it", broken())).await.state, State::Missing);
        assert_eq!(settled(Try::optional("x", "mend it", broken())).await.state, State::Warning);
        let own = std::future::ready(CheckResult::fails("old").remedy("renew it"));
        assert_eq!(settled(Try::needed("x", "mend it", own)).await.remedy.as_deref(), Some("renew it"));
        let works = settled(Try::needed("x", "mend it", std::future::ready(CheckResult::works("1.0")))).await;
        assert_eq!((works.state, works.remedy), (State::Ok, None));
    }

    #[tokio::test]
    async fn the_order_is_that_of_need_and_not_of_speed() {
        let after = |name: &str, millis| {
            Try::needed(name, "", async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                CheckResult::works("")
            })
        };
        let tries = vec![after("slow", 30), after("quick", 0)];
        let quiet = Progress::to(|_| {});
        let checks = LocalSet::new().run_until(side_by_side(tries, LIMIT, &quiet)).await.unwrap();
        assert_eq!(checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(), ["slow", "quick"]);
    }

    #[test]
    fn the_last_line_counts_what_is_missing() {
        let check = |state| Check { name: "crun".into(), state, found: "1.8".into(), remedy: None };
        let of = |states: &[State]| {
            let checks = states.iter().map(|state| check(*state)).collect();
            Diagnosis::of(&TargetSpec::Vm(Arch::Arm64), Some("ci/setup vm:arm64".into()), checks)
        };
        assert_eq!(of(&[State::Ok]).conclusion(), "target vm:arm64 works here");
        assert_eq!(of(&[State::Ok, State::Warning]).conclusion(), "target vm:arm64 works here; 1 warning above");
        let broken = of(&[State::Missing, State::Warning, State::Missing]);
        assert!(!broken.works);
        let said = "target vm:arm64 does not work here: 2 things missing (✘ above); what can be installed, \
                    ci/setup vm:arm64 installs";
        assert_eq!(broken.conclusion(), said);
        let elsewhere = Diagnosis { setup: None, ..of(&[State::Missing]) };
        assert_eq!(elsewhere.conclusion(), "target vm:arm64 does not work here: 1 thing missing (✘ above)");
    }
}
