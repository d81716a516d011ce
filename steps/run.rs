//! A run for another crate: its own claims, steps and probes, with assay's machines, verdicts and evidence.
//!
//! The folder of claims contains a `features/` like this project's own: `claims.toml`, and scenarios tagged with the
//! claims' ids. The calling program executes the scenarios. The only step text that this module reads is the one that
//! ends a control.

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
use crate::evidence::{ClaimResult, EvidenceWriter, Verdicts, new_run_id, noting_commands};
use crate::exec::cleanup::{CleanupJournal, remove_stale};
use crate::measurement::Reading;
use crate::report::finalize;
use crate::targets::{Context, Definition, Machine, Urgency, Vm};
use crate::verdict::claim_verdict::Attempt;
use crate::verdict::sample_set::SampleSet;
use crate::verdict::{Judged, Rule, Source, Verdict};

/// A run in progress. The cleanup journal lists everything it creates, which is removed when the run ends or is
/// dropped, or, after a kill, when the next run begins.
pub struct Run {
    arch: Arch,
    context: Context,
    evidence: Arc<EvidenceWriter>,
    features: Vec<FeatureFile>,
    record: RunState,
}

/// The checks that the current scenario has made so far.
#[derive(Debug, Default)]
pub struct ScenarioChecks {
    checks: Vec<Judged>,
    files: Vec<String>,
    commands: Vec<u64>,
}

impl ScenarioChecks {
    /// Checks every sample of a subject's probe against a rule. A sample that breaks the rule is not an error: the
    /// scenario continues, and its verdict combines all of its checks.
    ///
    /// # Errors
    /// Returns an error, so the scenario is inconclusive, if a sample is missing, has another unit, or is implausible.
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
    /// Begins a run of the claims in `folder/features/` on a virtual machine of this host. Its evidence goes to a new
    /// folder below `settings.runs`. First removes what killed runs have left behind.
    ///
    /// # Errors
    /// Returns an error if the features are invalid, the target is not a local VM, or a folder is not writable.
    pub fn begin(folder: &Path, target: &TargetSpec, settings: Settings, progress: Progress) -> anyhow::Result<Run> {
        let arch = target.on_this_host()?;
        let annex = ClaimSuite::read(folder)?;
        let plan = annex.plan(&Capabilities::by(target, &settings.stand_in, None), |_, _| true, None)?;
        let (run, journals) = (new_run_id(), settings.cache.join("journals"));
        for trouble in remove_stale(&journals)?.troubles {
            progress.say(format!("an earlier run has left something that resists: {trouble}"));
        }
        let cleanup = Arc::new(CleanupJournal::open(&journals, &run)?);
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

    /// Returns the scenarios that run, in the order of their claims, each claim's own scenario before its controls.
    pub fn scenarios(&self) -> Vec<Planned> {
        self.record.plan().scenarios.iter().filter(|planned| planned.runs()).cloned().collect()
    }

    /// Returns the provisioning context, for machines that [`Run::machine`] does not create.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Returns the writer of this run's evidence.
    pub fn evidence(&self) -> &EvidenceWriter {
        &self.evidence
    }

    /// Starts a fresh machine of a definition and records its machine info, because verdicts may depend on it. To start
    /// several, keep a [`Vm`]: its snapshot is then checked only once.
    ///
    /// # Errors
    /// Returns an error if the machine does not start.
    pub async fn machine(&self, definition: &Definition) -> anyhow::Result<Machine> {
        let vm = Box::pin(Vm::of(definition, self.arch, &self.context)).await?;
        let machine = Box::pin(vm.machine(&definition.name, Urgency::First)).await?;
        self.record.learn(machine.facts.named());
        self.evidence.note(serde_json::json!({ "machine": machine.facts }))?;
        Ok(machine)
    }

    /// Takes readings on a machine, records them as evidence, and returns a sample set with the time, place and
    /// commands of the readings. `name` is the subject's name, unique within the run. `machine` is the name of the
    /// machine that the readings are taken on.
    ///
    /// # Errors
    /// Returns an error if the readings cannot be taken or written.
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

    /// Runs one scenario and returns its claim's current result. The verdict, written at once, combines the checks and
    /// any error that ended the scenario. A control must be rejected for the reason that its feature gives.
    ///
    /// # Errors
    /// Returns an error if the evidence cannot be written.
    pub async fn prove(
        &self,
        planned: &Planned,
        steps: impl AsyncFnOnce(&mut ScenarioChecks) -> anyhow::Result<()>,
    ) -> anyhow::Result<ClaimResult> {
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

    /// Returns why a control's check should fail, from the last step of its scenario.
    fn because(&self, planned: &Planned) -> Option<String> {
        let file = self.features.iter().find(|file| file.path == planned.feature)?;
        let scenario = every_scenario(&file.feature).find(|scenario| scenario.position.line == planned.line)?;
        let told = scenario.steps.last()?.value.strip_prefix(REFUSAL)?;
        Some(told.trim_matches('"').to_owned())
    }

    /// Ends the run: removes everything it created, then writes its verdicts, reports and checksums. Returns the
    /// verdicts, whose `exit` is the exit status that the program should use, and the folder of evidence.
    ///
    /// # Errors
    /// Returns an error if something cannot be removed or written.
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
        Scenario: it has none\n    Given a full disk\n    But this check fails on \"disk.free\"\n";

    /// Runs everything with given measurements for the claim and for its control.
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

    fn journals(folder: &Path) -> usize {
        fs::read_dir(folder.join("cache/journals")).unwrap().count()
    }

    #[tokio::test]
    async fn a_claim_whose_control_is_refused_holds_and_its_bundle_can_be_verified() {
        let folder = tempfile::tempdir().unwrap();
        let (verdicts, evidence) = ran(folder.path(), 3e9, 1e9).await;
        assert_eq!((verdicts.exit, verdicts.complete, verdicts.claims[0].verdict), (0, true, Verdict::Holds));
        let verification = verify::verify(&evidence, None).unwrap();
        assert!(verification.verified, "{}", verification.show(&evidence));
        assert_eq!(journals(folder.path()), 0);
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
        assert_eq!(journals(folder.path()), 1);
        let failed = run.prove(&run.scenarios()[0], async |_| anyhow::bail!("connection lost")).await.unwrap();
        assert_eq!((failed.verdict, failed.reason.as_str()), (Verdict::Inconclusive, "connection lost"));
        drop(run);
        assert_eq!(journals(folder.path()), 0);
        let known = fs::read_to_string(folder.path().join("runs/latest/verdicts.json")).unwrap();
        assert!(known.contains("connection lost"), "{known}");
    }
}
