//! Runs several targets, one after the other, and merges their bundles into one.

use std::collections::BTreeSet;

use crate::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use crate::base::platform::TargetSpec;
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::e2e::options::Options;
use crate::e2e::run::PlannedRun;
use crate::evidence::merge::{PARTS, Part, part_name};
use crate::evidence::{new_or_empty, new_run_id, point_latest};
use crate::report;
use crate::report::finalize::merged;
use crate::run::Signals;

/// Tests the claims on each of the targets. Returns the worst of their exit statuses.
pub async fn run(options: &Options, progress: &Progress) -> Result<ExitStatus, Exit> {
    let settings = Settings::read().map_err(usage)?;
    let targets = targets(options, &settings).map_err(usage)?;
    // A mistake about the last target is reported before the first one runs.
    for (place, target) in targets.iter().enumerate() {
        if options.plan && place > 0 {
            progress.print("\n");
        }
        Box::pin(PlannedRun::prepare(of_target(options, target, &targets), progress)).await?;
    }
    if options.plan {
        return Ok(ExitStatus::Success);
    }
    let mut signals = Signals::listen().map_err(infrastructure)?;
    let (id, runs) = (new_run_id(), &settings.runs);
    let named = options.evidence.clone().unwrap_or_else(|| runs.join(&id));
    let folder = new_or_empty(&named).map_err(usage)?;
    let (mut statuses, mut parts) = (BTreeSet::new(), Vec::new());
    for (place, target) in targets.iter().enumerate() {
        progress.say(format!("{target}: target {} of {}", place + 1, targets.len()));
        let (name, own) = (part_name(&target.to_string(), options.shard), progress.of_target(target));
        let evidence = folder.join(PARTS).join(&name);
        let options = Options { evidence: Some(evidence.clone()), ..of_target(options, target, &targets) };
        let status = Box::pin(one(options, &own, &mut signals)).await.unwrap_or_else(|Exit { status, error }| {
            own.error(format!("assay: {error:#}"));
            status
        });
        statuses.insert(status);
        if signals.received {
            statuses.insert(ExitStatus::Inconclusive);
        }
        match Part::open(&evidence) {
            Ok(_) => parts.push(name),
            Err(error) => progress.say(format!("{target}: left nothing to be judged by: {error:#}")),
        }
        if signals.received || status == ExitStatus::Usage {
            let left: Vec<String> = targets.iter().skip(place + 1).map(TargetSpec::to_string).collect();
            if !left.is_empty() {
                progress.say(format!("stopped before {}", left.join(", ")));
            }
            break;
        }
    }
    if parts.is_empty() {
        // There is no evidence of anything. What a killed run may have left all the same stays.
        let _ = std::fs::remove_dir(folder.join(PARTS)).and_then(|()| std::fs::remove_dir(&folder));
        return Ok(worst(&statuses));
    }
    let asked: Vec<String> = targets.iter().map(TargetSpec::to_string).collect();
    let whole = merged::close(&folder, &id, &asked, &parts).map_err(infrastructure)?;
    point_latest(runs, &folder, &id).map_err(infrastructure)?;
    progress.print(format!("\n{}\n\n{}", report::merged_table(&whole), report::merged_summary(&whole, &folder)));
    statuses.insert(ExitStatus::from_code(whole.exit));
    Ok(worst(&statuses))
}

/// Runs one of the targets, planned again: the runs before it may have changed what a remote machine offers.
async fn one(options: Options, progress: &Progress, signals: &mut Signals) -> Result<ExitStatus, Exit> {
    match Box::pin(PlannedRun::prepare(options, progress)).await? {
        Some(planned) => Box::pin(planned.run(progress, signals)).await,
        None => Ok(ExitStatus::Success),
    }
}

/// Returns the targets that were named, each of which may be named once.
fn targets(options: &Options, settings: &Settings) -> anyhow::Result<Vec<TargetSpec>> {
    let mut targets: Vec<TargetSpec> = Vec::new();
    for name in &options.target {
        let target = TargetSpec::choose(Some(name), settings)?;
        anyhow::ensure!(!targets.contains(&target), "target {target} is named twice: name each once");
        targets.push(target);
    }
    Ok(targets)
}

/// Returns the options of the run on one of the targets.
fn of_target(options: &Options, target: &TargetSpec, all: &[TargetSpec]) -> Options {
    let own = Options { target: vec![target.to_string()], ..options.clone() };
    // Options that apply to none of the targets are given to each, which reports them as misplaced.
    let others = |is: fn(&TargetSpec) -> bool| !is(target) && all.iter().any(is);
    let own = match others(|target| *target == TargetSpec::Ec2) {
        true => Options { max_cost: None, time_limit: None, spot: false, subnet: None, ..own },
        false => own,
    };
    match others(|target| matches!(target, TargetSpec::Ssh { .. })) {
        true => Options { host_key: None, provision: false, ..own },
        false => own,
    }
}

/// Returns the worst of several exit statuses: a claim fails, then a mistake, then something could not be judged.
fn worst(statuses: &BTreeSet<ExitStatus>) -> ExitStatus {
    let order = [ExitStatus::Failed, ExitStatus::Usage, ExitStatus::Inconclusive];
    order.into_iter().find(|status| statuses.contains(status)).unwrap_or(ExitStatus::Success)
}
