//! Finds out which checks the planned scenarios will make, by which rules, before anything is measured: takes each `Then`
//! without the steps before it, and notes what it asks to be checked.

use std::panic::AssertUnwindSafe;

use assay::claims::plan::{FeatureFile, Plan};
use assay::evidence::sealed_plan::PlannedChecks;
use cucumber::gherkin::StepType;
use futures::FutureExt as _;

use crate::e2e::fixtures::{FIXTURES, Fixtures};
use crate::e2e::tools::running;
use crate::e2e::traced;
use crate::e2e::world::ScenarioWorld;

/// Returns the checks of each planned step whose rule does not depend on more than a measured value.
pub async fn checks(features: &[FeatureFile], plan: &Plan, fixtures: &Fixtures) -> PlannedChecks {
    let mut checks = PlannedChecks::new();
    for (file, scenario) in running(features, plan) {
        for step in scenario.steps.iter().filter(|step| step.ty == StepType::Then) {
            let Ok(Some((run, _, _, context))) = traced::written().find(step) else { continue };
            let Ok(mut world) = FIXTURES.scope(fixtures.clone(), ScenarioWorld::rehearsing()).await else { continue };
            if AssertUnwindSafe(run(&mut world, context)).catch_unwind().await.is_ok() {
                let place = (file.path.clone(), scenario.position.line, step.position.line);
                checks.insert(place, world.rehearsed.unwrap_or_default());
            }
        }
    }
    checks
}
