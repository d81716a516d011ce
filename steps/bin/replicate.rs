//! The command `replicate`: runs the claims of another run's bundle again, and says whether both agree.

use std::path::{Path, PathBuf};

use crate::bin::{failed, print};
use assay::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use assay::evidence::bundle::EvidenceBundle;
use assay::evidence::replication::Replication;
use assay::evidence::verify::{self, Trust};
use clap::Args;

/// Which run to replicate, and how.
#[derive(Debug, Args)]
pub struct Replicate {
    /// The bundle: the folder of a run
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Run nothing: compare with this run, which was made before
    #[arg(long, value_name = "DIR")]
    with: Option<PathBuf>,
    /// Where to run [default: the bundle's target]
    #[cfg(feature = "run")]
    #[arg(long, conflicts_with = "with")]
    target: Option<String>,
    /// The workload under test [default: the bundle's]
    #[cfg(feature = "run")]
    #[arg(long, value_name = "REF", conflicts_with = "with")]
    image: Option<String>,
    /// The folder of a workload of your own, if the bundle is about one
    #[cfg(feature = "run")]
    #[arg(long, value_name = "DIR", conflicts_with = "with")]
    suite: Option<PathBuf>,
    /// The folder for the evidence; new or empty [default: target/assay/<run-id>]
    #[cfg(feature = "run")]
    #[arg(long, value_name = "DIR", conflicts_with = "with")]
    evidence: Option<PathBuf>,
    /// Sign the statement, the plan and the attestation with this SSH key
    #[cfg(feature = "run")]
    #[arg(long, value_name = "KEY", conflicts_with = "with")]
    sign: Option<PathBuf>,
    /// Have the plan time-stamped by this server (RFC 3161)
    #[cfg(feature = "run")]
    #[arg(long, value_name = "URL", conflicts_with = "with")]
    timestamp: Option<String>,
    /// The signers of whom one must have signed the bundle
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, requires = "with")]
    json: bool,
}

pub fn replicate(arguments: &Replicate) -> Result<(), Exit> {
    let first = checked(&arguments.bundle, arguments.allowed_signers.as_deref())?;
    let replication = match &arguments.with {
        Some(with) => Replication::of(&first, &checked(with, None)?).map_err(usage)?,
        #[cfg(feature = "run")]
        None => again::run(&first, arguments)?,
        #[cfg(not(feature = "run"))]
        None => return Err(usage(anyhow::anyhow!("this build runs nothing: name another run by --with DIR"))),
    };
    print(arguments.json, &replication, || replication.render())?;
    match (replication.disagrees(), replication.says_nothing()) {
        (true, _) => Err(failed("the runs disagree: see above")),
        (_, true) => Err(Exit::new(ExitStatus::Inconclusive, anyhow::anyhow!("no claim was judged in both runs"))),
        _ => Ok(()),
    }
}

/// Opens a bundle that can be relied on.
fn checked(folder: &Path, allowed: Option<&Path>) -> Result<EvidenceBundle, Exit> {
    let bundle = EvidenceBundle::open(folder).map_err(usage)?;
    let verification = verify::verify(folder, &Trust { allowed, ..Trust::default() }).map_err(infrastructure)?;
    match verification.verified {
        true => Ok(bundle),
        false => Err(failed(verification.render(folder))),
    }
}

#[cfg(feature = "run")]
mod again {
    use std::path::PathBuf;

    use assay::base::exit_status::{Exit, infrastructure, usage};
    use assay::base::platform::TargetSpec;
    use assay::base::settings::Settings;
    use assay::evidence::bundle::EvidenceBundle;
    use assay::evidence::replication::{self, Replication};
    use assay::evidence::sealed_plan::SealedPlan;
    use assay::evidence::{ClaimResult, attestation, new_run_id};
    use assay::verdict::Verdict;
    use clap::{Args as _, Command, FromArgMatches as _};
    use serde_json::Value as Json;

    use super::Replicate;
    use crate::e2e::{self, options::Options};

    /// Runs the claims that a bundle judged, and leaves a bundle that names it.
    pub fn run(first: &EvidenceBundle, arguments: &Replicate) -> Result<Replication, Exit> {
        if let Some(key) = &arguments.sign {
            attestation::can_sign(key).map_err(usage)?;
        }
        let evidence = match &arguments.evidence {
            Some(folder) => folder.clone(),
            None => Settings::read().map_err(usage)?.runs.join(new_run_id()),
        };
        let options = options(first, arguments, evidence.clone()).map_err(usage)?;
        let status = e2e::run(options)?;
        tracing::info!("the run ended with {status:?}");
        let second = EvidenceBundle::open(&evidence).map_err(infrastructure)?;
        let replication = Replication::of(first, &second).map_err(infrastructure)?;
        replication::leave(&replication, first, &second, arguments.sign.as_deref()).map_err(infrastructure)?;
        Ok(replication)
    }

    /// Returns the options of the run: what the first had, and what the arguments say instead.
    fn options(first: &EvidenceBundle, arguments: &Replicate, evidence: PathBuf) -> anyhow::Result<Options> {
        let judged = |claim: &&ClaimResult| claim.verdict != Verdict::NotRun;
        let claims: Vec<String> =
            first.verdicts.claims.iter().filter(judged).map(|claim| format!("@{}", claim.id)).collect();
        anyhow::ensure!(!claims.is_empty(), "the bundle has judged nothing");
        let text = |pointer: &str| first.run.pointer(pointer).and_then(Json::as_str).map(str::to_owned);
        let limits = SealedPlan::of(first)?.limits;
        let number = |name: &str| limits.get(name).and_then(Json::as_u64).map(|number| number.to_string());
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let target = match (&arguments.target, text("/target")) {
            (Some(target), _) => Some(target.clone()),
            (None, Some(target)) if !target.parse::<TargetSpec>()?.starts_machines() => {
                anyhow::bail!(
                    "the bundle is of {target}, and only machines of this host are used unasked: say where to run by --target"
                )
            }
            (None, target) => target,
        };
        let words = [
            ("tags", Some(claims.join(" or "))),
            ("evidence", Some(evidence.display().to_string())),
            ("target", target),
            ("platform", text("/platform").filter(|_| first.run.get("disk").is_none())),
            ("disk", text("/disk/source")),
            ("sha256", text("/disk/sha256")),
            ("image", arguments.image.clone().or_else(|| text("/image/name").filter(|name| name != "guest/hello"))),
            ("runs", number("runs")),
            ("retries", number("retries")),
            ("suite", path(&arguments.suite)),
            ("sign", path(&arguments.sign)),
            ("timestamp", arguments.timestamp.clone()),
        ];
        let words = words.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?)));
        let command = Options::augment_args(Command::new("run").no_binary_name(true));
        Ok(Options::from_arg_matches(&command.try_get_matches_from(words)?)?)
    }
}
