//! Reads and writes images as OCI layouts on disk: index, manifest, configuration and layers. It does not use Podman.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use flate2::read::GzDecoder;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::base::digest::sha256;
use crate::base::unit::Bytes;

/// The annotation of an index with an image's tag or name.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation of a manifest with the name of its base image. `base.digest` is not useful: a build in layers writes
/// the digest of its own intermediate image there, even if it began from scratch.
const BASE: &str = "org.opencontainers.image.base.name";

/// The annotation of a manifest that is not an image but describes one, such as who built it.
const ABOUT: &str = "vnd.docker.reference.type";

/// An image, read from its OCI layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pub folder: PathBuf,
    /// The digest of its manifest, which is the image's digest.
    pub digest: String,
    /// The digest of its configuration, which is Podman's image id.
    pub config_digest: String,
    pub os: String,
    pub architecture: String,
    pub annotations: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    /// Its layers, from bottom to top.
    pub layers: Vec<Descriptor>,
    /// The absolute paths of everything in the image except folders.
    pub files: Vec<String>,
    /// The size of a transfer: manifest, configuration and layers as they are stored, so compressed.
    pub transfer: Bytes,
}

impl Layout {
    /// Reads the image tagged `tag`, or the only one: of several platforms, the first of these.
    pub fn read(folder: &Path, tag: Option<&str>, platforms: &[String]) -> anyhow::Result<Layout> {
        let chosen = choose(folder, tag, platforms)?;
        let (manifest, manifest_bytes) = manifest(folder, &chosen)?;
        let config = config(folder, &manifest)?;
        let mut files = BTreeSet::new();
        for layer in manifest.layers() {
            add_files(folder, layer, &mut files)?;
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
            files: files.into_iter().collect(),
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
        for layer in self.layers.iter().rev() {
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

/// Explains that an artifact whose configuration has this type is not an image, and what to do.
pub fn artifact(name: &str, config: &str) -> String {
    match config.contains("wasm") {
        true => format!(
            "{name} is a Wasm artifact ({config}), not a container image: put its module into one with \
             `podman build --platform wasi/wasm` and a Containerfile of FROM scratch, COPY and ENTRYPOINT"
        ),
        false => format!("{name} is an artifact ({config}), not a container image: name an image"),
    }
}

/// Finds the manifest for a tag, or the only one: of several platforms, the first of these.
fn choose(folder: &Path, tag: Option<&str>, platforms: &[String]) -> anyhow::Result<Descriptor> {
    let shown = folder.display();
    ensure!(folder.is_dir(), "image oci:{shown} does not exist: there is no such folder");
    ensure!(folder.join("oci-layout").is_file(), "{shown} is not an OCI layout: it has no file oci-layout");
    let index = fs::read(folder.join("index.json"))
        .with_context(|| format!("{shown} is not an OCI layout: it has no index.json"))?;
    let index: ImageIndex = serde_json::from_slice(&index)
        .with_context(|| format!("{shown} is not an OCI layout: cannot parse index.json"))?;
    let name = |of: &Descriptor| of.annotations().as_ref().and_then(|all| all.get(NAME)).cloned();
    let tags: BTreeSet<String> = index.manifests().iter().filter_map(name).collect();
    let wish = tag.map_or("one image".to_owned(), |tag| format!("one image tagged {tag}"));
    if tag.map_or(tags.len() > 1, |tag| !tags.contains(tag)) {
        bail!("{shown} does not hold {wish}: its tags are: {}", Vec::from_iter(tags).join(", "));
    }
    let tagged = index.manifests().iter().filter(|of| tag.is_none() || name(of).as_deref() == tag).cloned();
    let images = images(folder, tagged.collect())?;
    if let [(_, only)] = &images[..] {
        return Ok(only.clone());
    }
    let first = |wanted: &String| images.iter().find(|(platform, _)| platform.starts_with(wanted));
    let found = platforms.iter().find_map(first).map(|(_, image)| image.clone());
    found.with_context(|| {
        let others: Vec<&str> = images.iter().map(|(platform, _)| platform.as_str()).collect();
        let others = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
        format!("{shown} does not hold {wish} for {}: it holds {others}", platforms.join(" or "))
    })
}

/// Lists the images below these entries of an index, with their platforms, and leaves out what is said about images.
fn images(folder: &Path, mut left: VecDeque<Descriptor>) -> anyhow::Result<Vec<(String, Descriptor)>> {
    let (mut seen, mut images, mut other) = (BTreeSet::new(), Vec::new(), None);
    while let Some(entry) = left.pop_front() {
        let platform = entry.platform().as_ref().map(|on| format!("{}/{}", on.os(), on.architecture()));
        let about = entry.annotations().as_ref().is_some_and(|all| all.contains_key(ABOUT));
        if about || platform.as_deref() == Some("unknown/unknown") || !seen.insert(entry.digest().to_string()) {
            continue;
        }
        if *entry.media_type() == MediaType::ImageIndex || entry.media_type().to_string().ends_with(".list.v2+json") {
            let list: ImageIndex = serde_json::from_slice(&blob(folder, &entry)?)
                .with_context(|| format!("{} holds no image index in {}", folder.display(), entry.digest()))?;
            left.extend(list.manifests().iter().cloned());
            continue;
        }
        let platform = match platform {
            Some(platform) => platform,
            // What is alone is read anyway.
            None if left.is_empty() && images.is_empty() => String::new(),
            None => match config(folder, &manifest(folder, &entry)?.0) {
                Ok(config) => format!("{}/{}", config.os(), config.architecture()),
                Err(error) => {
                    other = Some(error);
                    continue;
                }
            },
        };
        images.push((platform, entry));
    }
    other.filter(|_| images.is_empty()).map_or(Ok(images), Err)
}

fn manifest(folder: &Path, of: &Descriptor) -> anyhow::Result<(ImageManifest, Vec<u8>)> {
    let bytes = blob(folder, of)?;
    let manifest = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} holds no image manifest in {}", folder.display(), of.digest()))?;
    Ok((manifest, bytes))
}

fn config(folder: &Path, of: &ImageManifest) -> anyhow::Result<ImageConfiguration> {
    let kind = of.config().media_type().to_string();
    let image = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
    ensure!(image.contains(&kind.as_str()), artifact(&folder.display().to_string(), &kind));
    let bytes = blob(folder, of.config())?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{} holds no image configuration in {}", folder.display(), of.config().digest()))
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

/// Adds the files of a layer to those below it, and removes those that it hides.
fn add_files(folder: &Path, layer: &Descriptor, files: &mut BTreeSet<String>) -> anyhow::Result<()> {
    blob(folder, layer)?;
    let mut added = Vec::new();
    let mut archive = tar::Archive::new(unpack(folder, layer)?);
    let broken = || format!("layer {} of {} is not a tar archive", layer.digest(), folder.display());
    for file in archive.entries().with_context(broken)? {
        let file = file.with_context(broken)?;
        let path = absolute(&file.path()?);
        let (parent, name) = path.rsplit_once('/').unwrap_or_default();
        match name.strip_prefix(".wh.") {
            Some(hidden) => {
                let hidden = if hidden == ".wh..opq" { parent.to_owned() } else { format!("{parent}/{hidden}") };
                files.retain(|file| *file != hidden && !file.starts_with(&format!("{hidden}/")));
            }
            None if file.header().entry_type().is_dir() => (),
            None => added.push(path),
        }
    }
    files.extend(added);
    Ok(())
}

fn unpack(folder: &Path, layer: &Descriptor) -> anyhow::Result<Box<dyn Read>> {
    let file = File::open(blob_path(folder, layer.digest().as_ref()))?;
    match layer.media_type().to_string().rsplit(['+', '.']).next() {
        Some("tar") => Ok(Box::new(file)),
        Some("gzip") => Ok(Box::new(GzDecoder::new(file))),
        Some("zstd") => Ok(Box::new(Zstd { source: BufReader::new(file), decoder: FrameDecoder::new() })),
        _ => bail!(
            "layer {} is packed as {}: pack it with `podman push --compression-format gzip IMAGE oci:FOLDER`",
            layer.digest(),
            layer.media_type()
        ),
    }
}

/// Unpacks what zstd has packed, which may be several frames (`zstd:chunked`), some of them without data.
struct Zstd {
    source: BufReader<File>,
    decoder: FrameDecoder,
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 || self.source.fill_buf()?.is_empty() {
                return Ok(read);
            }
            match self.decoder.reset(&mut self.source) {
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                }
                begun => begun.map_err(io::Error::other)?,
            }
        }
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

    fn packed(name: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        tar.append_data(&mut header, name, &b"\0asm"[..]).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&tar.into_inner().unwrap()).unwrap();
        gzip.finish().unwrap()
    }

    /// Writes a manifest with the configuration of an image, or of an artifact of this type.
    fn put_manifest(folder: &Path, layers: &[&str], config: MediaType) -> serde_json::Value {
        let layers = layers.iter().map(|name| put(folder, MediaType::ImageLayerGzip, &packed(name)));
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::ImageManifest,
            "config": put(folder, config, include_bytes!("../../fixtures/images/config.json")),
            "layers": layers.collect::<Vec<_>>(),
            "annotations": {"module.wasm.image/variant": "compat", BASE: ""},
        });
        put(folder, MediaType::ImageManifest, manifest.to_string().as_bytes())
    }

    fn index(folder: &Path, manifests: &[serde_json::Value]) {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    fn image(folder: &Path) {
        let mut manifest = put_manifest(folder, &["hello.wasm"], MediaType::ImageConfig);
        manifest["annotations"] = serde_json::json!({NAME: "x"});
        index(folder, &[manifest]);
    }

    fn platforms() -> [String; 3] {
        ["wasi/wasm", "wasip1/wasm", "linux/arm64"].map(str::to_owned)
    }

    #[test]
    fn an_image_is_read_down_to_its_files() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path());
        let layout = Layout::read(folder.path(), Some("x"), &[]).unwrap();
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
        let layout = Layout::read(folder.path(), None, &[]).unwrap();
        let (file, copy) = (folder.path().join("image.tar"), folder.path().join("copy"));
        layout.archive("localhost/assay/hello:r1", &file).unwrap();
        tar::Archive::new(File::open(&file).unwrap()).unpack(&copy).unwrap();
        let again = Layout::read(&copy, Some("localhost/assay/hello:r1"), &[]).unwrap();
        assert_eq!(again, Layout { folder: copy, ..layout });
    }

    #[test]
    fn a_folder_that_does_not_hold_an_image_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let error = |tag| format!("{:#}", Layout::read(path, tag, &[]).unwrap_err());
        assert!(
            format!("{:#}", Layout::read(&path.join("no"), None, &[]).unwrap_err())
                .ends_with("there is no such folder")
        );
        assert!(error(None).ends_with("is not an OCI layout: it has no file oci-layout"));
        image(path);
        assert!(error(Some("y")).ends_with("does not hold one image tagged y: its tags are: x"));
        let digest = Layout::read(path, None, &[]).unwrap().layers[0].digest().to_string();
        fs::write(blob_path(path, &digest), "other").unwrap();
        assert!(error(None).contains("is damaged: its SHA-256 is sha256:"), "{}", error(None));
        fs::remove_file(blob_path(path, &digest)).unwrap();
        assert!(error(None).contains(&format!("is not complete: it lacks {digest}")));
    }

    #[test]
    fn of_several_images_the_one_for_the_first_platform_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let on = |os: &str, architecture: &str| {
            let mut manifest = put_manifest(path, &[os, architecture], MediaType::ImageConfig);
            manifest["platform"] = serde_json::json!({"os": os, "architecture": architecture});
            manifest
        };
        let list = |kind: MediaType, manifests: &[serde_json::Value]| {
            put(path, kind, serde_json::json!({"schemaVersion": 2, "manifests": manifests}).to_string().as_bytes())
        };
        let tagged = |mut entry: serde_json::Value, tag: &str| {
            entry["annotations"] = serde_json::json!({NAME: tag});
            entry
        };
        let docker = MediaType::from("application/vnd.docker.distribution.manifest.list.v2+json");
        let wasm = MediaType::from("application/vnd.wasm.config.v0+json");
        let (amd64, arm64, wasip1) = (on("linux", "amd64"), on("linux", "arm64"), on("wasip1", "wasm"));
        let mut about = on("linux", "arm64/about");
        about["annotations"] = serde_json::json!({ABOUT: "attestation-manifest"});
        let without_platform = put_manifest(path, &["hello.wasm"], MediaType::ImageConfig);
        let artifact = put_manifest(path, &["artifact.wasm"], wasm);
        let nested = list(
            MediaType::ImageIndex,
            &[on("unknown", "unknown"), list(docker.clone(), &[amd64.clone(), wasip1.clone()])],
        );
        for (manifests, expected) in [
            (vec![amd64.clone(), arm64.clone()], &arm64),
            (vec![amd64.clone(), arm64.clone(), wasip1.clone()], &wasip1),
            (vec![arm64.clone(), on("wasi", "wasm32")], &on("wasi", "wasm32")),
            (vec![list(MediaType::ImageIndex, &[nested])], &wasip1),
            (vec![about.clone(), on("unknown", "unknown"), amd64.clone()], &amd64),
            (vec![artifact.clone(), without_platform.clone()], &without_platform),
            (vec![amd64.clone(), without_platform.clone()], &without_platform),
            (vec![tagged(wasip1.clone(), "1"), tagged(arm64.clone(), "1")], &wasip1),
        ] {
            index(path, &manifests);
            let chosen = choose(path, None, &platforms()).unwrap();
            assert_eq!(chosen.digest().as_ref(), expected["digest"].as_str().unwrap(), "{manifests:#?}");
        }
        for (manifests, tag, expected) in [
            (
                vec![amd64.clone(), on("linux", "riscv64")],
                None,
                "one image for wasi/wasm or wasip1/wasm or linux/arm64: it holds linux/amd64, linux/riscv64",
            ),
            (vec![about, on("unknown", "unknown")], None, "it holds nothing"),
            (
                vec![tagged(amd64.clone(), "1"), tagged(wasip1, "2")],
                None,
                "does not hold one image: its tags are: 1, 2",
            ),
            (vec![tagged(amd64, "1")], Some("3"), "does not hold one image tagged 3: its tags are: 1"),
            (
                vec![artifact.clone(), artifact],
                None,
                "is a Wasm artifact (application/vnd.wasm.config.v0+json), not a container image: put",
            ),
        ] {
            index(path, &manifests);
            let error = format!("{:#}", Layout::read(path, tag, &platforms()).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_file_of_a_higher_layer_replaces_or_hides_those_below() {
        for (layers, expected) in [
            (&["a.wasm", "b/c", "b/d"][..], &["/a.wasm", "/b/c", "/b/d"][..]),
            (&["a.wasm", "./a.wasm"], &["/a.wasm"]),
            (&["a.wasm", "b/c", "bc", ".wh.b", "b/e"], &["/a.wasm", "/b/e", "/bc"]),
            (&["b/c", "b/d/e", "b/.wh..wh..opq"], &[]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            index(folder.path(), &[put_manifest(folder.path(), layers, MediaType::ImageConfig)]);
            assert_eq!(Layout::read(folder.path(), None, &[]).unwrap().files, expected, "{layers:?}");
        }
    }

    /// Of `podman manifest push --all LIST oci:multi:1.0` and `podman push --compression-format zstd:chunked`.
    #[test]
    fn what_podman_pushes_is_read() {
        const MULTI: &[u8] = include_bytes!("../../fixtures/images/multi.tar");
        const ZSTD: &[u8] = include_bytes!("../../fixtures/images/zstd-chunked.tar");
        for (archive, tag, wanted, expected) in [
            (MULTI, Some("1.0"), &platforms()[..], ["wasip1", "wasm"]),
            (MULTI, None, &platforms()[2..], ["linux", "arm64"]),
            (ZSTD, None, &[], ["wasip1", "wasm"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            tar::Archive::new(archive).unpack(folder.path()).unwrap();
            let layout = Layout::read(folder.path(), tag, wanted).unwrap();
            assert_eq!([layout.os.as_str(), &layout.architecture], expected);
            let module = layout.extract_module(folder.path()).unwrap();
            assert_eq!(fs::read(module).unwrap(), b"\0asm\x01\0\0\0");
        }
    }
}
