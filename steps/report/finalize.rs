//! Turns a folder of evidence into a bundle that can be passed on: makes its reports, then checksums over all files,
//! then a statement about the checksums.

pub mod merged;

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::base::commands;
use crate::evidence::attestation;
use crate::evidence::bundle::{EvidenceBundle, SandboxedDir};
use crate::evidence::checksums::{self, SIGNATURE, STATEMENT, SUMS};
use crate::report::{self, Made};

/// Finalizes the folder of a finished run; signs its statement if a key is given. Returns the reports that could not be
/// made and why: the evidence is sealed all the same.
#[cfg(feature = "run")]
pub fn close(bundle: &EvidenceBundle, key: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let (reports, troubles) = report::make(bundle);
    finish(bundle, &reports, key)?;
    Ok(troubles)
}

fn finish(bundle: &EvidenceBundle, reports: &[Made], key: Option<&Path>) -> anyhow::Result<()> {
    report::write(reports, bundle.folder.path())?;
    checksums::seal(&bundle.folder)?;
    attestation::attest(bundle, key)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuilt {
    /// The reports are the same, byte for byte; nothing was written.
    Same,
    /// The reports were written, and the folder was sealed again.
    Closed,
    /// The reports were written; the run had not finished, so its folder stays unsealed.
    Open,
}

/// Makes the reports of a run again from its evidence, in its folder. Also returns why a report could not be made.
pub fn rebuild(bundle: &EvidenceBundle, key: Option<&Path>) -> anyhow::Result<(Rebuilt, Vec<String>)> {
    let (folder, path) = (&bundle.folder, bundle.folder.path().display());
    let sealed = folder.file(SUMS).is_ok();
    let unchanged = !sealed || reports_only(folder, &report::FILES.map(|(name, _)| name))?;
    let (reports, troubles) = report::make(bundle);
    let stated = sealed && key.is_none() && folder.file(STATEMENT).is_ok();
    if stated && unchanged && same(folder, &reports) {
        return Ok((Rebuilt::Same, troubles));
    }
    if bundle.run.get("ended").is_none_or(Json::is_null) {
        report::write(&reports, folder.path())?;
        return Ok((Rebuilt::Open, troubles));
    }
    anyhow::ensure!(
        key.is_some() || folder.file(SIGNATURE).is_err(),
        "{path} is signed, and the signature is of the reports as they were: sign again with --sign KEY, or make the \
         reports elsewhere with --out FOLDER"
    );
    finish(bundle, &reports, key)?;
    Ok((Rebuilt::Closed, troubles))
}

/// Refuses a folder in which more than these reports differs from what was sealed; returns whether nothing does.
fn reports_only(folder: &SandboxedDir, reports: &[&str]) -> anyhow::Result<bool> {
    let (_, broken) = checksums::check(folder)?;
    if let Some(changed) = broken.iter().find(|broken| !reports.contains(&broken.file.as_str())) {
        anyhow::bail!(
            "{} is not what was sealed, so nothing is written there: {}: {} (`{}` tells all; --out FOLDER makes reports \
             elsewhere)",
            folder.path().display(),
            changed.file,
            changed.problem,
            commands::assay(&format!("verify {}", folder.path().display()))
        );
    }
    Ok(broken.is_empty())
}

/// Returns whether the folder has these reports, byte for byte.
fn same(folder: &SandboxedDir, reports: &[Made]) -> bool {
    let same = |(name, bytes): &Made| fs::read(folder.path().join(name)).is_ok_and(|stored| stored == *bytes);
    reports.iter().all(same)
}
