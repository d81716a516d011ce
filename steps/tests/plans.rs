//! What a run in EC2 would make and cost, planned without an account; and what is rejected before anything is made.

use std::collections::BTreeSet;

use assert_cmd::Command;
use serde_json::Value;

use crate::{Project, told};

/// Runs the program with an empty environment: no home, no credentials, no `PATH`.
fn bare<'a>(project: &Project, command: &'a mut Command) -> &'a mut Command {
    command.env_clear().env("ASSAY_ROOT", project.path("")).env("ASSAY_CACHE", project.path("cache"))
}

/// Returns what a plan prints before its scenarios.
fn order(said: &str) -> &str {
    said.split_once("on ec2:\n").unwrap_or_else(|| panic!("{said}")).0
}

#[test]
fn ec2_is_planned_and_priced_without_an_account_and_without_its_sdk() {
    let project = Project::new();
    let texts = [
        "would be made, for 60 minutes at most",
        "free  key pair",
        "free  security group, open to SSH from this machine's address only",
        "$0.0042 an hour,   $0.0042 at most  instance t4g.nano with Ubuntu 24.04 arm64 in the region of your AWS \
         configuration, priced as us-east-1",
        "$0.005 an hour,    $0.005 at most  public IPv4 address",
        "at most  disk of 8 GiB, gp3, encrypted",
        "free  repository in ECR Public",
        "costs $0.00756 in 45 minutes, $0.0101 at most; the budget is $0.05",
        "prices of 20",
        "     run  A8-5  The test costs less than a cent",
        "     run  A7-7  ",
        "     run  A5-2  ",
    ];
    let whole = told(bare(&project, &mut project.assay(&["plan", "--target", "ec2"])), 0, &texts);
    assert!(whole.ends_with(" scenarios would run, 0 would not\n"), "{whole}");
    // The features may have steps that only another build has; the scenarios selected here have none of those.
    let one = ["--target", "ec2", "--plan", "--tags", "@A6-4"];
    let selected = told(bare(&project, &mut project.run(&one)), 0, &["     run  A6-4  "]);
    assert_eq!(order(&selected), order(&whole));
    let there = told(project.run(&one).env("AWS_REGION", "eu-west-1"), 0, &["arm64 in eu-west-1\n", "$0.0046 an hour"]);
    assert_eq!(told(project.run(&one).env("AWS_DEFAULT_REGION", "eu-west-1"), 0, &[]), there);
    let rows = told(&mut project.assay(&["plan", "--target", "ec2", "--json"]), 0, &[]);
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let decisions: BTreeSet<&str> = rows.iter().map(|row| row["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, BTreeSet::from(["run"]));
    assert!(!project.path("target").exists() && !project.path("cache").exists(), "a plan leaves nothing");
}

#[test]
fn what_a_stand_in_for_aws_is_asked_is_planned_as_recorded() {
    let project = Project::new();
    let why = "(measured on a stand-in for AWS: recorded, not judged)";
    let mut plan = project.assay(&["plan", "--target", "ec2"]);
    let said = told(plan.env("ASSAY_EC2_SSH", "127.0.0.1:2222"), 0, &["     run  A6-4  ", "nothing is billed\n"]);
    for claim in ["A4-1", "A5-3", "A8-5", "A10-2", "A10-3", "A11-1"] {
        let line = said.lines().find(|line| line.contains(&format!("  record  {claim:<5} ")));
        assert!(line.is_some_and(|line| line.ends_with(why)), "{claim}: {said}");
    }
    // The settings of a fake AWS change nothing for a virtual machine.
    let mut plan = project.assay(&["plan", "--target", "vm:arm64"]);
    let said = told(plan.env("ASSAY_EC2_SSH", "127.0.0.1:2222"), 0, &["(needs an AWS account: ci/e2e --target ec2)"]);
    assert!(!said.contains("stand-in"), "{said}");
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_build_without_the_sdk_says_which_has_it() {
    let project = Project::new();
    let said = "assay: target ec2 is not in this build, for AWS's SDK takes minutes to compile: use ci/e2e --target ec2, \
        or cargo test --features aws --test e2e -- --target ec2";
    told(bare(&project, &mut project.run(&["--target", "ec2"])), 2, &[said]);
    told(project.run(&[]).env("ASSAY_TARGET", "ec2"), 2, &[said]);
    assert!(!project.path("target").exists() && !project.path("cache").exists(), "nothing was begun");
}

#[test]
fn a_run_that_could_cost_more_than_its_budget_is_not_begun() {
    let project = Project::new();
    let with = |more: &[&str]| {
        let mut arguments = vec!["--target", "ec2", "--tags", "@A6-4"];
        arguments.extend(more);
        project.run(&arguments)
    };
    let said = "60 minutes cost up to $0.0101, and the budget is $0.01: allow it with --max-cost 0.0101, or stay below it \
        with --time-limit 59";
    told(&mut with(&["--max-cost", "0.01"]), 2, &["assay: ", said]);
    told(&mut with(&["--max-cost", "0.01", "--plan"]), 2, &["assay: ", said]);
    told(&mut with(&["--max-cost", "$0.0101", "--plan"]), 0, &["the budget is $0.0101"]);
    let shorter = ["--max-cost", "0.01", "--time-limit", "59", "--plan"];
    told(&mut with(&shorter), 0, &["for 59 minutes at most", "the budget is $0.01"]);
    let none = told(&mut with(&["--max-cost", "0", "--plan"]), 2, &["the budget is $0.00: allow it with --max-cost"]);
    assert_eq!(none, "");
    told(&mut with(&["--time-limit", "360", "--plan"]), 2, &["360 minutes cost up to $0.0605", "--time-limit 297"]);
    let nowhere =
        "fixtures/prices/aws.toml has no price of anything in mars-1: it has eu-central-1, eu-west-1, us-east-1";
    told(with(&["--plan"]).env("AWS_REGION", "mars-1"), 2, &["assay: ", nowhere]);
    told(project.assay(&["plan", "--target", "ec2"]).env("AWS_REGION", "mars-1"), 2, &["assay: ", nowhere]);
    assert!(!project.path("target").exists() && !project.path("cache").exists(), "nothing was begun");
}

#[test]
fn options_about_an_order_are_checked_and_only_for_a_target_that_orders() {
    let project = Project::new();
    for (option, value) in
        [("--max-cost", Some("0.05")), ("--time-limit", Some("60")), ("--spot", None), ("--subnet", Some("subnet-0a"))]
    {
        let given: Vec<&str> = [option].into_iter().chain(value).collect();
        let said = format!("assay: {option} only applies to --target ec2");
        for plan in [&["--target", "vm:arm64"][..], &["--target", "vm:arm64", "--plan"]] {
            told(&mut project.run(&[plan, &given].concat()), 2, &[&said]);
        }
        let there = [&["--target", "ec2", "--plan", "--tags", "@A6-4"][..], &given].concat();
        told(&mut project.run(&there), 0, &["would be made"]);
    }
    for (arguments, said) in [
        (["--max-cost", "-1"], "unexpected argument '-1'"),
        (["--max-cost", "a lot"], "\"a lot\" is not an amount of dollars: write it as 0.05 or $0.05"),
        (["--time-limit", "9"], "9 is not in 10..=360"),
        (["--time-limit", "361"], "361 is not in 10..=360"),
        (["--subnet", "vpc-0a"], "\"vpc-0a\" is not a subnet: write its id, as subnet-0123456789abcdef0"),
        (["--subnet", "subnet-"], "is not a subnet"),
        (["--subnet", "subnet-0a --spot"], "is not a subnet"),
        (["--instance-type", "t4g.nano"], "unexpected argument '--instance-type'"),
    ] {
        told(&mut project.run(&[&["--target", "ec2", "--plan"], &arguments[..]].concat()), 2, &[said]);
    }
}
