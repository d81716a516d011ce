//! What journalctl prints: parsed, cut to a trial, and turned into readings.
#![no_main]

use std::sync::LazyLock;

use assay::measurement::trial::{self, Trial};
use assay::measurement::{Value, journal, start};
use libfuzzer_sys::fuzz_target;

static TRIAL: LazyLock<Trial> =
    LazyLock::new(|| trial::parse(include_str!("../../../fixtures/probes/trial-hello.txt")).expect("a trial"));

fuzz_target!(init: assay_fuzz::seed(&["fixtures/probes"], "jsonl"), |text: &str| {
    let boot = text.split("\"_BOOT_ID\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    journal::elsewhere(text, text, "journald");
    let Ok(journal) = journal::parse(text, boot, "assay-mark") else { return };
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    assert!(journal.lines.iter().all(|line| line.text.chars().all(plain)));
    start::refusal(&TRIAL, &journal.lines, "hello", text);
    start::waited(&journal.lines);
    let log = journal::workload(&journal.lines);
    let readings = [journal::readings(&log), journal::text(&log), journal::startup(&journal.lines)].concat();
    assert!(readings.iter().all(|reading| !matches!(reading.value, Value::Number(number) if !number.is_finite())));
    let _ = journal.of_trial(&TRIAL);
});
