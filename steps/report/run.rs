//! Reports a run as it goes and at its end: a line per scenario, the workload's memory, advice, and
//! the page of the CI job.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use comfy_table::{Table, presets};

use super::console::{self, mark, word};
use super::sentence;
use super::workload::{heads, rows};
use crate::base::platform::TargetSpec;
use crate::claims::plan::Planned;
use crate::evidence::Verdicts;
use crate::evidence::run_state::{Standing, ToCome};
use crate::measurement::Sample;
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{Attempt, ControlResult};

/// Formats the line of a finished scenario: its verdict or the control's result, and why.
pub fn line(Standing { claim, open, to_come }: &Standing, planned: &Planned) -> String {
    let again = |attempts: usize| match attempts {
        0 | 1 => String::new(),
        _ => format!(" (attempt {attempts})"),
    };
    let mine = |control: &&ControlResult| control.at == planned.at;
    if let Some(control) = claim.controls.iter().find(mine) {
        let verdict = format!("control: {}{}", word(control), again(control.attempts.len()));
        return format!(
            "↳ {:<5} {verdict:<15} {}: {}",
            claim.id,
            control.at.name,
            console::line(&sentence::control(control))
        );
    }
    let Some(scenario) = claim.scenarios.iter().find(|scenario| scenario.at == planned.at) else {
        return format!("? {:<5} {:<15} {}", claim.id, "inconclusive", planned.at.name);
    };
    let (verdict, seen) = sentence::shown(claim, scenario);
    let (mark, word) = if verdict == Verdict::Fails && *open {
        ("?", "open".to_owned())
    } else {
        (mark(verdict), verdict.to_string())
    };
    let to_come = match to_come {
        _ if !open && verdict != Verdict::Holds => "",
        ToCome::Nothing => "",
        ToCome::Scenarios => " (other scenarios of its claim are to come)",
        ToCome::Controls => " (its control is to come)",
    };
    let verdict = format!("{word}{}", again(scenario.attempts.len()));
    format!("{mark} {:<5} {verdict:<15} {}: {}{to_come}", claim.id, scenario.at.name, console::line(&seen))
}

/// If errors ended scenarios before anything could be judged, names the command that may know why.
pub fn advice(verdicts: &Verdicts, target: &TargetSpec) -> Option<String> {
    let last = |attempts: &[Attempt]| attempts.last().is_some_and(Attempt::broke_off);
    let controls = verdicts.claims.iter().flat_map(|claim| &claim.controls).map(|control| last(&control.attempts));
    let own = verdicts.claims.iter().flat_map(|claim| &claim.scenarios).map(|scenario| last(&scenario.attempts));
    let many = match own.chain(controls).filter(|broke_off| *broke_off).count() {
        0 => return None,
        1 => "1 scenario was ended by an error".to_owned(),
        many => format!("{many} scenarios were ended by errors"),
    };
    Some(format!("{many}, not by a check: `{}` tries all that a run needs", target.doctor()))
}

/// Formats a table of the workload's memory, a row per series; `None` if it was not measured.
pub fn memory(samples: &[Sample]) -> Option<String> {
    let rows = rows(samples);
    if rows.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(heads());
    table.add_rows(rows);
    Some(format!("memory of the workload; beside the peak: medians of what each run reached\n{table}"))
}

/// Adds the page to the file that the CI job shows.
pub fn publish(summary: &[u8], file: &Path) -> anyhow::Result<()> {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    let written = opened.and_then(|mut file| file.write_all(summary));
    written.with_context(|| format!("cannot add the job summary to {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::base::unit::Unit;
    use crate::verdict::Reason;

    #[test]
    fn every_series_has_a_line_with_all_that_its_runs_reached() {
        let peak = |subject, value| Sample::of(subject, "memory.peak", value, Unit::Bytes);
        let samples = [
            peak("workload-no-quota cold 1", 67_108_864.0),
            peak("workload-no-quota warm 2", 36e6),
            peak("workload-no-quota warm 3", 38e6),
            peak("hog-no-quota warm 1", 9e6),
            Sample::of("workload-no-quota cold 1", "memory.events.max", 792.0, Unit::Count),
        ];
        let text = memory(&samples).unwrap();
        let line = |words: &str| text.lines().find(|line| line.contains(words)).unwrap_or_default().to_owned();
        assert!(line("cold").contains("64 MiB") && line("cold").contains("792"), "{text}");
        assert!(line("warm").contains("36 MB to 38 MB (50 %)") && line("warm").contains("37 MB"), "{text}");
        assert!(!text.contains("hog"), "{text}");
        assert_eq!(memory(&samples[3..4]), None);
    }

    #[test]
    fn scenarios_that_errors_ended_are_counted_with_the_command_that_may_know_why() {
        let attempt = |error: Option<&str>| Attempt::new(Vec::new(), error.map(Reason::step));
        let advice = |own: Vec<Attempt>, control: Vec<Attempt>| {
            let mut verdicts = example::bundle().verdicts;
            verdicts.claims.truncate(1);
            verdicts.claims[0].scenarios[0].attempts = own;
            verdicts.claims[0].controls[0].attempts = control;
            super::advice(&verdicts, &"vm:arm64".parse().unwrap())
        };
        let lost = || attempt(Some("connection lost"));
        let doctor = "`cargo run -- doctor --target vm:arm64` tries all that a run needs";
        let both = format!("2 scenarios were ended by errors, not by a check: {doctor}");
        assert_eq!(advice(vec![lost(), lost()], vec![lost()]), Some(both));
        assert!(advice(vec![lost()], vec![]).unwrap().starts_with("1 scenario was ended by an error, "));
        assert_eq!(advice(vec![lost(), attempt(None)], vec![]), None, "the second attempt finished");
        assert_eq!(advice(vec![], vec![]), None, "it was not run");
    }

    #[test]
    fn a_page_is_added_to_what_the_job_already_shows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("summary");
        std::fs::write(&file, "before\n").unwrap();
        publish(b"after\n", &file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "before\nafter\n");
        let error = publish(b"", folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("cannot add the job summary to "), "{error}");
    }
}
