//! One run of a unit, watched from inside the machine: memory, CPU and how it ended.
//!
//! The unit runs in a slice of its own that outlives it, so that nothing is lost although the unit ends; its exit
//! status is written down by `ExecStopPost=`, because a unit that systemd has unloaded claims "success, status 0".

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Reading, Unreadable};
use crate::command::Command;
use crate::stats::median;
use crate::unit::Unit;

const SCRIPT: &str = include_str!("trial.sh");
const PROBE: &str = "trial";

/// When a trial is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The unit has ended by itself.
    Ended,
    /// So long after its workload came up; it is killed then.
    Held(Duration),
    /// It has ended so often, or stays down; it is killed then.
    Stopped(u32),
}

/// The command that runs a trial of `unit` (without its ending) in `slice`.
pub fn command(unit: &str, slice: &str, until: Until, limit: Duration) -> Command {
    let (hold, stops) = match until {
        Until::Ended => (0, 0),
        Until::Held(time) => (time.as_secs(), 0),
        Until::Stopped(times) => (0, times),
    };
    let (hold, stops, seconds) = (hold.to_string(), stops.to_string(), limit.as_secs().to_string());
    Command::script(SCRIPT, &[unit, slice, &hold, &stops, &seconds]).time_limit(limit + Duration::from_secs(60))
}

/// One look at the unit's cgroup while it ran.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Seconds since the machine's boot.
    pub at: f64,
    /// What was read: `unit.current`, `payload.anon`, `available` …, bytes; `*.usage_usec`, microseconds.
    pub values: BTreeMap<String, f64>,
}

/// How one activation of the unit ended, as systemd told `ExecStopPost=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// systemd's word: `success`, `exit-code`, `oom-kill` …
    pub result: String,
    /// `exited`, `killed` or `dumped`.
    pub code: String,
    /// The exit status, or the signal's name.
    pub status: String,
}

/// All that a trial printed.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// When the start was asked for, in seconds since boot.
    pub begin: f64,
    /// When the watching ended, in seconds since boot.
    pub over: f64,
    /// Whether the limit came first.
    pub gave_up: bool,
    /// The looks, in order.
    pub looks: Vec<Look>,
    /// How each activation ended, in order.
    pub stops: Vec<Stop>,
    /// `show.*`, `slice.*` and `start-status`, as printed.
    pub last: BTreeMap<String, String>,
}

/// Reads what [`command`] printed.
///
/// # Errors
/// A line that is no "key value", a number that is none or absurd, or output that was cut off.
pub fn parse(text: &str) -> Result<Trial, Unreadable> {
    let wrong = |expected: &str, seen: &str| Unreadable::new(PROBE, expected, seen);
    let number = |line: &str, value: &str| match value.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(wrong("a number that is not negative", line)),
    };
    if text.trim_end().lines().next_back() != Some("end") {
        return Err(wrong("output that closes with \"end\"", text.trim_end().lines().next_back().unwrap_or("")));
    }
    let (mut begin, mut over) = (None, None);
    let (mut looks, mut stops, mut last, mut gave_up) = (Vec::<Look>::new(), Vec::new(), BTreeMap::new(), false);
    for line in text.lines().filter(|line| *line != "end") {
        let (key, value) = line.split_once(' ').ok_or_else(|| wrong("\"key value\"", line))?;
        match key {
            "begin" => begin = Some(number(line, value)?),
            "over" => over = Some(number(line, value)?),
            "gave-up" => gave_up = true,
            "look" => looks.push(Look { at: number(line, value)?, values: BTreeMap::new() }),
            "stop" => stops.push(parse_stop(value).ok_or_else(|| wrong("\"stop RESULT CODE STATUS\"", line))?),
            _ if key.starts_with("show.") || key.starts_with("slice.") || key == "start-status" => {
                last.insert(key.to_owned(), value.to_owned());
            }
            _ => {
                let look = looks.last_mut().ok_or_else(|| wrong("a look before its values", line))?;
                look.values.insert(key.to_owned(), number(line, value)?);
            }
        }
    }
    if looks.windows(2).any(|pair| pair[1].at < pair[0].at) {
        return Err(wrong("a clock that only goes forward", "looks out of order"));
    }
    let begin = begin.ok_or_else(|| wrong("a line \"begin\"", ""))?;
    let over = over.ok_or_else(|| wrong("a line \"over\"", ""))?;
    Ok(Trial { begin, over, gave_up, looks, stops, last })
}

fn parse_stop(text: &str) -> Option<Stop> {
    let mut words = text.split(' ').map(str::to_owned);
    let stop = Stop { result: words.next()?, code: words.next()?, status: words.next()? };
    (words.next().is_none() && !stop.status.is_empty()).then_some(stop)
}

impl Trial {
    /// The looks during which the workload itself was up.
    pub fn workload_looks(&self) -> impl Iterator<Item = &Look> {
        self.looks.iter().filter(|look| look.values.contains_key("payload.current"))
    }

    /// The share of one CPU that the unit used from the first to the last look at its running workload.
    pub fn cpu_share(&self) -> Option<f64> {
        let (first, last) = (self.workload_looks().next()?, self.workload_looks().last()?);
        let used = last.values.get("unit.cpu.usage_usec")? - first.values.get("unit.cpu.usage_usec")?;
        (last.at > first.at).then(|| used / 1e6 / (last.at - first.at))
    }

    /// Seconds from systemd's start of the unit to podman's word that the container runs.
    pub fn start_time(&self) -> Option<f64> {
        let at = |key: &str| self.shown(key)?.parse::<f64>().ok().filter(|at| *at > 0.0);
        let took = at("ActiveEnterTimestampMonotonic")? - at("InactiveExitTimestampMonotonic")?;
        (took >= 0.0).then_some(took / 1e6)
    }

    /// What systemd said last about the unit: `show.KEY`.
    pub fn shown(&self, key: &str) -> Option<&str> {
        self.last.get(&format!("show.{key}")).map(String::as_str)
    }

    /// The facts of the whole trial, one reading each.
    ///
    /// # Errors
    /// A final value that is no number.
    pub fn readings(&self) -> Result<Vec<Reading>, Unreadable> {
        const LAST: [(&str, &str, Unit, f64); 9] = [
            ("show.user", "unit.uid", Unit::Count, 1.0),
            ("slice.peak", "memory.peak", Unit::Bytes, 1.0),
            ("slice.swap.peak", "memory.swap.peak", Unit::Bytes, 1.0),
            ("slice.events.max", "memory.events.max", Unit::Count, 1.0),
            ("slice.events.oom_kill", "memory.events.oom_kill", Unit::Count, 1.0),
            ("slice.cpu.usage_usec", "cpu.time", Unit::Seconds, 1e-6),
            ("slice.cpu.throttled_usec", "cpu.throttled", Unit::Seconds, 1e-6),
            ("show.NRestarts", "unit.restarts", Unit::Count, 1.0),
            ("start-status", "unit.start.status", Unit::Count, 1.0),
        ];
        let mut readings = Vec::new();
        for (key, probe, unit, factor) in LAST {
            let Some(raw) = self.last.get(key) else { continue };
            let number: f64 = raw.parse().map_err(|_| Unreadable::new(probe, "a number", raw))?;
            readings.push(Reading::new(probe, number * factor, unit, format!("{key} {raw}")));
        }
        for stop in &self.stops {
            let raw = format!("stop {} {} {}", stop.result, stop.code, stop.status);
            readings.push(Reading::new("unit.result", stop.result.as_str(), Unit::Text, raw.clone()));
            match stop.status.parse::<f64>() {
                Ok(status) => readings.push(Reading::new("unit.status", status, Unit::Count, raw)),
                Err(_) => readings.push(Reading::new("unit.signal", stop.status.as_str(), Unit::Text, raw)),
            }
        }
        for (key, probe) in [("LoadState", "unit.load"), ("ActiveState", "unit.state")] {
            if let Some(seen) = self.shown(key) {
                readings.push(Reading::text(probe, seen));
            }
        }
        if let Some(took) = self.start_time() {
            let raw = "InactiveExitTimestampMonotonic to ActiveEnterTimestampMonotonic";
            readings.push(Reading::new("start.time", took, Unit::Seconds, raw));
        }
        if let Some(share) = self.cpu_share() {
            readings.push(Reading::new("cpu.share", share, Unit::Ratio, "unit.cpu.usage_usec, first and last look"));
        }
        readings.extend(self.while_running());
        Ok(readings)
    }

    /// Memory while the workload was up: at each look what was in use and what was left of the limit; and the
    /// memory that the guest and its helpers have of their own, by their cgroups.
    fn while_running(&self) -> Vec<Reading> {
        let bytes = |probe: &str, value: f64, raw: String| Reading::new(probe, value, Unit::Bytes, raw);
        let mut readings = Vec::new();
        for look in self.workload_looks() {
            let of = |key: &str| look.values.get(key).copied();
            if let Some(current) = of("unit.current") {
                readings.push(bytes("memory.running", current, format!("unit.current {current}")));
            }
            if let (Some(max), Some(current)) = (of("unit.max"), of("unit.current")) {
                let raw = format!("unit.max {max} less unit.current {current}");
                readings.push(bytes("memory.headroom", (max - current).max(0.0), raw));
            }
            if let Some(available) = of("available") {
                readings.push(bytes("memory.available", available, format!("MemAvailable {available}")));
            }
        }
        let peaks = self.looks.iter().filter_map(|look| look.values.get("unit.peak").copied());
        if let Some(peak) = peaks.reduce(f64::max) {
            readings.push(bytes("memory.unit.peak", peak, format!("unit.peak {peak}")));
        }
        // Page cache is charged to whoever read a file first, so it says little of who takes what: memory of their own
        // does, and it stands still while the guest is at work.
        let own = |look: &Look| look.values.get("payload.anon").copied().unwrap_or_default();
        let most = self.looks.iter().map(own).fold(0.0, f64::max);
        for (key, probe) in [("payload.anon", "memory.guest"), ("runtime.anon", "memory.helpers")] {
            // Before the guest has loaded, its control group holds the runtime that is about to become it.
            let at_work = self.looks.iter().filter(|look| most > 0.0 && own(look) > most / 2.0);
            let values: Vec<f64> = at_work.filter_map(|look| look.values.get(key).copied()).collect();
            if let Some(middle) = median(&values) {
                readings.push(bytes(probe, middle, format!("{key}, median of {} looks", values.len())));
            }
        }
        readings
    }

    /// Each value of each look, with its time in seconds since boot.
    pub fn timeline(&self) -> impl Iterator<Item = (f64, Reading)> + '_ {
        self.looks.iter().flat_map(|look| {
            look.values.iter().map(|(key, value)| {
                let raw = format!("{key} {value}");
                let reading = match key.strip_suffix(".usage_usec") {
                    Some(subject) => Reading::new(&format!("timeline.{subject}"), value / 1e6, Unit::Seconds, raw),
                    None => Reading::new(&format!("timeline.{key}"), *value, Unit::Bytes, raw),
                };
                (look.at, reading)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Value;

    const RECORDED: &str = include_str!("../../fixtures/probes/trial-hello.txt");

    fn value(readings: &[Reading], probe: &str) -> Option<Value> {
        readings.iter().find(|reading| reading.probe == probe).map(|reading| reading.value.clone())
    }

    #[test]
    fn a_recorded_trial_tells_how_it_ended_and_what_it_took() {
        let trial = parse(RECORDED).unwrap();
        let readings = trial.readings().unwrap();
        assert_eq!(trial.stops, [Stop { result: "success".into(), code: "exited".into(), status: "0".into() }]);
        assert_eq!(value(&readings, "unit.status"), Some(Value::Number(0.0)));
        assert_eq!(value(&readings, "unit.result"), Some(Value::Text("success".into())));
        assert!(matches!(value(&readings, "memory.peak"), Some(Value::Number(peak)) if peak > 1e6));
        assert!(matches!(value(&readings, "memory.guest"), Some(Value::Number(own)) if (2.4e6..2.8e6).contains(&own)));
        assert!(matches!(value(&readings, "memory.helpers"), Some(Value::Number(own)) if (7e6..8e6).contains(&own)));
        assert!(trial.workload_looks().count() >= 5, "a workload of ten seconds is looked at each second");
        assert!(trial.timeline().any(|(_, reading)| reading.probe == "timeline.payload.anon"));
    }

    #[test]
    fn output_that_was_cut_off_garbled_or_absurd_is_no_trial() {
        let cut = &RECORDED[..RECORDED.len() / 2];
        assert!(parse(cut).unwrap_err().to_string().contains("closes with"));
        assert!(parse("").unwrap_err().to_string().contains("saw nothing"));
        assert!(parse("begin 1\nlook 2\nunit.current -5\nover 3\nend\n").is_err());
        assert!(parse("begin 1\nlook 5\nlook 2\nover 6\nend\n").unwrap_err().to_string().contains("forward"));
        assert!(parse("begin 1\nstop success\nover 2\nend\n").is_err());
    }

    #[test]
    fn a_unit_that_never_stopped_has_no_status_to_hold_against_it() {
        let trial = parse("begin 1\nover 2\nshow.ExecMainStatus 0\nshow.Result success\nend\n").unwrap();
        assert_eq!(value(&trial.readings().unwrap(), "unit.status"), None);
    }
}
