//! What takes minutes to make and is kept: a folder each, named by the hash of all that went into it. Two runs do not
//! make the same thing twice, and one that is interrupted leaves nothing half-made.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use sha2::{Digest, Sha256};

use super::{Context, Manifest};
use crate::lease::Lease;
use crate::wait::{self, Look};

/// Through qemu-user on a busy host.
pub(crate) const LIMIT: Duration = Duration::from_secs(45 * 60);

/// The name of what is made of these parts, each with a word for what it is.
pub(crate) fn key<'a>(parts: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in parts {
        hash.update(format!("{name} {}\n", bytes.len()));
        hash.update(bytes);
    }
    hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}

/// The thing kept in `folder` as `key`: opened there, or made now. `make` is given a folder that nobody else knows;
/// what is in it afterwards is what is kept.
///
/// # Errors
/// It cannot be made, or what was made cannot be opened.
pub(crate) async fn provide<T>(
    context: &Context,
    folder: &Path,
    key: &str,
    open: impl Fn(&Path) -> Option<T>,
    make: impl AsyncFnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<T> {
    let own = folder.join(key);
    if let Some(thing) = open(&own) {
        return Ok(thing);
    }
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let _lock = locked(context, folder, key).await?;
    // Whoever held the lock before may have made it.
    if let Some(thing) = open(&own) {
        return Ok(thing);
    }
    let work = folder.join(format!("{key}.{}.part", context.run));
    let lease = Lease::Path { path: work.clone() };
    context.ledger.take(lease.clone())?;
    let _ = fs::remove_dir_all(&work);
    fs::create_dir(&work).with_context(|| format!("{} cannot be made", work.display()))?;
    fs::set_permissions(&work, fs::Permissions::from_mode(0o755))?;
    make(&work).await?;
    let _ = fs::remove_dir_all(&own);
    fs::rename(&work, &own).with_context(|| format!("{} cannot be put into place", own.display()))?;
    context.ledger.release(&lease)?;
    open(&own).with_context(|| format!("{} is not complete", own.display()))
}

async fn locked(context: &Context, folder: &Path, key: &str) -> anyhow::Result<File> {
    let lock = File::create(folder.join(format!("{key}.lock"))).context("the image's lock cannot be made")?;
    let mut told = false;
    wait::until("another run's build of the same image", LIMIT, Duration::from_millis(500), async || {
        match lock.try_lock() {
            Ok(()) => Ok::<_, anyhow::Error>(Look::Done(())),
            Err(fs::TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut told, true) {
                    context.progress.say(format!("image {key}: another run makes it, waiting"));
                }
                Ok(Look::Waiting("it is being made".to_owned()))
            }
            Err(fs::TryLockError::Error(error)) => Err(error.into()),
        }
    })
    .await?;
    Ok(lock)
}

/// What is kept in a folder and not needed: whole things whose key is not among those that are.
pub(crate) fn unneeded(folder: &Path, needed: &BTreeSet<String>) -> Vec<PathBuf> {
    let kept = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    // What is half made has a longer name and is somebody's lease; only what is whole is judged here.
    let idle = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.is_dir() && path.join(Manifest::FILE).is_file() && !name.contains('.') && !needed.contains(name)
    };
    let mut unneeded: Vec<PathBuf> = kept.filter(idle).collect();
    unneeded.sort();
    unneeded
}

#[cfg(test)]
mod tests {
    use super::super::tests::context;
    use super::*;

    fn open(folder: &Path) -> Option<String> {
        fs::read_to_string(folder.join("thing")).ok()
    }

    async fn put(folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join("thing"), folder.display().to_string()).map_err(Into::into)
    }

    #[tokio::test]
    async fn what_is_kept_is_made_once() {
        let context = context();
        let folder = context.settings.cache.join("things");
        let made = provide(&context, &folder, "k", open, put).await.unwrap();
        assert!(made.ends_with(".part"), "{made}");
        let again = provide(&context, &folder, "k", open, async |_| anyhow::bail!("it is there")).await.unwrap();
        assert_eq!(made, again);
    }

    #[tokio::test]
    async fn a_build_that_fails_leaves_nothing_that_could_be_taken_for_whole() {
        let context = context();
        let folder = context.settings.cache.join("things");
        let half = async |folder: &Path| {
            put(folder).await?;
            anyhow::bail!("the mirror went away")
        };
        let error = provide(&context, &folder, "k", open, half).await.unwrap_err().to_string();
        assert_eq!(error, "the mirror went away");
        assert!(!folder.join("k").exists());
        assert!(context.ledger.close().is_empty());
        let left: Vec<_> = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["k.lock"]);
    }

    #[tokio::test]
    async fn what_was_made_in_part_is_not_taken() {
        let context = context();
        let folder = context.settings.cache.join("things");
        let error = provide(&context, &folder, "k", open, async |_| Ok(())).await.unwrap_err().to_string();
        assert!(error.ends_with("things/k is not complete"), "{error}");
    }

    #[test]
    fn a_key_tells_apart_what_only_looks_alike_when_joined() {
        let of = |a: &str, b: &str| key([("a", a.into()), ("b", b.into())]);
        assert_ne!(of("xy", "z"), of("x", "yz"));
        assert_eq!(of("x", "y").len(), 20);
    }
}
