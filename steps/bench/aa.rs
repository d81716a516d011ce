//! Measures how often a difference is seen between equals: starts of the workload beside its own, judged as ratios are,
//! on a system container of this host.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::restore::KIND;
use super::{BenchResult, on_machines};
use assay::base::digest::sha256;
use assay::base::progress::Progress;
use assay::base::stats::{self, Interval, LOOKS};
use assay::base::unit::Unit;
use assay::exec::command::Command;
use assay::exec::shell::{NoopObserver, Shell};
use assay::measurement::deployment::Deployment;
use assay::targets::{Context, Definition, Nspawn};
use assay::verdict::worth::FalseAlarms;
use assay::workloads::{BuildDir, ContainerImage, Recipe, build};

/// As many pairs as a ratio is first judged by; hardly any verdict between equals needs more.
const PAIRS: usize = LOOKS[0];
/// The smallest ratio that the annex claims (A8-2).
const CLAIMED: f64 = 2.0;
const UNITS: [&str; 2] = ["one", "other"];
const START: &str = include_str!("aa.sh");

pub async fn measure(verdicts: usize, progress: &Progress) -> anyhow::Result<BenchResult> {
    on_machines(progress, async |context| judge(verdicts, context).await).await
}

async fn judge(verdicts: usize, context: &Context) -> anyhow::Result<BenchResult> {
    let build_dir = BuildDir::open(Shell::local(Arc::new(NoopObserver)), context.cleanup.clone(), &context.run)?;
    let module = build(&build_dir, &context.settings.root, "hello").await?.module()?;
    let image = ContainerImage::build(&build_dir, "hello", &module, &Recipe::default()).await?;
    let archive = build_dir.folder.join("hello.tar");
    image.layout.archive(&image.reference, &archive)?;
    let quadlet = std::fs::read_to_string(context.settings.root.join("fixtures/quadlets/no-limits.container"))?;

    let definition = Definition::named(&context.settings, KIND)?;
    let machine = Nspawn::of(&definition, context).await?.machine("aa").await?;
    let shell = &machine.shell;
    shell.put("hello.tar", std::fs::read(&archive)?).await?;
    shell.read(&Command::new("podman").args(["load", "--quiet", "--input", "hello.tar"])).await?;
    for unit in UNITS {
        Deployment::install(shell, unit, &quadlet, &image.reference).await?;
    }
    let mut intervals = Vec::new();
    for verdict in 1..=verdicts {
        if verdict % 10 == 1 {
            context.progress.note(format!("aa: verdict {verdict} of {verdicts}"));
        }
        let order = order(&context.run, verdict);
        let printed = shell.read(&Command::script(START, &order)).await?;
        let ratios = ratios(&order, &printed)?;
        intervals.push(stats::look(&ratios).context("no look is due")?);
    }
    machine.shut_down().await;
    Ok(result(&intervals))
}

/// Returns the units of a verdict's pairs, each pair in a random order.
fn order(seed: &str, verdict: usize) -> Vec<&'static str> {
    let shuffled = |pair: usize| {
        let mut units = UNITS;
        units.sort_by_key(|unit| sha256(format!("{seed} {verdict} {pair} {unit}").as_bytes()));
        units
    };
    (0..PAIRS).flat_map(shuffled).collect()
}

/// Returns the ratio of each pair.
fn ratios(order: &[&str], printed: &str) -> anyhow::Result<Vec<f64>> {
    let times: Vec<f64> = printed
        .lines()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("not times: \"{printed}\""))?;
    ensure!(
        times.len() == order.len() && times.iter().all(|time| *time > 0.0),
        "not {} times: \"{printed}\"",
        order.len()
    );
    let pairs = order.chunks(2).zip(times.chunks(2));
    Ok(pairs
        .map(|(units, times)| if units[0] == UNITS[0] { times[1] / times[0] } else { times[0] / times[1] })
        .collect())
}

/// Says how often a difference was seen, and how large one must be to be seen nearly always.
fn result(intervals: &[Interval]) -> BenchResult {
    let intervals: Vec<(Interval, f64)> = intervals.iter().map(|interval| (*interval, CLAIMED)).collect();
    let FalseAlarms { verdicts, claimed, any, smallest } = FalseAlarms::among(&intervals);
    let seen = smallest.map(|factor| format!("; {} would have been seen in 95 % of them", Unit::Times.format(factor)));
    BenchResult {
        line: format!(
            "aa: of {verdicts} verdicts on the workload beside itself, {claimed} said {CLAIMED} times and {any} any \
             difference{}",
            seen.unwrap_or_default()
        ),
        numbers: json!({ "aa_verdicts": verdicts, "aa_claimed": claimed, "aa_any": any, "aa_smallest": smallest }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_two_units_in_whatever_order_they_ran() {
        let order = ["one", "other", "other", "one"];
        assert_eq!(ratios(&order, "100\n200\n300\n100\n").unwrap(), [2.0, 3.0]);
        assert!(ratios(&order, "100\n200\n300\n").is_err());
        assert!(ratios(&order, "100\n200\n0\n100\n").is_err());
        let many: Vec<_> = (0..50).flat_map(|verdict| super::order("run", verdict)).collect();
        let first = many.chunks(2).filter(|pair| pair[0] == UNITS[0]).count();
        assert!(many.chunks(2).all(|pair| pair[0] != pair[1]) && (100..250).contains(&first), "{first}");
    }

    #[test]
    fn differences_are_counted_and_the_smallest_that_nearly_all_see_is_found() {
        let interval = |low: f64, high: f64| Interval { low, high, confidence: 0.98 };
        let mut all = vec![interval(0.8, 1.25); 19];
        all.push(interval(0.5, 2.0));
        let numbers = result(&all).numbers;
        assert_eq!(
            (&numbers["aa_any"], &numbers["aa_claimed"], &numbers["aa_smallest"]),
            (&json!(0), &json!(0), &json!(1.25))
        );
        all.extend([interval(1.1, 1.2), interval(0.7, 0.9), interval(2.0, 3.0)]);
        let numbers = result(&all).numbers;
        assert_eq!((&numbers["aa_any"], &numbers["aa_claimed"]), (&json!(3), &json!(1)));
        assert_eq!(result(&all[..19]).line.split(';').count(), 1, "too few to say what 95 % of them would have seen");
    }
}
