//! Reports: makes them from evidence alone, and shows a plan before there is any evidence.

mod badge;
pub mod comparison;
pub mod finalize;
mod console;
mod coverage;
#[cfg(test)]
mod example;
mod html;
mod job_summary;
mod junit;
mod merged;
mod messages;
mod order;
mod oscal;
mod plan;
mod plot;
pub mod sentence;
#[cfg(feature = "run")]
mod run;
mod times;
mod trend;
mod workload;

use badge::{badge, merged_badge};
pub use console::{summary, table, tally};
pub use coverage::Coverage;
pub use html::{html, merged_html};
use job_summary::job_summary;
pub use junit::{junit, merged_junit};
pub use merged::{merged_summary, merged_table};
pub use messages::{Document, messages};
pub use order::order;
pub use oscal::oscal;
pub use plan::{PlanRow, plan};
#[cfg(feature = "run")]
pub use run::{advice, line, memory, publish};
pub use trend::{comparison, trend_html};
#[cfg(feature = "run")]
pub use workload::disturbance;

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value as Json;

use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::merge::Merged;

/// A report as a file: its name, and the function that makes it from a run.
type Exporter = (&'static str, fn(&EvidenceBundle) -> anyhow::Result<Vec<u8>>);

/// The report that a CI job shows on its page.
pub const SUMMARY: &str = "summary.md";

/// All reports that lie next to a run's evidence. Each is made from that alone: the same evidence gives the same bytes.
pub const FILES: [Exporter; 6] = [
    ("report.html", html),
    ("junit.xml", junit),
    ("messages.ndjson", messages),
    (SUMMARY, job_summary),
    ("badge.svg", badge),
    ("oscal-assessment-results.json", oscal),
];

pub type Made = (&'static str, Vec<u8>);

/// Makes all reports of a run: returns those that can be made, and why the others cannot.
pub fn make(bundle: &EvidenceBundle) -> (Vec<Made>, Vec<String>) {
    let (mut reports, mut troubles) = (Vec::new(), Vec::new());
    for (name, export) in FILES {
        match export(bundle) {
            Ok(bytes) => reports.push((name, bytes)),
            Err(error) => troubles.push(format!("{name} cannot be made: {error:#}")),
        }
    }
    (reports, troubles)
}

/// Makes the reports of a merged bundle: `report.html`, `junit.xml` and `badge.svg`. Each of its parts has the other ones.
pub fn make_merged(merged: &Merged) -> anyhow::Result<Vec<Made>> {
    Ok(vec![
        ("report.html", merged_html(merged)),
        ("junit.xml", merged_junit(merged).context("junit.xml cannot be made")?),
        ("badge.svg", merged_badge(merged)),
    ])
}

/// Writes reports into a folder, which need not exist yet.
pub fn write(reports: &[Made], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, bytes) in reports {
        let path = folder.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Leaves out, at every depth, the members and items that a format does not allow.
fn pruned(value: Json, unwanted: fn(&Json) -> bool) -> Json {
    match value {
        Json::Array(items) => {
            let items = items.into_iter().map(|item| pruned(item, unwanted));
            Json::Array(items.filter(|item| !unwanted(item)).collect())
        }
        Json::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, pruned(value, unwanted)));
            Json::Object(members.filter(|(_, value)| !unwanted(value)).collect())
        }
        other => other,
    }
}
