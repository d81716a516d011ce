//! Tests of AWS on a fake server that fails on demand, and on plain moto, which answers a little differently.

#[path = "aws/doctor.rs"]
mod doctor;
#[path = "aws/ecr.rs"]
mod ecr;
#[path = "aws/fake_server.rs"]
mod fake_server;
#[path = "aws/gc.rs"]
mod gc;
#[path = "aws/policy.rs"]
mod policy;
#[path = "aws/provision.rs"]
mod provision;
#[path = "aws/teardown.rs"]
mod teardown;
