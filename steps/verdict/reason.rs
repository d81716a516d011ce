//! Says why a verdict is what it is, as a value. The sentences about it are made in `report`.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::base::platform::MachineKind;
use crate::base::stats::Interval;
use crate::base::unit::Unit;
use crate::claims::plan::NotJudgedReason;
use crate::measurement::Value;
use crate::verdict::{Rule, Source};

/// Why a check, an attempt, a scenario, a control or a claim has its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// A value within its bound or outside it, or one without a bound.
    Bound(Box<Bound>),
    /// Samples are not there: so many of so many.
    MissingSamples {
        probe: String,
        found: usize,
        wanted: usize,
    },
    /// One of the expected origins gave no sample.
    NoSampleOf {
        probe: String,
        subject: String,
        machine: String,
    },
    /// A sample is of another subject, machine or time than expected; without `expected`, of an unknown subject.
    StraySample {
        probe: String,
        sample: u64,
        subject: String,
        machine: String,
        at: Timestamp,
        expected: Option<Box<Source>>,
    },
    /// A sample is of a machine of another kind than the claim is judged on.
    OtherKind {
        subject: String,
        machine: String,
        machine_kind: MachineKind,
        expected: MachineKind,
    },
    /// A sample is in another unit than the check.
    WrongUnit {
        probe: String,
        value: Value,
        unit: Unit,
        expected: Unit,
    },
    /// No such value can have been measured, or the bound cannot be compared with it.
    Implausible {
        probe: String,
        value: Value,
        unit: Unit,
    },
    /// A time above its bound on an emulated CPU, where the host may be the cause.
    Late {
        probe: String,
        value: f64,
        high: f64,
    },
    /// A ratio is judged only at these numbers of pairs.
    Pairs {
        probe: String,
        pairs: usize,
        looks: Vec<usize>,
    },
    NothingChecked,
    /// Something other than a check ended the scenario. What it said is only shown.
    Infrastructure {
        during: Phase,
        message: String,
    },
    /// It came out as it should only on the last attempt.
    Flaky {
        attempts: usize,
        first: Box<Reason>,
    },
    /// These own scenarios and controls did not run, and the claim needs them.
    NotRun {
        scenarios: Vec<String>,
        controls: Vec<String>,
    },
    /// The check accepted the wrong subjects of these controls.
    ControlNotCaught {
        controls: Vec<String>,
    },
    ControlInconclusive {
        control: String,
        reason: Box<Reason>,
    },
    /// A control's check failed, but not on the probe that the control names.
    OtherFailure {
        probe: Option<String>,
        failure: Box<Reason>,
    },
    Declared {
        by: String,
        until: Date,
        failure: Box<Reason>,
    },
    /// It fails as declared, but the declaration has expired.
    DeclarationExpired {
        on: Date,
        failure: Box<Reason>,
    },
    /// It holds, though a declaration says that it fails here.
    DeclarationNotTrue {
        by: String,
    },
    NoScenario,
    #[serde(untagged)]
    NotJudged(NotJudgedReason),
}

/// A value with its bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    pub probe: String,
    #[serde(flatten)]
    pub rule: Rule,
    /// The worst of the samples, or their median if there is no bound; of a long text, the line that matters.
    pub value: Value,
    pub unit: Unit,
    /// What the value was measured of.
    pub subject: String,
    /// The text the value was read from, if it says more than the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// How many lines the text has, if `value` is only one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<usize>,
    /// Of several samples: how many, and their range and median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<Range>,
    /// Of ratios that are judged by their median: where the true median lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    pub n: usize,
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// What was under way when a scenario was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The start of the workload: Podman, the Quadlet generator or systemd refused it.
    Start,
    /// Looking at a limit: it is not enforced there.
    Limit,
    Log,
    /// Pasting a block of the annex's commands: it needs what the machine does not have.
    Paste,
    Step,
}

impl Reason {
    /// Returns whether this is to be expected of what is only recorded: a limit that the machine does not enforce, or fewer
    /// pairs than a ratio is judged at.
    pub fn is_expected_of_records(&self) -> bool {
        matches!(self, Reason::Infrastructure { during: Phase::Limit, .. } | Reason::Pairs { .. })
    }

    pub fn step(message: impl Into<String>) -> Reason {
        Reason::Infrastructure { during: Phase::Step, message: message.into() }
    }
}

/// Ends a step for a reason other than an error. It is recorded with the scenario, so this text is not.
#[derive(Debug, thiserror::Error)]
#[error("this cannot be judged: the scenario's reason says why")]
pub struct Blocked;
