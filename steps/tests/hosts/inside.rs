//! Runs the suite on the machine itself, with its own Podman.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use assay::base::platform::Arch;
use assay::targets::DiskImage;
use assay::workloads::baseline;
use assay::workloads::baseline::Program;

/// The folder on the machine that contains everything.
const PLACE: &str = "/opt/assay";

/// What builds the guests there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// A fake: the modules that it hands out were built before. For a machine with the device's memory.
    Fake,
    /// This project's own compiler. It takes half a gigabyte on the disk.
    Real,
}

/// Copies the parts of the toolchain that build guests, and nothing else.
const TOOLCHAIN: &str = r#"
cd "$(env -u RUSTUP_TOOLCHAIN rustc --print sysroot)"
host=$(env -u RUSTUP_TOOLCHAIN rustc -vV | sed -n 's/^host: //p')
find bin/cargo bin/rustc lib/*.so* lib/rustlib/wasm32-wasip1 "lib/rustlib/$host/bin" -not -type d |
    tar -cf - -T - | tar -xf - -C "$1"
"#;

/// Replaces cargo and rustc.
const COMPILER: &str = r#"#!/bin/sh
[ "$1" = build ] || { echo "rustc, elsewhere" && exit; }
while [ $# -gt 0 ]; do
    case $1 in
    --package) name=$2 ;;
    --target-dir) folder=$2/wasm32-wasip1/release ;;
    esac
    shift
done
mkdir -p "$folder" && cp "/opt/assay/modules/$name.wasm" "$folder"
"#;

/// Makes a machine one that starts system containers.
pub const CONTAINERS: &str = "set -e
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qy update >&2
    apt-get -qy install --no-install-recommends systemd-container >&2
    modprobe --all loop fuse tun veth overlay";

/// Makes the archive of all that the suite needs: the program, the project's files, what compiles the guests, the image
/// of the registry, the images of conventional containers that an earlier run has left in the cache, and the disk of
/// system containers, if there are to be any.
pub fn archive(program: &Path, compiler: Compiler, cache: &Path, disk: Option<&DiskImage>) -> Vec<u8> {
    let stage = tempfile::tempdir().unwrap();
    let at = |name: &str| stage.path().join(name);
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["root", "toolchain/bin", "modules", "cache/containers"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    run(Command::new("strip").arg("-o").arg(at("assay")).arg(program));
    for part in ["features", "fixtures", "guest"] {
        run(Command::new("cp").arg("-r").arg(project.join(part)).arg(at("root")));
    }
    match compiler {
        Compiler::Fake => fake_compiler(project, stage.path()),
        Compiler::Real => {
            run(Command::new("sh").args(["-ec", TOOLCHAIN, "-"]).arg(at("toolchain")).current_dir(project))
        }
    }
    for program in Program::ALL {
        let kept = baseline::kept(cache, Arch::host().unwrap(), &program);
        if kept.is_file() {
            fs::copy(&kept, at("cache/containers").join(kept.file_name().unwrap())).unwrap();
        }
    }
    if let Some(folder) = disk.and_then(|image| image.disk.parent()) {
        fs::create_dir(at("cache/machines")).unwrap();
        run(Command::new("cp").args(["-r", "--sparse=always"]).arg(folder).arg(at("cache/machines")));
    }
    let registry = at("registry.tar");
    run(Command::new("podman")
        .args(["save", "--quiet", "--output"])
        .arg(registry)
        .arg(assay::workloads::registry::MADE));
    let tar =
        Command::new("tar").args(["-C", stage.path().to_str().unwrap(), "--sparse", "-cz", "."]).output().unwrap();
    assert!(tar.status.success());
    tar.stdout
}

/// Builds every guest's module, and writes the fake compiler that hands them out.
fn fake_compiler(project: &Path, stage: &Path) {
    let target = stage.join("target");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "--locked", "--target", "wasm32-wasip1", "--target-dir"]).arg(&target);
    run(cargo.current_dir(project.join("guest")));
    for entry in fs::read_dir(target.join("wasm32-wasip1/release")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "wasm") {
            fs::copy(entry.path(), stage.join("modules").join(entry.file_name())).unwrap();
        }
    }
    fs::remove_dir_all(&target).unwrap();
    for name in ["cargo", "rustc"] {
        let path = stage.join("toolchain/bin").join(name);
        fs::write(&path, COMPILER).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Returns the script that reads the archive and unpacks it, as root.
pub fn unpack() -> String {
    format!("mkdir {PLACE} && tar -C {PLACE} -xz && chown -R guest:guest {PLACE}")
}

/// Returns the user's first command: it puts Podman to use and loads the image of the registry.
pub fn load() -> String {
    format!("podman load --quiet --input {PLACE}/registry.tar")
}

/// Runs a line as the machine's user, in a namespace that hides systemd and the user's folders below `/run`, and in a
/// control group of the user's.
pub const WITHOUT_SYSTEMD: &str = r#"
delegated=/sys/fs/cgroup/delegated
mkdir $delegated $delegated/own
chown -R guest $delegated
echo $$ >$delegated/own/cgroup.procs
for group in /sys/fs/cgroup $delegated; do
    for controller in cpu memory pids; do
        ! grep -qw $controller $group/cgroup.controllers || echo +$controller >$group/cgroup.subtree_control
    done
done
exec unshare --mount sh -c 'mount -t tmpfs tmpfs /run/systemd; mount -t tmpfs tmpfs /run/user
    exec setpriv --reuid guest --regid guest --init-groups env -i HOME=/home/guest USER=guest PATH="$PATH" sh -c "$1"' - "$1"
"#;

/// Returns the command with which the user runs the suite.
pub fn line(target: &str, arguments: &str) -> String {
    format!(
        "cd {PLACE} && PATH={PLACE}/toolchain/bin:$PATH CARGO_HOME={PLACE}/cargo ASSAY_ROOT={PLACE}/root \
        ASSAY_CACHE={PLACE}/cache ./assay run --target {target} --evidence {PLACE}/evidence {arguments} 2>&1"
    )
}

pub fn verdicts() -> String {
    format!("cat {PLACE}/evidence/verdicts.json")
}
