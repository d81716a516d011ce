//! Holds the samples of one subject, and where they should come from.

use crate::base::unit::Unit;
use crate::measurement::catalogue::{CUT, LOST, NO_CPU, NO_MEMORY};
use crate::measurement::{Sample, Value};
use crate::verdict::{Check, Judged, Rule, Source};

/// The samples of a subject, with the files that they were read from.
#[derive(Clone, Debug, Default)]
pub struct SampleSet {
    /// The samples.
    pub samples: Vec<Sample>,
    /// The expected origins; each must have given at least one sample.
    pub sources: Vec<Source>,
    /// The files, relative to the folder of the run.
    pub files: Vec<String>,
    /// The numbers in the transcript of the commands that made the subject.
    pub commands: Vec<u64>,
}

impl SampleSet {
    /// Adds another set, so that checks then cover both.
    pub fn extend(&mut self, other: SampleSet) {
        self.samples.extend(other.samples);
        self.sources.extend(other.sources);
        self.files.extend(other.files);
        self.commands.extend(other.commands);
    }

    /// Returns why the samples of a probe of a log cannot be judged, if a part of the log may be missing. What stands in
    /// the rest still counts: a text that was found is no less there.
    pub fn missing_log(&self, probe: &str, rule: &Rule) -> Option<&str> {
        let mut mine = self.of(probe);
        let found = mine.all(|sample| rule.accepts(&sample.value) == Some(true));
        if !probe.starts_with("log.") || (matches!(rule, Rule::Contains { .. }) && found) {
            return None;
        }
        self.text(LOST).or_else(|| self.text(CUT).filter(|_| probe == "log.text"))
    }

    /// Returns why the samples of a probe cannot be judged, if they rest on a limit that was not enforced.
    pub fn missing_limit(&self, probe: &str) -> Option<&str> {
        match probe {
            "limit.cpu" | "cpu.share" | "cpu.throttled" | "start.time" => self.text(NO_CPU),
            _ if probe == "limit.memory" || probe.starts_with("memory.") => self.text(NO_MEMORY),
            _ => None,
        }
    }

    fn of<'a>(&'a self, probe: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.probe == probe)
    }

    fn text<'a>(&'a self, probe: &'a str) -> Option<&'a str> {
        self.of(probe).find_map(|sample| match &sample.value {
            Value::Text(text) => Some(text.as_str()),
            Value::Number(_) => None,
        })
    }

    /// Judges all samples of a probe against a rule. The result is inconclusive if there are none, if one has another
    /// unit, origin or time, or if a source gave none.
    pub fn check(&self, probe: &str, unit: Unit, rule: Rule) -> Judged {
        let mine = self.of(probe).map(|sample| sample.id).collect();
        let check = Check { probe: probe.to_owned(), unit, rule, sources: self.sources.clone(), samples: mine };
        check.judge(&self.samples)
    }
}
