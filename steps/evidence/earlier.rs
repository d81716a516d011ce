//! Finds how an earlier run of the same kind spent its time.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::base::platform::TargetSpec;
use crate::base::work_summary::WorkSummary;

/// Returns how the newest run below `runs` on this target, with the same options, spent its time.
pub fn time(runs: &Path, target: &TargetSpec, command_line: impl Iterator<Item = String>) -> Option<WorkSummary> {
    let command_line: Vec<Json> = command_line.map(Json::from).collect();
    let mut folders: Vec<PathBuf> = fs::read_dir(runs).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    // The ids of runs begin with their time, and `latest` comes after them.
    folders.sort();
    folders.iter().rev().find_map(|folder| {
        let mut run: Json = serde_json::from_slice(&fs::read(folder.join("run.json")).ok()?).ok()?;
        let same =
            run["target"] == target.to_string() && options(run["command_line"].as_array()?) == options(&command_line);
        same.then(|| serde_json::from_value(run["time"].take()).ok())?
    })
}

/// Returns the options that change what a run does.
fn options(command_line: &[Json]) -> Vec<&str> {
    let words = command_line.iter().skip(1).filter_map(Json::as_str);
    words.filter(|word| *word != "--verbose" && !word.starts_with("-v")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_run_of_the_same_kind_is_found() {
        let runs = tempfile::tempdir().unwrap();
        let run = |id: &str, target: &str, option: &str, wall: Option<f64>| {
            let time = wall.map(|wall| WorkSummary { wall, critical: 0.0, path: Vec::new(), work: Vec::new() });
            let run = serde_json::json!({ "target": target, "command_line": ["assay", "run", option], "time": time });
            fs::create_dir(runs.path().join(id)).unwrap();
            fs::write(runs.path().join(id).join("run.json"), run.to_string()).unwrap();
        };
        let found = |options: &[&str]| {
            let line = ["target/assay"].iter().chain(options).map(|word| (*word).to_owned());
            time(runs.path(), &"vm:amd64".parse().unwrap(), line).map(|time| time.wall)
        };
        assert_eq!(found(&["run"]), None);
        run("20261123-1", "vm:amd64", "--keep", Some(1.0));
        run("20261124-1", "vm:amd64", "--keep", Some(2.0));
        run("20261125-1", "vm:arm64", "--keep", Some(3.0));
        run("20261126-1", "vm:amd64", "--fail-fast", Some(4.0));
        run("20261127-1", "vm:amd64", "--keep", None);
        fs::write(runs.path().join("notes"), "").unwrap();
        assert_eq!(found(&["run", "-vv", "--keep"]), Some(2.0));
        assert_eq!(found(&["run"]), None);
    }
}
