//! Reads what a comparison needs of a run: `run.json` and `verdicts.json`, and no samples, because there may be hundreds
//! of runs.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Deserialize;

use crate::base::platform::place_name;
use crate::evidence::bundle::{SandboxedDir, document, one_run};
use crate::evidence::{ClaimResult, Verdicts};
use crate::measurement::Value;
use crate::report::comparison::{About, ClaimSummary, ComparedRun, Figure};
use crate::verdict::claim_verdict::{Attempt, worst};
use crate::verdict::{Judged, Outcome, Rule, Verdict};

/// Reads what a comparison needs of runs from their folders, on all CPUs, in the order of the folders.
pub fn briefs(folders: &[PathBuf]) -> anyhow::Result<Vec<ComparedRun>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let read: Vec<anyhow::Result<ComparedRun>> = std::thread::scope(|scope| {
        let shares = folders.chunks(folders.len().div_ceil(threads).max(1));
        let read = |share: &[PathBuf]| share.iter().map(|folder| brief(folder)).collect::<Vec<_>>();
        let workers: Vec<_> = shares.map(|share| scope.spawn(move || read(share))).collect();
        // Reading does not panic; if it does after all, the panic is passed on.
        let join = |worker: ScopedJoinHandle<_>| worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        workers.into_iter().flat_map(join).collect()
    });
    let (mut runs, mut wrong) = (Vec::new(), Vec::new());
    for outcome in read {
        match outcome {
            Ok(run) => runs.push(run),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(runs)
}

fn brief(path: &Path) -> anyhow::Result<ComparedRun> {
    let cannot = || format!("{} cannot be compared with others", path.display());
    let folder = SandboxedDir::open(path).with_context(cannot)?;
    one_run(&folder).with_context(cannot)?;
    let read = document(&folder, "run.json").and_then(|run: RunFile| Ok((run, document(&folder, "verdicts.json")?)));
    let (run, verdicts) = read.map_err(|error| anyhow::anyhow!("{error:#}: leave it out")).with_context(cannot)?;
    assemble(run.placed(), verdicts).with_context(cannot)
}

#[derive(Deserialize)]
struct RunFile {
    run: String,
    started: Timestamp,
    target: String,
    platform: Option<String>,
    git: Option<Git>,
    machine: Option<Machine>,
}

impl RunFile {
    /// Returns the same with the chosen platform in its target.
    fn placed(self) -> RunFile {
        RunFile { target: place_name(&self.target, self.platform.as_deref()), ..self }
    }
}

#[derive(Deserialize)]
struct Git {
    commit: Option<String>,
}

#[derive(Deserialize)]
struct Machine {
    accelerator: String,
    architecture: String,
}

fn assemble(run: RunFile, verdicts: Verdicts) -> anyhow::Result<ComparedRun> {
    let Verdicts { run: of, complete, exit, claims, .. } = verdicts;
    anyhow::ensure!(
        of == run.run,
        "run.json is of run {}, verdicts.json of run {of}: the folder was put together",
        run.run
    );
    anyhow::ensure!(complete, "run {of} was ended before it was done: leave it out");
    let mut findings = BTreeMap::new();
    for claim in claims {
        let id = claim.id;
        anyhow::ensure!(findings.insert(id, finding(&run, claim)).is_none(), "verdicts.json has claim {id} twice");
    }
    let commit = run.git.and_then(|git| git.commit);
    Ok(ComparedRun {
        about: About { run: of, started: run.started, target: run.target, commit, exit, complete },
        findings,
    })
}

fn finding(run: &RunFile, claim: ClaimResult) -> ClaimSummary {
    let deciding = worst(&claim.scenarios).and_then(|scenario| decisive(&scenario.attempts));
    let figure = deciding.and_then(|judged| figure(run, &claim.bound, judged));
    ClaimSummary { claim: claim.claim, verdict: claim.verdict, reason: claim.reason, figure }
}

/// Returns the check that decided a claim: in the attempt that counts, the first that failed, else the first.
fn decisive(attempts: &[Attempt]) -> Option<&Judged> {
    let fails = |outcome: &Outcome| outcome.verdict == Verdict::Fails;
    let last = attempts.last()?;
    let failed = attempts.iter().find(|attempt| fails(&attempt.outcome)).or(attempts.first())?;
    let checks = if last.outcome.verdict == Verdict::Holds { &last.checks } else { &failed.checks };
    checks.iter().find(|judged| fails(&judged.outcome)).or(checks.first())
}

/// Returns the measured figure; `None` if the samples could not be trusted.
fn figure(run: &RunFile, bound: &str, Judged { check, outcome, statistics }: &Judged) -> Option<Figure> {
    let worst = outcome.value.clone()?;
    let limit = match check.rule {
        Rule::Below { .. }
        | Rule::AtMost { .. }
        | Rule::AtLeast { .. }
        | Rule::MedianAtLeast { .. }
        | Rule::Between { .. } => check.rule.format(check.unit),
        _ => "none".to_owned(),
    };
    let on_host = check.sources.iter().all(|source| source.machine == "host");
    let machine = |of: fn(&Machine) -> &str| match &run.machine {
        _ if on_host => "the host's own",
        Some(machine) => of(machine),
        None => "not noted",
    };
    Some(Figure {
        value: statistics.as_ref().map_or(worst, |statistics| Value::Number(statistics.median)),
        unit: check.unit,
        probe: check.probe.clone(),
        interval: statistics.as_ref().and_then(|statistics| statistics.interval),
        circumstances: vec![
            ("bound", bound.to_owned()),
            ("checked bound", limit),
            ("probe", check.probe.clone()),
            ("unit", format!("{:?}", check.unit).to_lowercase()),
            ("target", if on_host { "the host" } else { &run.target }.to_owned()),
            ("architecture", machine(|machine| &machine.architecture).to_owned()),
            ("CPU", machine(|machine| speed(&machine.accelerator)).to_owned()),
        ],
    })
}

/// Names the kind of CPU that an accelerator provides.
fn speed(accelerator: &str) -> &str {
    match accelerator {
        "tcg" => "emulated",
        "kvm" => "native under KVM",
        "nspawn" => "native in a system container",
        "none" => "native",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::register::ClaimId;

    /// Copies the recorded run to the test's own folder, with one text in one of its files replaced.
    fn changed(name: &str, from: &str, to: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/selfcheck");
        let read = |name: &str| std::fs::read_to_string(fixture.join(name)).unwrap();
        let id =
            |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["run"].as_str().unwrap().to_owned();
        let (run, verdicts) = (read("run.json"), read("verdicts.json"));
        // The two files were recorded in two runs.
        let verdicts = verdicts.replace(&id(&verdicts), &id(&run));
        for (file, text) in [("run.json", run), ("verdicts.json", verdicts)] {
            assert!(file != name || text.contains(from), "{name} has no {from:?}");
            let text = if file == name { text.replacen(from, to, 1) } else { text };
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        folder
    }

    fn recorded() -> tempfile::TempDir {
        changed("", "", "")
    }

    fn error_of(folder: &Path) -> String {
        let error = format!("{:#}", briefs(&[folder.to_owned()]).unwrap_err());
        assert!(error.starts_with(&format!("{} cannot be compared with others: ", folder.display())), "{error}");
        error
    }

    #[test]
    fn a_figure_is_the_median_of_the_deciding_check_or_its_only_sample() {
        let run = briefs(&[recorded().path().to_owned()]).unwrap().remove(0);
        let figure = |(id, finding): (&ClaimId, &ClaimSummary)| match &finding.figure {
            None => format!("{id}: none"),
            Some(Figure { value, unit, probe, interval, circumstances }) => {
                let interval = interval.map(|interval| (interval.low, interval.high));
                let circumstances = circumstances.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>();
                format!("{id}: {probe} {}, interval {interval:?}, {}", value.format(*unit), circumstances.join(", "))
            }
        };
        let cpus = ["emulated", "native under KVM", "native in a system container", "native", "other"];
        assert_eq!(["tcg", "kvm", "nspawn", "none", "other"].map(speed), cpus);
        insta::assert_snapshot!("figures", run.findings.iter().map(figure).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn what_is_not_a_whole_run_is_named_with_what_to_do() {
        assert!(error_of(Path::new("/nowhere")).contains("name the folder of a run"));
        let killed = changed("verdicts.json", "\"complete\": true", "\"complete\": false");
        assert!(error_of(killed.path()).ends_with("was ended before it was done: leave it out"));
        let newer = changed("verdicts.json", "\"schema\": 2", "\"schema\": 3, \"novel\": 1");
        assert!(error_of(newer.path()).ends_with(": leave it out"));
        let other = changed("verdicts.json", "\"complete\"", "\"incomplete\"");
        assert!(error_of(other.path()).contains("verdicts.json is not of this layout: missing field `complete`"));
        let mixed = changed("run.json", "\"run\": \"", "\"run\": \"other-");
        assert!(error_of(mixed.path()).ends_with("the folder was put together"));
        let twice = changed("verdicts.json", "\"id\": \"A2-2\"", "\"id\": \"A2-1\"");
        assert!(error_of(twice.path()).ends_with("verdicts.json has claim A2-1 twice"));
    }

    #[test]
    fn every_folder_that_is_wrong_is_named_at_once() {
        let sound = recorded();
        let all = [Path::new("/nowhere/1"), sound.path(), Path::new("/nowhere/2")].map(PathBuf::from);
        let error = format!("{:#}", briefs(&all).unwrap_err());
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 2, "{error}");
        assert!(lines[0].starts_with("/nowhere/1 ") && lines[1].starts_with("/nowhere/2 "), "{error}");
    }
}
