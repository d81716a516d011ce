//! Builds the workload's image as the annex does, or loads a given one.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::layout::artifact;
use super::{BuildDir, Layout, Module};
use crate::base::platform::Arch;
use crate::base::unit::Bytes;
use crate::exec::command::{Command, tail};

/// The time limit of a pull.
pub const PULL_LIMIT: Duration = Duration::from_secs(600);

const CONTAINERFILE: &str = include_str!("../../fixtures/images/Containerfile");

/// How an image is built. The default is the annex's way; changes are for controls.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The platform that it is declared for.
    pub platform: String,
    /// The annotation of its manifest.
    pub annotation: Option<String>,
    /// The name and contents of another file to add beside the module.
    pub extra: Option<(String, Vec<u8>)>,
}

impl Default for Recipe {
    fn default() -> Self {
        let annotation = Some("module.wasm.image/variant=compat".to_owned());
        Recipe { platform: "wasi/wasm".to_owned(), annotation, extra: None }
    }
}

/// An image, stored twice: in its own Podman storage and, as it would be transferred, in an OCI layout.
#[derive(Clone, Debug)]
pub struct ContainerImage {
    /// Its name in its storage, and on every machine that loads it.
    pub reference: String,
    pub layout: Layout,
    storage: Storage,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// The bytes of its unpacked layers, its manifest and its configuration.
    pub bytes: Bytes,
    /// The size as `podman images` prints it.
    pub shown: String,
}

impl ContainerImage {
    /// Builds the image called `name` from a module.
    pub async fn build(
        build_dir: &BuildDir,
        name: &str,
        module: &Module,
        recipe: &Recipe,
    ) -> anyhow::Result<ContainerImage> {
        let context = build_dir.subfolder("context")?;
        let mut containerfile = CONTAINERFILE.replace("MODULE", module.file_name());
        let program = context.join(module.file_name());
        fs::write(&program, &module.bytes)?;
        if recipe.platform.starts_with("linux/") {
            fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        }
        if let Some((name, bytes)) = &recipe.extra {
            fs::write(context.join(name), bytes)?;
            containerfile.push_str(&format!("COPY {name} /{name}\n"));
        }
        fs::write(context.join("Containerfile"), containerfile)?;

        let (storage, reference) = (Storage::new(build_dir)?, build_dir.reference(name));
        // The same module gives the same image at any time.
        let build = storage.podman(&["build", "--quiet", "--timestamp", "0", "--platform", &recipe.platform]);
        let annotation = recipe.annotation.iter().map(|annotation| format!("--annotation={annotation}"));
        let build = build.args(["--tag", &reference]).args(annotation).arg(context.to_string_lossy());
        build_dir.shell.read(&build).await?;
        let layout = lay_out(build_dir, &storage, &["push"], &reference, &[]).await?;
        Ok(ContainerImage { reference, layout, storage })
    }

    /// Checks whether [`ContainerImage::load`] could accept this image: the folder or file exists, or the name is well formed.
    pub fn look_for(wanted: &str) -> anyhow::Result<()> {
        ImageSource::parse(wanted).map(drop)
    }

    /// Loads an image from outside under a `name` in this run: `oci:FOLDER[:TAG]`, `oci-archive:FILE[:TAG]`, or a name
    /// in the local storage or a registry. Of an image for several platforms, it takes the WebAssembly module, or else
    /// the program for `arch`.
    pub async fn load(build_dir: &BuildDir, name: &str, wanted: &str, arch: Arch) -> anyhow::Result<ContainerImage> {
        let platforms = ["wasi/wasm", "wasip1/wasm", &format!("linux/{arch}"), "wasip2/wasm"].map(str::to_owned);
        let layout = match ImageSource::parse(wanted)? {
            ImageSource::Folder { path, tag } => Layout::read(&path, tag.as_deref(), &platforms)?,
            ImageSource::Archive { path, tag } => {
                let folder = build_dir.subfolder("given")?;
                unpack(&path, &folder)?;
                Layout::read(&folder, tag.as_deref(), &platforms)
                    .with_context(|| format!("{} is not an OCI image", path.display()))?
            }
            ImageSource::Name(name) => fetch(build_dir, &name, &platforms).await?,
        };
        let (storage, reference) = (Storage::new(build_dir)?, build_dir.reference(name));
        let archive = build_dir.subfolder("archive")?.join("image.tar");
        layout.archive(&reference, &archive)?;
        build_dir.shell.read(&storage.podman(&["load", "--quiet", "--input", &archive.to_string_lossy()])).await?;
        Ok(ContainerImage { reference, layout, storage })
    }

    /// Returns its size as Podman counts it.
    pub async fn counted(&self, build_dir: &BuildDir) -> anyhow::Result<Counted> {
        let inspect = self.podman(&["image", "inspect", "--format", "{{.Size}}", &self.reference]);
        let size = build_dir.shell.read(&inspect).await?;
        let images = self.podman(&["images", "--noheading", "--format", "{{.Size}}", &self.reference]);
        let shown = build_dir.shell.read(&images).await?;
        let bytes = size.trim().parse().with_context(|| format!("podman counts {size:?}, which is not a size"))?;
        Ok(Counted { bytes: Bytes(bytes), shown: shown.trim().to_owned() })
    }

    /// Returns its name without the registry: `assay/hello:RUN`.
    pub fn repository(&self) -> &str {
        self.reference.split_once('/').map_or(&self.reference, |(_, name)| name)
    }

    /// Returns a Podman command on its storage.
    pub fn podman(&self, arguments: &[&str]) -> Command {
        self.storage.podman(arguments)
    }

    /// Extracts its only module.
    pub fn module(&self, build_dir: &BuildDir) -> anyhow::Result<Module> {
        Module::read(&self.layout.extract_module(&build_dir.subfolder("module")?)?)
    }
}

/// Writes an image to an OCI layout by a Podman command, as it would be pushed, with compressed layers.
async fn lay_out(
    build_dir: &BuildDir,
    storage: &Storage,
    push: &[&str],
    reference: &str,
    platforms: &[String],
) -> anyhow::Result<Layout> {
    let folder = build_dir.subfolder("layout")?;
    let target = format!("oci:{}:image", folder.display());
    build_dir.shell.read(&storage.podman(push).args(["--quiet", reference, &target])).await?;
    Layout::read(&folder, None, platforms)
}

/// Reads an image by name from the user's own storage, or pulls it from a registry.
async fn fetch(build_dir: &BuildDir, name: &str, platforms: &[String]) -> anyhow::Result<Layout> {
    for (kind, push) in [("manifest", &["manifest", "push", "--all"][..]), ("image", &["push"])] {
        if build_dir.shell.run(&Command::new("podman").args([kind, "exists", name])).await?.succeeded() {
            return lay_out(build_dir, &Storage::Users, push, name, platforms).await;
        }
    }
    let storage = Storage::new(build_dir)?;
    let mut refused = String::new();
    for platform in platforms {
        let pull = storage.podman(&["pull", "--quiet", tls(name), "--platform", platform, name]);
        let output = build_dir.shell.run(&pull.time_limit(PULL_LIMIT)).await?;
        if output.succeeded() {
            return lay_out(build_dir, &storage, &["push"], name, platforms).await;
        }
        refused = tail(&output.errors(), 1);
        // An index has no image for this platform; an image for one platform only comes whatever it is for.
        if !refused.contains("no image found in ") {
            break;
        }
    }
    bail!(not_pulled(name, &refused))
}

/// Explains why an image cannot be had, from what Podman printed last.
fn not_pulled(name: &str, refused: &str) -> String {
    match refused.split_once("artifact with type \"").and_then(|(_, rest)| rest.split_once('"')) {
        Some((config, _)) => artifact(&format!("image {name}"), config),
        None => format!("image {name} is not in the local storage, and cannot be pulled: {refused}"),
    }
}

#[derive(Clone, Debug)]
pub enum Storage {
    /// The user's own storage.
    Users,
    /// A storage of the run, empty at first and removed with the run. Nothing cached replaces a build or a pull, no
    /// other image's manifest adds to a size, and no name of the user's is touched.
    Fresh(PathBuf),
}

impl Storage {
    pub fn new(build_dir: &BuildDir) -> anyhow::Result<Storage> {
        // Podman accepts no runroot of more than 50 characters.
        build_dir.subfolder("s").map(Storage::Fresh)
    }

    /// Returns a Podman command on it. The `vfs` driver works everywhere and leaves no mounts behind. Only errors are
    /// logged: on an empty storage Podman warns about networks that are not used.
    pub fn podman(&self, arguments: &[&str]) -> Command {
        let podman = Command::new("podman");
        let podman = match self {
            Storage::Users => podman,
            Storage::Fresh(folder) => {
                let inside = |name: &str| folder.join(name).to_string_lossy().into_owned();
                podman
                    .args(["--root", &inside("root"), "--runroot", &inside("run"), "--storage-driver", "vfs"])
                    .args(["--log-level", "error"])
            }
        };
        podman.args(arguments.iter().copied())
    }
}

/// Returns Podman's TLS option: registries on this host use plain HTTP, all others must use TLS.
pub fn tls(reference: &str) -> &'static str {
    match reference.starts_with("127.0.0.1:") || reference.starts_with("localhost:") {
        true => "--tls-verify=false",
        false => "--tls-verify=true",
    }
}

#[derive(Debug, PartialEq, Eq)]
enum ImageSource {
    Folder { path: PathBuf, tag: Option<String> },
    Archive { path: PathBuf, tag: Option<String> },
    Name(String),
}

impl ImageSource {
    fn parse(wanted: &str) -> anyhow::Result<ImageSource> {
        let split = |rest: &str| {
            // An existing path has no tag; otherwise the part after the last colon is the tag.
            match rest.rsplit_once(':') {
                Some((path, tag)) if !Path::new(rest).exists() => (PathBuf::from(path), Some(tag.to_owned())),
                _ => (PathBuf::from(rest), None),
            }
        };
        if let Some((path, tag)) = wanted.strip_prefix("oci:").map(split) {
            ensure!(path.is_dir(), "image {wanted} does not exist: there is no folder {}", path.display());
            return Ok(ImageSource::Folder { path, tag });
        }
        if let Some((path, tag)) = wanted.strip_prefix("oci-archive:").map(split) {
            ensure!(path.is_file(), "image {wanted} does not exist: there is no file {}", path.display());
            return Ok(ImageSource::Archive { path, tag });
        }
        oci_spec::distribution::Reference::try_from(wanted).map(|_| ImageSource::Name(wanted.to_owned())).or_else(
            |error| {
                bail!(
                    "image {wanted:?} is not a reference ({error}): write oci:FOLDER, oci-archive:FILE or HOST/NAME:TAG"
                )
            },
        )
    }
}

fn unpack(archive: &Path, folder: &Path) -> anyhow::Result<()> {
    let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    // The reader's own error quotes the file, which may contain anything.
    tar::Archive::new(file).unpack(folder).or_else(|_| bail!("{} is not a tar archive", archive.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_an_image_is_what_follows_an_existing_path() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display();
        let error = ImageSource::parse(&format!("oci:{here}/no:1")).unwrap_err().to_string();
        assert!(error.ends_with(&format!("there is no folder {here}/no")), "{error}");
        let tagged = ImageSource::parse(&format!("oci:{here}:1.0")).unwrap();
        assert_eq!(tagged, ImageSource::Folder { path: folder.path().into(), tag: Some("1.0".into()) });
        let name = "public.ecr.aws/g2n4p2m7/hello:1.0";
        assert_eq!(ImageSource::parse(name).unwrap(), ImageSource::Name(name.into()));
    }

    #[test]
    fn podman_accepts_the_path_of_a_storage_in_the_99th_run_of_a_process() {
        let build_dir = crate::workloads::tests::build_dir(crate::exec::shell::Fake::default());
        let argv = Storage::new(&build_dir).unwrap().podman(&[]).argv;
        let runroot = argv.iter().skip_while(|word| *word != "--runroot").nth(1).unwrap();
        let runroot = runroot.replace(&build_dir.run, "20261127-100418-7054-99");
        assert!(runroot.len() <= 50, "{runroot} has {} characters", runroot.len());
    }

    #[test]
    fn only_registries_on_this_host_may_do_without_tls() {
        assert_eq!(tls("127.0.0.1:5000/a:1"), "--tls-verify=false");
        assert_eq!(tls("public.ecr.aws/a/b:1"), "--tls-verify=true");
        assert_eq!(tls("localhost.example.org/b:1"), "--tls-verify=true");
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named_for_what_podman_found() {
        // Printed by Podman 4.3.1.
        const ARTIFACT: &str = "Error: parsing image configuration: unsupported image-specific operation on artifact with \
                                type \"application/vnd.wasm.config.v0+json\"";
        for (printed, expected) in [
            (
                ARTIFACT,
                "image h/a:1 is a Wasm artifact (application/vnd.wasm.config.v0+json), not a container image: put ",
            ),
            ("Error: denied", "image h/a:1 is not in the local storage, and cannot be pulled: Error: denied"),
        ] {
            let error = not_pulled("h/a:1", printed);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
