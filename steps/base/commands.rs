//! Names the commands that messages tell users to type: those of the checkout, or those of the installed program.

use crate::base::settings;

/// Returns the command that installs the packages that a target needs; without a target, those of the default.
pub fn setup(target: &str) -> String {
    let command = if in_checkout() { "ci/setup" } else { "assay setup --packages" };
    format!("{command} {target}").trim_end().to_owned()
}

pub fn suite() -> &'static str {
    if in_checkout() { "ci/e2e" } else { "assay run" }
}

pub fn assay(arguments: &str) -> String {
    let program = if in_checkout() { "cargo run --" } else { "assay" };
    format!("{program} {arguments}")
}

/// Returns a command of a program `assay` that has AWS's SDK.
pub fn assay_with_aws(arguments: &str) -> String {
    let program = if in_checkout() { "cargo run --features aws --" } else { "assay" };
    format!("{program} {arguments}")
}

/// Returns how to get a program with AWS's SDK: by `here` in a checkout; an installed one is installed again.
pub fn get_sdk(here: &'static str) -> &'static str {
    match in_checkout() {
        true => here,
        false => "install it again, with cargo install --features aws",
    }
}

pub fn in_checkout() -> bool {
    settings::checkout().is_some()
}
