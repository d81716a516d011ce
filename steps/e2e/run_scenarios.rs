//! Hands planned scenarios to cucumber and records their results.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::base::progress::{self, Progress};
use crate::claims::plan::Planned;
use crate::evidence::run_state::RunState;
use crate::report;
use crate::verdict::claim_verdict::Attempt;
use cucumber::event::ScenarioFinished;
use cucumber::{Cucumber, cli};

use crate::e2e::options::Options;
use crate::e2e::traced;
use crate::e2e::world::ScenarioWorld;

/// Which of the planned scenarios to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All except those that must come last.
    Body,
    /// Those of the body that are worth another attempt.
    Again,
    /// The last ones, which end the machine.
    Last,
}

/// Hands planned scenarios to cucumber; each result is recorded when its scenario ends.
pub async fn prove(features: &Path, options: &Options, record: Arc<RunState>, part: Part) {
    let cli = cli::Opts {
        re_filter: None,
        tags_filter: None,
        parser: cucumber::parser::basic::Cli::default(),
        runner: cucumber::runner::basic::Cli {
            concurrency: Some(usize::from(options.concurrency.unwrap_or(u16::MAX))),
            ..Default::default()
        },
        writer: cli::Empty,
        custom: cli::Empty,
    };
    // Decided before the first scenario runs, because the result of one must not change which others run.
    let wanted = |planned: &&Planned| match part {
        Part::Body => planned.runs() && !planned.last,
        Part::Again => planned.runs() && !planned.last && record.wants_another(planned),
        Part::Last => planned.runs() && planned.last,
    };
    let wanted: HashSet<_> = record.plan().scenarios.iter().filter(wanted).map(place).collect();
    let (before, after) = (record.clone(), record);
    let file = |feature: &gherkin::Feature| {
        let name = feature.path.as_deref().and_then(|path| path.file_name()?.to_str().map(str::to_owned));
        format!("features/{}", name.unwrap_or_default())
    };
    Cucumber::<ScenarioWorld, _, _, _, _, cli::Empty>::new()
        .steps(traced::steps())
        .with_writer(Silent)
        .with_cli(cli)
        .before(move |feature, _, scenario, world| {
            if let Some(planned) = before.plan().at(&file(feature), scenario.position.line) {
                world.claim = Some(planned.claim);
                world.control = planned.control;
                if !planned.shared {
                    world.fixtures = world.fixtures.of_its_own(&planned.place());
                }
            }
            world.started = Instant::now();
            Box::pin(std::future::ready(()))
        })
        .after(move |feature, _, scenario, finished, world| {
            if let Some(planned) = after.plan().at(&file(feature), scenario.position.line) {
                tell(&after, planned, finished, world);
            }
            Box::pin(std::future::ready(()))
        })
        .filter_run(features.to_owned(), move |feature, _, scenario| {
            wanted.contains(&(file(feature), scenario.position.line))
        })
        .await;
}

fn place(planned: &Planned) -> (String, usize) {
    (planned.feature.clone(), planned.line)
}

/// Records the result of a finished scenario and prints it.
fn tell(record: &RunState, planned: &Planned, finished: &ScenarioFinished, world: Option<&mut ScenarioWorld>) {
    let error = match finished {
        ScenarioFinished::StepPassed => None,
        ScenarioFinished::StepSkipped => Some("a step of it was never written".to_owned()),
        ScenarioFinished::StepFailed(_, _, error) => Some(said(&error.to_string())),
        ScenarioFinished::BeforeHookFailed(_) => Some("the framework failed before its first step".to_owned()),
    };
    let attempt = match world {
        Some(world) => {
            if let Some(facts) = world.fixtures.machines().known_facts() {
                record.learn(facts.named());
            }
            world.attempt(error)
        }
        None => Attempt::new(Vec::new(), error.or_else(|| Some("the scenario could not begin".to_owned()))),
    };
    match record.end(planned, attempt) {
        Ok(standing) => say(&report::line(&standing, planned)),
        Err(error) => {
            Progress::to_stderr().say(format!("the evidence of {} is not written: {error:#}", planned.claim));
        }
    }
}

/// Prints a line, even if nothing reads it, as in `ci/e2e | head`.
pub fn say(line: &str) {
    progress::print(line);
}

/// Returns the error of a step that failed, without the words that cucumber puts around it.
fn said(error: &str) -> String {
    error.trim_start_matches("Step panicked. Captured output: ").trim().to_owned()
}

/// Discards cucumber's own output: the hooks print everything that is needed.
struct Silent;

impl<W> cucumber::Writer<W> for Silent {
    type Cli = cli::Empty;

    async fn handle_event(
        &mut self,
        _: cucumber::parser::Result<cucumber::Event<cucumber::event::Cucumber<W>>>,
        _: &cli::Empty,
    ) {
    }
}

impl cucumber::writer::Normalized for Silent {}
