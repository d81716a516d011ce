//! The command `assay adopt`: writes workload folders of published Quadlets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use assay::base::commands;
use assay::base::exit_status::{Exit, usage};
use assay::claims::workload::adopt::{Adopted, adopt as write};
use clap::Args;
use serde_json::json;

use super::init::shown;
use crate::bin::print;

/// What to adopt, and where to.
#[derive(Debug, Args)]
pub struct Adopt {
    /// A Quadlet, or a folder of them with what they refer to
    #[arg(value_name = "FILE|DIR")]
    source: PathBuf,
    /// The folder to write, a new one [default: NAME-suite here, for the name of the file or folder]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

pub fn adopt(arguments: &Adopt) -> Result<(), Exit> {
    let to = match &arguments.to {
        Some(to) => to.clone(),
        None => default_folder(&arguments.source).map_err(usage)?,
    };
    let suites = write(&arguments.source, &to).map_err(usage)?;
    let value = json!({ "schema": 1, "suites": suites });
    print(arguments.json, &value, || suites.iter().map(render).collect::<Vec<_>>().join("\n"))
}

fn default_folder(source: &Path) -> anyhow::Result<PathBuf> {
    let whole = std::path::absolute(source)?;
    let name = if whole.is_dir() { whole.file_name() } else { whole.file_stem() };
    let name =
        name.and_then(|name| name.to_str()).context("the folder has no name: name the one to write with --to")?;
    Ok(PathBuf::from(format!("{}-suite", name.trim_end_matches('@'))))
}

fn render(suite: &Adopted) -> String {
    let mut text: String = suite.files.iter().map(|file| format!("{}\n", suite.folder.join(file).display())).collect();
    let mut list = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text += &format!("\n{title}:\n{}", lines.concat());
        }
    };
    // Each file once, with all that ask for it.
    let mut given: BTreeMap<&str, (Option<&Path>, BTreeSet<&str>)> = BTreeMap::new();
    for need in &suite.needs {
        if let Some(file) = &need.given {
            let (from, quadlets) = given.entry(file).or_default();
            *from = need.from.as_deref();
            quadlets.insert(&need.quadlet);
        }
    }
    let found = given.iter().filter_map(|(file, (from, _))| Some(format!("  {file}  from {}\n", (*from)?.display())));
    list("found beside the Quadlets", found.collect());
    let made = given.iter().filter(|(_, (from, _))| from.is_none());
    let made = made.map(|(file, (_, quadlets))| {
        format!("  {file}  for {}\n", quadlets.iter().copied().collect::<Vec<_>>().join(", "))
    });
    list("placeholders, to be filled where the workload needs more than that they exist", made.collect());
    let notes = suite.needs.iter().filter_map(|need| Some((need, need.note.as_deref()?)));
    list(
        "what a test machine lacks",
        notes.map(|(need, note)| format!("  {}: {}\n    {note}\n", need.quadlet, need.setting)).collect(),
    );
    let (run, shown) = (commands::suite(), shown(&suite.folder));
    let user = if suite.root { "root" } else { "a user" };
    list(
        &format!("the claims are about {}, deployed as {user}", suite.name),
        vec![
            format!("what would run:      {run} --suite {shown} --plan\n"),
            format!("run it:              {run} --suite {shown}\n"),
        ],
    );
    text
}
