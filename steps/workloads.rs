//! Builds guest modules and images, the subjects of the tests, which are identified by their SHA-256.

pub mod baseline;
pub mod registry;
mod guest;
mod image;
mod layout;
mod module;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

pub use guest::{Build, build, build_native, guest_named};
pub use image::{ContainerImage, Recipe};
pub use image::{PULL_LIMIT, Storage, tls};
pub use layout::Layout;
pub use module::Module;

use crate::exec::cleanup::CleanupJournal;
use crate::exec::shell::Shell;
use crate::targets::run_folder;

/// Checks whether an image could exist: one of a guest in `root`, one of a Debian package, or one that
/// [`ContainerImage::look_for`] accepts.
pub fn look_for(root: &Path, reference: &str) -> anyhow::Result<()> {
    match (guest_named(reference), baseline::named(reference)) {
        (Some((name, _)), _) => guest::look_for(root, reference, name),
        (None, Some(program)) => program.map(drop),
        (None, None) => ContainerImage::look_for(reference),
    }
}

/// The place where artifacts are built: this host, a folder of the run, and the journal that lists all of it.
#[derive(Clone, Debug)]
pub struct BuildDir {
    pub shell: Shell,
    /// Everything that is made is registered here first.
    pub cleanup: Arc<CleanupJournal>,
    /// The run's id, which is part of every name that others can see.
    pub run: String,
    /// A folder that is removed with the run.
    pub folder: PathBuf,
}

impl BuildDir {
    /// Creates a run's build dir. It is private because it holds a login.
    pub fn open(shell: Shell, cleanup: Arc<CleanupJournal>, run: &str) -> anyhow::Result<BuildDir> {
        let folder = run_folder(&cleanup, run)?;
        Ok(BuildDir { shell, cleanup, run: run.to_owned(), folder })
    }

    /// Creates a new, empty folder inside, whose name starts with `purpose`.
    pub fn subfolder(&self, purpose: &str) -> anyhow::Result<PathBuf> {
        let folder = tempfile::Builder::new().prefix(&format!("{purpose}-")).tempdir_in(&self.folder);
        Ok(folder.with_context(|| format!("cannot create a folder in {}", self.folder.display()))?.keep())
    }

    /// Returns the reference of an image called `name`, unique to this run.
    fn reference(&self, name: &str) -> String {
        format!("localhost/assay/{}:{}", name.to_lowercase(), self.run.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::exec::shell::Fake;

    /// Returns a run's build dir for a test, which is removed when it is dropped.
    pub(super) fn build_dir(fake: Fake) -> BuildDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let run = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let journals = tempfile::tempdir().unwrap();
        let cleanup = Arc::new(CleanupJournal::open(journals.path(), &run).unwrap());
        BuildDir::open(Shell::fake(fake), cleanup, &run).unwrap()
    }

    #[test]
    fn a_build_dir_is_private_and_goes_with_its_journal() {
        let build_dir = build_dir(Fake::default());
        let mode = std::os::unix::fs::PermissionsExt::mode(&build_dir.folder.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
        assert_ne!(build_dir.subfolder("a").unwrap(), build_dir.subfolder("a").unwrap());
        assert_eq!(build_dir.reference("Hello"), format!("localhost/assay/hello:{}", build_dir.run));
        let folder = build_dir.folder.clone();
        drop(build_dir);
        assert!(!folder.exists());
    }
}
