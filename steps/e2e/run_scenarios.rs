//! Hands planned scenarios to cucumber and records their results.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::e2e::fixtures::{FIXTURES, Fixtures};
use crate::e2e::traced;
use crate::e2e::world::ScenarioWorld;
use assay::base::platform::MachineKind;
use assay::base::progress::Progress;
use assay::claims::plan::{FeatureFile, Plan, Planned};
use assay::claims::register::Shared;
use assay::claims::workload::question::Question;
use assay::evidence::run_state::RunState;
use assay::report;
use assay::run::Signals;
use assay::verdict::Reason;
use assay::verdict::claim_verdict::Attempt;
use cucumber::event::ScenarioFinished;
use cucumber::{Cucumber, cli, parser};
use gherkin::{Feature, Scenario, StepType};

/// The scenarios of a suite, which cucumber runs.
pub struct SuiteRun {
    pub features: Vec<FeatureFile>,
    pub state: Arc<RunState>,
    pub fixtures: Fixtures,
    pub uses: Vec<Use>,
}

/// Something that scenarios share on a kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    pub what: Shared,
    pub on: MachineKind,
    /// Whether it is measured while the rest of the host is at rest.
    pub at_rest: bool,
}

impl SuiteRun {
    /// Runs all planned scenarios, with retries. Returns whether it came to the end: neither a signal, nor a first
    /// failure with `--fail-fast`, nor the cost stopped it.
    pub async fn run(&self, signals: &mut Signals) -> bool {
        let (state, options, progress) = (&self.state, self.fixtures.options(), self.fixtures.progress());
        let chosen = |wanted: &dyn Fn(&Planned) -> bool| -> Vec<Planned> {
            let planned = state.plan().scenarios.iter();
            planned.filter(|planned| planned.runs() && wanted(planned)).cloned().collect()
        };
        let all = async {
            self.hand_over_in_turn(chosen(&|planned| !planned.last)).await;
            for retry in 1..=options.retries {
                // Decided before the first scenario runs, because the result of one must not change which others run.
                let open = chosen(&|planned| !planned.last && state.wants_another(planned));
                if open.is_empty() {
                    break;
                }
                progress.note(format!("retrying {} scenarios (attempt {})", open.len(), retry + 1));
                self.fixtures.try_again();
                self.hand_over_in_turn(open).await;
            }
            // The last scenarios end the machines, which `--keep` leaves running if something did not hold.
            if !options.keep || state.verdicts(false).exit == 0 {
                self.hand_over(chosen(&|planned| planned.last)).await;
            }
        };
        let complete = tokio::select! {
            () = all => true,
            () = state.first_failure(), if options.fail_fast => false,
            () = self.budget_is_spent() => {
                progress.note("ec2: going on would cost more than --max-cost allows");
                false
            }
            () = signals.any() => false,
        };
        if !complete {
            progress.note("stopped before the end: cleaning up");
        }
        complete
    }

    /// Hands over what may run beside each other, the emulated machines' jobs first, for they take longest. Then ends
    /// these machines, and hands over what is measured at rest.
    async fn hand_over_in_turn(&self, wanted: Vec<Planned>) {
        let (quiet, beside): (Vec<Planned>, Vec<Planned>) = wanted.into_iter().partition(|planned| planned.at_rest);
        let others = self.fixtures.of_each_kind();
        for (at_rest, wanted) in [(false, beside), (true, quiet)] {
            if wanted.is_empty() {
                continue;
            }
            let on = |kind: MachineKind| {
                let mine = self.uses.iter().filter(move |one| one.on == kind && one.at_rest == at_rest);
                mine.map(|one| one.what).collect::<Vec<_>>()
            };
            let here: Vec<_> = others.iter().map(|fixtures| (fixtures, on(fixtures.kind()))).collect();
            for (fixtures, uses) in &here {
                if at_rest {
                    fixtures.rest().await;
                }
                fixtures.get_ready(uses).await;
            }
            let begin = futures::future::join_all(here.iter().map(|(fixtures, uses)| Box::pin(fixtures.begin(uses))));
            tokio::join!(begin, self.hand_over(wanted));
        }
    }

    /// Waits until going on would cost more than the budget allows.
    async fn budget_is_spent(&self) {
        let Ok(rented) = self.fixtures.rented() else { return std::future::pending().await };
        while rented.may_go_on() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    /// Hands the wanted scenarios to cucumber; each result is recorded when its scenario ends.
    async fn hand_over(&self, wanted: Vec<Planned>) {
        let cli = cli::Opts {
            re_filter: None,
            tags_filter: None,
            parser: cli::Empty,
            runner: cucumber::runner::basic::Cli {
                concurrency: Some(usize::from(self.fixtures.options().concurrency.unwrap_or(u16::MAX))),
                ..Default::default()
            },
            writer: cli::Empty,
            custom: cli::Empty,
        };
        let asked = asked(&self.features, self.state.plan());
        let (before, after, progress) = (self.state.clone(), self.state.clone(), self.fixtures.progress().clone());
        let cucumber = Cucumber::<ScenarioWorld, _, &str, _, _, cli::Empty>::new()
            .with_parser(Parsed)
            .steps(traced::steps())
            .with_writer(Silent)
            .with_cli(cli)
            .before(move |feature, _, scenario, world| {
                if let Some(planned) = before.plan().at(&path(feature), scenario.position.line) {
                    world.fixtures = world.fixtures.on(planned.on);
                    world.questions = questions(&asked, planned, scenario);
                    if !planned.shared {
                        world.fixtures = world.fixtures.for_scenario(&planned.at.short());
                    }
                }
                world.started = Instant::now();
                Box::pin(std::future::ready(()))
            })
            .after(move |feature, _, scenario, finished, world| {
                if let Some(planned) = after.plan().at(&path(feature), scenario.position.line) {
                    record(&after, planned, finished, world, &progress);
                }
                Box::pin(std::future::ready(()))
            })
            .run(expanded(&self.features, &wanted));
        FIXTURES.scope(self.fixtures.clone(), cucumber).await;
    }
}

/// What each scenario that shares its measurements asks a workload, with its kind of machine and what it is about.
type Asked = Vec<(MachineKind, String, Vec<Question>)>;

fn asked(features: &[FeatureFile], plan: &Plan) -> Asked {
    let mut asked = Asked::new();
    for file in features {
        for scenario in file.scenarios().into_iter().map(|expanded| expanded.scenario) {
            let planned = plan.at(&file.path, scenario.position.line);
            if let Some(planned) = planned.filter(|planned| planned.runs() && planned.shared) {
                let (about, questions) = own_questions(&scenario);
                asked.push((planned.on, about, questions));
            }
        }
    }
    asked
}

/// Returns the text of a scenario's last step that begins with When, and the questions of its steps.
fn own_questions(scenario: &Scenario) -> (String, Vec<Question>) {
    let about = scenario.steps.iter().rev().find(|step| step.ty == StepType::When);
    let questions = scenario.steps.iter().filter_map(|step| Question::of(&step.value));
    (about.map_or_else(String::new, |step| step.value.clone()), questions.collect())
}

/// Returns what a scenario's workload is asked: what the scenarios ask that share its measurements.
fn questions(asked: &Asked, planned: &Planned, scenario: &Scenario) -> Vec<Question> {
    let (about, own) = own_questions(scenario);
    if own.is_empty() || !planned.shared {
        return own;
    }
    let mut all: Vec<Question> = Vec::new();
    let alike = asked.iter().filter(|(on, what, _)| *on == planned.on && *what == about);
    for question in alike.flat_map(|(_, _, questions)| questions) {
        if !all.contains(question) {
            all.push(question.clone());
        }
    }
    all
}

/// Describes the scenarios that were planned and did not run, after a run that came to its end. The last ones do not run
/// if `keep` leaves their machines running.
pub fn lost(state: &RunState, keep: bool) -> Option<String> {
    let lost = state.not_run().into_iter().filter(|planned| !(planned.last && keep));
    let lost: Vec<String> =
        lost.map(|planned| format!("\n  {}: {}: {}", planned.at, planned.claim, planned.at.name)).collect();
    (!lost.is_empty()).then(|| {
        format!("{} scenarios were planned and did not run, which is an error of assay:{}", lost.len(), lost.concat())
    })
}

/// Returns the wanted scenarios as they were planned, and nothing that cucumber would expand, inherit or retry by itself.
fn expanded(files: &[FeatureFile], wanted: &[Planned]) -> Vec<Feature> {
    let of = |file: &FeatureFile| {
        let is_wanted = |scenario: &Scenario| {
            wanted.iter().any(|planned| planned.at.file == file.path && planned.at.line == scenario.position.line)
        };
        let scenarios = file.scenarios().into_iter().map(|expanded| expanded.scenario).filter(is_wanted);
        Feature {
            scenarios: scenarios.map(|scenario| Scenario { tags: Vec::new(), ..scenario }).collect(),
            path: Some(file.path.clone().into()),
            background: None,
            rules: Vec::new(),
            tags: Vec::new(),
            ..file.feature.clone()
        }
    };
    files.iter().map(of).filter(|feature| !feature.scenarios.is_empty()).collect()
}

/// Returns the path of a feature that [`expanded`] made, relative to the project.
fn path(feature: &Feature) -> String {
    feature.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
}

/// Hands features to cucumber that are parsed and expanded already, so that what was planned is what runs.
struct Parsed;

impl cucumber::Parser<Vec<Feature>> for Parsed {
    type Cli = cli::Empty;
    type Output = futures::stream::Iter<std::vec::IntoIter<parser::Result<Feature>>>;

    fn parse(self, features: Vec<Feature>, _: cli::Empty) -> Self::Output {
        futures::stream::iter(features.into_iter().map(Ok).collect::<Vec<_>>())
    }
}

/// Records the result of a finished scenario and prints it.
fn record(
    state: &RunState,
    planned: &Planned,
    finished: &ScenarioFinished,
    world: Option<&mut ScenarioWorld>,
    progress: &Progress,
) {
    let error = match finished {
        ScenarioFinished::StepPassed => None,
        ScenarioFinished::StepSkipped => Some("a step of it was never written".to_owned()),
        // Without the words that cucumber puts around it.
        ScenarioFinished::StepFailed(_, _, error) => {
            Some(error.to_string().trim_start_matches("Step panicked. Captured output: ").trim().to_owned())
        }
        ScenarioFinished::BeforeHookFailed(_) => Some("the framework failed before its first step".to_owned()),
    };
    let attempt = match world {
        Some(world) => {
            let machines = world.fixtures.machines();
            if let Some(facts) = machines.known_facts() {
                state.learn(machines.kind(), facts.named());
            }
            world.attempt(error)
        }
        None => {
            let error = error.unwrap_or_else(|| "the scenario could not begin".to_owned());
            Attempt::new(Vec::new(), Some(Reason::step(error)))
        }
    };
    match state.end(planned, attempt) {
        Ok(standing) => progress.print(report::line(&standing, planned)),
        Err(error) => progress.error(format!("the evidence of {} is not written: {error:#}", planned.claim)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use assay::claims::deviation::Deviations;
    use assay::claims::plan::Capabilities;
    use assay::claims::register::Register;
    use assay::evidence::EvidenceWriter;

    /// Plans all scenarios of a feature but one.
    fn planned(text: &str, unwanted: &str) -> ([FeatureFile; 1], Register, Plan) {
        let files = [FeatureFile::parse("features/f.feature".to_owned(), text).unwrap()];
        let register = Register::parse("[[claim]]\nid = \"A6-3\"\nclaim = \"x\"\nbound = \"y\"\n").unwrap();
        let wanted = |scenario: &Scenario| scenario.name != unwanted;
        let plan = Plan::make(&files, &register, &Capabilities::default(), wanted, None).unwrap();
        (files, register, plan)
    }

    #[test]
    fn cucumber_gets_the_wanted_rows_as_they_were_planned_and_nothing_to_retry_or_inherit() {
        let text = "@A6-3 @retry(3)\nFeature: f\n  Background:\n    Given x\n  Scenario: plain\n    Then y\n  Rule: r\n\
                    \x20   @serial\n    Scenario Outline: o\n      Then <n>\n    Examples:\n      | n |\n      | 1 |\n      | 2 |\n";
        let (files, _, plan) = planned(text, "o (1)");
        let runs: Vec<Planned> = plan.scenarios.iter().filter(|planned| planned.runs()).cloned().collect();
        let [feature] = &expanded(&files, &runs)[..] else { panic!("not one feature") };
        assert!(feature.tags.is_empty() && feature.rules.is_empty() && feature.background.is_none());
        let shown = feature.scenarios.iter().map(|scenario| {
            let steps: Vec<&str> = scenario.steps.iter().map(|step| step.value.as_str()).collect();
            let planned = plan.at(&path(feature), scenario.position.line).unwrap();
            format!("{} {} {} {}", planned.at, scenario.name, steps.join("/"), scenario.tags.len())
        });
        let expected = ["features/f.feature:5 plain x/y 0", "features/f.feature:14 o (2) x/2 0"];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn scenarios_that_share_a_run_ask_together_and_others_alone() {
        let text = "@A6-3\nFeature: f\n  @shared\n  Scenario: one\n    When the workload is up\n\
                    \x20   Then a client connects to port 1\n  @shared\n  Scenario: two\n    When the workload is up\n\
                    \x20   Then a client connects to port 1\n    And a client connects to port 2\n  @shared\n\
                    \x20 Scenario: three\n    When the workload is up without its volume \"v\"\n\
                    \x20   Then a client connects to port 3\n  Scenario: four\n    When the workload is up\n\
                    \x20   Then a client connects to port 4\n";
        let (files, _, plan) = planned(text, "");
        let asked = asked(&files, &plan);
        let all = files[0].scenarios().into_iter().map(|expanded| {
            let planned = plan.at(&files[0].path, expanded.scenario.position.line).unwrap();
            questions(&asked, planned, &expanded.scenario)
        });
        let ports = |ports: &[u16]| ports.iter().map(|port| Question::Connect(*port)).collect::<Vec<_>>();
        assert_eq!(all.collect::<Vec<_>>(), [ports(&[1, 2]), ports(&[1, 2]), ports(&[3]), ports(&[4])]);
    }

    #[test]
    fn a_scenario_that_never_ended_is_named() {
        let text = "@A6-3\nFeature: f\n  Scenario: first\n    Then y\n  Scenario: second\n    Then y\n  @last\n\
                    \x20 Scenario: third\n    Then y\n";
        let (_, register, plan) = planned(text, "");
        let folder = tempfile::tempdir().unwrap();
        let evidence = Arc::new(EvidenceWriter::create(folder.path(), None, "r").unwrap());
        let state = RunState::new(register, plan, Deviations::default(), evidence);
        let planned = state.plan().scenarios.clone();
        state.end(&planned[0], Attempt::new(Vec::new(), None)).unwrap();
        let all = lost(&state, false).unwrap();
        let named = ["\n  features/f.feature:5: A6-3: second", "\n  features/f.feature:8: A6-3: third"];
        assert_eq!(
            all,
            format!("2 scenarios were planned and did not run, which is an error of assay:{}", named.concat())
        );
        assert!(lost(&state, true).unwrap().ends_with(named[0]), "--keep keeps the machine of the last one");
        planned.iter().for_each(|planned| drop(state.end(planned, Attempt::new(Vec::new(), None)).unwrap()));
        assert_eq!(lost(&state, false), None);
    }
}
