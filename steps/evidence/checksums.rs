//! Writes `SHA256SUMS` when a run's folder is closed, and checks it later.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;
use serde::Serialize;

use crate::base::digest::sha256_of;
use crate::evidence::bundle::SandboxedDir;

pub const STATEMENT: &str = "attestation.json";
pub const SIGNATURE: &str = "attestation.json.sig";

/// The file with the checksums, as `sha256sum -c` reads it.
pub const SUMS: &str = "SHA256SUMS";
/// Files about the checksums, which therefore cannot be among them.
pub const ABOUT: [&str; 3] = [SUMS, STATEMENT, SIGNATURE];

pub fn seal(folder: &SandboxedDir) -> anyhow::Result<()> {
    let mut lines = String::new();
    for name in folder.names()?.iter().filter(|name| !ABOUT.contains(&name.as_str())) {
        let sum = sha256_of(folder.reader(name)?).with_context(|| format!("cannot read {name}"))?;
        lines += &format!("{sum}  {name}\n");
    }
    fs::write(folder.path().join(SUMS), lines).with_context(|| format!("cannot write {SUMS}"))
}

/// A problem with a file of a run's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file with the problem, relative to the folder.
    pub file: String,
    pub problem: String,
}

impl Finding {
    pub fn new(file: &str, problem: impl Into<String>) -> Finding {
        Finding { file: file.to_owned(), problem: problem.into() }
    }
}

/// Reads a folder's checksums: names and SHA-256.
pub fn sums(folder: &SandboxedDir) -> anyhow::Result<BTreeMap<String, String>> {
    let text = folder.text(SUMS)?;
    let mut sums = BTreeMap::new();
    for (place, line) in text.lines().enumerate() {
        let (sum, name) = line
            .split_once("  ")
            .filter(|(sum, name)| sum.len() == 64 && sum.bytes().all(|c| c.is_ascii_hexdigit()) && !name.is_empty())
            .with_context(|| format!("{SUMS}:{}: no line of a checksum: write SHA-256, two spaces, name", place + 1))?;
        sums.insert(name.to_owned(), sum.to_lowercase());
    }
    anyhow::ensure!(!sums.is_empty(), "{SUMS} is empty: it says nothing of any file");
    Ok(sums)
}

/// Finds every file that was changed, removed or added, or is not a plain file. Also returns the number of checksums.
pub fn check(folder: &SandboxedDir) -> anyhow::Result<(usize, Vec<Finding>)> {
    let sums = sums(folder)?;
    let mut broken = Vec::new();
    let mut tell = |file: &str, problem: String| broken.push(Finding::new(file, problem));
    for (name, sealed) in &sums {
        match folder.reader(name).map(sha256_of) {
            Ok(Ok(sum)) if sum == *sealed => {}
            Ok(Ok(sum)) => tell(name, format!("changed since it was sealed: SHA-256 {sum}, sealed as {sealed}")),
            Ok(Err(error)) => tell(name, format!("cannot be read: {error}")),
            Err(_) if fs::symlink_metadata(folder.path().join(name)).is_err() => {
                tell(name, "is missing, and was there when the folder was sealed".to_owned());
            }
            Err(strange) => tell(name, strange.to_string()),
        }
    }
    let known = |name: &String| sums.contains_key(name) || ABOUT.contains(&name.as_str());
    for name in folder.names()?.iter().filter(|name| !known(name)) {
        tell(name, format!("was added since the folder was sealed: {SUMS} does not have it"));
    }
    Ok((sums.len(), broken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn sealed() -> (tempfile::TempDir, SandboxedDir) {
        let path = tempfile::tempdir().unwrap();
        fs::create_dir(path.path().join("trials")).unwrap();
        fs::write(path.path().join("trials/1.txt"), "abc").unwrap();
        fs::write(path.path().join("run.json"), "{}").unwrap();
        fs::write(path.path().join(STATEMENT), "about it").unwrap();
        let folder = SandboxedDir::open(path.path()).unwrap();
        seal(&folder).unwrap();
        (path, folder)
    }

    fn message(change: impl FnOnce(&Path)) -> String {
        let (path, folder) = sealed();
        change(path.path());
        match check(&folder) {
            Ok((_, broken)) => broken.iter().map(|one| format!("{}: {}\n", one.file, one.problem)).collect(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn checksums_are_those_of_sha256sum() {
        let (_path, folder) = sealed();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(folder.text(SUMS).unwrap().contains(&format!("{abc}  trials/1.txt\n")));
        assert_eq!(check(&folder).unwrap(), (2, Vec::new()));
    }

    #[test]
    fn whatever_is_not_as_it_was_is_named() {
        let write =
            |name: &'static str, text: &'static str| move |path: &Path| fs::write(path.join(name), text).unwrap();
        assert!(message(write("trials/1.txt", "abd")).starts_with("trials/1.txt: changed since it was sealed"));
        assert!(message(write("trials/2.txt", "")).starts_with("trials/2.txt: was added since"));
        assert!(message(|path| fs::remove_file(path.join("run.json")).unwrap()).starts_with("run.json: is missing"));
        let linked = message(|path| {
            fs::remove_file(path.join("run.json")).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", path.join("run.json")).unwrap();
            let refused = seal(&SandboxedDir::open(path).unwrap()).unwrap_err().to_string();
            assert!(refused.contains("is a symbolic link"), "{refused}");
        });
        assert_eq!(linked, "run.json: run.json is a symbolic link: evidence is made of plain files\n");
        assert!(message(write(SUMS, "abc  run.json\n")).starts_with("SHA256SUMS:1: no line of a checksum"));
        assert!(message(write(SUMS, "")).starts_with("SHA256SUMS is empty"));
        assert!(message(|path| fs::remove_file(path.join(SUMS)).unwrap()).starts_with("cannot read "));
        let outside = message(|path| {
            let sums = fs::read_to_string(path.join(SUMS)).unwrap() + &"0".repeat(64) + "  ../../etc/passwd\n";
            fs::write(path.join(SUMS), sums).unwrap();
        });
        assert!(
            outside.contains("../../etc/passwd leads out of the folder") || outside.contains("is missing"),
            "{outside}"
        );
    }
}
