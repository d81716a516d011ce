//! What the command that watches a unit prints: parsed, and turned into readings.
#![no_main]

use assay::measurement::{Value, start, trial};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: assay_fuzz::seed(&["fixtures/probes", "fixtures/selfcheck/trials"], "txt"), |text: &str| {
    let Ok(trial) = trial::parse(text) else { return };
    let mut readings = trial.readings().unwrap_or_default();
    readings.extend(trial.timeline().map(|(_, reading)| reading));
    for reading in readings {
        assert!(!matches!(reading.value, Value::Number(number) if !number.is_finite()), "{reading:?}");
    }
    start::refusal(&trial, &[], "w", text);
});
