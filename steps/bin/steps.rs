//! The command `assay steps`: lists the steps that features may use. Only the e2e binary has them, so it is built and
//! asked.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use crate::{Exit, infrastructure, usage};

/// How to list the steps.
#[derive(Debug, Args)]
pub struct Steps {
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// Show their uses in the folder of a workload of your own [default: in the annex]
    #[arg(long, value_name = "DIR")]
    suite: Option<PathBuf>,
}

/// Runs the e2e binary to list its steps.
pub fn steps(arguments: &Steps) -> Result<(), Exit> {
    let mut e2e = Command::new(e2e().map_err(infrastructure)?);
    e2e.arg("--steps").args(arguments.json.then_some("--json"));
    if let Some(folder) = &arguments.suite {
        e2e.arg("--suite").arg(folder);
    }
    let status = e2e.status().context("the e2e binary cannot be run").map_err(infrastructure)?;
    match status.success() {
        true => Ok(()),
        false => Err(usage(anyhow::anyhow!("the steps cannot be listed: see above"))),
    }
}

/// Builds the e2e binary, unless it is up to date, and returns its path.
fn e2e() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--locked", "--no-run", "--test", "e2e", "--message-format=json-render-diagnostics"]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output();
    let output = output.context("cannot run cargo, which builds the program that has the steps")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut messages = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built = messages.find_map(|message| {
        let program = message["executable"].as_str()?;
        (message["target"]["name"] == "e2e").then(|| PathBuf::from(program))
    });
    built.filter(|_| output.status.success()).context("the e2e binary could not be built: see above")
}
