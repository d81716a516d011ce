//! The cloud, against a stand-in that fails on demand.

#[path = "aws/ecr.rs"]
mod ecr;
#[path = "aws/policy.rs"]
mod policy;
