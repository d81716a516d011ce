//! Hands planned scenarios to cucumber and records their results.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::progress::Progress;
use crate::claims::plan::Planned;
use crate::claims::register::Shared;
use crate::e2e::fixtures::{FIXTURES, Fixtures, Rented};
use crate::e2e::traced;
use crate::e2e::world::ScenarioWorld;
use crate::evidence::run_state::RunState;
use crate::report;
use crate::run::Scenarios;
use crate::verdict::claim_verdict::Attempt;
use cucumber::event::ScenarioFinished;
use cucumber::{Cucumber, cli};

/// The scenarios of a suite, which cucumber runs.
pub struct Suite {
    features: PathBuf,
    concurrency: Option<u16>,
    state: Arc<RunState>,
    fixtures: Fixtures,
    rented: Option<Rented>,
    /// What the scenarios share, until it is started.
    uses: Mutex<Vec<Shared>>,
}

impl Suite {
    pub fn new(
        features: &Path,
        concurrency: Option<u16>,
        state: Arc<RunState>,
        fixtures: Fixtures,
        uses: Vec<Shared>,
        rented: Option<Rented>,
    ) -> Suite {
        Suite { features: features.to_owned(), concurrency, state, fixtures, rented, uses: Mutex::new(uses) }
    }
}

impl Scenarios for Suite {
    async fn run(&self, wanted: Vec<Planned>) {
        let uses = std::mem::take(&mut *self.uses.lock().unwrap_or_else(PoisonError::into_inner));
        self.fixtures.get_ready(&uses).await;
        let begin = Box::pin(self.fixtures.begin(&uses));
        tokio::join!(begin, FIXTURES.scope(self.fixtures.clone(), self.hand_over(wanted)));
    }

    fn try_again(&self) {
        self.fixtures.try_again();
    }

    async fn must_stop(&self) -> String {
        let Some(rented) = &self.rented else { return std::future::pending().await };
        while rented.may_go_on() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        "ec2: going on would cost more than --max-cost allows".to_owned()
    }
}

impl Suite {
    /// Hands the wanted scenarios to cucumber; each result is recorded when its scenario ends.
    async fn hand_over(&self, wanted: Vec<Planned>) {
        let cli = cli::Opts {
            re_filter: None,
            tags_filter: None,
            parser: cucumber::parser::basic::Cli::default(),
            runner: cucumber::runner::basic::Cli {
                concurrency: Some(usize::from(self.concurrency.unwrap_or(u16::MAX))),
                ..Default::default()
            },
            writer: cli::Empty,
            custom: cli::Empty,
        };
        let wanted: HashSet<_> = wanted.into_iter().map(|planned| (planned.feature, planned.line)).collect();
        let (before, after, progress) = (self.state.clone(), self.state.clone(), self.fixtures.progress().clone());
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
                    tell(&after, planned, finished, world, &progress);
                }
                Box::pin(std::future::ready(()))
            })
            .filter_run(self.features.clone(), move |feature, _, scenario| {
                wanted.contains(&(file(feature), scenario.position.line))
            })
            .await;
    }
}

/// Records the result of a finished scenario and prints it.
fn tell(
    state: &RunState,
    planned: &Planned,
    finished: &ScenarioFinished,
    world: Option<&mut ScenarioWorld>,
    progress: &Progress,
) {
    let error = match finished {
        ScenarioFinished::StepPassed => None,
        ScenarioFinished::StepSkipped => Some("a step of it was never written".to_owned()),
        ScenarioFinished::StepFailed(_, _, error) => Some(said(&error.to_string())),
        ScenarioFinished::BeforeHookFailed(_) => Some("the framework failed before its first step".to_owned()),
    };
    let attempt = match world {
        Some(world) => {
            if let Some(facts) = world.fixtures.machines().known_facts() {
                state.learn(facts.named());
            }
            world.attempt(error)
        }
        None => Attempt::new(Vec::new(), error.or_else(|| Some("the scenario could not begin".to_owned()))),
    };
    match state.end(planned, attempt) {
        Ok(standing) => progress.print(report::line(&standing, planned)),
        Err(error) => progress.error(format!("the evidence of {} is not written: {error:#}", planned.claim)),
    }
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
