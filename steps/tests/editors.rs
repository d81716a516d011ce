//! The settings of editors for this project, and the one layout of features.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{PROJECT, Project, steps};

/// Returns the files that a pattern of the settings, such as `features/*.feature`, matches.
fn matched(pattern: &Value) -> Vec<String> {
    let (folder, ending) = pattern.as_str().unwrap().split_once("/*").unwrap();
    let files = fs::read_dir(Path::new(PROJECT).join(folder)).unwrap().flatten();
    let mut files: Vec<_> = files.map(|file| format!("{folder}/{}", file.file_name().display())).collect();
    files.retain(|file| file.ends_with(ending));
    files
}

#[test]
fn the_cucumber_extension_is_told_of_our_features_steps_and_kinds_of_words() {
    let catalogue = steps::catalogue(&Project::new());
    let settings = fs::read_to_string(Path::new(PROJECT).join(".vscode/settings.json")).unwrap();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    let mut ours = catalogue["parameter_types"].clone();
    ours.as_array_mut().unwrap().iter_mut().for_each(|kind| drop(kind.as_object_mut().unwrap().remove("takes")));
    assert_eq!(settings["cucumber.parameterTypes"], ours, ".vscode/settings.json does not have the kinds of params.rs");
    let [features, glue] = ["cucumber.features", "cucumber.glue"].map(|name| matched(&settings[name][0]));
    assert_eq!(features.len(), assay::claims::suite::ClaimSuite::read(Path::new(PROJECT)).unwrap().features.len());
    for step in catalogue["steps"].as_array().unwrap() {
        let file = step["place"].as_str().unwrap().split(':').next().unwrap();
        assert!(glue.iter().any(|known| known == file), "{file} has steps that .vscode/settings.json does not name");
    }
}

/// Returns the first line that differs from the layout of features, by its number, and how it should be.
fn mistake(text: &str) -> Option<(usize, String)> {
    let (lines, right): (Vec<&str>, _) = (text.lines().collect(), laid_out(text));
    let differs = |line: &usize| lines.get(*line).copied() != right.get(*line).map(String::as_str);
    let first = (0..lines.len().max(right.len())).find(differs)?;
    Some((first + 1, right.get(first).cloned().unwrap_or_default()))
}

/// Lays out a feature as Cucumber's own formatter does it: two spaces for each level; one blank line before tags, before
/// what has no tags, and between a description and the steps below it; in tables, columns as wide as their widest cell,
/// with cells that begin with a digit on the right.
fn laid_out(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out: Vec<String> = Vec::new();
    let mut quoted = false;
    for (index, line) in lines.iter().enumerate() {
        let words = line.trim();
        let fence = words.starts_with("\"\"\"");
        let above = out.last().map_or("", |line| line.trim());
        if words.starts_with('#') || quoted && !fence {
            out.push(line.trim_end().to_owned());
            continue;
        }
        if words.is_empty() && above.is_empty() {
            continue;
        }
        let joined = match () {
            () if quoted || above.is_empty() || above.starts_with('#') => true,
            () if words.starts_with("Examples:") || is_title(words) || words.starts_with('@') => above.starts_with('@'),
            () if is_step(words) => is_step(above) || belongs_to_step(above) || is_title(above),
            () => true,
        };
        // Tags are indented like what they belong to.
        let level = match if words.starts_with('@') { lines[index + 1].trim() } else { words } {
            feature if feature.starts_with("Feature:") => 0,
            step if is_step(step) || step.starts_with("Examples:") => 2,
            inner if belongs_to_step(inner) => 3,
            _ => 1,
        };
        if !joined {
            out.push(String::new());
        }
        out.push(format!("{:width$}{words}", "", width = if words.is_empty() { 0 } else { 2 * level }));
        quoted ^= fence;
    }
    out.chunk_by(|above, below| [above, below].iter().all(|line| line.trim().starts_with('|')))
        .flat_map(aligned)
        .collect()
}

fn is_step(words: &str) -> bool {
    ["Given ", "When ", "Then ", "And ", "But ", "* "].iter().any(|keyword| words.starts_with(keyword))
}

fn belongs_to_step(words: &str) -> bool {
    words.starts_with('|') || words.starts_with("\"\"\"")
}

fn is_title(words: &str) -> bool {
    ["Background:", "Scenario:", "Scenario Outline:", "Example:"].iter().any(|name| words.starts_with(name))
}

/// Aligns the rows of a table; other lines stay as they are.
fn aligned(lines: &[String]) -> Vec<String> {
    let cells = |line: &String| {
        let row = line.trim().strip_prefix('|')?.trim_end_matches('|');
        Some(row.split('|').map(|cell| cell.trim().to_owned()).collect())
    };
    let Some(rows) = lines.iter().map(cells).collect::<Option<Vec<Vec<String>>>>() else { return lines.to_vec() };
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let padded = |(column, cell): (usize, &String)| {
        let width = width(column).unwrap_or_default();
        match cell.starts_with(|first: char| first.is_ascii_digit()) {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        }
    };
    let row = |row: &Vec<String>| row.iter().enumerate().map(padded).collect::<Vec<_>>().join(" | ");
    rows.iter().map(|cells| format!("      | {} |", row(cells))).collect()
}

/// Asserts that all features of a suite are laid out as Cucumber's formatter does it.
pub fn assert_laid_out(suite: &Path) {
    for file in assay::claims::suite::ClaimSuite::read(suite).unwrap().features {
        assert_eq!(mistake(&file.text), None, "{}", file.path);
    }
}

#[test]
fn every_feature_is_laid_out_as_cucumbers_formatter_does_it() {
    ["", "fixtures/own/mosquitto"].iter().for_each(|suite| assert_laid_out(&Path::new(PROJECT).join(suite)));
}

#[test]
fn what_is_laid_out_otherwise_is_told_with_its_line() {
    let good = "Feature: f\n  What it is about.\n\n  @A1-1\n  Scenario: s\n    Given x\n    Then y:\n      | a | b   |\n      \
        | c |   2 |\n      | d | 300 |\n";
    assert_eq!(mistake(good), None);
    let more = "\n  # Why.\n  @A1-2\n  @control\n  Scenario Outline: o\n    # How.\n    Given <x>\n      \"\"\"\n      Given\n\n\n      \
        \"\"\"\n\n    Examples:\n      | x |\n      | 1 |\n";
    assert_eq!(mistake(&format!("{good}{more}")), None);
    for (from, to, line) in [
        ("    Given", "   Given", 6),
        ("  What", "What", 2),
        ("  @A1-1", "@A1-1", 4),
        ("\n\n", "\n", 3),
        ("\n\n", "\n\n\n", 4),
        ("Given x", "Given x ", 6),
        ("|   2 |", "| 2   |", 9),
    ] {
        let right = good.lines().nth(line - 1).unwrap().to_owned();
        assert_eq!(mistake(&good.replacen(from, to, 1)), Some((line, right)), "{to:?}");
    }
}
