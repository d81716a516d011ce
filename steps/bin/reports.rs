//! The commands that read the evidence of finished runs: `report`, `compare`, `merge` and `verify`.

use std::path::{Path, PathBuf};

use crate::base::unit::Bytes;
use crate::evidence::bundle::{self, EvidenceBundle, SandboxedDir};
use crate::evidence::merge::Merged;
use crate::evidence::{attestation, new_run_id, verify};
use crate::report;
use crate::report::comparison::{self, Comparison};
use crate::report::finalize::{self, Rebuilt, merged};
use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use crate::bin::say;

/// Reading more than this takes noticeably long, in bytes.
const NOTICEABLE: u64 = 500_000_000;

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
    match is_merged(&arguments.folder) {
        true => rebuild_merged(&arguments.folder, arguments),
        false => rebuild(&arguments.folder, arguments),
    }
}

fn is_merged(folder: &Path) -> bool {
    SandboxedDir::open(folder).is_ok_and(|folder| bundle::parts(&folder).is_some())
}

pub fn merge(arguments: &Merge) -> Result<(), Exit> {
    let out = &arguments.out;
    let parts = merged::read(&arguments.folders).map_err(usage)?;
    merged::room_for(&parts, out).map_err(usage)?;
    let whole = Merged::of(new_run_id(), &[], parts).map_err(usage)?;
    let whole = merged::put_together(&whole, out).map_err(infrastructure)?;
    match arguments.json {
        true => say(&serde_json::to_string_pretty(&whole.facts()).map_err(infrastructure)?),
        false => say(&format!("{}\n\n{}", report::merged_table(&whole), report::merged_summary(&whole, out))),
    }
    match ExitStatus::from_code(whole.exit) {
        ExitStatus::Success => Ok(()),
        ExitStatus::Failed => {
            Err(Exit::new(ExitStatus::Failed, anyhow::anyhow!("a claim fails, or a declaration is wrong: see above")))
        }
        other => Err(Exit::new(other, anyhow::anyhow!("something could not be judged, or is missing: see above"))),
    }
}

/// Makes the reports of a merged bundle; its parts keep their own.
fn rebuild_merged(folder: &Path, arguments: &Report) -> Result<(), Exit> {
    if arguments.sign.is_some() {
        let runs = "a merged bundle is not signed, its parts are: sign the runs, then merge them";
        return Err(usage(anyhow::anyhow!(runs)));
    }
    let (place, what) = match &arguments.out {
        Some(out) => {
            let whole = Merged::open(folder).map_err(usage)?;
            let made = std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()));
            let reports = made.and_then(|()| report::make_merged(&whole)).map_err(infrastructure)?;
            report::write(&reports, out).map_err(infrastructure)?;
            (out.as_path(), "made")
        }
        None => match merged::rebuild(folder).map_err(|error| Exit::new(ExitStatus::Failed, error))? {
            Rebuilt::Same => (folder, "as they were, to the byte"),
            Rebuilt::Closed | Rebuilt::Open => (folder, "made again, the folder sealed again"),
        },
    };
    let files = ["report.html", "junit.xml"].map(|name| place.join(name).display().to_string());
    match arguments.json {
        true => say(&json!({ "schema": 1, "state": what, "files": files, "troubles": [] }).to_string()),
        false => say(&format!("{}\nreports of the whole {what}; its parts keep theirs", files.join("\n"))),
    }
    Ok(())
}

/// Compares runs; the exit status says whether something got worse.
pub fn compare(arguments: &Compare) -> Result<(), Exit> {
    let runs = comparison::briefs(&arguments.folders).map_err(usage)?;
    let comparison = Comparison::of(runs).map_err(usage)?;
    match arguments.json {
        true => say(&serde_json::to_string_pretty(&comparison).map_err(infrastructure)?),
        false => say(report::comparison(&comparison).trim_end()),
    }
    if let Some(out) = &arguments.out {
        let page = out.join("comparison.html");
        let written =
            std::fs::create_dir_all(out).and_then(|()| std::fs::write(&page, report::trend_html(&comparison)));
        written.with_context(|| format!("cannot write {}", page.display())).map_err(infrastructure)?;
    }
    match comparison.worse() {
        true => Err(Exit::new(ExitStatus::Failed, anyhow::anyhow!("something got worse: see above"))),
        false => Ok(()),
    }
}

fn rebuild(folder: &Path, arguments: &Report) -> Result<(), Exit> {
    if let Some(key) = &arguments.sign {
        attestation::can_sign(key).map_err(usage)?;
    }
    let bundle = EvidenceBundle::open(folder).map_err(usage)?;
    let (place, what, troubles) = match &arguments.out {
        Some(out) => {
            let (reports, troubles) = report::make(&bundle);
            let made = std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()));
            made.and_then(|()| report::write(&reports, out)).map_err(infrastructure)?;
            (out.as_path(), "made", troubles)
        }
        None => {
            let key = arguments.sign.as_deref();
            let (rebuilt, troubles) =
                finalize::rebuild(&bundle, key).map_err(|error| Exit::new(ExitStatus::Failed, error))?;
            let what = match rebuilt {
                Rebuilt::Same => "as they were, to the byte",
                Rebuilt::Closed => "made again, the folder sealed again",
                Rebuilt::Open => "made; the run did not finish, so its folder is not sealed",
            };
            (folder, what, troubles)
        }
    };
    let files = report::FILES.iter().map(|(name, _)| place.join(name)).filter(|path| path.exists());
    let files: Vec<String> = files.map(|path| path.display().to_string()).collect();
    match arguments.json {
        true => say(&json!({ "schema": 1, "state": what, "files": files, "troubles": troubles }).to_string()),
        false => say(&format!("{}\nreports {what}", files.join("\n"))),
    }
    match troubles.is_empty() {
        true => Ok(()),
        false => Err(Exit::new(ExitStatus::Failed, anyhow::anyhow!("{}", troubles.join("\n")))),
    }
}

pub fn verify(folder: &Path, allowed: Option<&Path>, json: bool) -> Result<(), Exit> {
    let bytes = SandboxedDir::open(folder).and_then(|folder| folder.bytes()).map_err(usage)?;
    if bytes > NOTICEABLE {
        eprintln!("assay: reading {} in {}", Bytes(bytes), folder.display());
    }
    let verification = verify::verify(folder, allowed).map_err(usage)?;
    match json {
        true => say(&serde_json::to_string_pretty(&verification).map_err(infrastructure)?),
        false => say(&verification.show(folder)),
    }
    match verification.verified {
        true => Ok(()),
        false => {
            Err(Exit::new(ExitStatus::Failed, anyhow::anyhow!("{} cannot be relied on: see above", folder.display())))
        }
    }
}
