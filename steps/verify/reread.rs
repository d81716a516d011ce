//! Whether the samples of watched runs are what those runs printed: the texts in `trials/`, read again.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::bundle::Bundle;
use crate::evidence::trial_file;
use crate::probe::trial::{self, Trial};
use crate::probe::{Reading, Sample, Unreadable, Value};

/// How many samples were read off texts that are there, and every one that its text does not bear out.
pub fn findings(bundle: &Bundle) -> (usize, Vec<Finding>) {
    let mut runs: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
    for sample in &bundle.samples {
        runs.entry(trial_file(&sample.subject)).or_default().push(sample);
    }
    let (mut borne_out, mut findings) = (0, Vec::new());
    for (file, samples) in runs {
        // What was not watched has no text; one that is lost is told with the checksums.
        let Ok(text) = bundle.folder.text(&file) else { continue };
        match trial::parse(&text).and_then(|trial| readings(&trial)) {
            Ok(readings) => {
                let wrong: Vec<Finding> =
                    strange(&samples, &readings).map(|problem| Finding::new(&file, problem)).collect();
                borne_out += samples.len() - wrong.len();
                findings.extend(wrong);
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

/// The samples of a run that are of a probe which its text has, but of no value that it has of it.
fn strange<'a>(samples: &'a [&Sample], readings: &'a [Reading]) -> impl Iterator<Item = String> + 'a {
    // Numbers by their bits: what was read twice from one text is the same.
    let key = |probe: &str, value: &Value| match value {
        Value::Number(number) => (probe.to_owned(), number.to_bits().to_string()),
        Value::Text(text) => (probe.to_owned(), text.clone()),
    };
    let probes: BTreeSet<&str> = readings.iter().map(|reading| reading.probe.as_str()).collect();
    let seen: BTreeSet<(String, String)> = readings.iter().map(|reading| key(&reading.probe, &reading.value)).collect();
    let of_text = samples.iter().filter(move |sample| probes.contains(sample.probe.as_str()));
    of_text.filter(move |sample| !seen.contains(&key(&sample.probe, &sample.value))).map(|sample| {
        let Sample { id, probe, .. } = sample;
        format!("sample {id} says that {probe} is {}, and this text does not", sample.value.show(sample.unit))
    })
}
