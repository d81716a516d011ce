//! Compares how assay reads features with how Cucumber's own parser does: on its test data, which `ci/gherkin` points to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use assay::claims::feature_file::{FeatureFile, GherkinErrors};
use assay::report::Document;
use gherkin::{Step, StepType};
use serde_json::{Value as Json, json};

fn main() -> anyhow::Result<ExitCode> {
    let folder =
        std::env::args_os().nth(1).map(PathBuf::from).context("name the folder testdata of cucumber/gherkin")?;
    let mut differences = Vec::new();
    let mut compare = |kind: &str, compare: fn(&Path) -> anyhow::Result<Option<String>>| {
        let files = features(&folder.join(kind))?;
        let mut same = 0;
        for file in &files {
            match compare(file).with_context(|| file.display().to_string())? {
                None => same += 1,
                Some(difference) => differences.push(format!("{}: {difference}", file.display())),
            }
        }
        anyhow::Ok((same, files.len()))
    };
    let (good, bad) = (compare("good", read)?, compare("bad", refused)?);
    differences.iter().for_each(|difference| println!("{difference}"));
    println!("{} of {} good files are read as Cucumber's parser reads them", good.0, good.1);
    println!("{} of {} bad files are refused at the same lines", bad.0, bad.1);
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn features(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "feature"));
    files.sort();
    ensure!(!files.is_empty(), "{} contains no feature files: name a checkout of cucumber/gherkin", folder.display());
    Ok(files)
}

fn parse(path: &Path) -> anyhow::Result<Result<FeatureFile, GherkinErrors>> {
    let text = std::fs::read_to_string(path)?;
    match FeatureFile::parse(path.display().to_string(), &text) {
        Ok(file) => Ok(Ok(file)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// Returns the lines of the JSON file that belongs to a feature file.
fn expected(path: &Path, ending: &str) -> anyhow::Result<Vec<Json>> {
    let path = format!("{}.{ending}", path.display());
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| path.clone())).collect()
}

/// Compares the tree of a good file, and the types of its steps. Returns the difference.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let file = match parse(path)? {
        Ok(file) => file,
        Err(errors) => return Ok(Some(format!("is refused: {errors}"))),
    };
    let mut document = expected(path, "ast.ndjson")?;
    let theirs = plain(document[0]["gherkinDocument"]["feature"].take());
    // The tree that Cucumber Messages have of it.
    let tree = || plain(Document(&file).tree()["feature"].take());
    let ours = if file.feature.keyword.is_empty() { Json::Null } else { tree() };
    if let Some(difference) = difference("feature", &ours, &theirs) {
        return Ok(Some(difference));
    }
    // An outline's scenarios have the ids of their rows, too.
    let pickles = expected(path, "pickles.ndjson")?;
    let one = |pickle: &&Json| pickle["pickle"]["astNodeIds"].as_array().is_some_and(|ids| ids.len() == 1);
    let theirs = pickles.iter().filter(one).filter_map(|pickle| pickle["pickle"]["steps"].as_array()).flatten();
    for (ours, theirs) in typed_steps(&file).iter().zip(theirs) {
        let ty = match ours.ty {
            StepType::Given => "Context",
            StepType::When => "Action",
            StepType::Then => "Outcome",
        };
        // Cucumber has no type for a step "*". Assay needs one.
        if theirs["text"] != json!(ours.value) || (theirs["type"] != "Unknown" && theirs["type"] != ty) {
            return Ok(Some(format!("the step \"{}\" is {ty}, expected {theirs}", ours.value)));
        }
    }
    Ok(None)
}

/// Compares the lines of the errors in a bad file.
fn refused(path: &Path) -> anyhow::Result<Option<String>> {
    let location = |error: &Json| error["parseError"]["source"]["location"]["line"].as_u64().map(|line| line as usize);
    let theirs: BTreeSet<usize> = expected(path, "errors.ndjson")?.iter().filter_map(location).collect();
    let ours: BTreeSet<usize> = match parse(path)? {
        Ok(_) => return Ok(Some(format!("is read, expected errors on the lines {theirs:?}"))),
        Err(GherkinErrors(errors)) => errors.iter().map(|error| error.line).collect(),
    };
    Ok((ours != theirs).then(|| format!("has errors on the lines {ours:?}, expected {theirs:?}")))
}

/// Returns the steps of all scenarios that are not outlines, after those of the backgrounds above them.
fn typed_steps(file: &FeatureFile) -> Vec<&Step> {
    let feature = &file.feature;
    let rules = feature.rules.iter().map(|rule| (&rule.scenarios, rule.background.as_ref()));
    let mut steps = Vec::new();
    for (scenarios, background) in [(&feature.scenarios, None)].into_iter().chain(rules) {
        for scenario in scenarios.iter().filter(|one| one.examples.is_empty() && !one.steps.is_empty()) {
            let backgrounds = feature.background.iter().chain(background);
            steps.extend(backgrounds.flat_map(|background| &background.steps).chain(&scenario.steps));
        }
    }
    steps
}

/// Removes from a tree what assay does not keep: ids, and the places of everything but keywords.
fn plain(tree: Json) -> Json {
    match tree {
        Json::Object(mut node) => {
            if !node.contains_key("keyword") {
                node.remove("location");
            }
            for dropped in ["id", "keywordType", "mediaType", "delimiter"] {
                node.remove(dropped);
            }
            Json::Object(node.into_iter().map(|(name, value)| (name, plain(value))).collect())
        }
        Json::Array(all) => all.into_iter().map(plain).collect(),
        other => other,
    }
}

/// Finds the first place where two trees differ.
fn difference(place: &str, ours: &Json, theirs: &Json) -> Option<String> {
    match (ours, theirs) {
        (Json::Object(a), Json::Object(b)) => {
            a.keys().chain(b.keys()).collect::<BTreeSet<_>>().into_iter().find_map(|name| {
                let of = |node: &serde_json::Map<String, Json>| node.get(name).cloned().unwrap_or_default();
                difference(&format!("{place}.{name}"), &of(a), &of(b))
            })
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(index, (a, b))| difference(&format!("{place}[{index}]"), a, b))
        }
        _ => (ours != theirs).then(|| format!("{place} is {ours}, expected {theirs}")),
    }
}
