//! Merges several runs: the shards of one target, and several targets side by side. The result is computed from their
//! bundles, and nothing is judged again: every verdict is taken from the run that reached it.

mod checks;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::base::platform::place_name;
use crate::claims::plan::{Decision, NotJudgedReason, Shard};
use crate::claims::register::ClaimId;
use crate::evidence::bundle::{EvidenceBundle, SandboxedDir, parts};
use crate::evidence::{ClaimResult, SCHEMA, Verdicts, exit};
use crate::verdict::claim_verdict::Attempt;
use crate::verdict::declared::Problem;

/// The folder of a merged bundle that holds its parts.
pub const PARTS: &str = "parts";

#[derive(Clone, Debug)]
pub struct Part {
    /// The name of its folder within [`PARTS`].
    pub name: String,
    /// Its target, with its platform if one was chosen: `local debian-14`.
    pub target: String,
    /// Its shard of the target's claims, if the run was sharded.
    pub shard: Option<Shard>,
    pub bundle: EvidenceBundle,
}

impl Part {
    /// Makes a part from a run's bundle, named after its target and shard.
    pub fn of(bundle: EvidenceBundle) -> anyhow::Result<Part> {
        let path = || bundle.folder.path().display();
        let target = bundle.run.get("target").and_then(Json::as_str);
        let target = target.with_context(|| format!("{}/run.json does not say where it ran", path()))?;
        let target = place_name(target, bundle.run.get("platform").and_then(Json::as_str));
        let shards: BTreeSet<Shard> = bundle.verdicts.claims.iter().filter_map(elsewhere).collect();
        anyhow::ensure!(shards.len() < 2, "{} says that it is of more than one shard: it was put together", path());
        let shard = shards.first().copied();
        Ok(Part { name: part_name(&target, shard), target, shard, bundle })
    }

    pub fn open(path: &Path) -> anyhow::Result<Part> {
        Part::of(EvidenceBundle::open(path)?)
    }

    pub fn run(&self) -> &str {
        &self.bundle.verdicts.run
    }

    /// Returns whether the run was finalized, which a killed run was not.
    pub fn ended(&self) -> bool {
        self.bundle.run.get("ended").is_some_and(|ended| !ended.is_null())
    }

    fn path(&self) -> String {
        self.bundle.folder.path().display().to_string()
    }
}

/// Returns the name of a part's folder: its target and shard, without characters that are awkward in file names.
pub fn part_name(target: &str, shard: Option<Shard>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
    let name: String = target.chars().map(plain).collect();
    let shard = shard.map(Shard::numbers).map(|(part, of)| format!("-shard-{part}-of-{of}")).unwrap_or_default();
    name.trim_start_matches('.').to_owned() + &shard
}

/// Returns whether a name stays inside of the folder of parts.
pub fn is_part_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}

/// Returns the run's own shard, if the claim belongs to another one.
fn elsewhere(claim: &ClaimResult) -> Option<Shard> {
    match claim.decision() {
        Decision::Skip(NotJudgedReason::OtherShard { shard }) => Some(shard),
        _ => None,
    }
}

/// What is missing of a target: some of its shards, or everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub target: String,
    /// Empty if there is no run on it at all.
    pub shards: Vec<Shard>,
}

/// The results of all runs on one target.
#[derive(Clone, Debug)]
pub struct Column {
    pub target: String,
    /// The indices of its parts.
    pub parts: Vec<usize>,
    /// The claims' verdicts on this target. Paths of evidence are relative to the merged bundle.
    pub verdicts: Verdicts,
    /// For each of these claims, the index of the part that it was taken from.
    pub from: Vec<usize>,
}

impl Column {
    /// Returns a claim's record and the index of its part.
    pub fn of_claim(&self, id: ClaimId) -> Option<(&ClaimResult, usize)> {
        let mut printed = self.verdicts.claims.iter().zip(&self.from);
        printed.find(|(claim, _)| claim.id == id).map(|(claim, part)| (claim, *part))
    }
}

#[derive(Clone, Debug)]
pub struct Merged {
    pub run: String,
    pub parts: Vec<Part>,
    /// One column per target, in the order in which the targets were named.
    pub columns: Vec<Column>,
    /// The runs that are missing.
    pub missing: Vec<Missing>,
    pub exit: u8,
}

impl Merged {
    /// Merges runs. `asked` names the expected targets in order; targets of other parts are added after them.
    pub fn of(run: String, asked: &[String], mut parts: Vec<Part>) -> anyhow::Result<Merged> {
        anyhow::ensure!(!parts.is_empty(), "no run is named: name the folders of several, target/assay/<run>");
        checks::comparable(&parts)?;
        rename(&mut parts);
        let mut targets: Vec<&str> = asked.iter().map(String::as_str).collect();
        for part in &parts {
            if !targets.contains(&part.target.as_str()) {
                targets.push(&part.target);
            }
        }
        let on = parts.iter().map(|part| part.bundle.verdicts.on).max().unwrap_or_default();
        let (mut columns, mut missing) = (Vec::new(), Vec::new());
        for target in targets {
            let (column, lacks) = column(&run, target, &parts, on)?;
            columns.push(column);
            missing.extend(lacks);
        }
        let worst = |status: u8| columns.iter().any(|column| column.verdicts.exit == status);
        let exit = match () {
            () if worst(1) => 1,
            () if worst(3) || !missing.is_empty() => 3,
            () => 0,
        };
        Ok(Merged { run, parts, columns, missing, exit })
    }

    /// Reads and merges the parts of a merged bundle again.
    pub fn open(path: &Path) -> anyhow::Result<Merged> {
        let folder = SandboxedDir::open(path)?;
        let names = parts(&folder).with_context(|| format!("{} is not merged of several runs", path.display()))?;
        let run: Json = serde_json::from_str(&folder.text("run.json")?).context("run.json is not JSON")?;
        let targets = run["targets"].as_array().into_iter().flatten().filter_map(Json::as_str);
        let targets: Vec<String> = targets.map(str::to_owned).collect();
        Merged::within(&folder, run["run"].as_str().unwrap_or_default().to_owned(), &targets, &names)
    }

    pub fn within(folder: &SandboxedDir, run: String, asked: &[String], names: &[String]) -> anyhow::Result<Merged> {
        let mut seen = BTreeSet::new();
        let read = |name: &String| {
            let new = is_part_name(name) && seen.insert(name.clone());
            anyhow::ensure!(new, "\"{name}\" is not a name of a part: run.json was changed");
            Ok(Part { name: name.clone(), ..Part::open(folder.folder(&format!("{PARTS}/{name}"))?.path())? })
        };
        Merged::of(run, asked, names.iter().map(read).collect::<anyhow::Result<_>>()?)
    }

    pub fn claims(&self) -> BTreeSet<ClaimId> {
        self.columns.iter().flat_map(|column| &column.verdicts.claims).map(|claim| claim.id).collect()
    }

    pub fn complete(&self) -> bool {
        self.missing.is_empty() && self.parts.iter().all(|part| part.bundle.verdicts.complete)
    }

    /// Lists problems beyond the claims' verdicts, each with its target.
    pub fn problems(&self) -> Vec<Problem> {
        let all = self.columns.iter().flat_map(|column| column.verdicts.problems.iter().map(move |one| (column, one)));
        all.map(|(column, problem)| Problem { target: Some(column.target.clone()), ..problem.clone() }).collect()
    }

    /// Builds `verdicts.json`: like a run's, but each claim appears once per target, with its target and part.
    pub fn verdicts(&self) -> anyhow::Result<Json> {
        let mut claims = Vec::new();
        for id in self.claims() {
            for column in &self.columns {
                let Some((claim, part)) = column.of_claim(id) else { continue };
                let part = self.parts.get(part).map(|part| part.name.as_str()).unwrap_or_default();
                let mut claim = serde_json::to_value(claim)?;
                claim["target"] = json!(column.target);
                claim["part"] = json!(part);
                claims.push(claim);
            }
        }
        let on = self.columns.iter().map(|column| column.verdicts.on).max();
        let (complete, problems) = (self.complete(), self.problems());
        Ok(json!({
            "schema": SCHEMA, "run": self.run, "on": on, "complete": complete, "exit": self.exit, "problems": problems,
            "missing": self.missing, "claims": claims,
        }))
    }

    /// Builds `run.json`, which lists the parts.
    pub fn facts(&self) -> Json {
        let noted = |part: &Part, name: &str| part.bundle.run.get(name).cloned().unwrap_or_default();
        let times = |name: &str| self.parts.iter().map(|part| noted(part, name)).collect::<Vec<_>>();
        let text = |time: &Json| time.as_str().unwrap_or_default().to_owned();
        let started = times("started").into_iter().min_by_key(text);
        // A killed run has no end, and then the whole has none either.
        let ended = times("ended");
        let ended = ended.iter().all(Json::is_string).then(|| ended.iter().max_by_key(|time| text(time)).cloned());
        let message = |part: &Part| {
            let Verdicts { complete, exit, .. } = part.bundle.verdicts;
            json!({
                "name": part.name, "folder": format!("{PARTS}/{}", part.name), "run": part.run(), "target": part.target,
                "shard": part.shard.map(|shard| shard.to_string()), "started": noted(part, "started"),
                "ended": noted(part, "ended"), "complete": complete, "exit": exit, "image": noted(part, "image"),
            })
        };
        let first = |name: &str| self.parts.first().map(|part| noted(part, name));
        json!({
            "schema": SCHEMA, "run": self.run, "started": started, "ended": ended.flatten(), "git": first("git"),
            "assay": first("assay"), "missing": self.missing,
            "targets": self.columns.iter().map(|column| &column.target).collect::<Vec<_>>(),
            "parts": self.parts.iter().map(message).collect::<Vec<_>>(),
        })
    }
}

/// Adds the run's name to parts that would share a name.
fn rename(parts: &mut [Part]) {
    let names: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
    let shared = |part: &&mut Part| names.iter().filter(|name| **name == part.name).count() > 1;
    for part in parts.iter_mut().filter(shared) {
        part.name = format!("{}-{}", part.name, part_name(part.run(), None));
    }
}

/// Merges the claims of one target, and describes what is missing.
fn column(run: &str, target: &str, all: &[Part], on: Date) -> anyhow::Result<(Column, Option<Missing>)> {
    let mine: Vec<(usize, &Part)> = all.iter().enumerate().filter(|(_, part)| part.target == target).collect();
    checks::judged_once(&mine)?;
    let absent = absent(&mine);
    let lacks = mine.is_empty() || !absent.is_empty();
    let missing = lacks.then(|| Missing { target: target.to_owned(), shards: absent.clone() });
    let mut printed: Vec<(usize, &Part, &ClaimResult)> = Vec::new();
    for (place, part) in &mine {
        printed.extend(part.bundle.verdicts.claims.iter().map(|claim| (*place, *part, claim)));
    }
    printed.sort_by_key(|(_, _, claim)| (claim.id, rank(&claim.decision())));
    printed.dedup_by_key(|(_, _, claim)| claim.id);
    let (mut claims, mut from) = (Vec::new(), Vec::new());
    for (place, part, claim) in printed {
        let mut claim = claim.clone();
        if elsewhere(&claim).is_some() && !absent.is_empty() {
            for scenario in &mut claim.scenarios {
                scenario.decision = Decision::Skip(NotJudgedReason::MissingShards { shards: absent.clone() });
            }
            claim = claim.concluded(part.bundle.verdicts.on);
        }
        claims.push(moved(claim, &part.name));
        from.push(place);
    }
    let mut problems: Vec<Problem> = Vec::new();
    for problem in mine.iter().flat_map(|(_, part)| &part.bundle.verdicts.problems) {
        if !problems.contains(problem) {
            problems.push(problem.clone());
        }
    }
    let complete = missing.is_none() && mine.iter().all(|(_, part)| part.bundle.verdicts.complete);
    let exit = match exit(&claims, &problems) {
        0 if !complete => 3,
        exit => exit,
    };
    let verdicts = Verdicts { schema: SCHEMA, run: run.to_owned(), on, complete, exit, problems, claims };
    let parts = mine.iter().map(|(place, _)| *place).collect();
    Ok((Column { target: target.to_owned(), parts, verdicts, from }, missing))
}

/// Ranks decisions when several parts have the claim: it ran; it could not run; it was not selected; it was in another
/// shard.
fn rank(decision: &Decision) -> u8 {
    match decision {
        Decision::Run | Decision::MeasureOnly(_) => 0,
        Decision::Skip(NotJudgedReason::OtherShard { .. }) => 3,
        Decision::Skip(NotJudgedReason::NotSelected) => 2,
        Decision::Skip(_) => 1,
    }
}

fn absent(mine: &[(usize, &Part)]) -> Vec<Shard> {
    let here: BTreeSet<Shard> = mine.iter().filter_map(|(_, part)| part.shard).collect();
    let all = here.first().map(|shard| shard.all()).unwrap_or_default();
    all.into_iter().filter(|shard| !here.contains(shard)).collect()
}

/// Makes a claim's evidence paths relative to the merged bundle instead of to its part.
fn moved(mut claim: ClaimResult, part: &str) -> ClaimResult {
    let prefix = |files: &mut Vec<String>| files.iter_mut().for_each(|file| *file = format!("{PARTS}/{part}/{file}"));
    let all = |attempts: &mut Vec<Attempt>| attempts.iter_mut().for_each(|attempt| prefix(&mut attempt.evidence));
    for scenario in &mut claim.scenarios {
        prefix(&mut scenario.evidence);
        all(&mut scenario.attempts);
    }
    claim.controls.iter_mut().for_each(|control| all(&mut control.attempts));
    claim
}

#[cfg(test)]
mod tests;
