//! Finds the e2e program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// Returns the path of the e2e program. It is a test target, so only cargo knows where it is.
pub fn e2e() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--locked", "--quiet", "--no-run", "--test", "e2e", "--message-format=json"]);
        if cfg!(feature = "aws") {
            cargo.args(["--features", "aws"]);
        }
        let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut ours = messages.filter(|message| message["target"]["name"] == "e2e");
        let path = ours.find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
        path.unwrap_or_else(|| panic!("e2e is not built: {}", String::from_utf8_lossy(&output.stderr)))
    })
}
