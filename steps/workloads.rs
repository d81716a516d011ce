//! What is put to the proof: guest modules and the images made of them, each known by its SHA-256.

pub mod baseline;
pub mod registry;
mod guest;
mod image;
mod layout;
mod module;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

pub use guest::{Build, build};
pub use image::{ANNOTATION, Counted, Image, PLATFORM, Recipe};
pub(crate) use image::{PULL_LIMIT, Storage, tls};
pub use layout::{Entry, Layer, Layout};
pub use module::{Export, Import, Module};

use crate::exec::cleanup::{CleanupJournal, Resource};
use crate::exec::shell::Shell;

/// Where artifacts are made: this host, a folder of the run's own, and the ledger that all of it is noted in.
#[derive(Clone, Debug)]
pub struct BuildDir {
    /// Commands on this host.
    pub shell: Shell,
    /// Everything made is noted here first.
    pub cleanup: Arc<CleanupJournal>,
    /// The run's id; part of every name that is visible to others.
    pub run: String,
    /// A folder that goes with the run.
    pub folder: PathBuf,
}

impl BuildDir {
    /// The folder that a run's workshop lies in: short, because paths of Unix sockets must be.
    pub fn folder(run: &str) -> PathBuf {
        PathBuf::from(format!("/tmp/assay-{run}"))
    }

    /// Opens a run's workshop.
    ///
    /// # Errors
    /// Where its folder cannot be made.
    pub fn open(shell: Shell, cleanup: Arc<CleanupJournal>, run: &str) -> anyhow::Result<BuildDir> {
        let folder = BuildDir::folder(run);
        cleanup.take(Resource::Path { path: folder.clone() })?;
        // Nobody else's: it holds a login.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(BuildDir { shell, cleanup, run: run.to_owned(), folder })
    }

    /// A new, empty folder inside; its name starts with `purpose`.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn room(&self, purpose: &str) -> anyhow::Result<PathBuf> {
        let room = tempfile::Builder::new().prefix(&format!("{purpose}-")).tempdir_in(&self.folder);
        Ok(room.with_context(|| format!("cannot create a folder in {}", self.folder.display()))?.keep())
    }

    /// The reference of an image called `name`: nobody else's, and good for this run only.
    fn reference(&self, name: &str) -> String {
        format!("localhost/assay/{}:{}", name.to_lowercase(), self.run.to_lowercase())
    }
}

/// A path as an argument of a command.
fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8: choose another folder", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::shell::Fake;

    #[test]
    fn a_workshop_is_private_and_goes_with_its_ledger() {
        let ledgers = tempfile::tempdir().unwrap();
        let run = format!("test-{}", std::process::id());
        let cleanup = Arc::new(CleanupJournal::open(ledgers.path(), &run).unwrap());
        let build_dir = BuildDir::open(Shell::fake(Fake::default()), cleanup, &run).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&build_dir.folder.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
        assert_ne!(build_dir.room("a").unwrap(), build_dir.room("a").unwrap());
        assert_eq!(build_dir.reference("Hello"), format!("localhost/assay/hello:{run}"));
        let folder = build_dir.folder.clone();
        drop(build_dir);
        assert!(!folder.exists());
    }
}
