//! What was seen, with its unit, its time and the text it was read from. Judged later; kept always.

pub mod deployment;
pub mod estimate;
pub mod pricing;
pub mod published_figures;
pub mod ratio;
pub mod catalogue;
pub mod podman_run;
pub mod journal;
pub mod trial;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::unit::Unit;

/// A value that was seen: a number in the sample's unit, or a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A number; finite by construction of the probes' parsers.
    Number(f64),
    /// A text.
    Text(String),
}

impl Value {
    /// The value as people write it.
    pub fn show(&self, unit: Unit) -> String {
        match self {
            Value::Number(number) => unit.show(*number),
            Value::Text(text) => format!("\"{text}\""),
        }
    }

    /// The number, if it is one.
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

/// What a parser read: not yet tied to a machine, a subject and a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which probe: a dotted name such as `memory.peak`.
    pub probe: String,
    /// What it saw.
    pub value: Value,
    /// In which unit.
    pub unit: Unit,
    /// The text the value was read from.
    pub raw: String,
}

impl Reading {
    /// A reading whose raw text is at hand.
    pub fn new(probe: &str, value: impl Into<Value>, unit: Unit, raw: impl Into<String>) -> Reading {
        Reading { probe: probe.to_owned(), value: value.into(), unit, raw: raw.into() }
    }

    /// A text that was seen as it stands.
    pub fn text(probe: &str, text: &str) -> Reading {
        Reading::new(probe, text, Unit::Text, text)
    }
}

/// A reading that became evidence. Its number is its line in `samples.jsonl`, counted from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its number within the run.
    pub id: u64,
    /// Which probe.
    pub probe: String,
    /// What was measured: a module, an image, one run of a workload.
    pub subject: String,
    /// On which machine.
    pub machine: String,
    /// What was seen.
    pub value: Value,
    /// In which unit.
    pub unit: Unit,
    /// When it became known.
    pub at: Timestamp,
    /// The text it was read from.
    pub raw: String,
}

/// Output that a probe cannot be read from: never a value, always inconclusive.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{probe} cannot be read: expected {expected}, saw {}", shorten(seen))]
pub struct Unreadable {
    /// Which probe.
    pub probe: String,
    /// What its parser wants.
    pub expected: String,
    /// What it got.
    pub seen: String,
}

impl Unreadable {
    /// An error for a probe that wanted one thing and got another.
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
