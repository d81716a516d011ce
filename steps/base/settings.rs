//! The only reader of environment variables: everything else is told.

use std::env;
use std::path::PathBuf;

use crate::base::redact::secret_variable;

/// What stands in for AWS where there is no account: a server of the API that hands out no machines, and an address at
/// which there is one all the same. The SDK itself reads `AWS_ENDPOINT_URL` and its like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeAws {
    /// Where the API is asked instead of AWS (`AWS_ENDPOINT_URL_EC2`, else `AWS_ENDPOINT_URL`).
    pub endpoint: Option<String>,
    /// The SSH server of the one instance, as `host:port` (`ASSAY_EC2_SSH`).
    pub ssh: Option<String>,
    /// The registry behind `public.ecr.aws`, as `host:port` (`ASSAY_ECR_REGISTRY`).
    pub registry: Option<String>,
}

impl FakeAws {
    /// Whether anything here is not AWS's own.
    pub fn any(&self) -> bool {
        self != &FakeAws::default()
    }
}

/// What the surroundings say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The project's folder, which features, guests and fixtures are found below (`ASSAY_ROOT`, else the one this was
    /// built from).
    pub root: PathBuf,
    /// Where machine images are kept between runs (`ASSAY_CACHE`, else `$XDG_CACHE_HOME/assay`, else `~/.cache/assay`).
    pub cache: PathBuf,
    /// Where runs and their evidence go: `target/assay` of the project.
    pub runs: PathBuf,
    /// The user's home folder (`HOME`), with the `.ssh` by which somebody else's machine is entered.
    pub home: Option<PathBuf>,
    /// The socket of the user's SSH agent (`SSH_AUTH_SOCK`).
    pub agent: Option<PathBuf>,
    /// The target, where no option names one (`ASSAY_TARGET`).
    pub target: Option<String>,
    /// The package mirror machines are built from (`ASSAY_MIRROR`), else the host's own.
    pub mirror: Option<String>,
    /// A registry's image to use (`ASSAY_REGISTRY_IMAGE`), else one is made from Debian's package.
    pub registry_image: Option<String>,
    /// Where a CI job's summary goes (`GITHUB_STEP_SUMMARY`).
    pub job_summary: Option<PathBuf>,
    /// The address that instances in the cloud let in (`ASSAY_EC2_CALLER`), else the one AWS sees this host under.
    pub caller: Option<String>,
    /// The region of AWS that the surroundings name (`AWS_REGION`, else `AWS_DEFAULT_REGION`). The SDK may know another
    /// one by its profile.
    pub region: Option<String>,
    /// What stands in for AWS, in tests of this project.
    pub stand_in: FakeAws,
    /// Values of variables that are secrets by their names: they must never reach the evidence.
    pub secrets: Vec<String>,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// Where there is neither `ASSAY_CACHE` nor a home folder, or no project's folder.
    pub fn read() -> anyhow::Result<Settings> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let cache = match (variable("ASSAY_CACHE"), variable("XDG_CACHE_HOME"), variable("HOME")) {
            (Some(own), ..) => PathBuf::from(own),
            (_, Some(cache), _) => PathBuf::from(cache).join("assay"),
            (.., Some(home)) => PathBuf::from(home).join(".cache/assay"),
            _ => anyhow::bail!("there is no home folder to keep machine images in: set HOME or ASSAY_CACHE"),
        };
        let root = PathBuf::from(variable("ASSAY_ROOT").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").to_owned()));
        anyhow::ensure!(
            root.join("features").is_dir(),
            "{} is not the project's folder, for it has no features/: set ASSAY_ROOT to the one that has",
            root.display()
        );
        Ok(Settings {
            runs: root.join("target/assay"),
            root,
            cache,
            home: variable("HOME").map(PathBuf::from),
            agent: variable("SSH_AUTH_SOCK").map(PathBuf::from),
            target: variable("ASSAY_TARGET"),
            mirror: variable("ASSAY_MIRROR"),
            registry_image: variable("ASSAY_REGISTRY_IMAGE"),
            job_summary: variable("GITHUB_STEP_SUMMARY").map(PathBuf::from),
            caller: variable("ASSAY_EC2_CALLER"),
            region: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
            stand_in: FakeAws {
                endpoint: variable("AWS_ENDPOINT_URL_EC2").or_else(|| variable("AWS_ENDPOINT_URL")),
                ssh: variable("ASSAY_EC2_SSH"),
                registry: variable("ASSAY_ECR_REGISTRY"),
            },
            secrets: env::vars_os().filter_map(|(name, value)| secret(name.to_str()?, value.to_str()?)).collect(),
        })
    }
}

/// The value of a variable whose name says that it is a secret; what is too short to be one would hide half the text.
fn secret(name: &str, value: &str) -> Option<String> {
    (secret_variable(name) && value.len() >= 6).then(|| value.to_owned())
}

/// Where programs are: in `PATH`, and in the `sbin` folders, which an ordinary user's own `PATH` lacks.
pub fn program_folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_the_names_of_their_variables() {
        assert_eq!(secret("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"), Some("wJalrXUtnFEMI".to_owned()));
        assert_eq!(secret("ci_registry_token", "abcdefgh"), Some("abcdefgh".to_owned()));
        assert_eq!(secret("PATH", "/usr/bin:/bin"), None);
        assert_eq!(secret("TOKEN", "yes"), None);
    }
}
