//! Makes workload folders of Quadlets as people publish them: the units unchanged, what they refer to, and claims.

mod host;
mod place;
mod published;
mod quadlet;
mod questions;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::FILE;
use host::{Content, Host, Need};
use published::Published;
use quadlet::{Kind, Quadlet, Strength};

/// A workload's folder that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adopted {
    pub folder: PathBuf,
    /// The name of the workload, which its claims are about.
    pub name: String,
    /// Whether its units are the system's.
    pub root: bool,
    /// The files of the folder.
    pub files: Vec<String>,
    /// What its Quadlets ask of their host.
    pub needs: Vec<Need>,
}

/// Writes the folder `to` for a Quadlet and what it refers to; for a folder of Quadlets, one for each set of them that belong
/// together, below `to` if there are several.
pub fn adopt(source: &Path, to: &Path) -> anyhow::Result<Vec<Adopted>> {
    ensure!(!to.exists(), "{} exists, and nothing is written over: name a new folder with --to", to.display());
    let mut published = Published::find(source)?;
    let sets = published.sets()?;
    let several = sets.len() > 1;
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for set in sets {
        let main = choose_main(&set, source);
        let short = set[main].stem.trim_end_matches('@').to_owned();
        let free = (1..).map(|number| if number == 1 { short.clone() } else { format!("{short}-{number}") });
        let name = free.into_iter().find(|name| names.insert(name.clone())).unwrap_or(short);
        let folder = if several { to.join(&name) } else { to.to_owned() };
        all.push(
            Suite::make(&set, main, &published.files).with_context(|| set[main].path.display().to_string())?.at(folder),
        );
    }
    all.iter().try_for_each(|(adopted, files)| write(&adopted.folder, files))?;
    Ok(all.into_iter().map(|(adopted, _)| adopted).collect())
}

/// Returns which of a set the claims are about: the file that was named, else a service that clients reach and that needs the
/// others.
fn choose_main(set: &[Quadlet], source: &Path) -> usize {
    let folder = set[0].folder().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let named = source.file_name().and_then(|name| name.to_str());
    let worth = |one: &Quadlet| {
        let pod = pod_of(one, set);
        let needs = one.references().iter().filter(|reference| reference.strength != Strength::Order).count();
        let publishes = !questions::ports(one, None).is_empty();
        let answers = publishes || pod.is_some_and(|pod| pod.stem == one.stem && !pod.values("PublishPort").is_empty());
        (named == Some(one.file().as_str()), !one.is_job(), one.stem.to_lowercase() == folder, answers, needs)
    };
    let programs = set.iter().enumerate().filter(|(_, one)| one.kind == Kind::Container);
    programs.rev().max_by_key(|(_, one)| worth(one)).map_or(0, |(number, _)| number)
}

fn pod_of<'a>(one: &Quadlet, set: &'a [Quadlet]) -> Option<&'a Quadlet> {
    let pods = one.values("Pod");
    set.iter().find(|other| pods.contains(&other.file()))
}

/// The files of a suite, before they are written.
struct Suite {
    name: String,
    root: bool,
    files: BTreeMap<String, Content>,
    needs: Vec<Need>,
}

impl Suite {
    fn make(set: &[Quadlet], main: usize, published: &[PathBuf]) -> anyhow::Result<Suite> {
        let root = host::as_root(set);
        let mut host = Host::new(set, published, root);
        host.read();
        for one in set {
            for key in one.check()? {
                host.note(
                    one,
                    &format!("{key}="),
                    "Podman 5.4, which Debian 13 has, refuses this key: run on --platform debian-14, or take it out",
                );
            }
        }
        let mut files = BTreeMap::new();
        let mut copy = |name: String, path: &Path| match files.insert(name.clone(), Content::Copy(path.to_owned())) {
            Some(Content::Copy(other)) if other != path => {
                bail!(
                    "{name} would be {} and {}: rename one, or name a smaller folder",
                    other.display(),
                    path.display()
                )
            }
            _ => Ok(()),
        };
        for one in set {
            // A workload that is an instance is read from its template's file.
            let template = set[main].stem.split_once('@').map(|(begun, _)| format!("{begun}@.container"));
            let file = template.filter(|_| one.path == set[main].path).unwrap_or_else(|| one.file());
            copy(format!("quadlets/{file}"), &one.path)?;
            for path in &one.drop_ins {
                let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
                copy(format!("quadlets/{folder}/{}", path.file_name().unwrap_or_default().to_string_lossy()), path)?;
            }
        }
        let text = |text: String| Content::Text(text);
        let pod = pod_of(&set[main], set);
        files.extend(questions::files(&set[main], pod, root).into_iter().map(|(name, content)| (name, text(content))));
        if !host.secrets.is_empty() {
            files.insert("secrets.toml".to_owned(), text(secrets(&host.secrets)));
        }
        files.extend(std::mem::take(&mut host.files));
        files.insert(FILE.to_owned(), text(workload_file(set, main, root, &host.needs)));
        Ok(Suite { name: set[main].name(), root, files, needs: host.needs })
    }

    fn at(self, folder: PathBuf) -> (Adopted, BTreeMap<String, Content>) {
        let files = self.files.keys().cloned().collect();
        (Adopted { folder, name: self.name, root: self.root, files, needs: self.needs }, self.files)
    }
}

fn secrets(names: &BTreeSet<String>) -> String {
    let mut all = "# Podman's secrets. random draws that many characters for each machine; value = \"…\" and file = \"…\" give one.\n".to_owned();
    names.iter().for_each(|name| all += &format!("{} = {{ random = 24 }}\n", quoted(name)));
    all
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Packages of Debian's whose program starts as a published image's does.
const PACKAGES: [(&str, &str); 8] = [
    ("eclipse-mosquitto", "mosquitto"),
    ("lighttpd", "lighttpd"),
    ("memcached", "memcached"),
    ("mosquitto", "mosquitto"),
    ("nginx", "nginx"),
    ("nginx-unprivileged", "nginx"),
    ("redis", "redis-server"),
    ("valkey", "valkey-server"),
];

fn workload_file(set: &[Quadlet], main: usize, root: bool, needs: &[Need]) -> String {
    let one = &set[main];
    let mut text = format!(
        "# Adopted from {}. The Quadlets in quadlets/ are as published; the claims are about {}.\nname = {}\n",
        one.file(),
        one.name(),
        quoted(&one.name())
    );
    text += if root { "# Its units are the system's. For a user's, remove this line.\nroot = true\n" } else { "" };
    text += "\n# Podman pulls the images, unless an entry takes one from debian-package:NAME, oci:DIR, oci-archive:FILE or another\n\
             # reference.\n[images]\n";
    let images: BTreeSet<String> =
        set.iter().filter(|one| one.kind != Kind::Build).flat_map(|one| one.values("Image")).collect();
    for image in images.iter().filter(|image| !image.contains('$') && Kind::of(Path::new(image)).is_none()) {
        let base = image.split('@').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let base = base.split(':').next().unwrap_or_default();
        if let Some((_, package)) = PACKAGES.iter().find(|(name, _)| *name == base) {
            text += &format!("# {} = \"debian-package:{package}\"\n", quoted(image));
        }
    }
    let notes = needs.iter().filter_map(|need| Some((need, need.note.as_deref()?)));
    let notes: Vec<String> =
        notes.map(|(need, note)| format!("# - {}: {}: {note}\n", need.quadlet, need.setting)).collect();
    if !notes.is_empty() {
        text += &format!("\n# What a test machine lacks, and what to do about it:\n{}", notes.concat());
    }
    text
}

fn write(folder: &Path, files: &BTreeMap<String, Content>) -> anyhow::Result<()> {
    let cannot = || format!("cannot write to {}", folder.display());
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder)).with_context(cannot)?;
        match content {
            Content::Text(text) => {
                fs::write(&path, text).with_context(cannot)?;
                if text.starts_with("#!") {
                    use std::os::unix::fs::PermissionsExt as _;
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).with_context(cannot)?;
                }
            }
            Content::Copy(from) => {
                fs::copy(from, &path).with_context(|| format!("cannot copy {}", from.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::suite::ClaimSuite;
    use crate::claims::workload::Workload;

    /// Writes the files of a text, in which `== PATH` begins each, into a folder.
    fn written(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".git")).unwrap();
        for file in text.split("== ").skip(1) {
            let (name, text) = file.split_once('\n').unwrap();
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn adopted(text: &str, source: &str) -> anyhow::Result<(tempfile::TempDir, Vec<Adopted>)> {
        let folder = written(text);
        let suites = adopt(&folder.path().join(source), &folder.path().join("out"))?;
        Ok((folder, suites))
    }

    /// Returns what the needs of a Quadlet's settings are met by.
    fn needs(settings: &str) -> String {
        let text = format!(
            "== app/web.container\n[Container]\nImage=docker.io/x:1\n{settings}\n== app/.env.example\nA=1\n== app/site/index.html\nhi\n"
        );
        let (_folder, suites) = adopted(&text, "app").unwrap();
        let line = |need: &Need| {
            let from =
                need.from.as_ref().and_then(|path| path.file_name()).map(|name| format!(" from {}", name.display()));
            format!(
                "{}: {}{}{}\n",
                need.setting,
                need.given.as_deref().unwrap_or("-"),
                from.unwrap_or_default(),
                need.note.as_ref().map_or(String::new(), |note| format!(" ({note})"))
            )
        };
        suites[0].needs.iter().map(line).collect()
    }

    const SET: &str = "\
== app/web.container
[Unit]
Requires=db.service web.target
[Container]
Image=docker.io/library/nginx:1
Network=app.network
PublishPort=8080:80
Volume=./site:/usr/share/nginx/html:ro
Volume=cache.volume:/var/cache/nginx
EnvironmentFile=%h/env/web.env
[Service]
MemoryMax=64M
CPUQuota=20%
TimeoutStartSec=1min 30s
[Install]
WantedBy=default.target
== app/web.container.d/10-more.conf
[Container]
AddDevice=/dev/dri
== app/db.container
[Container]
Image=docker.io/library/postgres:16@sha256:00
Network=app.network
Secret=db_password,type=env,target=POSTGRES_PASSWORD
Volume=%h/db:/var/lib/postgresql/data
== app/cache.volume
[Volume]
== shared/app.network
[Network]
== app/web.target
[Unit]
== app/web.env.example
COLOR=blue
== app/site/index.html
Hello
";

    #[test]
    fn a_set_becomes_a_suite_that_is_read_as_it_is() {
        let (folder, suites) = adopted(SET, "app").unwrap();
        let [suite] = &suites[..] else { panic!("{suites:?}") };
        let mut shown = String::new();
        for file in &suite.files {
            shown += &format!("== {file}\n");
            // What is copied is known.
            if !file.starts_with("quadlets/") && !file.contains("/site/") {
                shown += &fs::read_to_string(suite.folder.join(file)).unwrap();
            }
        }
        insta::assert_snapshot!("suite", shown);
        let copy = |name: &str| fs::read_to_string(suite.folder.join("quadlets").join(name)).unwrap();
        assert_eq!(copy("web.container"), fs::read_to_string(folder.path().join("app/web.container")).unwrap());
        let workload = Workload::read(&suite.folder).unwrap();
        assert_eq!((workload.set.quadlets.len(), workload.set.secrets.len()), (3, 1));
        let claims = ClaimSuite::read(&suite.folder).unwrap();
        assert!(claims.register.get("A7-2".parse().unwrap()).is_some());
    }

    #[test]
    fn what_belongs_together_becomes_one_suite() {
        const PLAIN: &str = "[Container]\nImage=docker.io/x:1\n";
        let container = |name: &str, more: &str| format!("== {name}.container\n{PLAIN}{more}\n");
        let network = "== n.network\n[Network]\n";
        for (files, source, expected) in [
            (container("a", "") + &container("b", "[Unit]\nRequires=a.service"), ".", "b: a.container b.container"),
            (container("a", "") + &container("b", "[Unit]\nAfter=c.service"), ".", "a: a.container, b: b.container"),
            (
                container("a", "Network=n") + &container("b", "Network=n\nPublishPort=1:1"),
                ".",
                "b: a.container b.container",
            ),
            (container("a", "Network=host") + &container("b", "Network=host"), ".", "a: a.container, b: b.container"),
            // A network that the folders of a collection share belongs to each of them.
            (
                container("1/a", "Network=n.network") + &container("2/b", "Network=n.network") + network,
                ".",
                "a: a.container n.network, b: b.container n.network",
            ),
            (container("a@", "") + &container("b", "[Unit]\nWants=a@x.service"), ".", "b: a@.container b.container"),
            (container("a@", "[Install]\nDefaultInstance=two"), "a@.container", "a@two: a@.container"),
            (container("a@one", ""), ".", "a@one: a@.container"),
            (
                container("a", "Pod=p.pod") + &container("b", "Pod=p.pod") + &container("c", "") + "== p.pod\n[Pod]\n",
                "a.container",
                "a: a.container b.container p.pod",
            ),
            (
                container("c", "[Unit]\nRequires=k.service") + "== k.kube\n[Kube]\nYaml=k.yml\n== k.yml\n",
                ".",
                "c: c.container k.kube k.yml",
            ),
            (
                "== c.container\n[Container]\nImage=b.build\nVolume=v.volume:/v\n== v.volume\n[Volume]\nDriver=image\n\
                 Image=i.image\n== i.image\n[Image]\nImage=x\n== b.build\n[Build]\nImageTag=b\nFile=./Containerfile\n\
                 == Containerfile\n== etc/motd\n"
                    .to_owned(),
                "c.container",
                "c: Containerfile b.build c.container etc/motd i.image v.volume",
            ),
        ] {
            let (_folder, suites) = adopted(&files, source).unwrap();
            let members = |suite: &Adopted| {
                let files: Vec<&str> = suite.files.iter().filter_map(|file| file.strip_prefix("quadlets/")).collect();
                format!("{}: {}", suite.name, files.join(" "))
            };
            assert_eq!(suites.iter().map(members).collect::<Vec<_>>().join(", "), expected, "{files}");
        }
    }

    #[test]
    fn what_a_quadlet_asks_of_the_host_is_given_or_said() {
        let settings = "Volume=/etc/localtime:/etc/localtime:ro\nVolume=data:/data\nVolume=%h/web/site:/site\nVolume=/mnt/media:/media\n\
            Volume=/etc/web/web.conf:/etc/web.conf\nVolume=%t/podman/podman.sock:/run/docker.sock\nVolume=/home/me/x:/x\n\
            Volume=${DIR}/x:/x\nMount=type=bind,source=/srv/w,target=/w\nEnvironmentFile=./web.env\nEnvironmentFile=-/etc/none.conf\n\
            Secret=key,type=mount\nAddDevice=/dev/net/tun\nAddDevice=nvidia.com/gpu=all\nPodmanArgs=--volume /srv/o:/o --device=/dev/ttyUSB0\n\
            Network=lan\nPublishPort=80:80\nPublishPort=192.0.2.1:8080:80\nMemory=1g\n[Unit]\nConditionPathExists=/etc/web/ready\n\
            ConditionPathExists=!/etc/web/other\nRequires=nfs-media.mount network-online.target\n[Service]\nExecStartPre=/usr/bin/true\n\
            ExecStartPre=%h/bin/prepare.sh now";
        insta::assert_snapshot!("needs", needs(settings));
    }

    #[test]
    fn errors_name_the_file_and_what_to_do_and_nothing_is_written() {
        let mut seen = String::new();
        for (text, source) in [
            ("== a.txt\n", "."),
            ("== a.txt\n", "none"),
            ("== compose.yml\n", "compose.yml"),
            ("== a.network\n[Network]\n", "a.network"),
            ("== a.network\n[Network]\n", "."),
            ("== a.container\n[Container]\nImage docker.io/x:1\n", "."),
            ("== a.container\n[Container]\nImage=docker.io/x:1\nPublshPort=1:1\n", "."),
            ("== a.container\n[container]\nImage=docker.io/x:1\n", "."),
            ("== a.container\n[Container]\nExec=true\n", "."),
            ("== a.container\n[Container]\nImage=c.build\nPod=b.pod\nNetwork=n.network\n", "."),
            ("== a.kube\n[Kube]\nYaml=a.yml\n== a.yml\n", "."),
            ("== a.pod\n[Pod]\n", "a.pod"),
            (
                "== one/a.container\n[Container]\nImage=b\n== two/a.container\n[Container]\nImage=b\n[Unit]\nRequires=c.service\n== one/c.container\n[Unit]\nAfter=a.service\n[Container]\nImage=b\n",
                ".",
            ),
            ("== out/a\n== a.container\n[Container]\nImage=b\n", "a.container"),
        ] {
            let folder = written(text);
            let error = adopt(&folder.path().join(source), &folder.path().join("out")).map(|suites| suites.len());
            let error = error.map_err(|error| format!("{error:#}"));
            seen += &format!("{error:?}\n\n").replace(folder.path().to_str().unwrap(), "DIR");
        }
        insta::assert_snapshot!("errors", seen);
    }
}
