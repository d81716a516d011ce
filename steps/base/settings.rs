//! The only place that reads environment variables; everything else takes [`Settings`].

use std::env;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::Context as _;

use crate::base::embedded;

/// What replaces AWS in tests without an account: a server that imitates the API but starts no machines, and the SSH
/// server that stands for an instance. The SDK itself also reads `AWS_ENDPOINT_URL` and similar variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeAws {
    /// The endpoint used instead of AWS's API (`AWS_ENDPOINT_URL_EC2`, else `AWS_ENDPOINT_URL`).
    pub endpoint: Option<String>,
    /// The SSH server of the only instance, as `host:port` (`ASSAY_EC2_SSH`).
    pub ssh: Option<String>,
    /// The registry used as `public.ecr.aws`, as `host:port` (`ASSAY_ECR_REGISTRY`).
    pub registry: Option<String>,
}

impl FakeAws {
    pub fn any(&self) -> bool {
        self != &FakeAws::default()
    }
}

/// A cloud image that virtual machines run in place of a platform (`--disk`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudDisk {
    /// The path of its file, or the URL that it is fetched from once.
    pub source: String,
    pub sha256: String,
    /// The .deb or .rpm files to install, each with its SHA-256; if there are none, the image's own archive has the packages.
    pub packages: Vec<(PathBuf, String)>,
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// The project's folder, which contains features, guests and fixtures: the `checkout`, else the folder of the files
    /// that the program carries.
    pub root: PathBuf,
    /// The SHA-256 of the files that the program carries, if `root` holds those.
    pub embedded: Option<String>,
    /// The folder of cached machine images (`ASSAY_CACHE`, else `$XDG_CACHE_HOME/assay`, else `~/.cache/assay`).
    pub cache: PathBuf,
    /// The folder of runs and their evidence: `target/assay` of the checkout, else of the current folder.
    pub runs: PathBuf,
    /// The user's home folder (`HOME`), whose `.ssh` is used to log in to a remote machine.
    pub home: Option<PathBuf>,
    pub agent: Option<PathBuf>,
    /// The target if no option names one (`ASSAY_TARGET`).
    pub target: Option<String>,
    /// The platform of machines if no option names one (`ASSAY_PLATFORM`): a name, or a file of the user's own.
    pub platform: Option<String>,
    pub disk: Option<CloudDisk>,
    /// The file with the annex's text, if no option names one (`ASSAY_ANNEX`).
    pub annex: Option<PathBuf>,
    /// The package mirror for building machines (`ASSAY_MIRROR`), else the host's own.
    pub mirror: Option<String>,
    /// The registry image to use (`ASSAY_REGISTRY_IMAGE`), else one is built from Debian's package.
    pub registry_image: Option<String>,
    /// The file for a CI job's summary (`GITHUB_STEP_SUMMARY`).
    pub job_summary: Option<PathBuf>,
    /// The address that cloud instances accept (`ASSAY_EC2_CALLER`), else this host's address as AWS sees it.
    pub caller: Option<String>,
    /// The AWS region from the environment (`AWS_REGION`, else `AWS_DEFAULT_REGION`). The SDK may take another one from
    /// its profile.
    pub region: Option<String>,
    pub fake_aws: FakeAws,
    /// Values of variables whose names mark them as secrets: they must never reach the evidence.
    pub secrets: Vec<String>,
}

impl Settings {
    pub fn read() -> anyhow::Result<Settings> {
        let cache = match (variable("ASSAY_CACHE"), variable("XDG_CACHE_HOME"), variable("HOME")) {
            (Some(own), ..) => PathBuf::from(own),
            (_, Some(cache), _) => PathBuf::from(cache).join("assay"),
            (.., Some(home)) => PathBuf::from(home).join(".cache/assay"),
            _ => anyhow::bail!("there is no home folder to keep machine images in: set HOME or ASSAY_CACHE"),
        };
        let (root, below, embedded) = match checkout() {
            Some(root) => {
                anyhow::ensure!(
                    root.join("features").is_dir(),
                    "{} is not the project's folder, for it has no features/: set ASSAY_ROOT to the one that has",
                    root.display()
                );
                (root.to_owned(), root.to_owned(), None)
            }
            None => {
                let here = env::current_dir().context("cannot find the current folder")?;
                (embedded::unpack(&cache)?, here, Some(embedded::digest().to_owned()))
            }
        };
        Ok(Settings {
            runs: below.join("target/assay"),
            root,
            embedded,
            cache,
            home: variable("HOME").map(PathBuf::from),
            agent: variable("SSH_AUTH_SOCK").map(PathBuf::from),
            target: variable("ASSAY_TARGET"),
            platform: variable("ASSAY_PLATFORM"),
            disk: None,
            annex: variable("ASSAY_ANNEX").map(PathBuf::from),
            mirror: variable("ASSAY_MIRROR"),
            registry_image: variable("ASSAY_REGISTRY_IMAGE"),
            job_summary: variable("GITHUB_STEP_SUMMARY").map(PathBuf::from),
            caller: variable("ASSAY_EC2_CALLER"),
            region: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
            fake_aws: FakeAws {
                endpoint: variable("AWS_ENDPOINT_URL_EC2").or_else(|| variable("AWS_ENDPOINT_URL")),
                ssh: variable("ASSAY_EC2_SSH"),
                registry: variable("ASSAY_ECR_REGISTRY"),
            },
            secrets: env::vars_os().filter_map(|(name, value)| secret(name.to_str()?, value.to_str()?)).collect(),
        })
    }

    /// Returns the same settings with a platform, if one is given.
    pub fn on_platform(&self, platform: Option<String>) -> Settings {
        Settings { platform: platform.or(self.platform.clone()), ..self.clone() }
    }

    /// Returns the same settings for machines of another architecture than the cloud image has, if there is one.
    pub fn without_disk(&self) -> Settings {
        Settings { disk: None, ..self.clone() }
    }

    pub fn journals(&self) -> PathBuf {
        self.cache.join("journals")
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns the checkout that this program works in: `ASSAY_ROOT`, else the folder it was built from, if the program or
/// the current folder is in it. An installed program works in none.
pub fn checkout() -> Option<&'static Path> {
    static CHECKOUT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR"));
        let inside = || works_in(built_from, &env::current_exe().ok()?, &env::current_dir().ok()?);
        variable("ASSAY_ROOT").map(PathBuf::from).or_else(|| inside()?.then(|| built_from.to_owned()))
    });
    CHECKOUT.as_deref()
}

/// Returns whether a folder is the project's, and either the program was built in it or the current folder is in it.
fn works_in(folder: &Path, program: &Path, current: &Path) -> Option<bool> {
    let folder = folder.canonicalize().ok()?;
    let is_project = folder.join("features").is_dir() && folder.join("Cargo.toml").is_file();
    Some(is_project && (program.starts_with(folder.join("target")) || current.starts_with(&folder)))
}

/// Returns a variable's value if its name marks it as a secret. Redacting a very short value would hide half the text.
fn secret(name: &str, value: &str) -> Option<String> {
    (secret_variable(name) && value.len() >= 6).then(|| value.to_owned())
}

/// Returns whether the terminal cannot move its cursor, or its user wants plain lines.
pub fn plain_terminal() -> bool {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_some() || set("TERM").is_none_or(|kind| kind == "dumb")
}

/// Returns whether a variable's name marks its value as a secret. The path or address of a secret is not one.
pub fn secret_variable(name: &str) -> bool {
    const WORDS: &str = "SECRET TOKEN PASSWORD PASSWD PASSPHRASE PRIVATE_KEY API_KEY ACCESS_KEY CREDENTIAL AUTHORIZATION \
        COOKIE USER_DATA";
    const PLACES: [&str; 5] = ["_FILE", "_PATH", "_DIR", "_URI", "_URL"];
    let name = name.to_uppercase();
    WORDS.split_whitespace().any(|word| name.contains(word)) && !PLACES.iter().any(|place| name.ends_with(place))
}

/// Returns the folders with programs: `PATH`, and the `sbin` folders that an ordinary user's `PATH` lacks.
pub fn program_folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_program_uses_the_checkout_only_from_inside() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().canonicalize().unwrap();
        let [built, installed, elsewhere] = ["target/debug/assay", "inst/bin/assay", ""].map(|name| project.join(name));
        let outside = Path::new("/");
        assert_eq!(works_in(&project, &built, outside), Some(false), "it is not a checkout yet");
        std::fs::create_dir(project.join("features")).unwrap();
        std::fs::write(project.join("Cargo.toml"), "").unwrap();
        assert_eq!(works_in(&project, &built, outside), Some(true));
        assert_eq!(works_in(&project, &installed, outside), Some(false));
        assert_eq!(works_in(&project, &installed, &elsewhere.join("features")), Some(true));
        assert_eq!(works_in(&project.join("gone"), &built, outside), None);
    }

    #[test]
    fn secrets_are_known_by_the_names_of_their_variables() {
        assert_eq!(secret("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"), Some("wJalrXUtnFEMI".to_owned()));
        assert_eq!(secret("ci_registry_token", "abcdefgh"), Some("abcdefgh".to_owned()));
        assert_eq!(secret("PATH", "/usr/bin:/bin"), None);
        assert_eq!(secret("TOKEN", "yes"), None);
    }
}
