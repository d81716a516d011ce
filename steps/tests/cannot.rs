//! What a target cannot do is reported once, with the doctor that diagnoses it.

use crate::{Project, told};

#[test]
fn errors_that_end_scenarios_point_to_the_doctor_once() {
    let project = Project::new();
    // Without cargo, neither guest can be built.
    let mut run = project.run(&["--tags", "@A2-1 or @A2-2"]);
    let said = told(run.env("PATH", project.only(&[])), 3, &["2 inconclusive"]);
    let doctor = "were ended by errors, not by a check: `cargo run -- doctor --target vm:";
    assert_eq!(said.matches(doctor).count(), 1, "{said}");
    assert_eq!(said.matches("-- doctor").count(), 1, "{said}");
}

#[test]
fn a_run_that_cannot_begin_points_to_the_doctor_of_its_target() {
    let project = Project::new();
    let cache = project.path("features/claims.toml/cache");
    let said = ["; `cargo run -- doctor --target vm:arm64` tries all that a run needs"];
    let mut run = project.run(&["--target", "vm:arm64", "--tags", "@A8-4"]);
    told(run.env("ASSAY_CACHE", cache), 3, &said);
}

#[cfg(feature = "aws")]
#[test]
fn a_cloud_that_does_not_answer_points_to_the_doctor_of_a_build_that_can_ask_it() {
    let project = Project::new();
    let mut run = project.run(&["--target", "ec2", "--tags", "@A5-3 and not @control"]);
    run.env("PATH", project.only(&[])).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_REGION", "us-east-1");
    run.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", "not-a-secret-at-all");
    let doctor = "; `cargo run --features aws -- doctor --target ec2` tries all that a run needs";
    told(&mut run, 3, &["ec2:DescribeImages failed: ", doctor]);
}
