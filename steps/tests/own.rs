//! The folder of a workload of your own: what `assay init` writes can be planned and run as it is.

use std::fs;
use std::path::Path;

use crate::editors::mistakes;
use crate::{PROJECT, Project, told};

/// The kinds of workloads, as users type them.
const KINDS: [&[&str]; 3] = [
    &["--duration", "4s"],
    &["--service", "--output", "listening on 80", "--memory", "32MiB", "--cpu", "50%"],
    &["--wasm", "--image", "public.ecr.aws/x/y:1", "--duration", "90 s", "--cpu", "150%", "--output", "done"],
];

#[test]
fn every_step_of_a_fresh_folder_is_written() {
    for kind in KINDS {
        let project = Project::new();
        let made =
            told(&mut project.assay(&[&["init", "own/web"], kind].concat()), 0, &["own/web/features/claims.toml\n"]);
        let next = made.lines().find_map(|line| line.strip_prefix("what would run:      ci/e2e ")).unwrap();
        let next: Vec<&str> = next.split(' ').collect();
        assert_eq!(next[1..], ["own/web", "--plan"]);
        let plan = told(&mut project.run(&next), 0, &["     run  A6-1  ", "     run  A7-3  control: "]);
        assert!(plan.ends_with(" scenarios would run, 0 would not\n"), "{plan}");
        for file in assay::internal::ClaimSuite::read(&project.path("own/web")).unwrap().features {
            assert_eq!(mistakes(&file.text), [], "{}", file.path);
        }
        assert_eq!(plan, told(&mut project.assay(&["plan", "--suite", "own/web"]), 0, &[]));
        told(&mut project.assay(&["coverage", "--suite", "own/web"]), 0, &["A7-3"]);
        project.change("own/web/features/a7_resources.feature", "systemd limits it", "systemd keeps it");
        told(&mut project.run(&next), 2, &["features/a7_resources.feature", "is an undefined step: did you mean"]);
    }
}

#[test]
fn what_is_in_a_folder_already_is_left_alone() {
    let project = Project::new();
    told(&mut project.assay(&["init", "features"]), 2, &["features is not empty", "name a new folder"]);
    told(&mut project.assay(&["init", "Web"]), 2, &["name it with --name: \"Web\" is not a name"]);
    told(&mut project.assay(&["init", "Web", "--name", "web", "--image", "oci:none"]), 2, &["there is no folder none"]);
    assert!(!project.path("Web").exists());
    told(&mut project.assay(&["init", "Web", "--name", "web"]), 0, &["Web/quadlets/web.container\n"]);
}

#[test]
fn a_folder_that_is_no_workloads_is_told_how_one_is_made() {
    let project = Project::new();
    let said = ["it is not a workload's folder: `cargo run -- init DIR` makes one: cannot read features/workload.toml"];
    told(&mut project.run(&["--suite", "features", "--plan"]), 2, &said);
    told(&mut project.assay(&["plan", "--suite", "features"]), 2, &said);
}

#[test]
fn the_workload_that_ci_runs_is_planned_and_its_steps_are_listed_with_its_uses() {
    let project = Project::new();
    let folder = "fixtures/own/mosquitto";
    for file in assay::internal::ClaimSuite::read(&Path::new(PROJECT).join(folder)).unwrap().features {
        assert_eq!(mistakes(&file.text), [], "{}", file.path);
    }
    told(&mut project.run(&["--suite", folder, "--plan"]), 0, &["control: ", " would run, 0 would not"]);
    let listed = ["Then its log contains \"Opening ipv4 listen socket on port 1883.\"\n"];
    told(&mut project.assay(&["steps", "--suite", folder]), 0, &listed);
    fs::remove_file(project.path(&format!("{folder}/quadlets/mosquitto.container"))).unwrap();
    told(&mut project.run(&["--suite", folder, "--plan"]), 2, &["cannot read fixtures/own/mosquitto/quadlets/"]);
}
