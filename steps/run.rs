//! A run of a program that is not ours: its own claims, on our targets, by its own steps and probes, with our verdicts and
//! our evidence.
//!
//! The folder that says what is claimed has a `features/`, as this project's own: `claims.toml`, and scenarios that carry
//! the claims' tags. Who runs the scenarios is the program's business: this module has no part in the steps' texts but
//! for the one that makes a control.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use jiff::Timestamp;

use crate::base::platform::{Arch, TargetSpec};
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::base::unit::Unit;
use crate::claims::plan::{Capabilities, FeatureFile, Planned, REFUSAL, every_scenario};
use crate::claims::suite::ClaimSuite;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::run_state::RunState;
use crate::evidence::{ClaimRecord, EvidenceWriter, Verdicts, new_run_id, noting_commands};
use crate::exec::cleanup::{CleanupJournal, sweep};
use crate::measurement::Reading;
use crate::report::finalize;
use crate::targets::{Context, Definition, Machine, Urgency, Vm};
use crate::verdict::claim_verdict::Attempt;
use crate::verdict::sample_set::SampleSet;
use crate::verdict::{Judged, Rule, Source, Verdict};

/// A run under way. What it makes is in a ledger: it goes when the run ends or is dropped, and where the process is
/// killed, when the next run begins.
pub struct Run {
    arch: Arch,
    context: Context,
    evidence: Arc<EvidenceWriter>,
    features: Vec<FeatureFile>,
    record: RunState,
}

/// What the scenario that is under way has checked so far.
#[derive(Debug, Default)]
pub struct ScenarioChecks {
    checks: Vec<Judged>,
    files: Vec<String>,
    commands: Vec<u64>,
}

impl ScenarioChecks {
    /// Checks every sample of a probe of a subject against a rule. A sample that breaks it is no error: the scenario goes
    /// on, and its verdict comes of all of its checks.
    ///
    /// # Errors
    /// The check cannot be made: a sample is missing, in another unit, or cannot be true. The scenario is inconclusive.
    pub fn check(&mut self, subject: &SampleSet, probe: &str, unit: Unit, rule: Rule) -> anyhow::Result<()> {
        self.files.extend(subject.files.iter().filter(|new| !self.files.contains(new)).cloned().collect::<Vec<_>>());
        self.commands.extend(subject.commands.iter().filter(|new| !self.commands.contains(new)).collect::<Vec<_>>());
        let judged = subject.check(probe, unit, rule);
        let outcome = judged.outcome.clone();
        self.checks.push(judged);
        anyhow::ensure!(outcome.verdict != Verdict::Inconclusive, outcome.reason);
        Ok(())
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Run({})", self.context.run)
    }
}

impl Run {
    /// Begins a run of what `folder/features/` claims, on a virtual machine of this host. Its evidence goes to a folder of
    /// its own below `settings.runs`. What runs that were killed have left is removed first.
    ///
    /// # Errors
    /// The features are not in order, the target is no machine of this host, or a folder cannot be written to.
    pub fn begin(folder: &Path, target: &TargetSpec, settings: Settings, progress: Progress) -> anyhow::Result<Run> {
        let arch = target.on_this_host()?;
        let annex = ClaimSuite::read(folder)?;
        let plan = annex.plan(&Capabilities::by(target, &settings.stand_in, None), |_, _| true, None)?;
        let (run, leases) = (new_run_id(), settings.cache.join("leases"));
        for trouble in sweep(&leases)?.troubles {
            progress.say(format!("an earlier run has left something that resists: {trouble}"));
        }
        let cleanup = Arc::new(CleanupJournal::open(&leases, &run)?);
        let evidence = Arc::new(EvidenceWriter::create(&settings.runs, None, &run)?);
        settings.secrets.iter().for_each(|secret| evidence.hide(secret));
        let line: Vec<String> = std::env::args().collect();
        evidence.note(serde_json::json!({ "command_line": line, "target": target.to_string() }))?;
        evidence.keep_features(folder)?;
        let record = RunState::new(annex.register, plan, annex.deviations, evidence.clone());
        evidence.write_verdicts(&record.verdicts(false))?;
        let context = Context {
            settings,
            cleanup,
            observer: evidence.clone(),
            evidence: evidence.folder().to_owned(),
            run,
            progress,
        };
        Ok(Run { arch, context, evidence, features: annex.features, record })
    }

    /// The scenarios that run, in the order of their claims, each claim's own before its controls.
    pub fn scenarios(&self) -> Vec<Planned> {
        self.record.plan().scenarios.iter().filter(|planned| planned.runs()).cloned().collect()
    }

    /// What provisioning needs to know, for machines that [`Run::machine`] does not make.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Where everything is written.
    pub fn evidence(&self) -> &EvidenceWriter {
        &self.evidence
    }

    /// A clean machine by its definition; what it says of itself is noted, for verdicts may depend on it. Whoever wants
    /// several keeps a [`Vm`]: its snapshot is checked once.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn machine(&self, definition: &Definition) -> anyhow::Result<Machine> {
        let vm = Box::pin(Vm::of(definition, self.arch, &self.context)).await?;
        let machine = Box::pin(vm.machine(&definition.name, Urgency::First)).await?;
        self.record.learn(machine.facts.named());
        self.evidence.note(serde_json::json!({ "machine": machine.facts }))?;
        Ok(machine)
    }

    /// Takes readings of something on a machine: they become evidence, and a subject that knows when, where and by which
    /// commands they were taken. `name` says what they are of; no two subjects of a run share one. `machine` is the name of
    /// the machine they are taken on.
    ///
    /// # Errors
    /// They cannot be taken, or not be written.
    pub async fn look(
        &self,
        name: &str,
        machine: &str,
        take: impl Future<Output = anyhow::Result<Vec<Reading>>>,
    ) -> anyhow::Result<SampleSet> {
        let since = Timestamp::now();
        let (readings, commands) = noting_commands(take).await;
        let until = Timestamp::now();
        let readings = readings.with_context(|| format!("{name} on {machine}"))?;
        let samples = self.evidence.record(name, machine, readings.into_iter().map(|reading| (until, reading)))?;
        let source = Source { subject: name.to_owned(), machine: machine.to_owned(), since, until };
        let files = ["samples.jsonl", "transcript.jsonl"].map(str::to_owned).to_vec();
        Ok(SampleSet { samples, sources: vec![source], files, commands })
    }

    /// Runs one scenario: what it checks, and the error that ends it if one does, come to a verdict that is written at
    /// once. Gives its claim as it stands. That a control is refused, and why, is looked for as its feature says.
    ///
    /// # Errors
    /// The evidence cannot be written.
    pub async fn prove(
        &self,
        planned: &Planned,
        steps: impl AsyncFnOnce(&mut ScenarioChecks) -> anyhow::Result<()>,
    ) -> anyhow::Result<ClaimRecord> {
        let (mut proof, began) = (ScenarioChecks::default(), Instant::now());
        let error = steps(&mut proof).await.err().map(|error| format!("{error:#}"));
        let attempt = Attempt {
            because: planned.control.then(|| self.because(planned)).flatten(),
            evidence: proof.files,
            seconds: began.elapsed().as_secs_f64(),
            commands: proof.commands,
            ..Attempt::new(proof.checks, error)
        };
        Ok(self.record.end(planned, attempt)?.claim)
    }

    /// Why a control's check is to say no, by the last step of its scenario.
    fn because(&self, planned: &Planned) -> Option<String> {
        let file = self.features.iter().find(|file| file.path == planned.feature)?;
        let scenario = every_scenario(&file.feature).find(|scenario| scenario.position.line == planned.line)?;
        let told = scenario.steps.last()?.value.strip_prefix(REFUSAL)?;
        Some(told.trim_matches('"').to_owned())
    }

    /// Ends the run: removes all it has made, then writes its verdicts, its reports and its checksums. Gives the verdicts,
    /// whose `exit` is what the program should end with, and the folder of evidence.
    ///
    /// # Errors
    /// Something resists or cannot be written.
    pub fn end(self) -> anyhow::Result<(Verdicts, PathBuf)> {
        let troubles = self.context.cleanup.close();
        let complete = self.scenarios().iter().all(|planned| self.record.tried(planned));
        let verdicts = self.record.verdicts(complete);
        self.evidence.write_verdicts(&verdicts)?;
        self.evidence.end()?;
        let folder = self.evidence.folder().to_owned();
        let unreported = finalize::close(&EvidenceBundle::open(&folder)?, None)?;
        anyhow::ensure!(troubles.is_empty(), "could not be removed: {}", troubles.join("; "));
        anyhow::ensure!(unreported.is_empty(), "could not be reported: {}", unreported.join("; "));
        Ok((verdicts, folder))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::evidence::verify;

    const CLAIMS: &str = "[[claim]]\nid = \"A1-1\"\nclaim = \"there is room\"\nbound = \"2 GB\"\ncontrol = \"none\"\n";
    const FEATURE: &str = "Feature: f\n\n  @A1-1\n  Scenario: it has room\n    Given a disk\n\n  @A1-1 @control\n  \
        Scenario: it has none\n    Given a full disk\n    But the check says no because of \"disk.free\"\n";

    /// A run that measures what it is told: of its claim, and of the control.
    async fn ran(folder: &Path, own: f64, wrong: f64) -> (Verdicts, PathBuf) {
        let run = begin(folder);
        for planned in run.scenarios() {
            let bytes = if planned.control { wrong } else { own };
            let taken = async { Ok(vec![Reading::new("disk.free", bytes, Unit::Bytes, format!("{bytes}"))]) };
            let subject = run.look(&planned.scenario, "nano", taken).await.unwrap();
            let check = async |proof: &mut ScenarioChecks| {
                proof.check(&subject, "disk.free", Unit::Bytes, Rule::Between { low: 2e9, high: 4e9 })
            };
            run.prove(&planned, check).await.unwrap();
        }
        run.end().unwrap()
    }

    fn begin(folder: &Path) -> Run {
        fs::create_dir_all(folder.join("features")).unwrap();
        fs::write(folder.join("features/claims.toml"), CLAIMS).unwrap();
        fs::write(folder.join("features/room.feature"), FEATURE).unwrap();
        let (cache, runs) = (folder.join("cache"), folder.join("runs"));
        let settings = Settings { cache, runs, ..Settings::read().unwrap() };
        Run::begin(folder, &"vm".parse().unwrap(), settings, Progress::to(|_| {})).unwrap()
    }

    fn ledgers(folder: &Path) -> usize {
        fs::read_dir(folder.join("cache/leases")).unwrap().count()
    }

    #[tokio::test]
    async fn a_claim_whose_control_is_refused_holds_and_its_bundle_can_be_verified() {
        let folder = tempfile::tempdir().unwrap();
        let (verdicts, evidence) = ran(folder.path(), 3e9, 1e9).await;
        assert_eq!((verdicts.exit, verdicts.complete, verdicts.claims[0].verdict), (0, true, Verdict::Holds));
        let verification = verify::verify(&evidence, None).unwrap();
        assert!(verification.verified, "{}", verification.show(&evidence));
        assert_eq!(ledgers(folder.path()), 0);
    }

    #[tokio::test]
    async fn a_control_that_passes_or_cannot_be_true_lets_no_claim_hold() {
        for (wrong, verdict, exit) in [(3e9, Verdict::Fails, 1), (-1.0, Verdict::Inconclusive, 3)] {
            let folder = tempfile::tempdir().unwrap();
            let (verdicts, _) = ran(folder.path(), 3e9, wrong).await;
            assert_eq!((verdicts.claims[0].verdict, verdicts.exit), (verdict, exit), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_run_that_is_dropped_leaves_what_it_knew_and_no_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let run = begin(folder.path());
        assert_eq!(ledgers(folder.path()), 1);
        let failed = run.prove(&run.scenarios()[0], async |_| anyhow::bail!("connection lost")).await.unwrap();
        assert_eq!((failed.verdict, failed.reason.as_str()), (Verdict::Inconclusive, "connection lost"));
        drop(run);
        assert_eq!(ledgers(folder.path()), 0);
        let known = fs::read_to_string(folder.path().join("runs/latest/verdicts.json")).unwrap();
        assert!(known.contains("connection lost"), "{known}");
    }
}
