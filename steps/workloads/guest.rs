//! Builds a guest from a clean copy of its source, without variables of the caller that could change the result.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};

use super::{BuildDir, Module};
use crate::base::platform::Arch;
use crate::exec::command::{Command, Status, tail};

const SCRIPT: &str = include_str!("guest/build.sh");

/// The time limit of a guest's build, including the download of a toolchain.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// The result of a guest's build, successful or not.
#[derive(Clone, Debug)]
pub struct Build {
    pub status: Status,
    pub stderr: String,
    pub rustc: String,
    /// Every `.wasm` file directly in the release folder, sorted by name.
    pub modules: Vec<Module>,
}

impl Build {
    pub fn module(self) -> anyhow::Result<Module> {
        let printed = tail(&self.stderr, 6);
        ensure!(self.status == Status::Code(0), "the guest's build ended with {}: {printed}", self.status);
        let [module] = <[Module; 1]>::try_from(self.modules).map_err(|modules| {
            anyhow!("the guest's build left {} modules, not one: give its crate one binary", modules.len())
        })?;
        Ok(module)
    }
}

/// How a reference begins to an image that is made from a guest: as WebAssembly, and as an ordinary program.
const SCHEMES: [(&str, bool); 2] = [("guest:", false), ("guest-native:", true)];

/// Returns the guest of a reference such as `guest-native:server`, and whether it is built natively.
pub fn guest_named(reference: &str) -> Option<(&str, bool)> {
    SCHEMES.iter().find_map(|(scheme, native)| Some((reference.strip_prefix(scheme)?, *native)))
}

/// Checks that the project has a guest.
pub(super) fn look_for(root: &Path, reference: &str, name: &str) -> anyhow::Result<()> {
    let is_guest = |name: &str| {
        Path::new(name).components().count() == 1 && root.join("guest").join(name).join("Cargo.toml").is_file()
    };
    if is_guest(name) {
        return Ok(());
    }
    let entries = fs::read_dir(root.join("guest")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_guest(name)).collect();
    names.sort();
    bail!("image {reference} cannot be made: no guest is called \"{name}\", only {}", names.join(", "))
}

/// Builds the guest `name` from a fresh copy of the project's `guest/`.
pub async fn build(build_dir: &BuildDir, root: &Path, name: &str) -> anyhow::Result<Build> {
    let (built, release) = compile(build_dir, root, name, "wasm32-wasip1").await?;
    Ok(Build { modules: modules(&release)?, ..built })
}

/// Builds the guest `name` as an ordinary program for Linux, with the same settings and no library outside it.
pub async fn build_native(build_dir: &BuildDir, root: &Path, name: &str, arch: Arch) -> anyhow::Result<Module> {
    let target = format!("{}-unknown-linux-musl", arch.uname());
    let (built, release) = compile(build_dir, root, name, &target).await?;
    let printed = tail(&built.stderr, 6);
    ensure!(built.status == Status::Code(0), "the build of {name} for {target} ended with {}: {printed}", built.status);
    Module::read(&release.join(name))
}

/// Builds the guest `name` for a target, and returns the folder with what was built, too.
async fn compile(build_dir: &BuildDir, root: &Path, name: &str, target: &str) -> anyhow::Result<(Build, PathBuf)> {
    let source = root.join("guest");
    let manifest = source.join(name).join("Cargo.toml");
    ensure!(manifest.is_file(), "guest {name} does not exist: there is no {}", manifest.display());
    let folder = build_dir.subfolder(&format!("build-{name}"))?;
    copy(&source, &folder.join("guest")).with_context(|| format!("cannot copy {}", source.display()))?;
    let toolchain = root.join("rust-toolchain.toml");
    if toolchain.is_file() {
        fs::copy(&toolchain, folder.join("rust-toolchain.toml"))
            .with_context(|| format!("cannot copy {}", toolchain.display()))?;
    }

    let command = Command::new("sh").args(["-c", SCRIPT, "build", &folder.to_string_lossy(), name, target]);
    let command = command.time_limit(TIME_LIMIT);
    let output = build_dir.shell.run(&command).await?;
    let rustc = output.text().trim().to_owned();
    let stderr = output.errors();
    ensure!(!rustc.is_empty(), "guest {name} was not built, because no compiler works: {}", tail(&stderr, 2));
    let release = folder.join("target").join(target).join("release");
    Ok((Build { status: output.status, stderr, rustc, modules: Vec::new() }, release))
}

/// Copies a folder, without the `target` folders of earlier builds.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        if path.is_dir() && entry != "target" {
            copy(&path, &to.join(entry))?;
        } else if path.is_file() {
            fs::copy(&path, to.join(entry))?;
        }
    }
    Ok(())
}

fn modules(folder: &Path) -> anyhow::Result<Vec<Module>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "wasm")).collect();
    paths.sort();
    paths.iter().map(|path| Module::read(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::shell::Fake;
    use crate::workloads::tests::build_dir;

    #[test]
    fn a_stale_target_folder_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("guest"), folder.path().join("copy"));
        for file in ["Cargo.toml", "target/wasm32-wasip1/release/hello.wasm", "hello/src/main.rs"] {
            let path = from.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        copy(&from, &to).unwrap();
        assert!(to.join("Cargo.toml").is_file() && to.join("hello/src/main.rs").is_file());
        assert!(!to.join("target").exists());
    }

    #[test]
    fn an_image_of_a_guest_names_a_guest_that_exists() {
        assert_eq!(guest_named("guest:server"), Some(("server", false)));
        assert_eq!(guest_named("guest-native:server"), Some(("server", true)));
        assert_eq!(guest_named("debian-package:server"), None);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        look_for(root, "guest:server", "server").unwrap();
        for name in ["srver", "", "../guest/server", "hello/src"] {
            let error = look_for(root, &format!("guest:{name}"), name).unwrap_err().to_string();
            let begin =
                format!("image guest:{name} cannot be made: no guest is called \"{name}\", only capabilities, ");
            assert!(error.starts_with(&begin) && error.contains(", server, "), "{error}");
        }
    }

    #[tokio::test]
    async fn without_a_compiler_nothing_is_judged() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let built = async |fake: Fake| build(&build_dir(fake), root, "hello").await;
        let none = built(Fake::default()).await.unwrap_err().to_string();
        assert!(none.starts_with("guest hello was not built, because no compiler works: "), "{none}");
        let refused = built(Fake::default().answer("sh -c ", 101, "rustc 1.95.0\n")).await.unwrap();
        assert_eq!((refused.status, refused.rustc.as_str()), (Status::Code(101), "rustc 1.95.0"));
    }

    #[test]
    fn a_build_must_leave_exactly_one_module() {
        let folder = tempfile::tempdir().unwrap();
        let build = || Build {
            status: Status::Code(0),
            stderr: "error: no".into(),
            rustc: String::new(),
            modules: modules(folder.path()).unwrap(),
        };
        let error = |build: Build| build.module().unwrap_err().to_string();
        assert!(error(build()).starts_with("the guest's build left 0 modules"));
        fs::write(folder.path().join("a.wasm"), "").unwrap();
        fs::write(folder.path().join("a.d"), "").unwrap();
        assert_eq!(build().module().unwrap().file_name(), "a.wasm");
        assert_eq!(
            error(Build { status: Status::Code(101), ..build() }),
            "the guest's build ended with exit code 101: error: no"
        );
        fs::write(folder.path().join("b.wasm"), "").unwrap();
        assert!(error(build()).starts_with("the guest's build left 2 modules"));
    }
}
