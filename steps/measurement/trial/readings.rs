//! Turns a trial into readings.

use super::{Trial, UnitLook, number};
use crate::base::stats::median;
use crate::base::unit::{Duration, Unit};
use crate::measurement::catalogue::{NO_CPU, NO_MEMORY};
use crate::measurement::{Reading, Unreadable};

impl Trial {
    /// Returns the trial's readings, without its timeline.
    pub fn readings(&self) -> Result<Vec<Reading>, Unreadable> {
        const WHOLE: [(&str, &str, Unit, f64); 15] = [
            ("show.user", "unit.uid", Unit::Count, 1.0),
            ("slice.peak", "memory.peak", Unit::Bytes, 1.0),
            ("slice.swap.peak", "memory.swap.peak", Unit::Bytes, 1.0),
            ("slice.events.high", "memory.events.high", Unit::Count, 1.0),
            ("slice.events.max", "memory.events.max", Unit::Count, 1.0),
            ("slice.events.oom", "memory.events.oom", Unit::Count, 1.0),
            ("slice.events.oom_kill", "memory.events.oom_kill", Unit::Count, 1.0),
            ("slice.cpu.usage_usec", "cpu.time", Unit::Seconds, 1e-6),
            ("slice.cpu.throttled_usec", "cpu.throttled", Unit::Seconds, 1e-6),
            ("show.NRestarts", "unit.restarts", Unit::Count, 1.0),
            ("start-status", "unit.start.status", Unit::Count, 1.0),
            ("sampler.usage_usec", "sampler.cpu.time", Unit::Seconds, 1e-6),
            ("sampler.memory", "sampler.memory", Unit::Bytes, 1.0),
            ("session.usage_usec", "session.cpu.time", Unit::Seconds, 1e-6),
            ("session.anon", "session.memory", Unit::Bytes, 1.0),
        ];
        let mut readings = Vec::new();
        for (key, probe, unit, factor) in WHOLE {
            let Some(raw) = self.last.get(key) else { continue };
            let number = number(raw, raw).map_err(|_| Unreadable::new(probe, "a number that is not negative", raw))?;
            readings.push(Reading::new(probe, number * factor, unit, format!("{key} {raw}")));
        }
        // How it ended when its time was over is the doing of the one who killed it.
        let own = self.last.get("killed-after").map(|raw| number(raw, raw)).transpose()?;
        for stop in self.stops.iter().take(own.map_or(usize::MAX, |count| count as usize)) {
            let raw = format!("stop {} {} {}", stop.result, stop.code, stop.status);
            readings.push(Reading::new("unit.result", stop.result.as_str(), Unit::Text, raw.clone()));
            match stop.status.parse::<f64>() {
                Ok(status) => readings.push(Reading::new("unit.status", status, Unit::Count, raw)),
                Err(_) if stop.code == "none" => {}
                Err(_) => readings.push(Reading::new("unit.signal", stop.status.as_str(), Unit::Text, raw)),
            }
        }
        for (key, probe) in [("LoadState", "unit.load"), ("ActiveState", "unit.state")] {
            if let Some(seen) = self.shown(key) {
                // With RemainAfterExit=yes, a unit stays active when all its processes have ended.
                let exited = (seen, self.shown("SubState")) == ("active", Some("exited"));
                readings.push(Reading::text(probe, if exited { "active (exited)" } else { seen }));
            }
        }
        readings.extend(self.limits()?);
        readings.extend(self.disk()?);
        let looks = "unit.cpu.usage_usec, first and last look";
        let computed = [
            self.started(),
            self.cpu_share().map(|share| Reading::new("cpu.share", share, Unit::Ratio, looks)),
            self.sampler_share().map(|share| {
                Reading::new("sampler.cpu.share", share, Unit::Ratio, "sampler.usage_usec, from begin to over")
            }),
        ];
        readings.extend(computed.into_iter().flatten());
        readings.extend(self.while_running());
        readings.extend(self.by_kind());
        let infinite = |reading: &&Reading| reading.value.number().is_some_and(|number| !number.is_finite());
        match readings.iter().find(infinite) {
            Some(Reading { probe, raw, .. }) => Err(Unreadable::new(probe, "a finite number", raw)),
            None => Ok(readings),
        }
    }

    /// Returns how long the unit took to start.
    pub fn started(&self) -> Option<Reading> {
        let times = "InactiveExitTimestampMonotonic to ActiveEnterTimestampMonotonic";
        self.start_time().map(|took| Reading::new("start.time", took, Unit::Seconds, times))
    }

    fn limits(&self) -> Result<Vec<Reading>, Unreadable> {
        let mut readings = Vec::new();
        let shown = |key: &str| self.shown(key).filter(|raw| *raw != "infinity");
        for (key, probe) in [("MemoryMax", "limit.memory.unset"), ("CPUQuotaPerSecUSec", "limit.cpu.unset")] {
            if self.shown(key) == Some("infinity") {
                readings.push(Reading::text(probe, "infinity"));
            }
        }
        if let Some(raw) = shown("MemoryMax") {
            let wrong = |_| Unreadable::new("limit.memory", "a number that is not negative", raw);
            let limit = Reading::new("limit.memory", number(raw, raw).map_err(wrong)?, Unit::Bytes, raw);
            let max = |look: &UnitLook| look.values.get("unit.max").copied();
            // The kernel counts in pages, the largest of which have 64 KiB.
            readings.push(self.enforced("memory", &format!("MemoryMax={raw}"), limit, max, 65_536.0));
        } else if self.lacks("memory") {
            let reason = "no memory controller on the machine: what its units use is not accounted";
            readings.push(Reading::text(NO_MEMORY, reason));
        }
        if let Some(raw) = shown("CPUQuotaPerSecUSec") {
            let wrong = || Unreadable::new("limit.cpu", "a time such as 100ms or 1s 500ms", raw);
            let words = raw.split(' ').map(|word| word.parse::<Duration>().ok().map(Duration::value));
            let seconds = words.sum::<Option<f64>>().ok_or_else(wrong)?;
            let quota = |look: &UnitLook| {
                let period = look.values.get("unit.period_usec").filter(|us| **us > 0.0)?;
                Some(look.values.get("unit.quota_usec")? / period)
            };
            let limit = Reading::new("limit.cpu", seconds, Unit::Ratio, raw);
            readings.push(self.enforced("cpu", &format!("CPUQuota={raw}/s"), limit, quota, seconds / 100.0));
        }
        Ok(readings)
    }

    /// Returns the bytes that were read from disks and written to them, if the control group counts them: by device, such
    /// as `slice.io.254:0 rbytes=4096 wbytes=0 rios=1`.
    fn disk(&self) -> Result<Vec<Reading>, Unreadable> {
        let devices: Vec<&str> = self
            .last
            .iter()
            .filter(|(key, _)| key.starts_with("slice.io."))
            .map(|(_, counts)| counts.as_str())
            .collect();
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let total = |(key, probe): (&str, &str)| {
            let raw = devices.join("; ");
            let count = |counts: &&str| counts.split(' ').find_map(|word| word.strip_prefix(key)?.parse::<f64>().ok());
            let counts: Option<Vec<f64>> = devices.iter().map(count).collect();
            let counts = counts.ok_or_else(|| Unreadable::new(probe, &format!("{key}NUMBER for each disk"), &raw))?;
            Ok(Reading::new(probe, counts.iter().sum::<f64>(), Unit::Bytes, raw))
        };
        [("rbytes=", "io.read"), ("wbytes=", "io.written")].into_iter().map(total).collect()
    }

    /// Returns whether the machine lacks a control group controller.
    fn lacks(&self, controller: &str) -> bool {
        self.last.get("controllers").is_some_and(|all| all.split(' ').all(|one| one != controller))
    }

    /// Returns a limit that systemd shows, or why it is not enforced: there is no controller, or the control group had
    /// another limit, by more than `off`, while the workload was up.
    fn enforced(
        &self,
        controller: &str,
        shown: &str,
        limit: Reading,
        of: impl Fn(&UnitLook) -> Option<f64>,
        off: f64,
    ) -> Reading {
        let read = self.looks.iter().any(UnitLook::is_up) && self.last.contains_key("controllers");
        let set = limit.value.number().unwrap_or_default();
        let reason = match self.looks.iter().find_map(of) {
            _ if self.lacks(controller) => {
                format!("no {controller} controller on the machine: {shown} is not enforced")
            }
            _ if !read => return limit,
            Some(enforced) if (enforced - set).abs() <= off => return limit,
            Some(enforced) => format!("{shown} is not enforced: the control group says {enforced}"),
            None => format!("{shown} is not enforced: the control group says no limit"),
        };
        let lost = if controller == "memory" { NO_MEMORY } else { NO_CPU };
        Reading::new(lost, reason.as_str(), Unit::Text, limit.raw)
    }

    /// Returns the memory while the workload was up: at each look the current use and what was left of the limit, and
    /// the median anonymous memory of the guest's and its helpers' control groups.
    fn while_running(&self) -> Vec<Reading> {
        let bytes = |probe: &str, value: f64, raw: String| Reading::new(probe, value, Unit::Bytes, raw);
        let mut readings = Vec::new();
        // It is read only once, perhaps before the workload itself is up.
        let limit = self.looks.iter().find_map(|look| look.values.get("unit.max").copied());
        for look in self.looks.iter().filter(|look| look.is_up()) {
            let of = |key: &str| look.values.get(key).copied();
            if let Some(current) = of("unit.current") {
                readings.push(bytes("memory.running", current, format!("unit.current {current}")));
            }
            if let (Some(max), Some(current)) = (limit, of("unit.current")) {
                let raw = format!("unit.max {max} less unit.current {current}");
                readings.push(bytes("memory.headroom", (max - current).max(0.0), raw));
            }
            if let Some(available) = of("available") {
                readings.push(bytes("memory.available", available, format!("MemAvailable {available}")));
            }
        }
        // Page cache is charged to the process that read a file first, so it says little about who uses memory.
        // Anonymous memory does, and it is constant while the guest works.
        let own = |look: &UnitLook| look.values.get("payload.anon").copied().unwrap_or_default();
        let most = self.looks.iter().map(own).fold(0.0, f64::max);
        for (key, probe) in [("payload.anon", "memory.guest"), ("runtime.anon", "memory.helpers")] {
            // Before the guest has loaded, its control group holds the runtime that will become it.
            let at_work = self.looks.iter().filter(|look| most > 0.0 && own(look) > most / 2.0);
            let values: Vec<f64> = at_work.filter_map(|look| look.values.get(key).copied()).collect();
            if let Some(middle) = median(&values) {
                readings.push(bytes(probe, middle, format!("{key}, median of {} looks", values.len())));
            }
        }
        readings
    }

    /// Returns the maximum of each kind of memory, of each control group's memory, and of the CPU time. For the unit's
    /// CPU time, anonymous memory, page cache and kernel memory, it is the largest value of all looks while the workload
    /// was up. For the unit, its guest and its helpers, it is the kernel's peak; the guest's includes the runtime that
    /// became it.
    fn by_kind(&self) -> Vec<Reading> {
        let kinds = [
            ("unit.cpu.usage_usec", "cpu.running", true),
            ("unit.anon", "memory.anon", true),
            ("unit.file", "memory.file", true),
            ("unit.kernel", "memory.kernel", true),
            ("unit.peak", "memory.unit.peak", false),
            ("payload.peak", "memory.guest.peak", false),
            ("runtime.peak", "memory.helpers.peak", false),
        ];
        let most = |(key, probe, only_up): (&str, &str, bool)| {
            let looks = self.looks.iter().filter(|look| !only_up || look.is_up());
            let most = looks.filter_map(|look| look.values.get(key).copied()).reduce(f64::max)?;
            let (value, unit) = quantity(key, most);
            Some(Reading::new(probe, value, unit, format!("{key} {most}, the most of all looks")))
        };
        kinds.into_iter().filter_map(most).collect()
    }

    fn sampler_share(&self) -> Option<f64> {
        let used: f64 = self.last.get("sampler.usage_usec")?.parse().ok()?;
        (self.over > self.begin).then(|| used / 1e6 / (self.over - self.begin))
    }

    /// Returns each value of each look, with its time in seconds since boot.
    pub fn timeline(&self) -> impl Iterator<Item = (f64, Reading)> + '_ {
        self.looks.iter().flat_map(|look| {
            look.values.iter().map(|(key, value)| {
                let probe = format!("timeline.{}", key.strip_suffix(".usage_usec").unwrap_or(key));
                let (number, unit) = quantity(key, *value);
                (look.at, Reading::new(&probe, number, unit, format!("{key} {value}")))
            })
        })
    }
}

/// Returns a value of a look in the unit that samples have.
fn quantity(key: &str, value: f64) -> (f64, Unit) {
    match key.ends_with(".usage_usec") {
        true => (value / 1e6, Unit::Seconds),
        false => (value, Unit::Bytes),
    }
}
