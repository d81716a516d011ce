//! Defines `plan.json`: what a run is going to judge, and by which rules, written before it measures anything.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::base::digest::sha256_of;
use crate::base::platform::MachineKind;
use crate::base::unit::Unit;
use crate::claims::plan::{Decision, FeatureFile, Plan, Planned, ScenarioRef};
use crate::claims::register::{Claim, ClaimId, Register, Requirement};
use crate::evidence::ClaimResult;
use crate::evidence::bundle::{EvidenceBundle, SandboxedDir};
use crate::verdict::claim_verdict::{Attempt, ControlResult, ScenarioResult, Step};
use crate::verdict::{Check, Judged, Rule, Verdict};

pub const PLAN: &str = "plan.json";
pub const SIGNATURE: &str = "plan.json.sig";
/// The answer of a time-stamp server about the plan.
pub const TIME: &str = "plan.json.tsr";
/// Stands in a rule for a value that the run measures first, such as the digest that was pushed.
pub const MEASURED: &str = "(as measured)";

/// A run, by its name and the SHA-256 of its `plan.json`, or of its `run.json` if it has no plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    pub run: String,
    pub sha256: String,
}

/// The contents of `plan.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedPlan {
    /// The version of this layout.
    pub schema: u32,
    /// The run's name.
    pub run: String,
    /// When it was written: before any sample was taken.
    pub at: Timestamp,
    pub target: String,
    /// The run before this one in the same folder, if there is one.
    pub previous: Option<Link>,
    /// The SHA-256 of the program, of the project's files that runs read, and of the files in the workload's folder.
    pub inputs: BTreeMap<String, String>,
    /// The SHA-256 of each file in `features/`.
    pub features: BTreeMap<String, String>,
    /// How often is measured and tried again.
    pub limits: Json,
    pub claims: Vec<PlannedClaim>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedClaim {
    pub id: ClaimId,
    pub bound: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Requirement>,
    pub scenarios: Vec<PlannedScenario>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedScenario {
    #[serde(flatten)]
    pub at: ScenarioRef,
    pub control: bool,
    /// The kind of machine that it runs on.
    pub on: MachineKind,
    pub decision: Decision,
    /// Its steps, if it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<PlannedStep>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub line: usize,
    pub text: String,
    /// The checks that it will make, in order; `None` if only the step itself knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<PlannedCheck>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedCheck {
    pub probe: String,
    pub unit: Unit,
    #[serde(flatten)]
    pub rule: Rule,
}

/// The checks of steps, by the file and line of their scenario and the line of the step.
pub type PlannedChecks = BTreeMap<(String, usize, usize), Vec<PlannedCheck>>;

impl PlannedScenario {
    pub fn runs(&self) -> bool {
        !matches!(self.decision, Decision::Skip(_))
    }
}

impl PlannedCheck {
    /// Returns whether a check was made as planned. A limit that a workload was not given at all breaks `….unset`.
    pub fn is(&self, Judged { check: made, outcome, .. }: &Judged) -> bool {
        let measured = |rule: &Rule| matches!(rule, Rule::Equals { value } if *value == MEASURED.into());
        let rule = self.rule == made.rule || measured(&self.rule) && self.rule.relation() == made.rule.relation();
        let unset = made.probe.strip_suffix(".unset") == Some(&self.probe) && outcome.verdict != Verdict::Holds;
        unset || (self.probe == made.probe && self.unit == made.unit && rule)
    }

    pub fn format(&self) -> String {
        format!("{} {}", self.probe, self.rule.format(self.unit))
    }
}

impl SealedPlan {
    /// Returns the plan of a run: its own or, if it has none, one by which it would have been judged as it was.
    pub fn of(bundle: &EvidenceBundle) -> anyhow::Result<SealedPlan> {
        if bundle.folder.file(PLAN).is_ok() {
            return Ok(serde_json::from_str(&bundle.folder.text(PLAN)?)?);
        }
        let checks = |made: &[Judged]| {
            let check = |Judged { check: Check { probe, unit, rule, .. }, .. }: &Judged| PlannedCheck {
                probe: probe.clone(),
                unit: *unit,
                rule: rule.clone(),
            };
            made.iter().map(check).collect()
        };
        let steps = |attempts: &[Attempt]| {
            let Some(last) = attempts.last() else { return Vec::new() };
            let mut rest = &last.checks[..];
            let step = |Step { line, text, checks: made, seconds, .. }: &Step| {
                let (own, later) = rest.split_at_checked(*made).unwrap_or_default();
                rest = later;
                PlannedStep { line: *line, text: text.clone(), checks: seconds.map(|_| checks(own)) }
            };
            last.steps.iter().map(step).collect()
        };
        let own = |own: &ScenarioResult| PlannedScenario {
            at: own.at.clone(),
            control: false,
            on: own.machine_kind.unwrap_or(MachineKind::Host),
            decision: own.decision.clone(),
            steps: steps(&own.attempts),
        };
        let control = |control: &ControlResult| PlannedScenario {
            at: control.at.clone(),
            control: true,
            on: control.machine_kind.unwrap_or(MachineKind::Host),
            decision: Decision::Run,
            steps: steps(&control.attempts),
        };
        let claim = |ClaimResult { id, bound, needs, scenarios, controls, .. }: &ClaimResult| PlannedClaim {
            id: *id,
            bound: bound.clone(),
            needs: needs.clone(),
            scenarios: scenarios.iter().map(own).chain(controls.iter().map(control)).collect(),
        };
        Ok(SealedPlan {
            schema: 1,
            run: bundle.verdicts.run.clone(),
            at: bundle.samples.iter().map(|sample| sample.at).min().unwrap_or_default(),
            target: bundle.run.get("target").and_then(Json::as_str).unwrap_or_default().to_owned(),
            previous: None,
            inputs: BTreeMap::new(),
            features: feature_digests(&bundle.folder)?,
            limits: Json::Null,
            claims: bundle.verdicts.claims.iter().map(claim).collect(),
        })
    }
}

/// Describes the claims of a plan, with the checks that are known before they are made.
pub fn planned_claims(
    register: &Register,
    plan: &Plan,
    features: &[FeatureFile],
    checks: &PlannedChecks,
) -> Vec<PlannedClaim> {
    let scenario = |planned: &Planned| {
        let ScenarioRef { file: path, line, .. } = &planned.at;
        let file = features.iter().find(|file| file.path == *path);
        let all = file.map(FeatureFile::scenarios).unwrap_or_default();
        let own = all.into_iter().find(|each| each.scenario.position.line == *line && planned.runs());
        let steps = own.map(|own| own.scenario.steps).unwrap_or_default().into_iter().map(|step| PlannedStep {
            line: step.position.line,
            checks: checks.get(&(path.clone(), *line, step.position.line)).cloned(),
            text: step.value,
        });
        let (at, decision) = (planned.at.clone(), planned.decision.clone());
        PlannedScenario { at, control: planned.control, on: planned.on, decision, steps: steps.collect() }
    };
    let claim = |claim: &Claim| {
        let mine = plan.scenarios.iter().filter(|planned| planned.claim == claim.id);
        let Claim { id, bound, needs, .. } = claim.clone();
        PlannedClaim { id, bound, needs, scenarios: mine.map(scenario).collect() }
    };
    register.iter().map(claim).collect()
}

/// Returns the SHA-256 of each file in a run's `features/`.
pub fn feature_digests(folder: &SandboxedDir) -> anyhow::Result<BTreeMap<String, String>> {
    let names = folder.names()?.into_iter().filter(|name| name.starts_with("features/"));
    names.map(|name| Ok((name.clone(), sha256_of(folder.reader(&name)?)?))).collect()
}
