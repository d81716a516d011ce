//! Tests of AWS on a fake server that fails on demand.

#[path = "aws/doctor.rs"]
mod doctor;
#[path = "aws/ecr.rs"]
mod ecr;
#[path = "aws/gc.rs"]
mod gc;
#[path = "aws/policy.rs"]
mod policy;
#[path = "aws/provision.rs"]
mod provision;
#[path = "aws/stand_in.rs"]
mod stand_in;
#[path = "aws/teardown.rs"]
mod teardown;
