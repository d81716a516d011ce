//! Reads the texts in `trials/` again, and compares them with the samples of watched runs; makes the differences between
//! Quadlets again.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::base::diff::unified;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::trial_file;
use crate::measurement::trial::{self, Trial};
use crate::measurement::{Reading, Sample, Unreadable, Value};

/// Counts the samples that the texts confirm, and finds those that they contradict.
pub fn findings(bundle: &EvidenceBundle) -> (usize, Vec<Finding>) {
    let mut runs: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
    for sample in &bundle.samples {
        runs.entry(trial_file(&sample.subject)).or_default().push(sample);
    }
    let (mut borne_out, mut findings) = (0, Vec::new());
    for (file, samples) in runs {
        // Subjects that were not watched have no text. A lost text is reported with the checksums.
        let Ok(text) = bundle.folder.text(&file) else { continue };
        match trial::parse(&text).and_then(|trial| readings(&trial)) {
            Ok(readings) => {
                let (read, problems) = strange(&samples, &readings);
                borne_out += read - problems.len();
                findings.extend(problems.into_iter().map(|problem| Finding::new(&file, problem)));
            }
            Err(error) => findings.push(Finding::new(&file, error.to_string())),
        }
    }
    (borne_out, findings)
}

/// Counts the differences in `quadlets/` that are those between the two files that they name, and finds the others.
pub fn differences(bundle: &EvidenceBundle) -> (usize, Vec<Finding>) {
    let names = bundle.folder.names().unwrap_or_default();
    let (mut right, mut findings) = (0, Vec::new());
    for file in names.iter().filter(|name| name.starts_with("quadlets/") && name.ends_with(".diff")) {
        let Ok(kept) = bundle.folder.text(file) else { continue };
        let made = || {
            let mut lines = kept.lines();
            let names = [lines.next()?.strip_prefix("--- ")?, lines.next()?.strip_prefix("+++ ")?];
            let [old, new] = names.map(|name| bundle.folder.text(name).ok());
            Some(unified([&old?, &new?], names))
        };
        match made().is_some_and(|made| made == kept) {
            true => right += 1,
            false => findings.push(Finding::new(file, "it is not the difference between the two files that it names")),
        }
    }
    (right, findings)
}

fn readings(trial: &Trial) -> Result<Vec<Reading>, Unreadable> {
    let mut readings = trial.readings()?;
    readings.extend(trial.timeline().map(|(_, reading)| reading));
    Ok(readings)
}

/// Counts the samples whose probe the text has, and describes those whose value it does not have.
fn strange(samples: &[&Sample], readings: &[Reading]) -> (usize, Vec<String>) {
    // Numbers are compared by their bits: reading the same text twice gives the same number.
    let key = |probe: &str, value: &Value| match value {
        Value::Number(number) => (probe.to_owned(), number.to_bits().to_string()),
        Value::Text(text) => (probe.to_owned(), text.clone()),
    };
    let probes: BTreeSet<&str> = readings.iter().map(|reading| reading.probe.as_str()).collect();
    let seen: BTreeSet<(String, String)> = readings.iter().map(|reading| key(&reading.probe, &reading.value)).collect();
    let read: Vec<&&Sample> = samples.iter().filter(|sample| probes.contains(sample.probe.as_str())).collect();
    let message = |sample: &&&Sample| {
        let Sample { id, probe, .. } = sample;
        format!("sample {id} says that {probe} is {}, and this text does not", sample.value.format(sample.unit))
    };
    let problems =
        read.iter().filter(|sample| !seen.contains(&key(&sample.probe, &sample.value))).map(message).collect();
    (read.len(), problems)
}
