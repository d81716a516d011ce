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
    assert_eq!(features.len(), assay::internal::ClaimSuite::read(Path::new(PROJECT)).unwrap().features.len());
    for step in catalogue["steps"].as_array().unwrap() {
        let file = step["place"].as_str().unwrap().split(':').next().unwrap();
        assert!(glue.iter().any(|known| known == file), "{file} has steps that .vscode/settings.json does not name");
    }
}

/// Returns, by line, what differs from the layout of Cucumber's own formatter: two spaces for each level; one blank
/// line before tags, before what has no tags, and between a description and the steps below it; in tables, columns as
/// wide as their widest cell, with cells that begin with a digit on the right.
pub fn mistakes(text: &str) -> Vec<(usize, String)> {
    let mut mistakes = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    let mut quoted = false;
    for (index, line) in lines.iter().enumerate() {
        let words = line.trim();
        let above = index.checked_sub(1).map_or("", |above| lines[above].trim());
        let named = |names: &[&str]| names.iter().any(|name| words.starts_with(&format!("{name}:")));
        let titled = named(&["Background", "Scenario", "Scenario Outline", "Example", "Examples"]);
        let fence = words.starts_with("\"\"\"");
        let mut wrong = |what: String| mistakes.push((index + 1, what));
        if line.ends_with([' ', '\t']) {
            wrong("ends with a blank".to_owned());
        }
        if words.is_empty() && above.is_empty() && !quoted {
            wrong("is a blank line too many".to_owned());
        }
        let joined = match () {
            () if quoted || above.is_empty() || above.starts_with('#') => true,
            () if titled || words.starts_with('@') => above.starts_with('@'),
            () if is_step(words) => is_step(above) || belongs_to_step(above) || is_title(above),
            () => true,
        };
        if !joined {
            wrong("needs a blank line before it".to_owned());
        }
        // Tags are indented like what they belong to.
        let of = |what: &str| {
            words.starts_with('@') && lines.get(index + 1).is_some_and(|next| next.trim().starts_with(what))
        };
        let level = match () {
            () if quoted && !fence || words.is_empty() || words.starts_with('#') => None,
            () if named(&["Feature"]) || of("Feature:") => Some(0),
            () if belongs_to_step(words) => Some(3),
            () if is_step(words) || named(&["Examples"]) || of("Examples:") => Some(2),
            () => Some(1),
        };
        if let Some(level) = level.filter(|level| line.len() - line.trim_start().len() != level * 2) {
            wrong(format!("is not indented by {}", level * 2));
        }
        quoted ^= fence;
        if words.starts_with('|') && !above.starts_with('|') {
            let rows: Vec<&str> =
                lines[index..].iter().map(|row| row.trim()).take_while(|row| row.starts_with('|')).collect();
            for (row, (is, wanted)) in rows.iter().zip(aligned(&rows)).enumerate() {
                if *is != wanted {
                    mistakes.push((index + row + 1, format!("is not aligned: {wanted}")));
                }
            }
        }
    }
    mistakes
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

fn aligned(rows: &[&str]) -> Vec<String> {
    let cells = |row: &&str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let padded = |(column, cell): (usize, &String)| {
        let width = width(column).unwrap_or_default();
        match cell.starts_with(|first: char| first.is_ascii_digit()) {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        }
    };
    rows.iter()
        .map(|row| format!("| {} |", row.iter().enumerate().map(padded).collect::<Vec<_>>().join(" | ")))
        .collect()
}

#[test]
fn every_feature_is_laid_out_as_cucumbers_formatter_does_it() {
    let mut told = Vec::new();
    for file in assay::internal::ClaimSuite::read(Path::new(PROJECT)).unwrap().features {
        told.extend(mistakes(&file.text).into_iter().map(|(line, what)| format!("{}:{line} {what}", file.path)));
    }
    assert!(told.is_empty(), "\n{}", told.join("\n"));
}

#[test]
fn what_is_laid_out_otherwise_is_told_with_its_line() {
    let good = "Feature: f\n  What it is about.\n\n  @A1-1\n  Scenario: s\n    Given x\n    Then y:\n      | a | b   |\n      \
        | c |   2 |\n      | d | 300 |\n";
    assert_eq!(mistakes(good), []);
    let more = "\n  # Why.\n  @A1-2\n  @control\n  Scenario Outline: o\n    # How.\n    Given <x>\n      \"\"\"\n      Given\n\n\n      \
        \"\"\"\n\n    Examples:\n      | x |\n      | 1 |\n";
    assert_eq!(mistakes(&format!("{good}{more}")), []);
    for (from, to, line, what) in [
        ("    Given", "   Given", 6, "is not indented by 4"),
        ("  What", "What", 2, "is not indented by 2"),
        ("  @A1-1", "@A1-1", 4, "is not indented by 2"),
        ("\n\n", "\n", 3, "needs a blank line before it"),
        ("\n\n", "\n\n\n", 4, "is a blank line too many"),
        ("Given x", "Given x ", 6, "ends with a blank"),
        ("|   2 |", "| 2   |", 9, "is not aligned: | c |   2 |"),
    ] {
        assert_eq!(mistakes(&good.replacen(from, to, 1)), [(line, what.to_owned())], "{to:?}");
    }
}
