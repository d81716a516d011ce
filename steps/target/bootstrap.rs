//! Installing Debian into a folder or a tar archive, by mmdebstrap from the host's own mirror.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::child::Child;
use super::definition::Distribution;
use super::kept::LIMIT;
use super::{Context, mirror, remedy};
use crate::command::{Command, Status, quote, tail};
use crate::facts::Arch;
use crate::shell::Shell;
use crate::tool;
use crate::unit::Bytes;

/// How often a build says where it is.
const BEAT: Duration = Duration::from_secs(5);
/// Where mmdebstrap says what it does.
const LOG: &str = "build.log";
/// Where it lists what it has installed.
const LISTED: &str = "packages.txt";

/// What a system is made of; `manifest.json` beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The hash of everything that went into it but the packages' versions.
    pub key: String,
    /// The distribution.
    pub distribution: String,
    /// The architecture's Debian name.
    pub architecture: String,
    /// When it was made (RFC 3339).
    pub built: String,
    /// How long that took, in seconds.
    pub seconds: f64,
    /// Where the packages came from.
    pub mirror: String,
    /// Every installed package and its version.
    pub packages: BTreeMap<String, String>,
}

impl Manifest {
    /// The name of its file beside what it is of.
    pub const FILE: &str = "manifest.json";

    /// The manifest that lies in a folder, if it is whole.
    pub(crate) fn read(folder: &Path) -> Option<Manifest> {
        serde_json::from_slice(&fs::read(folder.join(Manifest::FILE)).ok()?).ok()
    }

    /// Writes it into a folder.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::write(folder.join(Manifest::FILE), serde_json::to_vec_pretty(self)?).context("the manifest is not written")
    }
}

/// One installation.
pub(crate) struct Bootstrap<'a> {
    /// What is made, in two words: people see them while they wait.
    pub what: &'a str,
    /// Under which hash it will be kept.
    pub key: &'a str,
    /// Of which distribution.
    pub distribution: Distribution,
    /// For which architecture.
    pub arch: Arch,
    /// The packages, with those they need.
    pub packages: Vec<String>,
    /// More options of mmdebstrap: hooks, for example.
    pub options: Vec<String>,
    /// The folder or the tar archive to be made.
    pub target: &'a str,
}

impl Bootstrap<'_> {
    /// Installs into the target, which lies in the folder `work`.
    ///
    /// # Errors
    /// It cannot be done here; the error names what is missing and the remedy.
    pub async fn run(&self, context: &Context, room: Bytes, work: &Path) -> anyhow::Result<Manifest> {
        let (started, progress) = (Instant::now(), &context.progress);
        let shell = Shell::local(context.witness.clone());
        let programs = check_host(self.what, self.arch, room, work)?;
        if Arch::host() != Some(self.arch) {
            let remedy = remedy(self.arch);
            let probe = Command::new(tool::need("arch-test", &remedy)?).arg(self.arch.debian());
            anyhow::ensure!(
                shell.run(&probe).await?.succeeded(),
                "{} programs do not run on this host, which making an image of them needs: {remedy} sets up qemu-user",
                self.arch
            );
        }
        let mirror = mirror::address(context.settings.mirror.as_deref(), Path::new("/etc/apt"));
        mirror::reach(&shell, &mirror, self.distribution, work).await?;
        progress.say(format!("{} ({}): made once from {mirror}", self.what, self.arch));
        self.install(&shell, &programs, &mirror, context, work).await?;
        let listed = fs::read_to_string(work.join(LISTED)).context("mmdebstrap did not list what it installed")?;
        Ok(Manifest {
            key: self.key.to_owned(),
            distribution: self.distribution.name().to_owned(),
            architecture: self.arch.debian().to_owned(),
            built: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            seconds: started.elapsed().as_secs_f64().round(),
            mirror,
            packages: versions(&listed),
        })
    }

    async fn install(
        &self,
        shell: &Shell,
        programs: &Programs,
        mirror: &str,
        context: &Context,
        work: &Path,
    ) -> anyhow::Result<()> {
        // Mounts of the host's own devices that go with the build, even if it is killed.
        let apart = [programs.unshare.as_str(), "--mount", "--propagation", "private", "--"].map(str::to_owned);
        let probe = Command::new(programs.unshare.as_str()).args(apart[1..].iter().cloned()).arg("true");
        // Where that is not allowed nothing can be mounted either, and mmdebstrap does without.
        let apart = if shell.run(&probe).await?.succeeded() { apart.to_vec() } else { Vec::new() };
        let list = format!(
            "{} --admindir=\"$1/var/lib/dpkg\" --show --showformat='${{Package}} ${{Version}}\\n' >{}",
            quote(&programs.dpkg_query),
            quote(&work.join(LISTED).display().to_string())
        );
        let build = vec![
            // Its own temporary files go with the folder, even if it is killed.
            "env".to_owned(),
            format!("TMPDIR={}", work.display()),
            programs.mmdebstrap.clone(),
            "--mode=root".to_owned(),
            format!("--architectures={}", self.arch),
            "--variant=minbase".to_owned(),
            format!("--include={}", self.packages.join(",")),
            format!("--customize-hook={list}"),
        ];
        let place = [self.distribution.suite().to_owned(), work.join(self.target).display().to_string()];
        let argv = [apart, build, self.options.clone(), place.to_vec(), vec![mirror.to_owned()]].concat();
        let (started, log) = (Instant::now(), work.join(LOG));
        let child = Child::start(&argv, &log, &context.ledger)?;
        let read = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = tokio::time::sleep(BEAT) => {
                    let seconds = started.elapsed().as_secs_f64();
                    context.progress.say(format!("{} {}: {} ({seconds:.0} s)", self.what, self.arch, stage(&read())));
                }
            }
            anyhow::ensure!(
                started.elapsed() < LIMIT,
                "the {} was not made within {LIMIT:?}; last: {}",
                self.what,
                tail(&read(), 5)
            );
        };
        let said = read();
        let failed = || format!("mmdebstrap ended with {status} while {}: {}", stage(&said), tail(&said, 10));
        anyhow::ensure!(status == Status::Code(0), failed());
        Ok(())
    }
}

/// What systems are made with.
#[derive(Debug)]
pub(crate) struct Programs {
    mmdebstrap: String,
    dpkg_query: String,
    unshare: String,
}

/// Finds what systems are made with, and checks that they may be made and that `folder` has room.
///
/// # Errors
/// Something is missing; the error names it and the remedy.
pub(crate) fn check_host(what: &str, arch: Arch, room: Bytes, folder: &Path) -> anyhow::Result<Programs> {
    let remedy = remedy(arch);
    let programs = Programs {
        mmdebstrap: tool::need("mmdebstrap", &remedy)?,
        dpkg_query: tool::need("dpkg-query", &remedy)?,
        unshare: tool::need("unshare", &remedy)?,
    };
    let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
    anyhow::ensure!(keyring.exists(), "debian-archive-keyring is not installed: {remedy} does that");
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "making a {what} needs root: run `sudo -E ci/e2e` once (it is then kept in {}), or set ASSAY_CACHE to a folder \
         that holds one",
        folder.display()
    );
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let space = rustix::fs::statvfs(folder)?;
    let free = Bytes(space.f_bavail.saturating_mul(space.f_frsize));
    anyhow::ensure!(
        free >= room,
        "{} has {free} left and making a {what} takes {room}: free some space or set ASSAY_CACHE",
        folder.display()
    );
    Ok(programs)
}

fn versions(listed: &str) -> BTreeMap<String, String> {
    let pairs = listed.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(package, version)| (package.to_owned(), version.to_owned())).collect()
}

/// What mmdebstrap is at, from its own words: the last line that says so, without its dots.
fn stage(log: &str) -> String {
    let doing = |line: &&str| {
        line.starts_with("I: ")
            && ["running", "downloading", "extracting", "installing", "cleaning"]
                .iter()
                .any(|verb| line[3..].starts_with(verb))
    };
    let line = log.lines().rev().find(doing).map_or("starting", |line| &line[3..]);
    let line = line.split(" in shell").next().unwrap_or(line);
    line.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = include_str!("../../fixtures/facts/mmdebstrap.txt");

    #[test]
    fn a_build_says_what_it_is_at() {
        let at = |end: &str| stage(&LOG[..LOG.find(end).unwrap() + end.len()]);
        assert_eq!(stage(""), "starting");
        assert_eq!(at("extracting archives...\n"), "extracting archives");
        assert_eq!(
            at("installing remaining packages inside the chroot...\n"),
            "installing remaining packages inside the chroot"
        );
        assert_eq!(at("exec /root\n"), "running --setup-hook");
        assert_eq!(stage(LOG), "cleaning package lists and apt cache");
        assert_eq!(versions("crun 1.21-1\nbash 5.2\n")["crun"], "1.21-1");
    }

    #[test]
    fn a_host_without_room_is_told_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let error = check_host("system", Arch::host().unwrap(), Bytes(u64::MAX), folder.path()).unwrap_err();
        let error = error.to_string();
        // Where this is tested without root or without mmdebstrap, that is told first.
        let told = ["takes 18446744073.7 GB: free some space", "needs root", "is not installed"];
        assert!(told.iter().any(|text| error.contains(text)), "{error}");
    }
}
