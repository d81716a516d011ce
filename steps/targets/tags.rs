//! Names and tags what a run makes in AWS.

/// The tag that holds the id of the run that made a resource.
pub const RUN: &str = "assay:run";

/// The tag that holds when anyone may remove a resource: seconds since 1970, in decimal.
pub const EXPIRES: &str = "assay:expires";

/// Returns the name of everything that a run makes in AWS: `assay-<run>`.
pub fn name(run: &str) -> String {
    format!("assay-{run}")
}
