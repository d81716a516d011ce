//! Plans, runs and finishes one run of the suite, and cleans up however the run ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use crate::base::platform::{Arch, TargetSpec};
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::base::status;
use crate::base::work_log::Summary;
use crate::claims::plan::{Capabilities, FeatureFile, Plan, Planned, every_scenario};
use crate::claims::suite::ClaimSuite;
use crate::claims::workload::Workload;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::{EvidenceWriter, Verdicts, attestation, check_empty, earlier, new_run_id};
use crate::exec::cleanup::{CleanupJournal, remove_stale};
use crate::exec::shell::{EnterError, NoopObserver, Shell};
use crate::measurement::deployment;
use crate::measurement::estimate::Estimate;
use crate::report;
use crate::report::finalize;
use crate::targets::ec2::{Cloud, Patience};
use crate::targets::preflight::Preflight;
use crate::targets::{Context, Definition, RemoteHost};
use crate::workloads::{BuildDir, baseline, registry};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::e2e::catalogue;
use crate::e2e::fixtures::{Fixtures, Prewarm, Rented, RunConfig};
use crate::e2e::options::Options;
use crate::e2e::run_scenarios::{Part, prove, say};
use crate::e2e::tools::{self, Home};
use crate::e2e::traced;
use crate::evidence::run_state::RunState;

/// The stack size of the thread that runs the scenarios.
const STACK: usize = 256 << 20;

/// A run that is planned and ready to begin.
pub struct Run {
    options: Options,
    settings: Settings,
    target: TargetSpec,
    arch: Arch,
    /// The folder that contains `features/`.
    folder: PathBuf,
    own: Option<Workload>,
    annex: ClaimSuite,
    plan: Plan,
    quote: Option<Estimate>,
    /// The remote machine or this host, if one of them is the target.
    found: Option<RemoteHost>,
}

/// The result of a run.
struct Outcome {
    verdicts: Verdicts,
    /// How its time was spent.
    time: Summary,
    /// What could not be removed from AWS, and how to remove it.
    resists: Option<String>,
}

/// The signals that end a run.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to listen; from then on, these signals no longer end the process.
    pub fn listen() -> std::io::Result<Signals> {
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal.
    pub async fn any(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {}, _ = self.terminate.recv() => {} }
    }
}

impl Run {
    /// Reads everything and plans the run; returns `None` if only the plan or the list of steps was asked for.
    pub fn prepare(mut options: Options) -> Result<Option<Run>, Exit> {
        let settings = Settings::read().map_err(usage)?;
        let (folder, own) = options.folder(&settings).map_err(usage)?;
        let target = TargetSpec::choose(options.target.first().map(String::as_str), &settings).map_err(usage)?;
        let found = look(&options, own.as_ref(), &target, &settings)?;
        let preflight = found.as_ref().map(|found| &found.preflight);
        let met = Capabilities::by(&target, &settings.stand_in, preflight.map(Preflight::seen));
        let arch = match preflight {
            Some(preflight) => preflight.facts.architecture,
            None => target.arch(&settings.stand_in).map_err(usage)?,
        };
        let quote = options.quote(&target, &settings).map_err(usage)?;
        if !options.plan {
            target.available().map_err(usage)?;
        }
        if let Some(folder) = options.evidence.as_ref().filter(|_| !options.plan) {
            check_empty(folder).map_err(usage)?;
        }
        if let Some(reference) = &options.image {
            baseline::look_for(reference).map_err(usage)?;
        }
        if let Some(key) = &options.sign {
            attestation::can_sign(key).map_err(usage)?;
        }
        let annex = ClaimSuite::read(&folder).map_err(usage)?;
        let wanted = |feature: &gherkin::Feature, scenario: &gherkin::Scenario| selected(&options, feature, scenario);
        let plan = annex.plan(&met, wanted, options.shard).map_err(usage)?;
        every_step_is_written(&annex.features, &plan).map_err(usage)?;
        let definitions = Definition::all(&settings.root).map_err(usage)?;
        let selective = options.tags.is_some() || options.name.is_some();
        if selective && !plan.scenarios.iter().any(Planned::runs) {
            return Err(usage(anyhow::anyhow!("no scenario that can run on {target} matches: --plan shows them all")));
        }
        if options.plan {
            quote.iter().for_each(|quote| say(report::order(quote, &settings.stand_in).trim_end()));
            say(report::plan(&plan, &target).trim_end());
            // The whole plan depends on what the machine lacks, so that is reported too.
            found.iter().try_for_each(RemoteHost::check).map_err(infrastructure)?;
            return Ok(None);
        }
        let home = match target {
            TargetSpec::Vm(_) => Home { arch, device: true },
            _ => Home { arch: Arch::host().unwrap_or(arch), device: false },
        };
        tools::check(&annex.features, &plan, options.image.is_some(), &definitions, home, &settings)
            .map_err(|error| infrastructure(target.unusable(error)))?;
        Ok(Some(Run { options, settings, target, arch, folder, own, annex, plan, quote, found }))
    }

    /// Runs the plan and returns the exit status.
    pub fn run(self) -> Result<ExitStatus, Exit> {
        let id = new_run_id();
        // Must come before any thread is started: see the function.
        registry::point_testcontainers_at(&registry::socket(&id)).map_err(infrastructure)?;
        // The futures of sixty scenarios nest deeply, and more deeply still without optimisation.
        let whole = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
            let exit = runtime.block_on(self.in_runtime(id));
            // A thread that hangs in a system call must not keep the process alive.
            runtime.shutdown_timeout(Duration::from_secs(2));
            exit
        });
        let ended = whole.map_err(infrastructure)?.join();
        ended.unwrap_or_else(|_| Err(infrastructure(anyhow::anyhow!("the framework panicked: see above"))))
    }

    async fn in_runtime(self, id: String) -> Result<ExitStatus, Exit> {
        let progress = Progress::to_stderr();
        let journals = self.settings.cache.join("journals");
        let swept = remove_stale(&journals).map_err(|error| infrastructure(self.target.unusable(error)))?;
        for thing in &swept.removed {
            progress.say(format!("removed what an earlier run had left: {thing}"));
        }
        for trouble in &swept.troubles {
            progress.say(format!("an earlier run has left something that resists: {trouble}"));
        }
        let cleanup =
            CleanupJournal::open(&journals, &id).map_err(|error| infrastructure(self.target.unusable(error)))?;
        let cleanup = Arc::new(cleanup);
        let runs = self.settings.runs.clone();
        let evidence = EvidenceWriter::create(&runs, self.options.evidence.as_deref(), &id);
        let evidence = Arc::new(evidence.map_err(usage)?);
        // Comes first: secrets of the environment are redacted from everything that is written from here on.
        self.settings.secrets.iter().for_each(|secret| evidence.hide(secret));
        evidence.note(self.facts()).map_err(infrastructure)?;
        evidence.keep_features(&self.folder).map_err(infrastructure)?;
        let (sign, job_summary) = (self.options.sign.clone(), self.settings.job_summary.clone());
        let target = self.target.clone();
        let verdicts = Box::pin(self.proven(id, evidence.clone(), cleanup.clone(), progress.clone())).await;
        // However the run ended, nothing may outlive it.
        for trouble in cleanup.close() {
            progress.say(format!("could not be removed: {trouble}"));
        }
        if verdicts.as_ref().is_err_and(|error| error.status == ExitStatus::Usage) {
            // Nothing was judged, so there is no evidence to keep.
            evidence.discard(&runs);
        }
        let Outcome { verdicts, time, resists } = verdicts?;
        evidence.write_verdicts(&verdicts).map_err(infrastructure)?;
        evidence.end().map_err(infrastructure)?;
        let bundle = EvidenceBundle::open(evidence.folder()).map_err(infrastructure)?;
        let mut unreported = finalize::close(&bundle, sign.as_deref()).map_err(infrastructure)?;
        // If there is no summary, `unreported` already says so.
        if let (Some(page), Ok(summary)) = (&job_summary, bundle.folder.text(report::SUMMARY)) {
            report::publish(summary.as_bytes(), page).map_err(infrastructure)?;
        }
        let measured = [report::memory(&bundle.samples), report::disturbance(&bundle.samples)];
        let parts = [Some(report::table(&bundle.verdicts))].into_iter().chain(measured).flatten();
        parts.for_each(|part| say(&format!("\n{part}")));
        say(&format!("\n{time}"));
        report::advice(&verdicts, &target).iter().for_each(|advice| say(&format!("\n{advice}")));
        say(&format!("\nreport: {}", evidence.folder().join("report.html").display()));
        say(&format!("\n{}", report::summary(&bundle.verdicts, evidence.folder())));
        // Comes last, because what is left costs money.
        unreported.extend(resists);
        match unreported.is_empty() {
            true => Ok(ExitStatus::from_code(Some(verdicts.exit.into()))),
            false => Err(infrastructure(anyhow::anyhow!("{}", unreported.join("\n")))),
        }
    }

    /// Runs the scenarios and returns the result; what was created for them is still in the cleanup journal.
    async fn proven(
        self,
        id: String,
        evidence: Arc<EvidenceWriter>,
        cleanup: Arc<CleanupJournal>,
        progress: Progress,
    ) -> Result<Outcome, Exit> {
        let mut signals = Signals::listen().map_err(infrastructure)?;
        let record = RunState::new(self.annex.register, self.plan, self.annex.deviations, evidence.clone());
        let record = Arc::new(record);
        evidence.write_verdicts(&record.verdicts(false)).map_err(infrastructure)?;

        let shell = Shell::local(evidence.clone());
        let build_dir = BuildDir::open(shell, cleanup.clone(), &id);
        let build_dir = build_dir.map_err(|error| infrastructure(self.target.unusable(error)))?;
        let context = Context {
            settings: self.settings.clone(),
            cleanup,
            observer: evidence.clone(),
            evidence: evidence.folder().to_owned(),
            run: id.clone(),
            progress: progress.clone(),
        };
        let cloud = tokio::select! {
            cloud = open_cloud(self.quote, record.plan(), &context) => cloud?,
            () = signals.any() => return Err(infrastructure(anyhow::anyhow!("interrupted before anything was run"))),
        };
        // Removes what is billed if anything below panics or returns early.
        let _keeper = cloud.as_ref().map(|rented| rented.cloud.keeper());
        if let Some(rented) = &cloud {
            evidence.note(rented.facts(&self.settings.stand_in)).map_err(infrastructure)?;
        }
        let orders = RunConfig {
            settings: self.settings.clone(),
            arch: self.arch,
            rented: cloud.clone(),
            found: self.found,
            image: self.options.image.clone(),
            runs: self.options.runs,
            keep: self.options.keep,
            concurrency: self.options.concurrency,
            own: self.own,
        };
        let fixtures = Fixtures::open(orders, context, evidence.clone(), build_dir);
        tokio::select! {
            taken = fixtures.take_in_image() => taken.map_err(usage)?,
            () = signals.any() => return Err(infrastructure(anyhow::anyhow!("interrupted before anything was run"))),
        }
        let stand_in = self.settings.stand_in.endpoint.as_ref().filter(|_| self.target == TargetSpec::Ec2);
        let stand_in = stand_in.map(|endpoint| format!(" (not AWS: a stand-in at {endpoint})")).unwrap_or_default();
        progress.say(format!("run {id} on {}{stand_in}; evidence in {}", self.target, evidence.folder().display()));

        let before = earlier::time(&self.settings.runs, &self.target, std::env::args());
        let tallied = record.clone();
        let _status = status::show(fixtures.work_log(), move || tallied.tally(), before);
        let features = self.folder.join("features");
        let of_annex = self.options.suite.is_none();
        let all_of_it = async {
            let ahead = ahead(record.plan(), of_annex);
            fixtures.get_ready(ahead).await;
            let begin = Box::pin(fixtures.begin(ahead));
            tokio::join!(begin, prove(&features, &self.options, record.clone(), Part::Body));
            for retry in 1..=self.options.retries {
                let open = |planned: &&Planned| !planned.last && record.wants_another(planned);
                let open = record.plan().scenarios.iter().filter(open).count();
                if open == 0 {
                    break;
                }
                progress.say(format!("attempt {} at what did not come out as it should: {open} scenarios", retry + 1));
                fixtures.try_again();
                prove(&features, &self.options, record.clone(), Part::Again).await;
            }
            // The last scenarios end the machines, which `--keep` leaves running if something failed.
            if !self.options.keep || record.verdicts(false).exit == 0 {
                prove(&features, &self.options, record.clone(), Part::Last).await;
            }
        };
        let complete = tokio::select! {
            () = all_of_it => true,
            () = record.first_failure(), if self.options.fail_fast => false,
            () = spent(cloud.as_ref()) => {
                progress.say("ec2: going on would cost more than --max-cost allows");
                false
            }
            () = signals.any() => false,
        };
        if !complete {
            progress.say("stopped before the end: cleaning up");
        }
        if let Some(facts) = fixtures.machines().known_facts() {
            record.learn(facts.named());
            evidence.note(serde_json::json!({ "machine": facts })).map_err(infrastructure)?;
        }
        let time = fixtures.time();
        evidence.note(serde_json::json!({ "time": time })).map_err(infrastructure)?;
        let verdicts = record.verdicts(complete);
        if self.options.keep && verdicts.exit != 0 && complete {
            for line in fixtures.machines().ways_in().await {
                status::above(|| eprintln!("kept: {line}"));
            }
            status::above(|| eprintln!("kept until you press Ctrl-C"));
            signals.any().await;
        }
        // A second signal stops the saving of journals; the cleanup journal is closed all the same.
        tokio::select! {
            () = fixtures.close() => {}
            () = signals.any() => {}
        }
        let mut resists = None;
        if let Some(rented) = cloud {
            progress.say("ec2: removing what the run has made");
            resists = rented.cloud.close().await.err().map(|error| format!("{error:#}"));
        }
        Ok(Outcome { verdicts, time, resists })
    }

    fn facts(&self) -> serde_json::Value {
        let git = |arguments: &[&str]| {
            let output = std::process::Command::new("git").args(arguments).current_dir(&self.settings.root).output();
            let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
            text.map(|text| String::from_utf8_lossy(&text).trim().to_owned())
        };
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let distribution = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        serde_json::json!({
            "command_line": std::env::args().collect::<Vec<_>>(),
            "target": self.target.to_string(),
            "stand_in": self.target == TargetSpec::Ec2 && self.settings.stand_in.any(),
            "git": { "commit": git(&["rev-parse", "HEAD"]), "changed": git(&["status", "--porcelain"]).map(|s| !s.is_empty()) },
            "host": {
                "architecture": std::env::consts::ARCH,
                "distribution": distribution.map(|name| name.trim_matches('"')),
                "kernel": first_line("/proc/sys/kernel/osrelease", ""),
                "cpu": first_line("/proc/cpuinfo", "model name"),
                "memory": first_line("/proc/meminfo", "MemTotal"),
                "cpus": std::thread::available_parallelism().ok().map(usize::from),
            },
            "assay": env!("CARGO_PKG_VERSION"),
        })
    }
}

/// Inspects the target if it is a remote machine or this host, because the plan depends on what is there.
fn look(
    options: &Options,
    own: Option<&Workload>,
    target: &TargetSpec,
    settings: &Settings,
) -> Result<Option<RemoteHost>, Exit> {
    let Some(way) = options.way(target).map_err(usage)? else { return Ok(None) };
    let units = deployment::units(&settings.root, own.map(|own| own.name.as_str())).map_err(infrastructure)?;
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    let found = runtime.block_on(way.look(units, settings, Arc::new(NoopObserver))).map_err(|error| match error
        .downcast_ref::<EnterError>(
    ) {
        Some(EnterError::HostKeyOption { .. }) => usage(error),
        Some(EnterError::Config { .. }) => usage(target.unusable(error)),
        _ => infrastructure(target.unusable(error)),
    })?;
    if !options.plan {
        found.check().map_err(infrastructure)?;
    }
    Ok(Some(found))
}

/// Opens the cloud, if it is the target and the plan needs it.
async fn open_cloud(quote: Option<Estimate>, plan: &Plan, context: &Context) -> Result<Option<Rented>, Exit> {
    let Some(quote) = quote.filter(|_| needs_cloud(plan)) else { return Ok(None) };
    let cloud = Cloud::open(quote.order.clone(), Patience::default(), context).await;
    let cloud = cloud.map_err(|error| infrastructure(TargetSpec::Ec2.unusable(error)))?;
    // Only the SDK knows the region for certain.
    let quote =
        Estimate::make(&context.settings.root, Some(cloud.region()), quote.order, quote.budget).map_err(usage)?;
    Ok(Some(Rented { cloud: Arc::new(cloud), quote }))
}

/// Waits until going on would cost more than the budget.
async fn spent(rented: Option<&Rented>) {
    let Some(rented) = rented else { return std::future::pending().await };
    while rented.may_go_on() {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Finds the first line that begins with `beginning`, and returns the rest of it.
fn first_line(path: &str, beginning: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim_end().to_owned())
}

/// Decides which shared fixtures the planned scenarios will need; this is only known for the annex's own claims.
fn ahead(plan: &Plan, of_annex: bool) -> Prewarm {
    let running =
        || plan.scenarios.iter().filter(|planned| of_annex && planned.runs() && !planned.control && planned.shared);
    let judges = |claims: &[&str]| running().any(|planned| claims.contains(&planned.claim.to_string().as_str()));
    let annex_run = running().any(|planned| [6, 7].contains(&planned.claim.section())) || judges(&["A5-8"]);
    Prewarm {
        device: !of_annex || judges_any(plan, 5..=7),
        annex_run,
        repeated: judges(&["A7-1", "A7-4"]),
        unlimited: judges(&["A7-1"]),
        beside: judges(&["A8-1", "A8-2", "A8-3"]),
    }
}

/// Returns whether a claim of these sections will be judged.
fn judges_any(plan: &Plan, sections: std::ops::RangeInclusive<u8>) -> bool {
    let mut running = plan.scenarios.iter().filter(|planned| planned.runs() && !planned.control);
    running.any(|planned| sections.contains(&planned.claim.section()))
}

/// Returns whether the plan needs the cloud; modules and images are built on this host without it.
fn needs_cloud(plan: &Plan) -> bool {
    judges_any(plan, 4..=11)
}

fn selected(options: &Options, feature: &gherkin::Feature, scenario: &gherkin::Scenario) -> bool {
    use cucumber::tag::Ext as _;
    let tags = || feature.tags.iter().chain(&scenario.tags);
    options.tags.as_ref().is_none_or(|wanted| wanted.eval(tags()))
        && options.name.as_ref().is_none_or(|wanted| wanted.is_match(&scenario.name))
}

/// Checks that the steps of all scenarios that will run are defined; each one that is not is reported with its place.
fn every_step_is_written(features: &[FeatureFile], plan: &Plan) -> anyhow::Result<()> {
    let known = traced::written();
    let mut mistakes = Vec::new();
    for file in features {
        for scenario in every_scenario(&file.feature) {
            if !plan.at(&file.path, scenario.position.line).is_some_and(Planned::runs) {
                continue;
            }
            for step in &scenario.steps {
                let place =
                    format!("  {}:{}: \"{} {}\"", file.path, step.position.line, step.keyword.trim(), step.value);
                match known.find(step) {
                    Ok(Some(_)) => {}
                    Ok(None) => {
                        mistakes.push(format!("{place} is a step that nobody wrote: {}", catalogue::instead_of(step)))
                    }
                    Err(several) => mistakes.push(format!("{place} is matched by more than one step: {several}")),
                }
            }
        }
    }
    anyhow::ensure!(mistakes.is_empty(), "the features cannot be run:\n{}", mistakes.join("\n"));
    Ok(())
}
