//! Defines readings and samples: measured values with their unit, time and source text. They are always kept, and
//! judged later.

#[cfg(feature = "run")]
pub mod deployment;
pub mod pricing;
pub mod published_figures;
pub mod ratio;
pub mod sandbox;
pub mod catalogue;
pub mod paste;
pub mod podman_run;
mod shape;
pub mod journal;
pub mod trial;
pub mod start;
#[cfg(feature = "run")]
pub mod up;
#[cfg(feature = "run")]
pub mod deployed_set;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::unit::Unit;

/// A measured value: a number in the sample's unit, or a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number; the probes' parsers only make finite ones.
    Number(f64),
    /// A text.
    Text(String),
}

impl Value {
    /// Formats the value for people.
    pub fn format(&self, unit: Unit) -> String {
        match self {
            Value::Number(number) => unit.format(*number),
            Value::Text(text) => format!("\"{text}\""),
        }
    }

    /// Returns the number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Text(_) => None,
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

/// A value that a parser read, without a machine, subject and time yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The probe's dotted name, such as `memory.peak`.
    pub probe: String,
    /// The measured value.
    pub value: Value,
    /// Its unit.
    pub unit: Unit,
    /// The text the value was read from.
    pub raw: String,
}

impl Reading {
    /// Makes a reading from its parts.
    pub fn new(probe: &str, value: impl Into<Value>, unit: Unit, raw: impl Into<String>) -> Reading {
        Reading { probe: probe.to_owned(), value: value.into(), unit, raw: raw.into() }
    }

    /// Makes a reading whose value is the text itself.
    pub fn text(probe: &str, text: &str) -> Reading {
        Reading::new(probe, text, Unit::Text, text)
    }
}

/// A reading that became evidence. Its id is its line number in `samples.jsonl`, counted from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub id: u64,
    pub probe: String,
    /// What was measured: a module, an image, one run of a workload.
    pub subject: String,
    pub machine: String,
    pub value: Value,
    pub unit: Unit,
    /// When the value became known.
    pub at: Timestamp,
    pub raw: String,
}

#[cfg(test)]
impl Sample {
    /// Makes a sample of the machine "nano" for a test.
    pub fn of(subject: &str, probe: &str, value: impl Into<Value>, unit: Unit) -> Sample {
        let (subject, machine, probe) = (subject.to_owned(), "nano".to_owned(), probe.to_owned());
        Sample {
            id: 1,
            probe,
            subject,
            machine,
            value: value.into(),
            unit,
            at: Timestamp::UNIX_EPOCH,
            raw: String::new(),
        }
    }
}

/// Output that a probe cannot be read from. It leads to an inconclusive check, never to a value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{probe} cannot be read: expected {expected}, saw {}", shorten(seen))]
pub struct Unreadable {
    /// The probe's name.
    pub probe: String,
    /// What its parser expected.
    pub expected: String,
    /// What it found.
    pub seen: String,
}

impl Unreadable {
    /// Makes an error for a probe that found something unexpected.
    pub fn new(probe: &str, expected: &str, seen: &str) -> Unreadable {
        Unreadable { probe: probe.to_owned(), expected: expected.to_owned(), seen: seen.to_owned() }
    }
}

fn shorten(text: &str) -> String {
    match text.trim() {
        "" => "nothing".to_owned(),
        text if text.chars().count() <= 120 => format!("\"{text}\""),
        text => format!("\"{}…\"", text.chars().take(120).collect::<String>()),
    }
}
