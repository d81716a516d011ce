//! Tells the workload's memory, run by run: cold and warm, under each set of limits; and the cost of watching it.

use std::collections::BTreeMap;

use crate::base::stats::{Summary, median};
use crate::base::unit::Unit;
use crate::measurement::Sample;

/// The probes whose median the table shows, with the titles of their columns.
const BESIDE: [(&str, &str); 7] = [
    ("memory.anon", "anon"),
    ("memory.file", "file"),
    ("memory.kernel", "kernel"),
    ("memory.guest", "guest's own"),
    ("memory.helpers", "helpers' own"),
    ("memory.events.max", "limit hit"),
    ("memory.events.oom_kill", "killed"),
];

/// Returns the series of a run, which is one workload under one set of limits, all cold or all warm: the subject's name
/// without its number.
fn series(subject: &str) -> Option<&str> {
    let (name, number) = subject.rsplit_once(' ')?;
    number.parse::<u32>().is_ok().then_some(name)
}

/// Returns the numbers of a probe, by series.
fn numbers<'a>(samples: &'a [Sample], probe: &str) -> BTreeMap<&'a str, Vec<f64>> {
    let mut all = BTreeMap::<&str, Vec<f64>>::new();
    for sample in samples.iter().filter(|sample| sample.probe == probe) {
        if let (Some(series), Some(number)) = (series(&sample.subject), sample.value.number()) {
            all.entry(series).or_default().push(number);
        }
    }
    all
}

pub(super) fn heads() -> impl Iterator<Item = &'static str> {
    let heads = ["run", "n", "peak: min", "median", "max", "confidence of the median"];
    heads.into_iter().chain(BESIDE.map(|(_, head)| head))
}

/// Returns a row per series, in the order of [`heads`]; none if the workload's memory was not measured.
pub(super) fn rows(samples: &[Sample]) -> Vec<Vec<String>> {
    let mut peaks = numbers(samples, "memory.peak");
    peaks.retain(|series, _| series.contains("workload") || series.contains("conventional"));
    let beside = BESIDE.map(|(probe, _)| (numbers(samples, probe), unit(samples, probe)));
    let row = |(series, peaks): (&&str, &Vec<f64>)| {
        let summary = Summary::of(peaks)?;
        let show = |bytes: f64| Unit::Bytes.format(bytes);
        let interval = summary.interval.map_or(String::new(), |interval| {
            format!("{} to {} ({:.0} %)", show(interval.low), show(interval.high), interval.confidence * 100.0)
        });
        let peak = [summary.min, summary.median, summary.max].map(show);
        let others = beside.iter().map(|(numbers, unit)| {
            let middle = numbers.get(series).and_then(|numbers| median(numbers));
            middle.map_or(String::new(), |middle| unit.format(middle))
        });
        let named = [(*series).to_owned(), summary.n.to_string()];
        Some(named.into_iter().chain(peak).chain([interval]).chain(others).collect())
    };
    peaks.iter().filter_map(row).collect()
}

fn unit(samples: &[Sample], probe: &str) -> Unit {
    samples.iter().find(|sample| sample.probe == probe).map_or(Unit::Count, |sample| sample.unit)
}

/// Formats the maximum cost of measuring on the machines; `None` if nothing was watched.
pub fn disturbance(samples: &[Sample]) -> Option<String> {
    let most = |probe: &str| {
        let seen = samples.iter().filter(|sample| sample.probe == probe);
        let worst = seen.filter_map(|sample| Some((sample.value.number()?, sample.unit)));
        worst.reduce(|most, next| if next.0 > most.0 { next } else { most }).map(|(most, unit)| unit.format(most))
    };
    let (cpu, memory) = (most("sampler.cpu.share")?, most("sampler.memory")?);
    let session = most("session.memory").map_or(String::new(), |memory| format!(", its SSH session {memory}"));
    Some(format!("watching cost a machine at most {cpu} of a CPU and {memory} of memory{session}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_watching_costs_is_the_worst_that_was_seen() {
        let samples = [
            Sample::of("a 1", "sampler.cpu.share", 0.03, Unit::Ratio),
            Sample::of("a 2", "sampler.cpu.share", 0.02, Unit::Ratio),
            Sample::of("a 1", "sampler.memory", 6e5, Unit::Bytes),
        ];
        let cost = disturbance(&samples).unwrap();
        assert_eq!(cost, "watching cost a machine at most 3 % of a CPU and 600 kB of memory");
        assert_eq!(disturbance(&samples[..2]), None);
    }
}
