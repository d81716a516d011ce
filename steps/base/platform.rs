//! Architectures, and the targets that `--target` names.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::base::commands;
use crate::base::settings::{FakeAws, Settings};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    pub const ALL: [Arch; 2] = [Arch::Amd64, Arch::Arm64];

    pub fn host() -> Option<Arch> {
        Arch::from_uname(std::env::consts::ARCH)
    }

    /// Returns Debian's name for it: `amd64`.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// Returns the name that `uname -m` prints: `x86_64`.
    pub fn uname(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64",
            Arch::Arm64 => "aarch64",
        }
    }

    /// Returns the architecture for which `uname -m` prints this name.
    pub fn from_uname(name: &str) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.uname() == name)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.debian())
    }
}

impl FromStr for Arch {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Arch> {
        let known = Arch::ALL.into_iter().find(|arch| arch.debian() == text);
        known.with_context(|| format!("\"{text}\" is not an architecture: write amd64 or arm64"))
    }
}

const UNKNOWN_HOST: &str = "this host is neither amd64 nor arm64";

/// What kind of machine a sample comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineKind {
    /// This host itself, where guests and images are built.
    Host,
    Nspawn,
    Vm,
    /// This host, through its own Podman.
    Podman,
    /// A remote machine.
    Ssh,
    Ec2,
}

impl fmt::Display for MachineKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            MachineKind::Host => "host",
            MachineKind::Nspawn => "nspawn",
            MachineKind::Vm => "vm",
            MachineKind::Podman => "podman",
            MachineKind::Ssh => "ssh",
            MachineKind::Ec2 => "ec2",
        })
    }
}

/// The kind of machine to run on, as `--target` names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetSpec {
    /// Every kind of machine that this host can start: each claim is judged on one that offers what it needs.
    Local,
    /// A system container of this host, which has its architecture, kernel and CPU.
    Nspawn,
    /// A virtual machine of this architecture on this host.
    Vm(Arch),
    /// This host, through its own Podman.
    Podman,
    /// A remote machine.
    Ssh { user: Option<String>, host: String, port: Option<u16> },
    /// An EC2 instance of the annex's own type.
    Ec2,
}

impl TargetSpec {
    /// Chooses the target: the given one, else `ASSAY_TARGET`, else all kinds of machines that this host can start.
    pub fn choose(named: Option<&str>, settings: &Settings) -> anyhow::Result<TargetSpec> {
        match (named, settings.target.as_deref()) {
            (Some(named), _) => Ok(named.parse()?),
            (None, Some(set)) => set.parse().context("ASSAY_TARGET"),
            (None, None) => Ok(TargetSpec::Local),
        }
    }

    /// Returns the architecture of its machines: in EC2 the annex's, or this host's if a stand-in replaces AWS.
    pub fn arch(&self, fake_aws: &FakeAws) -> anyhow::Result<Arch> {
        match self {
            TargetSpec::Vm(arch) => Ok(*arch),
            TargetSpec::Local | TargetSpec::Nspawn => Arch::host().context(UNKNOWN_HOST),
            TargetSpec::Ec2 if fake_aws.any() => Ok(Arch::host().unwrap_or(Arch::Arm64)),
            TargetSpec::Ec2 => Ok(Arch::Arm64),
            TargetSpec::Podman | TargetSpec::Ssh { .. } => {
                let inspect = format!("{} --target {self} --plan", commands::suite());
                bail!("the architecture of {self} is not known yet: run `{inspect}` to inspect it")
            }
        }
    }

    /// Returns the one kind of its machines; `None` if there may be several.
    pub fn kind(&self) -> Option<MachineKind> {
        Some(match self {
            TargetSpec::Local => return None,
            TargetSpec::Nspawn => MachineKind::Nspawn,
            TargetSpec::Vm(_) => MachineKind::Vm,
            TargetSpec::Podman => MachineKind::Podman,
            TargetSpec::Ssh { .. } => MachineKind::Ssh,
            TargetSpec::Ec2 => MachineKind::Ec2,
        })
    }

    /// Returns whether its machines are started on this host, from images made here, so that they may run any platform.
    pub fn starts_machines(&self) -> bool {
        matches!(self, TargetSpec::Local | TargetSpec::Nspawn | TargetSpec::Vm(_))
    }

    /// Returns whether its machine already exists (a remote machine or this host) and is inspected before planning.
    pub fn is_found(&self) -> bool {
        matches!(self, TargetSpec::Podman | TargetSpec::Ssh { .. })
    }

    /// Returns whether this build can run something on it. A plan can be made for any target.
    pub fn available(&self) -> anyhow::Result<()> {
        ensure!(
            *self != TargetSpec::Ec2 || cfg!(feature = "aws"),
            "target ec2 is not in this build, for AWS's SDK takes minutes to compile: {}",
            commands::get_sdk("use ci/e2e --target ec2, or cargo test --features aws --test e2e -- --target ec2")
        );
        Ok(())
    }

    /// Returns the `doctor` command that tests everything that a run on it needs.
    pub fn doctor(&self) -> String {
        let doctor = format!("doctor --target {self}");
        if *self == TargetSpec::Ec2 { commands::assay_with_aws(&doctor) } else { commands::assay(&doctor) }
    }

    /// Adds the `doctor` command to an error of this target, unless the error names one already.
    pub fn unusable(&self, error: impl Into<anyhow::Error>) -> anyhow::Error {
        let error = error.into();
        let message = format!("{error:#}");
        if message.contains(" doctor --target ") {
            return error;
        }
        // An error that ends with console output has several lines.
        let apart = if message.contains('\n') { "\n" } else { "; " };
        anyhow::anyhow!("{message}{apart}`{}` tries all that a run needs", self.doctor())
    }

    /// Returns the architecture of its machines if they are started on this host.
    pub fn on_this_host(&self) -> anyhow::Result<Arch> {
        match self {
            TargetSpec::Local | TargetSpec::Vm(_) | TargetSpec::Nspawn => self.arch(&FakeAws::default()),
            _ => bail!("target {self} is not a machine of this host: use local, nspawn, vm, vm:amd64 or vm:arm64"),
        }
    }
}

impl FromStr for TargetSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<TargetSpec> {
        let target = match text {
            "local" => Some(TargetSpec::Local),
            "nspawn" => Some(TargetSpec::Nspawn),
            "vm" => Arch::host().map(TargetSpec::Vm),
            "podman" => Some(TargetSpec::Podman),
            "ec2" => Some(TargetSpec::Ec2),
            _ => match text.strip_prefix("vm:") {
                Some(arch) => arch.parse().ok().map(TargetSpec::Vm),
                None => text.strip_prefix("ssh://").and_then(login),
            },
        };
        target.with_context(|| {
            format!(
                "\"{text}\" is not a target: write local, nspawn, vm, vm:amd64, vm:arm64, podman, ssh://[user@]host[:port] or ec2"
            )
        })
    }
}

/// Returns the name of a place that claims are judged at: a target, and what its machines run if that was chosen.
pub fn place_name(target: &str, platform: Option<&str>) -> String {
    platform.map_or_else(|| target.to_owned(), |platform| format!("{target} {platform}"))
}

/// Parses `user@host`, `user@host:2222`, `user@[::1]:22` or, where the configuration of OpenSSH names the user, `host`.
fn login(address: &str) -> Option<TargetSpec> {
    let (user, place) = address.split_once('@').map_or((None, address), |(user, place)| (Some(user), place));
    let (host, rest) = match place.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    let plain = |word: &str| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "/@".contains(c));
    (user.is_none_or(plain) && plain(host)).then(|| TargetSpec::Ssh {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
    })
}

impl fmt::Display for TargetSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetSpec::Local => out.write_str("local"),
            TargetSpec::Nspawn => out.write_str("nspawn"),
            TargetSpec::Vm(arch) => write!(out, "vm:{arch}"),
            TargetSpec::Podman => out.write_str("podman"),
            TargetSpec::Ec2 => out.write_str("ec2"),
            TargetSpec::Ssh { user, host, port } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                out.write_str("ssh://")?;
                user.iter().try_for_each(|user| write!(out, "{user}@"))?;
                out.write_str(&host)?;
                port.iter().try_for_each(|port| write!(out, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_back_as_it_is_shown() {
        let ssh = ["ssh://admin@10.0.0.7", "ssh://a@b:2222", "ssh://a@[::1]:23", "ssh://alias", "ssh://[::1]:23"];
        for text in ["local", "nspawn", "vm:amd64", "vm:arm64", "podman", "ec2"].into_iter().chain(ssh) {
            assert_eq!(text.parse::<TargetSpec>().unwrap().to_string(), text);
        }
        assert_eq!("vm".parse::<TargetSpec>().unwrap(), TargetSpec::Vm(Arch::host().unwrap()));
    }

    #[test]
    fn a_wrong_target_is_refused_with_the_valid_ones() {
        let ssh = ["ssh://", "ssh://@b", "ssh://a@", "ssh://a@b:0", "ssh://a@b:x", "ssh://a@b/c"];
        for text in ["", "nspawn:amd64", "vm:riscv64", "docker"].into_iter().chain(ssh) {
            let error = text.parse::<TargetSpec>().unwrap_err().to_string();
            assert!(
                error.ends_with("write local, nspawn, vm, vm:amd64, vm:arm64, podman, ssh://[user@]host[:port] or ec2"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_error_of_a_target_names_its_doctor_once() {
        let vm = TargetSpec::Vm(Arch::Arm64);
        let message = vm.unusable(anyhow::anyhow!("no such file").context("no machine")).to_string();
        assert_eq!(
            message,
            "no machine: no such file; `cargo run -- doctor --target vm:arm64` tries all that a run needs"
        );
        assert_eq!(vm.unusable(anyhow::anyhow!(message.clone())).to_string(), message);
        let lines = TargetSpec::Ec2.unusable(anyhow::anyhow!("console:\npanic")).to_string();
        assert!(lines.starts_with("console:\npanic\n`cargo run --features aws -- doctor --target ec2` "), "{lines}");
    }

    #[test]
    fn ec2_is_planned_in_every_build_and_run_on_where_its_sdk_is_built_in() {
        let fake_aws = FakeAws { endpoint: Some("http://127.0.0.1:5000".into()), ..FakeAws::default() };
        assert_eq!(TargetSpec::Ec2.arch(&FakeAws::default()).unwrap(), Arch::Arm64);
        assert_eq!(TargetSpec::Ec2.arch(&fake_aws).ok(), Arch::host());
        let lacking = TargetSpec::Ec2.available().err().map(|error| error.to_string());
        assert_eq!(lacking.is_none(), cfg!(feature = "aws"));
        assert!(lacking.is_none_or(|error| error.contains("use ci/e2e --target ec2, or cargo test --features aws ")));
        assert!(TargetSpec::Ec2.on_this_host().is_err());
    }
}
