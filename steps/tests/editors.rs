//! The settings of editors for this project.

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
