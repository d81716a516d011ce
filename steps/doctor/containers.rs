//! Checks Podman and the runtimes that it runs containers with.

use std::sync::Arc;
use std::time::Duration;

use super::host::Host;
use super::programs::tried;
use super::{CheckResult, Try};
use crate::exec::command::Command;
use crate::workloads::registry;

/// How long a container may take to run.
const TRIAL: Duration = Duration::from_secs(11);
/// How long removing a container that took longer may take.
const REMOVAL: Duration = Duration::from_secs(3);

pub fn tries(host: &Arc<Host>) -> Vec<Try> {
    let install = |package| host.distribution.install(&[package]);
    let runc = tried(host.clone(), "runc", "runc", "--version");
    let crun = tried(host.clone(), "crun", "crun", "--version");
    let mut tries = vec![
        Try::needed("podman", install("podman"), podman(host.clone())),
        Try::needed("runc", install("runc"), runc),
        Try::optional("crun", install("crun"), crun),
        Try::needed("containers run", install("runc"), container(host.clone())),
    ];
    if !rustix::process::geteuid().is_root() {
        tries.push(Try::needed("podman without root", install("uidmap"), rootless(host.clone())));
    }
    tries
}

async fn podman(host: Arc<Host>) -> CheckResult {
    let format = "{{.Version.Version}}, storage {{.Store.GraphDriverName}}, cgroups {{.Host.CgroupsVersion}}";
    match host.ask("podman", Command::new("podman").args(["info", "--format", format])).await {
        Ok(said) => CheckResult::works(said.lines().next().unwrap_or_default()),
        Err(finding) => finding,
    }
}

async fn rootless(host: Arc<Host>) -> CheckResult {
    match host.ask("uidmap", Command::new("podman").args(["unshare", "true"])).await {
        Ok(_) => CheckResult::works("has user ids of its own"),
        Err(finding) => finding,
    }
}

async fn container(host: Arc<Host>) -> CheckResult {
    if !host.has_registry_image().await {
        let image = host.registry_image();
        return CheckResult::worth_knowing(format!("not tried: {image} is not here yet"))
            .remedy("the first run gets it and tries it");
    }
    let build_dir = match host.build_dir() {
        Ok(build_dir) => build_dir,
        Err(error) => return CheckResult::fails(format!("{error:#}")),
    };
    let trial = registry::runtime(&build_dir, host.registry_image(), &build_dir.folder);
    match tokio::time::timeout(TRIAL, trial).await {
        Ok(Ok(None)) => CheckResult::works("as Podman is set up"),
        Ok(Ok(Some(_))) => CheckResult::works("with runc, not as Podman is set up"),
        Ok(Err(error)) => CheckResult::fails(format!("{error:#}")),
        Err(_) => {
            let remove = ["rm", "--force", "--ignore", &registry::trial(&build_dir.run)];
            let _ = host.start("podman", Command::new("podman").args(remove).time_limit(REMOVAL)).await;
            let said = format!("a container did not run within {} s", TRIAL.as_secs());
            CheckResult::fails(said).remedy(format!("see what `podman run --rm {}` does", host.registry_image()))
        }
    }
}
