//! What the fuzz targets share: where their inputs begin.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the path of a file or folder of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Copies the files with this extension in these folders of the project into the target's corpus, which is the folder
/// that its first argument names. libFuzzer reads it afterwards.
pub fn seed(folders: &[&str], extension: &str) {
    let corpus = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let Some(corpus) = corpus.map(PathBuf::from).filter(|corpus| corpus.is_dir()) else { return };
    for folder in folders {
        for entry in fs::read_dir(project(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
            let path = entry.expect("an entry of a folder").path();
            if path.extension().is_some_and(|own| own == extension) {
                fs::copy(&path, corpus.join(path.file_name().expect("a name"))).expect("a copy in the corpus");
            }
        }
    }
}
