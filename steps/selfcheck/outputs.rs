//! Falsifies what machines print, before it is parsed: each kind of line of each trial that a check rests on, in each
//! way.

use std::collections::BTreeSet;

use anyhow::Context as _;

use super::Mutant;
use assay::evidence::bundle::EvidenceBundle;
use assay::evidence::{ClaimResult, trial_file};
use assay::measurement::trial::{self, Trial};
use assay::measurement::{Reading, Sample, Unreadable, Value};
use assay::verdict::{Check, Verdict};

/// Falsifies the output of every trial whose samples a check of the claim rests on.
pub fn mutants(claim: &ClaimResult, samples: &[Sample], bundle: &EvidenceBundle) -> anyhow::Result<Vec<Mutant>> {
    let checks: Vec<&Check> = claim
        .attempts()
        .flat_map(|attempt| &attempt.checks)
        .filter(|judged| judged.outcome.verdict == Verdict::Holds)
        .map(|judged| &judged.check)
        .collect();
    let is_trial = |file: &&String| file.starts_with("trials/") && file.ends_with(".txt");
    let files: BTreeSet<&String> =
        claim.scenarios.iter().flat_map(|scenario| &scenario.evidence).filter(is_trial).collect();
    let mut mutants = Vec::new();
    for file in files {
        let text = bundle.folder.text(file)?;
        let trial = trial::parse(&text).with_context(|| file.clone())?;
        let whole = trial.readings().with_context(|| file.clone())?;
        let Some(subject) = subject(&checks, file) else { continue };
        let mine: Vec<&Check> = checks.iter().copied().filter(|check| !values(&whole, check).is_empty()).collect();
        if mine.is_empty() {
            continue;
        }
        for (how, which, falsified) in falsified(&text, &trial) {
            let verdict = match read(&falsified, &trial) {
                Err(_) => None,
                Ok(readings) => {
                    let touched = mine.iter().filter(|check| values(&whole, check) != values(&readings, check));
                    let verdicts = touched.map(|check| judged(check, subject, samples, &readings));
                    match verdicts.reduce(|all, one| if one == Verdict::Holds { all } else { one }) {
                        // A change that none of the claim's checks reads makes no difference to the claim.
                        None => continue,
                        worst => worst,
                    }
                }
            };
            let survived = verdict == Some(Verdict::Holds);
            mutants.push(Mutant { claim: claim.id, what: file.clone(), how, which, verdict, survived });
        }
    }
    Ok(mutants)
}

/// Returns the subject whose trial a file holds.
fn subject<'a>(checks: &[&'a Check], file: &str) -> Option<&'a str> {
    let mut sources = checks.iter().flat_map(|check| &check.sources);
    sources.find(|source| trial_file(&source.subject) == file).map(|source| source.subject.as_str())
}

fn values<'a>(readings: &'a [Reading], check: &Check) -> Vec<&'a Value> {
    readings.iter().filter(|reading| reading.probe == check.probe).map(|reading| &reading.value).collect()
}

/// Parses as a run does: the output must belong to this trial and this machine.
fn read(text: &str, genuine: &Trial) -> Result<Vec<Reading>, Unreadable> {
    let trial = trial::parse(text)?;
    trial.belongs(&genuine.token, &genuine.boot)?;
    trial.readings()
}

/// Judges the check after replacing its samples of the subject by what was read now.
fn judged(check: &Check, subject: &str, samples: &[Sample], readings: &[Reading]) -> Verdict {
    let Some(source) = check.sources.iter().find(|source| source.subject == subject) else {
        return Verdict::Inconclusive;
    };
    let of_check = samples.iter().filter(|sample| check.samples.contains(&sample.id) && sample.probe == check.probe);
    let mut seen: Vec<Sample> = of_check.filter(|sample| sample.subject != subject).cloned().collect();
    let next = samples.iter().map(|sample| sample.id).max().unwrap_or(0) + 1;
    let mine = readings.iter().filter(|reading| reading.probe == check.probe);
    seen.extend(mine.zip(next..).map(|(reading, id)| Sample {
        id,
        probe: reading.probe.clone(),
        subject: subject.to_owned(),
        machine: source.machine.clone(),
        value: reading.value.clone(),
        unit: reading.unit,
        at: source.until,
        raw: reading.raw.clone(),
    }));
    let list = seen.iter().map(|sample| sample.id).collect();
    Check { samples: list, ..check.clone() }.judge(&seen).outcome.verdict
}

/// Returns the output falsified in each way: how, where, and the new text.
fn falsified<'a>(text: &'a str, trial: &Trial) -> Vec<(&'static str, String, String)> {
    let whole = |how, text: String| (how, "the whole of it".to_owned(), text);
    let mut all = vec![
        whole("empty output", String::new()),
        whole("output cut in half", text.chars().take(text.chars().count() / 2).collect()),
        whole("output printed twice", format!("{text}{text}")),
        whole("output of another trial", text.replace(&trial.token, "00000000-0000-0000-0000-000000000000")),
        whole("output of another machine", text.replace(&trial.boot, "00000000-0000-0000-0000-000000000000")),
        whole("an error message", "bash: line 1: systemctl: command not found\n".to_owned()),
    ];
    let lines: Vec<&str> = text.lines().collect();
    for (place, line) in lines.iter().enumerate() {
        // The looks are all alike, so only the last line of each kind is falsified.
        let kind = |line: &'a str| line.split(' ').next();
        if lines[place + 1..].iter().any(|later| kind(later) == kind(line)) {
            continue;
        }
        let with = |changed: Option<String>| {
            let kept = lines.iter().enumerate().filter_map(|(at, line)| match at == place {
                true => changed.clone(),
                false => Some((*line).to_owned()),
            });
            kept.map(|line| line + "\n").collect::<String>()
        };
        let which = format!("line {}: {line}", place + 1);
        let Some((key, value)) = line.rsplit_once(' ') else { continue };
        if value.parse::<f64>().is_ok() && !key.starts_with("stop") {
            let of_unit = |value: &str| with(Some(format!("{key} {value}")));
            all.push(("a line garbled", which.clone(), of_unit("4?2")));
            all.push(("a line cut off", which.clone(), with(Some(key.to_owned()))));
            all.push(("a line negative", which.clone(), of_unit("-5")));
            all.push(("a line not a number", which.clone(), of_unit("nan")));
        }
        // How an activation ended, and what the cgroup reports for the whole trial.
        if key.starts_with("slice.") || key.starts_with("stop") || key.starts_with("show.") {
            all.push(("a line dropped", which, with(None)));
        }
    }
    all
}
