//! Holds the samples of one subject, and where they should come from.

use crate::base::unit::Unit;
use crate::measurement::Sample;
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

    /// Judges all samples of a probe against a rule. The result is inconclusive if there are none, if one has another
    /// unit, origin or time, or if a source gave none.
    pub fn check(&self, probe: &str, unit: Unit, rule: Rule) -> Judged {
        let mine = self.samples.iter().filter(|sample| sample.probe == probe).map(|sample| sample.id).collect();
        let check = Check { probe: probe.to_owned(), unit, rule, sources: self.sources.clone(), samples: mine };
        check.judge(&self.samples)
    }
}
