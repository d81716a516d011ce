//! Formats a plan for people and for programs.

use serde::Serialize;

use super::sentence;
use crate::base::platform::TargetSpec;
use crate::claims::plan::{Decision, Plan, Planned};
use crate::claims::register::ClaimId;

/// A planned scenario, as programs read it.
#[derive(Debug, Serialize)]
pub struct PlanRow<'a> {
    claim: ClaimId,
    scenario: &'a str,
    feature: &'a str,
    line: usize,
    control: bool,
    decision: &'static str,
    reason: Option<String>,
}

impl<'a> PlanRow<'a> {
    pub fn of(planned: &'a Planned) -> PlanRow<'a> {
        let (decision, reason) = words(&planned.decision);
        PlanRow {
            claim: planned.claim,
            scenario: &planned.at.name,
            feature: &planned.at.file,
            line: planned.at.line,
            control: planned.control,
            decision,
            reason,
        }
    }
}

/// Returns a decision as programs read it, and the reason if the claim is not judged.
pub(super) fn words(decision: &Decision) -> (&'static str, Option<String>) {
    match decision {
        Decision::Run => ("run", None),
        Decision::MeasureOnly(why) => ("record", Some(sentence::not_judged(why))),
        Decision::Skip(why) => ("skip", Some(sentence::not_judged(why))),
    }
}

/// Formats every scenario on its own line, and how many would run.
pub fn plan(plan: &Plan, target: &TargetSpec) -> String {
    let line = |planned: &Planned| {
        let PlanRow { claim, scenario, control, decision, reason, .. } = PlanRow::of(planned);
        let mark = if decision == "skip" { "not run" } else { decision };
        let control = if control { "control: " } else { "" };
        let reason = reason.map(|reason| format!("  ({reason})")).unwrap_or_default();
        format!("{mark:>8}  {claim:<5} {control}{scenario}{reason}\n")
    };
    let lines: String = plan.scenarios.iter().map(line).collect();
    let run = plan.scenarios.iter().filter(|planned| planned.runs()).count();
    format!("on {target}:\n{lines}{run} scenarios would run, {} would not\n", plan.scenarios.len() - run)
}
