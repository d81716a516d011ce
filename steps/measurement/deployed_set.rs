//! Puts a set of Quadlets onto a machine, with its files, secrets and images, and removes all of it.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

use super::deployment::{self, limits_start};
use super::up::as_root;
use crate::base::unit_file::UnitFile;
use crate::claims::workload::{IMAGE, Workload, quadlet_file, set};
use crate::exec::command::Command;
use crate::exec::shell::Shell;

const PLACE: &str = include_str!("place.sh");
/// Unpacks files into the home or into `/`.
const UNPACK: &str = "[ \"$1\" = home ] && cd || cd /; exec tar --extract --no-same-owner --no-overwrite-dir --file=-";
const CLEAR: &str = include_str!("clear.sh");

/// The program that starts instead of the pull of an `.image` Quadlet: the image is on the machine, which may reach no
/// registry.
const IMAGE_THERE: &str = "ExecStart=\nExecStart=/usr/bin/podman image exists";

/// A file for the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placed {
    path: String,
    in_home: bool,
    /// Nothing for a folder.
    bytes: Option<Vec<u8>>,
    mode: u32,
}

/// A set that is on a machine.
#[derive(Debug)]
pub struct DeployedSet {
    shell: Shell,
    root: bool,
    services: Vec<String>,
    files: Vec<Placed>,
    secrets: Vec<String>,
}

impl DeployedSet {
    /// Puts the workload's Quadlets onto the machine, with `quadlet` as its own, and reloads systemd. `image` stands for
    /// the image under test.
    ///
    /// # Errors
    /// Returns an error before anything is changed if something on a machine that is not ours has the name of a file.
    pub async fn install(
        shell: &Shell,
        workload: &Workload,
        quadlet: &str,
        image: &str,
        secrets: &BTreeMap<String, Vec<u8>>,
    ) -> anyhow::Result<DeployedSet> {
        let root = workload.set.root;
        let ours = shell.variables().is_empty();
        ensure!(
            ours || !root,
            "a set with root = true is deployed on machines of this host only: use --target nspawn or --target vm"
        );
        let files = files(shell, workload, quadlet, image)?;
        let set = DeployedSet {
            shell: shell.clone(),
            root,
            services: workload.services(),
            files,
            secrets: secrets.keys().cloned().collect(),
        };
        if !ours {
            set.place("check", true, Vec::new()).await?;
            set.place("check", false, Vec::new()).await?;
            set.note_files().await?;
        }
        for in_home in [true, false] {
            if set.files.iter().any(|file| file.in_home == in_home) {
                let archive = set.archive(in_home)?;
                set.place("place", in_home, archive).await?;
            }
        }
        for (name, value) in secrets {
            let create = Command::new("podman").args(["secret", "create", name, "-"]).stdin(value.clone());
            shell.read(&as_root(create, root)).await.with_context(|| format!("secret {name}"))?;
        }
        shell.read(&set.systemctl(&["daemon-reload"])).await.context("systemd cannot load the Quadlets")?;
        Ok(set)
    }

    /// Lists its files in the run's folder on a remote machine, so that they are removed however the run ends.
    async fn note_files(&self) -> anyhow::Result<()> {
        let configuration = self.shell.variables().iter().find(|(name, _)| name == "CONTAINERS_STORAGE_CONF");
        let Some((folder, _)) = configuration.and_then(|(_, path)| path.rsplit_once('/')) else { return Ok(()) };
        let line = |file: &Placed| format!("{} {}\n", if file.in_home { "home" } else { "system" }, file.path);
        self.shell.put(&format!("{folder}/placed"), self.files.iter().map(line).collect::<String>()).await
    }

    /// Checks that the files' paths are free, or unpacks them from an archive.
    async fn place(&self, todo: &str, in_home: bool, archive: Vec<u8>) -> anyhow::Result<()> {
        let mine = self.files.iter().filter(|file| file.in_home == in_home);
        let paths: Vec<&str> = mine.map(|file| file.path.as_str()).collect();
        if paths.is_empty() {
            return Ok(());
        }
        let place = if in_home { "home" } else { "system" };
        let command = match todo {
            "place" => Command::new("sh").args(["-c", UNPACK, "sh", place]).stdin(archive),
            _ => Command::script(PLACE, &[&[todo, place], &paths[..]].concat()),
        };
        self.shell.read(&as_root(command, !in_home || self.root)).await.map(drop)
    }

    fn archive(&self, in_home: bool) -> anyhow::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for file in self.files.iter().filter(|file| file.in_home == in_home) {
            let mut header = tar::Header::new_gnu();
            header.set_mode(file.mode);
            let bytes = file.bytes.as_deref().unwrap_or_default();
            header.set_size(bytes.len() as u64);
            if file.bytes.is_none() {
                header.set_entry_type(tar::EntryType::Directory);
            }
            archive.append_data(&mut header, &file.path, bytes)?;
        }
        Ok(archive.into_inner()?)
    }

    fn systemctl(&self, arguments: &[&str]) -> Command {
        let scope = if self.root { "--system" } else { "--user" };
        as_root(Command::new("systemctl").arg(scope).args(arguments.iter().copied()), self.root)
    }

    /// Stops its units, and removes them with its files, volumes, networks and secrets.
    pub async fn remove(&self) -> anyhow::Result<()> {
        let services: Vec<String> = self.services.iter().map(|service| format!("{service}.service")).collect();
        let services: Vec<&str> = services.iter().map(String::as_str).collect();
        // Stopping fails for what has ended already.
        self.shell.run(&self.systemctl(&[&["stop"], &services[..]].concat())).await?;
        for in_home in [true, false] {
            self.place("remove", in_home, Vec::new()).await?;
        }
        self.shell.run(&self.systemctl(&[&["reset-failed"], &services[..]].concat())).await?;
        self.shell.read(&self.systemctl(&["daemon-reload"])).await?;
        let secrets: Vec<&str> = self.secrets.iter().map(String::as_str).collect();
        self.shell.read(&as_root(Command::script(CLEAR, &secrets), self.root)).await.map(drop)
    }
}

/// Pulls an image onto the machine under the name that Quadlets have for it.
pub async fn provide(shell: &Shell, root: bool, reference: &str, name: &str) -> anyhow::Result<()> {
    deployment::pull_by(shell, reference, |pull| as_root(pull, root)).await?;
    if name != IMAGE {
        shell.read(&as_root(Command::new("podman").args(["tag", reference, name]), root)).await?;
    }
    Ok(())
}

/// Returns everything that is put onto the machine.
fn files(shell: &Shell, workload: &Workload, quadlet: &str, image: &str) -> anyhow::Result<Vec<Placed>> {
    let (set, root) = (&workload.set, workload.set.root);
    let (quadlets, units) = match root {
        true => ("etc/containers/systemd", "etc/systemd/system"),
        false => (".config/containers/systemd", ".config/systemd/user"),
    };
    let mut files = Vec::new();
    let mut place = |path: String, in_home: bool, bytes: Option<Vec<u8>>, mode: u32| {
        files.push(Placed { path, in_home, bytes, mode });
    };
    let own = (quadlet_file(&workload.name), quadlet.to_owned());
    let all = [&own].into_iter().map(|(file, text)| (file, text)).chain(&set.quadlets);
    let environment: String =
        shell.variables().iter().map(|(name, value)| format!("Environment=\"{name}={value}\"\n")).collect();
    for (file, text) in all {
        place(format!("{quadlets}/{file}"), !root, Some(text.replace(IMAGE, image).into_bytes()), 0o644);
        let service = if *file == own.0 { Some(workload.name.clone()) } else { set::service(file, text) };
        let Some(service) = service else { continue };
        let mut drop_in = String::new();
        if *file == own.0 {
            // One transaction starts them all, in the order that they ask for.
            let others: String = workload.started_with_it().iter().map(|other| format!(" {other}.service")).collect();
            drop_in += &format!("[Unit]\nWants={}\n", others.trim());
        }
        drop_in += &format!("[Service]\n{environment}");
        if !limits_start(text) {
            drop_in += "TimeoutStartSec=300\n";
        }
        if file.ends_with(".image")
            && let Some(image) = UnitFile::parse(text).last("Image", "Image")
        {
            drop_in += &format!("{IMAGE_THERE} {image}\n");
        }
        place(format!("{units}/{service}.service.d/05-assay.conf"), !root, Some(drop_in.into_bytes()), 0o644);
    }
    let read = |path: &std::path::Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    for (file, path) in &set.beside {
        place(format!("{quadlets}/{file}"), !root, Some(read(path)?), 0o644);
    }
    for file in &set.files {
        let bytes = file.source.as_deref().map(read).transpose()?;
        // What Git keeps of a file's mode is whether it can be executed.
        let mode = if file.mode & 0o111 == 0 { 0o644 } else { 0o755 };
        place(file.path.clone(), file.in_home, bytes, mode);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::workload::set::{PlacedFile, QuadletSet};
    use crate::exec::shell::Fake;

    fn workload(root: bool) -> Workload {
        let quadlets = [
            ("data.volume".to_owned(), "[Volume]\n".to_owned()),
            ("img.image".to_owned(), "[Image]\nImage=docker.io/x:1\n".to_owned()),
            ("job@.container".to_owned(), "[Container]\nImage=x\n".to_owned()),
        ];
        let file = PlacedFile { path: "etc/empty".to_owned(), in_home: false, source: None, mode: 0o755 };
        let set = QuadletSet { root, quadlets: quadlets.into(), files: vec![file], ..QuadletSet::default() };
        let quadlet = "[Container]\nImage=@IMAGE@\n".to_owned();
        Workload { name: "web@one".to_owned(), quadlet, set, ..Workload::default() }
    }

    #[test]
    fn each_quadlet_and_a_drop_in_for_each_service_is_placed() {
        let shell = Shell::fake(Fake::default()).with_variables([("XDG_DATA_HOME".to_owned(), "/run/d".to_owned())]);
        let mut seen = String::new();
        for root in [false, true] {
            let workload = workload(root);
            for file in files(&shell, &workload, &workload.quadlet, "localhost/x:1").unwrap() {
                let text = file.bytes.map_or("(a folder)".to_owned(), |bytes| String::from_utf8(bytes).unwrap());
                seen += &format!("{}{}\n{text}\n", if file.in_home { "~/" } else { "/" }, file.path);
            }
        }
        insta::assert_snapshot!("files", seen);
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_an_error_before_anything_is_changed() {
        let taken = "/home/u/x.container is there already, and nothing is written over";
        let shell = Shell::fake(Fake::default().answer("XDG_DATA_HOME=/run/d sh -s -- check home", 1, taken));
        let shell = shell.with_variables([("XDG_DATA_HOME".to_owned(), "/run/d".to_owned())]);
        let workload = workload(false);
        let error =
            DeployedSet::install(&shell, &workload, &workload.quadlet, "i", &BTreeMap::new()).await.unwrap_err();
        let error = error.to_string();
        assert!(error.ends_with(&format!("ended with exit code 1: {taken}")), "{error}");
    }

    #[test]
    fn paths_that_are_there_already_are_named_and_what_was_placed_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let place = |todo: &str| {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", PLACE, "sh", todo, "home", "a/b"]).env("HOME", home.path());
            command.stdin(std::process::Stdio::null()).output().unwrap()
        };
        assert!(place("check").status.success());
        std::fs::create_dir(home.path().join("a")).unwrap();
        std::fs::write(home.path().join("a/b"), "x").unwrap();
        let taken = place("check");
        assert!(!taken.status.success() && String::from_utf8_lossy(&taken.stderr).contains("/a/b is there already"));
        assert!(place("remove").status.success() && !home.path().join("a").exists());
    }
}
