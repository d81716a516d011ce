//! Records which steps ran, when, for how long, and which checks each made.

use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Instant;

use assay::verdict::claim_verdict::Step;
use cucumber::World as _;
use cucumber::step::{Collection, Context};
use jiff::Timestamp;
use regex::Regex;

use crate::e2e::world::ScenarioWorld;

pub fn written() -> &'static Collection<ScenarioWorld> {
    static WRITTEN: OnceLock<Collection<ScenarioWorld>> = OnceLock::new();
    WRITTEN.get_or_init(ScenarioWorld::collection)
}

/// Returns the same steps, wrapped so that each is recorded in the scenario that it runs for. cucumber's own events
/// come later than the end of a scenario, and do not include checks.
pub fn steps() -> Collection<ScenarioWorld> {
    let any = Regex::new("").expect("the empty pattern is one, and matches everything");
    Collection::new().given(None, any.clone(), traced).when(None, any.clone(), traced).then(None, any, traced)
}

fn traced(world: &mut ScenarioWorld, context: Context) -> Pin<Box<dyn Future<Output = ()> + '_>> {
    Box::pin(async move {
        let step = &context.step;
        let found = written().find(step).unwrap_or_else(|several| panic!("{several}"));
        let Some((run, _, _, context)) = found else { panic!("\"{}\" is an undefined step", step.value) };
        let (begun, place, checked) = (Instant::now(), world.steps.len(), world.checks.count());
        world.steps.push(Step {
            line: step.position.line,
            keyword: step.keyword.trim().to_owned(),
            text: step.value.clone(),
            at: Timestamp::now(),
            // A step that fails panics and does not reach the lines below.
            seconds: None,
            checks: 0,
        });
        run(world, context).await;
        world.steps[place].seconds = Some(begun.elapsed().as_secs_f64());
        world.steps[place].checks = world.checks.count() - checked;
    })
}
