//! Runs a workload by `podman run` on a machine where systemd makes no units from Quadlets, and reads what it printed,
//! when, and how it ended.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::journal::{self, Line};
use super::trial::watch::Until;
use super::{Reading, Unreadable};
use crate::base::unit::Unit;
use crate::base::unit_file::{UnitFile, specified};
use crate::exec::command::Command;

const SCRIPT: &str = include_str!("podman_run.sh");
const PROBE: &str = "hand";
/// Exit statuses of `podman run` itself, if it ended with an error; without one, they are the container's.
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
    /// What the workload wrote on either stream, with times in seconds since boot.
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
    let mut run = PodmanRun { log: Vec::new(), ends: Vec::new() };
    let (mut ahead, mut cut, mut error) = (None, BTreeMap::<&str, usize>::new(), "");
    for line in lines {
        let wrong = || Unreadable::new(PROBE, "what it logged, or how it ended", line);
        let (key, rest) = line.split_once(' ').ok_or_else(wrong)?;
        let words = || rest.split_once(' ').ok_or_else(wrong);
        let seconds = |word: &str| word.parse::<f64>().map_err(|_| wrong());
        match key {
            "clock" => {
                let (up, calendar) = words()?;
                let offset = seconds(calendar)? - seconds(up)?;
                if (offset - *ahead.get_or_insert(offset)).abs() > journal::STEP {
                    return Err(Unreadable::new(PROBE, "a clock that nobody sets during a run", line));
                }
            }
            "line" => {
                let (at, rest) = words()?;
                let at: Timestamp = at.parse().map_err(|_| wrong())?;
                let at = at.as_duration().as_secs_f64() - ahead.ok_or_else(wrong)?;
                let (stream, rest) = rest.split_once(' ').ok_or_else(wrong)?;
                let (piece, text) = rest.split_at_checked(1).ok_or_else(wrong)?;
                let text = journal::visible(text.strip_prefix(' ').unwrap_or(text));
                let begun = cut.remove(stream);
                if piece == "P" {
                    cut.insert(stream, begun.unwrap_or(run.log.len()));
                }
                match begun {
                    Some(place) => run.log[place].text += &text,
                    None => run.log.push(Line { at, who: format!("systemd-{unit}"), text, workload: true }),
                }
            }
            "error" => error = rest,
            "ended" => {
                let status = words()?.1.parse().map_err(|_| wrong())?;
                let workloads = run.log.iter().any(|line| line.text == journal::visible(error));
                if PODMANS_OWN.contains(&status) && error.starts_with("Error: ") && !workloads {
                    return Err(Unreadable::new(
                        PROBE,
                        &format!("a container, not podman's own status {status}"),
                        error,
                    ));
                }
                run.ends.push(status);
                (ahead, error) = (None, "");
                cut.clear();
            }
            _ => return Err(wrong()),
        }
    }
    match run.ends.is_empty() {
        true => Err(Unreadable::new(PROBE, "how it ended", error)),
        false => Ok(run),
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

    const OUTPUT: &str = "token t\nboot b\nclock 9.00 1795749643.5\n\
        line 2026-11-27T03:20:44.500000000+00:00 stdout F hello from WebAssembly\n\
        line 2026-11-27T04:20:45.000000000+01:00 stdout P reading 1/5: tempera\n\
        line 2026-11-27T03:20:45.100000000+00:00 stderr F Error: only\\n a\twarning\n\
        line 2026-11-27T03:20:45.200000000+00:00 stdout F ture=23°C timestamp=1\n\
        line 2026-11-27T03:20:54.900000000+00:00 stdout F completed: 5 readings\n\
        line 2026-11-27T03:20:54.900000000+00:00 stdout F \nclock 20.50 1795749655.1\n\
        error Error: only\\n a\twarning\nended 20.50 0\n";

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
        let log: Vec<(f64, &str)> = run.log.iter().map(|line| ((line.at * 10.0).round() / 10.0, &*line.text)).collect();
        let reading = "reading 1/5: temperature=23°C timestamp=1";
        let warning = "Error: only\\n a\twarning";
        let completed = [(20.4, "completed: 5 readings"), (20.4, "")];
        assert_eq!(
            log,
            [[(10.0, "hello from WebAssembly"), (10.5, reading), (10.6, warning)].as_slice(), &completed].concat()
        );
        assert_eq!(parse(&OUTPUT.replace("20.50 0", "20.50 126"), "hello", "t", "b").unwrap().ends, [126]);
        let found = run.readings();
        let of = |probe: &str| found.iter().find(|reading| reading.probe == probe).map(|reading| reading.value.clone());
        let took = of("log.duration").and_then(|value| value.number()).unwrap();
        assert!((took - 10.4).abs() < 1e-6, "{took}");
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
                OUTPUT.replace("20.50 0", "20.50 126").replace("error Error: only", "error Error: crun: only"),
                "not podman's own status 126",
            ),
            (OUTPUT.replace("1795749655", "1795749652"), "a clock that nobody sets"),
            (OUTPUT.replace("line 2026-11-27T03:20:54", "Line 2026"), "what it logged, or how it ended"),
        ] {
            let error = parse(&text, "hello", "t", "b").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
