//! Runs several targets or platforms, one after the other, and merges their bundles into one.

use std::collections::BTreeSet;

use crate::e2e::options::{Options, Place};
use crate::e2e::run::PlannedRun;
use assay::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::evidence::merge::{PARTS, Part, part_name};
use assay::evidence::{new_or_empty, new_run_id, point_latest};
use assay::report;
use assay::report::finalize::merged;
use assay::run::Signals;

/// Tests the claims at each of the places. Returns the worst of their exit statuses.
pub async fn run(
    options: &Options,
    places: &[Place],
    settings: &Settings,
    progress: &Progress,
) -> Result<ExitStatus, Exit> {
    // A mistake about the last place is reported before anything runs at the first one. If a platform cannot be had on
    // this host, the others go on.
    for (index, place) in places.iter().enumerate() {
        if options.plan && index > 0 {
            progress.print("\n");
        }
        let prepared = PlannedRun::prepare(options.clone(), &place.target, place.settings(settings), progress);
        match Box::pin(prepared).await {
            Err(exit) if exit.status == ExitStatus::Usage || place.platform.is_none() || options.plan => {
                return Err(exit);
            }
            _ => {}
        }
    }
    if options.plan {
        return Ok(ExitStatus::Success);
    }
    let mut signals = Signals::listen().map_err(infrastructure)?;
    let (id, runs) = (new_run_id(), &settings.runs);
    let named = options.evidence.clone().unwrap_or_else(|| runs.join(&id));
    let folder = new_or_empty(&named).map_err(usage)?;
    let (mut statuses, mut parts) = (BTreeSet::new(), Vec::new());
    for (index, place) in places.iter().enumerate() {
        progress.note(format!("{place}: target {} of {}", index + 1, places.len()));
        let (name, own) = (part_name(&place.to_string(), options.shard), progress.at_place(place));
        let evidence = folder.join(PARTS).join(&name);
        let options = Options { evidence: Some(evidence.clone()), ..options.clone() };
        let one = Box::pin(one(options, place, settings, &own, &mut signals));
        let status = one.await.unwrap_or_else(|Exit { status, error }| {
            own.error(format!("assay: {error:#}"));
            status
        });
        statuses.insert(status);
        if signals.received {
            statuses.insert(ExitStatus::Inconclusive);
        }
        match Part::open(&evidence) {
            Ok(_) => parts.push(name),
            // Its error, which is above, says why.
            Err(_) if status == ExitStatus::Usage => {}
            Err(error) => progress.note(format!("{place}: left nothing to be judged by: {error:#}")),
        }
        if signals.received || status == ExitStatus::Usage {
            let left: Vec<String> = places.iter().skip(index + 1).map(Place::to_string).collect();
            if !left.is_empty() {
                progress.note(format!("stopped before {}", left.join(", ")));
            }
            break;
        }
    }
    if parts.is_empty() {
        // There is no evidence of anything. What a killed run may have left all the same stays.
        let _ = std::fs::remove_dir(folder.join(PARTS)).and_then(|()| std::fs::remove_dir(&folder));
        return Ok(worst(&statuses));
    }
    let asked: Vec<String> = places.iter().map(Place::to_string).collect();
    let whole = merged::close(&folder, &id, &asked, &parts).map_err(infrastructure)?;
    point_latest(runs, &folder, &id).map_err(infrastructure)?;
    progress.print(format!("\n{}\n\n{}", report::merged_table(&whole), report::merged_summary(&whole, &folder)));
    statuses.insert(ExitStatus::from_code(whole.exit));
    Ok(worst(&statuses))
}

/// Runs at one of the places, planned again: the runs before it may have changed what a remote machine offers.
async fn one(
    options: Options,
    place: &Place,
    settings: &Settings,
    progress: &Progress,
    signals: &mut Signals,
) -> Result<ExitStatus, Exit> {
    match Box::pin(PlannedRun::prepare(options, &place.target, place.settings(settings), progress)).await? {
        Some(planned) => Box::pin(planned.run(progress, signals)).await,
        None => Ok(ExitStatus::Success),
    }
}

/// Returns the worst of several exit statuses: a claim fails, then a mistake, then something could not be judged.
fn worst(statuses: &BTreeSet<ExitStatus>) -> ExitStatus {
    let order = [ExitStatus::Failed, ExitStatus::Usage, ExitStatus::Inconclusive];
    order.into_iter().find(|status| statuses.contains(status)).unwrap_or(ExitStatus::Success)
}
