//! The steps that features may use: all of them are listed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{PROJECT, Project, files, prints};

/// Returns what `--steps --json` prints about the project as it is.
pub fn catalogue(project: &Project) -> Value {
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

#[test]
fn a_step_is_listed_with_what_it_takes_an_example_and_its_uses() {
    let project = Project::new();
    let listed = [
        "resources: Steps about what the workload uses: section A.7 of the annex.\n",
        "\n  Then its peak memory is below {size}\n      takes    {size}: a size with its unit, such as 100 kB or 64 MiB\n      \
         example  Then its peak memory is below 64 MiB\n      used     by 1 scenario, first at features/a7_resources.feature:",
        "takes    {table}: a table below the step: derived, from, as, published\n",
        " steps, 9 of them used by no feature\n",
    ];
    prints(&mut project.assay(&["steps"]), 0, &listed);
    project.change("features/a7_resources.feature", "Then it used no swap", "Then its peak memory is below 1,5 kB");
    let more = ["used     by 2 scenarios, first at features/a7_resources.feature:", "used     by no feature\n"];
    prints(&mut project.assay(&["steps"]), 0, &[more[0], more[1], " steps, 10 of them used by no feature\n"]);
    project.assert_unused();
    // Cucumber's parser lists what it expected in an order that changes.
    fs::write(project.path("features/a2_build.feature"), "Scenario\n").unwrap();
    prints(&mut project.assay(&["steps"]), 2, &["assay: features/a2_build.feature: "]);
}
