//! What is rejected before anything is made in EC2, in a build without its SDK and in one with it.

use crate::{Project, prints};

#[cfg(not(feature = "aws"))]
#[test]
fn a_build_without_the_sdk_says_which_has_it() {
    let project = Project::new();
    let printed = "assay: target ec2 is not in this build, for AWS's SDK takes minutes to compile: use ci/e2e --target ec2, \
        or cargo test --features aws --test e2e -- --target ec2";
    prints(&mut project.run(&["--target", "ec2"]), 2, &[printed]);
    prints(project.run(&[]).env("ASSAY_TARGET", "ec2"), 2, &[printed]);
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
