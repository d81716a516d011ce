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

use crate::base::digest::sha256_of;
use crate::base::unit::Bytes;

/// The annotation of an index with an image's tag or name.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation of a manifest with the name of its base image. `base.digest` is not useful: a build in layers writes
/// the digest of its own intermediate image there, even if it began from scratch.
const BASE: &str = "org.opencontainers.image.base.name";

/// The largest index, manifest or configuration, in bytes, that is read into memory. Registries take 4 MiB.
const DOCUMENT: u64 = 16 << 20;

/// The largest module, in bytes, that is taken out of an image.
const MODULE: u64 = 256 << 20;

/// The annotation of a manifest that is not an image but describes one, such as who built it.
const ABOUT: &str = "vnd.docker.reference.type";

/// An image, read from its OCI layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pub folder: PathBuf,
    /// The digest of its manifest, which is the image's digest.
    pub digest: String,
    kind: MediaType,
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
            kind: chosen.media_type().clone(),
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
                    ensure!(file.size() <= MODULE, "{wanted} has {} bytes, more than {MODULE}", file.size());
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
            "mediaType": self.kind, "digest": self.digest, "size": size, "annotations": {NAME: reference},
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
    let index = read(&folder.join("index.json"))
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

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let size = fs::metadata(path)?.len();
    ensure!(size <= DOCUMENT, "{} has {size} bytes, more than the {DOCUMENT} that are read", path.display());
    Ok(fs::read(path)?)
}

fn blob(folder: &Path, of: &Descriptor) -> anyhow::Result<Vec<u8>> {
    read(&checked(folder, of)?)
}

/// Returns the path of a blob of any size that is what its descriptor says.
fn checked(folder: &Path, of: &Descriptor) -> anyhow::Result<PathBuf> {
    let path = blob_path(folder, of.digest().as_ref());
    let file = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
    let (found, file) =
        file.with_context(|| format!("{} is not complete: it lacks {}", folder.display(), of.digest()))?;
    ensure!(found.is_file(), "{} is not a plain file", path.display());
    let real = format!("sha256:{}", sha256_of(file)?);
    ensure!(real == of.digest().as_ref(), "{} is damaged: its SHA-256 is {real}", path.display());
    let (size, named) = (found.len(), of.size());
    ensure!(size == named, "{} has {size} bytes, but what names it says {named}", path.display());
    Ok(path)
}

/// Adds the files of a layer to those below it, and removes those that it hides.
fn add_files(folder: &Path, layer: &Descriptor, files: &mut BTreeSet<String>) -> anyhow::Result<()> {
    checked(folder, layer)?;
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
                files.remove(&hidden);
                let below = format!("{hidden}/");
                while let Some(file) = files.range(below.clone()..).next().filter(|file| file.starts_with(&below)) {
                    files.remove(&file.clone());
                }
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

// Named by its path, as the fuzz target has this file by its own.
#[cfg(test)]
#[path = "layout/tests.rs"]
mod tests;
