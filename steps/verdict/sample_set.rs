//! What checks are about: the samples of one thing, and where they were to be taken.

use crate::base::unit::Unit;
use crate::measurement::Sample;
use crate::verdict::{Check, Judged, Rule, Source};

/// What is put to the proof: its samples, and the files of the run they were read from.
#[derive(Clone, Debug, Default)]
pub struct SampleSet {
    /// The samples.
    pub samples: Vec<Sample>,
    /// Where they are from: each of these was to give some.
    pub sources: Vec<Source>,
    /// Relative to the folder of the run.
    pub files: Vec<String>,
    /// The numbers in the transcript of the commands it came of.
    pub commands: Vec<u64>,
}

impl SampleSet {
    /// Takes in another subject: what is said is then said of both.
    pub fn extend(&mut self, other: SampleSet) {
        self.samples.extend(other.samples);
        self.sources.extend(other.sources);
        self.files.extend(other.files);
        self.commands.extend(other.commands);
    }

    /// Asks all samples of a probe whether they keep a rule. Where there is none, in another unit, of another place or
    /// time, or none of a source that was to give one, the answer is inconclusive.
    pub fn check(&self, probe: &str, unit: Unit, rule: Rule) -> Judged {
        let mine = self.samples.iter().filter(|sample| sample.probe == probe).map(|sample| sample.id).collect();
        let check = Check { probe: probe.to_owned(), unit, rule, sources: self.sources.clone(), samples: mine };
        check.judge(&self.samples)
    }
}
