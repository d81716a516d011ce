//! Checks what a remote machine has and lacks for a run, and names the commands that install what is missing. The
//! checks run one script that changes nothing, and parse what it prints.

#[cfg(test)]
mod tests;

use anyhow::Context as _;
use jiff::SignedDuration;

use crate::base::commands;
use crate::base::packages::Distribution;
use crate::base::procfs::now;
use crate::base::unit::Bytes;
use crate::claims::plan::Seen;
use crate::exec::command::Command;
use crate::exec::shell::Shell;
use crate::targets::machine_info::{Accelerator, MachineInfo, section};

const SCRIPT: &str = include_str!("preflight/survey.sh");
/// How far the machine's clock may be from this host's, in seconds: the evidence has times of both side by side.
const SKEW: f64 = 60.0;
/// The disk space that a run may need: for the images of conventional containers and for unpacking them.
const ROOM: Bytes = Bytes(512 * 1024 * 1024);
/// The cgroup controllers that are needed to limit a unit and to read its usage.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// The first Podman version with Quadlets.
const PODMAN: (u64, u64) = (4, 4);
/// The first Podman version that finds the WebAssembly runtime without the link `crun-wasm`.
const WITHOUT_LINK: (u64, u64) = (5, 0);

/// The names of the checks that only units need.
const SYSTEMD: &str = "systemd";
const MANAGER: &str = "systemd of the user";
const LINGERING: &str = "lingering";
const DELEGATION: &str = "cgroup delegation";
const QUADLET: &str = "Quadlet";

/// How commands on the machine can become root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// They already run as root.
    Is,
    /// By sudo, without a password.
    Sudo,
    /// They cannot.
    Never,
}

/// What the preflight script has found on a machine.
#[derive(Clone, Debug)]
pub struct Preflight {
    pub facts: MachineInfo,
    pub root: Root,
    /// The user's home; empty if it is not writable.
    pub home: String,
    /// The user's folder below `/run`, if a login made one.
    pub runtime: Option<String>,
    /// Whether the machine was started by systemd.
    pub systemd: bool,
    said: String,
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
    /// What provisioning does to meet it, where the machine may be provisioned.
    pub by: Option<Provision>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provision {
    Package(&'static str),
    /// Lets the user's units live on without a login.
    Linger,
    /// Makes the link by which older Podman versions find the WebAssembly runtime.
    Link,
}

impl Provision {
    /// Returns its name in the provisioning script.
    pub fn word(self) -> &'static str {
        match self {
            Provision::Package(package) => package,
            Provision::Linger => "linger",
            Provision::Link => "link",
        }
    }
}

impl PreflightCheck {
    fn there(name: &'static str, found: impl Into<String>) -> PreflightCheck {
        PreflightCheck { name, found: found.into(), remedy: None, needed: true, by: None }
    }

    fn lacking(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> PreflightCheck {
        PreflightCheck { remedy: Some(remedy.into()), ..PreflightCheck::there(name, found) }
    }

    fn optional(self) -> PreflightCheck {
        PreflightCheck { needed: false, ..self }
    }

    fn by(self, by: Provision) -> PreflightCheck {
        PreflightCheck { by: Some(by), ..self }
    }

    /// Whether this requirement is mandatory and missing.
    pub fn is_in_the_way(&self) -> bool {
        self.needed && self.remedy.is_some()
    }
}

impl Preflight {
    /// Inspects a machine; `units` are the names that a run gives to its units.
    pub async fn take(shell: &Shell, units: &[String]) -> anyhow::Result<Preflight> {
        let names: Vec<&str> = units.iter().map(String::as_str).collect();
        let before = now();
        let said = shell.read(&Command::script(SCRIPT, &names)).await?;
        let middle = before + (now() - before) / 2.0;
        let facts = MachineInfo::gather(shell, Accelerator::of(shell).await?).await?;
        Preflight::parse(said, facts, middle).with_context(|| format!("{}: the survey cannot be read", shell.machine()))
    }

    fn parse(said: String, facts: MachineInfo, now: f64) -> anyhow::Result<Preflight> {
        let clock: f64 = section(&said, "clock").and_then(|text| text.parse().ok()).context("it has no clock")?;
        Ok(Preflight {
            root: match section(&said, "root") {
                Some("root") => Root::Is,
                Some("sudo") => Root::Sudo,
                _ => Root::Never,
            },
            home: section(&said, "home").and_then(|text| text.strip_prefix("writable ")).unwrap_or_default().to_owned(),
            runtime: section(&said, "runtime").map(str::to_owned),
            systemd: section(&said, "init") == Some("systemd"),
            // The script prints whole seconds.
            clock: clock + 0.5 - now,
            said,
            facts,
        })
    }

    pub fn user(&self) -> &str {
        self.word("user")
    }

    /// Returns what determines which claims can be judged on the machine.
    pub fn seen(&self) -> Seen {
        Seen {
            arch: self.facts.architecture,
            native: self.facts.native,
            units: self.has_units(),
            root: self.root != Root::Never,
        }
    }

    /// Whether systemd there can make units of the user's Quadlets.
    pub fn has_units(&self) -> bool {
        [self.systemd_point(), self.manager(), self.generator()].iter().all(|point| point.remedy.is_none())
    }

    /// Returns the checks for a run that may use `podman run`: those that only units need are optional.
    pub fn points_by_hand(&self) -> Vec<PreflightCheck> {
        let of_units = [SYSTEMD, MANAGER, LINGERING, DELEGATION, QUADLET];
        let points = self.points().into_iter();
        points.map(|point| if of_units.contains(&point.name) { point.optional() } else { point }).collect()
    }

    /// Returns all checks, met or not, in the order in which a run needs them.
    pub fn points(&self) -> Vec<PreflightCheck> {
        let user = match self.word("uid") {
            "0" => PreflightCheck::lacking("unprivileged user", "it is root", "log in as another one: ssh://USER@…"),
            _ => PreflightCheck::there("unprivileged user", self.user()),
        };
        let mut points = vec![user, self.systemd_point(), self.cgroups()];
        // Without systemd, the checks that depend on it would only repeat that it is missing.
        if self.systemd {
            points.extend([self.manager(), self.lingers(), self.controllers()]);
        }
        points.extend([self.podman(), self.generator(), self.crun(), self.library(), self.link(), self.ids()]);
        points.extend([self.writable(), self.room(), self.time(), self.names(), self.left(), self.sudo()]);
        points
    }

    fn word(&self, name: &str) -> &str {
        section(&self.said, name).unwrap_or_default()
    }

    fn install(&self, package: &str) -> String {
        Distribution::of(self.word("release"), self.root == Root::Is).install(&[package])
    }

    fn systemd_point(&self) -> PreflightCheck {
        match self.systemd {
            true => PreflightCheck::there(SYSTEMD, self.facts.systemd.clone().unwrap_or_default()),
            false => {
                let found = format!("it was started by {}, not by systemd", self.word("init"));
                PreflightCheck::lacking(
                    SYSTEMD,
                    found,
                    "take a machine that systemd runs: units are what is claimed about",
                )
            }
        }
    }

    fn cgroups(&self) -> PreflightCheck {
        let remedy = "boot it without systemd.unified_cgroup_hierarchy=0 on the kernel's command line, and without \
                      cgroup v1 mounts";
        match (self.word("cgroup"), self.word("unified")) {
            ("cgroup2fs", _) => PreflightCheck::there("cgroup v2", "the only hierarchy"),
            (_, "cgroup2fs") => {
                PreflightCheck::lacking("cgroup v2", "cgroups are hybrid, v1 with v2 beside it", remedy)
            }
            ("", _) => PreflightCheck::lacking("cgroup v2", "there is no /sys/fs/cgroup", "mount it: cgroup2"),
            _ => PreflightCheck::lacking("cgroup v2", "cgroups are v1", remedy),
        }
    }

    fn manager(&self) -> PreflightCheck {
        let (name, said) = (MANAGER, self.word("manager"));
        match said {
            "running" | "degraded" | "starting" if self.runtime.is_some() => PreflightCheck::there(name, said),
            _ => {
                let remedy = format!("{}; then log in anew", self.install("dbus-user-session libpam-systemd"));
                PreflightCheck::lacking(name, format!("it does not answer: {}", last_line(said)), remedy)
            }
        }
    }

    fn lingers(&self) -> PreflightCheck {
        match self.word("lingers") {
            "" | "no" => {
                let found = format!("units of {} end with the last login", self.user());
                let remedy = format!("sudo loginctl enable-linger {}", self.user());
                PreflightCheck::lacking(LINGERING, found, remedy).by(Provision::Linger)
            }
            _ => PreflightCheck::there(LINGERING, "units live on without a login"),
        }
    }

    fn controllers(&self) -> PreflightCheck {
        let (name, has) = (DELEGATION, &self.facts.controllers);
        let lacks: Vec<&str> = CONTROLLERS.into_iter().filter(|one| !has.iter().any(|other| other == one)).collect();
        match lacks.is_empty() {
            true => PreflightCheck::there(name, has.join(" ")),
            false => {
                let remedy = "put \"[Service]\\nDelegate=cpu memory pids\" into \
                              /etc/systemd/system/user@.service.d/delegate.conf; then sudo systemctl daemon-reload";
                PreflightCheck::lacking(name, format!("the user's systemd has no {}", lacks.join(", ")), remedy)
            }
        }
    }

    fn podman(&self) -> PreflightCheck {
        let Some(version) = &self.facts.podman else {
            return PreflightCheck::lacking("podman", "it is not there", self.install("podman"))
                .by(Provision::Package("podman"));
        };
        match older(version, PODMAN) {
            false => PreflightCheck::there("podman", version),
            true => {
                PreflightCheck::lacking("podman", format!("{version} knows no Quadlets"), "bring podman 4.4 or newer")
            }
        }
    }

    fn generator(&self) -> PreflightCheck {
        match self.word("generator") {
            "" if self.facts.podman.is_none() => {
                PreflightCheck::lacking(QUADLET, "podman brings it", self.install("podman"))
                    .by(Provision::Package("podman"))
            }
            "" => PreflightCheck::lacking(
                QUADLET,
                "podman's generator for user units is not there",
                self.install("podman"),
            ),
            path => PreflightCheck::there(QUADLET, path),
        }
    }

    fn crun(&self) -> PreflightCheck {
        let name = "crun with WasmEdge";
        let wasm = self.facts.crun_features.iter().any(|feature| feature == "+WASM:wasmedge");
        match (&self.facts.crun, wasm) {
            (Some(version), true) => PreflightCheck::there(name, version),
            (Some(version), false) => {
                let remedy = "take a crun that is built with it: Debian 13 and Ubuntu 24.04 have one";
                PreflightCheck::lacking(name, format!("crun {version} is not built with it"), remedy)
            }
            (None, _) => {
                PreflightCheck::lacking(name, "crun is not there", self.install("crun")).by(Provision::Package("crun"))
            }
        }
    }

    fn library(&self) -> PreflightCheck {
        match self.word("library") {
            "" => PreflightCheck::lacking("WasmEdge library", "no libwasmedge.so.0", self.install("libwasmedge0"))
                .by(Provision::Package("libwasmedge0")),
            _ => {
                PreflightCheck::there("WasmEdge library", self.facts.wasmedge.as_deref().unwrap_or("libwasmedge.so.0"))
            }
        }
    }

    fn link(&self) -> PreflightCheck {
        let name = "crun-wasm";
        let needed = self.facts.podman.as_deref().is_some_and(|version| older(version, WITHOUT_LINK));
        match self.word("link") {
            "" if needed => {
                let found = "this podman looks for it to run WebAssembly, and it is not there";
                PreflightCheck::lacking(name, found, "sudo ln -s /usr/bin/crun /usr/local/bin/crun-wasm")
                    .by(Provision::Link)
            }
            "" => PreflightCheck::there(name, "not there, and this podman does without"),
            path => PreflightCheck::there(name, path),
        }
    }

    fn ids(&self) -> PreflightCheck {
        let name = "podman without root";
        match self.word("ids") {
            "" => {
                let remedy = format!(
                    "{}; sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}",
                    self.install("uidmap"),
                    self.user()
                );
                PreflightCheck::lacking(name, "the user has no user ids of its own, or no newuidmap", remedy)
                    .by(Provision::Package("uidmap"))
            }
            _ => PreflightCheck::there(name, "has user ids of its own"),
        }
    }

    fn writable(&self) -> PreflightCheck {
        let name = "home";
        match self.home.is_empty() {
            false => PreflightCheck::there(name, &self.home),
            true => {
                let found = format!("it cannot be written to: {}", last_line(self.word("home")));
                PreflightCheck::lacking(name, found, "see to it that the user's home can be written to")
            }
        }
    }

    fn room(&self) -> PreflightCheck {
        // The columns are: file system, 1024-blocks, used, available, capacity, mount point.
        let kilobytes = self.word("free").split_whitespace().nth(3).and_then(|word| word.parse::<u64>().ok());
        let free = Bytes(kilobytes.unwrap_or_default() * 1024);
        match free >= ROOM {
            true => PreflightCheck::there("room in the home", format!("{free} are free")),
            false => {
                let remedy = format!("free some: a run takes up to {ROOM}, and gives it back");
                PreflightCheck::lacking("room in the home", format!("{free} are free"), remedy)
            }
        }
    }

    fn time(&self) -> PreflightCheck {
        let off = self.clock.abs();
        match off <= SKEW {
            true => PreflightCheck::there("clock", "as this host's"),
            false => {
                let away = SignedDuration::from_secs(off.round() as i64);
                let side = if self.clock < 0.0 { "behind" } else { "ahead of" };
                let remedy = "set it: sudo timedatectl set-ntp true, or sudo date --set";
                PreflightCheck::lacking("clock", format!("it is {away:#} {side} this host's"), remedy)
            }
        }
    }

    fn names(&self) -> PreflightCheck {
        let mut taken: Vec<&str> = self.word("taken").lines().collect();
        taken.sort_unstable();
        taken.dedup();
        match taken.is_empty() {
            true => PreflightCheck::there("names of units", "free"),
            false => {
                let found = format!("there already: {}", taken.join(", "));
                PreflightCheck::lacking(
                    "names of units",
                    found,
                    "remove or rename them: nothing of yours is overwritten",
                )
            }
        }
    }

    fn left(&self) -> PreflightCheck {
        let left: Vec<&str> = self.word("left").lines().collect();
        match left.is_empty() {
            true => PreflightCheck::there("earlier runs", "have left nothing"),
            false => {
                let found = format!("another run is under way there, or has left {}", left.join(", "));
                PreflightCheck::lacking(
                    "earlier runs",
                    found,
                    format!("{}, on the host that ran it, removes what is left", commands::assay("gc")),
                )
            }
        }
    }

    fn sudo(&self) -> PreflightCheck {
        match self.root {
            Root::Never => {
                let found = format!("{} is not let without a password: claims that need root are not run", self.user());
                let remedy = format!("to have them too: {} ALL=(ALL) NOPASSWD: ALL, in /etc/sudoers.d", self.user());
                PreflightCheck::lacking("sudo", found, remedy).optional()
            }
            Root::Is => PreflightCheck::there("sudo", "not needed").optional(),
            Root::Sudo => PreflightCheck::there("sudo", "without a password").optional(),
        }
    }
}

fn last_line(text: &str) -> &str {
    text.lines().next_back().unwrap_or("it says nothing")
}

/// Whether a version is older than the given major and minor number; false if it cannot be parsed.
fn older(version: &str, than: (u64, u64)) -> bool {
    let mut numbers = version.split('.').map_while(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), minor) => (major, minor.unwrap_or(0)) < than,
        _ => false,
    }
}

/// Returns the recorded preflight of a machine, for tests.
#[cfg(test)]
pub(crate) fn recorded() -> Preflight {
    const SAID: &str = include_str!("../../fixtures/facts/survey-debian-13.txt");
    let clock = section(SAID, "clock").and_then(|text| text.parse().ok()).expect("it says what time it is");
    Preflight::parse(SAID.to_owned(), crate::targets::machine_info::recorded(), clock)
        .expect("what was recorded can be read")
}
