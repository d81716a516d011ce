//! Reads files of a folder that is not trusted: never outside it, and never without a size limit.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;

/// Returns the most bytes that are read of a file that is read whole. What becomes a tree of JSON takes up to 16 times its
/// size, and is small.
fn most(name: &str) -> u64 {
    let tree = name == "run.json" || name == "attestation.json";
    if tree { 16 << 20 } else { 256 << 20 }
}

#[derive(Clone, Debug)]
pub struct SandboxedDir(PathBuf);

/// The beginning and the end of a file that may be long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    pub bytes: u64,
    /// Its beginning, with invalid UTF-8 replaced.
    pub head: String,
    /// Its end, if `head` is not the whole file.
    pub tail: Option<String>,
}

impl SandboxedDir {
    pub fn open(path: &Path) -> anyhow::Result<SandboxedDir> {
        let found = path.canonicalize().and_then(|found| fs::read_dir(&found).map(|_| found));
        let wanted = || format!("cannot read {}: name the folder of a run, target/assay/<run>", path.display());
        Ok(SandboxedDir(found.with_context(wanted)?))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Opens a folder inside by its relative name, without following links.
    pub fn folder(&self, name: &str) -> anyhow::Result<SandboxedDir> {
        SandboxedDir::open(&self.inside(name)?)
    }

    /// Returns the path of a plain file by its relative name, without following links.
    pub fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.inside(name)?;
        anyhow::ensure!(path.is_file(), "{name} is not a plain file");
        Ok(path)
    }

    fn inside(&self, name: &str) -> anyhow::Result<PathBuf> {
        let relative = Path::new(name);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        anyhow::ensure!(plain && !name.is_empty(), "{name} leads out of the folder");
        let mut path = self.0.clone();
        for part in relative.components() {
            path.push(part);
            let found = fs::symlink_metadata(&path).map_err(|error| self.unreadable(name, &error))?;
            anyhow::ensure!(!found.is_symlink(), "{name} is a symbolic link: evidence is made of plain files");
        }
        Ok(path)
    }

    /// Returns an error that is one sentence, because it is printed without its causes.
    fn unreadable(&self, name: &str, error: &std::io::Error) -> anyhow::Error {
        anyhow::anyhow!("cannot read {}: {error}", self.0.join(name).display())
    }

    fn open_file(&self, name: &str) -> anyhow::Result<(File, u64)> {
        let opened = File::open(self.file(name)?).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened.map_err(|error| self.unreadable(name, &error))?;
        Ok((file, bytes))
    }

    /// Opens a file of any size for reading in pieces.
    pub fn reader(&self, name: &str) -> anyhow::Result<File> {
        Ok(self.open_file(name)?.0)
    }

    pub fn text(&self, name: &str) -> anyhow::Result<String> {
        let (mut file, bytes) = self.open_file(name)?;
        let most = most(name);
        anyhow::ensure!(bytes <= most, "{name} has {bytes} bytes, more than the {most} that are read into memory");
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|error| self.unreadable(name, &error))?;
        String::from_utf8(text).map_err(|error| {
            anyhow::anyhow!("{name} is not UTF-8 text: byte {} is none", error.utf8_error().valid_up_to())
        })
    }

    /// Reads the beginning and the end of a file, `most` bytes of each.
    pub fn excerpt(&self, name: &str, most: u64) -> anyhow::Result<Excerpt> {
        let (mut file, bytes) = self.open_file(name)?;
        let mut part = |from: u64| -> anyhow::Result<String> {
            let mut part = Vec::new();
            let read = file.seek(SeekFrom::Start(from)).and_then(|_| (&mut file).take(most).read_to_end(&mut part));
            read.map_err(|error| self.unreadable(name, &error))?;
            Ok(String::from_utf8_lossy(&part).into_owned())
        };
        let head = part(0)?;
        let tail = (bytes > most).then(|| part(most.max(bytes - most))).transpose()?;
        Ok(Excerpt { bytes, head, tail })
    }

    pub fn bytes(&self) -> anyhow::Result<u64> {
        let size = |name: &String| fs::symlink_metadata(self.0.join(name)).map_or(0, |found| found.len());
        Ok(self.names()?.iter().map(size).sum())
    }

    /// Lists the relative names of all entries that are not folders, including links and devices, sorted.
    pub fn names(&self) -> anyhow::Result<Vec<String>> {
        let (mut found, mut folders) = (Vec::new(), vec![self.0.clone()]);
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => folders.push(entry.path()),
                    false => found.push(entry.path().strip_prefix(&self.0)?.to_string_lossy().into_owned()),
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, SandboxedDir) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("streams")).unwrap();
        fs::write(folder.path().join("streams/1"), "0123456789").unwrap();
        let open = SandboxedDir::open(folder.path()).unwrap();
        (folder, open)
    }

    #[test]
    fn nothing_outside_is_read_and_no_link_is_followed() {
        let (path, folder) = folder();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        symlink(outside.path(), path.path().join("away")).unwrap();
        symlink(outside.path().join("secret"), path.path().join("link")).unwrap();
        for (name, printed) in [
            ("../x", "leads out of the folder"),
            ("/etc/passwd", "leads out of the folder"),
            ("streams/../../x", "leads out of the folder"),
            ("", "leads out of the folder"),
            ("away/secret", "is a symbolic link"),
            ("link", "is a symbolic link"),
            ("streams", "is not a plain file"),
            ("none", "cannot read"),
        ] {
            let error = folder.text(name).unwrap_err().to_string();
            assert!(error.contains(printed), "{name}: {error}");
        }
        assert_eq!(folder.names().unwrap(), ["away", "link", "streams/1"], "a link is listed, not entered");
    }

    #[test]
    fn of_a_long_file_the_beginning_and_the_end_are_read() {
        let (path, folder) = folder();
        let of = |most| folder.excerpt("streams/1", most).unwrap();
        assert_eq!((of(10).head.as_str(), of(10).tail), ("0123456789", None));
        assert_eq!((of(3).head.as_str(), of(3).tail.as_deref()), ("012", Some("789")));
        assert_eq!((of(8).head.as_str(), of(8).tail.as_deref()), ("01234567", Some("89")));
        fs::write(path.path().join("bad"), b"ab\xff").unwrap();
        assert_eq!(folder.excerpt("bad", 9).unwrap().head, "ab\u{fffd}");
        // A sparse log of 10 GB.
        File::create(path.path().join("huge")).unwrap().set_len(10 << 30).unwrap();
        assert_eq!(folder.excerpt("huge", 4).unwrap().tail.unwrap().len(), 4);
        assert_eq!(folder.bytes().unwrap(), (10 << 30) + 13);
        assert!(folder.text("huge").unwrap_err().to_string().contains("huge has 10737418240 bytes, more than"));
        File::create(path.path().join("run.json")).unwrap().set_len(20 << 20).unwrap();
        assert!(folder.text("run.json").unwrap_err().to_string().contains("more than the 16777216"));
    }
}
