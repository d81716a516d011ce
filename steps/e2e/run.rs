//! Plans one run of the suite, and runs its scenarios on machines, here or in the cloud.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::e2e::catalogue;
use crate::e2e::fixtures::{Fixtures, MachineSource, Rented, RunConfig};
use crate::e2e::options::Options;
use crate::e2e::pair;
use crate::e2e::rehearsal;
use crate::e2e::run_scenarios::{SuiteRun, Use, lost};
use crate::e2e::tools::{self, DeviceHome};
use crate::e2e::traced;
use anyhow::Context as _;
use assay::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use assay::base::host_offers::{Feature, HostOffers, Lack};
use assay::base::platform::{Arch, MachineKind, TargetSpec, place_name};
use assay::base::progress::Progress;
use assay::base::settings::{CloudDisk, Settings};
use assay::base::status;
use assay::base::work_summary::WorkSummary;
use assay::claims::annex_text::AnnexText;
use assay::claims::feature_file;
use assay::claims::plan::{Capabilities, FeatureFile, Plan, Planned, REFUSAL};
use assay::claims::register::{Claim, Requirement, Shared};
use assay::claims::suite::ClaimSuite;
use assay::claims::workload::{FILE, Workload};
use assay::evidence::{attestation, check_empty, earlier, timestamp};
use assay::exec::root;
use assay::exec::shell::{EnterError, Shell};
use assay::measurement::pricing::Estimate;
use assay::measurement::{catalogue as probes, deployment};
use assay::report;
use assay::run::{Run, RunSpec, Signals};
use assay::targets::cloud::Keeper;
use assay::targets::preflight::Preflight;
use assay::targets::{self, Context, Definition, DiskImage, Platform, RemoteHost, cloud_image};
use assay::workloads::{self, BuildDir};
use cucumber::gherkin::StepType;

/// What is said before sudo asks for a password.
const WHY: &str = "System containers, on which claims about time are judged, are started by root.";

/// A run that is planned and ready to begin.
pub struct PlannedRun {
    spec: RunSpec,
    provisioning: Provisioning,
}
struct Provisioning {
    options: Options,
    uses: Vec<Use>,
    /// What the run costs in the cloud, if the target is there and the plan needs it.
    quote: Option<Estimate>,
    /// The remote machine or this host, if one of them is the target.
    found: Option<RemoteHost>,
    own: Option<Workload>,
    annex: Option<Arc<AnnexText>>,
}
struct RunOutcome {
    complete: bool,
    time: WorkSummary,
    /// What could not be removed from AWS, and how to remove it.
    left_in_cloud: Option<String>,
    /// The scenarios that were planned and did not run, in a sentence.
    lost: Option<String>,
}

impl PlannedRun {
    /// Reads everything and plans the run; prints the plan and returns `None` if only that was asked for.
    pub async fn prepare(
        mut options: Options,
        target: &TargetSpec,
        settings: Settings,
        progress: &Progress,
    ) -> Result<Option<PlannedRun>, Exit> {
        let (folder, own) = options.folder(&settings).map_err(usage)?;
        let quote = options.quote(target, &settings).map_err(usage)?;
        if !options.plan {
            target.available().map_err(usage)?;
        }
        if let Some(folder) = options.evidence.as_ref().filter(|_| !options.plan) {
            check_empty(folder).map_err(usage)?;
        }
        if let Some(reference) = &options.image {
            workloads::look_for(&settings.root, reference).map_err(usage)?;
        }
        for (image, from) in own.iter().flat_map(|own| &own.set.images) {
            workloads::look_for(&settings.root, from).with_context(|| format!("{FILE}: {image}")).map_err(usage)?;
        }
        if let Some(key) = &options.sign {
            attestation::can_sign(key).map_err(usage)?;
        }
        if let Some(server) = &options.timestamp {
            timestamp::can_stamp(server).map_err(usage)?;
        }
        let annex = options.annex.as_ref().or(settings.annex.as_ref());
        let annex = annex.map(|path| AnnexText::read(path).map(Arc::new)).transpose().map_err(usage)?;
        let suite = ClaimSuite::read(&folder).map_err(usage)?;
        probes::check_deviations(&suite).map_err(usage)?;
        let definitions = Definition::all(&settings).map_err(usage)?;
        let found = look(&options, own.as_ref(), target, &settings).await?;
        let preflight = found.as_ref().map(|found| &found.preflight);
        let host = offers(target, options.plan, &settings, progress);
        let met = Capabilities::by(target, &settings.fake_aws, &host, preflight.map(Preflight::met).as_deref());
        let met = if annex.is_some() { met.with(Requirement::AnnexText) } else { met };
        let arch = match preflight {
            Some(preflight) => preflight.facts.architecture,
            None => target.arch(&settings.fake_aws).map_err(usage)?,
        };
        let wanted = |scenario: &gherkin::Scenario| selected(&options, scenario);
        let plan = suite.plan(&met, wanted, options.shard).map_err(usage)?;
        every_step_is_written(&suite.features, &plan, own.as_ref()).map_err(usage)?;
        let selective = options.tags.is_some() || options.name.is_some();
        if selective && !plan.scenarios.iter().any(Planned::runs) {
            return Err(usage(anyhow::anyhow!("no scenario that can run on {target} matches: --plan shows them all")));
        }
        if let Some(disk) = settings.disk.as_ref().filter(|_| !options.plan) {
            look_at_disk(disk, &definitions, arch, &settings, progress)?;
        }
        if options.plan {
            let platform = Platform::name_if_set(&settings);
            platform.iter().for_each(|name| progress.print(format!("machines run {name}")));
            quote.iter().for_each(|quote| progress.print(report::order(quote, &settings.fake_aws).trim_end()));
            progress.print(report::plan(&plan, target, &met, &host).trim_end());
            // The whole plan depends on what the machine lacks, so that is reported too.
            found.iter().try_for_each(RemoteHost::check).map_err(infrastructure)?;
            return Ok(None);
        }
        if let Some(lack) = host.lack(Feature::Nspawn).filter(|_| *target == TargetSpec::Local) {
            let remedy = lack.remedy(Feature::Nspawn).map_or_else(String::new, |remedy| format!(" ({remedy})"));
            progress.note(format!("no system containers here: {lack}{remedy}; going on with virtual machines"));
        }
        let (given, away) = (
            options.image.is_some(),
            DeviceHome { arch: Arch::host().unwrap_or(arch), kind: MachineKind::Vm, device: false },
        );
        for on in pools(&plan, target) {
            let here = [MachineKind::Nspawn, MachineKind::Vm].contains(&on);
            let home = if here { DeviceHome { arch, kind: on, device: true } } else { away };
            tools::check(&suite.features, &plan.part(on), given, &definitions, home, &settings, progress)
                .map_err(|error| infrastructure(target.unusable(error)))?;
        }
        let quote = quote.filter(|_| own.is_some() || needs_cloud(&suite, &plan));
        let uses = match own.is_some() {
            true => plan.kinds().into_iter().map(|on| Use { what: Shared::Device, on, at_rest: false }).collect(),
            false => uses(&suite, &plan),
        };
        let (evidence, sign, timestamp) = (options.evidence.clone(), options.sign.clone(), options.timestamp.clone());
        let target = target.clone();
        let provisioning = Provisioning { options, uses, quote, found, own, annex: annex.clone() };
        let spec = RunSpec { settings, folder, suite, plan, target, arch, host, evidence, sign, timestamp, annex };
        Ok(Some(PlannedRun { spec, provisioning }))
    }
    pub async fn run(self, progress: &Progress, signals: &mut Signals) -> Result<ExitStatus, Exit> {
        let (target, features) = (self.spec.target.clone(), self.spec.suite.features.clone());
        let run = Run::open(self.spec, progress.clone())?;
        let scenarios = Box::pin(scenarios(&run, self.provisioning, features, signals)).await;
        let lost =
            |left: Vec<String>| left.iter().for_each(|left| progress.note(format!("could not be removed: {left}")));
        let RunOutcome { complete, time, left_in_cloud, lost: lost_scenarios } = match scenarios {
            Ok(outcome) => outcome,
            Err(exit) => {
                lost(run.context.cleanup.close());
                // A mistake of the user is found before anything is judged, so there is no evidence to keep.
                if exit.status == ExitStatus::Usage {
                    run.evidence.discard(&run.context.settings.runs);
                }
                return Err(exit);
            }
        };
        let ended = run.finish(complete)?;
        lost(ended.left);
        let (bundle, verdicts, folder) = (&ended.bundle, &ended.bundle.verdicts, ended.bundle.folder.path());
        let measured = [report::memory(&bundle.samples), report::disturbance(&bundle.samples)];
        let parts = [Some(report::table(verdicts))].into_iter().chain(measured).flatten();
        parts.for_each(|part| progress.print(format!("\n{part}")));
        progress.print(format!("\n{time}"));
        report::advice(verdicts, &target).iter().for_each(|advice| progress.print(format!("\n{advice}")));
        progress.print(format!("\nreport: {}", folder.join("report.html").display()));
        progress.print(format!("\n{}", report::summary(verdicts, folder)));
        // Comes last, because what is left costs money.
        let unreported: Vec<String> = ended.unreported.into_iter().chain(lost_scenarios).chain(left_in_cloud).collect();
        match unreported.is_empty() {
            true => Ok(ExitStatus::from_code(verdicts.exit)),
            false => Err(infrastructure(anyhow::anyhow!("{}", unreported.join("\n")))),
        }
    }
}

/// Runs the scenarios; what was created for them is still in the cleanup journal.
async fn scenarios(
    run: &Run,
    provisioning: Provisioning,
    features: Vec<FeatureFile>,
    signals: &mut Signals,
) -> Result<RunOutcome, Exit> {
    let Provisioning { options, uses, quote, found, own, annex } = provisioning;
    let Run { context, evidence, target, state, arch, .. } = run;
    let (settings, progress) = (&context.settings, &context.progress);
    let build_dir = BuildDir::open(Shell::local(evidence.clone()), context.cleanup.clone(), &context.run);
    let build_dir = build_dir.map_err(|error| infrastructure(target.unusable(error)))?;
    let interrupted = || infrastructure(anyhow::anyhow!("interrupted before anything was run"));
    let cloud = tokio::select! {
        cloud = open_cloud(quote, context) => cloud?,
        () = signals.any() => return Err(interrupted()),
    };
    // Removes what is billed if anything below panics or returns early.
    let _keeper = cloud.as_ref().map(|rented| Keeper { cloud: rented.cloud.clone(), progress: progress.clone() });
    if let Some(rented) = &cloud {
        evidence.note(rented.facts(&settings.fake_aws)).map_err(infrastructure)?;
    }
    let keep = options.keep;
    let config = |kind| {
        let place = match (&cloud, &found) {
            (Some(rented), _) => MachineSource::Rented(Box::new(rented.clone())),
            (None, Some(found)) => MachineSource::RemoteHost(Box::new(found.clone())),
            (None, None) => MachineSource::Here,
        };
        RunConfig { arch: *arch, kind, place, own: own.clone(), annex: annex.clone(), options: options.clone() }
    };
    let configs = pools(state.plan(), target).into_iter().map(config).collect();
    let fixtures = Fixtures::open(configs, context.clone(), evidence.clone(), build_dir);
    let fixtures = fixtures.map_err(infrastructure)?;
    tokio::select! {
        taken = fixtures.load_image() => taken.map_err(usage)?,
        () = signals.any() => return Err(interrupted()),
    }
    let checks = rehearsal::checks(&features, state.plan(), &fixtures).await;
    run.seal_plan(fixtures.options().limits(), &checks).map_err(infrastructure)?;
    let endpoint = settings.fake_aws.endpoint.as_ref().filter(|_| *target == TargetSpec::Ec2);
    let fake_aws = endpoint.map(|endpoint| format!(" (not AWS: a stand-in at {endpoint})")).unwrap_or_default();
    let (id, folder) = (&context.run, evidence.folder().display());
    let place = place_name(&target.to_string(), Platform::name_if_set(settings).as_deref());
    progress.note(format!("run {id} on {place}{fake_aws}; evidence in {folder}"));

    let before = || earlier::time(&settings.runs, target, std::env::args());
    let tallied = state.clone();
    let tally = move || {
        let so_far = tallied.tally();
        let verdicts = report::tally(&so_far.verdicts, false);
        status::Tally { ended: so_far.ended, of: so_far.of, verdicts }
    };
    let _status = status::show(fixtures.work_log(), tally, before);
    let suite = SuiteRun { features, state: state.clone(), fixtures: fixtures.clone(), uses };
    let complete = Box::pin(suite.run(signals)).await;
    let lost = if complete { lost(state, keep) } else { None };
    let mut kinds = BTreeMap::new();
    for machines in fixtures.of_each_kind().iter().map(Fixtures::machines) {
        let Some(facts) = machines.known_facts() else { continue };
        state.learn(machines.kind(), facts.named());
        kinds.insert(machines.kind(), facts);
    }
    if let Some(device) = kinds.get(&fixtures.kind()).or(kinds.values().next()) {
        evidence.note(serde_json::json!({ "machine": device, "kinds": kinds })).map_err(infrastructure)?;
    }
    let time = fixtures.work_log().summary();
    evidence.note(serde_json::json!({ "time": time })).map_err(infrastructure)?;
    if keep && complete && state.verdicts(complete).exit != 0 {
        for line in fixtures.machines().ways_in().await {
            progress.error(format!("kept: {line}"));
        }
        if fixtures.machines().kind() == MachineKind::Nspawn {
            progress.error("a system container reaches this host, and nothing beyond it");
        }
        progress.error("kept until you press Ctrl-C");
        signals.any().await;
    }
    // A second signal stops the saving of journals; the cleanup journal is closed all the same.
    tokio::select! {
        () = fixtures.close() => {}
        () = signals.any() => {}
    }
    let mut left_in_cloud = None;
    if let Some(rented) = cloud {
        progress.note("ec2: removing what the run has made");
        left_in_cloud = rented.cloud.close().await.err().map(|error| format!("{error:#}"));
    }
    Ok(RunOutcome { complete, time, left_in_cloud, lost })
}

/// Inspects the target if it is a remote machine or this host, because the plan depends on what is there.
async fn look(
    options: &Options,
    own: Option<&Workload>,
    target: &TargetSpec,
    settings: &Settings,
) -> Result<Option<RemoteHost>, Exit> {
    let Some(way) = options.way(target) else { return Ok(None) };
    let units = deployment::units(&settings.root, own).map_err(infrastructure)?;
    let seen = Box::pin(way.inspect(units, settings)).await;
    let found = seen.map_err(|error| match error.downcast_ref::<EnterError>() {
        Some(EnterError::HostKeyOption(_)) => usage(error),
        Some(EnterError::Config(_)) => usage(target.unusable(error)),
        _ => infrastructure(target.unusable(error)),
    })?;
    if !options.plan {
        found.check().map_err(infrastructure)?;
    }
    Ok(Some(found))
}

/// Fetches the cloud image and checks that machines can start from it, unless one of ours was made of it already.
fn look_at_disk(
    disk: &CloudDisk,
    definitions: &[Definition],
    arch: Arch,
    settings: &Settings,
    progress: &Progress,
) -> Result<(), Exit> {
    let kept = definitions.iter().map(|definition| DiskImage::kept(definition, arch, &settings.cache));
    if kept.collect::<anyhow::Result<Vec<_>>>().map_err(usage)?.iter().all(Option::is_some) {
        return Ok(());
    }
    let file = cloud_image::provide(disk, &settings.cache, progress).map_err(infrastructure)?;
    cloud_image::inspect(&file, arch).map(drop).map_err(usage)
}

/// Finds what this host offers. For the system containers of a run, sudo may ask for a password first.
fn offers(target: &TargetSpec, plan: bool, settings: &Settings, progress: &Progress) -> HostOffers {
    let host = HostOffers::find(&settings.cache);
    let ask = *target == TargetSpec::Local && !plan && host.lack(Feature::Nspawn) == Some(&Lack::NeedsRoot);
    if ask && root::obtain(WHY, progress).is_ok() { HostOffers::find(&settings.cache) } else { host }
}

/// Returns the kinds of machines that a plan uses. The first is the device: what the dearest kind provides has most of its
/// own.
fn pools(plan: &Plan, target: &TargetSpec) -> Vec<MachineKind> {
    let kinds: Vec<MachineKind> = plan.kinds().into_iter().rev().collect();
    if kinds.is_empty() { vec![target.kind().unwrap_or(MachineKind::Vm)] } else { kinds }
}

/// Opens the cloud, if there is an estimate for it.
async fn open_cloud(quote: Option<Estimate>, context: &Context) -> Result<Option<Rented>, Exit> {
    let Some(quote) = quote else { return Ok(None) };
    let cloud = targets::open_cloud(quote.order.clone(), context).await;
    let cloud = cloud.map_err(|error| infrastructure(TargetSpec::Ec2.unusable(error)))?;
    // Only the SDK knows the region for certain.
    let quote =
        Estimate::make(&context.settings.root, Some(cloud.region()), quote.order, quote.budget).map_err(usage)?;
    Ok(Some(Rented { cloud, quote }))
}

/// Returns what the planned scenarios share, except controls, whose subjects are others.
fn uses(suite: &ClaimSuite, plan: &Plan) -> Vec<Use> {
    let of = |(planned, claim): (&Planned, &Claim)| {
        let Planned { shared, on, at_rest, .. } = *planned;
        let uses = claim.uses.clone().into_iter().filter(move |one| shared || *one == Shared::Device);
        uses.map(move |what| Use { what, on, at_rest })
    };
    judged(suite, plan).flat_map(of).collect()
}

/// Returns whether the plan needs the cloud; modules and images are built on this host without it.
fn needs_cloud(suite: &ClaimSuite, plan: &Plan) -> bool {
    let machines = |need: &Requirement| [Requirement::Aws, Requirement::Units].contains(need);
    judged(suite, plan).any(|(_, claim)| !claim.uses.is_empty() || claim.needs.iter().any(machines))
}

/// Returns the planned scenarios that run, except controls, each with its claim.
fn judged<'a>(suite: &'a ClaimSuite, plan: &'a Plan) -> impl Iterator<Item = (&'a Planned, &'a Claim)> {
    let judged = plan.scenarios.iter().filter(|planned| planned.runs() && !planned.control);
    judged.filter_map(|planned| Some((planned, suite.register.get(planned.claim)?)))
}

fn selected(options: &Options, scenario: &gherkin::Scenario) -> bool {
    use cucumber::tag::Ext as _;
    options.tags.as_ref().is_none_or(|wanted| wanted.eval(&scenario.tags))
        && options.name.as_ref().is_none_or(|wanted| wanted.is_match(&scenario.name))
}

/// Checks that all scenarios that will run check something, and that their steps are defined; each mistake is reported
/// with its place.
fn every_step_is_written(features: &[FeatureFile], plan: &Plan, own: Option<&Workload>) -> anyhow::Result<()> {
    let known = traced::written();
    let mut mistakes = Vec::new();
    for (file, scenario) in tools::running(features, plan) {
        if !scenario.steps.iter().any(|step| step.ty == StepType::Then && !step.value.starts_with(REFUSAL)) {
            let (line, name) = (scenario.position.line, &scenario.name);
            mistakes.push(format!(
                "  {}:{line}: \"{name}\" checks nothing, so it could not fail: add a step such as Then …",
                file.path
            ));
        }
        let mut paired = None;
        for step in &scenario.steps {
            let place = format!("  {}:{}: \"{} {}\"", file.path, step.position.line, step.keyword.trim(), step.value);
            let probe = step.value.strip_prefix(REFUSAL).map(|probe| probe.trim_matches('"'));
            let mistake = match known.find(step) {
                // Only a step that ends with a colon takes a table, and none takes a doc string.
                Ok(Some(_)) if step.docstring.is_some() || (step.table.is_some() && !step.value.ends_with(':')) => {
                    format!("{place} takes nothing from the lines below it: remove the table or doc string there")
                }
                Ok(Some(_)) if let Some(c) = feature_file::deceptive_in(&step.value) => format!(
                    "{place} contains U+{:04X}, which looks like a space or like nothing: type it anew, or leave it out",
                    u32::from(c)
                ),
                Ok(Some((_, _, at, _))) => match probe.and_then(probes::unknown_probe) {
                    Some(unknown) => format!("{place} names {unknown}"),
                    None if !at.as_ref().is_some_and(|at| at.path.ends_with("/pair.rs")) => continue,
                    None => match pair::check(own, step, &mut paired) {
                        Ok(()) => continue,
                        Err(wrong) => format!("{place} cannot compare: {wrong}"),
                    },
                },
                Ok(None) => format!("{place} is an undefined step: {}", catalogue::instead_of(step)),
                Err(several) => format!("{place} is matched by more than one step: {several}"),
            };
            // A step of a background is one of many scenarios.
            if !mistakes.contains(&mistake) {
                mistakes.push(mistake);
            }
        }
    }
    anyhow::ensure!(mistakes.is_empty(), "the features cannot be run:\n{}", mistakes.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use assay::base::settings::FakeAws;

    /// Plans the annex's claims with these ids on EC2.
    fn planned(ids: &[&str]) -> (ClaimSuite, Plan) {
        let suite = ClaimSuite::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let chosen = |scenario: &gherkin::Scenario| scenario.tags.iter().any(|tag| ids.contains(&tag.as_str()));
        let met = Capabilities::by(&TargetSpec::Ec2, &FakeAws::default(), &HostOffers::all_but(&[]), None);
        let plan = suite.plan(&met, chosen, None).unwrap();
        assert!(plan.scenarios.iter().any(Planned::runs), "{ids:?}");
        (suite, plan)
    }

    #[test]
    fn a_step_with_a_character_that_looks_like_nothing_is_a_mistake() {
        let (suite, plan) = planned(&["A6-4", "A8-5"]);
        for (odd, mistake) in [
            ("success\u{200b}", "contains U+200B, which looks like a space or like nothing"),
            ("a\u{a0}b", "contains U+00A0"),
        ] {
            let mut features = suite.features.clone();
            for file in &mut features {
                let text = file.text.replace("\"success\"", &format!("\"{odd}\""));
                *file = FeatureFile::parse(file.path.clone(), &text).unwrap();
            }
            let error = every_step_is_written(&features, &plan, None).unwrap_err().to_string();
            assert!(error.contains(mistake), "{error}");
        }
    }

    #[test]
    fn only_what_the_planned_scenarios_use_is_started_early_and_in_the_cloud() {
        use Shared::{AnnexRun, BaselineRuns, Device, RepeatedRuns, UnlimitedRuns};
        for (ids, cloud, shared) in [
            (&["A2-1", "A3-4", "A8-4"][..], false, &[][..]),
            (&["A4-1"], true, &[]),
            (&["A4-3"], true, &[]),
            (&["A5-4"], true, &[Device]),
            (&["A6-4"], true, &[Device, AnnexRun]),
            (&["A7-4"], true, &[Device, AnnexRun, RepeatedRuns]),
            (&["A8-1"], true, &[BaselineRuns]),
            (&["A8-5"], true, &[]),
            (&["A10-1"], true, &[]),
            (&["A11-1"], true, &[]),
        ] {
            let (suite, plan) = planned(ids);
            assert_eq!(needs_cloud(&suite, &plan), cloud, "{ids:?}");
            let uses = uses(&suite, &plan);
            let all = [Device, AnnexRun, RepeatedRuns, UnlimitedRuns, BaselineRuns];
            let used: Vec<_> = all.into_iter().filter(|one| uses.iter().any(|other| other.what == *one)).collect();
            assert_eq!(used, shared, "{ids:?}");
        }
    }
}
