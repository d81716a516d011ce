//! Makes conventional container images from Debian's packages, as slim images are made, so that no public registry can
//! refuse: to compare with the workload, and for workloads of your own. They are made once and kept for later runs.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::base::commands;
use crate::base::digest::sha256;
use crate::base::platform::Arch;
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::exec::cleanup::Resource;
use crate::exec::command::Command;
use crate::targets::mirror_address;
use crate::workloads::{BuildDir, ContainerImage};

const MAKE: &str = include_str!("../../fixtures/conventional/image.sh");
const HELLO: &str = include_str!("../../fixtures/conventional/hello.py");

const SUITE: &str = "trixie";

/// Long enough for qemu-user on a busy host.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// A program of a Debian package, and what its image is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name in samples and images.
    pub name: Cow<'static, str>,
    package: Cow<'static, str>,
    /// The name and contents of the file that is put at `/`.
    file: Option<(&'static str, &'static str)>,
    /// What it starts with. If there is nothing, it is the program that has the package's name, or its only one.
    command: &'static [&'static str],
}

/// What starts a server in the foreground, by package.
const COMMANDS: [(&str, &[&str]); 5] = [
    ("catatonit", &["/usr/bin/catatonit", "-P"]),
    ("nginx", &["/usr/sbin/nginx", "-g", "daemon off;"]),
    ("redis-server", &["/usr/bin/redis-server", "--protected-mode", "no"]),
    ("lighttpd", &["/usr/sbin/lighttpd", "-D", "-f", "/etc/lighttpd/lighttpd.conf"]),
    ("memcached", &["/usr/bin/memcached", "-u", "nobody"]),
];

impl Program {
    /// The message broker, without changes.
    pub const MOSQUITTO: Program = Program {
        name: Cow::Borrowed("mosquitto"),
        package: Cow::Borrowed("mosquitto"),
        file: None,
        command: &["/usr/sbin/mosquitto"],
    };
    /// Python with its standard library and a program that does what the annex's workload does.
    pub const PYTHON: Program = Program {
        name: Cow::Borrowed("python"),
        package: Cow::Borrowed("python3"),
        file: Some(("hello.py", HELLO)),
        command: &["/usr/bin/python3", "/hello.py"],
    };
    pub const ALL: [Program; 2] = [Program::MOSQUITTO, Program::PYTHON];

    /// Returns the cache key of its image, which changes with everything that goes into it.
    fn key(&self, suite: &str, arch: Arch) -> String {
        let file = self.file.map_or("", |(_, text)| text);
        let all = [&[MAKE, &*self.package, file, suite, arch.debian()], self.command].concat();
        sha256(all.join("\0").as_bytes())[..20].to_owned()
    }
}

/// The prefix of references to images of Debian packages, such as `debian-package:mosquitto`.
const SCHEME: &str = "debian-package:";

/// Returns the program of such a reference, or `None` for any other reference.
pub fn named(reference: &str) -> Option<anyhow::Result<Program>> {
    let name = reference.strip_prefix(SCHEME)?;
    if let Some(program) = Program::ALL.into_iter().find(|program| program.name == name) {
        return Some(Ok(program));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.len() < 2 || !name.starts_with(plain) || !name.chars().all(|c| plain(c) || "+-.".contains(c)) {
        return Some(Err(anyhow::anyhow!(
            "image {reference} cannot be made: \"{name}\" is not the name of a Debian package"
        )));
    }
    let command = COMMANDS.iter().find(|(package, _)| *package == name).map_or(&[][..], |(_, command)| command);
    Some(Ok(Program { name: name.to_owned().into(), package: name.to_owned().into(), file: None, command }))
}

pub fn kept(cache: &Path, arch: Arch, program: &Program) -> PathBuf {
    folder(cache).join(format!("{}.tar", program.key(SUITE, arch)))
}

fn folder(cache: &Path) -> PathBuf {
    cache.join("containers")
}

/// Returns the image of a program for this architecture, which is made unless an earlier run kept it.
pub async fn image(
    build_dir: &BuildDir,
    settings: &Settings,
    arch: Arch,
    program: Program,
    progress: &Progress,
) -> anyhow::Result<ContainerImage> {
    let kept = kept(&settings.cache, arch, &program);
    if !kept.is_file() {
        let folder = folder(&settings.cache);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mirror = mirror_address(settings);
        progress.note(format!("image of {}: making it from {mirror}, once", program.name));
        make(build_dir, &program, arch, &mirror, &kept).await.with_context(|| {
            let setup = commands::setup("");
            format!("image of {} cannot be made from {mirror} ({setup} installs mmdebstrap)", program.name)
        })?;
    }
    let wanted = format!("oci-archive:{}", kept.display());
    let loaded = ContainerImage::load(build_dir, &program.name, &wanted, arch).await;
    loaded.with_context(|| format!("image of {} is damaged: remove {}", program.name, kept.display()))
}

async fn make(build_dir: &BuildDir, program: &Program, arch: Arch, mirror: &str, kept: &Path) -> anyhow::Result<()> {
    let Program { package, file, command, .. } = program;
    let folder = build_dir.subfolder("slim")?;
    let mut given = PathBuf::new();
    if let Some((name, text)) = file {
        given = folder.join(name);
        fs::write(&given, text).with_context(|| format!("cannot write {}", given.display()))?;
    }
    // A run that makes it at the same time has another id; a partial file is removed with its run.
    let part = kept.with_extension(format!("{}.part", build_dir.run));
    build_dir.cleanup.register(Resource::Path { path: part.clone() })?;
    let (part_text, given, folder) = (part.to_string_lossy(), given.to_string_lossy(), folder.to_string_lossy());
    let parameters = [&*part_text, &**package, SUITE, arch.debian(), mirror, &*folder, &*given];
    let parameters = [&parameters, *command].concat();
    build_dir.shell.read(&Command::script(MAKE, &parameters).time_limit(LIMIT)).await?;
    fs::rename(&part, kept).with_context(|| format!("cannot rename {} to {}", part.display(), kept.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::shell::Fake;
    use crate::workloads::tests::build_dir;

    #[test]
    fn a_program_is_found_by_the_name_of_its_image() {
        assert_eq!(named("debian-package:mosquitto").unwrap().unwrap(), Program::MOSQUITTO);
        assert_eq!(named("debian-package:python").unwrap().unwrap(), Program::PYTHON);
        let nginx = named("debian-package:nginx").unwrap().unwrap();
        assert_eq!((&*nginx.name, nginx.command[0]), ("nginx", "/usr/sbin/nginx"));
        assert!(named("debian-package:postgresql-17").unwrap().unwrap().command.is_empty());
        let error = named("debian-package:Web Server").unwrap().unwrap_err().to_string();
        assert!(error.ends_with("\"Web Server\" is not the name of a Debian package"), "{error}");
        assert!(named("public.ecr.aws/debian-package:mosquitto").is_none());
    }

    #[test]
    fn another_content_is_kept_under_another_key() {
        let python = Program::PYTHON.key("trixie", Arch::Amd64);
        assert_eq!(python.len(), 20);
        assert_eq!(python, Program::PYTHON.key("trixie", Arch::Amd64));
        assert_ne!(python, Program::MOSQUITTO.key("trixie", Arch::Amd64));
        assert_ne!(python, Program::PYTHON.key("forky", Arch::Amd64));
        assert_ne!(python, Program::PYTHON.key("trixie", Arch::Arm64));
    }

    #[tokio::test]
    async fn an_image_that_cannot_be_made_names_the_mirror_and_leaves_nothing_behind() {
        let build_dir = build_dir(Fake::default());
        let (cache, mirror) = (build_dir.folder.join("cache"), Some("http://mirror".into()));
        let settings = Settings { cache: cache.clone(), mirror, ..Settings::read().unwrap() };
        let quiet = Progress::to(|_| ());
        let error = image(&build_dir, &settings, Arch::Amd64, Program::PYTHON, &quiet).await.unwrap_err().to_string();
        assert!(error.starts_with("image of python cannot be made from http://mirror "), "{error}");
        assert_eq!(fs::read_dir(cache.join("containers")).unwrap().count(), 0);
    }
}
