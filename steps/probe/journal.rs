//! The journal of a user unit: who said what, when.

use std::time::Duration;

use serde_json::Value as Json;

use super::{Reading, Unreadable};
use crate::command::Command;
use crate::unit::Unit;

const PROBE: &str = "journal";

/// The command that prints what a user unit has logged since `since` (Unix seconds).
pub fn command(unit: &str, since: u64) -> Command {
    Command::new("journalctl")
        .args(["--user", "--no-pager", "--output=json", "--unit", unit])
        .arg(format!("--since=@{since}"))
        .time_limit(Duration::from_secs(60))
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When it arrived, in seconds since the machine's boot.
    pub at: f64,
    /// Who said it.
    pub who: String,
    /// What.
    pub text: String,
}

/// Reads what [`command`] printed.
///
/// # Errors
/// A line that is no JSON object with time, identifier and message.
pub fn parse(text: &str) -> Result<Vec<Line>, Unreadable> {
    text.lines().filter(|line| !line.trim().is_empty() && *line != "-- No entries --").map(parse_line).collect()
}

fn parse_line(line: &str) -> Result<Line, Unreadable> {
    let wrong = || Unreadable::new(PROBE, "a journal entry in JSON with time and message", line);
    let entry: Json = serde_json::from_str(line).map_err(|_| wrong())?;
    let at: f64 = entry["__MONOTONIC_TIMESTAMP"].as_str().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let text = match &entry["MESSAGE"] {
        Json::String(text) => text.clone(),
        // journald writes what is not UTF-8 as an array of bytes, and nothing at all as null.
        Json::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => String::new(),
    };
    Ok(Line {
        at: at / 1e6,
        who: entry["SYSLOG_IDENTIFIER"].as_str().unwrap_or("").to_owned(),
        text: text.trim_end().to_owned(),
    })
}

/// What the workload of a Quadlet unit printed: podman names its container after the unit.
pub fn workload(lines: &[Line], unit: &str) -> Vec<Line> {
    let container = format!("systemd-{unit}");
    lines.iter().filter(|line| line.who == container && !line.text.trim().is_empty()).cloned().collect()
}

/// What the workload's log says: greeting, temperatures, spacing of the readings, completion, and how long it took.
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

/// Where the time of a start went: seconds from systemd's "Starting" to podman's create, init and start, and to the
/// workload's first line.
pub fn startup(lines: &[Line], unit: &str) -> Vec<Reading> {
    let Some(begin) = lines.iter().find(|line| line.who == "systemd" && line.text.starts_with("Starting ")) else {
        return Vec::new();
    };
    let podman = |event: &'static str| {
        let said = format!(" container {event} ");
        lines.iter().find(move |line| line.who == "podman" && line.text.contains(&said)).map(|line| (event, line.at))
    };
    let output = workload(lines, unit).first().map(|line| ("output", line.at));
    let steps = ["create", "init", "start"].into_iter().filter_map(podman).chain(output);
    let reading = |(step, at): (&str, f64)| {
        let raw = format!("{:.6} s to {at:.6} s", begin.at);
        Reading::new(&format!("start.{step}"), at - begin.at, Unit::Seconds, raw)
    };
    steps.map(reading).collect()
}

/// The temperature in a line such as `reading 1/5: temperature=23°C timestamp=1770656082`.
fn temperature(text: &str) -> Option<f64> {
    let (number, rest) = text.split_once("temperature=")?.1.split_once("°C")?;
    rest.split_once("timestamp=")?.1.trim().parse::<u64>().ok()?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Value;

    const RECORDED: &str = include_str!("../../fixtures/probes/journal-hello.jsonl");

    #[test]
    fn a_recorded_journal_tells_the_readings_and_their_spacing() {
        let log = workload(&parse(RECORDED).unwrap(), "wasm-hello");
        let found = readings(&log);
        let of = |probe: &str| found.iter().filter(|r| r.probe == probe).map(|r| r.value.clone()).collect::<Vec<_>>();
        assert_eq!(of("log.temperatures"), [Value::from("23 26 29 32 35")]);
        assert_eq!(of("log.readings"), [Value::Number(5.0)]);
        assert_eq!(of("log.spacing").len(), 4);
        assert_eq!(of("log.completion"), [Value::from("completed: 5 readings")]);
        assert!(matches!(of("log.duration")[0], Value::Number(seconds) if (9.9..12.1).contains(&seconds)));
    }

    #[test]
    fn a_start_is_taken_apart_in_its_order() {
        let steps = startup(&parse(RECORDED).unwrap(), "wasm-hello");
        assert_eq!(
            steps.iter().map(|reading| reading.probe.as_str()).collect::<Vec<_>>(),
            ["start.create", "start.init", "start.start", "start.output"]
        );
        assert!(startup(&[], "wasm-hello").is_empty());
    }

    #[test]
    fn what_podman_and_systemd_say_is_not_the_workloads() {
        let lines = parse(RECORDED).unwrap();
        assert!(lines.iter().any(|line| line.who == "podman") && lines.iter().any(|line| line.who == "systemd"));
        assert!(workload(&lines, "wasm-hello").iter().all(|line| line.who == "systemd-wasm-hello"));
        assert!(workload(&lines, "another").is_empty());
    }

    #[test]
    fn a_broken_journal_is_an_error_and_a_silent_workload_has_no_readings() {
        assert!(parse("{\"MESSAGE\":\"x\"}").is_err());
        assert!(parse("not json").is_err());
        let silent = readings(&[]);
        assert!(silent.iter().all(|r| r.probe == "log.readings" || r.probe == "log.temperatures"));
    }

    #[test]
    fn bytes_that_are_not_text_do_not_stop_the_reading() {
        let line = r#"{"__MONOTONIC_TIMESTAMP":"1000000","SYSLOG_IDENTIFIER":"x","MESSAGE":[104,255,105]}"#;
        assert_eq!(parse(line).unwrap()[0].text, "h\u{fffd}i");
    }
}
