//! Reads a published Quadlet: its settings together with its drop-ins, its mistakes, and which other units it names.

use std::path::{Path, PathBuf};

use anyhow::ensure;

use super::super::{drop_ins, read_unit};
use crate::base::nearest::nearest;
use crate::base::unit_file::UnitFile;

/// The keys that Podman knows in each section; `+` marks those that Podman 5.4, Debian 13's, does not know yet.
const KEYS: &str = include_str!("keys.txt");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Container,
    Pod,
    Kube,
    Network,
    Volume,
    Image,
    Build,
}

impl Kind {
    /// The section of each kind, how its files end, what its service's name adds, and keys of which it needs one.
    const ALL: [(Kind, &'static str, &'static str, &'static str, &'static [&'static str]); 7] = [
        (Kind::Container, "Container", "container", "", &["Image", "Rootfs"]),
        (Kind::Pod, "Pod", "pod", "-pod", &[]),
        (Kind::Kube, "Kube", "kube", "", &["Yaml"]),
        (Kind::Network, "Network", "network", "-network", &[]),
        (Kind::Volume, "Volume", "volume", "-volume", &[]),
        (Kind::Image, "Image", "image", "-image", &["Image"]),
        (Kind::Build, "Build", "build", "-build", &["ImageTag"]),
    ];

    fn row(self) -> (&'static str, &'static str, &'static str, &'static [&'static str]) {
        let (_, section, extension, suffix, needs) = Self::ALL[self as usize];
        (section, extension, suffix, needs)
    }

    /// Returns the kind of Quadlet that a file is, by its name.
    pub fn of(path: &Path) -> Option<Kind> {
        let extension = path.extension()?;
        Self::ALL.into_iter().find(|(_, _, known, ..)| extension == *known).map(|(kind, ..)| kind)
    }

    pub fn section(self) -> &'static str {
        self.row().0
    }

    pub fn extension(self) -> &'static str {
        self.row().1
    }

    /// Whether it runs a program, rather than being something that programs use.
    pub fn runs(self) -> bool {
        matches!(self, Kind::Container | Kind::Pod | Kind::Kube)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quadlet {
    pub path: PathBuf,
    pub kind: Kind,
    /// Its file's name without the extension.
    pub stem: String,
    /// What `%i` stands for, if it is a template.
    pub instance: String,
    /// Its settings, those of its drop-ins after its own.
    pub text: String,
    pub drop_ins: Vec<PathBuf>,
}

/// How much a Quadlet needs what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// Podman makes no unit without this other Quadlet.
    Quadlet,
    /// systemd starts nothing without this unit.
    Required,
    Wanted,
    /// Only the order, or a bond with something that may be missing.
    Order,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub setting: String,
    /// The name of a file or a unit.
    pub name: String,
    pub strength: Strength,
}

impl Reference {
    /// Whether an empty Quadlet can stand for the one that it names: that of a network or a volume.
    pub fn has_placeholder(&self) -> bool {
        [".network", ".volume"].iter().any(|end| self.name.ends_with(end))
    }
}

/// The keys of [Unit] that name other units.
const DEPENDENCIES: [(&str, Strength); 9] = [
    ("Requires", Strength::Required),
    ("BindsTo", Strength::Required),
    ("Requisite", Strength::Required),
    ("Wants", Strength::Wanted),
    ("Upholds", Strength::Wanted),
    ("After", Strength::Order),
    ("Before", Strength::Order),
    ("PartOf", Strength::Order),
    ("OnFailure", Strength::Order),
];

/// The options of Podman that do what a key does.
const OPTIONS: [(&str, &str); 13] = [
    ("--volume", "Volume"),
    ("-v", "Volume"),
    ("--mount", "Mount"),
    ("--publish", "PublishPort"),
    ("-p", "PublishPort"),
    ("--env-file", "EnvironmentFile"),
    ("--secret", "Secret"),
    ("--device", "AddDevice"),
    ("--gpus", "AddDevice"),
    ("--network", "Network"),
    ("--net", "Network"),
    ("--userns", "UserNS"),
    ("--seccomp-policy", "SeccompProfile"),
];

impl Quadlet {
    pub fn read(path: &Path, kind: Kind) -> anyhow::Result<Quadlet> {
        let mut text = read_unit(path)?;
        let drop_ins = drop_ins(path, kind.extension())?;
        for path in &drop_ins {
            text += &format!("\n\n{}", read_unit(path)?.trim_start_matches('\u{feff}'));
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let default = UnitFile::parse(&text).last("Install", "DefaultInstance").unwrap_or("one").to_owned();
        let instance = stem.split_once('@').map(|(_, instance)| instance.to_owned());
        let instance = instance.map(|named| if named.is_empty() { default } else { named }).unwrap_or_default();
        Ok(Quadlet { path: path.to_owned(), kind, stem, instance, text, drop_ins })
    }

    pub fn file(&self) -> String {
        format!("{}.{}", self.stem, self.kind.extension())
    }

    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    pub fn unit(&self) -> UnitFile<'_> {
        UnitFile::parse(&self.text)
    }

    /// Returns the name by which its claims are about it: with an instance, if it is a template.
    pub fn name(&self) -> String {
        let template = if self.stem.ends_with('@') { self.instance.as_str() } else { "" };
        format!("{}{template}", self.stem)
    }

    /// Returns the name of the service that Podman makes of it.
    pub fn service(&self) -> String {
        let own = self.unit().last(self.kind.section(), "ServiceName").map(str::to_owned);
        format!("{}.service", own.unwrap_or_else(|| format!("{}{}", self.stem, self.kind.row().2)))
    }

    /// Returns whether a file of this name would be what a reference names, by its file or by its service.
    pub fn would_be(path: &Path, name: &str) -> bool {
        let Some((kind, file)) = Kind::of(path).zip(path.file_name().and_then(|name| name.to_str())) else {
            return false;
        };
        let template = name.split_once('@').map_or(String::new(), |(begun, instance)| {
            format!("{begun}@{}", instance.find('.').map_or("", |dot| &instance[dot..]))
        });
        let stem = file.trim_end_matches(kind.extension()).trim_end_matches('.');
        let service = format!("{stem}{}.service", kind.row().2);
        [name, &template].iter().any(|name| *name == file || *name == service)
    }

    pub fn is_job(&self) -> bool {
        self.unit().last("Service", "Type") == Some("oneshot")
    }

    /// Returns the values of a key of its own section, and of Podman's options that do the same.
    pub fn values(&self, key: &str) -> Vec<String> {
        let (unit, section) = (self.unit(), self.kind.section());
        let mut values: Vec<String> = unit.values(section, key).into_iter().map(str::to_owned).collect();
        let mut words = unit.words(section, "PodmanArgs").into_iter();
        while let Some(word) = words.next() {
            let (option, value) = word.split_once('=').unwrap_or((&word, ""));
            if OPTIONS.contains(&(option, key)) {
                values.extend(if value.is_empty() { words.next() } else { Some(value.to_owned()) });
            }
        }
        values
    }

    /// Returns the same values, each after the setting as it would be written alone.
    pub fn lines(&self, key: &str) -> impl Iterator<Item = (String, String)> {
        self.values(key).into_iter().map(move |value| (format!("{key}={value}"), value))
    }

    /// Returns everything that it names and that could be another Quadlet or unit.
    pub fn references(&self) -> Vec<Reference> {
        let mut found = Vec::new();
        for key in ["Pod", "Network", "Volume", "Mount", "Image", "Rootfs"] {
            for (setting, value) in self.lines(key) {
                let names = value.split([':', ',']).map(|part| part.split_once('=').map_or(part, |(_, value)| value));
                let quadlet = |name: &&str| Kind::of(Path::new(name)).is_some() && !name.contains('/');
                let count = if key == "Mount" { usize::MAX } else { 1 };
                found.extend(names.take(count).filter(quadlet).map(|name| Reference {
                    setting: setting.clone(),
                    name: name.to_owned(),
                    strength: Strength::Quadlet,
                }));
            }
        }
        for (key, strength) in DEPENDENCIES {
            let names = self.unit().words("Unit", key);
            found.extend(names.into_iter().map(|name| Reference {
                setting: format!("{key}={name}"),
                name: name.replace("%i", &self.instance),
                strength,
            }));
        }
        found
    }

    /// Checks what Podman's generator would refuse. Returns the keys that Podman 5.4 does not know, but newer ones do.
    pub fn check(&self) -> anyhow::Result<Vec<String>> {
        let (section, _, _, needs) = self.kind.row();
        let (unit, path) = (self.unit(), self.path.display());
        let known = format!("\n{KEYS}").replace("\n  ", " ");
        let known = known.split(&format!("\n{section}: ")).nth(1).and_then(|rest| rest.lines().next());
        let known: Vec<(&str, bool)> =
            known.unwrap_or_default().split(' ').map(|key| (key.trim_end_matches('+'), key.ends_with('+'))).collect();
        if !unit.sections().any(|name| name == section) {
            let meant = nearest(section, unit.sections()).filter(|found| found.eq_ignore_ascii_case(section));
            let meant = meant.map_or(String::new(), |found| format!(", only [{found}]"));
            ensure!(
                needs.is_empty(),
                "{path}: it has no section [{section}]{meant}: write [{section}] above its settings"
            );
        }
        let mut newer = Vec::new();
        for (_, key, _) in unit.settings().filter(|(of, ..)| *of == section) {
            match known.iter().find(|(name, _)| *name == key) {
                Some((_, new)) => newer.extend(new.then(|| key.to_owned())),
                None => {
                    let meant = nearest(key, known.iter().map(|(name, _)| *name)).unwrap_or_default();
                    anyhow::bail!("{path}: Podman knows no key {key}= in [{section}]: did you mean {meant}=?");
                }
            }
        }
        let has = |key: &&str| unit.last(section, key).is_some();
        let missing = needs.join("= or ");
        ensure!(needs.is_empty() || needs.iter().any(has), "{path}: [{section}] lacks {missing}=, which Podman needs");
        Ok(newer)
    }
}
