//! Tests of reading and writing layouts.

use super::*;
use crate::base::digest::sha256;
use std::io::Write;

/// Writes a blob as Podman 4.3.1 does, and returns its descriptor.
fn put(folder: &Path, media_type: MediaType, bytes: &[u8]) -> serde_json::Value {
    let digest = format!("sha256:{}", sha256(bytes));
    let path = blob_path(folder, &digest);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

fn packed(names: &[&str]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for name in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        tar.append_data(&mut header, name, &b"\0asm"[..]).unwrap();
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&tar.into_inner().unwrap()).unwrap();
    gzip.finish().unwrap()
}

/// Writes a manifest with the configuration of an image, or of an artifact of this type.
fn put_manifest(folder: &Path, layers: &[&str], config: MediaType) -> serde_json::Value {
    let docker = config.to_string().contains("docker");
    let schema2 = MediaType::from("application/vnd.docker.distribution.manifest.v2+json");
    let kind = if docker { schema2 } else { MediaType::ImageManifest };
    let layers = layers.iter().map(|name| put(folder, MediaType::ImageLayerGzip, &packed(&[name])));
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": put(folder, config, include_bytes!("../../../fixtures/images/config.json")),
        "layers": layers.collect::<Vec<_>>(),
        "annotations": {"module.wasm.image/variant": "compat", BASE: ""},
    });
    put(folder, kind, manifest.to_string().as_bytes())
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
    for config in [MediaType::ImageConfig, MediaType::from("application/vnd.docker.container.image.v1+json")] {
        let folder = tempfile::tempdir().unwrap();
        index(folder.path(), &[put_manifest(folder.path(), &["hello.wasm"], config)]);
        let layout = Layout::read(folder.path(), None, &[]).unwrap();
        let (file, copy) = (folder.path().join("image.tar"), folder.path().join("copy"));
        layout.archive("localhost/assay/hello:r1", &file).unwrap();
        tar::Archive::new(File::open(&file).unwrap()).unpack(&copy).unwrap();
        let again = Layout::read(&copy, Some("localhost/assay/hello:r1"), &[]).unwrap();
        assert_eq!(again, Layout { folder: copy, ..layout });
    }
}

#[test]
fn a_folder_that_does_not_hold_an_image_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let error = |tag| format!("{:#}", Layout::read(path, tag, &[]).unwrap_err());
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
        (vec![tagged(amd64.clone(), "1"), tagged(wasip1, "2")], None, "does not hold one image: its tags are: 1, 2"),
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
    const MULTI: &[u8] = include_bytes!("../../../fixtures/images/multi.tar");
    const ZSTD: &[u8] = include_bytes!("../../../fixtures/images/zstd-chunked.tar");
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

#[test]
fn a_blob_has_the_size_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = put_manifest(folder.path(), &["hello.wasm"], MediaType::ImageConfig);
    manifest["size"] = serde_json::json!(1);
    index(folder.path(), &[manifest]);
    let error = Layout::read(folder.path(), None, &[]).unwrap_err().to_string();
    assert!(error.contains(" bytes, but what names it says 1"), "{error}");
}

/// A search of all files for each one that is hidden would be quadratic.
#[test]
fn thousands_of_files_are_hidden_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let names = |prefix: &str| (0..5_000).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>();
    let all = [names("a/"), names("a/.wh.")].map(|names| packed(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    let layers = all.map(|layer| put(folder.path(), MediaType::ImageLayerGzip, &layer));
    let manifest = serde_json::json!({
        "schemaVersion": 2, "layers": layers,
        "config": put(folder.path(), MediaType::ImageConfig, include_bytes!("../../../fixtures/images/config.json")),
    });
    index(folder.path(), &[put(folder.path(), MediaType::ImageManifest, manifest.to_string().as_bytes())]);
    assert!(Layout::read(folder.path(), None, &[]).unwrap().files.is_empty());
}
