//! The command `assay gc`: cleaning up after finished runs, on this machine and in AWS.

use std::path::PathBuf;

use assay::base::platform::TargetSpec;
use assay::base::settings::Settings;
use assay::exec::cleanup::{Resource, leftovers, live_runs, mark_stale_gone, remove_stale};
use assay::exec::shell::EnterError;
use assay::targets::{self, RemoteAccess};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::bin::print;
use assay::base::commands;
use assay::base::exit_status::{Exit, infrastructure, usage};

/// What to remove, and where.
#[derive(Debug, Args)]
pub struct Gc {
    /// Also remove the cached machine images that no definition needs any more
    #[arg(long)]
    images: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Look in AWS, in the region of its own settings, even if no run of this machine has left anything there
    #[arg(long)]
    aws: bool,
    /// Look in this region of AWS; may be repeated
    #[arg(long, value_name = "REGION")]
    region: Vec<String>,
    /// Remove everything in AWS that carries the tag of a run, expired or not, except what belongs to a run in
    /// progress on this host
    #[arg(long)]
    all: bool,
}

impl Gc {
    fn asks_for_aws(&self) -> bool {
        self.aws || self.all || !self.region.is_empty()
    }
}

#[derive(Debug, Default, Serialize)]
struct GcReport {
    removed: Vec<String>,
    #[serde(rename = "cleanup_errors")]
    errors: Vec<String>,
    /// What would be removed, if it still exists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    would_remove: Vec<String>,
    /// What carries the tag of a run in the cloud, if that was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud: Option<Value>,
}

pub fn gc(arguments: &Gc, settings: &Settings) -> Result<(), Exit> {
    let mut report = GcReport::default();
    if !cfg!(feature = "aws") && arguments.asks_for_aws() {
        let remedy = commands::get_sdk("`cargo run --features aws -- gc` does (its first build takes minutes)");
        return Err(usage(anyhow::anyhow!("this build has no AWS: {remedy}")));
    }
    // The cloud comes first, so that the cleanup journals do not report again what is seen to be gone there.
    #[cfg(feature = "aws")]
    cloud::gc(arguments, settings, &mut report)?;
    if !arguments.dry_run {
        on_machines(settings, &mut report)?;
    }
    let journals = settings.journals();
    let unneeded = match arguments.images {
        true => targets::unneeded(settings).map_err(usage)?,
        false => Vec::new(),
    };
    if arguments.dry_run {
        let left = leftovers(&journals).map_err(infrastructure)?;
        let here = left.iter().filter(|resource| !matches!(resource, Resource::Cloud { .. }));
        report.would_remove.extend(here.map(ToString::to_string));
        report.would_remove.extend(unneeded.iter().map(|path| path.display().to_string()));
    } else {
        let swept = remove_stale(&journals).map_err(infrastructure)?;
        report.removed.extend(swept.removed);
        report.errors.extend(swept.errors);
        // The machines of a run in progress are copies on write of an image that may be one of these.
        let in_use = !unneeded.is_empty() && !live_runs(&journals).map_err(infrastructure)?.is_empty();
        unneeded.into_iter().for_each(|path| remove(path, in_use, &mut report));
    }
    print(arguments.json, &report, || report.render())?;
    match report.errors.is_empty() {
        true => Ok(()),
        false => Err(infrastructure(anyhow::anyhow!("not everything could be removed: {}", report.errors.join("; ")))),
    }
}

/// Removes what runs have left on remote machines. What cannot be removed stays in its cleanup journal, and is reported
/// when the journals are swept.
fn on_machines(settings: &Settings, report: &mut GcReport) -> Result<(), Exit> {
    let journals = settings.journals();
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    for resource in leftovers(&journals).map_err(infrastructure)? {
        let Resource::RemoteHost { run, target, host_key } = &resource else { continue };
        let target: TargetSpec = target.parse().map_err(infrastructure)?;
        let access = RemoteAccess { target: target.clone(), host_key: host_key.clone(), provision: false };
        match runtime.block_on(access.leave(run, settings)) {
            Ok(()) => {
                mark_stale_gone(&journals, &resource).map_err(infrastructure)?;
                report.removed.push(resource.to_string());
            }
            Err(error) if error.is::<EnterError>() => report.errors.push(format!("{:#}", target.unusable(error))),
            Err(error) => report.errors.push(format!("{error:#}")),
        }
    }
    Ok(())
}

fn remove(path: PathBuf, in_use: bool, report: &mut GcReport) {
    match in_use {
        true => report.errors.push(format!("{} is left, for a run is under way", path.display())),
        false => match std::fs::remove_dir_all(&path) {
            Ok(()) => report.removed.push(path.display().to_string()),
            Err(error) => report.errors.push(format!("cannot remove {}: {error}", path.display())),
        },
    }
}

impl GcReport {
    fn render(&self) -> String {
        let removed = self.removed.iter().map(|resource| format!("removed {resource}\n"));
        let would = self.would_remove.iter().map(|resource| format!("would remove {resource}\n"));
        match removed.chain(would).collect::<String>() {
            text if !text.is_empty() => text,
            _ if self.errors.is_empty() => "nothing to remove".to_owned(),
            _ => "nothing was removed".to_owned(),
        }
    }
}

#[cfg(feature = "aws")]
mod cloud {
    use assay::base::progress::Progress;
    use assay::measurement::pricing::{Billed, Prices};
    use assay::targets::ec2::gc::{Fate, Leftover, LeftoverRow, find, may_be_left};
    use assay::targets::ec2::resources::{AwsResource, ResourceKind};
    use comfy_table::{ContentArrangement, Table, presets};
    use jiff::Timestamp;

    use super::{Exit, Gc, GcReport, Settings, infrastructure, usage};
    use crate::bin::print_line;

    pub fn gc(arguments: &Gc, settings: &Settings, report: &mut GcReport) -> Result<(), Exit> {
        if !arguments.asks_for_aws() && !may_be_left(&settings.journals()).map_err(infrastructure)? {
            return Ok(());
        }
        let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
        let prices = Prices::read(&settings.root).map_err(usage)?;
        let price = |region: &str, resource: &AwsResource| price(&prices, region, resource);
        let own_region = arguments.aws || arguments.all;
        let found = find(settings, &arguments.region, own_region, arguments.all, price);
        let found = runtime.block_on(found).map_err(infrastructure)?;
        report.cloud = Some(serde_json::to_value(&found.rows).map_err(infrastructure)?);
        match found.rows.is_empty() {
            _ if arguments.json => {}
            // Where the lookup failed, the state is unknown.
            true if !found.errors.is_empty() => {}
            true => print_line("nothing there carries the tag of a run"),
            false => print_line(&table(&found)),
        }
        if arguments.dry_run {
            let going = found.rows.iter().filter(|row| row.fate.goes());
            report.would_remove.extend(going.map(|row| format!("{} {}", row.kind, row.id)));
            report.errors.extend(found.errors);
            return Ok(());
        }
        let removed = runtime.block_on(found.remove(&Progress::to_stderr()));
        report.removed.extend(removed.removed);
        report.errors.extend(removed.errors);
        Ok(())
    }

    fn price(prices: &Prices, region: &str, resource: &AwsResource) -> Option<f64> {
        let hourly = |billed: Billed| Some(prices.hourly(region, &billed).ok()?.value());
        match resource.kind {
            ResourceKind::Instance => {
                let address = if resource.has_address { hourly(Billed::Address)? } else { 0.0 };
                Some(hourly(Billed::Instance(resource.instance_type.clone()?))? + address)
            }
            ResourceKind::Address => hourly(Billed::Address),
            ResourceKind::Volume => hourly(Billed::Disk(resource.gib?)),
            ResourceKind::SpotRequest
            | ResourceKind::NetworkInterface
            | ResourceKind::KeyPair
            | ResourceKind::SecurityGroup => Some(0.0),
        }
    }

    fn table(found: &Leftover) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["what", "where", "of run", "since", "expires", "state", "$ per hour", ""]);
        table.add_rows(found.rows.iter().map(cells));
        let text = table.to_string();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    fn cells(row: &LeftoverRow) -> [String; 8] {
        let time = |time: Option<Timestamp>, none: &str| match time {
            Some(time) => time.strftime("%Y-%m-%d %H:%MZ").to_string(),
            None => none.to_owned(),
        };
        let over = if row.fate == Fate::Expired { " (over)" } else { "" };
        [
            format!("{} {}", row.kind, row.name.as_deref().unwrap_or(&row.id)),
            row.region.clone(),
            row.run.clone(),
            time(row.created, "not kept"),
            format!("{}{over}", time(row.expires, "never")),
            row.state.clone(),
            match row.per_hour {
                Some(0.0) => "0".to_owned(),
                Some(dollars) => format!("{dollars:.4}"),
                None => "not known".to_owned(),
            },
            row.fate.to_string(),
        ]
    }
}
