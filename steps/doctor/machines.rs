//! Checks what virtual machines run on, and the tools that make their disks if none is cached.

use std::sync::Arc;

use super::host::{Disk, Host};
use super::programs::{program, shortened};
use super::{Fault, State, Tried, Try};
use assay::base::commands;
use assay::base::platform::Arch;
use assay::exec::command::Command;
use assay::targets::machine_info::Accelerator;
use assay::targets::{self, Qemu};

/// The tools besides mmdebstrap that disks are made with: program, package, and the option that prints its version.
const MAKERS: [(&str, &str, &str); 4] = [
    ("mke2fs", "e2fsprogs", "-V"),
    ("dpkg-query", "dpkg", "--version"),
    ("unshare", "util-linux", "--version"),
    ("mount", "mount", "--version"),
];

pub fn tries(host: &Arc<Host>) -> Vec<Try> {
    let mut tries = Vec::new();
    for arch in host.arches.iter().copied().filter(|_| host.has_vms()) {
        let newer = host.distribution.install_newer(&emulator(arch), &host.setup());
        let rom = host.distribution.install(&["ipxe-qemu"]);
        tries.push(Try::needed(targets::emulator(arch), &newer, qemu(host.clone(), arch, newer.clone())));
        tries.push(Try::needed(format!("network card of {arch} machines"), rom, card(host.clone(), arch)));
        let elsewhere = match host.has_the_device() {
            true => "a host whose CPUs do KVM judges them",
            false => "a host whose CPUs do KVM is faster",
        };
        let acceleration = acceleration(host.clone(), arch);
        tries.push(Try::needed(format!("acceleration of {arch}"), elsewhere, acceleration).optional());
    }
    if host.has_vms() {
        tries.push(program(host, "qemu-img", "qemu-img", "qemu-utils", "--version"));
    }
    for disk in &host.disks {
        let make = commands::assay(&format!("setup vm:{}", disk.arch));
        tries.push(Try::needed(format!("disk of {} machines", disk.arch), make, std::future::ready(disk_of(disk))));
    }
    tries.extend(makers(host));
    tries
}

fn emulator(arch: Arch) -> [&'static str; 3] {
    let system = match arch {
        Arch::Amd64 => "qemu-system-x86",
        Arch::Arm64 => "qemu-system-arm",
    };
    [system, "qemu-utils", "ipxe-qemu"]
}

async fn qemu(host: Arc<Host>, arch: Arch, newer: String) -> Tried {
    let version = Command::new(targets::emulator(arch)).arg("--version");
    // The package's name depends on the version of the distribution.
    host.ask(emulator(arch)[0], version).await.map_err(|problem| problem.remedy(newer))?;
    let installed = Qemu::installed(&host.shell, arch).await?;
    match installed.fit(Accelerator::Tcg) {
        Ok(()) => Ok(installed.version),
        Err(error) => Err(Fault::missing(format!("too old: {error}"))),
    }
}

/// Starts a machine that has only our network card, and ends it before its first instruction.
async fn card(host: Arc<Host>, arch: Arch) -> Tried {
    let command = Qemu { program: targets::emulator(arch), version: String::new(), build: String::new() }.bare(arch);
    let output = host.start(emulator(arch)[0], command).await?;
    if output.succeeded() {
        return Ok("starts".to_owned());
    }
    let errors = output.errors();
    let first = errors.lines().next().unwrap_or("and says nothing");
    Err(Fault::missing(format!("does not start ({}): {first}", output.status)))
}

async fn acceleration(host: Arc<Host>, arch: Arch) -> Tried {
    let emulated = |reason: String| {
        let cost = match host.has_the_device() {
            true => "claims about time are recorded, not judged",
            false => "controls take long",
        };
        Fault::warning(format!("{reason}: the cpu is emulated: {cost}"))
    };
    if Arch::host() != Some(arch) {
        return Err(emulated("another architecture than this host's".to_owned()));
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        let problem = emulated(format!("/dev/kvm: {error}"));
        return Err(match error.kind() {
            std::io::ErrorKind::PermissionDenied => problem.remedy("sudo usermod -aG kvm \"$USER\", and log in again"),
            _ => problem,
        });
    }
    let Some(image) = host.disks.iter().find(|disk| disk.arch == arch).and_then(|disk| disk.kept.as_ref()) else {
        let untried = "KVM can be opened; whether a guest starts on it was not tried without a disk";
        return Err(Fault::warning(untried).remedy("the first run tries it"));
    };
    let context = host.context().map_err(|error| emulated(format!("KVM cannot be tried ({error:#})")))?;
    let tried = targets::try_kvm(&context, image, arch).await;
    tried.map_err(|reason| emulated(format!("KVM does not work ({reason})")))?;
    Ok("KVM: a guest starts on it".to_owned())
}

fn disk_of(disk: &Disk) -> Tried {
    let name = &disk.definition.platform.name;
    match &disk.kept {
        Some(image) => Ok(format!("{name}, {} packages, made {}", image.manifest.packages.len(), image.manifest.built)),
        None => Err(Fault::warning(format!("{name} is not made yet: the first run does that"))),
    }
}

/// Checks the tools that disks and containers' images are made with; they are needed until all of these are cached.
fn makers(host: &Arc<Host>) -> Vec<Try> {
    let install = |package| host.distribution.install(&[package]);
    let disks = host.makes_disks();
    let mut tries = vec![for_images(host, program(host, "mmdebstrap", "mmdebstrap", "mmdebstrap", "--version"))];
    for (name, package, option) in MAKERS {
        tries.push(for_disks(disks, program(host, name, name, package, option)));
    }
    let remedy = match host.platform.keyring.package.as_deref() {
        Some(package) => install(package),
        None => format!("correct keyring in {}", host.platform.path.display()),
    };
    let keys = Try::needed("gpg and the archive's keys", remedy, keys(host.clone()));
    tries.push(for_disks(disks, keys));
    let mut foreign: Vec<Arch> = host.arches.iter().copied().chain([host.device]).collect();
    foreign.retain(|arch| Arch::host() != Some(*arch));
    foreign.dedup();
    for arch in foreign {
        let remedy = format!("{} (installs qemu-user-static, tells the kernel of it)", host.setup());
        let emulation = Try::needed(format!("{arch} programs"), remedy, programs_of(host.clone(), arch));
        tries.push(for_disks(host.unmade().contains(&arch), emulation));
    }
    let remedy = match host.platform.archive(host.device) {
        Some(_) => format!("name one that can be reached in {}", host.platform.path.display()),
        None => "set ASSAY_MIRROR to one that can be reached".to_owned(),
    };
    let mirror = Try::needed("package mirror", remedy, mirror(host.clone()));
    tries.push(for_images(host, mirror));
    tries
}

/// Makes a check that is needed only if disks are still to be made.
fn for_disks(needed: bool, check: Try) -> Try {
    let noted = move |outcome: Tried| outcome.map_err(|problem| if needed { problem } else { kept(problem, "disks") });
    Try { needed, ..check.then(async move |outcome| noted(outcome)) }
}

/// Makes a check whose failure is a warning if everything that is made from packages is cached.
fn for_images(host: &Arc<Host>, check: Try) -> Try {
    let host = host.clone();
    check.then(async move |outcome| match outcome {
        Err(problem) if !host.makes_images().await => Err(Fault { state: State::Warning, ..kept(problem, "images") }),
        outcome => outcome,
    })
}

/// Adds to a problem that nothing needs the tool now.
fn kept(problem: Fault, what: &str) -> Fault {
    let found = format!("{} (only needed to make {what}, and those are kept)", problem.found);
    Fault { found, ..problem }
}

async fn keys(host: Arc<Host>) -> Tried {
    let keyring = &host.platform.keyring.file;
    if !keyring.exists() {
        return Err(Fault::missing(format!("{} is not there", keyring.display())));
    }
    let [home, keyring] = [host.folder(), keyring].map(|path| path.display().to_string());
    let show = ["--homedir", &home, "--batch", "--no-autostart", "--quiet", "--show-keys", &keyring];
    host.ask("gpg", Command::new("gpg").args(show)).await?;
    host.ask("gpg", Command::new("gpg").arg("--version")).await.map(shortened)
}

/// Checks whether programs of another architecture run here.
async fn programs_of(host: Arc<Host>, arch: Arch) -> Tried {
    let output = host.start("arch-test", Command::new("arch-test").arg(arch.debian())).await?;
    match output.succeeded() {
        true => Ok("run, through qemu-user".to_owned()),
        false => Err(Fault::missing("do not run here")),
    }
}

async fn mirror(host: Arc<Host>) -> Tried {
    let (platform, arch) = (&host.platform, host.arches.first().copied().unwrap_or(host.device));
    let mirror = targets::reach_mirror(&host.shell, &host.settings, platform, arch, host.folder()).await?;
    Ok(format!("{mirror} has {}", platform.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_with_a_tool_that_nothing_needs_now_says_so() {
        let failing = || Try::needed("x", "", std::future::ready(Err(Fault::missing("not installed"))));
        assert_eq!(for_disks(true, failing()).attempt.await.unwrap_err().found, "not installed");
        let unneeded = for_disks(false, failing());
        assert!(!unneeded.needed);
        let found = unneeded.attempt.await.unwrap_err().found;
        assert_eq!(found, "not installed (only needed to make disks, and those are kept)");
    }
}
