//! The suite, run on the machine itself, by its own Podman.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Where it all lies on the machine.
const PLACE: &str = "/opt/assay";

/// Stands for cargo and rustc, for which a machine of this size has no room: what they are asked for was built before.
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

/// Puts up the archive of all that the suite takes: the program, the project's files, what it would compile, and the image
/// of the registry.
pub fn archive(program: &Path) -> Vec<u8> {
    let stage = tempfile::tempdir().unwrap();
    let at = |name: &str| stage.path().join(name);
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["root", "bin", "modules"] {
        fs::create_dir(at(folder)).unwrap();
    }
    run(Command::new("strip").arg("-o").arg(at("e2e")).arg(program));
    for part in ["features", "fixtures", "guest"] {
        run(Command::new("cp").arg("-r").arg(project.join(part)).arg(at("root")));
    }
    compiled(project, &stage);
    for name in ["cargo", "rustc"] {
        fs::write(at("bin").join(name), COMPILER).unwrap();
        fs::set_permissions(at("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    run(Command::new("podman")
        .args(["save", "--quiet", "--output"])
        .arg(at("registry.tar"))
        .arg(assay::registry::MADE));
    let tar = Command::new("tar").args(["-C", stage.path().to_str().unwrap(), "-cz", "."]).output().unwrap();
    assert!(tar.status.success());
    tar.stdout
}

/// Every guest's module.
fn compiled(project: &Path, stage: &TempDir) {
    let target = stage.path().join("target");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "--locked", "--target", "wasm32-wasip1", "--target-dir"]).arg(&target);
    run(cargo.current_dir(project.join("guest")));
    for entry in fs::read_dir(target.join("wasm32-wasip1/release")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "wasm") {
            fs::copy(entry.path(), stage.path().join("modules").join(entry.file_name())).unwrap();
        }
    }
    fs::remove_dir_all(&target).unwrap();
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What is run as root to take the archive in, which it reads.
pub fn unpack() -> String {
    format!("mkdir {PLACE} && tar -C {PLACE} -xz && mkdir {PLACE}/cache && chown -R guest:guest {PLACE}")
}

/// What its user types first, so that it has a Podman in use and the image of the registry.
pub fn load() -> String {
    format!("podman load --quiet --input {PLACE}/registry.tar")
}

/// Runs a line as the machine's user, in a namespace that shows no systemd and none of its user's folders below `/run`, and in
/// a control group of the user's.
pub const WITHOUT_SYSTEMD: &str = r#"
lent=/sys/fs/cgroup/lent
mkdir $lent $lent/own
chown -R guest $lent
echo $$ >$lent/own/cgroup.procs
for group in /sys/fs/cgroup $lent; do
    echo "+cpu +memory +pids" >$group/cgroup.subtree_control
done
exec unshare --mount sh -c 'mount -t tmpfs tmpfs /run/systemd; mount -t tmpfs tmpfs /run/user
    exec setpriv --reuid guest --regid guest --init-groups env -i HOME=/home/guest USER=guest PATH="$PATH" sh -c "$1"' - "$1"
"#;

/// What its user types to run it.
pub fn line(tags: &str) -> String {
    format!(
        "cd {PLACE} && PATH={PLACE}/bin:$PATH ASSAY_ROOT={PLACE}/root ASSAY_CACHE={PLACE}/cache \
        ./e2e --target podman --tags '{tags}' 2>&1"
    )
}
