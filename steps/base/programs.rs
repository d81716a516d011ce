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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_remedy() {
        assert!(need("sh", "ci/setup").unwrap().ends_with("/sh"));
        let error = need("qemu-system-vax", "ci/setup vm:vax").unwrap_err().to_string();
        assert_eq!(error, "qemu-system-vax is not installed: ci/setup vm:vax does that");
    }
}
