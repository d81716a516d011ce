//! Follows the chain of runs in a folder: each plan names the run before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::base::digest::sha256;
use crate::base::platform::MachineKind;
use crate::base::stats::Interval;
use crate::claims::register::ClaimId;
use crate::evidence::bundle::SandboxedDir;
use crate::evidence::merge::PARTS;
use crate::evidence::sealed_plan::{Link, PLAN, SealedPlan};
use crate::verdict::claim_verdict::ControlResult;
use crate::verdict::worth::{FalseAlarms, of_equals};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    Complete,
    /// It stopped before the end, and sealed what it had.
    Aborted,
    /// It was killed, or is under way.
    Killed,
}

/// A run in a folder of runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PastRun {
    #[serde(flatten)]
    pub link: Link,
    pub folder: PathBuf,
    pub started: Timestamp,
    pub target: String,
    pub ending: Ending,
    pub exit: Option<u8>,
    /// When its plan was written, if it has one.
    pub planned: Option<Timestamp>,
    pub previous: Option<Link>,
}

/// All runs in a folder, in the order in which they began, with what is wrong with each.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    pub schema: u32,
    pub runs: Vec<PastRun>,
    /// The runs that are named and not there, each in a sentence.
    pub gaps: Vec<String>,
    /// The runs that more than one run names as the one before it, each in a sentence.
    pub forks: Vec<String>,
    /// How often claims' comparisons of equals saw a difference, in all runs together.
    pub false_alarms: Vec<OfClaim>,
}

/// The comparisons of equals of a claim's controls on one kind of machine.
#[derive(Clone, Debug, Serialize)]
pub struct OfClaim {
    pub claim: ClaimId,
    pub kind: Option<MachineKind>,
    #[serde(flatten)]
    pub equals: FalseAlarms,
}

/// A folder that holds a run.
struct Found {
    open: SandboxedDir,
    /// `run.json`.
    run: Json,
    planned: bool,
}

impl Found {
    fn at(folder: &Path) -> Option<Found> {
        let open = SandboxedDir::open(folder).ok()?;
        let run: Json = serde_json::from_str(&open.text("run.json").ok()?).ok()?;
        let one = run.get("parts").is_none() && run.get("run").is_some();
        one.then(|| Found { planned: open.file(PLAN).is_ok(), open, run })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.run.get(name)?.as_str()
    }

    fn started(&self) -> Timestamp {
        self.text("started").and_then(|time| time.parse().ok()).unwrap_or_default()
    }

    fn link(&self) -> Option<Link> {
        let sealed = self.open.text(if self.planned { PLAN } else { "run.json" }).ok()?;
        Some(Link { run: self.text("run")?.to_owned(), sha256: sha256(sealed.as_bytes()) })
    }

    fn read(&self) -> Option<PastRun> {
        #[derive(Default, Deserialize)]
        struct End {
            complete: bool,
            exit: u8,
        }
        let plan: Option<SealedPlan> = self.open.text(PLAN).ok().and_then(|text| serde_json::from_str(&text).ok());
        let end = self.open.text("verdicts.json").ok().and_then(|text| serde_json::from_str(&text).ok());
        let end: End = end.unwrap_or_default();
        let ending = match (self.text("ended"), end.complete) {
            (None, _) => Ending::Killed,
            (_, true) => Ending::Complete,
            _ => Ending::Aborted,
        };
        Some(PastRun {
            link: self.link()?,
            folder: self.open.path().to_owned(),
            started: self.started(),
            target: self.text("target").unwrap_or_default().to_owned(),
            ending,
            exit: (ending != Ending::Killed).then_some(end.exit),
            planned: plan.as_ref().map(|plan| plan.at),
            previous: plan.and_then(|plan| plan.previous),
        })
    }
}

/// Returns the folder whose runs are the history of a run: the one that contains it, or for a part of several targets the
/// one that contains the whole.
pub fn folder_of(run: &Path) -> PathBuf {
    let parent = |path: &Path| path.parent().unwrap_or(path).to_owned();
    let folder = parent(run);
    if folder.file_name().is_some_and(|name| name == PARTS) { parent(&parent(&folder)) } else { folder }
}

/// Finds the run before a new one: of those in the same folder, the one that began last. A run that was killed without a
/// plan has measured nothing.
#[cfg(feature = "run")]
pub fn before(run: &Path) -> Option<Link> {
    let counts = |other: &&Found| other.open.path() != run && (other.planned || other.text("ended").is_some());
    found(&folder_of(run)).iter().rfind(counts).and_then(Found::link)
}

/// Finds all runs in a folder, and in the merged runs there, in the order in which they began.
fn found(folder: &Path) -> Vec<Found> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        // `latest` is a link to one of the others.
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
    };
    let folders = below(folder).into_iter().flat_map(|folder| [below(&folder.join(PARTS)), vec![folder]].concat());
    let mut found: Vec<Found> = folders.filter_map(|folder| Found::at(&folder)).collect();
    found.sort_by_key(|run| (run.started(), run.open.path().to_owned()));
    found
}

impl History {
    /// Reads a folder of runs, such as `target/assay`.
    pub fn read(folder: &Path) -> anyhow::Result<History> {
        let folder = SandboxedDir::open(folder)?;
        let folder = folder.path();
        let mut runs: Vec<PastRun> = found(folder).iter().filter_map(Found::read).collect();
        // A merged run holds copies of others.
        let mut seen = BTreeSet::new();
        runs.retain(|run| seen.insert(run.link.clone()));
        anyhow::ensure!(!runs.is_empty(), "{} holds no runs: name a folder like target/assay", folder.display());
        Ok(History::of(runs))
    }

    /// Counts false alarms, too, for which it reads the verdicts of all runs.
    pub fn with_false_alarms(self) -> History {
        History { false_alarms: false_alarms(&self.runs), ..self }
    }

    pub fn of(runs: Vec<PastRun>) -> History {
        let gap = |run: &PastRun| missing(run, &runs).map(|gap| format!("{}: {gap}", run.link.run));
        let gaps = runs.iter().filter_map(gap).collect();
        let fork = |run: &PastRun| {
            let after = runs.iter().filter(|other| other.previous.as_ref() == Some(&run.link));
            let after: Vec<&str> = after.map(|other| other.link.run.as_str()).collect();
            (after.len() > 1).then(|| format!("{} comes before {}", run.link.run, after.join(" and before ")))
        };
        let forks = runs.iter().filter_map(fork).collect();
        History { schema: 1, gaps, forks, false_alarms: Vec::new(), runs }
    }

    /// Follows the runs back from one of them: returns those before it, the newest first, or says which is missing.
    pub fn back_from(&self, link: &Link) -> Result<Vec<&PastRun>, String> {
        let find = |link: &Link| self.runs.iter().find(|run| run.link == *link);
        let mut run = find(link).ok_or_else(|| format!("{} is not there", link.run))?;
        let mut earlier = Vec::new();
        while let Some(previous) = &run.previous {
            if let Some(gap) = missing(run, &self.runs) {
                return Err(format!("{}: {gap}", run.link.run));
            }
            let Some(found) = find(previous) else { break };
            earlier.push(found);
            run = found;
        }
        Ok(earlier)
    }

    pub fn render(&self) -> String {
        let mut text = String::new();
        for PastRun { link, started, target, ending, exit, planned, .. } in &self.runs {
            let ended = match (ending, exit) {
                (Ending::Killed, _) => "killed, or under way".to_owned(),
                (Ending::Aborted, _) => "stopped before the end".to_owned(),
                (Ending::Complete, exit) => format!("exit status {}", exit.unwrap_or_default()),
            };
            let sealed =
                if planned.is_some() { "sealed before it was measured" } else { "not sealed before it was measured" };
            text +=
                &format!("{}  {}  {target:<10}  {ended:<22}  {sealed}\n", link.run, started.strftime("%Y-%m-%d %H:%M"));
        }
        text += &self.gaps.iter().map(|gap| format!("✘ {gap}\n")).collect::<String>();
        text += &self.forks.iter().map(|fork| format!("– {fork}\n")).collect::<String>();
        let plural = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
        text + &format!(
            "{}, {}, {}",
            plural(self.runs.len(), "run"),
            plural(self.gaps.len(), "gap"),
            plural(self.forks.len(), "fork")
        )
    }
}

/// Counts the comparisons of equals in all runs, by claim and by kind of machine.
fn false_alarms(runs: &[PastRun]) -> Vec<OfClaim> {
    #[derive(Default, Deserialize)]
    struct Judged {
        claims: Vec<Claim>,
    }
    #[derive(Deserialize)]
    struct Claim {
        id: ClaimId,
        controls: Vec<ControlResult>,
    }
    let mut intervals = BTreeMap::<(ClaimId, Option<MachineKind>), Vec<(Interval, f64)>>::new();
    for run in runs {
        let text = SandboxedDir::open(&run.folder).and_then(|folder| folder.text("verdicts.json")).unwrap_or_default();
        for claim in serde_json::from_str::<Judged>(&text).unwrap_or_default().claims {
            for control in &claim.controls {
                intervals
                    .entry((claim.id, control.machine_kind))
                    .or_default()
                    .extend(of_equals(std::iter::once(control)));
            }
        }
    }
    let of = |((claim, kind), all): (_, Vec<_>)| OfClaim { claim, kind, equals: FalseAlarms::among(&all) };
    intervals.into_iter().filter(|(_, all)| !all.is_empty()).map(of).collect()
}

/// Says what is wrong with the run that another names as the one before it.
fn missing(run: &PastRun, all: &[PastRun]) -> Option<String> {
    let previous = run.previous.as_ref()?;
    let named = || all.iter().any(|other| other.link.run == previous.run);
    match all.iter().any(|other| other.link == *previous) {
        true => None,
        false if named() => Some(format!("the plan of run {} before it was changed since", previous.run)),
        false => Some(format!("run {} was before it, and is not there", previous.run)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::worth::tests::{RECORDED, control};

    fn run(name: &str, previous: Option<&PastRun>) -> PastRun {
        PastRun {
            link: Link { run: name.to_owned(), sha256: sha256(name.as_bytes()) },
            folder: name.into(),
            started: Timestamp::UNIX_EPOCH,
            target: "vm".to_owned(),
            ending: Ending::Complete,
            exit: Some(0),
            planned: Some(Timestamp::UNIX_EPOCH),
            previous: previous.map(|run| run.link.clone()),
        }
    }

    #[test]
    fn a_run_that_was_dropped_or_changed_is_a_gap_and_two_after_one_are_a_fork() {
        let a = run("a", None);
        let (b, c) = (run("b", Some(&a)), run("c", Some(&run("b", Some(&a)))));
        let history = |runs: &[&PastRun]| History::of(runs.iter().map(|run| (*run).clone()).collect());
        let whole = history(&[&a, &b, &c]);
        assert_eq!((whole.gaps.len(), whole.forks.len()), (0, 0));
        let names = |runs: Vec<&PastRun>| runs.iter().map(|run| run.link.run.clone()).collect::<Vec<_>>();
        assert_eq!(whole.back_from(&c.link).map(names), Ok(vec!["b".to_owned(), "a".to_owned()]));
        let dropped = history(&[&a, &c]);
        assert_eq!(dropped.gaps, ["c: run b was before it, and is not there"]);
        assert_eq!(dropped.back_from(&c.link), Err(dropped.gaps[0].clone()));
        // Older gaps count for each later run.
        let first = history(&[&b, &c]);
        assert_eq!(first.back_from(&c.link), Err("b: run a was before it, and is not there".to_owned()));
        let other = PastRun { link: Link { sha256: "x".to_owned(), ..b.link.clone() }, ..b.clone() };
        assert_eq!(history(&[&a, &other, &c]).gaps, ["c: the plan of run b before it was changed since"]);
        let fork = history(&[&a, &b, &run("d", Some(&a))]);
        assert_eq!((fork.gaps.len(), fork.forks), (0, vec!["a comes before b and before d".to_owned()]));
    }

    #[test]
    fn comparisons_of_equals_in_all_runs_are_counted_by_claim_and_kind() {
        let folder = tempfile::tempdir().unwrap();
        let run = |name: &str, verdicts: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("verdicts.json"), verdicts).unwrap();
            PastRun { folder: path, ..run(name, None) }
        };
        let with = |factor: f64, kind: MachineKind| {
            let control = control(&RECORDED.map(|ratio| ratio * factor), 2.0);
            let control = ControlResult { machine_kind: Some(kind), ..control };
            serde_json::json!({ "claims": [{ "id": "A8-2", "controls": [control] }] }).to_string()
        };
        let runs = [
            run("a", &with(1.0, MachineKind::Nspawn)),
            run("b", &with(3.0, MachineKind::Nspawn)),
            run("c", &with(1.0, MachineKind::Ec2)),
            run("d", "killed while it was writ"),
        ];
        let counted = false_alarms(&runs).into_iter().map(|one| (one.kind, one.equals.verdicts, one.equals.claimed));
        let expected = [(Some(MachineKind::Nspawn), 2, 1), (Some(MachineKind::Ec2), 1, 0)];
        assert_eq!(counted.collect::<Vec<_>>(), expected);
    }
}
