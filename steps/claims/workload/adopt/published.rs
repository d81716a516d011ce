//! Finds published Quadlets, and which of them belong together.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::quadlet::{Kind, Quadlet, Strength};

/// Larger trees are not searched for what Quadlets refer to.
const LARGE: usize = 50_000;

/// The Quadlets that were named, and the files around them.
pub struct Published {
    pub files: Vec<PathBuf>,
    quadlets: Vec<Quadlet>,
}

impl Published {
    /// Reads the Quadlets of a folder, or one, and lists the files of the checkout that they are in.
    pub fn find(source: &Path) -> anyhow::Result<Published> {
        ensure!(source.exists(), "{} does not exist", source.display());
        let source = real(source).with_context(|| format!("cannot read {}", source.display()))?;
        let kinds = "a Quadlet is a file that ends with .container, .pod, .kube, .network, .volume, .image or .build";
        let folder = match source.is_dir() {
            true => source.as_path(),
            false => {
                let kind =
                    Kind::of(&source).with_context(|| format!("{} is not a Quadlet: {kinds}", source.display()))?;
                let folder = source.parent().unwrap_or(&source);
                let it = format!("{} is a {}, which runs nothing", source.display(), kind.extension());
                ensure!(kind.runs(), "{it}: name the Quadlet that uses it, or their folder {}", folder.display());
                folder
            }
        };
        let mut files = Vec::new();
        list(folder, &mut files)?;
        ensure!(files.len() < LARGE, "{} has more than {LARGE} files: name a smaller folder", folder.display());
        let chosen = files.iter().filter(|path| !source.is_file() || **path == source);
        let chosen = chosen.filter_map(|path| Some((path, Kind::of(path)?)));
        let (read, errors): (Vec<_>, Vec<_>) =
            chosen.map(|(path, kind)| Quadlet::read(path, kind)).partition(Result::is_ok);
        let errors: Vec<String> =
            errors.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
        ensure!(errors.is_empty(), "{}", errors.join("\n"));
        let quadlets: Vec<Quadlet> = read.into_iter().flatten().collect();
        ensure!(!quadlets.is_empty(), "{} holds no Quadlet: {kinds}", source.display());
        let programs = quadlets.iter().any(|one| one.kind.runs());
        ensure!(programs, "{} holds nothing that runs: there is no .container, .pod or .kube", source.display());
        if let Some(checkout) = folder.ancestors().find(|folder| folder.join(".git").exists()) {
            let mut around = Vec::new();
            list(checkout, &mut around)?;
            if around.len() < LARGE {
                files = around;
            }
        }
        Ok(Published { files, quadlets })
    }

    /// Returns the sets of Quadlets that belong together, each with what it refers to.
    pub fn sets(&mut self) -> anyhow::Result<Vec<Vec<Quadlet>>> {
        let mut errors = Vec::new();
        let named = self.quadlets.len();
        // Programs belong together if one names the other, or if they share something in one folder.
        let mut groups: Vec<(BTreeSet<usize>, BTreeSet<String>)> = Vec::new();
        for number in 0..named {
            if !self.quadlets[number].kind.runs() {
                continue;
            }
            let (mut members, mut marks) = (BTreeSet::from([number]), self.marks(number, named));
            let apart;
            (groups, apart) = groups.into_iter().partition::<Vec<_>, _>(|(_, other)| marks.is_disjoint(other));
            for (others, more) in apart {
                members.extend(others);
                marks.extend(more);
            }
            groups.push((members, marks));
        }
        let mut sets = Vec::new();
        for (members, _) in groups {
            let (mut set, mut open) = (BTreeSet::new(), Vec::from_iter(members));
            while let Some(number) = open.pop() {
                if set.insert(number) {
                    open.extend(self.links(number, named, &mut errors));
                }
            }
            let set: Vec<Quadlet> = set.into_iter().map(|number| self.quadlets[number].clone()).collect();
            errors.extend(set.iter().filter_map(|one| one.check().err()).map(|error| error.to_string()));
            sets.push(set);
        }
        errors.sort();
        errors.dedup();
        ensure!(errors.is_empty(), "{}", errors.join("\n"));
        let runs = |set: &Vec<Quadlet>| set.iter().any(|one| one.kind == Kind::Container);
        if let Some(lone) = sets.iter().find(|set| !runs(set)).map(|set| set[0].path.display()) {
            ensure!(
                sets.iter().any(runs),
                "{lone}: claims are about a .container, and none belongs to it: name the folder that has one, or write what it \
                 starts as .container files"
            );
        }
        sets.retain(runs);
        Ok(sets)
    }

    /// Returns what tells that programs belong together.
    fn marks(&mut self, number: usize, named: usize) -> BTreeSet<String> {
        let one = self.quadlets[number].clone();
        let here = one.folder().display().to_string();
        let mut marks = BTreeSet::from([one.path.display().to_string()]);
        for reference in one.references() {
            let found = self.resolve(&reference.name, &one, reference.strength == Strength::Quadlet, named);
            match found.map(|found| &self.quadlets[found]) {
                Some(other) if other.kind.runs() => marks.insert(other.path.display().to_string()),
                Some(other) => marks.insert(format!("{here} {}", other.path.display())),
                // A target of their own, such as web.target.
                None if reference.setting.starts_with("PartOf=") => marks.insert(format!("{here} {}", reference.name)),
                None => false,
            };
        }
        let shared = |network: &String| {
            !network.contains(':') && !["host", "none", "bridge", "pasta", "private"].contains(&network.as_str())
        };
        marks.extend(
            one.values("Network").iter().filter(|network| shared(network)).map(|network| format!("{here} {network}")),
        );
        marks
    }

    /// Returns the Quadlets that one needs; those of a pod with it.
    fn links(&mut self, number: usize, named: usize, errors: &mut Vec<String>) -> Vec<usize> {
        let one = self.quadlets[number].clone();
        let mut links = Vec::new();
        for reference in one.references() {
            match self.resolve(&reference.name, &one, reference.strength != Strength::Order, named) {
                Some(found) => links.push(found),
                None if reference.strength == Strength::Quadlet && !reference.has_placeholder() => errors.push(format!(
                    "{}: {}: there is no file {} beside it, nor in the checkout: copy it there, or name the folder that has both",
                    one.path.display(),
                    reference.setting,
                    reference.name
                )),
                None => (),
            }
        }
        if one.kind == Kind::Pod {
            let beside = self
                .files
                .iter()
                .filter(|path| path.parent() == Some(one.folder()) && Kind::of(path) == Some(Kind::Container));
            for path in beside.cloned().collect::<Vec<_>>() {
                let known = self.quadlets.iter().position(|other| other.path == path);
                let found = known
                    .or_else(|| self.load(&path))
                    .filter(|found| self.quadlets[*found].values("Pod").contains(&one.file()));
                links.extend(found);
            }
        }
        links
    }

    /// Returns the Quadlet of a name: one of the same folder, else of those that were named, else, if `anywhere`, the nearest.
    fn resolve(&mut self, name: &str, from: &Quadlet, anywhere: bool, named: usize) -> Option<usize> {
        let nearness =
            |path: &Path| path.iter().zip(from.folder().iter()).take_while(|(one, other)| one == other).count();
        let is = |one: &Quadlet| Quadlet::would_be(&one.path, name) || one.service() == name;
        let known = self.quadlets.iter().enumerate().filter(|(_, one)| is(one));
        let known =
            known.max_by_key(|(number, one)| (one.folder() == from.folder(), *number < named, nearness(&one.path)));
        let known = known.map(|(number, one)| (number, one.folder() == from.folder() || number < named));
        let found = match known {
            Some((number, true)) => Some(number),
            _ if anywhere => {
                let files = self.files.iter().filter(|path| Quadlet::would_be(path, name));
                let nearest =
                    files.max_by_key(|path| (path.parent() == Some(from.folder()), nearness(path))).cloned()?;
                self.quadlets.iter().position(|one| one.path == nearest).or_else(|| self.load(&nearest))
            }
            _ => None,
        }?;
        let one = &mut self.quadlets[found];
        if let Some((_, instance)) = name.split_once('@').filter(|_| one.stem.ends_with('@')) {
            one.instance = instance.rsplit_once('.').map_or(instance, |(instance, _)| instance).to_owned();
        }
        Some(found)
    }

    fn load(&mut self, path: &Path) -> Option<usize> {
        let read = Quadlet::read(path, Kind::of(path)?).ok()?;
        self.quadlets.push(read);
        Some(self.quadlets.len() - 1)
    }
}

/// Returns the absolute path of a file or folder; a file that is a link keeps its name, which an instance has instead of its
/// template's.
fn real(path: &Path) -> std::io::Result<PathBuf> {
    match (path.is_dir(), std::path::absolute(path)?) {
        (false, whole) => {
            Ok(whole.parent().unwrap_or(&whole).canonicalize()?.join(whole.file_name().unwrap_or_default()))
        }
        (true, whole) => whole.canonicalize(),
    }
}

/// Lists the files below a folder, by path, without what tools keep there.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = entry.path();
        match entry.file_type()?.is_dir() {
            true if [".git", "node_modules", "target"].iter().any(|name| entry.file_name() == *name) => (),
            true => list(&path, files)?,
            // A link to a folder could lead back.
            false if path.is_dir() => (),
            false => files.push(path),
        }
        if files.len() >= LARGE {
            break;
        }
    }
    Ok(())
}
