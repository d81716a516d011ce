//! Lists the probes with their units and plausible ranges. A value outside its range is a measurement error, most often
//! a wrong unit, and must not be judged.

use super::Value;
use crate::base::unit::Unit;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
const GIB: f64 = 1024.0 * MIB;
const TIB: f64 = 1024.0 * GIB;
const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
/// Longer than any trial may take.
const TRIAL: f64 = 15.0 * MINUTE;
const MANY: f64 = 1e9;

/// The probes of a log of which a part may be missing, and of one of which only a part is kept. Their values say why.
pub const LOST: &str = "log.lost";
pub const CUT: &str = "log.cut";

/// The probes of a limit that is not enforced, and of what is not accounted with it: their values say why.
pub const NO_MEMORY: &str = "limit.lost.memory";
pub const NO_CPU: &str = "limit.lost.cpu";

/// What probes may yield.
struct ProbeEntry {
    /// The probes' names; one that ends with a dot or a space is a prefix. Without any, it is that of an unlisted probe.
    names: &'static [&'static str],
    unit: Unit,
    low: f64,
    high: f64,
    /// Allowed beginnings of a text; empty allows any.
    begins: &'static [&'static str],
}

const fn entry(names: &'static [&'static str], unit: Unit, low: f64, high: f64) -> ProbeEntry {
    ProbeEntry { names, unit, low, high, begins: &[] }
}

const fn bytes(names: &'static [&'static str], low: f64, high: f64) -> ProbeEntry {
    entry(names, Unit::Bytes, low, high)
}

const fn seconds(names: &'static [&'static str], low: f64, high: f64) -> ProbeEntry {
    entry(names, Unit::Seconds, low, high)
}

const fn count(names: &'static [&'static str], low: f64, high: f64) -> ProbeEntry {
    entry(names, Unit::Count, low, high)
}

const fn text(names: &'static [&'static str], begins: &'static [&'static str]) -> ProbeEntry {
    ProbeEntry { names, unit: Unit::Text, low: 0.0, high: 0.0, begins }
}

/// Judged probes, and those measured beside them. The first entry with a probe's name, or a beginning of it, counts.
const ENTRIES: &[ProbeEntry] = &[
    count(&["build.status", "run.status", "unit.status", "unit.start.status"], 0.0, 255.0),
    count(&["build.modules", "image.layers"], 0.0, 1e3),
    count(&["image.files", "log.readings"], 0.0, 1e6),
    count(&["unit.restarts", "ami.newer"], 0.0, 1e4),
    count(&["unit.uid"], 0.0, 4_294_967_294.0),
    bytes(&["module.size"], 100.0, GIB),
    // Every image is at least as large as its own configuration.
    bytes(&["image.size", "image.transfer"], 200.0, 64.0 * GIB),
    // Each registry answers with a manifest at least.
    bytes(&["pull.served"], 200.0, 64.0 * GIB),
    seconds(&["pull.time", "cold.start"], 1e-3, HOUR),
    text(&["ecr.uri"], &["public.ecr.aws/", "RepositoryAlreadyExistsException: "]),
    text(&["repository.state"], &["public.ecr.aws/", "RepositoryNotFoundException"]),
    text(&["repository.pull"], &["refused: ", "pulled "]),
    count(&["machine.cpus"], 1.0, 4096.0),
    bytes(&["machine.memory"], 16.0 * MIB, 64.0 * TIB),
    seconds(&["setup."], 0.0, HOUR),
    // A whole run in the cloud. Starting an instance alone takes longer than the lower bound.
    seconds(&["run.time"], 10.0, 12.0 * HOUR),
    // The guest moves its clock by 50 ms; a native clock that stands still has moved by 0.
    seconds(&["guest.clock"], 0.0, MINUTE),
    text(&["sandbox."], &["refused", "reached"]),
    text(&["guest.threads"], &["refused: ", "spawned"]),
    seconds(&["log.spacing", "log.duration"], 0.0, TRIAL),
    text(&["limit.memory.unset", "limit.cpu.unset"], &["infinity"]),
    bytes(&["limit.memory"], 4.0 * KIB, 64.0 * TIB),
    entry(&["limit.cpu"], Unit::Ratio, 0.0, 4096.0),
    // A unit's use of resources. Podman alone exceeds the lower bounds, and starting it takes more than 10 ms.
    bytes(&["memory.peak", "memory.unit.peak", "memory.running"], 256.0 * KIB, TIB),
    bytes(
        &["memory.anon", "memory.guest", "memory.guest.peak", "memory.helpers", "memory.helpers.peak"],
        64.0 * KIB,
        TIB,
    ),
    bytes(&["memory.kernel"], 4.0 * KIB, TIB),
    bytes(&["memory.headroom", "memory.swap.peak", "memory.file"], 0.0, TIB),
    bytes(&["memory.available"], 0.0, 64.0 * TIB),
    count(&["memory.events.high", "memory.events.max", "memory.events.oom", "memory.events.oom_kill"], 0.0, MANY),
    // When the unit is over, and while it runs.
    seconds(&["cpu.time", "cpu.running"], 5e-3, HOUR),
    bytes(&["io.read", "io.written"], 0.0, TIB),
    seconds(&["cpu.throttled"], 0.0, HOUR),
    // Share of one CPU. Ten percent written as 10 is out of range.
    entry(&["cpu.share"], Unit::Ratio, 0.0, 8.0),
    seconds(&["start."], 0.01, TRIAL),
    // The cost of watching.
    seconds(&["sampler.cpu.time", "session.cpu.time"], 0.0, TRIAL),
    entry(&["sampler.cpu.share"], Unit::Ratio, 0.0, 1.0),
    bytes(&["sampler.memory"], 64.0 * KIB, 64.0 * MIB),
    bytes(&["session.memory"], 64.0 * KIB, GIB),
    // A conventional container compared with the workload.
    entry(&["ratio."], Unit::Times, 1e-3, 1e6),
    // Costs. AWS bills at least a minute; the total starts at a minute of the smallest instance.
    seconds(&["cost.billed"], MINUTE, 12.0 * HOUR),
    seconds(&["cost.cpu"], 0.0, 48.0 * HOUR),
    entry(&["cost.total"], Unit::Dollars, 5e-5, 10.0),
    entry(&["cost.instance"], Unit::Dollars, 1e-5, 10.0),
    entry(&["cost.address"], Unit::Dollars, 1e-5, 1.0),
    entry(&["cost.disk"], Unit::Dollars, 1e-6, 10.0),
    entry(&["cost.surplus"], Unit::Dollars, 0.0, 10.0),
    // 1 if correct, 0 if not.
    count(&["arithmetic: "], 0.0, 1.0),
    text(&["build.compiler", "build.sha256", "module.imports", "module.sha256", "module.export."], &[]),
    text(&["image.platform", "image.base", "image.digest", "image.file", "image.entrypoint", "image.annotation."], &[]),
    text(&["push.digest", "push.result", "pull.auth-file", "pull.digest", "pull.environment", "pull.inspected"], &[]),
    text(&["pull.result", "pull.token", "machine.ami", "machine.architecture", "podman.version", "ami.owner"], &[]),
    text(&["crun.features", "run.error", "unit.load", "unit.result", "unit.signal", "unit.state"], &[]),
    text(&["left.cloud", "left.images", "left.quadlets", "left.units"], &[]),
    text(&["log.completion", "log.greeting", "log.temperatures", "log.text"], &[]),
];

/// Returns the names of all probes; one that ends with a dot or a space is a prefix.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().flat_map(|entry| entry.names).copied()
}

/// Returns whether a probe is listed.
pub fn is_listed(probe: &str) -> bool {
    ENTRIES.iter().any(|entry| entry.is_of(probe))
}

/// Checks whether a value is plausible for a probe, and says what was expected if it is not. For a probe that is not
/// listed, accepts any text without a unit, and finite numbers that, except for temperatures, are not negative.
pub fn plausible(probe: &str, unit: Unit, value: &Value) -> Result<(), String> {
    let listed = ENTRIES.iter().find(|entry| entry.is_of(probe));
    let unlisted = entry(&[], unit, if unit == Unit::Celsius { -273.15 } else { 0.0 }, f64::MAX);
    let expected = listed.unwrap_or(&unlisted);
    match expected.allows(unit, value) {
        true => Ok(()),
        false => Err(format!("{probe}: {} is not plausible: expected {}", value.format(unit), expected.render())),
    }
}

impl ProbeEntry {
    fn is_of(&self, probe: &str) -> bool {
        self.names.iter().any(|name| match name.ends_with(['.', ' ']) {
            true => probe.starts_with(name),
            false => probe == *name,
        })
    }

    fn whole(&self) -> bool {
        matches!(self.unit, Unit::Bytes | Unit::Count) && !self.names.is_empty()
    }

    fn allows(&self, unit: Unit, value: &Value) -> bool {
        if unit != self.unit {
            return false;
        }
        match value {
            Value::Text(text) => {
                let begins = self.begins.is_empty() || self.begins.iter().any(|begin| text.starts_with(begin));
                unit == Unit::Text && !text.trim().is_empty() && begins
            }
            Value::Number(number) => {
                unit != Unit::Text
                    && (self.low..=self.high).contains(number)
                    && (!self.whole() || number.fract() == 0.0)
            }
        }
    }

    fn render(&self) -> String {
        let kind = if self.whole() { "a whole number, " } else { "" };
        match self.unit {
            Unit::Text => "a text that says something".to_owned(),
            unit if self.high == f64::MAX => format!("a number from {}", bound(unit, self.low)),
            unit => format!("{kind}{} to {}", bound(unit, self.low), bound(unit, self.high)),
        }
    }
}

/// Formats a bound; sizes that are multiples of a power of 1024 use that unit.
fn bound(unit: Unit, value: f64) -> String {
    let sizes = [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    match sizes.into_iter().find(|(size, _)| unit == Unit::Bytes && value >= *size && value % size == 0.0) {
        Some((size, name)) => format!("{} {name}", value / size),
        None => unit.format(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::{journal, trial};

    fn judge(probe: &str, unit: Unit, value: f64) -> Result<(), String> {
        plausible(probe, unit, &Value::Number(value))
    }

    #[test]
    fn everything_that_was_recorded_is_plausible_and_every_probe_of_a_trial_is_listed() {
        let trial = trial::parse(include_str!("../../fixtures/probes/trial-hello.txt")).unwrap();
        let recorded = include_str!("../../fixtures/probes/journal-hello.jsonl");
        let lines = journal::parse(recorded, &trial.boot, "assay-mark").unwrap().lines;
        let mut readings = trial.readings().unwrap();
        readings.extend(journal::readings(&journal::workload(&lines)));
        readings.extend(journal::startup(&lines));
        for reading in &readings {
            assert!(ENTRIES.iter().any(|entry| entry.is_of(&reading.probe)), "{reading:?}");
        }
        readings.extend(trial.timeline().map(|(_, reading)| reading));
        assert!(readings.len() > 100);
        for reading in readings {
            assert_eq!(plausible(&reading.probe, reading.unit, &reading.value), Ok(()), "{reading:?}");
        }
    }

    #[test]
    fn every_probe_that_is_judged_is_in_the_catalogue() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/steps/e2e");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let texts = files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap());
        let steps: Vec<String> = texts.collect();
        let calls = steps.iter().flat_map(|text| text.split("world.check").skip(1));
        let named = calls.filter_map(|call| Some(call.split_once('\n')?.0.split_once("(\"")?.1.split_once('"')?.0));
        let mut judged = 0;
        for probe in named {
            let known = ENTRIES.iter().any(|entry| entry.is_of(probe));
            assert!(known, "{probe} is judged and has no line in ENTRIES");
            judged += 1;
        }
        assert!(judged > 40, "{judged} are judged");
    }

    #[test]
    fn what_the_annex_measured_is_plausible_and_off_by_a_prefix_it_is_not() {
        for (probe, unit, published, factors) in [
            ("memory.peak", Unit::Bytes, 17_800_192.0, [1e-3, 1e-6, 1e6]),
            ("machine.memory", Unit::Bytes, 430_964_736.0, [1.0 / 1024.0, 1e-6, 1e6]),
            ("module.size", Unit::Bytes, 85_000.0, [1e-3, 1e-6, 1e6]),
            ("image.size", Unit::Bytes, 89_500.0, [1e-3, 1e-6, 1e6]),
            ("cpu.time", Unit::Seconds, 0.0791, [1e-3, 1e-6, 1e6]),
            ("start.time", Unit::Seconds, 1.1, [1e-3, 1e3, 1e6]),
            ("start.output", Unit::Seconds, 1.1, [1e-3, 1e3, 1e6]),
            ("log.spacing", Unit::Seconds, 2.0, [1e3, 1e6, 1e9]),
            ("log.duration", Unit::Seconds, 10.0, [1e3, 1e6, 1e9]),
            ("cpu.share", Unit::Ratio, 0.1, [1e2, 1e3, 1e6]),
            ("cost.total", Unit::Dollars, 0.0042, [1e-3, 1e-6, 1e6]),
            ("run.time", Unit::Seconds, 2700.0, [1e-3, 1e3, 1e6]),
        ] {
            assert_eq!(judge(probe, unit, published), Ok(()));
            for factor in factors {
                let off = published * factor;
                // Rounded, so that only the range can reject them.
                let off = if unit == Unit::Bytes { off.round() } else { off };
                assert!(judge(probe, unit, off).is_err(), "{probe} times {factor}");
            }
        }
    }

    #[test]
    fn a_value_is_of_its_probes_unit_and_within_its_range() {
        let number = Value::Number;
        let peak = "expected a whole number, 256 KiB to 1 TiB";
        let (text, anything) = ("expected a text that says something", "expected a number from 0 s");
        for (probe, unit, value, error) in [
            ("unit.status", Unit::Count, number(7.0), None),
            ("unit.status", Unit::Count, number(7.5), Some("expected a whole number, 0 to 255")),
            ("unit.status", Unit::Count, number(256.0), Some("expected a whole number, 0 to 255")),
            ("unit.status", Unit::Count, "7".into(), Some("expected a whole number, 0 to 255")),
            ("unit.status", Unit::Text, "7".into(), Some("expected a whole number, 0 to 255")),
            ("run.status", Unit::Count, number(-1.0), Some("expected a whole number, 0 to 255")),
            ("machine.cpus", Unit::Count, number(0.0), Some("expected a whole number, 1 to 4096")),
            ("memory.peak", Unit::Bytes, number(37_576_704.0), None),
            ("memory.peak", Unit::Bytes, number(37_576_704.5), Some(peak)),
            ("memory.peak", Unit::Bytes, number(37.0), Some(peak)),
            ("memory.peak", Unit::Seconds, number(1.0), Some(peak)),
            ("start.time", Unit::Seconds, number(1100.0), Some("expected 10 ms to 900 s")),
            ("module.export._start", Unit::Text, "function".into(), None),
            ("unit.load", Unit::Text, "loaded".into(), None),
            ("unit.load", Unit::Count, number(1.0), Some(text)),
            ("image.annotation.variant", Unit::Text, number(1.0), Some(text)),
            ("guest.threads", Unit::Text, "refused: not supported".into(), None),
            ("guest.threads", Unit::Text, "r?f?s?d".into(), Some(text)),
            // What is not in the catalogue must still be possible.
            ("a.new.one", Unit::Text, "x".into(), None),
            ("a.new.one", Unit::Text, " ".into(), Some(text)),
            ("a.new.one", Unit::Bytes, number(0.5), None),
            ("a.new.one", Unit::Celsius, number(-20.0), None),
            ("a.new.one", Unit::Celsius, number(-300.0), Some("expected a number from -273.1 °C")),
            ("a.new.one", Unit::Seconds, number(-1.0), Some(anything)),
            ("a.new.one", Unit::Seconds, number(f64::NAN), Some(anything)),
            ("a.new.one", Unit::Seconds, number(f64::INFINITY), Some(anything)),
            ("a.new.one", Unit::Seconds, "1 s".into(), Some(anything)),
        ] {
            let seen = value.format(unit);
            let error = error.map(|expected| format!("{probe}: {seen} is not plausible: {expected}"));
            assert_eq!(plausible(probe, unit, &value).err(), error, "{probe} {value:?}");
        }
    }
}
