//! The project's files that the program carries, so that an installed one works without the checkout.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::base::digest::hex;

/// A path below the project's folder, and what the file contains.
type File = (&'static str, &'static [u8]);

macro_rules! files {
    ($($path:literal,)*) => { &[$(($path, include_bytes!(concat!("../../", $path)))),*] };
}

/// Everything that assay reads from the project's folder while it runs. A test compares this with the folders.
static FILES: &[File] = files![
    "ci/setup",
    "features/a10_cleanup.feature",
    "features/a11_replication.feature",
    "features/a2_build.feature",
    "features/a3_image.feature",
    "features/a4_publish.feature",
    "features/a5_device.feature",
    "features/a6_service.feature",
    "features/a7_resources.feature",
    "features/a8_findings.feature",
    "features/claims.toml",
    "features/deviations.toml",
    "fixtures/machines/customize.sh",
    "fixtures/machines/freeze.sh",
    "fixtures/machines/mega.toml",
    "fixtures/machines/nano.toml",
    "fixtures/machines/setup.sh",
    "fixtures/machines/tiny.toml",
    "fixtures/prices/aws.toml",
    "fixtures/quadlets/bad-key.container",
    "fixtures/quadlets/conventional.container",
    "fixtures/quadlets/late-start.container",
    "fixtures/quadlets/no-limits.container",
    "fixtures/quadlets/no-quota.container",
    "fixtures/quadlets/wasm-hello.container",
    "fixtures/selfcheck/README.md",
    "fixtures/selfcheck/features/a10_cleanup.feature",
    "fixtures/selfcheck/features/a11_replication.feature",
    "fixtures/selfcheck/features/a2_build.feature",
    "fixtures/selfcheck/features/a3_image.feature",
    "fixtures/selfcheck/features/a4_publish.feature",
    "fixtures/selfcheck/features/a5_device.feature",
    "fixtures/selfcheck/features/a6_service.feature",
    "fixtures/selfcheck/features/a7_resources.feature",
    "fixtures/selfcheck/features/a8_findings.feature",
    "fixtures/selfcheck/features/claims.toml",
    "fixtures/selfcheck/features/deviations.toml",
    "fixtures/selfcheck/run.json",
    "fixtures/selfcheck/samples.jsonl",
    "fixtures/selfcheck/transcript.jsonl",
    "fixtures/selfcheck/trials/exit-seven-no-quota-warm-1.txt",
    "fixtures/selfcheck/trials/hog-no-limits-warm-1.txt",
    "fixtures/selfcheck/trials/hog-no-quota-warm-1.txt",
    "fixtures/selfcheck/trials/short-no-quota-warm-1.txt",
    "fixtures/selfcheck/trials/side-by-side-conventional-cold-1.txt",
    "fixtures/selfcheck/trials/side-by-side-conventional-warm-2.txt",
    "fixtures/selfcheck/trials/side-by-side-workload-cold-1.txt",
    "fixtures/selfcheck/trials/side-by-side-workload-warm-2.txt",
    "fixtures/selfcheck/trials/skips-a-reading-no-quota-warm-1.txt",
    "fixtures/selfcheck/trials/spinner-no-quota-12s-warm-1.txt",
    "fixtures/selfcheck/trials/spinner-wasm-hello-12s-warm-1.txt",
    "fixtures/selfcheck/trials/trap-no-quota-2-stops-warm-1.txt",
    "fixtures/selfcheck/trials/workload-late-start-warm-1.txt",
    "fixtures/selfcheck/trials/workload-no-limits-cold-1.txt",
    "fixtures/selfcheck/trials/workload-no-limits-warm-2.txt",
    "fixtures/selfcheck/trials/workload-no-limits-warm-3.txt",
    "fixtures/selfcheck/trials/workload-no-limits-warm-4.txt",
    "fixtures/selfcheck/trials/workload-no-limits-warm-5.txt",
    "fixtures/selfcheck/trials/workload-no-quota-cold-1.txt",
    "fixtures/selfcheck/trials/workload-no-quota-warm-2.txt",
    "fixtures/selfcheck/trials/workload-no-quota-warm-3.txt",
    "fixtures/selfcheck/trials/workload-no-quota-warm-4.txt",
    "fixtures/selfcheck/trials/workload-on-tiny.txt",
    "fixtures/selfcheck/trials/workload-wasm-hello-warm-1.txt",
    "fixtures/selfcheck/verdicts.json",
    "guest/Cargo.lock",
    "guest/Cargo.toml",
    "guest/capabilities/Cargo.toml",
    "guest/capabilities/src/main.rs",
    "guest/compile-error/Cargo.lock",
    "guest/compile-error/Cargo.toml",
    "guest/compile-error/src/main.rs",
    "guest/exit-seven/Cargo.toml",
    "guest/exit-seven/src/main.rs",
    "guest/foreign-import/Cargo.toml",
    "guest/foreign-import/src/main.rs",
    "guest/hello/Cargo.toml",
    "guest/hello/src/lib.rs",
    "guest/hello/src/main.rs",
    "guest/hog/Cargo.toml",
    "guest/hog/src/main.rs",
    "guest/padded/Cargo.toml",
    "guest/padded/src/main.rs",
    "guest/short/Cargo.toml",
    "guest/short/src/main.rs",
    "guest/skips-a-reading/Cargo.toml",
    "guest/skips-a-reading/src/main.rs",
    "guest/spinner/Cargo.toml",
    "guest/spinner/src/main.rs",
    "guest/trap/Cargo.toml",
    "guest/trap/src/main.rs",
    "rust-toolchain.toml",
];

/// Returns the SHA-256 of all files and their paths.
pub fn digest() -> &'static str {
    static DIGEST: LazyLock<String> = LazyLock::new(|| {
        let mut digest = Sha256::new();
        for (path, bytes) in FILES {
            digest.update(format!("{path} {}\n", bytes.len()));
            digest.update(bytes);
        }
        hex(&digest.finalize())
    });
    &DIGEST
}

/// Returns the folder of the unpacked files, below the cache. Writes those that are missing or differ, and removes those
/// that do not belong there. Each file is replaced in one step, so several programs may do this at once.
pub fn unpack(cache: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join(format!("files-{:.20}", digest()));
    for (path, bytes) in FILES {
        let file = folder.join(path);
        if !fs::read(&file).is_ok_and(|found| found == *bytes) {
            write(cache, &file, bytes).with_context(|| {
                format!("cannot write {}: make it writable, or set ASSAY_CACHE to another folder", file.display())
            })?;
        }
    }
    remove_others(&folder, &folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(folder)
}

fn write(cache: &Path, file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(cache))?;
    // Not beside the file: another program would take it for one that does not belong there.
    let mut written = NamedTempFile::new_in(cache)?;
    written.write_all(bytes)?;
    let mode = if bytes.starts_with(b"#!") { 0o755 } else { 0o644 };
    written.as_file().set_permissions(Permissions::from_mode(mode))?;
    written.persist(file)?;
    Ok(())
}

/// Removes the files that are not embedded: assay would read another feature or machine as well.
fn remove_others(root: &Path, folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            remove_others(root, &path)?;
        } else if !FILES.iter().any(|(known, _)| path == root.join(known)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The folders whose files are all embedded; what else lies in `fixtures` is compiled in elsewhere or for tests.
    const FOLDERS: [&str; 6] =
        ["features", "guest", "fixtures/machines", "fixtures/prices", "fixtures/quadlets", "fixtures/selfcheck"];

    /// Reads all files below a folder, without what cargo has built there.
    fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true if path.ends_with("target") => {}
                true => read(root, &path, files),
                false => {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
    }

    fn unpacked(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        read(folder, folder, &mut files);
        files
    }

    #[test]
    fn every_file_that_a_run_reads_is_embedded_and_no_other() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = BTreeMap::new();
        FOLDERS.iter().for_each(|folder| read(root, &root.join(folder), &mut files));
        for name in ["ci/setup", "rust-toolchain.toml"] {
            files.insert(name.to_owned(), fs::read(root.join(name)).unwrap());
        }
        let embedded: BTreeSet<&str> = FILES.iter().map(|(path, _)| *path).collect();
        assert_eq!(embedded, files.keys().map(String::as_str).collect(), "add the file to FILES, or remove it there");
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(unpacked(&unpack(cache.path()).unwrap()), files);
        let left: Vec<_> = fs::read_dir(cache.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn what_is_missing_damaged_or_foreign_is_repaired_at_the_next_start() {
        let cache = tempfile::tempdir().unwrap();
        let folder = unpack(cache.path()).unwrap();
        let whole = unpacked(&folder);
        fs::remove_file(folder.join("features/claims.toml")).unwrap();
        fs::remove_dir_all(folder.join("guest/hello")).unwrap();
        fs::write(folder.join("fixtures/prices/aws.toml"), "").unwrap();
        fs::write(folder.join("features/another.feature"), "Feature: another").unwrap();
        assert_ne!(unpacked(&folder), whole);
        assert_eq!(unpack(cache.path()).unwrap(), folder);
        assert_eq!(unpacked(&folder), whole);
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("ci/setup"), mode("features/claims.toml")), (0o755, 0o644));
    }

    #[test]
    fn several_programs_unpack_at_once() {
        let cache = tempfile::tempdir().unwrap();
        let (path, whole) = (cache.path(), FILES.len());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(move || assert_eq!(unpacked(&unpack(path).unwrap()).len(), whole));
            }
        });
    }
}
