//! Machines to put claims to the proof on: how they are asked for, and how they come to be. Provisioning only; what
//! runs on a machine is the [`Shell`]'s business.

mod accelerator;
mod boot;
mod cache;
mod child;
mod console;
mod definition;
#[cfg_attr(not(feature = "aws"), path = "target/no_ec2.rs")]
pub mod ec2;
mod found;
mod image;
mod keys;
mod machine;
mod mirror;
mod qemu;
mod qmp;
mod snapshot;
mod thaw;
mod turns;
mod vm;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;

pub use boot::BootFailed;
pub use cache::unneeded;
pub use console::Stage;
pub use definition::{DEVICE, Definition, Distribution, Withheld};
pub use found::{Found, Lacking, Way};
pub use image::{Image, KEYRING, Manifest, ROOM, room_left};
pub use machine::{Gone, Machine, SetupStep};
pub use qemu::{Qemu, program as emulator};
pub use qmp::Qmp;
pub use snapshot::Preparation;
pub use vm::{ProvisionError, Urgency, Vm};

pub use crate::facts::Arch;
use crate::lease::Ledger;
use crate::progress::Progress;
use crate::settings::{Settings, StandIn};
use crate::shell::{Shell, Witness};
use crate::tool;

/// What provisioning needs to know of the run it happens in; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// What the surroundings say.
    pub settings: Settings,
    /// Where everything that is made gets noted before it is made.
    pub ledger: Arc<Ledger>,
    /// Who sees every command.
    pub witness: Arc<dyn Witness>,
    /// The run's folder of evidence; it exists.
    pub evidence: PathBuf,
    /// The run's id; short, for it is part of the path of sockets.
    pub run: String,
    /// What the person who waits gets to see.
    pub progress: Progress,
}

impl fmt::Debug for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Context({})", self.run)
    }
}

/// Where packages come from: the mirror that is set, else the host's own, else Debian's.
pub fn mirror_address(settings: &Settings) -> String {
    mirror::address(settings.mirror.as_deref(), std::path::Path::new("/etc/apt"))
}

/// Asks the mirror for a distribution's release file, by way of a folder; gives the mirror's address.
///
/// # Errors
/// It does not answer within seconds, or does not have the distribution.
pub async fn reach_mirror(
    shell: &Shell,
    settings: &Settings,
    distribution: Distribution,
    folder: &std::path::Path,
) -> anyhow::Result<String> {
    let mirror = mirror_address(settings);
    mirror::reach(shell, &mirror, distribution, folder).await?;
    Ok(mirror)
}

/// Whether a guest of this image starts on KVM here, which can be opened.
///
/// # Errors
/// It does not; the error says why.
pub async fn try_kvm(context: &Context, image: &Image, arch: Arch) -> Result<(), String> {
    let shell = Shell::local(context.witness.clone());
    let qemu = Qemu::installed(&shell, arch).await.map_err(|error| format!("{error:#}"))?;
    accelerator::try_kvm(context, &qemu, image, arch, &context.evidence).await
}

/// The command that installs what machines of this architecture need.
pub fn remedy(arch: Arch) -> String {
    match Arch::host() == Some(arch) {
        true => "ci/setup".to_owned(),
        false => format!("ci/setup vm:{arch}"),
    }
}

/// Checks that this host can make a machine: what would be missing only once it is started is missing now.
///
/// # Errors
/// Something is missing; the error names it and the remedy.
pub fn check_host(definition: &Definition, arch: Arch, settings: &Settings) -> anyhow::Result<()> {
    for program in [&qemu::program(arch), "qemu-img", "setpriv"] {
        tool::need(program, &remedy(arch))?;
    }
    match Image::kept(definition, arch, &settings.cache)? {
        Some(_) => Ok(()),
        None => image::check_host(arch, &settings.cache).map(drop),
    }
}

/// The kind of machine to run on, as `--target` names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetSpec {
    /// A virtual machine of ours, of this architecture.
    Vm(Arch),
    /// This host, by its own Podman.
    Podman,
    /// A machine that somebody else runs.
    Ssh {
        /// As whom to log in.
        user: String,
        /// Its name or address.
        host: String,
        /// Its SSH port, where one is named.
        port: Option<u16>,
    },
    /// An instance of the annex's own kind.
    Ec2,
}

/// A text that names no target.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is no target: write vm, vm:amd64, vm:arm64, podman, ssh://user@host[:port] or ec2")]
pub struct UnknownTarget(String);

/// A target that cannot be provided.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAvailable {
    /// Before somebody has looked at it.
    #[error("what {0} is is known once somebody has looked at it: ci/e2e --target {0} --plan does")]
    Unseen(String),
    /// By this build, which has no SDK for it.
    #[error(
        "target ec2 is not in this build, for AWS's SDK takes minutes to compile: use ci/e2e --target ec2, or \
         cargo test --features aws --test e2e -- --target ec2"
    )]
    NotBuilt,
    /// By this host.
    #[error("target {0} is no virtual machine of this host: use vm, vm:amd64 or vm:arm64")]
    Elsewhere(String),
}

impl TargetSpec {
    /// The target to use: the one named, else `ASSAY_TARGET`, else a machine of this host's architecture.
    ///
    /// # Errors
    /// There is no such target; the error lists those there are.
    pub fn choose(named: Option<&str>, settings: &Settings) -> anyhow::Result<TargetSpec> {
        match (named, settings.target.as_deref()) {
            (Some(named), _) => Ok(named.parse()?),
            (None, Some(set)) => set.parse().context("ASSAY_TARGET"),
            (None, None) => Ok("vm".parse()?),
        }
    }

    /// The architecture of its machines: the annex's in EC2, this host's where something stands in for AWS.
    ///
    /// # Errors
    /// It is somebody else's machine: [`Found`] knows.
    pub fn arch(&self, stand_in: &StandIn) -> Result<Arch, NotAvailable> {
        match self {
            TargetSpec::Vm(arch) => Ok(*arch),
            TargetSpec::Ec2 if stand_in.any() => Ok(Arch::host().unwrap_or(Arch::Arm64)),
            TargetSpec::Ec2 => Ok(Arch::Arm64),
            TargetSpec::Podman | TargetSpec::Ssh { .. } => Err(NotAvailable::Unseen(self.to_string())),
        }
    }

    /// Whether its machine is somebody else's, which is looked at before anything is planned.
    pub fn is_found(&self) -> bool {
        matches!(self, TargetSpec::Podman | TargetSpec::Ssh { .. })
    }

    /// Whether this build can run something on it; what would run can be told of targets that it cannot run on.
    ///
    /// # Errors
    /// It cannot; the error says what can.
    pub fn available(&self) -> Result<(), NotAvailable> {
        match self {
            TargetSpec::Ec2 if !cfg!(feature = "aws") => Err(NotAvailable::NotBuilt),
            _ => Ok(()),
        }
    }

    /// The command that tries all that a run on it needs.
    pub fn doctor(&self) -> String {
        let sdk = if *self == TargetSpec::Ec2 { "--features aws " } else { "" };
        format!("cargo run {sdk}-- doctor --target {self}")
    }

    /// An error for which it cannot be used, with the command that tells more, unless that is named already.
    pub fn unusable(&self, error: impl Into<anyhow::Error>) -> anyhow::Error {
        let error = error.into();
        let said = format!("{error:#}");
        if said.contains("-- doctor") {
            return error;
        }
        // What ends with a machine's console has lines.
        let apart = if said.contains('\n') { "\n" } else { "; " };
        anyhow::anyhow!("{said}{apart}`{}` tries all that a run needs", self.doctor())
    }

    /// The architecture of its machines, where they are this host's own.
    ///
    /// # Errors
    /// They are not.
    pub fn on_this_host(&self) -> Result<Arch, NotAvailable> {
        match self {
            TargetSpec::Vm(arch) => Ok(*arch),
            _ => Err(NotAvailable::Elsewhere(self.to_string())),
        }
    }
}

impl FromStr for TargetSpec {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<TargetSpec, UnknownTarget> {
        let unknown = || UnknownTarget(text.to_owned());
        match text {
            "vm" => Arch::host().map(TargetSpec::Vm).ok_or_else(unknown),
            "podman" => Ok(TargetSpec::Podman),
            "ec2" => Ok(TargetSpec::Ec2),
            _ => match (text.strip_prefix("vm:"), text.strip_prefix("ssh://")) {
                (Some(arch), _) => arch.parse().map(TargetSpec::Vm).map_err(|_| unknown()),
                (_, Some(address)) => login(address).ok_or_else(unknown),
                _ => Err(unknown()),
            },
        }
    }
}

/// `user@host`, `user@host:2222`, `user@[::1]:22`.
fn login(address: &str) -> Option<TargetSpec> {
    let (user, place) = address.split_once('@')?;
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.map(|port| port.parse().ok().filter(|port| *port != 0).ok_or(())).transpose().ok()?;
    let plain = |word: &str| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "/@".contains(c));
    (plain(user) && plain(host)).then(|| TargetSpec::Ssh { user: user.to_owned(), host: host.to_owned(), port })
}

impl fmt::Display for TargetSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetSpec::Vm(arch) => write!(out, "vm:{arch}"),
            TargetSpec::Podman => out.write_str("podman"),
            TargetSpec::Ec2 => out.write_str("ec2"),
            TargetSpec::Ssh { user, host, port } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                write!(out, "ssh://{user}@{host}")?;
                port.iter().try_for_each(|port| write!(out, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Nobody;

    /// A run of a test's own, with its ledger and evidence in a folder that stays until the process ends.
    pub(super) fn context() -> Context {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let run = format!("test-{}-{number}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let evidence = folder.path().to_owned();
        let ledger = Ledger::open(&evidence.join("ledgers"), &run).unwrap();
        ledger.take(crate::lease::Lease::Path { path: folder.keep() }).unwrap();
        Context {
            settings: Settings { cache: evidence.join("cache"), ..Settings::read().unwrap() },
            ledger: Arc::new(ledger),
            witness: Arc::new(Nobody),
            evidence,
            run,
            progress: Progress::to(|_| {}),
        }
    }

    #[test]
    fn a_target_reads_back_as_it_is_shown() {
        for text in
            ["vm:amd64", "vm:arm64", "podman", "ec2", "ssh://admin@10.0.0.7", "ssh://a@b:2222", "ssh://a@[::1]:23"]
        {
            assert_eq!(text.parse::<TargetSpec>().unwrap().to_string(), text);
        }
        let ours = Arch::host().unwrap();
        assert_eq!("vm".parse(), Ok(TargetSpec::Vm(ours)));
    }

    #[test]
    fn what_is_no_target_is_told_all_there_are() {
        for text in ["", "vm:riscv64", "docker", "ssh://host", "ssh://a@", "ssh://a@b:0", "ssh://a@b:x", "ssh://a@b/c"]
        {
            let error = text.parse::<TargetSpec>().unwrap_err().to_string();
            assert!(error.ends_with("write vm, vm:amd64, vm:arm64, podman, ssh://user@host[:port] or ec2"), "{error}");
        }
    }

    #[test]
    fn a_machine_of_somebody_else_is_unknown_until_it_was_looked_at() {
        let none = StandIn::default();
        let vm = TargetSpec::Vm(Arch::Arm64);
        assert_eq!((vm.arch(&none), vm.available(), vm.on_this_host()), (Ok(Arch::Arm64), Ok(()), Ok(Arch::Arm64)));
        for text in ["podman", "ssh://a@b"] {
            let found: TargetSpec = text.parse().unwrap();
            assert!(found.is_found() && found.available().is_ok());
            let said = found.arch(&none).unwrap_err().to_string();
            assert!(said.ends_with(&format!("ci/e2e --target {text} --plan does")), "{said}");
            let said = found.on_this_host().unwrap_err().to_string();
            assert_eq!(said, format!("target {text} is no virtual machine of this host: use vm, vm:amd64 or vm:arm64"));
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_with_the_command_that_tells_more_and_once() {
        let vm = TargetSpec::Vm(Arch::Arm64);
        let said = vm.unusable(anyhow::anyhow!("no such file").context("no machine")).to_string();
        assert_eq!(
            said,
            "no machine: no such file; `cargo run -- doctor --target vm:arm64` tries all that a run needs"
        );
        assert_eq!(vm.unusable(anyhow::anyhow!(said.clone())).to_string(), said);
        let lines = TargetSpec::Ec2.unusable(anyhow::anyhow!("console:\npanic")).to_string();
        assert!(lines.starts_with("console:\npanic\n`cargo run --features aws -- doctor --target ec2` "), "{lines}");
        let point = Lacking { target: "ssh://a@b".to_owned(), points: Vec::new() };
        let lacking = "ssh://a@b".parse::<TargetSpec>().unwrap().unusable(point).to_string();
        assert_eq!(lacking.matches("cargo run -- doctor --target ssh://a@b").count(), 1, "{lacking}");
    }

    #[test]
    fn ec2_is_planned_in_every_build_and_run_on_where_its_sdk_is_built_in() {
        let stand_in = StandIn { endpoint: Some("http://127.0.0.1:5000".into()), ..StandIn::default() };
        assert_eq!(TargetSpec::Ec2.arch(&StandIn::default()), Ok(Arch::Arm64));
        assert_eq!(TargetSpec::Ec2.arch(&stand_in).ok(), Arch::host());
        assert_eq!(TargetSpec::Ec2.available().is_ok(), cfg!(feature = "aws"));
        assert!(TargetSpec::Ec2.on_this_host().is_err());
        let said = NotAvailable::NotBuilt.to_string();
        assert!(
            said.contains("use ci/e2e --target ec2, or cargo test --features aws --test e2e -- --target ec2"),
            "{said}"
        );
    }
}
