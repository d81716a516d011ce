//! The program `assay`: its commands, and the cucumber suite behind `assay run`.

#[cfg(feature = "run")]
mod bench;
mod bin;
#[cfg(feature = "run")]
mod doctor;
#[cfg(feature = "run")]
mod e2e;
mod selfcheck;

fn main() -> std::process::ExitCode {
    bin::main().into()
}
