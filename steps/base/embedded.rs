//! The project's files that the program carries, so that an installed one works without the checkout.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::base::digest::hex;

/// How the name of a folder with the unpacked files of a version begins.
const FOLDER: &str = "files-";

/// The files that `build.rs` lists, ordered by path: each path below the project's folder, and what the file contains.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

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

/// Returns the SHA-256 of those of these files that are in a folder, as they are there.
pub fn digest_in(root: &Path) -> String {
    let mut digest = Sha256::new();
    for (path, bytes) in FILES.iter().filter_map(|(path, _)| Some((path, fs::read(root.join(path)).ok()?))) {
        digest.update(format!("{path} {}\n", bytes.len()));
        digest.update(bytes);
    }
    hex(&digest.finalize())
}

/// Returns the folder of the unpacked files, below the cache. Writes those that are missing or differ, and removes those
/// that do not belong there. Each file is replaced in one step, so several programs may do this at once. Folders of other
/// versions of the program go, unless one of these is running.
pub fn unpack(cache: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join(format!("{FOLDER}{:.20}", digest()));
    let unwritable =
        || format!("cannot write {}: make it writable, or set ASSAY_CACHE to another folder", folder.display());
    use_until_the_end(&folder).with_context(unwritable)?;
    for (path, bytes) in FILES {
        let file = folder.join(path);
        if !fs::read(&file).is_ok_and(|found| found == *bytes) {
            write(cache, &file, bytes).with_context(unwritable)?;
        }
    }
    // Other files would be read, too: a feature or a machine that no program of this digest has.
    let others = |path: &&PathBuf| !FILES.iter().any(|(known, _)| **path == folder.join(known));
    files_below(&folder)
        .and_then(|files| files.iter().filter(others).try_for_each(fs::remove_file))
        .with_context(|| format!("cannot read {}", folder.display()))?;
    for outdated in outdated(cache, &folder) {
        if fs::remove_dir_all(&outdated).is_ok() {
            eprintln!("assay: removed {}, which another version had unpacked", outdated.display());
        }
    }
    Ok(folder)
}

/// Locks a folder for as long as this program runs, together with others.
fn use_until_the_end(folder: &Path) -> std::io::Result<()> {
    loop {
        fs::create_dir_all(folder)?;
        let open = File::open(folder)?;
        open.lock_shared()?;
        // Another version may have removed it before it was locked.
        if folder.exists() {
            std::mem::forget(open);
            return Ok(());
        }
    }
}

/// Returns the folders of other versions that no program uses.
fn outdated(cache: &Path, own: &Path) -> Vec<PathBuf> {
    let ours =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(FOLDER.as_bytes()));
    let folders = fs::read_dir(cache).into_iter().flatten().flatten().map(|entry| entry.path());
    let unused = |path: &PathBuf| File::open(path).is_ok_and(|open| open.try_lock().is_ok());
    folders.filter(|path| ours(path) && path != own && unused(path)).collect()
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

fn files_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => files.extend(files_below(&entry.path())?),
            false => files.push(entry.path()),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn unpacked(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let name = |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        files_below(folder).unwrap().into_iter().map(|path| (name(&path), fs::read(path).unwrap())).collect()
    }

    #[test]
    fn the_unpacked_files_are_those_of_the_checkout() {
        let cache = tempfile::tempdir().unwrap();
        let files = unpacked(&unpack(cache.path()).unwrap());
        for (name, bytes) in &files {
            assert_eq!(&fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap(), bytes, "{name}");
        }
        assert_eq!(digest_in(Path::new(env!("CARGO_MANIFEST_DIR"))), digest());
        let needed = ["ci/setup", "features/claims.toml", "fixtures/machines/nano.toml", "guest/hello/src/main.rs"];
        assert!(needed.iter().all(|name| files.contains_key(*name)), "{:?}", files.keys());
        assert!(!files.keys().any(|name| name.contains("/target/")), "{:?}", files.keys());
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
    fn the_files_of_another_version_go_unless_it_is_running() {
        let cache = tempfile::tempdir().unwrap();
        let [over, running, other] = ["files-0123", "files-4567", "machines"].map(|name| cache.path().join(name));
        [&over, &running, &other].iter().for_each(|folder| fs::create_dir_all(folder.join("features")).unwrap());
        let held = File::open(&running).unwrap();
        held.lock_shared().unwrap();
        let own = unpack(cache.path()).unwrap();
        assert_eq!([&over, &running, &other, &own].map(|folder| folder.exists()), [false, true, true, true]);
        drop(held);
        unpack(cache.path()).unwrap();
        assert!(!running.exists());
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
