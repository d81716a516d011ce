//! Finds the programs of this host that assay needs, and names the remedy if one is missing.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::base::settings;

pub fn find(program: &str) -> Option<PathBuf> {
    match program.starts_with('/') {
        true => Some(PathBuf::from(program)).filter(|path| path.is_file()),
        false => settings::program_folders().iter().map(|folder| folder.join(program)).find(|path| path.is_file()),
    }
}

pub fn need(program: &str, remedy: &str) -> anyhow::Result<String> {
    let path = find(program).with_context(|| format!("{program} is not installed: {remedy} does that"))?;
    Ok(path.display().to_string())
}
