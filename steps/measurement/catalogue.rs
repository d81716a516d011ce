//! Lists the probes with their units and plausible ranges. A value outside its range is a measurement error, most often
//! a wrong unit, and must not be judged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use super::Value;
use crate::base::nearest::nearest;
use crate::base::unit::{Unit, quantity};
use crate::claims::plan::FeatureFile;
use crate::claims::suite::ClaimSuite;

/// The probes of a log of which a part may be missing, and of one of which only a part is kept. Their values say why.
pub const LOST: &str = "log.lost";
pub const CUT: &str = "log.cut";

/// The probes of a limit that is not enforced, and of what is not accounted with it: their values say why.
pub const NO_MEMORY: &str = "limit.lost.memory";
pub const NO_CPU: &str = "limit.lost.cpu";

/// What probes may yield, as `probes.toml` lists it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeEntry {
    /// The probes' names; one that ends with a dot or a space is a prefix.
    names: Vec<String>,
    unit: Unit,
    /// The smallest and the largest value; a text has none.
    range: Option<[Limit; 2]>,
    /// Allowed beginnings of a text; without any, all are.
    #[serde(default)]
    begins: Vec<String>,
}

/// A quantity in words, such as `64 KiB`, and its value in the unit that samples have.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Limit {
    value: f64,
    text: String,
}

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Limit, String> {
        let value = quantity(&text).ok_or_else(|| format!("\"{text}\" is not a quantity"))?;
        Ok(Limit { value, text })
    }
}

/// The first entry with a probe's name, or a beginning of it, counts.
static ENTRIES: LazyLock<Vec<ProbeEntry>> = LazyLock::new(|| {
    let mut file: BTreeMap<String, Vec<ProbeEntry>> =
        toml::from_str(include_str!("probes.toml")).expect("the list of probes can be read");
    file.remove("probe").expect("the list has probes")
});

/// Returns the names of all probes; one that ends with a dot or a space is a prefix.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().flat_map(|entry| &entry.names).map(String::as_str)
}

/// Says what is wrong with the name of a probe, if no probe has it, and suggests the most similar one.
pub fn unknown_probe(probe: &str) -> Option<String> {
    if is_listed(probe) {
        return None;
    }
    let nearest = nearest(probe, names())?;
    Some(format!("a probe that does not exist, \"{probe}\": did you mean \"{nearest}\"?"))
}

/// Checks that declared deviations are about probes that the steps measure, and about controls of their claims.
pub fn check_deviations(suite: &ClaimSuite) -> anyhow::Result<()> {
    let controls: BTreeSet<String> =
        suite.features.iter().flat_map(FeatureFile::scenarios).map(|expanded| expanded.scenario.name).collect();
    let mistakes = suite.deviations.iter().filter_map(|deviation| {
        let unknown = |control: &String| format!("a control that no feature has, \"{control}\"");
        let control = deviation.control.as_ref().filter(|control| !controls.contains(*control)).map(unknown);
        let probe = deviation.probe.as_deref().and_then(unknown_probe);
        Some(format!("{} names {}", deviation.name(), probe.or(control)?))
    });
    let mistakes: Vec<String> = mistakes.map(|mistake| format!("  features/deviations.toml: {mistake}")).collect();
    anyhow::ensure!(mistakes.is_empty(), "the declared deviations cannot be used:\n{}", mistakes.join("\n"));
    Ok(())
}

/// Returns whether a probe is listed.
pub fn is_listed(probe: &str) -> bool {
    listed(probe).is_some()
}

fn listed(probe: &str) -> Option<&'static ProbeEntry> {
    let is_of = |name: &String| match name.ends_with(['.', ' ']) {
        true => probe.starts_with(name),
        false => probe == name,
    };
    ENTRIES.iter().find(|entry| entry.names.iter().any(is_of))
}

/// Checks whether a value is plausible for a probe, and says what was expected if it is not. For a probe that is not
/// listed, accepts any text without a unit, and finite numbers that, except for temperatures, are not negative.
pub fn plausible(probe: &str, unit: Unit, value: &Value) -> Result<(), String> {
    let entry = listed(probe);
    let (allowed, expected) = match entry {
        Some(entry) => (entry.unit == unit && entry.allows(value), entry.render()),
        None => unlisted(unit, value),
    };
    match allowed {
        true => Ok(()),
        false => Err(format!("{probe}: {} is not plausible: expected {expected}", value.format(unit))),
    }
}

const ANY_TEXT: &str = "a text that says something";

fn unlisted(unit: Unit, value: &Value) -> (bool, String) {
    let least = if unit == Unit::Celsius { -273.15 } else { 0.0 };
    match (unit, value) {
        (Unit::Text, Value::Text(text)) => (!text.trim().is_empty(), ANY_TEXT.to_owned()),
        (Unit::Text, Value::Number(_)) => (false, ANY_TEXT.to_owned()),
        (_, value) => {
            let allowed = value.number().is_some_and(|number| (least..=f64::MAX).contains(&number));
            (allowed, format!("a number from {}", unit.format(least)))
        }
    }
}

impl ProbeEntry {
    fn whole(&self) -> bool {
        matches!(self.unit, Unit::Bytes | Unit::Count)
    }

    fn allows(&self, value: &Value) -> bool {
        match (value, &self.range) {
            (Value::Text(text), None) => {
                let begins = self.begins.is_empty() || self.begins.iter().any(|begin| text.starts_with(begin));
                !text.trim().is_empty() && begins
            }
            (Value::Number(number), Some([low, high])) => {
                (low.value..=high.value).contains(number) && (!self.whole() || number.fract() == 0.0)
            }
            _ => false,
        }
    }

    fn render(&self) -> String {
        let kind = if self.whole() { "a whole number, " } else { "" };
        match &self.range {
            None => ANY_TEXT.to_owned(),
            Some([low, high]) => format!("{kind}{} to {}", low.text, high.text),
        }
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
            assert!(is_listed(&reading.probe), "{reading:?}");
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
            assert!(is_listed(probe), "{probe} is judged and has no line in probes.toml");
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
            ("start.time", Unit::Seconds, number(1100.0), Some("expected 10 ms to 15 min")),
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
