//! Measures what watching a trial costs: it runs a trial's own script every second, on a copy of a unit's cgroup files.
//! These are ordinary files, so the kernel's work to generate a cgroup's files is not included; a trial reports that
//! itself (`session.cpu.time`).

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{BenchResult, summary};
use assay::base::unit::Unit;
use assay::exec::command::Command;
use assay::exec::shell::Shell;
use assay::measurement::trial::watch::LOOK;

/// Every file of the cgroup of a working unit, as `grep -r '' .` printed it there.
const LISTING: &str = include_str!("../../fixtures/probes/cgroup-hello.txt");
const PACE: &str = include_str!("sampler.sh");
/// Bash reports the CPU time, because it gets it from the kernel in microseconds, while `sh` gets it in ticks.
const OUTER: &str = "sh -s -- \"$@\" && times";

pub async fn measure(shell: &Shell, looks: u32, repetitions: u32) -> anyhow::Result<BenchResult> {
    let folder = tempfile::tempdir().context("no folder can be made for a control group")?;
    lay_out(LISTING, folder.path())?;
    let path = folder.path().display().to_string();
    let limit = Duration::from_secs(60 + 3 * u64::from(looks));
    let command = Command::new("bash").args(["-c", OUTER, "bash", &path, &looks.to_string()]);
    let command = command.env("LC_ALL", "C").stdin(format!("{LOOK}{PACE}")).time_limit(limit);
    let (mut shares, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..repetitions {
        let once = parse(&shell.read(&command).await?, looks)?;
        shares.push(once.0);
        memory.push(once.1);
    }
    let (share, memory) = (summary(&shares)?.median, summary(&memory)?.median);
    let (percent, bytes, looks) = (share * 100.0, Unit::Bytes.format(memory), looks * repetitions);
    Ok(BenchResult {
        line: format!("sampler: {percent:.2} % of one CPU, {bytes}; {looks} looks, median of {repetitions}"),
        numbers: json!({
            "sampler_cpu_share": share, "sampler_memory_bytes": memory, "looks": looks, "repetitions": repetitions,
        }),
    })
}

/// Writes the files of a listing, whose lines are `./PATH:LINE`.
fn lay_out(listing: &str, folder: &Path) -> anyhow::Result<()> {
    for line in listing.lines() {
        let split = line.strip_prefix("./").and_then(|line| line.split_once(':'));
        let (path, text) = split.with_context(|| format!("\"{line}\" is not a line of a listing"))?;
        let path = folder.join(path);
        let cannot = || format!("cannot write {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(folder)).with_context(cannot)?;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).with_context(cannot)?;
        writeln!(file, "{text}").with_context(cannot)?;
    }
    Ok(())
}

/// Parses the output of the script and, after it, of bash: its own user and system times, and those of its children.
/// Returns the share of one CPU, including the shell's own start, and the proportional memory of the shell and its sleep.
fn parse(text: &str, looks: u32) -> anyhow::Result<(f64, f64)> {
    let number = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        value.and_then(|value| value.parse::<f64>().ok()).with_context(|| format!("the sampler did not say its {key}"))
    };
    let seen = |key: &str| text.lines().filter(|line| line.starts_with(key)).count();
    for key in ["look ", "unit.kernel ", "runtime.kernel ", "payload.kernel ", "available "] {
        ensure!(seen(key) == looks as usize, "{} of {looks} looks saw \"{}\"", seen(key), key.trim());
    }
    let children = text.trim_end().lines().next_back().unwrap_or_default();
    let used: Option<f64> = children.split(' ').map(clock).sum();
    let used = used.with_context(|| format!("\"{children}\" is not what bash says of times"))?;
    let wall = number("over")? - number("begin")?;
    ensure!(wall > 0.0, "{looks} looks took no time");
    Ok((used / wall, number("sampler.memory")?))
}

/// Parses a time such as `1m0.033s` into seconds.
fn clock(text: &str) -> Option<f64> {
    let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
    Some(minutes.parse::<u32>().ok()? as f64 * 60.0 + seconds.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use assay::exec::shell::NoopObserver;

    const LOOKED: &str = "look 5\nunit.kernel 1\nruntime.kernel 1\npayload.kernel 1\navailable 9\n";

    #[tokio::test]
    async fn the_look_of_a_trial_costs_little() {
        let BenchResult { line, numbers } = measure(&Shell::local(Arc::new(NoopObserver)), 2, 1).await.unwrap();
        assert_eq!((&numbers["looks"], &numbers["repetitions"]), (&json!(2), &json!(1)));
        // Two looks include the start of the shell, and other tests run meanwhile: the goal of 1 % is for ten looks.
        let [share, memory] = ["sampler_cpu_share", "sampler_memory_bytes"].map(|name| numbers[name].as_f64().unwrap());
        assert!(share > 0.0 && share < 0.05, "{line}");
        assert!((1e5..4e6).contains(&memory), "{line}");
    }

    #[test]
    fn cpu_time_is_that_of_whole_looks_divided_by_their_time() {
        let text = format!("begin 5\n{LOOKED}over 15\nsampler.memory 700416\n0m0.002s 0m0.000s\n0m0.030s 0m0.020s\n");
        assert_eq!(parse(&text, 1).unwrap(), (0.005, 700_416.0));
        assert_eq!(clock("2m1.500s"), Some(121.5));
        let times = "0m0.002s 0m0.000s\n0m0.030s 0m0.020s\n";
        let error = |text: &str| parse(text, 1).unwrap_err().to_string();
        assert_eq!(error(&format!("begin 5\nlook 5\nover 6\n{times}")), "0 of 1 looks saw \"unit.kernel\"");
        assert_eq!(error(&format!("begin 5\n{LOOKED}over 6\n{times}")), "the sampler did not say its sampler.memory");
        let silent = format!("begin 5\n{LOOKED}over 6\nsampler.memory 1\n");
        assert_eq!(error(&silent), "\"sampler.memory 1\" is not what bash says of times");
        assert_eq!(error(&format!("begin 5\n{LOOKED}over 5\nsampler.memory 1\n{times}")), "1 looks took no time");
    }

    #[test]
    fn a_listing_becomes_its_files() {
        let folder = tempfile::tempdir().unwrap();
        lay_out("./memory.stat:anon 5\n./memory.stat:file 6\n./runtime/memory.peak:7\n", folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("memory.stat")).unwrap(), "anon 5\nfile 6\n");
        assert_eq!(fs::read_to_string(folder.path().join("runtime/memory.peak")).unwrap(), "7\n");
        assert!(lay_out("grep: cgroup.kill: Permission denied\n", folder.path()).is_err());
    }
}
