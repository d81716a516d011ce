//! Lists the files that the program carries, for `base/embedded.rs`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Everything that assay reads from the project's folder while it runs.
const CARRIED: [&str; 9] = [
    "ci/setup",
    "features",
    "fixtures/machines",
    "fixtures/platforms",
    "fixtures/prices",
    "fixtures/quadlets",
    "fixtures/selfcheck",
    "guest",
    "rust-toolchain.toml",
];

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    CARRIED.iter().try_for_each(|path| collect(Path::new(path), &mut files))?;
    files.sort();
    // The project's folder may be another one when it is compiled again.
    let entry = |file: &PathBuf| {
        format!("({file:?}, include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/{}\"))),\n", file.display())
    };
    let list: String = files.iter().map(entry).collect();
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("embedded.rs"), format!("&[\n{list}]\n"))
}

/// Collects the files below a path, without what cargo builds there, and without hidden ones.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    // Cargo looks at everything below a folder that is named here, so a crate's folder, with its `target`, is not.
    if !path.join("Cargo.toml").exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}
