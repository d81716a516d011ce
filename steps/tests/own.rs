//! The folder of a workload of your own: what `assay init` writes can be planned and run as it is.

use crate::{Project, prints};

/// The kinds of workloads, as users type them.
const KINDS: [&[&str]; 3] = [
    &["--name", "job", "--duration", "4s"],
    &["--service", "--output", "listening on 80", "--memory", "32MiB", "--cpu", "50%"],
    &["--wasm", "--image", "public.ecr.aws/x/y:1", "--duration", "90 s", "--cpu", "150%", "--output", "done"],
];

#[test]
fn every_step_of_a_fresh_folder_is_written() {
    for kind in KINDS {
        let project = Project::new();
        let made =
            prints(&mut project.assay(&[&["init", "own/web"], kind].concat()), 0, &["own/web/features/claims.toml\n"]);
        let next = made.lines().find_map(|line| line.strip_prefix("what would run:      ci/e2e ")).unwrap();
        let next: Vec<&str> = next.split(' ').collect();
        assert_eq!(next[1..], ["own/web", "--plan"]);
        let plan = prints(&mut project.run(&next), 0, &["     run  A6-1  "]);
        assert!(
            plan.lines().any(|line| line.starts_with("     run  A7-3  ") && line.contains("  control: ")),
            "{plan}"
        );
        assert!(plan.ends_with(" scenarios would run, 0 would not\n"), "{plan}");
        assert_eq!(plan, prints(&mut project.assay(&["plan", "--suite", "own/web"]), 0, &[]));
        prints(&mut project.assay(&["coverage", "--suite", "own/web"]), 0, &["A7-3"]);
    }
}

#[test]
fn the_workload_that_ci_runs_is_planned_and_its_steps_are_listed_with_its_uses() {
    let project = Project::new();
    let folder = "fixtures/own/mosquitto";
    prints(&mut project.run(&["--suite", folder, "--plan"]), 0, &["control: ", " would run, 0 would not"]);
    let listed = ["Then its log contains \"Opening ipv4 listen socket on port 1883.\"\n"];
    prints(&mut project.assay(&["steps", "--suite", folder]), 0, &listed);
}
