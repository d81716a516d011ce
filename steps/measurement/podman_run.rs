//! Runs a workload by `podman run` on a machine where systemd makes no units from Quadlets, and reads what it printed,
//! when, and how it ended.

use std::time::Duration;

use super::journal::{self, Line};
use super::trial::watch::Until;
use super::{Reading, Unreadable};
use crate::base::unit::Unit;
use crate::base::unit_file::{UnitFile, specified};
use crate::exec::command::Command;

const SCRIPT: &str = include_str!("podman_run.sh");
const PROBE: &str = "hand";
/// Exit statuses of `podman run` itself, if an error follows; without one, they are the container's.
const PODMANS_OWN: std::ops::RangeInclusive<u8> = 125..=127;

/// Returns the command that runs an image as often as it should end, under the limits of a Quadlet. Its output repeats
/// `token`, which must be different each time.
pub fn command(
    unit: &str,
    quadlet: &str,
    image: &str,
    until: Until,
    limit: Duration,
    token: &str,
) -> Result<Command, Unreadable> {
    let times = match until {
        Until::Ended => 1,
        Until::Stopped(times) => times,
        Until::Held(_) => return Err(Unreadable::new(PROBE, "a workload that ends by itself", unit)),
    };
    let run = Command::script(SCRIPT, &[&format!("systemd-{unit}"), &times.to_string(), token]);
    Ok(run.args(flags(unit, quadlet)?).arg(image).time_limit(limit))
}

/// Translates a Quadlet's annotations and limits into options of `podman run`.
fn flags(unit: &str, quadlet: &str) -> Result<Vec<String>, Unreadable> {
    let file = UnitFile::parse(quadlet);
    let mut flags = Vec::new();
    for word in file.words("Container", "Annotation") {
        let wrong =
            |specifier: String| Unreadable::new(PROBE, "an annotation that only the unit's name completes", &specifier);
        flags.push(format!("--annotation={}", specified(&word, unit).map_err(wrong)?));
    }
    if let Some(size) = file.last("Service", "MemoryMax").filter(|size| *size != "infinity") {
        // Podman has the same units as systemd, in lower case.
        flags.push(format!("--memory={}", size.to_lowercase()));
    }
    if let Some(quota) = file.last("Service", "CPUQuota") {
        let percent = quota.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let percent = percent.ok_or_else(|| Unreadable::new(PROBE, "CPUQuota= in percent", quota))?;
        flags.push(format!("--cpus={}", percent / 100.0));
    }
    Ok(flags)
}

#[derive(Clone, Debug, PartialEq)]
pub struct PodmanRun {
    /// The workload's standard output, with times in seconds since boot.
    pub log: Vec<Line>,
    /// The exit status of each run.
    pub ends: Vec<u8>,
}

pub fn parse(text: &str, unit: &str, token: &str, boot: &str) -> Result<PodmanRun, Unreadable> {
    let mut lines = text.lines();
    for expected in [format!("token {token}"), format!("boot {boot}")] {
        let line = lines.next().unwrap_or_default();
        if line != expected {
            return Err(Unreadable::new(PROBE, &format!("\"{expected}\", not an answer to another request"), line));
        }
    }
    let who = format!("systemd-{unit}");
    let mut run = PodmanRun { log: Vec::new(), ends: Vec::new() };
    let mut error = "";
    for line in lines {
        let wrong = || Unreadable::new(PROBE, "\"line SECONDS TEXT\" or \"ended SECONDS STATUS\"", line);
        let (key, rest) = line.split_once(' ').ok_or_else(wrong)?;
        if key == "error" {
            error = rest;
            continue;
        }
        let (at, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let at: f64 = at.parse().map_err(|_| wrong())?;
        match key {
            "line" => run.log.push(Line { at, who: who.clone(), text: journal::visible(value), workload: true }),
            "ended" => run.ends.push(value.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
    }
    match run.ends.iter().find(|status| PODMANS_OWN.contains(status) && error.starts_with("Error: ")) {
        Some(status) => Err(Unreadable::new(PROBE, &format!("a container, not podman's own status {status}"), error)),
        None if run.ends.is_empty() => Err(Unreadable::new(PROBE, "how it ended", error)),
        None => Ok(run),
    }
}

impl PodmanRun {
    /// Returns all readings, under the names that a unit's readings have.
    pub fn readings(&self) -> Vec<Reading> {
        let log = journal::workload(&self.log);
        let mut readings = journal::text(&log);
        readings.extend(journal::readings(&log));
        for status in &self.ends {
            let result = if *status == 0 { "success" } else { "exit-code" };
            let raw = format!("podman run ended with {status}");
            readings.push(Reading::new("unit.result", result, Unit::Text, raw.clone()));
            readings.push(Reading::new("unit.status", f64::from(*status), Unit::Count, raw));
        }
        readings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Value;

    const OUTPUT: &str = "token t\nboot b\nline 10.00 hello from WebAssembly\nline 10.50 reading 1/5: temperature=23°C timestamp=1\n\
        line 20.40 completed: 5 readings\nended 20.50 0\nerror a warning\n";

    #[test]
    fn a_quadlet_becomes_options_of_podman_run() {
        let quadlet =
            "[Container]\nImage=@IMAGE@\nAnnotation=a/b=c \\\n  \"d=%p e\"\n[Service]\nMemoryMax = 64M\nCPUQuota=10%\n";
        let command = command("hello", quadlet, "x/y:1", Until::Stopped(2), Duration::from_secs(9), "t").unwrap();
        let flags = ["--annotation=a/b=c", "--annotation=d=hello e", "--memory=64m", "--cpus=0.1", "x/y:1"];
        assert_eq!(command.argv, [&["sh", "-s", "--", "systemd-hello", "2", "t"][..], &flags].concat());
        let held = Until::Held(Duration::from_secs(1));
        assert!(super::command("hello", quadlet, "x", held, Duration::from_secs(9), "t").is_err());
        for wrong in ["[Service]\nCPUQuota=1\n", "[Container]\nAnnotation=a=%h\n"] {
            assert!(super::flags("hello", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_it_printed_is_read_with_its_time_and_its_end() {
        let run = parse(OUTPUT, "hello", "t", "b").unwrap();
        let found = run.readings();
        let of = |probe: &str| found.iter().find(|reading| reading.probe == probe).map(|reading| reading.value.clone());
        assert_eq!(of("log.duration").and_then(|value| value.number()), Some(10.399999999999999));
        assert_eq!(of("log.greeting"), Some(Value::from("hello from WebAssembly")));
        assert_eq!((of("unit.result"), of("unit.status")), (Some(Value::from("success")), Some(Value::Number(0.0))));
    }

    #[test]
    fn answers_to_other_requests_and_podmans_own_errors_are_refused() {
        for (text, expected) in [
            (OUTPUT.replace("token t", "token u"), "not an answer to another request"),
            (OUTPUT.replace("boot b", "boot c"), "not an answer to another request"),
            (OUTPUT.replace("ended 20.50 0\n", ""), "how it ended"),
            (
                OUTPUT.replace("20.50 0\nerror a warning", "20.50 126\nerror Error: crun: x"),
                "not podman's own status 126",
            ),
            (OUTPUT.replace("line 10.50", "Line"), "\"line SECONDS TEXT\""),
        ] {
            let error = parse(&text, "hello", "t", "b").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
