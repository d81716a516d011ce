//! The steps that features may use: all of them are listed, and known to editors.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{PROJECT, Project, files, prints};

/// Returns what `--steps --json` prints about the project as it is.
fn catalogue(project: &Project) -> Value {
    serde_json::from_str(&prints(&mut project.assay(&["steps", "--json"]), 0, &[])).unwrap()
}

/// Returns the line of a project file that a place names.
fn line_at(place: &Value) -> String {
    let (file, line) = place.as_str().unwrap().split_once(':').unwrap();
    let text = fs::read_to_string(Path::new(PROJECT).join(file)).unwrap();
    text.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap().trim().to_owned()
}

#[test]
fn every_step_of_the_sources_is_listed_as_it_is_written() {
    let project = Project::new();
    let catalogue = catalogue(&project);
    assert_eq!(catalogue["schema"], 1);
    let steps = catalogue["steps"].as_array().unwrap();
    let mut places = BTreeSet::new();
    for step in steps {
        let (line, expression) = (line_at(&step["place"]), step["expression"].as_str().unwrap());
        let attribute = format!("#[{}(", step["keyword"].as_str().unwrap().to_lowercase());
        assert!(line.starts_with(&attribute) && line.contains(expression), "{step}: {line}");
        assert!(expression.matches(" {").count() <= step["parameters"].as_array().unwrap().len(), "{step}");
        assert!(places.insert(step["place"].as_str().unwrap()), "{step} is listed twice");
        if step["uses"] == 0 {
            assert!(step["example"].is_null(), "{step}");
        } else {
            let (line, text) = (line_at(&step["example"]["place"]), step["example"]["text"].as_str().unwrap());
            // A column of an outline stands for its values.
            assert!(line.ends_with(text) || line.contains('<'), "{step}");
        }
    }
    let mut written = BTreeSet::new();
    for file in files(&Path::new(PROJECT).join("steps/e2e")) {
        let name = file.strip_prefix(PROJECT).unwrap().display();
        for (index, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if ["#[given(", "#[when(", "#[then("].iter().any(|attribute| line.trim_start().starts_with(attribute)) {
                written.insert(format!("{name}:{}", index + 1));
            }
        }
    }
    assert_eq!(places, written.iter().map(String::as_str).collect());
}

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
    let catalogue = catalogue(&Project::new());
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
