//! Pushes to and pulls from a registry with stock Podman: with a login, and verifiably without one.

mod http;
mod local;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

pub use local::{LocalRegistry, MADE, image, password, point_testcontainers_at, runtime, socket, trial};

use crate::exec::command::{Command, Output, tail};
use crate::exec::shell::ShellError;
use crate::targets::cloud::Denial;
use crate::workloads::{BuildDir, ContainerImage, PULL_LIMIT, Storage, tls};

/// The pauses before further attempts if a registry refuses only for the moment.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

impl Denial {
    fn is_momentary(&self) -> bool {
        matches!(self, Denial::Other(text) if is_momentary(text))
    }

    fn of(printed: &str) -> Denial {
        const SIGNS: [&str; 7] = [
            "unauthorized",
            "authentication required",
            "invalid username/password",
            "denied",
            "code: 403",
            "403 (forbidden)",
            "code: 405",
        ];
        // Log lines are not the error, even if they come last.
        let text: Vec<&str> = printed.lines().filter(|line| !line.starts_with("time=\"")).collect();
        let text = tail(&text.join("\n"), 1);
        // "permission denied" is about this host's files, not from a registry.
        let answer = text.to_lowercase().replace("permission denied", "");
        match SIGNS.iter().any(|sign| answer.contains(sign)) {
            true => Denial::Unauthorized(text),
            false => Denial::Other(text),
        }
    }
}

/// Returns whether the same request may succeed in a moment: a registry limited the rate of requests, or had an error of its
/// own, as one has while the same tag is being written.
pub fn is_momentary(printed: &str) -> bool {
    const SIGNS: [&str; 3] = ["toomanyrequests", "too many requests", "unexpected http status: 5"];
    SIGNS.iter().any(|sign| printed.to_lowercase().contains(sign))
}

impl From<ShellError> for Denial {
    fn from(error: ShellError) -> Self {
        Denial::Other(error.to_string())
    }
}

impl From<anyhow::Error> for Denial {
    fn from(error: anyhow::Error) -> Self {
        Denial::Other(format!("{error:#}"))
    }
}

/// A login that a registry accepted: the file in which Podman keeps it.
#[derive(Clone, Debug)]
pub struct RegistryLogin {
    auth_file: PathBuf,
}

/// An image that was pulled without any credentials, with the evidence for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The digest of its manifest as it arrived.
    pub digest: String,
    /// The digest of its configuration.
    pub config_digest: String,
    /// The whole environment of the pull, as `env` prints it.
    pub environment: String,
    /// The contents of the only file in which Podman looked for credentials.
    pub auth_file: String,
    /// Whether Podman found credentials nevertheless, and the source of its token.
    pub token: String,
    pub wall: Duration,
}

/// Logs in at `host`. The password goes through standard input, so that no process list shows it.
pub async fn login(build_dir: &BuildDir, host: &str, user: &str, password: &str) -> Result<RegistryLogin, Denial> {
    let auth_file = build_dir.subfolder("login")?.join("auth.json");
    let command = Command::new("podman").args(["login", tls(host), "--username", user, "--password-stdin"]);
    let command = command.args(["--authfile", &auth_file.to_string_lossy(), host]).stdin(password);
    accepted(build_dir.shell.run(&command).await?)?;
    Ok(RegistryLogin { auth_file })
}

/// Pushes an image with a login, and returns the registry's digest of it.
pub async fn push(
    build_dir: &BuildDir,
    image: &ContainerImage,
    login: &RegistryLogin,
    reference: &str,
) -> Result<String, Denial> {
    let auth_file = login.auth_file.to_string_lossy();
    let log_in = |command: Command| command.env("REGISTRY_AUTH_FILE", auth_file.clone());
    patiently(Denial::is_momentary, async || push_by(build_dir, image, reference, &log_in).await).await
}

pub async fn push_anonymously(build_dir: &BuildDir, image: &ContainerImage, reference: &str) -> Result<String, Denial> {
    anonymously(build_dir, async |user| push_by(build_dir, image, reference, |command| user.runs(command)).await).await
}

/// Acts as a user without any credentials, patiently.
async fn anonymously<T>(
    build_dir: &BuildDir,
    act: impl AsyncFn(&AnonymousUser) -> Result<T, Denial>,
) -> Result<T, Denial> {
    patiently(Denial::is_momentary, async || {
        let user = AnonymousUser::new(build_dir)?;
        let answer = act(&user).await;
        user.leave(build_dir).await;
        answer
    })
    .await
}

/// Asks again if an answer is only for the moment: ECR Public allows one request a second without credentials.
pub async fn patiently<T, E>(momentary: impl Fn(&E) -> bool, ask: impl AsyncFn() -> Result<T, E>) -> Result<T, E> {
    for pause in PAUSES {
        match ask().await {
            Err(refusal) if momentary(&refusal) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    ask().await
}

async fn push_by(
    build_dir: &BuildDir,
    image: &ContainerImage,
    reference: &str,
    by: impl FnOnce(Command) -> Command,
) -> Result<String, Denial> {
    let file = build_dir.subfolder("push")?.join("digest");
    let digest_file = file.to_string_lossy();
    let push = ["push", "--quiet", tls(reference), "--digestfile", &digest_file, &image.reference, reference];
    accepted(build_dir.shell.run(&by(image.podman(&push))).await?)?;
    let digest = fs::read_to_string(&file).with_context(|| format!("cannot read {digest_file}"))?;
    Ok(digest.trim().to_owned())
}

/// Pulls an image without any credentials into an empty storage, and inspects it there.
pub async fn pull_anonymously(build_dir: &BuildDir, reference: &str) -> Result<Pull, Denial> {
    anonymously(build_dir, async |user| pull_by(build_dir, user, reference).await).await
}

async fn pull_by(build_dir: &BuildDir, anonymous: &AnonymousUser, reference: &str) -> Result<Pull, Denial> {
    let storage = Storage::new(build_dir)?;
    let environment = build_dir.shell.read(&anonymous.runs(Command::new("env"))).await?;
    // The log shows where Podman looked for credentials, and where it got a token.
    let pull = storage.podman(&["--log-level=debug", "pull", "--quiet", tls(reference), reference]);
    let pull = pull.time_limit(PULL_LIMIT);
    let pulled = accepted(build_dir.shell.run(&anonymous.runs(pull)).await?)?;
    let inspect = storage.podman(&["image", "inspect", reference]);
    let inspected = build_dir.shell.read(&anonymous.runs(inspect)).await?;
    let (digest, config_digest) = digests(&inspected)?;
    Ok(Pull {
        digest,
        config_digest,
        environment,
        auth_file: fs::read_to_string(anonymous.auth_file()).context("cannot read the empty auth file")?,
        token: token(&pulled.errors()),
        wall: pulled.wall,
    })
}

fn accepted(output: Output) -> Result<Output, Denial> {
    match output.succeeded() {
        true => Ok(output),
        false => Err(Denial::of(&output.errors())),
    }
}

/// Reads from Podman's log how it was authorized to pull.
fn token(log: &str) -> String {
    let found = if log.contains("No credentials for ") { "no credentials" } else { "perhaps credentials" };
    // All other requests are below /v2/.
    let asked = log.lines().filter_map(|line| Some(line.split_once("msg=\"GET ")?.1.split_once('"')?.0));
    match asked.into_iter().find(|url| !url.contains("/v2/")) {
        Some(url) => format!("{found}; token from {url}"),
        None => format!("{found}; no token"),
    }
}

/// Reads the digests of manifest and configuration from the output of `podman image inspect`.
fn digests(inspected: &str) -> anyhow::Result<(String, String)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inspected {
        id: String,
        digest: String,
    }
    let [image]: [Inspected; 1] =
        serde_json::from_str(inspected).context("podman inspects something else than one image")?;
    Ok((image.digest, format!("sha256:{}", image.id)))
}

/// A user with an empty home, an empty auth file, and nothing else in the environment.
#[derive(Debug)]
struct AnonymousUser(PathBuf);

impl AnonymousUser {
    fn new(build_dir: &BuildDir) -> anyhow::Result<AnonymousUser> {
        let folder = build_dir.subfolder("anonymous")?;
        let make = || {
            for name in ["home", "run"] {
                fs::create_dir(folder.join(name))?;
            }
            fs::set_permissions(folder.join("run"), fs::Permissions::from_mode(0o700))?;
            fs::write(folder.join("auth.json"), "{}\n")
        };
        make().with_context(|| format!("cannot write to {}", folder.display()))?;
        Ok(AnonymousUser(folder))
    }

    fn auth_file(&self) -> PathBuf {
        self.0.join("auth.json")
    }

    fn runs(&self, command: Command) -> Command {
        let inside = |name: &str| self.0.join(name).to_string_lossy().into_owned();
        command
            .isolated()
            .env("HOME", inside("home"))
            .env("XDG_RUNTIME_DIR", inside("run"))
            .env("REGISTRY_AUTH_FILE", inside("auth.json"))
    }

    /// Kills the process that rootless Podman leaves behind to hold its user namespace.
    async fn leave(&self, build_dir: &BuildDir) {
        if let Ok(pid) = fs::read_to_string(self.0.join("run/libpod/tmp/pause.pid")) {
            let _ = build_dir.shell.run(&Command::new("kill").arg(pid.trim())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_differs_from_a_missing_answer() {
        let refused = [
            "Error: initializing source docker://127.0.0.1:5001/a:1: reading manifest 1 in 127.0.0.1:5001/a: unauthorized: authentication required",
            "Error: writing blob: initiating layer upload to /v2/assay/hello/blobs/uploads/ in 127.0.0.1:35683: StatusCode: 405, Method not allowed",
            "Error: authenticating creds for \"127.0.0.1:5001\": invalid username/password",
            "Error: writing blob: initiating layer upload to /v2/a/blobs/uploads/ in public.ecr.aws: denied: Not Authorized",
        ];
        for printed in refused {
            assert!(matches!(Denial::of(printed), Denial::Unauthorized(_)), "{printed}");
        }
        // What Podman logs is not an answer of a registry.
        let logged =
            "time=\"x\" level=debug msg=\"GET /v2/\"\nError: denied: Not Authorized\ntime=\"x\" msg=\"over\"\n";
        assert_eq!(Denial::of(logged), Denial::Unauthorized("Error: denied: Not Authorized".to_owned()));
        let other = [
            "Error: initializing source docker://127.0.0.1:1/a: pinging container registry 127.0.0.1:1: Get \"https://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
            "Error: initializing source docker://127.0.0.1:5000/a:1: reading manifest 1 in 127.0.0.1:5000/a: manifest unknown: manifest unknown",
            "Error: reading manifest: toomanyrequests: Rate exceeded",
            "Error: open /var/lib/containers/storage/storage.lock: permission denied",
            "",
        ];
        for printed in other {
            assert!(matches!(Denial::of(printed), Denial::Other(_)), "{printed}");
        }
    }

    #[tokio::test]
    async fn only_a_registry_that_limits_the_rate_or_has_an_error_of_its_own_is_asked_again() {
        let asked = std::cell::Cell::new(0);
        let answer = patiently(Denial::is_momentary, async || {
            asked.set(asked.get() + 1);
            Err::<(), _>(match asked.get() {
                1 => Denial::of("Error: reading manifest 1: toomanyrequests: Rate exceeded"),
                2 => Denial::of(
                    "Error: initializing source docker://public.ecr.aws/a/b:1: too many requests to registry",
                ),
                3 => Denial::of(
                    "Error: reading manifest 1 in 127.0.0.1:1/a/b: received unexpected HTTP status: 500 Internal Server Error",
                ),
                _ => Denial::of("Error: reading manifest 1 in public.ecr.aws/a/b: name unknown: no such repository"),
            })
        });
        assert!(matches!(answer.await, Err(Denial::Other(text)) if text.contains("name unknown")));
        assert_eq!(asked.get(), 4);
        assert!(!Denial::Unauthorized("too many requests".to_owned()).is_momentary());
    }

    #[test]
    fn the_log_of_a_pull_shows_credentials_and_the_token() {
        let line = |text: &str| format!("time=\"x\" level=debug msg=\"{text}\"\n");
        let none = line("No credentials for public.ecr.aws/a/b found");
        let asked =
            line("GET https://public.ecr.aws/v2/") + &line("GET https://public.ecr.aws/token/?service=public.ecr.aws");
        let url = "https://public.ecr.aws/token/?service=public.ecr.aws";
        assert_eq!(token(&(none.clone() + &asked)), format!("no credentials; token from {url}"));
        assert_eq!(token(&asked), format!("perhaps credentials; token from {url}"));
        assert_eq!(token(&(none + &line("GET http://127.0.0.1:5000/v2/a/manifests/1"))), "no credentials; no token");
    }

    #[test]
    fn digests_are_read_from_what_podman_inspects() {
        let inspected = r#"[{"Id": "aa", "Digest": "sha256:bb", "RepoTags": ["x"]}]"#;
        assert_eq!(digests(inspected).unwrap(), ("sha256:bb".to_owned(), "sha256:aa".to_owned()));
        assert!(digests("[]").is_err());
    }
}
