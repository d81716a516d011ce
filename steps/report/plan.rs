//! Formats a plan for people and for programs.

use serde::Serialize;

use crate::base::platform::TargetSpec;
use crate::claims::plan::{Decision, Plan, Planned};
use crate::claims::register::ClaimId;

/// A planned scenario, as programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanRow<'a> {
    claim: ClaimId,
    scenario: &'a str,
    feature: &'a str,
    line: usize,
    control: bool,
    decision: &'static str,
    reason: Option<&'a str>,
}

impl<'a> PlanRow<'a> {
    pub fn of(planned: &'a Planned) -> PlanRow<'a> {
        let (decision, reason) = words(&planned.decision);
        PlanRow {
            claim: planned.claim,
            scenario: &planned.scenario,
            feature: &planned.feature,
            line: planned.line,
            control: planned.control,
            decision,
            reason,
        }
    }

    fn show(&self, what: &str) -> String {
        let mark = if self.decision == "skip" { "not run" } else { self.decision };
        let why = self.reason.map(|why| format!("  ({why})")).unwrap_or_default();
        format!("{mark:>8}  {:<5} {what}{why}\n", self.claim)
    }
}

/// Returns a decision as programs read it, and the reason if the claim is not judged.
pub(super) fn words(decision: &Decision) -> (&'static str, Option<&str>) {
    match decision {
        Decision::Run => ("run", None),
        Decision::MeasureOnly(unjudged) => ("record", Some(unjudged.why())),
        Decision::Skip(why) => ("skip", Some(why)),
    }
}

/// Formats every scenario on its own line, and how many would run.
pub fn plan(plan: &Plan, target: &TargetSpec) -> String {
    let line = |planned: &Planned| {
        let control = if planned.control { "control: " } else { "" };
        PlanRow::of(planned).show(&format!("{control}{}", planned.scenario))
    };
    let lines: String = plan.scenarios.iter().map(line).collect();
    let run = plan.scenarios.iter().filter(|planned| planned.runs()).count();
    format!("on {target}:\n{lines}{run} scenarios would run, {} would not\n", plan.scenarios.len() - run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::plan::{Capabilities, FeatureFile};
    use crate::claims::register::Register;

    #[test]
    fn a_plan_says_what_runs_and_why_the_rest_does_not() {
        let claims = "[[claim]]\nid = \"A2-1\"\nclaim = \"it builds\"\nbound = \"exit 0\"\ncontrol = \"not\"\n\
            [[claim]]\nid = \"A8-5\"\nclaim = \"it is cheap\"\nbound = \"< 1 $\"\nneeds = [\"aws\"]\n";
        let text = "Feature: f\n  @A2-1\n  Scenario: Builds\n    Given x\n  @A2-1 @control\n  Scenario: Not\n    Given x\n    \
            But this check fails on \"x\"\n  \
            @A8-5\n  Scenario: Cheap\n    Given x\n";
        let register = Register::parse(claims).unwrap();
        let file = FeatureFile::parse("features/f.feature".to_owned(), text).unwrap();
        let made = Plan::make(&[file], &register, &Capabilities::default(), |_, _| true, None).unwrap();
        let target: TargetSpec = "vm:arm64".parse().unwrap();
        let why = "needs an AWS account: ci/e2e --target ec2";
        assert_eq!(
            plan(&made, &target),
            format!(
                "on vm:arm64:\n     run  A2-1  Builds\n     run  A2-1  control: Not\n not run  A8-5  Cheap  ({why})\n\
                 2 scenarios would run, 1 would not\n"
            )
        );
        let row = serde_json::to_value(PlanRow::of(&made.scenarios[2])).unwrap();
        let expected = serde_json::json!({ "claim": "A8-5", "scenario": "Cheap", "feature": "features/f.feature",
            "line": 10, "control": false, "decision": "skip", "reason": why });
        assert_eq!(row, expected);
    }
}
