//! Uses a remote machine or this host for a run: checks it first, and restores it afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Context;
use super::machine::{Body, Machine, Pending};
use crate::base::platform::TargetSpec;
use crate::base::settings::Settings;
use crate::exec::cleanup::Resource;
use crate::exec::command::{Command, tail};
use crate::exec::shell::{CommandObserver, NoopObserver, OpenSsh, Shell, SshDestination};
use crate::targets::machine_info::MachineInfo;
use crate::targets::preflight::{Preflight, PreflightCheck, Root};

const SETTLE: &str = include_str!("remote/settle.sh");
const PROVISION: &str = include_str!("remote/provision.sh");
const LEAVE: &str = include_str!("remote/leave.sh");
/// How long installing what is missing may take, on a slow board with a slow mirror.
const INSTALLING: Duration = Duration::from_secs(20 * 60);
/// How long removing everything may take: images have many files.
const LEAVING: Duration = Duration::from_secs(10 * 60);

/// How to reach a remote machine, or this host.
#[derive(Clone, Debug)]
pub struct RemoteAccess {
    pub target: TargetSpec,
    /// The fingerprint of its host key, if one is given: `SHA256:…`.
    pub host_key: Option<String>,
    /// Whether a run may install what is missing, for as long as it lasts.
    pub provision: bool,
}

#[derive(Clone, Debug)]
pub struct RemoteHost {
    access: RemoteAccess,
    pub preflight: Preflight,
    units: Vec<String>,
}

/// Fails with what a target lacks, if anything.
pub(super) fn check_complete(target: &TargetSpec, checks: &[PreflightCheck]) -> anyhow::Result<()> {
    let line = |check: &PreflightCheck| {
        format!("\n  {}: {}; {}", check.name, check.found, check.remedy.as_deref().unwrap_or_default())
    };
    let hint = match checks.iter().any(|check| check.by.is_some()) {
        true => "; with --provision a run brings packages, lingering and the link, and takes them away again",
        false => "",
    };
    let lines: String = checks.iter().map(line).collect();
    anyhow::ensure!(
        lines.is_empty(),
        "{target} lacks what a run needs:{lines}\n`{}` tells all of it{hint}",
        target.doctor()
    );
    Ok(())
}

impl RemoteAccess {
    async fn enter(&self, settings: &Settings, observer: Arc<dyn CommandObserver>) -> anyhow::Result<Shell> {
        match &self.target {
            TargetSpec::Ssh { user, host, port } => {
                let destination =
                    SshDestination::new(user.as_deref(), host, *port, self.host_key.as_deref(), settings)?;
                Ok(Shell::remote(OpenSsh::enter(&destination).await?, observer))
            }
            _ => {
                let home = settings.home.clone().context("there is no home folder to put units in: set HOME")?;
                Ok(Shell::local_in(home, observer))
            }
        }
    }

    /// Returns the checks for a run there. Over SSH, units are needed; on this host they are optional.
    pub fn checks(&self, preflight: &Preflight) -> Vec<PreflightCheck> {
        preflight.checks(self.target != TargetSpec::Podman)
    }

    fn resource(&self, run: &str) -> Resource {
        Resource::RemoteHost { run: run.to_owned(), target: self.target.to_string(), host_key: self.host_key.clone() }
    }

    /// Logs in to the machine and runs the preflight; `units` are the names that the run will give to units.
    pub async fn inspect(self, units: Vec<String>, settings: &Settings) -> anyhow::Result<RemoteHost> {
        let shell = self.enter(settings, Arc::new(NoopObserver)).await?;
        let preflight =
            Preflight::take(&shell, &units).await.with_context(|| format!("{} cannot be looked at", self.target))?;
        Ok(RemoteHost { access: self, preflight, units })
    }

    /// Removes what a finished run has left there.
    pub async fn leave(&self, run: &str, settings: &Settings) -> anyhow::Result<()> {
        leave(&self.enter(settings, Arc::new(NoopObserver)).await?, run).await
    }
}

async fn leave(shell: &Shell, run: &str) -> anyhow::Result<()> {
    let output = shell.run(&Command::script(LEAVE, &[run]).time_limit(LEAVING)).await?;
    let printed = output.text();
    let why = || format!("{}: not left as it was: {}", shell.machine(), tail(&printed, 3));
    output.success().with_context(why).map(drop)
}

impl RemoteHost {
    /// Checks that nothing is missing that a run needs and does not install itself.
    pub fn check(&self) -> anyhow::Result<()> {
        let brings = self.access.provision && self.preflight.root != Root::Never;
        let mut checks = self.access.checks(&self.preflight);
        checks.retain(|check| check.is_missing() && !(brings && check.by.is_some()));
        check_complete(&self.access.target, &checks)
    }

    /// Installs what is missing, and returns the machine info afterwards.
    async fn provision(&self, shell: &Shell, context: &Context) -> anyhow::Result<MachineInfo> {
        let target = &self.access.target;
        let mut lacking = self.access.checks(&self.preflight);
        lacking.retain(|check| check.is_missing() && check.by.is_some());
        if lacking.is_empty() {
            return Ok(self.preflight.facts.clone());
        }
        let words: Vec<&str> = lacking.iter().filter_map(|check| check.by).collect();
        context.progress.note(format!("{target}: bringing {}, for the time of the run", words.join(", ")));
        let bring = Command::script(PROVISION, &[&[&*context.run], &*words].concat()).time_limit(INSTALLING);
        shell.run(&bring).await?.success().with_context(|| format!("{target}: what it lacks cannot be brought"))?;
        let preflight = Preflight::take(shell, &[]).await?;
        let mut checks = self.access.checks(&preflight);
        checks.retain(|check| check.is_missing() && lacking.iter().any(|lacked| lacked.name == check.name));
        check_complete(target, &checks)?;
        Ok(preflight.facts)
    }

    /// Logs in to the machine for a run, and makes the only folder that the run uses there.
    pub async fn open_session(&self, name: &str, context: &Context) -> anyhow::Result<Machine> {
        let started = Instant::now();
        let shell = self.access.enter(&context.settings, context.observer.clone()).await?.named(name);
        context.cleanup.register(self.access.resource(&context.run))?;
        let parameters: Vec<&str> = [&context.run].into_iter().chain(&self.units).map(String::as_str).collect();
        let folder = shell.read(&Command::script(SETTLE, &parameters)).await?.trim().to_owned();
        let facts = Box::pin(self.provision(&shell, context)).await?;
        // Podman needs such a folder, and a user without a systemd login has none.
        let runtime = self.preflight.runtime.is_none().then(|| ("XDG_RUNTIME_DIR".to_owned(), format!("{folder}/run")));
        let variables = [
            ("CONTAINERS_STORAGE_CONF".to_owned(), format!("{folder}/storage.conf")),
            ("XDG_DATA_HOME".to_owned(), format!("{folder}/data")),
        ];
        let shell = shell.with_variables(variables.into_iter().chain(runtime));
        tracing::info!("{name}: connected to {}: {}", self.access.target, facts.distribution);
        let session = RemoteSession { host: self.clone(), context: context.clone(), shell: shell.clone() };
        Ok(Machine::new(context, name.to_owned(), shell, facts, started, session))
    }
}

/// A remote machine, or this host, while a run uses it.
#[derive(Debug)]
struct RemoteSession {
    host: RemoteHost,
    context: Context,
    shell: Shell,
}

impl Body for RemoteSession {
    fn journal(&self) -> Command {
        let units = self.host.units.iter().map(|unit| format!("--user-unit={unit}.service"));
        Command::new("journalctl").args(["-o", "short-precise", "--no-hostname", "--no-pager", "--boot"]).args(units)
    }

    fn loopback(&self) -> Option<&'static str> {
        None
    }

    fn command_line(&self) -> String {
        match &self.host.access.target {
            TargetSpec::Ssh { user, host, port } => {
                let port = port.map_or(String::new(), |port| format!("-p {port} "));
                let user = user.as_ref().map_or(String::new(), |user| format!("{user}@"));
                format!("ssh {port}{user}{host}")
            }
            _ => "it is this host".to_owned(),
        }
    }

    fn shut_down(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let left = leave(&self.shell, &self.context.run).await;
            let resource = self.host.access.resource(&self.context.run);
            if let Err(error) = left.and_then(|()| self.context.cleanup.mark_gone(&resource)) {
                self.context.progress.note(format!("{}: {error:#}", self.host.access.target));
            }
        })
    }
}

#[cfg(test)]
mod tests;
