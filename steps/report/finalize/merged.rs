//! Makes a merged bundle from the folders of runs: copies of them, joint results and reports, and checksums over all of
//! it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Rebuilt;
use crate::base::commands;
use crate::evidence::bundle::SandboxedDir;
use crate::evidence::checksums::{self, SUMS};
use crate::evidence::merge::{Merged, PARTS, Part};
use crate::report;

/// Reads the runs to be merged, and checks that each is as it was sealed. A killed run was never sealed, and is
/// accepted as it is.
pub fn read(folders: &[PathBuf]) -> anyhow::Result<Vec<Part>> {
    let read = |path: &PathBuf| {
        let part = Part::open(path)?;
        let (folder, path) = (&part.bundle.folder, path.display());
        if folder.file(SUMS).is_ok() {
            if let Some(changed) = checksums::check(folder)?.1.first() {
                let verify = commands::assay(&format!("verify {path}"));
                anyhow::bail!(
                    "{path} is not what was sealed: {}: {} (`{verify}` tells all)",
                    changed.file,
                    changed.problem
                );
            }
        } else {
            anyhow::ensure!(
                !part.ended(),
                "{path} came to its end, but has no {SUMS}: it was removed; `{}` seals it",
                commands::assay(&format!("report {path}"))
            );
        }
        Ok(part)
    };
    folders.iter().map(read).collect()
}

/// Checks that a merged bundle can be made there: in a new or empty folder, and not inside a run.
pub fn check_space(parts: &[Part], out: &Path) -> anyhow::Result<()> {
    let what = || out.display();
    if out.exists() {
        let mut inside = fs::read_dir(out).with_context(|| format!("{} is not a folder: name a new one", what()))?;
        anyhow::ensure!(
            inside.next().is_none(),
            "{} is not empty: runs are merged into a new folder, name one",
            what()
        );
    }
    let whole = std::path::absolute(out).with_context(|| format!("{} is not a path", what()))?;
    let known = whole.ancestors().find_map(|folder| folder.canonicalize().ok()).unwrap_or_default();
    let taken =
        |folder: &&Path| folder.join(SUMS).exists() || parts.iter().any(|part| part.bundle.folder.path() == *folder);
    match known.ancestors().find(taken).map(Path::display) {
        None => Ok(()),
        Some(sealed) => anyhow::bail!("{} is inside of {sealed}, which is sealed: name a folder elsewhere", what()),
    }
}

/// Copies the parts and finalizes the whole atomically: all of it is written, or nothing. Returns the bundle as
/// written.
pub fn write_merged(merged: &Merged, out: &Path) -> anyhow::Result<Merged> {
    let out = std::path::absolute(out)?;
    let above = out.parent().context("cannot write to `/`: choose another output folder")?;
    let cannot = || format!("cannot write {}", out.display());
    fs::create_dir_all(above).with_context(cannot)?;
    let stage = tempfile::Builder::new().prefix(".merging-").tempdir_in(above).with_context(cannot)?;
    let whole = stage.path().join("whole");
    for part in &merged.parts {
        copy(&part.bundle.folder, &whole.join(PARTS).join(&part.name))?;
    }
    let asked: Vec<String> = merged.columns.iter().map(|column| column.target.clone()).collect();
    let names: Vec<String> = merged.parts.iter().map(|part| part.name.clone()).collect();
    close(&whole, &merged.run, &asked, &names)?;
    fs::rename(&whole, &out).with_context(cannot)?;
    Merged::open(&out)
}

fn copy(from: &SandboxedDir, to: &Path) -> anyhow::Result<()> {
    for name in from.names()? {
        let path = to.join(&name);
        fs::create_dir_all(path.parent().unwrap_or(to)).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        io::copy(&mut from.reader(&name)?, &mut file).with_context(|| format!("cannot copy {name}"))?;
    }
    Ok(())
}

/// Makes a merged bundle from a folder that already contains the parts. `asked` lists the targets that were requested.
pub fn close(folder: &Path, run: &str, asked: &[String], parts: &[String]) -> anyhow::Result<Merged> {
    let folder = SandboxedDir::open(folder)?;
    let merged = Merged::within(&folder, run.to_owned(), asked, parts)?;
    // A killed run could not make its own reports; making them again later reports what cannot be made.
    for part in merged.parts.iter().filter(|part| !part.ended()) {
        report::write(&report::make(&part.bundle).0, part.bundle.folder.path())?;
    }
    for (name, json) in [("run.json", merged.facts()), ("verdicts.json", merged.verdicts()?)] {
        let text = serde_json::to_string_pretty(&json)? + "\n";
        fs::write(folder.path().join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    report::write(&report::make_merged(&merged)?, folder.path())?;
    checksums::seal(&folder)?;
    Ok(merged)
}

/// Makes the reports of a merged bundle again; those of its parts stay as they are.
pub fn rebuild(path: &Path) -> anyhow::Result<Rebuilt> {
    let merged = Merged::open(path)?;
    let folder = SandboxedDir::open(path)?;
    let reports = report::make_merged(&merged)?;
    let names: Vec<&str> = reports.iter().map(|(name, _)| *name).collect();
    if super::reports_only(&folder, &names)? && super::same(&folder, &reports) {
        return Ok(Rebuilt::Same);
    }
    report::write(&reports, folder.path())?;
    checksums::seal(&folder)?;
    Ok(Rebuilt::Closed)
}
