//! Reads the texts in `trials/` again, and compares them with the samples of watched runs.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
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
