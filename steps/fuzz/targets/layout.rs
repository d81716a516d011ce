//! OCI layouts: a recorded one with changes, whose digests are made right again, so that its blobs are read.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use assay::base;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;

// The program has it in a build with everything that runs something, which takes three times as many crates.
#[path = "../../workloads/layout.rs"]
mod layout;

/// A layout's index and blobs, by the digests that they have or had.
type Blobs = Vec<(String, Vec<u8>)>;

/// Which of the recorded layouts, and what to change in it.
#[derive(Arbitrary, Debug)]
struct Input<'a> {
    image: u8,
    layers: Vec<Layer<'a>>,
    changes: Vec<BlobChange<'a>>,
}

/// A layer that replaces a recorded one.
#[derive(Arbitrary, Debug)]
struct Layer<'a> {
    gzip: bool,
    entries: Vec<(u8, &'a str, &'a [u8])>,
}

/// A piece of a blob, and what stands there instead.
#[derive(Arbitrary, Debug)]
struct BlobChange<'a> {
    blob: u8,
    at: u16,
    length: u8,
    bytes: &'a [u8],
}

const INDEX: &str = "index.json";

/// The index is last.
static RECORDED: LazyLock<[Blobs; 2]> = LazyLock::new(|| {
    ["multi", "zstd-chunked"].map(|name| {
        let file = fs::File::open(assay_fuzz::project(&format!("fixtures/images/{name}.tar"))).expect("a fixture");
        let mut blobs = Blobs::new();
        for entry in tar::Archive::new(file).entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("its bytes");
            let name = entry.path().expect("a path").file_name().expect("a name").to_string_lossy().into_owned();
            if name != "oci-layout" && entry.header().entry_type().is_file() {
                blobs.push((name, bytes));
            }
        }
        blobs.sort_by_key(|(name, _)| name == INDEX);
        blobs
    })
});

fn archive(layer: &Layer) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (kind, name, data) in &layer.entries {
        let mut header = tar::Header::new_gnu();
        // As it is: a library would refuse some names.
        let length = name.len().min(99);
        header.as_old_mut().name[..length].copy_from_slice(&name.as_bytes()[..length]);
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_size(data.len() as u64);
        header.set_cksum();
        let _ = archive.append(&header, *data);
    }
    let bytes = archive.into_inner().unwrap_or_default();
    match layer.gzip {
        true => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            let _ = std::io::Write::write_all(&mut packed, &bytes);
            packed.finish().unwrap_or_default()
        }
        false => bytes,
    }
}

/// Gives each blob its digest and size, also where others name it.
fn name(blobs: &mut Blobs) {
    for _ in 0..blobs.len() {
        let mut changed = false;
        for place in 0..blobs.len() {
            if let Some(bytes) = sized(&blobs[place].1, blobs) {
                changed = true;
                blobs[place].1 = bytes;
            }
            let (old, new) = (blobs[place].0.clone(), base::digest::sha256(&blobs[place].1));
            if old != new && old != INDEX {
                changed = true;
                blobs[place].0 = new.clone();
                blobs.iter_mut().for_each(|(_, bytes)| replace(bytes, old.as_bytes(), new.as_bytes()));
            }
        }
        if !changed {
            return;
        }
    }
}

/// Returns the text of a blob that names others with other sizes than theirs, with these sizes.
fn sized(bytes: &[u8], blobs: &Blobs) -> Option<Vec<u8>> {
    fn set(json: &mut Json, blobs: &Blobs) -> bool {
        let named = json.get("digest").and_then(Json::as_str).and_then(|digest| digest.strip_prefix("sha256:"));
        let size = blobs.iter().find(|(name, _)| Some(name.as_str()) == named).map(|(_, bytes)| bytes.len());
        let here = match (json.get_mut("size"), size) {
            (Some(old), Some(size)) if *old != size => {
                *old = size.into();
                true
            }
            _ => false,
        };
        let inside = match json {
            Json::Array(items) => items.iter_mut().map(|item| set(item, blobs)).filter(|set| *set).count(),
            Json::Object(fields) => fields.values_mut().map(|field| set(field, blobs)).filter(|set| *set).count(),
            _ => 0,
        };
        here || inside > 0
    }
    let mut json = serde_json::from_slice(bytes).ok()?;
    set(&mut json, blobs).then(|| json.to_string().into_bytes())
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    for start in 0..(bytes.len() + 1).saturating_sub(old.len()) {
        if bytes[start..].starts_with(old) {
            bytes[start..start + old.len()].copy_from_slice(new);
        }
    }
}

fn read(folder: &Path, tag: Option<&str>, platform: &str) {
    let Ok(layout) = layout::Layout::read(folder, tag, &[platform.to_owned()]) else { return };
    layout.base();
    let out = tempfile::tempdir().expect("a folder");
    let _ = layout.extract_module(out.path());
    layout.archive("localhost/x:1", &out.path().join("x.tar")).expect("what was read can be written");
    assert!(fs::read_dir(out.path()).expect("the folder").count() <= 2, "it wrote more than what it was asked for");
}

fuzz_target!(|input: Input| {
    let mut blobs = RECORDED[usize::from(input.image) % 2].clone();
    let last = blobs.len() - 1;
    for (place, layer) in input.layers.iter().take(4).enumerate() {
        // A layer is the only kind of blob that is not JSON.
        let layers = blobs[..last].iter().enumerate().filter(|(_, (_, bytes))| bytes.first() != Some(&b'{'));
        let layers: Vec<usize> = layers.map(|(at, _)| at).collect();
        if let Some(at) = layers.get(place % layers.len().max(1)) {
            blobs[*at].1 = archive(layer);
        }
    }
    for BlobChange { blob, at, length, bytes } in &input.changes {
        let (_, blob) = &mut blobs[usize::from(*blob) % (last + 1)];
        let start = usize::from(*at) % (blob.len() + 1);
        let end = (start + usize::from(*length)).min(blob.len());
        blob.splice(start..end, bytes.iter().copied());
    }
    name(&mut blobs);
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("blobs/sha256")).expect("its folders");
    fs::write(folder.path().join("oci-layout"), "{}").expect("a file");
    for (place, (name, bytes)) in blobs.iter().enumerate() {
        let path = if place == last { INDEX.to_owned() } else { format!("blobs/sha256/{name}") };
        fs::write(folder.path().join(path), bytes).expect("a file");
    }
    let tag = (input.image & 2 > 0).then_some("1.0");
    read(folder.path(), tag, if input.image & 4 > 0 { "linux/arm64" } else { "wasip1/wasm" });
});
