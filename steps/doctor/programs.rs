//! Checks programs that only have to start, and reads the version that each prints.

use std::sync::Arc;

use super::host::Host;
use super::{Fault, Tried, Try};
use assay::base::platform::TargetSpec;
use assay::exec::command::Command;

/// Finds the first word of a text that is a version: `2.39.5` in `git version 2.39.5`.
pub fn version(printed: &str) -> Option<&str> {
    let mut words = printed.split(|c: char| c.is_whitespace() || "(),".contains(c));
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')).map(|word| {
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(word.len());
        word[..end].trim_end_matches('.')
    })
}

/// Shortens what a program printed to its version.
pub fn shortened(printed: String) -> String {
    version(&printed).unwrap_or("works, but says no version").to_owned()
}

/// Checks that a program of a package prints its version.
pub fn program(
    host: &Arc<Host>,
    name: &str,
    program: &'static str,
    package: &'static str,
    option: &'static str,
) -> Try {
    let asker = host.clone();
    let attempt = async move { asker.ask(package, Command::new(program).arg(option)).await.map(shortened) };
    Try::needed(name, host.distribution.install(&[package]), attempt)
}

/// Checks the programs that belong neither to Rust, nor to containers, nor to machines.
pub fn tries(host: &Arc<Host>, target: &TargetSpec) -> Vec<Try> {
    let signer = host.distribution.install(&["openssh-client"]);
    let mut tries = vec![
        program(host, "git (notes the commit)", "git", "git", "--version").optional(),
        Try::needed("ssh-keygen (for --sign)", signer, ssh_keygen(host.clone())).optional(),
        program(host, "setpriv", "setpriv", "util-linux", "--version"),
    ];
    // If the caller's address is set, AWS need not be asked for it.
    let settings = &host.settings;
    if *target == TargetSpec::Ec2 && settings.caller.is_none() && settings.fake_aws.ssh.is_none() {
        tries.push(program(host, "curl (asks for this host's address)", "curl", "curl", "--version"));
    }
    tries
}

/// Checks `ssh-keygen`. It has no harmless option: it prints its usage, and fails.
async fn ssh_keygen(host: Arc<Host>) -> Tried {
    let output = host.start("openssh-client", Command::new("ssh-keygen").arg("-?")).await?;
    match output.errors().contains("-Y sign") {
        true => Ok("can sign".to_owned()),
        false => Err(Fault::missing("cannot sign: it is older than OpenSSH 8.2, or no OpenSSH")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_its_own_way_to_say_its_version() {
        for (printed, found) in [
            ("git version 2.39.5\n", Some("2.39.5")),
            ("crun version 1.8.1\ncommit: f8a096b\nspec: 1.0.0\n", Some("1.8.1")),
            ("runc version 1.1.5+ds1\n", Some("1.1.5")),
            ("qemu-img version 10.0.2 (Debian 1:10.0.2+ds-2)", Some("10.0.2")),
            ("mke2fs 1.47.0 (5-Feb-2023)\n\tUsing EXT2FS Library version 1.47.0\n", Some("1.47.0")),
            ("unshare from util-linux 2.38.1", Some("2.38.1")),
            ("Debian dpkg-query package management program version 1.21.22 (amd64).", Some("1.21.22")),
            ("gpg (GnuPG) 2.2.40\n", Some("2.2.40")),
            ("rustc 1.95.0-nightly (0aced202c 2026-04-01)", Some("1.95.0")),
            ("podman version 5.0.0-rc1.\n", Some("5.0.0")),
            ("usage: true\n", None),
            ("", None),
        ] {
            assert_eq!(version(printed), found, "{printed}");
        }
    }
}
