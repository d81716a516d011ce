//! Finds what Quadlets ask of their host: files and folders, which are put into `files/`, secrets, and what no test machine
//! has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::place::{ABSENT, OF_HOST, Port, SOCKET, common_end, in_suite, is_folder, is_present, place};
use super::quadlet::{Kind, Quadlet, Strength};

/// What a setting asks of the host, and what stands for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The Quadlet's file.
    pub quadlet: String,
    pub setting: String,
    /// What the suite has for it, below its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// Where this was found; without it, `given` is a placeholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// What is wrong with it, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What is written to a file of the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Text(String),
    Copy(PathBuf),
}

/// Units that each machine has, by how their names begin.
const UNITS: [&str; 13] = [
    "basic.",
    "default.",
    "dbus.",
    "local-fs",
    "multi-user.",
    "network",
    "nss-",
    "podman",
    "remote-fs",
    "sockets.",
    "sysinit.",
    "systemd-",
    "time",
];

/// File systems of other hosts.
const REMOTE: [&str; 5] = ["nfs", "nfs4", "cifs", "ceph", "glusterfs"];

/// What Network= may say besides the name of a network.
const NETWORKS: [&str; 10] =
    ["host", "none", "bridge", "private", "pasta", "slirp4netns", "container", "ns", "default", "podman"];

type Ask = (Kind, &'static str, fn(&str) -> bool, &'static str);

/// Settings that ask for something else than a path: of which kind, which values, and what to do.
const ASKS: [Ask; 10] = [
    (
        Kind::Network,
        "Driver",
        |driver| driver.ends_with("vlan"),
        "it needs a network card of the host: write Driver=bridge",
    ),
    (
        Kind::Volume,
        "Driver",
        |driver| !["local", "image"].contains(&driver),
        "a plugin of the host: write Driver=local",
    ),
    (
        Kind::Volume,
        "Type",
        |kind| REMOTE.contains(&kind),
        "another host's folder: take out Type=, Device= and Options=",
    ),
    (
        Kind::Container,
        "Image",
        |image| image.contains('$'),
        "see that the environment file in files/ sets this variable",
    ),
    (Kind::Container, "Rootfs", |_| true, "put this folder into files/, or write Image="),
    (Kind::Container, "ContainersConfModule", |_| true, "put this file into files/, or take it out"),
    (Kind::Container, "SubUIDMap", |_| true, "no test machine has this user in /etc/subuid: take it out"),
    (Kind::Container, "SubGIDMap", |_| true, "no test machine has this group in /etc/subgid: take it out"),
    (Kind::Container, "PublishPort", foreign, "no test machine has this address: leave it out"),
    (Kind::Container, "PublishPort", |port| port.contains(":$"), "add a claim about this port, once it is a number"),
];

fn foreign(port: &str) -> bool {
    let address = Port::read(port).map(|port| port.address).unwrap_or_default();
    !["", "0.0.0.0", "[::]", "[::1]"].contains(&address.as_str()) && !address.starts_with("127.")
}

/// A folder with more or larger files is not copied.
const MANY_FILES: usize = 500;
const MUCH: u64 = 10_000_000;

/// Collects the needs of one set.
pub struct Host<'a> {
    set: &'a [Quadlet],
    root: bool,
    /// The published files that may belong to the set.
    nearby: Vec<&'a PathBuf>,
    pub needs: Vec<Need>,
    pub files: BTreeMap<String, Content>,
    /// The names of Podman secrets.
    pub secrets: BTreeSet<String>,
}

impl<'a> Host<'a> {
    pub fn new(set: &'a [Quadlet], published: &'a [PathBuf], root: bool) -> Host<'a> {
        let programs = |path: &&PathBuf| Kind::of(path).is_some_and(Kind::runs);
        let owners: BTreeSet<&Path> = published.iter().filter(programs).filter_map(|path| path.parent()).collect();
        let own: BTreeSet<&Path> = set.iter().map(Quadlet::folder).collect();
        let around: BTreeSet<&Path> =
            set.iter().filter(|one| one.kind.runs()).filter_map(|one| one.folder().parent()).collect();
        // A file below a folder with other programs belongs to those.
        let belongs = |path: &&PathBuf| match path.ancestors().skip(1).find(|folder| owners.contains(folder)) {
            Some(owner) => own.contains(owner),
            None => path.ancestors().any(|folder| around.contains(folder) || own.contains(folder)),
        };
        let nearby = published.iter().filter(|path| Kind::of(path).is_none()).filter(belongs).collect();
        Host { set, root, nearby, needs: Vec::new(), files: BTreeMap::new(), secrets: BTreeSet::new() }
    }

    /// Reads every setting of the set that asks something of the host.
    pub fn read(&mut self) {
        let set = self.set;
        for one in set {
            one.lines("Volume").for_each(|(setting, value)| self.volume(one, &setting, &value));
            for (setting, value) in one.lines("Mount") {
                let part = |names: [&str; 2]| {
                    value.split(',').find_map(|part| part.split_once('=').filter(|(name, _)| names.contains(name)))
                };
                if let (true, Some((_, source))) = (value.contains("type=bind"), part(["source", "src"])) {
                    self.path(one, &setting, source, part(["target", "destination"]).map_or("", |(_, inside)| inside));
                }
            }
            for key in ["EnvironmentFile", "SeccompProfile", "AuthFile", "Yaml", "ConfigMap", "File", "DecryptionKey"] {
                one.lines(key).for_each(|(setting, value)| self.file(one, &setting, &value));
            }
            for (setting, value) in one.lines("AddDevice").filter(|(_, value)| !value.starts_with('-')) {
                self.path(one, &setting, value.split(':').next().unwrap_or_default(), "");
            }
            for (setting, value) in one.lines("Secret") {
                let name = value.split(',').next().unwrap_or_default();
                if one.kind == Kind::Container {
                    self.secrets.insert(name.to_owned());
                    self.given(one, &setting, format!("secrets.toml: {name}"), None, None);
                } else {
                    self.note(one, &setting, "it is not written by adopt: put what it names into files/");
                }
            }
            if one.kind == Kind::Build {
                // The folder of its Containerfile, whose files may be copied into the image.
                let context: Vec<&PathBuf> =
                    self.nearby.iter().filter(|path| path.starts_with(one.folder())).copied().collect();
                for path in context.into_iter().take(MANY_FILES) {
                    let name = path.strip_prefix(one.folder()).unwrap_or(path).display();
                    self.files.insert(format!("quadlets/{name}"), Content::Copy(path.clone()));
                }
            }
            self.of_service(one);
            self.of_machine(one);
        }
    }

    /// What [Service] and [Unit] ask for.
    fn of_service(&mut self, one: &Quadlet) {
        let unit = one.unit();
        for value in unit.values("Service", "EnvironmentFile") {
            self.file(one, &format!("EnvironmentFile={value}"), value);
        }
        for key in ["ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost", "ExecCondition"] {
            for value in unit.values("Service", key) {
                // A path among its words may be a script of the host; what the shell makes of it is its own.
                let program = value.trim_start_matches(['-', '+', '!', '@', ':']).split(' ').next().unwrap_or_default();
                if program.starts_with(['/', '%']) {
                    self.path(one, &format!("{key}={value}"), program, "program.sh");
                }
            }
        }
        let conditions = unit.settings().filter(|(section, ..)| *section == "Unit");
        for (_, key, value) in
            conditions.filter(|(_, key, _)| key.starts_with("Condition") || key.starts_with("Assert"))
        {
            let (setting, value) = (format!("{key}={value}"), value.trim_start_matches('|'));
            let denied = |other: &Quadlet| other.text.contains(&format!("=!{}", value.trim_start_matches('!')));
            match key.trim_start_matches("Condition").trim_start_matches("Assert") {
                _ if value.is_empty() || value.starts_with('!') => (),
                "PathExists" | "FileNotEmpty" | "FileIsExecutable" if self.set.iter().any(denied) => {
                    self.note(
                        one,
                        &setting,
                        "another Quadlet asks that it is not there: put it into files/ for a start in this state",
                    );
                }
                "PathIsDirectory" | "DirectoryNotEmpty" => self.path(one, &setting, value, "folder/"),
                "PathExists" | "FileNotEmpty" | "FileIsExecutable" | "PathIsReadWrite" => {
                    self.path(one, &setting, value, "")
                }
                _ => self.note(one, &setting, "it depends on the machine: a start without it is inconclusive"),
            }
        }
        let folder = if self.root { "etc/systemd/system" } else { "home/.config/systemd/user" };
        let drop_ins = format!("{}.d", one.service());
        for path in
            self.nearby.clone().into_iter().filter(|path| path.parent().is_some_and(|end| end.ends_with(&drop_ins)))
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.put(one, "its service's drop-in", &format!("{folder}/{drop_ins}/{name}"), Some(path.clone()), "");
        }
        for reference in one.references() {
            let known = |name: &str| UNITS.iter().any(|begin| name.starts_with(begin));
            let in_set = self
                .set
                .iter()
                .any(|other| Quadlet::would_be(&other.path, &reference.name) || other.service() == reference.name);
            if in_set || known(&reference.name) {
                continue;
            }
            if reference.strength == Strength::Quadlet {
                let section = if reference.name.ends_with(".network") { "[Network]\n" } else { "[Volume]\n" };
                let path = format!("quadlets/{}", reference.name);
                self.files.insert(path.clone(), Content::Text(section.to_owned()));
                self.given(one, &reference.setting, path, None, None);
                continue;
            }
            let beside =
                self.nearby.iter().find(|path| path.file_name().is_some_and(|name| name == reference.name.as_str()));
            let beside =
                beside.filter(|path| path.extension().is_none_or(|end| end != "mount")).map(|path| (*path).clone());
            let (setting, place) = (&reference.setting, format!("{folder}/{}", reference.name));
            match beside {
                Some(from) => self.put(one, setting, &place, Some(from), ""),
                None if reference.strength == Strength::Required => {
                    let todo = format!("put it into files/{folder}/, or take it out of the copy");
                    self.note(one, setting, &format!("systemd starts nothing without this unit: {todo}"));
                }
                None => (),
            }
        }
    }

    /// What its network, ports, image and users ask of the machine.
    fn of_machine(&mut self, one: &Quadlet) {
        let set = self.set;
        for (kind, key, asks, note) in ASKS {
            let lines = one.lines(key).filter(|(_, value)| (kind == one.kind || key == "PublishPort") && asks(value));
            lines.for_each(|(setting, _)| self.note(one, &setting, note));
        }
        for (setting, value) in one.lines("Device").filter(|(_, value)| value.starts_with(['/', '%'])) {
            if one.unit().last("Volume", "Type").is_none_or(|kind| !REMOTE.contains(&kind)) {
                self.path(one, &setting, &value, "folder/");
            }
        }
        for (setting, value) in one.lines("Network") {
            let name = value.split(':').next().unwrap_or_default();
            let of = |other: &Quadlet| other.unit().last("Network", "NetworkName") == Some(name);
            let made = set.iter().any(|other| of(other) || name == format!("systemd-{}", other.stem));
            if !(made || NETWORKS.contains(&name) || Kind::of(Path::new(name)).is_some()) {
                let add = format!(
                    "add {name}.network with NetworkName={name} below [Network], and write Network={name}.network"
                );
                self.note(one, &setting, &format!("no Quadlet here makes this network: {add} in the copy"));
            }
        }
        let low = |value: &str| Port::read(value).is_some_and(|port| port.number < 1024);
        let root = self.root;
        for (setting, _) in one.lines("PublishPort").filter(|(_, value)| !root && low(value)) {
            let other = "write another in the copy, or root = true in workload.toml";
            self.note(one, &setting, &format!("a user's Podman may not open ports below 1024: {other}"));
        }
        let built = |image: &str| set.iter().any(|other| other.text.contains(&format!("ImageTag={image}")));
        let missing = one.lines("Image").find(|(_, image)| image.starts_with("localhost/") && !built(image));
        if let Some((setting, _)) = missing {
            self.note(
                one,
                &setting,
                "no registry has it: say in [images] of workload.toml where it is, as oci-archive:FILE",
            );
        }
    }

    fn volume(&mut self, one: &Quadlet, setting: &str, value: &str) {
        let (source, rest) = value.split_once(':').unwrap_or(("", value));
        // A name is a volume of Podman's.
        if source.starts_with(OF_HOST) {
            self.path(one, setting, source, rest.split(':').next().unwrap_or_default());
        }
    }

    fn file(&mut self, one: &Quadlet, setting: &str, value: &str) {
        let optional = value.starts_with('-');
        let special = ["unconfined", "unit", "yaml", "file"].contains(&value) || value.contains("://");
        let missing = optional && self.find(value).is_none();
        if !special && !missing {
            self.path(one, setting, value.trim_start_matches('-'), "file.");
        }
    }

    /// Enters a path of the host: present on each machine, absent on all, or something that `files/` can have. `inside` is
    /// where it is mounted, which tells a folder from a file.
    fn path(&mut self, one: &Quadlet, setting: &str, value: &str, inside: &str) {
        if value.is_empty() {
            return;
        }
        if is_present(value) {
            return;
        }
        if let Some((_, what, remedy)) = ABSENT.iter().find(|(part, ..)| value.contains(part)) {
            let started = *remedy == SOCKET && one.text.contains("podman.socket");
            return if started {
            } else {
                self.note(one, setting, &format!("a test machine does not have {what}: {remedy}"))
            };
        }
        let place = match place(one, value, self.root) {
            Ok(place) => place,
            Err(note) => return self.note(one, setting, &note),
        };
        if let Some(found) = self.find(&place) {
            return self.put(one, setting, &place, Some(found), "");
        }
        let folder = self.find_folder(&place);
        let given = in_suite(&place);
        let host = folder.is_none() && ["mnt/", "media/"].iter().any(|begin| place.starts_with(begin));
        match folder {
            Some((folder, files)) => {
                for file in files {
                    let name = file.strip_prefix(&folder).unwrap_or(&file).display().to_string();
                    self.files.insert(format!("{given}/{name}"), Content::Copy(file));
                }
                self.given(one, setting, given, Some(folder), None);
            }
            None if is_folder(&place, inside) => {
                self.files.entry(format!("{given}/.keep")).or_insert(Content::Text(String::new()));
                let note = host.then(|| "the host's own data: an empty folder stands for it".to_owned());
                self.given(one, setting, given, None, note);
            }
            None => self.put(one, setting, &place, None, if inside == "program.sh" { "#!/bin/sh\n" } else { "" }),
        }
    }

    /// Finds the published file that stands for one of the host: of the same name, or of an example's.
    fn find(&self, place: &str) -> Option<PathBuf> {
        let base = place.rsplit('/').next().unwrap_or(place);
        let mut names = vec![base.to_owned()];
        names.extend(["example", "sample", "template"].map(|end| format!("{base}.{end}")));
        if base.ends_with(".env") {
            names.extend([".env", ".env.example", ".env.sample", "env.example"].map(str::to_owned));
        }
        let rank = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            let order = names.iter().position(|known| known == name)?;
            Some((names.len() - order, common_end(path, place)))
        };
        let found = self.nearby.iter().filter_map(|path| Some((rank(path)?, *path)));
        found
            .min_by_key(|(rank, path)| (std::cmp::Reverse(*rank), path.components().count()))
            .map(|(_, path)| path.clone())
    }

    /// Finds the published folder of the same name, and its files.
    fn find_folder(&self, place: &str) -> Option<(PathBuf, Vec<PathBuf>)> {
        let base = place.rsplit('/').next()?;
        let own = |folder: &Path| self.set.iter().any(|one| one.path.starts_with(folder));
        let named = |path: &&PathBuf| {
            let mut folders =
                path.ancestors().skip(1).filter(|folder| folder.file_name().is_some_and(|name| name == base));
            folders.find(|folder| !own(folder)).map(Path::to_owned)
        };
        let folders: BTreeSet<PathBuf> = self.nearby.iter().filter_map(named).collect();
        let folder = folders.into_iter().max_by_key(|folder| common_end(folder, place))?;
        let files: Vec<PathBuf> =
            self.nearby.iter().filter(|path| path.starts_with(&folder)).map(|path| (*path).clone()).collect();
        let size: u64 = files.iter().filter_map(|path| path.metadata().ok()).map(|found| found.len()).sum();
        (files.len() <= MANY_FILES && size <= MUCH).then_some((folder, files))
    }

    fn put(&mut self, one: &Quadlet, setting: &str, place: &str, from: Option<PathBuf>, text: &str) {
        let path = in_suite(place);
        match &from {
            Some(from) => drop(self.files.insert(path.clone(), Content::Copy(from.clone()))),
            None => drop(self.files.entry(path.clone()).or_insert(Content::Text(text.to_owned()))),
        }
        self.given(one, setting, path, from, None);
    }

    fn given(&mut self, one: &Quadlet, setting: &str, given: String, from: Option<PathBuf>, note: Option<String>) {
        self.add(Need { quadlet: one.file(), setting: setting.to_owned(), given: Some(given), from, note });
    }

    fn add(&mut self, need: Need) {
        if !self.needs.contains(&need) {
            self.needs.push(need);
        }
    }

    pub fn note(&mut self, one: &Quadlet, setting: &str, note: &str) {
        let (quadlet, setting) = (one.file(), setting.to_owned());
        self.add(Need { quadlet, setting, given: None, from: None, note: Some(note.to_owned()) });
    }
}

/// Returns whether Quadlets are made for the system rather than for a user.
pub fn as_root(set: &[Quadlet]) -> bool {
    let path = |part: &str| set.iter().any(|one| one.path.to_string_lossy().contains(part));
    let text = |part: &str| set.iter().any(|one| one.text.contains(part));
    let wanted: BTreeSet<String> = set.iter().flat_map(|one| one.unit().words("Install", "WantedBy")).collect();
    if path("/containers/systemd/users")
        || path(".config/containers")
        || text("%h")
        || text("keep-id")
        || text("/run/user/")
    {
        return false;
    }
    if path("etc/containers/systemd") || path("usr/share/containers/systemd") {
        return true;
    }
    match (wanted.contains("default.target"), wanted.contains("multi-user.target")) {
        (true, false) => false,
        (false, true) => true,
        _ => {
            let sources = set.iter().flat_map(|one| ["Volume", "EnvironmentFile"].map(|key| one.values(key))).flatten();
            let system =
                |source: &String| ["/etc/", "/var/", "/srv/", "/opt/"].iter().any(|begin| source.starts_with(begin));
            sources.filter(|source| !source.starts_with("/etc/localtime")).any(|source| system(&source))
        }
    }
}
