//! Checks what virtual machines run on, and the tools that make their disks if none is cached.

use std::sync::Arc;

use super::host::{Disk, Host};
use super::programs::{by_version, tried};
use super::{CheckResult, State, Try};
use crate::base::commands;
use crate::base::platform::Arch;
use crate::exec::command::Command;
use crate::targets::machine_info::Accelerator;
use crate::targets::{self, Distribution, KEYRING, Qemu};

/// The tools besides mmdebstrap that disks are made with: program, package, and the option that prints its version.
const MAKERS: [(&str, &str, &str); 4] = [
    ("mke2fs", "e2fsprogs", "-V"),
    ("dpkg-query", "dpkg", "--version"),
    ("unshare", "util-linux", "--version"),
    ("mount", "mount", "--version"),
];

pub fn tries(host: &Arc<Host>) -> Vec<Try> {
    let mut tries = Vec::new();
    for arch in host.arches.iter().copied() {
        let newer = host.distribution.install_newer(&emulator(arch), &host.setup());
        let rom = host.distribution.install(&["ipxe-qemu"]);
        tries.push(Try::needed(targets::emulator(arch), &newer, qemu(host.clone(), arch, newer.clone())));
        tries.push(Try::needed(format!("network card of {arch} machines"), rom, card(host.clone(), arch)));
        let elsewhere = match host.has_the_device() {
            true => "a host whose CPUs do KVM judges them",
            false => "a host whose CPUs do KVM is faster",
        };
        tries.push(Try::optional(format!("acceleration of {arch}"), elsewhere, acceleration(host.clone(), arch)));
    }
    let utils = host.distribution.install(&["qemu-utils"]);
    tries.push(Try::needed("qemu-img", utils, tried(host.clone(), "qemu-img", "qemu-utils", "--version")));
    for number in 0..host.disks.len() {
        if let Some(disk) = host.disks.get(number) {
            let make = commands::assay(&format!("setup vm:{}", disk.arch));
            let name = format!("disk of {} machines", disk.arch);
            tries.push(Try::needed(name, make, std::future::ready(disk_of(disk))));
        }
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

async fn qemu(host: Arc<Host>, arch: Arch, newer: String) -> CheckResult {
    let said = host.ask(emulator(arch)[0], Command::new(targets::emulator(arch)).arg("--version")).await;
    if said.is_err() {
        // The package's name depends on the version of the distribution.
        return said.map_or_else(|finding| finding.remedy(newer), CheckResult::works);
    }
    let installed = match Qemu::installed(&host.shell, arch).await {
        Ok(qemu) => qemu,
        Err(error) => return CheckResult::fails(format!("{error:#}")),
    };
    match installed.fit(Accelerator::Tcg) {
        Ok(()) => CheckResult::works(installed.version),
        Err(error) => CheckResult::fails(format!("too old: {error}")),
    }
}

/// Starts a machine that has only our network card, and ends it before its first instruction.
async fn card(host: Arc<Host>, arch: Arch) -> CheckResult {
    let command = Qemu { program: targets::emulator(arch), version: String::new(), build: String::new() }.bare(arch);
    match host.start(emulator(arch)[0], command).await {
        Err(finding) => finding,
        Ok(output) if output.succeeded() => CheckResult::works("starts"),
        Ok(output) => {
            let errors = output.errors();
            let first = errors.lines().next().unwrap_or("and says nothing");
            CheckResult::fails(format!("does not start ({}): {first}", output.status))
        }
    }
}

async fn acceleration(host: Arc<Host>, arch: Arch) -> CheckResult {
    let emulated = match host.has_the_device() {
        true => "the cpu is emulated: claims about time are recorded, not judged",
        false => "the cpu is emulated: controls take long",
    };
    if Arch::host() != Some(arch) {
        return CheckResult::worth_knowing(format!("another architecture than this host's: {emulated}"));
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        let finding = CheckResult::worth_knowing(format!("/dev/kvm: {error}: {emulated}"));
        return match error.kind() {
            std::io::ErrorKind::PermissionDenied => finding.remedy("sudo usermod -aG kvm \"$USER\", and log in again"),
            _ => finding,
        };
    }
    let Some(image) = host.disks.iter().find(|disk| disk.arch == arch).and_then(|disk| disk.kept.as_ref()) else {
        return CheckResult::worth_knowing(
            "KVM can be opened; whether a guest starts on it was not tried without a disk",
        )
        .remedy("the first run tries it");
    };
    let tried = match host.context() {
        Ok(context) => {
            targets::try_kvm(&context, image, arch).await.map_err(|why| format!("KVM does not work ({why})"))
        }
        Err(error) => Err(format!("KVM cannot be tried ({error:#})")),
    };
    match tried {
        Ok(()) => CheckResult::works("KVM: a guest starts on it"),
        Err(why) => CheckResult::worth_knowing(format!("{why}: {emulated}")),
    }
}

fn disk_of(disk: &Disk) -> CheckResult {
    let name = disk.definition.distribution.name();
    match &disk.kept {
        Some(image) => CheckResult::works(format!(
            "{name}, {} packages, made {}",
            image.manifest.packages.len(),
            image.manifest.built
        )),
        None => CheckResult::worth_knowing(format!("{name} is not made yet: the first run does that")),
    }
}

/// Checks the tools that disks and containers' images are made with; they are needed until all of these are cached.
fn makers(host: &Arc<Host>) -> Vec<Try> {
    let needed = host.makes_disks();
    let install = |package| host.distribution.install(&[package]);
    let mut tries = vec![Try::needed("mmdebstrap", install("mmdebstrap"), {
        let host = host.clone();
        async move {
            let finding = tried(host.clone(), "mmdebstrap", "mmdebstrap", "--version").await;
            only_if_made(&host, finding).await
        }
    })];
    let with_need = |thing: Try| Try { needed, ..thing };
    for (program, package, option) in MAKERS {
        tries.push(with_need(Try::needed(program, install(package), {
            let host = host.clone();
            async move { noted(tried(host, program, package, option).await, needed) }
        })));
    }
    let keyring = install("debian-archive-keyring");
    tries.push(with_need(Try::needed("gpg and Debian's keys", keyring, {
        let host = host.clone();
        async move { noted(keys(host).await, needed) }
    })));
    let mut foreign: Vec<Arch> = host.arches.iter().copied().chain([host.device]).collect();
    foreign.retain(|arch| Arch::host() != Some(*arch));
    foreign.dedup();
    for arch in foreign {
        let needed = host.unmade().contains(&arch);
        let remedy = format!("{} (installs qemu-user-static, tells the kernel of it)", host.setup());
        let emulation = Try::needed(format!("{arch} programs"), remedy, {
            let host = host.clone();
            async move { noted(programs_of(host, arch).await, needed) }
        });
        tries.push(Try { needed, ..emulation });
    }
    tries.push(Try::needed("package mirror", "set ASSAY_MIRROR to one that can be reached", mirror(host.clone())));
    tries
}

/// Adds to a failed result that nothing needs it now.
fn noted(finding: CheckResult, needed: bool) -> CheckResult {
    match finding.state {
        State::Missing if !needed => CheckResult {
            found: format!("{} (only needed to make disks, and those are kept)", finding.found),
            ..finding
        },
        _ => finding,
    }
}

/// Makes a failure a warning if everything that is made from packages is cached.
async fn only_if_made(host: &Host, finding: CheckResult) -> CheckResult {
    match finding.state {
        State::Missing if !host.makes_images().await => {
            let found = format!("{} (only needed to make images, and those are kept)", finding.found);
            CheckResult { state: State::Warning, found, ..finding }
        }
        _ => finding,
    }
}

async fn keys(host: Arc<Host>) -> CheckResult {
    if !std::path::Path::new(KEYRING).exists() {
        return CheckResult::fails(format!("{KEYRING} is not there"));
    }
    let home = host.folder().display().to_string();
    let show = ["--homedir", &home, "--batch", "--no-autostart", "--quiet", "--show-keys", KEYRING];
    match host.ask("gpg", Command::new("gpg").args(show)).await {
        Ok(_) => by_version(host.ask("gpg", Command::new("gpg").arg("--version")).await),
        Err(finding) => finding,
    }
}

/// Checks whether programs of another architecture run here.
async fn programs_of(host: Arc<Host>, arch: Arch) -> CheckResult {
    match host.start("arch-test", Command::new("arch-test").arg(arch.debian())).await {
        Err(finding) => finding,
        Ok(output) if output.succeeded() => CheckResult::works("run, through qemu-user"),
        Ok(_) => CheckResult::fails("do not run here"),
    }
}

async fn mirror(host: Arc<Host>) -> CheckResult {
    let distributions = host.disks.iter().map(|disk| disk.definition.distribution);
    let distribution = distributions.into_iter().next().unwrap_or(Distribution::Debian13);
    let finding = match targets::reach_mirror(&host.shell, &host.settings, distribution, host.folder()).await {
        Ok(mirror) => CheckResult::works(format!("{mirror} has {}", distribution.name())),
        Err(error) => CheckResult::fails(format!("{error:#}")),
    };
    only_if_made(&host, finding).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_needs_now_is_said_to_be_so() {
        let found = |needed| noted(CheckResult::fails("not installed"), needed).found;
        assert_eq!(found(true), "not installed");
        assert_eq!(found(false), "not installed (only needed to make disks, and those are kept)");
        assert_eq!(noted(CheckResult::works("1.0"), false).found, "1.0");
    }
}
