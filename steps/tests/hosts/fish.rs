//! A login shell that does not understand what `sh` does.

use std::process::Command;

/// Makes an archive of what Debian's package needs to start, without completions and manuals. This happens on this
/// host, because the machine's own package manager takes minutes for it on an emulated CPU.
const MAKE: &str = r#"
TMPDIR=$1 mmdebstrap --quiet --variant=extract --include=fish "$2" "$1/debian.tar" "$3"
mkdir "$1/root"
tar -xf "$1/debian.tar" -C "$1/root" --wildcards './usr/bin/fish' './usr/lib/*/libpcre2-32.so.*' './etc/fish' \
    './usr/share/fish/config.fish' './usr/share/fish/functions'
tar -cz -C "$1/root" .
"#;

/// Reads the archive as root. The user's first start of fish puts files into the home.
pub const INSTALL: &str = "tar -xz --no-same-owner --no-overwrite-dir -C / && ldconfig &&
    su --shell /usr/bin/fish - guest -c true";

pub fn archive(suite: &str, mirror: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh").args(["-ec", MAKE, "-"]).arg(folder.path()).args([suite, mirror]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}
