//! What a run in EC2 would make and cost, planned without an account; and what is rejected before anything is made.

use std::collections::BTreeSet;

use assert_cmd::Command;
use serde_json::Value;

use crate::{Project, prints};

/// Runs the program with an empty environment: no home, no credentials, no `PATH`.
fn bare<'a>(project: &Project, command: &'a mut Command) -> &'a mut Command {
    command.env_clear().env("ASSAY_ROOT", project.path("")).env("ASSAY_CACHE", project.path("cache"))
}

/// Returns what a plan prints before its scenarios.
fn order(printed: &str) -> &str {
    printed.split_once("on ec2:\n").unwrap_or_else(|| panic!("{printed}")).0
}

#[test]
fn ec2_is_planned_and_priced_without_an_account_and_without_its_sdk() {
    let project = Project::new();
    let whole = prints(bare(&project, &mut project.assay(&["plan", "--target", "ec2"])), 0, &[]);
    // The features may have steps that only another build has; the scenarios selected here have none of those.
    let one = ["--target", "ec2", "--plan", "--tags", "@A6-4"];
    let selected = prints(bare(&project, &mut project.run(&one)), 0, &["     run  A6-4  "]);
    assert_eq!(order(&selected), order(&whole));
    let there =
        prints(project.run(&one).env("AWS_REGION", "eu-west-1"), 0, &["arm64 in eu-west-1\n", "$0.0046 an hour"]);
    assert_eq!(prints(project.run(&one).env("AWS_DEFAULT_REGION", "eu-west-1"), 0, &[]), there);
    let rows = prints(&mut project.assay(&["plan", "--target", "ec2", "--json"]), 0, &[]);
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let decisions: BTreeSet<&str> = rows.iter().map(|row| row["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, BTreeSet::from(["run"]));
    project.assert_unused();
}

#[test]
fn what_a_stand_in_for_aws_is_asked_is_planned_as_recorded() {
    let project = Project::new();
    let why = "(measured on a stand-in for AWS: recorded, not judged)";
    let mut plan = project.assay(&["plan", "--target", "ec2"]);
    let printed = prints(plan.env("ASSAY_EC2_SSH", "127.0.0.1:2222"), 0, &["     run  A6-4  ", "nothing is billed\n"]);
    for claim in ["A4-1", "A5-3", "A8-5", "A10-2", "A10-3", "A11-1"] {
        let line = printed.lines().find(|line| line.contains(&format!("  record  {claim:<5} ")));
        assert!(line.is_some_and(|line| line.ends_with(why)), "{claim}: {printed}");
    }
    // The settings of a fake AWS change nothing for a virtual machine.
    let mut plan = project.assay(&["plan", "--target", "vm:arm64"]);
    let printed =
        prints(plan.env("ASSAY_EC2_SSH", "127.0.0.1:2222"), 0, &["(needs an AWS account: ci/e2e --target ec2)"]);
    assert!(!printed.contains("stand-in"), "{printed}");
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_build_without_the_sdk_says_which_has_it() {
    let project = Project::new();
    let printed = "assay: target ec2 is not in this build, for AWS's SDK takes minutes to compile: use ci/e2e --target ec2, \
        or cargo test --features aws --test e2e -- --target ec2";
    prints(bare(&project, &mut project.run(&["--target", "ec2"])), 2, &[printed]);
    prints(project.run(&[]).env("ASSAY_TARGET", "ec2"), 2, &[printed]);
    project.assert_unused();
}

#[test]
fn a_run_within_its_budget_is_planned_with_what_it_orders() {
    let project = Project::new();
    let plan = |more: &[&str], texts: &[&str]| {
        prints(&mut project.run(&[&["--target", "ec2", "--plan", "--tags", "@A6-4"], more].concat()), 0, texts)
    };
    plan(&["--max-cost", "$0.0101"], &["the budget is $0.0101"]);
    let shorter = ["--max-cost", "0.01", "--time-limit", "59", "--spot", "--subnet", "subnet-0a"];
    plan(&shorter, &["would be made, for 59 minutes at most", "the budget is $0.01"]);
    project.assert_unused();
}

#[cfg(feature = "aws")]
#[test]
fn a_cloud_that_does_not_answer_points_to_the_doctor_of_a_build_that_can_ask_it() {
    let project = Project::new();
    let mut run = project.run(&["--target", "ec2", "--tags", "@A5-3 and not @control"]);
    run.env("PATH", project.only(&[])).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_REGION", "us-east-1");
    run.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", "not-a-secret-at-all");
    let doctor = "; `cargo run --features aws -- doctor --target ec2` tries all that a run needs";
    prints(&mut run, 3, &["ec2:DescribeImages failed: ", doctor]);
}
