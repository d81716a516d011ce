//! The commands that read the evidence of finished runs: `report`, `compare`, `merge` and `verify`.

use std::path::{Path, PathBuf};

use crate::bin::{failed, print};
use assay::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use assay::base::unit::Bytes;
use assay::evidence::bundle::{self, EvidenceBundle, SandboxedDir};
use assay::evidence::history::{History, OfClaim};
use assay::evidence::merge::Merged;
use assay::evidence::{attestation, new_run_id, verify};
use assay::report::comparison::{self, Comparison};
use assay::report::finalize::{self, Rebuilt, merged};
use assay::report::{self, sentence};
use clap::Args;
use serde_json::json;

/// Reading more than this takes noticeably long, in bytes.
const NOTICEABLE: u64 = 500_000_000;

const SAME: &str = "as they were, to the byte";
const SEALED: &str = "made again, the folder sealed again";

/// Which run, and what to do with its reports.
#[derive(Debug, Args)]
pub struct Report {
    /// The folder of a run, target/assay/<run>
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Write the reports into this folder, and leave the run's own as it is
    #[arg(long, short, value_name = "FOLDER", conflicts_with = "sign")]
    out: Option<PathBuf>,
    /// Sign the run's attestation again with this SSH key
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// Which runs to compare.
#[derive(Debug, Args)]
pub struct Compare {
    /// The folders of runs, the oldest first
    #[arg(required = true, num_args = 2.., value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Also write the comparison as a page into this folder
    #[arg(long, short, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// Which runs to merge, and where to.
#[derive(Debug, Args)]
pub struct Merge {
    /// The folders of runs
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// The folder of the merged bundle, new or empty
    #[arg(long, short, value_name = "FOLDER")]
    out: PathBuf,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

pub fn report(arguments: &Report) -> Result<(), Exit> {
    let merged = SandboxedDir::open(&arguments.folder).is_ok_and(|folder| bundle::parts(&folder).is_some());
    let (what, files, troubles) = if merged { rebuild_merged(arguments)? } else { rebuild(arguments)? };
    let place = arguments.out.as_ref().unwrap_or(&arguments.folder);
    let files = files.into_iter().map(|name| place.join(name)).filter(|path| path.exists());
    let files: Vec<String> = files.map(|path| path.display().to_string()).collect();
    let value = json!({ "schema": 1, "state": what, "files": files, "troubles": troubles });
    print(arguments.json, &value, || match merged {
        true => format!("{}\nreports of the whole {what}; its parts keep theirs", files.join("\n")),
        false => format!("{}\nreports {what}", files.join("\n")),
    })?;
    match troubles.is_empty() {
        true => Ok(()),
        false => Err(failed(troubles.join("\n"))),
    }
}

/// What was done with the reports, the names of their files, and why some cannot be made.
type Reports = (&'static str, Vec<&'static str>, Vec<String>);

fn write(reports: &[report::Made], out: &Path) -> Result<(), Exit> {
    let elsewhere = |error| infrastructure(anyhow::anyhow!("{error:#}: name another folder with --out"));
    report::write(reports, out).map_err(elsewhere)
}

/// Makes the reports of a merged bundle; its parts keep their own.
fn rebuild_merged(Report { folder, out, sign, .. }: &Report) -> Result<Reports, Exit> {
    if sign.is_some() {
        let runs = "a merged bundle is not signed, its parts are: sign the runs, then merge them";
        return Err(usage(anyhow::anyhow!(runs)));
    }
    let what = match out {
        Some(out) => {
            let reports = report::make_merged(&Merged::open(folder).map_err(usage)?).map_err(infrastructure)?;
            write(&reports, out)?;
            "made"
        }
        None => match merged::rebuild(folder).map_err(failed)? {
            Rebuilt::Same => SAME,
            Rebuilt::Closed | Rebuilt::Open => SEALED,
        },
    };
    Ok((what, vec!["report.html", "junit.xml", "badge.svg"], Vec::new()))
}

fn rebuild(Report { folder, out, sign, .. }: &Report) -> Result<Reports, Exit> {
    if let Some(key) = sign {
        attestation::can_sign(key).map_err(usage)?;
    }
    let bundle = EvidenceBundle::open(folder).map_err(usage)?;
    let (what, troubles) = match out {
        Some(out) => {
            let (reports, troubles) = report::make(&bundle);
            write(&reports, out)?;
            ("made", troubles)
        }
        None => {
            let (rebuilt, troubles) = finalize::rebuild(&bundle, sign.as_deref()).map_err(failed)?;
            let what = match rebuilt {
                Rebuilt::Same => SAME,
                Rebuilt::Closed => SEALED,
                Rebuilt::Open => "made; the run did not finish, so its folder is not sealed",
            };
            (what, troubles)
        }
    };
    Ok((what, report::FILES.iter().map(|(name, _)| *name).collect(), troubles))
}

pub fn merge(arguments: &Merge) -> Result<(), Exit> {
    let out = &arguments.out;
    let parts = merged::read(&arguments.folders).map_err(usage)?;
    merged::check_space(&parts, out).map_err(usage)?;
    let whole = Merged::of(new_run_id(), &[], parts).map_err(usage)?;
    let whole = merged::write_merged(&whole, out).map_err(infrastructure)?;
    print(arguments.json, &whole.facts(), || {
        format!("{}\n\n{}", report::merged_table(&whole), report::merged_summary(&whole, out))
    })?;
    match ExitStatus::from_code(whole.exit) {
        ExitStatus::Success => Ok(()),
        ExitStatus::Failed => Err(failed("a claim fails, or a declaration is wrong: see above")),
        other => Err(Exit::new(other, anyhow::anyhow!("something could not be judged, or is missing: see above"))),
    }
}

/// Compares runs; the exit status says whether something got worse.
pub fn compare(arguments: &Compare) -> Result<(), Exit> {
    let runs = comparison::briefs(&arguments.folders).map_err(usage)?;
    let comparison = Comparison::of(runs).map_err(usage)?;
    print(arguments.json, &comparison, || report::comparison(&comparison))?;
    if let Some(out) = &arguments.out {
        let page = report::trend_html(&comparison).into();
        write(&[("comparison.html", page)], out)?;
    }
    match comparison.worse() {
        true => Err(failed("something got worse: see above")),
        false => Ok(()),
    }
}

/// Shows the chain of runs in a folder.
pub fn history(folder: &Path, json: bool) -> Result<(), Exit> {
    let history = History::read(folder).map_err(usage)?.with_false_alarms();
    print(json, &history, || {
        let line = |OfClaim { claim, kind, equals }: &OfClaim| {
            let on = kind.map(|kind| format!(" on {kind}")).unwrap_or_default();
            format!("\n{claim}{on}: {}", sentence::false_alarms(equals))
        };
        history.render() + &history.false_alarms.iter().map(line).collect::<String>()
    })?;
    match history.gaps.is_empty() {
        true => Ok(()),
        false => Err(failed(format!("runs are missing from {}: see above", folder.display()))),
    }
}

pub fn verify(folder: &Path, trust: &verify::Trust, json: bool) -> Result<(), Exit> {
    let bytes = SandboxedDir::open(folder).and_then(|folder| folder.bytes()).map_err(usage)?;
    if bytes > NOTICEABLE {
        eprintln!("assay: reading {} in {}", Bytes(bytes), folder.display());
    }
    let verification = verify::verify(folder, trust).map_err(usage)?;
    print(json, &verification, || verification.render(folder))?;
    match verification.verified {
        true => Ok(()),
        false => Err(failed(format!("{} cannot be relied on: see above", folder.display()))),
    }
}
