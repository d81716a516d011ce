//! Checks Podman and the runtimes that it runs containers with.

use std::sync::Arc;
use std::time::Duration;

use super::host::Host;
use super::programs::program;
use super::{Fault, Tried, Try};
use assay::exec::command::{Command, tail};
use assay::workloads::registry;

/// How long a container may take to run.
const TRIAL: Duration = Duration::from_secs(11);
/// How long removing a container that took longer may take.
const REMOVAL: Duration = Duration::from_secs(3);

pub fn tries(host: &Arc<Host>) -> Vec<Try> {
    let install = |package| host.distribution.install(&[package]);
    let mut tries = vec![
        Try::needed("podman", install("podman"), podman(host.clone())),
        program(host, "runc", "runc", "runc", "--version"),
        program(host, "crun", "crun", "crun", "--version").optional(),
        Try::needed("containers run", install("runc"), container(host.clone())),
    ];
    if !rustix::process::geteuid().is_root() {
        tries.push(Try::needed("podman without root", install("uidmap"), rootless(host.clone())));
    }
    tries
}

async fn podman(host: Arc<Host>) -> Tried {
    let format = "{{.Version.Version}}, storage {{.Store.GraphDriverName}}, cgroups {{.Host.CgroupsVersion}}";
    let printed = host.ask("podman", Command::new("podman").args(["info", "--format", format])).await?;
    Ok(printed.lines().next().unwrap_or_default().to_owned())
}

async fn rootless(host: Arc<Host>) -> Tried {
    let map = host.start("uidmap", Command::new("podman").args(["unshare", "cat", "/proc/self/uid_map"])).await?;
    // Without ids of its own, the user is the only one there.
    match map.text().lines().count() > 1 {
        true => Ok("has user ids of its own".to_owned()),
        false => {
            Err(Fault::missing(format!("no user ids of its own: {}", tail(&map.errors(), 1)).trim_end_matches(": "))
                .remedy(format!("{} gives them to this user", host.setup())))
        }
    }
}

async fn container(host: Arc<Host>) -> Tried {
    let image = host.registry_image();
    if !host.has_registry_image().await {
        let problem = Fault::warning(format!("not tried: {image} is not here yet"));
        return Err(problem.remedy("the first run gets it and tries it"));
    }
    let build_dir = host.build_dir()?;
    let trial = registry::runtime(&build_dir, image, &build_dir.folder);
    let Ok(runtime) = tokio::time::timeout(TRIAL, trial).await else {
        let remove = ["rm", "--force", "--ignore", &registry::trial(&build_dir.run)];
        let _ = host.start("podman", Command::new("podman").args(remove).time_limit(REMOVAL)).await;
        let problem = Fault::missing(format!("a container did not run within {} s", TRIAL.as_secs()));
        return Err(problem.remedy(format!("see what `podman run --rm {image}` does")));
    };
    Ok(match runtime? {
        None => "as Podman is set up".to_owned(),
        Some(_) => "with runc, not as Podman is set up".to_owned(),
    })
}
