//! The images that are kept and that no machine is defined to need any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Definition, Image, image, kept};
use crate::facts::Arch;

/// The kept images that no definition of the project needs on any architecture.
///
/// # Errors
/// A definition is not in order: what it needs is not known then.
pub fn unneeded(root: &Path, cache: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut needed = BTreeSet::new();
    for definition in Definition::all(root)? {
        for arch in Arch::ALL {
            needed.insert(Image::key(&definition, arch)?);
        }
    }
    Ok(kept::unneeded(&image::folder(cache), &needed))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_image_that_a_machine_needs_is_kept_and_one_that_none_needs_is_not() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cache = tempfile::tempdir().unwrap();
        let needed = Image::key(&Definition::named(root, "nano").unwrap(), Arch::Arm64).unwrap();
        for name in [needed.as_str(), "0123", "0123.run.part"] {
            let folder = cache.path().join("machines").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("manifest.json"), "{}").unwrap();
        }
        assert_eq!(unneeded(root, cache.path()).unwrap(), [cache.path().join("machines/0123")]);
        assert_eq!(unneeded(root, &cache.path().join("none")).unwrap(), [] as [PathBuf; 0]);
    }
}
