//! Checks what a remote machine has and lacks for a run, and names the commands that install what is missing. The
//! checks run one script that changes nothing, and parse what it prints.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use anyhow::Context as _;
use jiff::SignedDuration;

use crate::base::commands;
use crate::base::packages::Distribution;
use crate::base::platform::Arch;
use crate::base::procfs::now;
use crate::base::unit::Bytes;
use crate::base::version::Version;
use crate::claims::register::Requirement;
use crate::exec::command::Command;
use crate::exec::shell::Shell;
use crate::targets::machine_info::{Accelerator, MachineInfo, section};

/// What to do where crun has no WasmEdge.
const WITH_WASM: &str = "take a crun that is built with it: Debian 13 and Ubuntu 24.04 have one";
const SCRIPT: &str = include_str!("preflight/survey.sh");
/// How far the machine's clock may be from this host's, in seconds: the evidence has times of both side by side.
const SKEW: f64 = 60.0;
/// The disk space that a run may need: for the images of conventional containers and for unpacking them.
const DISK_NEEDED: Bytes = Bytes(512 * 1024 * 1024);
/// The cgroup controllers that limit a unit. Without the last one, crun starts nothing for which Podman sets its limit.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// The first Podman version with Quadlets.
const PODMAN: &str = "4.4";
/// The first Podman version that finds the WebAssembly runtime without the link `crun-wasm`.
const WITHOUT_LINK: &str = "5";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Is,
    /// By sudo, without a password.
    Sudo,
    Never,
}

#[derive(Clone, Debug)]
pub struct Preflight {
    pub facts: MachineInfo,
    pub root: Root,
    /// The user's home; empty if it is not writable.
    pub home: String,
    /// The user's folder below `/run`, if a login made one.
    pub runtime: Option<String>,
    pub systemd: bool,
    text: String,
    /// The difference between the machine's clock and this host's, in seconds; negative if it is behind.
    clock: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightCheck {
    pub name: &'static str,
    pub found: String,
    /// The command or advice that fixes it, if it is not met.
    pub remedy: Option<String>,
    pub needed: bool,
    /// What the provisioning script brings to meet it, where the machine may be provisioned: a package, `linger`, so
    /// that the user's units live on without a login, or `link`, by which older Podman versions find the WebAssembly
    /// runtime.
    pub by: Option<&'static str>,
}

/// What was found, or else what is wrong and the remedy.
type Checked = Result<String, (String, String)>;

fn unmet(found: impl Into<String>, remedy: impl Into<String>) -> Checked {
    Err((found.into(), remedy.into()))
}

fn ensure(met: bool, there: impl Into<String>, wrong: impl Into<String>, remedy: impl Into<String>) -> Checked {
    if met { Ok(there.into()) } else { unmet(wrong, remedy) }
}

impl PreflightCheck {
    fn of(name: &'static str, finding: Checked) -> PreflightCheck {
        let (found, remedy) = match finding {
            Ok(found) => (found, None),
            Err((found, remedy)) => (found, Some(remedy)),
        };
        PreflightCheck { name, found, remedy, needed: true, by: None }
    }

    fn needed_if(self, needed: bool) -> PreflightCheck {
        PreflightCheck { needed, ..self }
    }

    /// Adds what provisioning brings if it is not met.
    fn by(self, by: Option<&'static str>) -> PreflightCheck {
        PreflightCheck { by: by.filter(|_| self.remedy.is_some()), ..self }
    }

    /// Whether this requirement is mandatory and missing.
    pub fn is_missing(&self) -> bool {
        self.needed && self.remedy.is_some()
    }
}

impl Preflight {
    /// Inspects a machine; `units` are the names that a run gives to its units.
    pub async fn take(shell: &Shell, units: &[String]) -> anyhow::Result<Preflight> {
        let names: Vec<&str> = units.iter().map(String::as_str).collect();
        let before = now();
        let text = shell.read(&Command::script(SCRIPT, &names)).await?;
        let middle = before + (now() - before) / 2.0;
        let facts = MachineInfo::gather(shell, Accelerator::of(shell).await?).await?;
        Preflight::parse(text, facts, middle).with_context(|| format!("{}: the survey cannot be read", shell.machine()))
    }

    fn parse(text: String, facts: MachineInfo, now: f64) -> anyhow::Result<Preflight> {
        let clock: f64 = section(&text, "clock").and_then(|text| text.parse().ok()).context("it has no clock")?;
        Ok(Preflight {
            root: match section(&text, "root") {
                Some("root") => Root::Is,
                Some("sudo") => Root::Sudo,
                _ => Root::Never,
            },
            home: section(&text, "home").and_then(|text| text.strip_prefix("writable ")).unwrap_or_default().to_owned(),
            runtime: section(&text, "runtime").map(str::to_owned),
            systemd: section(&text, "init") == Some("systemd"),
            // The script prints whole seconds.
            clock: clock + 0.5 - now,
            text,
            facts,
        })
    }

    pub fn user(&self) -> &str {
        self.word("user")
    }

    /// Returns the requirements of claims that the machine meets.
    pub fn met(&self) -> Vec<Requirement> {
        let (root, alone) = (self.root != Root::Never, ["", "none"].contains(&self.word("container")));
        let met = [
            (Requirement::Arm64, self.facts.architecture == Arch::Arm64),
            (Requirement::NativeCpu, self.facts.native),
            (Requirement::OwnMemory, alone),
            (Requirement::OwnKernel, alone),
            (Requirement::ColdCache, alone && root),
            (Requirement::MemoryLimit, self.has_controller("memory")),
            (Requirement::CpuLimit, self.has_controller("cpu")),
            (Requirement::Device, true),
            (Requirement::OwnMachine, true),
            (Requirement::Units, self.has_units()),
            (Requirement::Wasm, self.crun_has_wasm()),
            (Requirement::Root, root),
        ];
        met.into_iter().filter(|(_, met)| *met).map(|(need, _)| need).collect()
    }

    /// Whether a limit that rests on this controller is enforced for the user's units.
    fn has_controller(&self, name: &str) -> bool {
        self.facts.controllers.iter().any(|controller| controller == name)
    }

    /// Whether systemd there can make units of the user's Quadlets.
    pub fn has_units(&self) -> bool {
        self.init().is_ok() && self.manager().is_ok() && self.generator().is_ok()
    }

    /// Returns all checks in the order of need; those that only units need are mandatory if the run needs `units`.
    pub fn checks(&self, units: bool) -> Vec<PreflightCheck> {
        let check = PreflightCheck::of;
        let podman = self.facts.podman.is_none().then_some("podman");
        let mut checks = vec![
            check("unprivileged user", self.unprivileged()),
            check("systemd", self.init()).needed_if(units),
            check("cgroup v2", self.cgroups()),
        ];
        // Without systemd, the checks that depend on it would only repeat that it is missing.
        if self.systemd {
            checks.extend([
                check("systemd of the user", self.manager()).needed_if(units),
                check("lingering", self.lingers()).needed_if(units).by(Some("linger")),
                check("cgroup delegation", self.controllers()).needed_if(units && !self.can_limit_processes()),
            ]);
        }
        checks.extend([
            check("podman", self.podman()).by(podman),
            check("Quadlet", self.generator()).needed_if(units).by(podman),
            check("crun with WasmEdge", self.crun()).by(self.facts.crun.is_none().then_some("crun")),
            check("WasmEdge library", self.library()).by(Some("libwasmedge0")),
            check("crun-wasm", self.link()).by(Some("link")),
            check("podman without root", self.ids()).by(Some("uidmap")),
            check("home", self.writable()),
            check("free space in the home", self.free_space()),
            check("clock", self.time()),
            check("names of units", self.names()),
            check("earlier runs", self.left()),
            check("sudo", self.sudo()).needed_if(false),
        ]);
        checks
    }

    fn word(&self, name: &str) -> &str {
        section(&self.text, name).unwrap_or_default()
    }

    fn install(&self, package: &str) -> String {
        Distribution::of(self.word("release"), self.root == Root::Is).install(&[package])
    }

    fn unprivileged(&self) -> Checked {
        ensure(self.word("uid") != "0", self.user(), "it is root", "log in as another one: ssh://USER@…")
    }

    fn init(&self) -> Checked {
        let found = format!("it was started by {}, not by systemd", self.word("init"));
        let version = self.facts.systemd.as_deref().unwrap_or_default();
        ensure(self.systemd, version, found, "take a machine that systemd runs: units are what is claimed about")
    }

    fn cgroups(&self) -> Checked {
        let remedy = "boot it without systemd.unified_cgroup_hierarchy=0 on the kernel's command line, and without \
                      cgroup v1 mounts";
        match (self.word("cgroup"), self.word("unified")) {
            ("cgroup2fs", _) => Ok("the only hierarchy".to_owned()),
            (_, "cgroup2fs") => unmet("cgroups are hybrid, v1 with v2 beside it", remedy),
            ("", _) => unmet("there is no /sys/fs/cgroup", "mount it: cgroup2"),
            _ => unmet("cgroups are v1", remedy),
        }
    }

    fn manager(&self) -> Checked {
        let state = self.word("manager");
        let up = ["running", "degraded", "starting"].contains(&state) && self.runtime.is_some();
        let remedy = format!("{}; then log in anew", self.install("dbus-user-session libpam-systemd"));
        ensure(up, state, format!("it does not answer: {}", last_line(state)), remedy)
    }

    fn lingers(&self) -> Checked {
        let (lingers, user) = (!["", "no"].contains(&self.word("lingers")), self.user());
        let found = format!("units of {user} end with the last login");
        ensure(lingers, "units live on without a login", found, format!("sudo loginctl enable-linger {user}"))
    }

    fn controllers(&self) -> Checked {
        let has = &self.facts.controllers;
        let lacks: Vec<&str> = CONTROLLERS.into_iter().filter(|name| !self.has_controller(name)).collect();
        let found = format!("the user's systemd has no {}: no claim about what they limit is judged", lacks.join(", "));
        let delegate = "put \"[Service]\\nDelegate=cpu memory pids\" into \
                        /etc/systemd/system/user@.service.d/delegate.conf; then sudo systemctl daemon-reload";
        let machine_has = |name: &&str| self.word("controllers").split(' ').any(|one| one == *name);
        let remedy = match lacks.iter().find(|name| !machine_has(name)) {
            None => delegate.to_owned(),
            Some(_) if self.can_limit_processes() => {
                "take a machine whose control groups of version 2 have them".to_owned()
            }
            Some(_) => "take a machine whose control groups of version 2 have them, or let Podman start without: \
                        put \"[containers]\\npids_limit = 0\" into /etc/containers/containers.conf"
                .to_owned(),
        };
        ensure(lacks.is_empty(), has.join(" "), found, remedy)
    }

    /// Whether crun can set Podman's limit on processes, or there is none.
    fn can_limit_processes(&self) -> bool {
        self.has_controller("pids") || self.word("unlimited") == "yes"
    }

    fn podman(&self) -> Checked {
        let Some(version) = &self.facts.podman else { return unmet("it is not there", self.install("podman")) };
        let found = format!("{version} knows no Quadlets");
        ensure(!older(version, PODMAN), version, found, "bring podman 4.4 or newer")
    }

    fn generator(&self) -> Checked {
        let path = self.word("generator");
        let found = match self.facts.podman {
            Some(_) => "podman's generator for user units is not there",
            None => "podman brings it",
        };
        ensure(!path.is_empty(), path, found, self.install("podman"))
    }

    fn crun(&self) -> Checked {
        let Some(version) = &self.facts.crun else { return unmet("crun is not there", self.install("crun")) };
        ensure(self.crun_has_wasm(), version, format!("crun {version} is not built with it"), WITH_WASM)
    }

    fn crun_has_wasm(&self) -> bool {
        self.facts.crun_features.iter().any(|feature| feature == "+WASM:wasmedge")
    }

    fn library(&self) -> Checked {
        let version = self.facts.wasmedge.as_deref().unwrap_or("libwasmedge.so.0");
        // Distributions whose crun is built without it have no package of it, either.
        let remedy = if self.crun_has_wasm() { self.install("libwasmedge0") } else { WITH_WASM.to_owned() };
        ensure(!self.word("library").is_empty(), version, "no libwasmedge.so.0", remedy)
    }

    fn link(&self) -> Checked {
        let needed = self.facts.podman.as_deref().is_some_and(|version| older(version, WITHOUT_LINK));
        match self.word("link") {
            "" if needed => unmet(
                "this podman looks for it to run WebAssembly, and it is not there",
                "sudo ln -s /usr/bin/crun /usr/local/bin/crun-wasm",
            ),
            "" => Ok("not there, and this podman does without".to_owned()),
            path => Ok(path.to_owned()),
        }
    }

    fn ids(&self) -> Checked {
        let first: u32 = self.word("next-id").parse().unwrap_or(100_000);
        let ids = format!("{first}-{}", first + 65535);
        let add = format!("sudo usermod --add-subuids {ids} --add-subgids {ids} {}", self.user());
        let remedy = format!("{}; {add}", self.install("uidmap"));
        let found = "the user has no user ids of its own, or no newuidmap";
        ensure(!self.word("ids").is_empty(), "has user ids of its own", found, remedy)
    }

    fn writable(&self) -> Checked {
        let found = format!("it cannot be written to: {}", last_line(self.word("home")));
        ensure(!self.home.is_empty(), &self.home, found, "see to it that the user's home can be written to")
    }

    fn free_space(&self) -> Checked {
        // The columns are: file system, 1024-blocks, used, available, capacity, mount point.
        let kilobytes = self.word("free").split_whitespace().nth(3).and_then(|word| word.parse::<u64>().ok());
        let free = Bytes(kilobytes.unwrap_or_default() * 1024);
        let found = format!("{free} are free");
        ensure(
            free >= DISK_NEEDED,
            &found,
            &found,
            format!("free some: a run takes up to {DISK_NEEDED}, and gives it back"),
        )
    }

    fn time(&self) -> Checked {
        let away = SignedDuration::from_secs(self.clock.abs().round() as i64);
        let side = if self.clock < 0.0 { "behind" } else { "ahead of" };
        let remedy = "set it: sudo timedatectl set-ntp true, or sudo date --set";
        ensure(self.clock.abs() <= SKEW, "as this host's", format!("it is {away:#} {side} this host's"), remedy)
    }

    fn names(&self) -> Checked {
        let taken: BTreeSet<&str> = self.word("taken").lines().collect();
        let found = format!("there already: {}", Vec::from_iter(taken.iter().copied()).join(", "));
        ensure(taken.is_empty(), "free", found, "remove or rename them: nothing of yours is overwritten")
    }

    fn left(&self) -> Checked {
        let left: Vec<&str> = self.word("left").lines().collect();
        let found = format!("another run is under way there, or has left {}", left.join(", "));
        let remedy = format!("{}, on the host that ran it, removes what is left", commands::assay("gc"));
        ensure(left.is_empty(), "have left nothing", found, remedy)
    }

    fn sudo(&self) -> Checked {
        match self.root {
            Root::Is => Ok("not needed".to_owned()),
            Root::Sudo => Ok("without a password".to_owned()),
            Root::Never => unmet(
                format!("{} is not let without a password: claims that need root are not run", self.user()),
                format!("to have them too: {} ALL=(ALL) NOPASSWD: ALL, in /etc/sudoers.d", self.user()),
            ),
        }
    }
}

fn last_line(text: &str) -> &str {
    text.lines().next_back().unwrap_or("it says nothing")
}

/// Returns whether a version is older than another; false if it cannot be parsed.
fn older(version: &str, than: &str) -> bool {
    Version::parse(version).zip(Version::parse(than)).is_some_and(|(version, than)| version < than)
}

#[cfg(test)]
pub fn recorded() -> Preflight {
    const TEXT: &str = include_str!("../../fixtures/facts/survey-debian-13.txt");
    let clock = section(TEXT, "clock").and_then(|text| text.parse().ok()).expect("it says what time it is");
    Preflight::parse(TEXT.to_owned(), crate::targets::machine_info::recorded(), clock)
        .expect("what was recorded can be read")
}
