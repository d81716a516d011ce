//! Describes what a run spent its time on: its pieces of work, and the critical path.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

const LISTED: usize = 5;

/// A finished piece of work, with times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkItem {
    pub name: String,
    /// When it began, relative to the creation of the log.
    pub began: f64,
    /// How long it took, without its waits.
    pub took: f64,
    /// How long it waited for host capacity.
    pub queued: f64,
    /// The names of the work that it waited for.
    pub needs: BTreeSet<String>,
}

/// What a run spent its time on, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkSummary {
    /// The time from the creation of the log to the summary.
    pub wall: f64,
    /// The length of the critical path: the longest chain of work, each piece of which needs the one before.
    pub critical: f64,
    pub path: Vec<CriticalStep>,
    /// All pieces of work, in the order in which they ended.
    pub work: Vec<WorkItem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CriticalStep {
    pub name: String,
    pub took: f64,
}

impl WorkSummary {
    /// Returns the run's duration divided by the critical path's.
    pub fn ratio(&self) -> Option<f64> {
        (self.critical > 0.0).then(|| self.wall / self.critical)
    }
}

impl std::fmt::Display for WorkSummary {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(ratio) = self.ratio() else { return write!(out, "the run took {:.0} s", self.wall) };
        writeln!(
            out,
            "the run took {:.0} s, {ratio:.2} times its critical path of {:.0} s, the longest chain of work that needs the work before:",
            self.wall, self.critical
        )?;
        let shown = self.path.iter().filter(|step| step.took >= 0.05);
        let chain: Vec<String> = shown.map(|step| format!("{} {:.1} s", step.name, step.took)).collect();
        writeln!(out, "  {}", chain.join(" → "))?;
        let mut largest: Vec<&WorkItem> = self.work.iter().collect();
        largest.sort_by(|one, other| other.took.total_cmp(&one.took));
        let listed = largest.iter().take(LISTED).map(|work| format!("{} {:.0} s", work.name, work.took));
        let listed = listed.collect::<Vec<_>>().join(", ");
        let all: f64 = self.work.iter().map(|work| work.took).sum();
        let queued: f64 = self.work.iter().map(|work| work.queued).sum();
        write!(out, "  {all:.0} s of work side by side, {queued:.0} s of waiting for a place; most of it: {listed}")
    }
}
