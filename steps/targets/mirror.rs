//! Picks the package mirror that machines are built from: the one that is set, else the host's own, else Debian's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::platform::Platform;
use crate::base::platform::Arch;
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

/// Downloads a platform's Release file with apt's own helper, so that the host's proxies apply. Returns the mirror's
/// address.
///
/// # Errors
/// Returns an error if the mirror cannot be reached, does not have the platform, or has a Release file that has expired
/// and the platform does not accept that.
pub async fn reach_mirror(
    shell: &Shell,
    settings: &Settings,
    platform: &Platform,
    arch: Arch,
    folder: &Path,
) -> anyhow::Result<String> {
    let mirror = platform.archive(arch).map_or_else(|| mirror_address(settings), str::to_owned);
    let helper = programs::find("/usr/lib/apt/apt-helper")
        .context("apt is not installed, which mirrors are asked with: use a host with Debian or Ubuntu")?;
    let file = folder.join("InRelease");
    let command = Command::new(helper.display().to_string())
        .args(["-o", "Acquire::http::Timeout=8", "-o", "Acquire::https::Timeout=8", "-o", "Acquire::Retries=0"])
        .args(["download-file".to_owned(), format!("{mirror}/dists/{}/InRelease", platform.suite)])
        .arg(file.display().to_string())
        .time_limit(Duration::from_secs(25));
    let output = shell.run(&command).await;
    let release = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(&file);
    let printed = match output {
        Ok(output) if output.succeeded() => {
            let until = valid_until(&release).filter(|until| *until < Timestamp::now() && !platform.accept_expired);
            return until.map_or(Ok(mirror.clone()), |until| Err(expired(platform, &mirror, until)));
        }
        Ok(output) => tail(&output.errors(), 2).replace('\n', "; "),
        Err(error) => error.to_string(),
    };
    let remedy = match platform.archive(arch) {
        Some(_) => format!("name one that does in {}", platform.path.display()),
        None => "set ASSAY_MIRROR to one that does".to_owned(),
    };
    anyhow::bail!("mirror {mirror} does not give {} ({}): {printed}; {remedy}", platform.name, platform.suite)
}

/// Returns the time up to which a Release file is valid, if it has one: a stable release's has none.
fn valid_until(release: &str) -> Option<Timestamp> {
    let time = release.lines().find_map(|line| line.strip_prefix("Valid-Until: "))?;
    rfc2822::DateTimeParser::new().parse_timestamp(time.replace(" UTC", " +0000")).ok()
}

fn expired(platform: &Platform, mirror: &str, until: Timestamp) -> anyhow::Error {
    let Platform { name, suite, path, .. } = platform;
    let day = until.strftime("%Y-%m-%d");
    anyhow::anyhow!(
        "mirror {mirror} has {name} ({suite}) as it was: its Release file expired on {day}; take a mirror that is kept up \
         to date or, for an archive, write accept_expired = true in {}",
        path.display()
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

    /// Asks a folder that stands for a mirror, whose Release file is valid up to `until`.
    async fn reached(until: &str, change: impl Fn(&mut Platform)) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let dists = folder.path().join("dists/forky");
        fs::create_dir_all(&dists).unwrap();
        fs::write(dists.join("InRelease"), format!("Origin: Debian\n{until}Suite: testing\n")).unwrap();
        let mirror = format!("file://{}", folder.path().display());
        let settings = Settings { mirror: Some(mirror.clone()), ..Settings::read().unwrap() };
        let mut platform = Platform::named(&settings.root, "debian-14").unwrap();
        change(&mut platform);
        let shell = Shell::local(std::sync::Arc::new(crate::exec::shell::NoopObserver));
        let reached = reach_mirror(&shell, &settings, &platform, Arch::Amd64, folder.path()).await;
        reached
            .map_err(|error| error.to_string().replace(&mirror, "MIRROR"))
            .map(|found| found.replace(&mirror, "MIRROR"))
    }

    #[tokio::test]
    async fn a_mirror_must_have_the_platform_and_be_up_to_date_unless_the_platform_says_otherwise() {
        let (past, coming) =
            ("Valid-Until: Sat, 23 Aug 2025 14:16:52 UTC\n", "Valid-Until: Fri, 23 Aug 2999 14:16:52 UTC\n");
        let strict = |platform: &mut Platform| platform.accept_expired = false;
        for (until, change, expected) in [
            (
                past,
                strict as fn(&mut Platform),
                Err("MIRROR has debian-14 (forky) as it was: its Release file expired on 2025-08-23; "),
            ),
            (coming, strict, Ok("MIRROR")),
            ("", strict, Ok("MIRROR")),
            (past, |_| (), Ok("MIRROR")),
            ("", |platform| platform.suite = "duke".to_owned(), Err("MIRROR does not give debian-14 (duke): ")),
        ] {
            match (reached(until, change).await, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(expected)) => assert!(found.starts_with(&format!("mirror {expected}")), "{found}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_mirror_that_is_set_comes_first() {
        let settings = Settings { mirror: Some("http://own/debian/".to_owned()), ..Settings::read().unwrap() };
        assert_eq!(mirror_address(&settings), "http://own/debian");
    }
}
