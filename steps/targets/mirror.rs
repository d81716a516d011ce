//! Picks the package mirror that machines are built from: the one that is set, else the host's own, else Debian's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::definition::DebianRelease;
use crate::base::programs;
use crate::base::settings::Settings;
use crate::exec::command::{Command, tail};
use crate::exec::shell::Shell;

/// Debian's own address, for hosts that are not Debian.
const DEBIAN: &str = "http://deb.debian.org/debian";
/// The suites of a Debian archive proper, as opposed to its security, updates and backports.
const SUITES: &str = "bullseye bookworm trixie forky duke sid oldoldstable oldstable stable testing unstable";

/// Returns the mirror's address: the one that is set, else that of the host's own sources, else Debian's.
pub fn mirror_address(settings: &Settings) -> String {
    if let Some(address) = &settings.mirror {
        return address.trim_end_matches('/').to_owned();
    }
    // Prints what it would download, and needs neither the network nor root.
    let printed = std::process::Command::new("apt-get").args(["--print-uris", "update"]).output();
    let printed = printed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    printed.ok().and_then(|printed| host_mirror(&printed)).unwrap_or_else(|| DEBIAN.to_owned())
}

/// Downloads a release file with apt's own helper, so that the host's proxies apply. Returns the mirror's address.
pub async fn reach_mirror(
    shell: &Shell,
    settings: &Settings,
    distribution: DebianRelease,
    folder: &Path,
) -> anyhow::Result<String> {
    let mirror = mirror_address(settings);
    let helper = programs::find("/usr/lib/apt/apt-helper")
        .context("apt is not installed, which mirrors are asked with: use a host with Debian or Ubuntu")?;
    let file = folder.join("InRelease");
    let command = Command::new(helper.display().to_string())
        .args(["-o", "Acquire::http::Timeout=8", "-o", "Acquire::https::Timeout=8", "-o", "Acquire::Retries=0"])
        .args(["download-file".to_owned(), format!("{mirror}/dists/{}/InRelease", distribution.suite())])
        .arg(file.display().to_string())
        .time_limit(Duration::from_secs(25));
    let output = shell.run(&command).await;
    let _ = fs::remove_file(&file);
    let printed = match output {
        Ok(output) if output.succeeded() => return Ok(mirror),
        Ok(output) => tail(&output.errors(), 2).replace('\n', "; "),
        Err(error) => error.to_string(),
    };
    anyhow::bail!(
        "mirror {mirror} does not give {} ({}): {printed}; set ASSAY_MIRROR to one that does",
        distribution.name(),
        distribution.suite()
    )
}

/// Finds an archive of Debian's binary packages among the addresses that apt prints, one per line:
/// `'http://HOST/debian/dists/SUITE/main/binary-amd64/Packages.xz' …`.
fn host_mirror(printed: &str) -> Option<String> {
    let archive = |line: &str| {
        let (address, index) = line.strip_prefix('\'')?.split_once("/dists/")?;
        let (suite, index) = index.split_once('/')?;
        let proper = SUITES.split(' ').any(|known| known == suite) && index.starts_with("main/binary-");
        (proper && address.starts_with("http")).then(|| address.to_owned())
    };
    // Other archives use the names of Debian's suites, too, but not its folder's.
    printed.lines().filter_map(archive).min_by_key(|address| !address.ends_with("/debian"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_mirror_is_the_archive_of_debians_binary_packages() {
        let printed = "'http://security/debian-security/dists/bookworm-security/main/binary-amd64/Packages.xz' x 0\n\
                       'http://sources/debian/dists/bookworm/main/source/Sources.xz' x 0\n\
                       'file:/srv/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0\n\
                       'http://docker/debian/dists/bookworm/stable/binary-amd64/Packages.xz' x 0\n\
                       'http://ubuntu/ubuntu/dists/noble/main/binary-amd64/Packages.xz' x 0\n";
        assert_eq!(host_mirror(printed), None);
        let chrome = format!("{printed}'https://chrome/deb/dists/stable/main/binary-amd64/Packages.xz' x 0\n");
        assert_eq!(host_mirror(&chrome).unwrap(), "https://chrome/deb");
        let both = format!("{chrome}'https://mirror/debian/dists/bookworm/main/binary-all/Packages.xz' x 0\n");
        assert_eq!(host_mirror(&both).unwrap(), "https://mirror/debian");
    }

    #[test]
    fn the_mirror_that_is_set_comes_first() {
        let settings = Settings { mirror: Some("http://own/debian/".to_owned()), ..Settings::read().unwrap() };
        assert_eq!(mirror_address(&settings), "http://own/debian");
    }
}
