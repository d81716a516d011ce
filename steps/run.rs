//! The one life of a run, for the suite, the example and other crates: it removes what killed runs left, opens the
//! evidence and the cleanup journal, runs scenarios until a signal, removes everything it created, and writes verdicts
//! and reports.
//!
//! The only step text that this module reads is the one that ends a control.

mod metadata;
mod seal;
mod signals;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use jiff::Timestamp;

use crate::base::exit_status::{Exit, infrastructure, usage};
use crate::base::host_offers::HostOffers;
use crate::base::platform::{Arch, MachineKind, TargetSpec};
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::base::unit::Unit;
use crate::claims::annex_text::AnnexText;
use crate::claims::plan::{Capabilities, FeatureFile, Plan, Planned, fails_on};
use crate::claims::suite::ClaimSuite;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::run_state::RunState;
use crate::evidence::sealed_plan::PlannedChecks;
use crate::evidence::{EvidenceWriter, Verdicts, new_run_id, noting_commands};
use crate::exec::cleanup::{CleanupJournal, Resource, remove_stale};
use crate::exec::shell::NoopObserver;
use crate::measurement::Reading;
use crate::report::{self, finalize};
use crate::targets::{Context, Definition, LocalMachines, Machine, Urgency};
use crate::verdict::claim_verdict::Attempt;
use crate::verdict::sample_set::SampleSet;
use crate::verdict::{Blocked, Judged, Reason, Rule, Verdict};

pub use signals::{Interrupted, Signals, unless_interrupted};

/// What a run needs to begin.
pub struct RunSpec {
    pub settings: Settings,
    /// The folder that contains `features/`.
    pub folder: PathBuf,
    pub suite: ClaimSuite,
    pub plan: Plan,
    pub target: TargetSpec,
    pub arch: Arch,
    /// What this host offers.
    pub host: HostOffers,
    /// The folder for the evidence; by default a new one below `settings.runs`.
    pub evidence: Option<PathBuf>,
    /// The SSH key that signs the plan and the attestation.
    pub sign: Option<PathBuf>,
    /// The address of the server that time-stamps the plan.
    pub timestamp: Option<String>,
    /// The annex's text, if the user names it.
    pub annex: Option<Arc<AnnexText>>,
}

/// A run in progress. The cleanup journal lists everything it creates, which is removed when the run ends or is
/// dropped, or, after a kill, when the next run begins.
pub struct Run {
    pub target: TargetSpec,
    pub arch: Arch,
    pub context: Context,
    pub evidence: Arc<EvidenceWriter>,
    pub state: Arc<RunState>,
    sign: Option<PathBuf>,
    timestamp: Option<String>,
    annex: Option<Arc<AnnexText>>,
    folder: PathBuf,
    features: Vec<FeatureFile>,
}

/// The result of a run that has written its evidence.
pub struct Ended {
    pub bundle: EvidenceBundle,
    /// What could not be removed, and why.
    pub left: Vec<String>,
    /// What could not be reported, and why.
    pub unreported: Vec<String>,
}

/// The checks that the current scenario has made so far.
#[derive(Debug, Default)]
pub struct ScenarioChecks {
    checks: Vec<Judged>,
    files: Vec<String>,
    commands: Vec<u64>,
    blocked: Option<Reason>,
}

impl ScenarioChecks {
    /// Adds what a subject was read from to the scenario's evidence.
    pub fn about(&mut self, subject: &SampleSet) {
        self.files.extend(subject.files.iter().filter(|new| !self.files.contains(new)).cloned().collect::<Vec<_>>());
        self.commands.extend(subject.commands.iter().filter(|new| !self.commands.contains(new)).collect::<Vec<_>>());
    }

    /// Checks every sample of a subject's probe against a rule. A sample that breaks the rule is not an error: the
    /// scenario continues, and its verdict combines all of its checks.
    ///
    /// # Errors
    /// Returns an error, so the scenario is inconclusive, if a sample is missing, has another unit, or is implausible.
    pub fn check(&mut self, subject: &SampleSet, probe: &str, unit: Unit, rule: Rule) -> anyhow::Result<()> {
        self.about(subject);
        let judged = subject.check(probe, unit, rule);
        let inconclusive = judged.outcome.verdict == Verdict::Inconclusive;
        self.checks.push(judged);
        anyhow::ensure!(!inconclusive, Blocked);
        Ok(())
    }

    /// Records why the scenario cannot be judged. The step returns the error.
    pub fn block(&mut self, reason: Reason) -> anyhow::Error {
        self.blocked.get_or_insert(reason);
        Blocked.into()
    }

    pub fn count(&self) -> usize {
        self.checks.len()
    }

    /// Ends the attempt that began at this time, by an error if there was one.
    pub fn attempt(self, began: Instant, error: Option<String>) -> Attempt {
        let unjudged = self.checks.iter().find(|judged| judged.outcome.verdict == Verdict::Inconclusive);
        let known = self.blocked.or_else(|| Some(unjudged?.outcome.reason.clone()));
        let error = known.or_else(|| error.map(Reason::step));
        let (evidence, commands, seconds) = (self.files, self.commands, began.elapsed().as_secs_f64());
        Attempt { evidence, commands, seconds, ..Attempt::new(self.checks, error) }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Run({})", self.context.run)
    }
}

impl Run {
    /// Begins a run of the claims in `folder/features/` on machines of this host. Its evidence goes to a new
    /// folder below `settings.runs`. First removes what killed runs have left behind.
    ///
    /// # Errors
    /// Returns an error if the features are invalid, the target is not this host's machines, or a folder is not writable.
    pub fn begin(folder: &Path, target: &TargetSpec, settings: Settings, progress: Progress) -> anyhow::Result<Run> {
        let arch = target.on_this_host()?;
        // Its machines are of one kind.
        let target = &if *target == TargetSpec::Local { TargetSpec::Vm(arch) } else { target.clone() };
        let suite = ClaimSuite::read(folder)?;
        let host = HostOffers::find(&settings.cache);
        let plan = suite.plan(&Capabilities::by(target, &settings.fake_aws, &host, None), |_| true, None)?;
        let (folder, target) = (folder.to_owned(), target.clone());
        let (evidence, sign, timestamp, annex) = (None, None, None, None);
        let spec = RunSpec { settings, folder, suite, plan, target, arch, host, evidence, sign, timestamp, annex };
        let run = Run::open(spec, progress).map_err(|exit| exit.error)?;
        run.seal_plan(serde_json::json!({}), &PlannedChecks::new())?;
        Ok(run)
    }

    /// Begins a planned run.
    pub fn open(spec: RunSpec, progress: Progress) -> Result<Run, Exit> {
        let unusable = |error| infrastructure(spec.target.unusable(error));
        let (run, journals) = (new_run_id(), spec.settings.journals());
        let stale = remove_stale(&journals).map_err(unusable)?;
        for resource in &stale.removed {
            progress.note(format!("removed what an earlier run had left: {resource}"));
        }
        for error in &stale.errors {
            progress.note(format!("could not clean up after an earlier run: {error}"));
        }
        let cleanup = Arc::new(CleanupJournal::open(&journals, &run).map_err(unusable)?);
        let evidence = EvidenceWriter::create(&spec.settings.runs, spec.evidence.as_deref(), &run).map_err(usage)?;
        let evidence = Arc::new(evidence);
        // Comes first: secrets of the environment are redacted from everything that is written from here on.
        spec.settings.secrets.iter().for_each(|secret| evidence.hide(secret));
        evidence.note(metadata::metadata(&spec)).map_err(infrastructure)?;
        evidence.keep_features(&spec.folder).map_err(infrastructure)?;
        let state = RunState::new(spec.suite.register, spec.plan, spec.suite.deviations, evidence.clone());
        evidence.write_verdicts(&state.verdicts(false)).map_err(infrastructure)?;
        let context = Context {
            settings: spec.settings,
            cleanup,
            observer: evidence.clone(),
            evidence: evidence.folder().to_owned(),
            run,
            progress,
        };
        Ok(Run {
            target: spec.target,
            arch: spec.arch,
            context,
            evidence,
            state: Arc::new(state),
            sign: spec.sign,
            timestamp: spec.timestamp,
            annex: spec.annex,
            folder: spec.folder,
            features: spec.suite.features,
        })
    }

    /// Starts a fresh machine of a definition and records its machine info, because verdicts may depend on it.
    ///
    /// # Errors
    /// Returns an error if the machine does not start.
    pub async fn machine(&self, definition: &Definition) -> anyhow::Result<Machine> {
        let kind = self.target.kind().unwrap_or(MachineKind::Vm);
        let machines = Box::pin(LocalMachines::of(kind, definition, self.arch, &self.context)).await?;
        let machine = Box::pin(machines.machine(&definition.name, Urgency::First)).await?;
        self.evidence.machine(&machine.name, kind)?;
        self.state.learn(kind, machine.facts.named());
        self.evidence.note(serde_json::json!({ "machine": machine.facts }))?;
        Ok(machine)
    }

    /// Takes readings on a machine, records them as evidence, and returns a sample set with the time, place and
    /// commands of the readings. `name` is the subject's name, unique within the run. `machine` is the name of the
    /// machine that the readings are taken on.
    ///
    /// # Errors
    /// Returns an error if the readings cannot be taken or written.
    pub async fn measure(
        &self,
        name: &str,
        machine: &str,
        take: impl Future<Output = anyhow::Result<Vec<Reading>>>,
    ) -> anyhow::Result<SampleSet> {
        let since = Timestamp::now();
        let (readings, commands) = noting_commands(take).await;
        let readings = readings.with_context(|| format!("{name} on {machine}"))?;
        Ok(SampleSet { commands, ..self.evidence.subject(name, machine, since, readings)? })
    }

    /// Runs the planned scenarios one after the other, in the order of their claims, each claim's own scenarios before
    /// its controls, until all are done or a signal arrives. A scenario's verdict, written at once, combines its checks
    /// and the error that ended it, if any. A control must be rejected on the probe that its feature names.
    ///
    /// # Errors
    /// Returns an error if the evidence cannot be written.
    pub async fn each(
        &self,
        steps: impl AsyncFn(&Planned, &mut ScenarioChecks) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        let planned = self.state.plan().scenarios.iter().filter(|planned| planned.runs());
        let (last, first): (Vec<_>, Vec<_>) = planned.partition(|planned| planned.last);
        let all = async {
            for planned in first.into_iter().chain(last) {
                self.evaluate(planned, &steps).await?;
            }
            Ok(())
        };
        tokio::select! {
            done = all => done,
            () = signals.any() => {
                self.context.progress.note("stopped before the end: cleaning up");
                Ok(())
            }
        }
    }

    /// Runs one scenario.
    async fn evaluate(
        &self,
        planned: &Planned,
        steps: &impl AsyncFn(&Planned, &mut ScenarioChecks) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (mut made, began) = (ScenarioChecks::default(), Instant::now());
        let error = steps(planned, &mut made).await.err().map(|error| format!("{error:#}"));
        let fails_on = planned.control.then(|| self.fails_on(planned)).flatten();
        self.state.end(planned, Attempt { fails_on, ..made.attempt(began, error) }).map(drop)
    }

    /// Returns the probe that a control's check must fail on.
    fn fails_on(&self, planned: &Planned) -> Option<String> {
        let file = self.features.iter().find(|file| file.path == planned.at.file)?;
        let mut scenarios = file.scenarios().into_iter().map(|expanded| expanded.scenario);
        let scenario = scenarios.find(|scenario| scenario.position.line == planned.at.line)?;
        fails_on(&scenario).map(str::to_owned)
    }

    /// Ends the run: removes everything it created, then writes its verdicts, reports and checksums. Returns the
    /// verdicts, whose `exit` is the exit status that the program should use, and the folder of evidence.
    ///
    /// # Errors
    /// Returns an error if something cannot be removed or written.
    pub fn end(self) -> anyhow::Result<(Verdicts, PathBuf)> {
        let complete = self.state.not_run().is_empty();
        let folder = self.evidence.folder().to_owned();
        let ended = self.finish(complete).map_err(|exit| exit.error)?;
        anyhow::ensure!(ended.left.is_empty(), "could not be removed: {}", ended.left.join("; "));
        anyhow::ensure!(ended.unreported.is_empty(), "could not be reported: {}", ended.unreported.join("; "));
        Ok((ended.bundle.verdicts, folder))
    }

    /// Ends the run, complete or not.
    pub fn finish(self, complete: bool) -> Result<Ended, Exit> {
        let left = self.context.cleanup.close();
        self.evidence.write_verdicts(&self.state.verdicts(complete)).map_err(infrastructure)?;
        self.evidence.end().map_err(infrastructure)?;
        let bundle = EvidenceBundle::open(self.evidence.folder()).map_err(infrastructure)?;
        let unreported = finalize::close(&bundle, self.sign.as_deref()).map_err(infrastructure)?;
        // If there is no summary, `unreported` already says so.
        if let (Some(page), Ok(summary)) = (&self.context.settings.job_summary, bundle.folder.text(report::SUMMARY)) {
            report::publish(summary.as_bytes(), page).map_err(infrastructure)?;
        }
        Ok(Ended { bundle, left, unreported })
    }
}

/// Does work with a context whose evidence is temporary. Afterwards, and after a signal, everything it created is
/// removed.
pub async fn with_temporary_context<T>(
    settings: &Settings,
    progress: &Progress,
    work: impl AsyncFnOnce(&Context) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (run, journals) = (new_run_id(), settings.journals());
    remove_stale(&journals)?;
    let cleanup = Arc::new(CleanupJournal::open(&journals, &run)?);
    // Not the folder of the run's machines, which must vanish without this one.
    let evidence = std::env::temp_dir().join(format!("assay-{run}-evidence"));
    cleanup.register(Resource::Path { path: evidence.clone() })?;
    std::fs::create_dir(&evidence).with_context(|| format!("cannot create {}", evidence.display()))?;
    let context = Context {
        settings: settings.clone(),
        cleanup: cleanup.clone(),
        observer: Arc::new(NoopObserver),
        evidence,
        run,
        progress: progress.clone(),
    };
    let done = unless_interrupted(work(&context)).await;
    let left = cleanup.close();
    anyhow::ensure!(left.is_empty(), "could not be removed: {}", left.join("; "));
    done
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::evidence::verify;
    use crate::verdict::claim_verdict::ControlVerdict;

    const CLAIMS: &str =
        "[[claim]]\nid = \"A1-1\"\nclaim = \"there is free space\"\nbound = \"2 GB\"\ncontrol = \"none\"\n";
    const FEATURE: &str = "Feature: f\n\n  @A1-1\n  Scenario: it has free space\n    Given a disk\n\n  @A1-1 @control\n  \
        Scenario: it has none\n    Given a full disk\n    But this check fails on \"disk.free\"\n";

    /// Runs everything with given measurements for the claim and for its control.
    async fn ran(folder: &Path, own: f64, wrong: f64) -> (Verdicts, PathBuf) {
        let run = begin(folder);
        let steps = async |planned: &Planned, checks: &mut ScenarioChecks| {
            let bytes = if planned.control { wrong } else { own };
            let taken = async { Ok(vec![Reading::new("disk.free", bytes, Unit::Bytes, format!("{bytes}"))]) };
            let subject = run.measure(&planned.at.name, "nano", taken).await?;
            checks.check(&subject, "disk.free", Unit::Bytes, Rule::Between { low: 2e9, high: 4e9 })
        };
        run.each(steps).await.unwrap();
        run.end().unwrap()
    }

    fn begin(folder: &Path) -> Run {
        fs::create_dir_all(folder.join("features")).unwrap();
        fs::write(folder.join("features/claims.toml"), CLAIMS).unwrap();
        fs::write(folder.join("features/disk.feature"), FEATURE).unwrap();
        let (cache, runs) = (folder.join("cache"), folder.join("runs"));
        let settings = Settings { cache, runs, ..Settings::read().unwrap() };
        Run::begin(folder, &"vm".parse().unwrap(), settings, Progress::to(|_| {})).unwrap()
    }

    fn journals(folder: &Path) -> usize {
        fs::read_dir(folder.join("cache/journals")).unwrap().count()
    }

    #[tokio::test]
    async fn a_claim_holds_only_if_its_control_is_refused_and_its_bundle_can_be_verified() {
        for (wrong, verdict, exit) in
            [(1e9, Verdict::Holds, 0), (3e9, Verdict::Fails, 1), (-1.0, Verdict::Inconclusive, 3)]
        {
            let folder = tempfile::tempdir().unwrap();
            let (verdicts, evidence) = ran(folder.path(), 3e9, wrong).await;
            assert_eq!(
                (verdicts.claims[0].verdict, verdicts.exit, verdicts.complete),
                (verdict, exit, true),
                "{wrong}"
            );
            let verification = verify::verify(&evidence, &verify::Trust::default()).unwrap();
            assert!(verification.verified, "{}", verification.render(&evidence));
            assert_eq!(journals(folder.path()), 0);
        }
    }

    #[tokio::test]
    async fn what_a_failure_says_decides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut verdicts = Vec::new();
        for message in ["connection lost", "", "disk.free is 3 GB", "not selected by the options of this run"] {
            let run = begin(folder.path());
            run.each(async |_, _| anyhow::bail!("{message}")).await.unwrap();
            let ended = run.end().unwrap().0;
            verdicts.push((ended.exit, ended.claims[0].verdict, ended.claims[0].controls[0].verdict));
        }
        let inconclusive = (3, Verdict::Inconclusive, ControlVerdict::Inconclusive);
        assert_eq!(verdicts, [inconclusive; 4]);
    }

    #[tokio::test]
    async fn a_run_that_is_dropped_leaves_what_it_knew_and_no_journal() {
        let folder = tempfile::tempdir().unwrap();
        let run = begin(folder.path());
        assert_eq!(journals(folder.path()), 1);
        run.each(async |_, _| anyhow::bail!("connection lost")).await.unwrap();
        drop(run);
        assert_eq!(journals(folder.path()), 0);
        let known = fs::read_to_string(folder.path().join("runs/latest/verdicts.json")).unwrap();
        assert!(known.contains("connection lost"), "{known}");
    }
}
