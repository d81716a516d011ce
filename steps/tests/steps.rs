//! The steps that features may use: all of them are listed, and an undefined one is reported with the nearest ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{PROJECT, Project, told};

/// Returns what `--steps --json` prints about the project as it is.
pub fn catalogue(project: &Project) -> Value {
    serde_json::from_str(&told(&mut project.assay(&["steps", "--json"]), 0, &[])).unwrap()
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
            assert!(line_at(&step["example"]["place"]).ends_with(step["example"]["text"].as_str().unwrap()), "{step}");
        }
    }
    let mut written = BTreeSet::new();
    for file in
        fs::read_dir(Path::new(PROJECT).join("steps/e2e")).unwrap().flatten().filter(|file| file.path().is_file())
    {
        let text = fs::read_to_string(file.path()).unwrap();
        let attributes = text.lines().enumerate().filter(|(_, line)| {
            ["#[given(", "#[when(", "#[then("].iter().any(|attribute| line.trim_start().starts_with(attribute))
        });
        let place = |number: usize| format!("steps/e2e/{}:{}", file.file_name().display(), number + 1);
        written.extend(attributes.map(|(number, _)| place(number)));
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
    told(&mut project.assay(&["steps"]), 0, &listed);
    project.change("features/a7_resources.feature", "Then it used no swap", "Then its peak memory is below 1,5 kB");
    let more = ["used     by 2 scenarios, first at features/a7_resources.feature:", "used     by no feature\n"];
    told(&mut project.assay(&["steps"]), 0, &[more[0], more[1], " steps, 10 of them used by no feature\n"]);
    assert!(!project.path("target").exists() && !project.path("cache").exists(), "a list leaves nothing");
    fs::write(project.path("features/a2_build.feature"), "Scenario\n").unwrap();
    told(&mut project.assay(&["steps"]), 2, &["assay: features/a2_build.feature: "]);
}

#[test]
fn a_step_that_nobody_wrote_is_told_with_the_nearest_that_somebody_did() {
    let offered = |step: &str| {
        let project = Project::new();
        project.change("features/a6_service.feature", "Then its result is \"success\"", step);
        let text = fs::read_to_string(project.path("features/a6_service.feature")).unwrap();
        let line = text.lines().position(|line| line.trim() == step).unwrap() + 1;
        let place = format!("  features/a6_service.feature:{line}: ");
        let output = project.run(&["--plan"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let line =
            said.lines().find_map(|line| line.strip_prefix(&place)).unwrap_or_else(|| panic!("{said}")).to_owned();
        line.strip_prefix(&format!("\"{step}\" is an undefined step: ")).unwrap().to_owned()
    };
    assert_eq!(offered("Then its results is \"success\""), "did you mean \"Then its result is {string}\"?");
    // The keyword is wrong; the value has none of the types that the step takes.
    assert_eq!(offered("When it has 2 CPUs"), "did you mean \"Then it has {int} CPUs\"?");
    assert_eq!(offered("Then its peak memory is below 64"), "did you mean \"Then its peak memory is below {size}\"?");
    let several = offered("When the guest \"hog\" has run without limits");
    assert!(
        several.starts_with("did you mean \"When the guest {string} has run without any limit\" or \""),
        "{several}"
    );
    assert!(several.matches("\" or \"").count() == 2, "{several}");
    assert_eq!(offered("Then the moon is full"), "`cargo run -- steps` lists those that there are");
}
