//! Locks the cache, computes its keys, and finds images that no definition needs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::{Definition, DiskImage, Platform, cloud_image, image, snapshot};
use crate::base::digest::hex;
use crate::base::platform::Arch;
use crate::base::poll::{self, Look};
use crate::base::progress::Progress;
use crate::base::settings::Settings;

/// Waits for the lock to make a cache entry; it is held for as long as the returned file is open.
pub(super) async fn turn(lock: &Path, what: &str, limit: Duration, progress: &Progress) -> anyhow::Result<File> {
    let file = File::create(lock).with_context(|| format!("{} cannot be made", lock.display()))?;
    let mut reported = false;
    poll::until(format!("the end of another run's work on {what}"), limit, Duration::from_millis(500), async || {
        match file.try_lock() {
            Ok(()) => Ok::<_, anyhow::Error>(Look::Done(())),
            Err(fs::TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut reported, true) {
                    progress.note(format!("{what} is being made, waiting"));
                }
                Ok(Look::Waiting("it is being made".to_owned()))
            }
            Err(fs::TryLockError::Error(error)) => Err(error.into()),
        }
    })
    .await?;
    Ok(file)
}

/// Whether a cache entry is complete: an incomplete one has a longer name, and its run's cleanup journal lists it.
pub(super) fn in_place(folder: &Path) -> bool {
    folder.is_dir() && folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.contains('.'))
}

/// The key of a cache entry: the hash of all its inputs.
#[derive(Default)]
pub(super) struct Key(Sha256);

impl Key {
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) {
        self.0.update(format!("{name} {}\n", bytes.len()));
        self.0.update(bytes);
    }

    /// Returns the key, in twenty digits.
    pub(super) fn finish(self) -> String {
        hex(&self.0.finalize()[..10])
    }
}

/// Returns the kept images that no definition needs on any architecture and platform of the project, the snapshots of their
/// machines, and the cloud images that were fetched.
pub fn unneeded(settings: &Settings) -> anyhow::Result<Vec<PathBuf>> {
    let cache = &settings.cache;
    let mut needed = BTreeSet::new();
    for platform in Platform::names(&settings.root) {
        let settings = settings.on_platform(Some(platform));
        for definition in Definition::all(&settings)? {
            for arch in Arch::ALL {
                needed.insert(DiskImage::key(&definition, arch)?);
            }
        }
    }
    let all = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let entries = |folder: PathBuf| all(folder).filter(|path| in_place(path));
    let is_needed = |image: &str| needed.contains(image);
    let images = entries(image::folder(cache)).filter(|path| path.join("manifest.json").is_file());
    let images = images.filter(|path| !path.file_name().and_then(|name| name.to_str()).is_some_and(is_needed));
    let snapshots = entries(snapshot::folder(cache));
    let snapshots = snapshots.filter(|path| !snapshot::image_of(path).as_deref().is_some_and(is_needed));
    let mut unneeded: Vec<PathBuf> = images.chain(snapshots).chain(all(cloud_image::folder(cache))).collect();
    unneeded.sort();
    Ok(unneeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_a_machine_needs_is_kept_and_one_that_none_needs_is_not() {
        let cache = tempfile::tempdir().unwrap();
        let own = Settings { cache: cache.path().to_owned(), ..Settings::read().unwrap() };
        let sid = own.on_platform(Some("debian-sid".to_owned()));
        let needed = DiskImage::key(&Definition::named(&sid, "nano").unwrap(), Arch::Arm64).unwrap();
        for name in [needed.as_str(), "0123", "0123.run.part"] {
            let folder = cache.path().join("machines").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("manifest.json"), "{}").unwrap();
        }
        assert_eq!(unneeded(&own).unwrap(), [cache.path().join("machines/0123")]);
        assert_eq!(unneeded(&Settings { cache: cache.path().join("none"), ..own }).unwrap(), [] as [PathBuf; 0]);
    }
}
