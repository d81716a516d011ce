//! The program `assay`.

fn main() -> std::process::ExitCode {
    assay::main()
}
