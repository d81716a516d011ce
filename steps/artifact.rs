//! What is put to the proof: guest modules and the images made of them, each known by its SHA-256.

mod guest;
mod image;
mod layout;
mod module;

use std::io::{self, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use sha2::{Digest, Sha256};

pub use guest::{Build, build};
pub use image::{ANNOTATION, Counted, Image, PLATFORM, Recipe};
pub(crate) use image::{PULL_LIMIT, Storage, tls};
pub use layout::{Entry, Layer, Layout};
pub use module::{Export, Import, Module};

use crate::lease::{Lease, Ledger};
use crate::shell::Shell;

/// Where artifacts are made: this host, a folder of the run's own, and the ledger that all of it is noted in.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// Commands on this host.
    pub shell: Shell,
    /// Everything made is noted here first.
    pub ledger: Arc<Ledger>,
    /// The run's id; part of every name that is visible to others.
    pub run: String,
    /// A folder that goes with the run.
    pub folder: PathBuf,
}

impl Workshop {
    /// The folder that a run's workshop lies in: short, because paths of Unix sockets must be.
    pub fn folder(run: &str) -> PathBuf {
        PathBuf::from(format!("/tmp/assay-{run}"))
    }

    /// Opens a run's workshop.
    ///
    /// # Errors
    /// Where its folder cannot be made.
    pub fn open(shell: Shell, ledger: Arc<Ledger>, run: &str) -> anyhow::Result<Workshop> {
        let folder = Workshop::folder(run);
        ledger.take(Lease::Path { path: folder.clone() })?;
        // Nobody else's: it holds a login.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Workshop { shell, ledger, run: run.to_owned(), folder })
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

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of all that a reader gives, in hexadecimal.
///
/// # Errors
/// The reader fails.
pub fn sha256_of(reader: impl Read) -> io::Result<String> {
    let (mut reader, mut digest) = (BufReader::with_capacity(1 << 20, reader), Sha256::new());
    io::copy(&mut reader, &mut Updates(&mut digest))?;
    Ok(hex(&digest.finalize()))
}

struct Updates<'a>(&'a mut Sha256);

impl io::Write for Updates<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes in hexadecimal, two digits each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path as an argument of a command.
fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8: choose another folder", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Fake;

    #[test]
    fn a_workshop_is_private_and_goes_with_its_ledger() {
        let ledgers = tempfile::tempdir().unwrap();
        let run = format!("test-{}", std::process::id());
        let ledger = Arc::new(Ledger::open(ledgers.path(), &run).unwrap());
        let workshop = Workshop::open(Shell::fake(Fake::default()), ledger, &run).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&workshop.folder.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
        assert_ne!(workshop.room("a").unwrap(), workshop.room("a").unwrap());
        assert_eq!(workshop.reference("Hello"), format!("localhost/assay/hello:{run}"));
        let folder = workshop.folder.clone();
        drop(workshop);
        assert!(!folder.exists());
    }

    #[test]
    fn bytes_are_known_by_their_sha256() {
        assert!(sha256(b"hello world").starts_with("b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee"));
    }
}
