//! Tests the cheap parts of `assay bench`.

use serde_json::Value;

use crate::{Project, prints};

fn names(project: &Project, arguments: &[&str]) -> Vec<String> {
    let printed: Value = serde_json::from_str(&prints(&mut project.assay(arguments), 0, &[])).unwrap();
    assert!(printed.as_object().unwrap().values().all(|value| value.as_f64().unwrap() > 0.0), "{printed}");
    printed.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn a_part_gives_its_own_names_and_no_others() {
    let project = Project::new();
    assert_eq!(names(&project, &["bench", "plan", "--json"]), ["plan_10k_s", "plan_cost_ratio"]);
    prints(&mut project.assay(&["bench", "plan"]), 0, &["build; medians", "plan: "]);
}
