//! The options of `assay run`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use assay::base::instance_spec::{InstanceSpec, MINUTES};
use assay::base::platform::{TargetSpec, place_name};
use assay::base::settings::{CloudDisk, Settings};
use assay::base::stats::LOOKS;
use assay::base::trace;
use assay::base::unit::Dollars;
use assay::claims::plan::Shard;
use assay::claims::workload::Workload;
use assay::measurement::pricing::{Budget, Estimate};
use assay::targets::{Platform, RemoteAccess, cloud_image};
use clap::{ArgAction, Args};
use cucumber::gherkin::tagexpr::TagOperation;

/// Tests the claims of the annex and reports which hold.
///
/// Exit status: 0 if every claim that ran holds or is a declared known deviation; 1 if a claim fails, or a control
/// passes; 2 if the options or the features are wrong; 3 if the result is inconclusive because of the infrastructure.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Where to run: local (each claim on a machine of this host that offers what it needs), nspawn, vm, vm:amd64,
    /// vm:arm64, podman, ssh://[user@]host[:port], ec2; several targets run one after the other and are reported side by
    /// side [default: local; env: ASSAY_TARGET]
    #[arg(long)]
    pub target: Vec<String>,
    /// What the machines of this host run: debian-13, debian-14, debian-sid, ubuntu-24.04, or a file of your own; several
    /// run one after the other and are reported side by side [default: debian-13; env: ASSAY_PLATFORM]
    #[arg(long, value_name = "NAME|FILE")]
    pub platform: Vec<String>,
    /// Start this cloud image in virtual machines instead: a qcow2 or raw disk, as a file or a URL; it is booted once with a
    /// seed for cloud-init, and its own package manager installs Podman, crun and WasmEdge
    #[arg(long, value_name = "FILE|URL", conflicts_with = "platform")]
    pub disk: Option<String>,
    /// With --disk: the SHA-256 that the image must have; a URL needs one
    #[arg(long, value_name = "HEX", requires = "disk")]
    pub sha256: Option<String>,
    /// With --disk: install the .deb or .rpm files of this folder, and nothing from the image's own package archive
    #[arg(long, value_name = "DIR", requires = "disk")]
    pub packages: Option<PathBuf>,
    /// The folder of a workload of your own, as `assay init` creates it: test its claims [default: the annex]
    #[arg(long, value_name = "DIR")]
    pub suite: Option<PathBuf>,
    /// The workload under test: oci:FOLDER, oci-archive:FILE, a registry reference, or debian-package:mosquitto
    /// [default: built from guest/hello, or what the folder of --suite names]
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// The annex's own text, as Markdown: paste its command blocks on a machine (A11-2) [env: ASSAY_ANNEX]
    #[arg(long, value_name = "FILE")]
    pub annex: Option<PathBuf>,
    /// Print what would run, what would not, and why; run nothing
    #[arg(long)]
    pub plan: bool,
    /// Leave the machines running if something did not hold, and print how to log in to them
    #[arg(long)]
    pub keep: bool,
    /// Run one part of the claims: 1/3 is the first of three
    #[arg(long, value_name = "M/N")]
    pub shard: Option<Shard>,
    /// How often to measure the workload's memory; the run as the annex deploys it is the first
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// Number of retries for scenarios that fail or are inconclusive; a claim that holds only on a retry is reported as
    /// flaky (inconclusive)
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10))]
    pub retries: u32,
    /// The folder for the evidence; new or empty [default: target/assay/<run-id>]
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// With ec2: what the run may cost, in dollars; a run that could cost more is not started [default: 0.05]
    #[arg(long, value_name = "DOLLARS", allow_negative_numbers = true)]
    pub max_cost: Option<Dollars>,
    /// With ec2: the instance ends itself after this many minutes [default: 60]
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(MINUTES))]
    pub time_limit: Option<u64>,
    /// With ec2: use a spot instance, which AWS may take away
    #[arg(long)]
    pub spot: bool,
    /// With ec2: the subnet to start the instance in [default: the default VPC]
    #[arg(long, value_name = "ID", value_parser = subnet)]
    pub subnet: Option<String>,
    /// With ssh://…: the fingerprint of the host key, as SHA256:…, if no known_hosts file has the key
    #[arg(long, value_name = "FINGERPRINT")]
    pub host_key: Option<String>,
    /// With ssh://…: install what the run needs, and remove it again at the end
    #[arg(long)]
    pub provision: bool,
    /// Sign the run's plan and attestation with this SSH key (a private key, or the public key of one in the agent)
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
    /// Have the plan time-stamped by this server (RFC 3161) before anything is measured
    #[arg(long, value_name = "URL")]
    pub timestamp: Option<String>,
    /// Run only scenarios whose tags match, e.g. "@A6-4 or @A7-1"
    #[arg(long, short, value_name = "EXPR", conflicts_with = "name")]
    pub tags: Option<TagOperation>,
    /// Run only scenarios whose name matches
    #[arg(long, short, value_name = "REGEX")]
    pub name: Option<regex::Regex>,
    /// How many scenarios, and machines at work, may be active at once [default: what this host has capacity for]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: Option<u16>,
    /// Stop after the first scenario that does not hold
    #[arg(long)]
    pub fail_fast: bool,
    /// How much to show
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// How much a command shows of what happens inside.
#[derive(Clone, Copy, Debug, Args)]
pub struct Verbosity {
    /// Show what machines and images do; -vv also shows each command
    #[arg(long, short, action = ArgAction::Count)]
    verbose: u8,
}

impl Verbosity {
    pub fn apply(self) {
        trace::start(self.verbose);
    }
}

impl Options {
    /// Returns the folder whose `features/` are run: the project's own, or that of a workload, which also names the
    /// image unless an option does.
    pub fn folder(&mut self, settings: &Settings) -> anyhow::Result<(PathBuf, Option<Workload>)> {
        let Some(folder) = self.suite.clone() else { return Ok((settings.root.clone(), None)) };
        let workload = Workload::read(&folder)?;
        if self.image.is_none() {
            self.image = workload.image.clone();
        }
        Ok((folder, Some(workload)))
    }

    /// Returns the places to run at, one after the other: each target, with each platform if it can have one.
    pub fn places(&self, settings: &Settings) -> anyhow::Result<Vec<Place>> {
        let targets = self.targets(settings)?;
        if let Some(source) = &self.disk {
            let disk = cloud_image::given(source, self.sha256.as_deref(), self.packages.as_deref())?;
            let place = |target| Place { target, platform: Some(Platform::of_disk(&disk)), disk: Some(disk.clone()) };
            return Ok(targets.into_iter().map(place).collect());
        }
        let mut platforms: Vec<Platform> = Vec::new();
        for name in &self.platform {
            let platform = Platform::named(&settings.root, name)?;
            let new = platforms.iter().all(|other| other.name != platform.name);
            anyhow::ensure!(new, "platform {} is named twice: name each once", platform.name);
            platforms.push(platform);
        }
        if let Some(name) = settings.platform.as_ref().filter(|_| platforms.is_empty()) {
            platforms.push(Platform::named(&settings.root, name).context("ASSAY_PLATFORM")?);
        }
        let at = |target: TargetSpec| {
            let on_each = platforms.iter().filter(|_| target.starts_machines()).cloned().map(Some);
            let mut on_each: Vec<Option<Platform>> = on_each.collect();
            if on_each.is_empty() {
                on_each.push(None);
            }
            on_each.into_iter().map(move |platform| Place { target: target.clone(), platform, disk: None })
        };
        Ok(targets.into_iter().flat_map(at).collect())
    }

    /// Returns the targets, each of which may be named once. Every option must apply to one of them.
    fn targets(&self, settings: &Settings) -> anyhow::Result<Vec<TargetSpec>> {
        let mut targets = Vec::new();
        for name in &self.target {
            let target = TargetSpec::choose(Some(name), settings)?;
            anyhow::ensure!(!targets.contains(&target), "target {target} is named twice: name each once");
            targets.push(target);
        }
        if targets.is_empty() {
            let usual = self.disk.is_some().then_some("vm");
            targets.push(TargetSpec::choose(usual, settings)?);
        }
        if self.disk.is_some() {
            let vm = matches!(targets[..], [TargetSpec::Vm(_)]);
            anyhow::ensure!(vm, "--disk only applies to --target vm, vm:amd64 or vm:arm64, one at a time");
        }
        let remote = ("ssh://…", targets.iter().any(is_remote));
        let local = ("local, nspawn or vm", targets.iter().any(TargetSpec::starts_machines));
        let ec2 = ("ec2", targets.contains(&TargetSpec::Ec2));
        for ((kind, applies), option, given) in [
            (local, "--platform", !self.platform.is_empty()),
            (remote, "--host-key", self.host_key.is_some()),
            (remote, "--provision", self.provision),
            (ec2, "--max-cost", self.max_cost.is_some()),
            (ec2, "--time-limit", self.time_limit.is_some()),
            (ec2, "--spot", self.spot),
            (ec2, "--subnet", self.subnet.is_some()),
        ] {
            anyhow::ensure!(applies || !given, "{option} only applies to --target {kind}");
        }
        Ok(targets)
    }

    /// Returns how to reach the remote machine or this host; `None` if neither is the target.
    pub fn way(&self, target: &TargetSpec) -> Option<RemoteAccess> {
        let remote = is_remote(target);
        let host_key = self.host_key.clone().filter(|_| remote);
        let way = || RemoteAccess { target: target.clone(), host_key, provision: self.provision && remote };
        target.is_found().then(way)
    }

    /// Returns what the plan has about how often is measured and tried again.
    pub fn limits(&self) -> serde_json::Value {
        let selected = self.tags.as_ref().map(|_| "tags").or(self.name.as_ref().map(|_| "name"));
        serde_json::json!({
            "runs": self.runs,
            "retries": self.retries,
            "looks": LOOKS,
            "shard": self.shard,
            "selected_by": selected,
            "keep": self.keep,
            "fail_fast": self.fail_fast,
            "image": self.image,
        })
    }

    /// Estimates the cost of what a run on this target orders in the cloud; `None` if it orders nothing.
    pub fn quote(&self, target: &TargetSpec, settings: &Settings) -> anyhow::Result<Option<Estimate>> {
        if *target != TargetSpec::Ec2 {
            return Ok(None);
        }
        let usual = InstanceSpec::default();
        let order = InstanceSpec {
            spot: self.spot,
            subnet: self.subnet.clone(),
            time_limit: self.time_limit.map_or(usual.time_limit, |minutes| Duration::from_secs(minutes * 60)),
            ..usual
        };
        let budget = self.max_cost.map_or_else(Budget::default, Budget);
        Estimate::make(&settings.root, settings.region.as_deref(), order, budget).map(Some)
    }
}

/// A target, and what its machines run if that was chosen.
#[derive(Clone, Debug)]
pub struct Place {
    pub target: TargetSpec,
    pub platform: Option<Platform>,
    pub disk: Option<CloudDisk>,
}

impl Place {
    /// Returns the settings of a run at this place.
    pub fn settings(&self, settings: &Settings) -> Settings {
        let platform = self.platform.as_ref().filter(|_| self.disk.is_none());
        let platform = platform.map(|platform| platform.path.display().to_string());
        Settings { platform, disk: self.disk.clone(), ..settings.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let platform = self.platform.as_ref().map(|platform| platform.name.as_str());
        out.write_str(&place_name(&self.target.to_string(), platform))
    }
}

fn is_remote(target: &TargetSpec) -> bool {
    matches!(target, TargetSpec::Ssh { .. })
}

fn subnet(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("subnet-").filter(|digits| !digits.is_empty());
    match digits.is_some_and(|digits| digits.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))) {
        true => Ok(text.to_owned()),
        false => Err(format!("\"{text}\" is not a subnet: write its id, as subnet-0123456789abcdef0")),
    }
}
