//! Parses the journal of a user unit, and checks that it belongs to the trial.

use std::time::Duration;

use serde_json::Value as Json;

use super::trial::{STANDSTILL, Trial};
use super::{Reading, Unreadable};
use crate::base::unit::Unit;
use crate::exec::command::Command;

const PROBE: &str = "journal";
/// How far, in seconds, calendar time may drift against time since boot. Only a clock that is set exceeds this.
const STEP: f64 = 2.0;

/// Returns the command that prints what a user unit has logged since `since` (Unix seconds).
pub fn command(unit: &str, since: u64) -> Command {
    Command::new("journalctl")
        .args(["--user", "--no-pager", "--output=json", "--unit", unit])
        .arg(format!("--since=@{since}"))
        .time_limit(Duration::from_secs(60))
}

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When it was received, in seconds since the machine's boot.
    pub at: f64,
    /// The syslog identifier of its sender.
    pub who: String,
    pub text: String,
}

/// Parses the output of [`command`] from a machine with this boot id. Lines must be in the order in which they were
/// received: journald timestamps each on receipt, and journalctl merges its files in that order.
pub fn parse(text: &str, boot: &str) -> Result<Vec<Line>, Unreadable> {
    let boot = boot.replace('-', "");
    let (mut lines, mut calendar) = (Vec::<Line>::new(), None);
    for raw in text.lines().filter(|line| !line.trim().is_empty() && *line != "-- No entries --") {
        let (line, offset) = parse_line(raw, &boot)?;
        if lines.last().is_some_and(|before| line.at < before.at) {
            return Err(Unreadable::new(PROBE, "lines in the order in which they arrived", raw));
        }
        if (offset - *calendar.get_or_insert(offset)).abs() > STEP {
            return Err(Unreadable::new(PROBE, "a clock that nobody sets during a trial", raw));
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Parses a line, and returns by how many seconds its calendar time is ahead of its time since boot.
fn parse_line(raw: &str, boot: &str) -> Result<(Line, f64), Unreadable> {
    let wrong = || Unreadable::new(PROBE, "a journal entry in JSON with boot, time and message", raw);
    let entry: Json = serde_json::from_str(raw).map_err(|_| wrong())?;
    let seconds = |key: &str| Some(entry[key].as_str()?.parse::<u64>().ok()? as f64 / 1e6);
    let at = seconds("__MONOTONIC_TIMESTAMP").ok_or_else(wrong)?;
    let calendar = seconds("__REALTIME_TIMESTAMP").ok_or_else(wrong)?;
    let seen = entry["_BOOT_ID"].as_str().ok_or_else(wrong)?;
    if seen != boot {
        let expected = format!("lines of the machine that was asked ({boot}), not of another or before a reboot");
        return Err(Unreadable::new(PROBE, &expected, &format!("boot {seen}")));
    }
    let text = match &entry["MESSAGE"] {
        Json::String(text) => text.clone(),
        // journald writes text that is not UTF-8 as an array of bytes, and an empty message as null.
        Json::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => String::new(),
    };
    let who = entry["SYSLOG_IDENTIFIER"].as_str().unwrap_or("").to_owned();
    Ok((Line { at, who, text: text.trim_end().to_owned() }, calendar - at))
}

/// Selects the lines of a trial. `--since` has whole seconds, so lines from just before the start are dropped.
pub fn of_trial(mut lines: Vec<Line>, trial: &Trial) -> Result<Vec<Line>, Unreadable> {
    let window = trial.begin - STANDSTILL..=trial.end + STANDSTILL;
    if let Some(line) = lines.iter().find(|line| !window.contains(&line.at)) {
        let expected = format!("lines from the trial's time, {:.0} s to {:.0} s since boot", trial.begin, trial.end);
        return Err(Unreadable::new(PROBE, &expected, &format!("{:.3} s: {}", line.at, line.text)));
    }
    lines.retain(|line| line.at >= trial.begin);
    if lines.is_empty() && trial.looks.iter().any(|look| !look.values.is_empty()) {
        return Err(Unreadable::new(PROBE, "what systemd says of a unit that was up", ""));
    }
    Ok(lines)
}

/// Returns what the workload of a Quadlet unit printed: Podman names its container after the unit.
pub fn workload(lines: &[Line], unit: &str) -> Vec<Line> {
    let container = format!("systemd-{unit}");
    lines.iter().filter(|line| line.who == container && !line.text.trim().is_empty()).cloned().collect()
}

/// The most bytes of a log that a probe's value holds.
const LOG: usize = 16 << 10;

pub const SILENT: &str = "(nothing)";

/// Returns the workload's log as one text, or [`SILENT`] if it is empty.
pub fn text(log: &[Line]) -> Reading {
    let lines: Vec<&str> = log.iter().map(|line| line.text.as_str()).collect();
    let (text, raw) = (lines.join("\n"), format!("{} lines", lines.len()));
    let kept = text.floor_char_boundary(LOG);
    let text = if text.is_empty() { SILENT } else { &text[..kept] };
    Reading::new("log.text", text, Unit::Text, raw)
}

/// Reads the workload's log: greeting, temperatures, spacing of the readings, completion, and duration.
pub fn readings(log: &[Line]) -> Vec<Reading> {
    let mut found = Vec::new();
    let sensor: Vec<(&Line, f64)> = log.iter().filter_map(|line| Some((line, temperature(&line.text)?))).collect();
    if let Some(greeting) = log.iter().find(|line| line.text.to_lowercase().contains("hello")) {
        found.push(Reading::text("log.greeting", &greeting.text));
    }
    found.push(Reading::new("log.readings", sensor.len() as f64, Unit::Count, "lines with a temperature"));
    let temperatures: Vec<String> = sensor.iter().map(|(_, celsius)| format!("{celsius}")).collect();
    found.push(Reading::text("log.temperatures", &temperatures.join(" ")));
    for pair in sensor.windows(2) {
        let raw = format!("{:.6} s to {:.6} s", pair[0].0.at, pair[1].0.at);
        found.push(Reading::new("log.spacing", pair[1].0.at - pair[0].0.at, Unit::Seconds, raw));
    }
    if let Some(last) = log.last().filter(|line| line.text.contains("completed")) {
        found.push(Reading::text("log.completion", &last.text));
    }
    if let (Some(first), Some(last)) = (log.first(), log.last()) {
        let raw = format!("{:.6} s to {:.6} s", first.at, last.at);
        found.push(Reading::new("log.duration", last.at - first.at, Unit::Seconds, raw));
    }
    found
}

/// Splits the time of a start: seconds from systemd's "Starting" to Podman's create, init and start, and to the
/// workload's first line.
pub fn startup(lines: &[Line], unit: &str) -> Vec<Reading> {
    let Some(begin) = lines.iter().find(|line| line.who == "systemd" && line.text.starts_with("Starting ")) else {
        return Vec::new();
    };
    let podman = |event: &'static str| {
        let event_text = format!(" container {event} ");
        lines
            .iter()
            .find(move |line| line.who == "podman" && line.text.contains(&event_text))
            .map(|line| (event, line.at))
    };
    let output = workload(lines, unit).first().map(|line| ("output", line.at));
    let steps = ["create", "init", "start"].into_iter().filter_map(podman).chain(output);
    let reading = |(step, at): (&str, f64)| {
        let raw = format!("{:.6} s to {at:.6} s", begin.at);
        Reading::new(&format!("start.{step}"), at - begin.at, Unit::Seconds, raw)
    };
    steps.map(reading).collect()
}

/// Parses the temperature in a line such as `reading 1/5: temperature=23°C timestamp=1770656082`.
fn temperature(text: &str) -> Option<f64> {
    let (number, rest) = text.split_once("temperature=")?.1.split_once("°C")?;
    rest.split_once("timestamp=")?.1.trim().parse::<u64>().ok()?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::{Value, trial};

    const RECORDED: &str = include_str!("../../fixtures/probes/journal-hello.jsonl");
    const TRIAL: &str = include_str!("../../fixtures/probes/trial-hello.txt");

    fn recorded() -> Vec<Line> {
        parse(RECORDED, &trial::parse(TRIAL).unwrap().boot).unwrap()
    }

    /// Returns an entry of the boot "b".
    fn entry(monotonic: u64, realtime: u64) -> String {
        format!(
            r#"{{"_BOOT_ID":"b","__MONOTONIC_TIMESTAMP":"{monotonic}","__REALTIME_TIMESTAMP":"{realtime}","MESSAGE":"x"}}"#
        )
    }

    #[test]
    fn a_recorded_journal_yields_the_readings_and_the_steps_of_the_start() {
        let lines = recorded();
        assert!(["podman", "systemd"].iter().all(|who| lines.iter().any(|line| line.who == *who)));
        let log = workload(&lines, "no-quota");
        assert!(log.iter().all(|line| line.who == "systemd-no-quota") && workload(&lines, "another").is_empty());
        let found = readings(&log);
        let of = |probe: &str| found.iter().filter(|r| r.probe == probe).map(|r| r.value.clone()).collect::<Vec<_>>();
        assert_eq!(of("log.temperatures"), [Value::from("23 26 29 32 35")]);
        assert_eq!(of("log.readings"), [Value::Number(5.0)]);
        assert_eq!(of("log.spacing").len(), 4);
        assert_eq!(of("log.completion"), [Value::from("completed: 5 readings")]);
        assert!(matches!(of("log.duration")[0], Value::Number(seconds) if (9.9..12.1).contains(&seconds)));
        let start: Vec<String> = startup(&lines, "no-quota").into_iter().map(|reading| reading.probe).collect();
        assert_eq!(start, ["start.create", "start.init", "start.start", "start.output"]);
        assert!(startup(&[], "no-quota").is_empty());
        let silent = readings(&[]);
        assert!(silent.iter().all(|r| r.probe == "log.readings" || r.probe == "log.temperatures"));
    }

    #[test]
    fn a_log_is_kept_as_it_is_up_to_a_length() {
        let line = |text: &str| Line { at: 1.0, who: "w".into(), text: text.into() };
        assert_eq!(text(&[line("one"), line("two")]), Reading::new("log.text", "one\ntwo", Unit::Text, "2 lines"));
        assert_eq!(text(&[]).value, Value::from("(nothing)"));
        let Value::Text(long) = text(&[line(&"é".repeat(LOG))]).value else { panic!("it is a text") };
        assert_eq!(long.len(), LOG);
    }

    #[test]
    fn a_journal_that_is_broken_of_another_boot_or_of_another_time_is_refused() {
        let two = |times: [u64; 2], calendar: [u64; 2]| {
            let entries = [0, 1].map(|n| entry(times[n] * 1_000_000, calendar[n] * 1_000_000));
            entries.join("\n")
        };
        assert!(parse(&two([1, 2], [51, 52]), "b").is_ok());
        assert!(parse(&two([1, 1], [51, 51]), "-b-").is_ok(), "the kernel writes dashes, journald none");
        assert_eq!(parse(&entry(1, 1).replace("\"x\"", "[104,255,105]"), "b").unwrap()[0].text, "h\u{fffd}i");
        for (text, expected) in [
            ("not json".to_owned(), "a journal entry in JSON"),
            ("{\"MESSAGE\":\"x\"}".to_owned(), "a journal entry in JSON"),
            (entry(1, 1).replace("_BOOT_ID", "BOOT"), "a journal entry in JSON"),
            (RECORDED.to_owned(), "lines of the machine that was asked (b)"),
            (two([2, 1], [52, 51]), "in the order in which they arrived"),
            (two([1, 2], [51, 22]), "a clock that nobody sets"),
        ] {
            let error = parse(&text, "b").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn lines_from_outside_of_the_trial_are_left_out_or_refused() {
        let trial = trial::parse(TRIAL).unwrap();
        let lines = of_trial(recorded(), &trial).unwrap();
        assert_eq!(lines, recorded());
        let at = |at: f64| vec![Line { at, who: "systemd".into(), text: "x".into() }, lines[0].clone()];
        assert_eq!(of_trial(at(trial.begin - 0.5), &trial).unwrap(), lines[..1], "of the second it began in");
        for stray in [trial.begin - 100.0, trial.end + 100.0] {
            let error = of_trial(at(stray), &trial).unwrap_err().to_string();
            assert!(error.contains("lines from the trial's time"), "{error}");
        }
        assert!(of_trial(Vec::new(), &trial).unwrap_err().to_string().contains("a unit that was up"));
        let down = trial::Trial { looks: Vec::new(), ..trial };
        assert_eq!(of_trial(Vec::new(), &down), Ok(Vec::new()));
    }
}
