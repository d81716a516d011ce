//! Starts the run's own registry on this host: one storage, two ports. The closed port needs a login and takes pushes;
//! the open one lets anyone pull but takes no pushes, like the annex's public registry.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use testcontainers::core::Mount;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

use super::{Denial, RegistryLogin, http, login};
use crate::base::commands;
use crate::base::digest::hex;
use crate::base::poll::{Look, until};
use crate::base::procfs;
use crate::base::progress::Progress;
use crate::base::settings;
use crate::exec::cleanup::Resource;
use crate::exec::command::{Command, tail};
use crate::targets::{Child, private};
use crate::workloads::{BuildDir, PULL_LIMIT};

/// The Debian release of the registry's package.
const SUITE: &str = "trixie";

/// The name in the user's storage of a registry image made from that package, which is kept for later runs.
pub const MADE: &str = "localhost/assay/registry:trixie";

const MAKE: &str = include_str!("../../../fixtures/registry/image.sh");
const RUNC: &str = include_str!("../../../fixtures/registry/runc.conf");
const OPEN: &str = include_str!("../../../fixtures/registry/open.yml");
const CLOSED: &str = include_str!("../../../fixtures/registry/closed.yml");

/// The user that may push.
const USER: &str = "assay";

/// The time limit of a start: an emulated CPU may be compiling at the same time.
const START: Duration = Duration::from_secs(240);

/// How many ports are tried if one turns out to be in use.
const ATTEMPTS: usize = 5;

/// Returns the path of the socket of this process's Podman service, in a folder of its own.
pub fn socket() -> PathBuf {
    PathBuf::from(format!("/tmp/assay-podman-{}/podman.sock", std::process::id()))
}

/// Tells testcontainers which Podman to use, by its only means, this process's environment.
pub fn point_testcontainers_at(socket: &Path) -> anyhow::Result<()> {
    let threads = fs::read_dir("/proc/self/task").context("cannot count this process's threads")?.count();
    ensure!(threads == 1, "testcontainers is pointed at podman too late: {threads} threads already run");
    #[expect(unsafe_code, reason = "testcontainers takes its host from nowhere else")]
    // SAFETY: this is the only thread, so nothing else reads the environment meanwhile.
    unsafe {
        std::env::set_var("DOCKER_HOST", format!("unix://{}", socket.display()));
    }
    Ok(())
}

/// Returns a registry's image: the given one, or one made from Debian's package, now or by an earlier run.
pub async fn image(
    build_dir: &BuildDir,
    given: Option<&str>,
    mirror: &str,
    progress: &Progress,
) -> anyhow::Result<String> {
    let name = given.unwrap_or(MADE);
    let exists = Command::new("podman").args(["image", "exists", name]);
    if build_dir.shell.run(&exists).await?.succeeded() {
        return Ok(name.to_owned());
    }
    if given.is_some() {
        progress.note(format!("registry: pulling {name}"));
        let pull = Command::new("podman").args(["pull", "--quiet", name]).time_limit(PULL_LIMIT);
        build_dir.shell.read(&pull).await.with_context(|| format!("registry image {name} is not to be had"))?;
    } else {
        progress.note(format!("registry: making {MADE} from Debian's package, once"));
        let folder = build_dir.subfolder("registry-image")?;
        let make = Command::script(MAKE, &[MADE, SUITE, mirror, &folder.to_string_lossy()]).time_limit(PULL_LIMIT);
        build_dir.shell.read(&make).await.with_context(|| {
            format!("registry image {MADE} cannot be made from {mirror}: set ASSAY_REGISTRY_IMAGE to another")
        })?;
    }
    Ok(name.to_owned())
}

pub struct LocalRegistry {
    /// Host and port that let anyone pull.
    pub open: String,
    /// Host and port that take pushes with a login.
    pub closed: String,
    pub login: RegistryLogin,
    password: String,
    // Dropping these ends them.
    containers: [ContainerAsync<GenericImage>; 2],
    _service: Child,
}

impl LocalRegistry {
    /// Starts a registry that takes pushes with this password. [`point_testcontainers_at`] must have been called with
    /// its [`socket`].
    pub async fn start(build_dir: &BuildDir, image: &str, password: &str) -> anyhow::Result<LocalRegistry> {
        tracing::info!("registry: starting");
        let folder = build_dir.folder.join("registry");
        fs::create_dir_all(folder.join("storage")).with_context(|| format!("cannot create {}", folder.display()))?;
        let hash = bcrypt::hash(password, 5).context("cannot hash the registry's password")?;
        fs::write(folder.join("htpasswd"), format!("{USER}:{hash}\n"))?;

        let runtime = runtime(build_dir, image, &folder).await?;
        let service = serve(build_dir, runtime.as_deref()).await?;
        let (open, first) = start_on_a_free_port(build_dir, image, "open", OPEN, 200).await?;
        let (closed, second) = start_on_a_free_port(build_dir, image, "closed", CLOSED, 401).await?;
        let login = login(build_dir, &closed, USER, password).await?;
        tracing::info!("registry: pulls from {open}, pushes to {closed}");
        let password = password.to_owned();
        Ok(LocalRegistry { open, closed, login, password, containers: [first, second], _service: service })
    }

    /// Returns how many bytes of a repository anyone has been served, without HTTP's headers, once at least `parts` of it
    /// were, and the lines of the registry's log that say so.
    pub async fn served(&self, repository: &str, parts: usize) -> anyhow::Result<(u64, Vec<String>)> {
        let (limit, pause) = (Duration::from_secs(10), Duration::from_millis(100));
        until(format!("the log of {parts} pulled parts of {repository}"), limit, pause, async || {
            let log = self.containers[0].stdout_to_vec().await.context("cannot read the registry's log")?;
            let (bytes, lines) = served(&String::from_utf8_lossy(&log), repository);
            Ok(match lines.len() >= parts {
                true => Look::Done((bytes, lines)),
                false => Look::Waiting(format!("{} lines", lines.len())),
            })
        })
        .await
    }

    /// Puts a text in place of a manifest, with a login.
    pub async fn put_text(&self, name: &str, tag: &str, text: &str) -> Result<(), Denial> {
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{}", self.password));
        let headers = [
            format!("Authorization: Basic {login}"),
            "Content-Type: application/vnd.oci.image.manifest.v1+json".to_owned(),
        ];
        let answer = http::ask(&self.closed, &format!("PUT /v2/{name}/manifests/{tag}"), &headers, text).await?;
        match answer.status {
            201 => Ok(()),
            401 | 403 => Err(Denial::Unauthorized(answer.body)),
            status => Err(Denial::Other(format!("status {status}: {}", answer.body.trim()))),
        }
    }
}

/// Sums up what a registry's log, in Apache's combined format, says that it has served of a repository.
fn served(log: &str, repository: &str) -> (u64, Vec<String>) {
    let of_it = format!("\"GET /v2/{repository}/");
    let size =
        |line: &str| line.split_once(&of_it)?.1.split('"').nth(1)?.split_whitespace().nth(1)?.parse::<u64>().ok();
    let lines = log.lines().filter_map(|line| Some((size(line)?, line.to_owned())));
    let (sizes, lines): (Vec<u64>, Vec<String>) = lines.unzip();
    (sizes.into_iter().sum(), lines)
}

pub fn password() -> anyhow::Result<String> {
    Ok(hex(&procfs::random::<16>()?))
}

/// Returns the name of the container with which [`runtime`] tries to run containers.
pub fn trial(run: &str) -> String {
    format!("assay-{run}-trial")
}

/// Tries how this host runs containers: with its own configuration (`None`), or with the returned one, by runc.
pub async fn runtime(build_dir: &BuildDir, image: &str, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let trial = ["run", "--rm", "--replace", "--name", &trial(&build_dir.run)];
    let version = ["--network", "host", "--pull", "never", image, "--version"];
    let try_it = Command::new("podman").args(trial).args(version);
    let as_it_is = build_dir.shell.run(&try_it).await?;
    if as_it_is.succeeded() {
        return Ok(None);
    }
    let path = folder.join("runc.conf");
    fs::write(&path, RUNC).with_context(|| format!("cannot write {}", path.display()))?;
    let with_runc = build_dir.shell.run(&try_it.env("CONTAINERS_CONF", path.to_string_lossy())).await?;
    match with_runc.succeeded() {
        true => Ok(Some(path)),
        false => bail!(
            "this host runs no containers, so no registry: as it is set up: {}; with runc: {}; install runc: {} does",
            tail(&as_it_is.errors(), 1),
            tail(&with_runc.errors(), 1),
            commands::setup("")
        ),
    }
}

async fn serve(build_dir: &BuildDir, configuration: Option<&Path>) -> anyhow::Result<Child> {
    let socket = socket();
    let folder = socket.parent().context("the socket has no folder")?;
    build_dir.cleanup.register(Resource::Path { path: folder.to_owned() })?;
    // A start that failed earlier in this process has left it.
    let _ = fs::remove_dir_all(folder);
    private(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let log = build_dir.folder.join("podman.log");
    // Podman finds its own programs there, too.
    let path = std::env::join_paths(settings::program_folders())?;
    let mut argv = vec!["env".to_owned(), format!("PATH={}", path.display())];
    argv.extend(configuration.map(|path| format!("CONTAINERS_CONF={}", path.display())));
    argv.extend(["podman", "system", "service", "--time=0"].map(str::to_owned));
    argv.push(format!("unix://{}", socket.display()));
    let child = Child::start(&argv, &log, &build_dir.cleanup)?;
    let (limit, pause) = (Duration::from_secs(20), Duration::from_millis(50));
    until("the start of Podman's service", limit, pause, async || {
        match tokio::net::UnixStream::connect(&socket).await {
            Ok(_) => Ok(Look::Done(())),
            Err(error) => match child.ended() {
                None => Ok(Look::Waiting(error.to_string())),
                Some(status) => bail!(
                    "podman's service ended with {status}: {}; install podman: {} does",
                    tail(&fs::read_to_string(&log).unwrap_or_default(), 3),
                    commands::setup("")
                ),
            },
        }
    })
    .await?;
    Ok(child)
}

/// Starts the registry on a free port of 127.0.0.1, open or closed.
async fn start_on_a_free_port(
    build_dir: &BuildDir,
    image: &str,
    name: &str,
    configuration: &str,
    status: u16,
) -> anyhow::Result<(String, ContainerAsync<GenericImage>)> {
    let container = format!("assay-{}-{name}", build_dir.run);
    build_dir.cleanup.register(Resource::Container { name: container.clone() })?;
    let folder = build_dir.folder.join("registry");
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("there is no free port")?;
        let configuration = configuration.replace("PORT", &port.port().to_string()).replace("RUN", &build_dir.run);
        fs::write(folder.join(format!("{name}.yml")), configuration)?;
        let (program, tag) = split(image);
        let started = GenericImage::new(program, tag)
            .with_container_name(&container)
            .with_cmd(["serve".to_owned(), format!("/etc/assay/{name}.yml")])
            .with_mount(Mount::bind_mount(folder.join("storage").to_string_lossy(), "/var/lib/registry"))
            .with_mount(Mount::bind_mount(folder.to_string_lossy(), "/etc/assay"))
            .with_security_opt("label=disable")
            .with_startup_timeout(START)
            // On the host's network 127.0.0.1 is the host's own, and neither netavark nor a firewall is needed.
            .with_host_config_modifier(|host| {
                host.network_mode = Some("host".to_owned());
                host.publish_all_ports = None;
            })
            .start()
            .await
            .with_context(|| format!("container {container} does not start"))?;
        let host = port.to_string();
        match answers(build_dir, &host, status, &started).await? {
            None => return Ok((host, started)),
            Some(printed) => last = printed,
        }
        started.rm().await.with_context(|| format!("cannot remove container {container}"))?;
    }
    bail!("the registry found no free port for {name} access: {last}")
}

/// Waits until the registry answers as expected; returns its error if it ended because the port was in use.
async fn answers(
    build_dir: &BuildDir,
    host: &str,
    status: u16,
    container: &ContainerAsync<GenericImage>,
) -> anyhow::Result<Option<String>> {
    let (limit, pause) = (Duration::from_secs(30), Duration::from_millis(50));
    until(format!("an answer of the registry at {host}"), limit, pause, async || {
        let seen = match http::ask(host, "GET /v2/", &[], "").await {
            Ok(answer) if answer.status == status && answer.header("X-Assay-Run") == Some(&build_dir.run) => {
                return Ok(Look::Done(None));
            }
            Ok(answer) => format!("status {}", answer.status),
            Err(error) => format!("{error:#}"),
        };
        if container.is_running().await? {
            return Ok(Look::Waiting(seen));
        }
        let printed = String::from_utf8_lossy(&container.stderr_to_vec().await?).into_owned();
        match printed.contains("address already in use") {
            true => Ok(Look::Done(Some(tail(&printed, 1)))),
            false => bail!("the registry ended: {}", tail(&printed, 3)),
        }
    })
    .await
}

/// Splits an image's name and tag, as testcontainers needs them.
fn split(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::shell::Fake;
    use crate::workloads::tests::build_dir;

    #[test]
    fn what_was_served_is_the_sum_of_what_was_read_of_one_repository() {
        // Printed by docker-registry 2.8.3.
        let log = "127.0.0.1 - - [27/Nov/2026:03:40:00 +0000] \"GET /v2/ HTTP/1.1\" 200 2 \"\" \"containers/5.24\"\n\
            127.0.0.1 - - [27/Nov/2026:03:40:00 +0000] \"GET /v2/assay/a/manifests/1 HTTP/1.1\" 200 600 \"\" \"c\"\n\
            127.0.0.1 - - [27/Nov/2026:03:40:00 +0000] \"GET /v2/assay/b/manifests/1 HTTP/1.1\" 200 50 \"\" \"c\"\n\
            127.0.0.1 - - [27/Nov/2026:03:40:00 +0000] \"HEAD /v2/assay/a/blobs/sha256:1 HTTP/1.1\" 200 40000 \"\" \"c\"\n\
            127.0.0.1 - - [27/Nov/2026:03:40:00 +0000] \"GET /v2/assay/a/blobs/sha256:1 HTTP/1.1\" 200 40000 \"\" \"c\"\n";
        let (bytes, lines) = served(log, "assay/a");
        assert_eq!((bytes, lines.len()), (40_600, 2));
        assert_eq!(served(log, "assay/c"), (0, Vec::new()));
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split("localhost/assay/registry:trixie"), ("localhost/assay/registry", "trixie"));
        assert_eq!(split("localhost:5000/registry"), ("localhost:5000/registry", "latest"));
        assert_eq!(split("registry@sha256:abc"), ("registry@sha256", "abc"));
    }

    #[tokio::test]
    async fn runc_is_taken_where_the_default_runtime_fails_and_only_there() {
        let works = build_dir(Fake::default().answer("podman run", 0, "registry 2.8.3"));
        assert_eq!(runtime(&works, "x", &works.folder).await.unwrap(), None);
        let hybrid = Fake::default().answer("podman run", 126, "crun").answer("CONTAINERS_CONF=", 0, "registry 2.8.3");
        let hybrid = build_dir(hybrid);
        assert_eq!(runtime(&hybrid, "x", &hybrid.folder).await.unwrap(), Some(hybrid.folder.join("runc.conf")));
        let neither = build_dir(Fake::default());
        let error = runtime(&neither, "x", &neither.folder).await.unwrap_err().to_string();
        assert!(error.contains("as it is set up: no reply is set for podman run"), "{error}");
        assert!(error.contains("with runc: no reply is set for CONTAINERS_CONF="), "{error}");
    }

    #[tokio::test]
    async fn a_registry_that_can_be_had_nowhere_names_the_way_out() {
        let build_dir = build_dir(Fake::default());
        let quiet = Progress::to(|_| ());
        let error = image(&build_dir, None, "http://mirror", &quiet).await.unwrap_err().to_string();
        assert!(error.ends_with("cannot be made from http://mirror: set ASSAY_REGISTRY_IMAGE to another"), "{error}");
        let error = image(&build_dir, Some("registry:2"), "http://mirror", &quiet).await.unwrap_err().to_string();
        assert_eq!(error, "registry image registry:2 is not to be had");
    }
}
