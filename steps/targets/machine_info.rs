//! Reads a machine's CPU, memory and kernel, and the versions of the software that a claim may depend on.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::base::platform::Arch;
use crate::base::procfs;
use crate::claims::deviation;
use crate::exec::command::Command;
use crate::exec::shell::{Shell, ShellError};

/// What runs a machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The host's CPU, through KVM.
    Kvm,
    /// The host's CPU, directly: the machine is a system container, on the host's kernel.
    Nspawn,
    /// QEMU's translator: correct, but some fifty times slower.
    Tcg,
    /// Nothing that assay knows of: it is not one of our VMs.
    None,
}

impl Accelerator {
    /// Reads how a remote machine sees its CPU: QEMU without an accelerator identifies itself.
    pub async fn of(shell: &Shell) -> Result<Accelerator, ShellError> {
        let text = shell.run(&Command::new("systemd-detect-virt").arg("--vm")).await?.text();
        Ok(match text.trim() {
            "qemu" => Accelerator::Tcg,
            _ => Accelerator::None,
        })
    }

    /// Whether the CPU runs at its own speed, so that times and CPU shares are meaningful.
    pub fn native(self) -> bool {
        self != Accelerator::Tcg
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// What a machine reports about itself, and what its host knows about it. Software that is not installed is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineInfo {
    /// The distribution's name as it reports it: `Debian GNU/Linux 13 (trixie)`.
    pub distribution: String,
    /// What it runs, in a word: `debian-13`. A machine of ours has the name of its platform.
    #[serde(default)]
    pub platform: Option<String>,
    /// The kernel's id of this boot: it distinguishes machines, and boots of one machine.
    pub boot: String,
    pub kernel: String,
    pub architecture: Arch,
    pub cpus: u64,
    /// `MemTotal`, in bytes.
    pub memory: u64,
    pub accelerator: Accelerator,
    pub native: bool,
    pub podman: Option<String>,
    pub crun: Option<String>,
    /// The features that crun was built with: `+SYSTEMD`, `+WASM:wasmedge`.
    pub crun_features: Vec<String>,
    pub wasmedge: Option<String>,
    pub systemd: Option<String>,
    /// The cgroup controllers that are delegated to the user.
    pub controllers: Vec<String>,
    pub qemu: Option<String>,
    /// The image it was started from: the hash of its inputs, or an AMI's id.
    pub image: Option<String>,
    /// The snapshot it was restored from: the hash of its inputs, and when it was frozen.
    pub snapshot: Option<String>,
}

const GATHER: &str = include_str!("machine_info/gather.sh");

impl MachineInfo {
    /// Returns the facts that declarations of deviations may name.
    pub fn named(&self) -> BTreeMap<String, String> {
        serde_json::to_value(self).map(|machine| deviation::facts(&machine)).unwrap_or_default()
    }

    pub async fn gather(shell: &Shell, accelerator: Accelerator) -> anyhow::Result<MachineInfo> {
        let text = shell.read(&Command::script(GATHER, &[])).await?;
        MachineInfo::parse(&text, accelerator).with_context(|| format!("{}: its facts cannot be read", shell.machine()))
    }

    fn parse(text: &str, accelerator: Accelerator) -> anyhow::Result<MachineInfo> {
        let wanted = |name: &str| section(text, name).with_context(|| format!("it says nothing of its {name}"));
        let machine = wanted("machine")?;
        let memory = wanted("memory")?;
        Ok(MachineInfo {
            distribution: wanted("distribution")?.to_owned(),
            platform: section(text, "platform").and_then(platform),
            boot: wanted("boot")?.to_owned(),
            kernel: wanted("kernel")?.to_owned(),
            architecture: Arch::from_uname(machine).with_context(|| format!("its architecture is {machine}"))?,
            cpus: wanted("cpus")?.parse().context("its number of CPUs is not a number")?,
            memory: procfs::size(memory, "MemTotal").with_context(|| format!("its memory is \"{memory}\""))?.0,
            accelerator,
            native: accelerator.native(),
            podman: section(text, "podman").and_then(last_word),
            crun: section(text, "crun").and_then(|text| last_word(text.lines().next()?)),
            crun_features: section(text, "crun").map(runtime_features).unwrap_or_default(),
            wasmedge: section(text, "wasmedge").map(str::to_owned),
            systemd: section(text, "systemd").and_then(systemd),
            controllers: words(section(text, "controllers").unwrap_or_default()),
            qemu: None,
            image: None,
            snapshot: None,
        })
    }
}

/// Returns the text between `== name` and the next such line; `None` if it is empty.
pub fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let parts = text.split("== ").filter_map(|part| part.split_once('\n'));
    let (_, text) = parts.into_iter().find(|(title, _)| *title == name)?;
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// Parses the id, the version and the code name of a distribution, one per line.
fn platform(text: &str) -> Option<String> {
    let mut lines = text.lines();
    let [id, version, codename] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    match (version, codename) {
        _ if id.is_empty() => None,
        ("", "forky") => Some(format!("{id}-14")),
        ("", "") => Some(id.to_owned()),
        ("", codename) => Some(format!("{id}-{codename}")),
        (version, _) => Some(format!("{id}-{version}")),
    }
}

fn last_word(line: &str) -> Option<String> {
    line.split_whitespace().last().map(str::to_owned)
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Parses what a container runtime was built with: the line of `--version` on which words begin with a plus sign.
pub fn runtime_features(text: &str) -> Vec<String> {
    words(text.lines().find(|line| line.starts_with('+')).unwrap_or_default())
}

/// Parses `systemd 257 (257.13-1~deb13u1)`, and returns the full version if there is one.
fn systemd(text: &str) -> Option<String> {
    let line = text.lines().next()?;
    let short = line.strip_prefix("systemd ")?;
    let full = short.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    Some(full.map_or(short, |(version, _)| version).trim().to_owned())
}

#[cfg(test)]
pub fn recorded() -> MachineInfo {
    const TEXT: &str = include_str!("../../fixtures/facts/debian-13-amd64.txt");
    MachineInfo::parse(TEXT, Accelerator::Tcg).expect("what was recorded can be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::deviation::{Deviation, Deviations};

    #[test]
    fn a_debian_13_machine_is_read_in_full() {
        let facts = recorded();
        assert_eq!(facts.distribution, "Debian GNU/Linux 13 (trixie)");
        assert_eq!(facts.platform.as_deref(), Some("debian-13"));
        assert_eq!(facts.boot, "8e4aa539-97c8-4038-94ad-91ba0db31f76");
        assert_eq!(facts.architecture, Arch::Amd64);
        assert_eq!(facts.cpus, 2);
        assert_eq!(facts.memory / 1_048_576, 411);
        assert!(!facts.native);
        assert_eq!(facts.podman.as_deref(), Some("5.4.2"));
        assert_eq!(facts.crun.as_deref(), Some("1.21"));
        assert!(facts.crun_features.contains(&"+WASM:wasmedge".to_owned()), "{:?}", facts.crun_features);
        assert!(facts.wasmedge.unwrap().starts_with("0.14.1"));
        assert!(facts.systemd.unwrap().starts_with("257."));
        assert!(facts.controllers.contains(&"memory".to_owned()));
    }

    #[test]
    fn the_annex_s_declared_deviations_are_about_debian_13() {
        let declared = Deviations::parse(include_str!("../../features/deviations.toml")).unwrap();
        let known = recorded().named();
        let applies = |one: &&Deviation| declared.applying(one.claim, |name| known.get(name).cloned()).contains(one);
        assert_eq!(declared.iter().filter(applies).count(), declared.iter().count());
        assert_eq!(known["wasm"], "wasmedge");
    }

    #[test]
    fn a_platform_is_named_by_its_version_or_else_by_its_code_name() {
        for (text, name) in [
            ("debian\n13\ntrixie", Some("debian-13")),
            ("ubuntu\n24.04\nnoble", Some("ubuntu-24.04")),
            ("debian\n\nforky", Some("debian-14")),
            ("debian\n\nsid", Some("debian-sid")),
            ("arch", Some("arch")),
            ("", None),
        ] {
            assert_eq!(platform(text).as_deref(), name);
        }
    }

    #[test]
    fn what_is_not_installed_is_none_and_what_must_be_there_is_named() {
        let bare = "== distribution\nAlpine\n== boot\n6cd5\n== kernel\n6.1\n== machine\naarch64\n== cpus\n1\n\
                    == memory\nMemTotal: 1024 kB\n== podman\n== crun\n== wasmedge\n== systemd\n== controllers\n";
        let facts = MachineInfo::parse(bare, Accelerator::None).unwrap();
        assert_eq!((facts.architecture, facts.memory, facts.native), (Arch::Arm64, 1_048_576, true));
        assert_eq!(facts.boot, "6cd5");
        assert_eq!((facts.podman, facts.crun, facts.wasmedge, facts.systemd), (None, None, None, None));
        assert!(facts.controllers.is_empty());

        let error = MachineInfo::parse("== kernel\n6.1\n", Accelerator::None).unwrap_err().to_string();
        assert_eq!(error, "it says nothing of its machine");
        assert!(MachineInfo::parse(&bare.replace("aarch64", "riscv64"), Accelerator::None).is_err());
        let without_boot = MachineInfo::parse(&bare.replace("6cd5", ""), Accelerator::None).unwrap_err().to_string();
        assert_eq!(without_boot, "it says nothing of its boot");
    }

    #[test]
    fn a_runtime_that_lists_no_features_has_none() {
        let runc =
            "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\ngo: go1.19.8\nlibseccomp: 2.5.4\n";
        assert!(runtime_features(runc).is_empty());
        let crun = "crun version 1.8.1\nspec: 1.0.0\n+SYSTEMD +SELINUX +YAJL\n";
        assert_eq!(runtime_features(crun), ["+SYSTEMD", "+SELINUX", "+YAJL"]);
    }
}
