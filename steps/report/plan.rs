//! Formats a plan for people and for programs.

use serde::Serialize;

use super::sentence;
use crate::base::host_offers::HostOffers;
use crate::base::platform::{MachineKind, TargetSpec};
use crate::claims::plan::{Capabilities, Decision, Plan, Planned};
use crate::claims::register::ClaimId;

/// A planned scenario, as programs read it.
#[derive(Debug, Serialize)]
pub struct PlanRow<'a> {
    claim: ClaimId,
    scenario: &'a str,
    feature: &'a str,
    line: usize,
    control: bool,
    /// The kind of machine that it runs on.
    on: MachineKind,
    /// What the claim needs and cheaper kinds lack.
    because: Option<String>,
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
            on: planned.on,
            because: planned.passed.map(|(kind, need)| format!("{kind} lacks {}", need.name())),
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

/// Formats what this host lacks, what each kind of machine offers, every scenario on its own line, and how many would
/// run. If there are several kinds, each line says on which, and why not on a cheaper one.
pub fn plan(plan: &Plan, target: &TargetSpec, met: &Capabilities, host: &HostOffers) -> String {
    let several = *target == TargetSpec::Local;
    let line = |planned: &Planned| {
        let PlanRow { claim, scenario, control, on, because, decision, reason, .. } = PlanRow::of(planned);
        let mark = if decision == "skip" { "not run" } else { decision };
        let control = if control { "control: " } else { "" };
        let kind = if planned.runs() { on.to_string() } else { "-".to_owned() };
        let kind = if several { format!("{kind:<6}  ") } else { String::new() };
        let because = because.filter(|_| several && planned.runs());
        let notes: Vec<String> = because.into_iter().chain(reason).collect();
        let notes = if notes.is_empty() { String::new() } else { format!("  ({})", notes.join("; ")) };
        format!("{mark:>8}  {claim:<5} {kind}{control}{scenario}{notes}\n")
    };
    let lines: String = plan.scenarios.iter().map(line).collect();
    let run = plan.scenarios.iter().filter(|planned| planned.runs()).count();
    let here = if several { format!("this host: {}\n{}", host.summary(), met.describe()) } else { String::new() };
    format!("{here}on {target}:\n{lines}{run} scenarios would run, {} would not\n", plan.scenarios.len() - run)
}
