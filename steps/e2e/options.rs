//! What users type after `cargo test --test e2e --`.

use std::path::PathBuf;

use assay::plan::Shard;
use clap::Parser;
use cucumber::gherkin::tagexpr::TagOperation;

/// Puts the claims of the annex to the proof and says which hold.
///
/// Exit status: 0 every claim that ran holds or is a declared known deviation; 1 a claim fails, or its control does not
/// fail; 2 the options or the features are wrong; 3 inconclusive: the infrastructure let us down.
#[derive(Clone, Debug, Parser)]
#[command(name = "e2e", version)]
pub struct Options {
    /// Where to run: vm, vm:amd64, vm:arm64, podman, ssh://user@host[:port], ec2 [default: vm; env: ASSAY_TARGET]
    #[arg(long)]
    pub target: Option<String>,
    /// The workload under test: oci:FOLDER, oci-archive:FILE or a registry's reference [default: built from guest/hello]
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// Say what would run, what would not, and why; run nothing
    #[arg(long)]
    pub plan: bool,
    /// List every step that features may use, with what it takes and an example; run nothing
    #[arg(long, conflicts_with = "plan")]
    pub steps: bool,
    /// With --steps: as an object for programs
    #[arg(long, requires = "steps")]
    pub json: bool,
    /// Leave the machines up where something did not hold, and say how to enter them
    #[arg(long)]
    pub keep: bool,
    /// Run a part of the claims: the first of three is 1/3
    #[arg(long, value_name = "M/N")]
    pub shard: Option<Shard>,
    /// How often the memory of the workload is measured, the run as the annex deploys it being the first
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// How often to try again what did not come out as it should; what holds only then is inconclusive, as flaky
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10))]
    pub retries: u32,
    /// The folder for the evidence; new or empty [default: target/assay/<run-id>]
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Sign the run's attestation with this SSH key (a private one, or the public one of a key in the agent)
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
    /// Only scenarios whose tags match, e.g. "@A6-4 or @A7-1"
    #[arg(long, short, value_name = "EXPR", conflicts_with = "name")]
    pub tags: Option<TagOperation>,
    /// Only scenarios whose name matches
    #[arg(long, short, value_name = "REGEX")]
    pub name: Option<regex::Regex>,
    /// How many scenarios may be under way at once
    #[arg(long, short, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// Stop after the first scenario that does not hold
    #[arg(long)]
    pub fail_fast: bool,
}
