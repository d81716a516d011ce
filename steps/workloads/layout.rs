//! Reads and writes images as OCI layouts on disk: index, manifest, configuration and layers. It does not use Podman.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use flate2::read::GzDecoder;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os};

use crate::base::digest::sha256;
use crate::base::unit::Bytes;

/// The annotation of an index with an image's tag or name.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation of a manifest with the name of its base image. `base.digest` is not useful: a build in layers writes
/// the digest of its own intermediate image there, even if it began from scratch.
const BASE: &str = "org.opencontainers.image.base.name";

/// An image, read from its OCI layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pub folder: PathBuf,
    /// The digest of its manifest, which is the image's digest.
    pub digest: String,
    /// The digest of its configuration, which is Podman's image id.
    pub config_digest: String,
    /// Its operating system, such as `wasi`.
    pub os: String,
    /// Its architecture, such as `wasm`.
    pub architecture: String,
    pub annotations: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    /// Its layers, from bottom to top.
    pub layers: Vec<Descriptor>,
    /// The absolute paths of everything in the layers except folders, in order.
    pub files: Vec<String>,
    /// The size of a transfer: manifest, configuration and layers as they are stored, so compressed.
    pub transfer: Bytes,
}

impl Layout {
    /// Reads the image tagged `tag`, or the only one.
    pub fn read(folder: &Path, tag: Option<&str>) -> anyhow::Result<Layout> {
        let chosen = choose(folder, tag)?;
        let manifest_bytes = blob(folder, &chosen)?;
        let manifest: ImageManifest = serde_json::from_slice(&manifest_bytes)
            .with_context(|| format!("{} holds no image manifest in {}", folder.display(), chosen.digest()))?;
        let config_bytes = blob(folder, manifest.config())?;
        let config: ImageConfiguration = serde_json::from_slice(&config_bytes)
            .with_context(|| format!("{} holds an artifact, not an image", folder.display()))?;
        let mut files = Vec::new();
        for layer in manifest.layers() {
            files.extend(read_files(folder, layer)?);
        }
        let blobs = manifest.layers().iter().chain([manifest.config()]).map(Descriptor::size).sum::<u64>();
        Ok(Layout {
            folder: folder.to_owned(),
            digest: chosen.digest().to_string(),
            config_digest: manifest.config().digest().to_string(),
            os: config.os().to_string(),
            architecture: config.architecture().to_string(),
            annotations: manifest.annotations().clone().unwrap_or_default().into_iter().collect(),
            entrypoint: config.config().as_ref().and_then(|run| run.entrypoint().clone()).unwrap_or_default(),
            layers: manifest.layers().clone(),
            files,
            transfer: Bytes(manifest_bytes.len() as u64 + blobs),
        })
    }

    /// Returns the name of its base image; an image built `FROM scratch` has none.
    pub fn base(&self) -> Option<&str> {
        self.annotations.get(BASE).map(String::as_str).filter(|base| !base.is_empty())
    }

    /// Extracts the only `.wasm` file from the layers into `folder`.
    pub fn extract_module(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let wasm: Vec<&str> = self.files.iter().map(String::as_str).filter(|path| path.ends_with(".wasm")).collect();
        let [wanted] = wasm[..] else {
            bail!("image {} holds {} .wasm files, not one: {}", self.digest, wasm.len(), wasm.join(", "));
        };
        let target = folder.join(wanted.rsplit('/').next().unwrap_or(wanted));
        for layer in &self.layers {
            let mut archive = tar::Archive::new(unpack(&self.folder, layer)?);
            for file in archive.entries()? {
                let mut file = file?;
                if absolute(&file.path()?) == wanted {
                    let mut bytes = Vec::new();
                    file.read_to_end(&mut bytes)?;
                    fs::write(&target, bytes).with_context(|| format!("cannot write {}", target.display()))?;
                    return Ok(target);
                }
            }
        }
        bail!("image {} lost {wanted} while it was read", self.digest)
    }

    /// Writes the image as an OCI archive that Podman loads under the name `reference`.
    pub fn archive(&self, reference: &str, file: &Path) -> anyhow::Result<()> {
        let size = fs::metadata(blob_path(&self.folder, &self.digest)).map(|meta| meta.len())?;
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
            "mediaType": MediaType::ImageManifest, "digest": self.digest, "size": size, "annotations": {NAME: reference},
        }]});
        let out = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        let mut archive = tar::Builder::new(out);
        for (name, bytes) in
            [("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()), ("index.json", index.to_string().into())]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, &bytes[..])?;
        }
        let layers = self.layers.iter().map(|layer| layer.digest().as_ref());
        let digests: BTreeSet<&str> = layers.chain([self.digest.as_str(), &self.config_digest]).collect();
        for digest in digests {
            let name = format!("blobs/{}", digest.replace(':', "/"));
            archive.append_path_with_name(blob_path(&self.folder, digest), name)?;
        }
        archive.into_inner()?;
        Ok(())
    }
}

/// Finds the manifest for a tag in the index; in a multi-platform image, the one for `wasi/wasm`.
fn choose(folder: &Path, tag: Option<&str>) -> anyhow::Result<Descriptor> {
    ensure!(folder.is_dir(), "image oci:{} does not exist: there is no such folder", folder.display());
    ensure!(
        folder.join("oci-layout").is_file(),
        "{} is not an OCI layout: it has no file oci-layout",
        folder.display()
    );
    let index = fs::read(folder.join("index.json"))
        .with_context(|| format!("{} is not an OCI layout: it has no index.json", folder.display()))?;
    let index: ImageIndex = serde_json::from_slice(&index)
        .with_context(|| format!("{} is not an OCI layout: cannot parse index.json", folder.display()))?;
    let name = |of: &Descriptor| of.annotations().as_ref().and_then(|all| all.get(NAME)).cloned();
    let fits = |of: &&Descriptor| tag.is_none() || name(of).as_deref() == tag;
    let mut found = index.manifests().iter().filter(fits);
    let chosen = match (found.next(), found.next()) {
        (Some(one), None) => one.clone(),
        (None, _) | (_, Some(_)) => {
            let tags: Vec<String> = index.manifests().iter().filter_map(name).collect();
            let wish = tag.map_or("one image".to_owned(), |tag| format!("one image tagged {tag}"));
            bail!("{} does not hold {wish}: its tags are: {}", folder.display(), tags.join(", "));
        }
    };
    if chosen.media_type() != &MediaType::ImageIndex {
        return Ok(chosen);
    }
    let list: ImageIndex = serde_json::from_slice(&blob(folder, &chosen)?)?;
    let wasi = Os::from("wasi");
    let found = list.manifests().iter().find(|one| one.platform().as_ref().is_some_and(|on| on.os() == &wasi));
    found.cloned().with_context(|| format!("{} holds no image for wasi/wasm, only others", folder.display()))
}

fn blob_path(folder: &Path, digest: &str) -> PathBuf {
    folder.join("blobs").join(digest.replace(':', "/"))
}

fn blob(folder: &Path, of: &Descriptor) -> anyhow::Result<Vec<u8>> {
    let path = blob_path(folder, of.digest().as_ref());
    let bytes =
        fs::read(&path).with_context(|| format!("{} is not complete: it lacks {}", folder.display(), of.digest()))?;
    let real = format!("sha256:{}", sha256(&bytes));
    ensure!(real == of.digest().as_ref(), "{} is damaged: its SHA-256 is {real}", path.display());
    Ok(bytes)
}

fn read_files(folder: &Path, layer: &Descriptor) -> anyhow::Result<Vec<String>> {
    blob(folder, layer)?;
    let mut files = Vec::new();
    let mut archive = tar::Archive::new(unpack(folder, layer)?);
    let broken = || format!("layer {} of {} is not a tar archive", layer.digest(), folder.display());
    for file in archive.entries().with_context(broken)? {
        let file = file.with_context(broken)?;
        if !file.header().entry_type().is_dir() {
            files.push(absolute(&file.path()?));
        }
    }
    Ok(files)
}

fn unpack(folder: &Path, layer: &Descriptor) -> anyhow::Result<Box<dyn Read>> {
    let file = File::open(blob_path(folder, layer.digest().as_ref()))?;
    match layer.media_type().to_string().rsplit(['+', '.']).next() {
        Some("tar") => Ok(Box::new(file)),
        Some("gzip") => Ok(Box::new(GzDecoder::new(file))),
        _ => bail!("layer {} is packed as {}: pack it with gzip", layer.digest(), layer.media_type()),
    }
}

fn absolute(path: &Path) -> String {
    format!("/{}", path.to_string_lossy().trim_start_matches("./").trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Writes a blob as Podman 4.3.1 does, and returns its descriptor.
    fn put(folder: &Path, media_type: MediaType, bytes: &[u8]) -> serde_json::Value {
        let digest = format!("sha256:{}", sha256(bytes));
        let path = blob_path(folder, &digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn image(folder: &Path) {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        tar.append_data(&mut header, "hello.wasm", &b"\0asm"[..]).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&tar.into_inner().unwrap()).unwrap();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::ImageManifest,
            "config": put(folder, MediaType::ImageConfig, include_bytes!("../../fixtures/images/config.json")),
            "layers": [put(folder, MediaType::ImageLayerGzip, &gzip.finish().unwrap())],
            "annotations": {"module.wasm.image/variant": "compat", BASE: ""},
        });
        let mut manifest = put(folder, MediaType::ImageManifest, manifest.to_string().as_bytes());
        manifest["annotations"] = serde_json::json!({NAME: "x"});
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    #[test]
    fn an_image_is_read_down_to_its_files() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path());
        let layout = Layout::read(folder.path(), Some("x")).unwrap();
        assert_eq!((layout.os.as_str(), layout.architecture.as_str()), ("wasi", "wasm"));
        assert_eq!(layout.annotations["module.wasm.image/variant"], "compat");
        assert_eq!(layout.entrypoint, ["/hello.wasm"]);
        assert_eq!(layout.base(), None);
        assert_eq!(layout.files, ["/hello.wasm"]);
        assert!(layout.transfer > Bytes(layout.layers[0].size()));
        let module = layout.extract_module(folder.path()).unwrap();
        assert_eq!(fs::read(module).unwrap(), b"\0asm");
    }

    #[test]
    fn an_archive_holds_the_same_image_under_the_new_name() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path());
        let layout = Layout::read(folder.path(), None).unwrap();
        let (file, copy) = (folder.path().join("image.tar"), folder.path().join("copy"));
        layout.archive("localhost/assay/hello:r1", &file).unwrap();
        tar::Archive::new(File::open(&file).unwrap()).unpack(&copy).unwrap();
        let again = Layout::read(&copy, Some("localhost/assay/hello:r1")).unwrap();
        assert_eq!(again, Layout { folder: copy, ..layout });
    }

    #[test]
    fn a_folder_that_does_not_hold_an_image_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let error = |tag| format!("{:#}", Layout::read(path, tag).unwrap_err());
        assert!(
            format!("{:#}", Layout::read(&path.join("no"), None).unwrap_err()).ends_with("there is no such folder")
        );
        assert!(error(None).ends_with("is not an OCI layout: it has no file oci-layout"));
        image(path);
        assert!(error(Some("y")).ends_with("does not hold one image tagged y: its tags are: x"));
        let digest = Layout::read(path, None).unwrap().layers[0].digest().to_string();
        fs::write(blob_path(path, &digest), "other").unwrap();
        assert!(error(None).contains("is damaged: its SHA-256 is sha256:"), "{}", error(None));
        fs::remove_file(blob_path(path, &digest)).unwrap();
        assert!(error(None).contains(&format!("is not complete: it lacks {digest}")));
    }
}
