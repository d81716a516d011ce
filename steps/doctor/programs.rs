//! Checks programs that only have to start, and reads the version that each prints.

use std::sync::Arc;

use super::host::Host;
use super::{CheckResult, Try};
use crate::base::platform::TargetSpec;
use crate::exec::command::Command;

/// Finds the first word of a text that is a version: `2.39.5` in `git version 2.39.5`.
pub fn version(said: &str) -> Option<&str> {
    let mut words = said.split(|c: char| c.is_whitespace() || "(),".contains(c));
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')).map(|word| {
        let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(word.len());
        word[..end].trim_end_matches('.')
    })
}

/// Makes a result of what a program printed about its version.
pub fn by_version(said: Result<String, CheckResult>) -> CheckResult {
    match said {
        Ok(said) => CheckResult::works(version(&said).unwrap_or("works, but says no version")),
        Err(finding) => finding,
    }
}

/// Checks that a program of a package prints its version.
pub async fn tried(host: Arc<Host>, program: &'static str, package: &'static str, option: &'static str) -> CheckResult {
    by_version(host.ask(package, Command::new(program).arg(option)).await)
}

/// Checks the programs that belong neither to Rust, nor to containers, nor to machines.
pub fn tries(host: &Arc<Host>, target: &TargetSpec) -> Vec<Try> {
    let install = |package| host.distribution.install(&[package]);
    let git = tried(host.clone(), "git", "git", "--version");
    let mut tries = vec![
        Try::optional("git (notes the commit)", install("git"), git),
        Try::optional("ssh-keygen (for --sign)", install("openssh-client"), ssh_keygen(host.clone())),
        Try::needed("setpriv", install("util-linux"), tried(host.clone(), "setpriv", "util-linux", "--version")),
    ];
    // If the caller's address is set, AWS need not be asked for it.
    let settings = &host.settings;
    if *target == TargetSpec::Ec2 && settings.caller.is_none() && settings.stand_in.ssh.is_none() {
        let curl = tried(host.clone(), "curl", "curl", "--version");
        tries.push(Try::needed("curl (asks for this host's address)", install("curl"), curl));
    }
    tries
}

/// Checks `ssh-keygen`. It has no harmless option: it prints its usage, and fails.
async fn ssh_keygen(host: Arc<Host>) -> CheckResult {
    match host.start("openssh-client", Command::new("ssh-keygen").arg("-?")).await {
        Err(finding) => finding,
        Ok(output) if output.errors().contains("-Y sign") => CheckResult::works("can sign"),
        Ok(_) => CheckResult::fails("cannot sign: it is older than OpenSSH 8.2, or no OpenSSH"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_its_own_way_to_say_its_version() {
        for (said, found) in [
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
            assert_eq!(version(said), found, "{said}");
        }
    }
}
