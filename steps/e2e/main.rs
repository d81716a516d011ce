//! `cargo test --test e2e -- OPTIONS` is `assay run OPTIONS`.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // Becomes the program instead of starting it, so that a signal reaches the run itself.
    let error = Command::new(env!("CARGO_BIN_EXE_assay")).arg("run").args(std::env::args_os().skip(1)).exec();
    eprintln!("e2e: cannot start {}: {error}", env!("CARGO_BIN_EXE_assay"));
    ExitCode::from(3)
}
