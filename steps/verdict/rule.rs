//! What every sample of a check must satisfy.

use serde::{Deserialize, Serialize};

use crate::base::unit::Unit;
use crate::measurement::Value;

/// What every sample of a check must satisfy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum Rule {
    /// Less than the bound.
    Below {
        /// In the check's unit.
        bound: f64,
    },
    /// The bound or less.
    AtMost {
        /// In the check's unit.
        bound: f64,
    },
    /// The bound or more.
    AtLeast {
        /// In the check's unit.
        bound: f64,
    },
    /// From `low` to `high`, both included.
    Between {
        /// In the check's unit.
        low: f64,
        /// In the check's unit.
        high: f64,
    },
    /// Exactly this.
    Equals {
        /// A number in the check's unit, or a text.
        value: Value,
    },
    /// Anything but this.
    Differs {
        /// A number in the check's unit, or a text.
        value: Value,
    },
    /// A version, such as `5.4.2`, that is this one or newer.
    AtLeastVersion {
        /// As in `4.9`.
        version: String,
    },
    /// A text that has this in it.
    Contains {
        /// The part.
        text: String,
    },
    /// An address of this shape: as many parts between slashes, the same ones but for `*`, which is any name of lower-case
    /// letters, digits and, between them, `.`, `_` and `-`.
    Shape {
        /// As in `public.ecr.aws/*/*`.
        shape: String,
    },
    /// Nothing: the value is reported, the claim promises no bound.
    Recorded,
}

impl Rule {
    /// The bound as people write it.
    pub fn show(&self, unit: Unit) -> String {
        match self {
            Rule::Below { bound } => format!("< {}", unit.show(*bound)),
            Rule::AtMost { bound } => format!("≤ {}", unit.show(*bound)),
            Rule::AtLeast { bound } => format!("≥ {}", unit.show(*bound)),
            Rule::Between { low, high } => format!("{} to {}", unit.show(*low), unit.show(*high)),
            Rule::Equals { value } => format!("= {}", value.show(unit)),
            Rule::Differs { value } => format!("≠ {}", value.show(unit)),
            Rule::AtLeastVersion { version } => format!("≥ {version}"),
            Rule::Contains { text } => format!("says \"{text}\""),
            Rule::Shape { shape } => format!("as {shape}"),
            Rule::Recorded => "reported".to_owned(),
        }
    }

    /// Values just beyond the rule, none where nothing can break it: what a check must never accept.
    pub fn broken_by(&self, unit: Unit) -> Vec<Value> {
        // Nothing is smaller than one byte, or one of what is counted.
        let step = |bound: f64| match unit {
            Unit::Bytes | Unit::Count => 1.0,
            _ => bound.abs().max(1.0) * 1e-6,
        };
        match self {
            Rule::Below { bound } => vec![(*bound).into()],
            Rule::AtMost { bound } => vec![(bound + step(*bound)).into()],
            Rule::AtLeast { bound } => vec![(bound - step(*bound)).into()],
            Rule::Between { low, high } => vec![(low - step(*low)).into(), (high + step(*high)).into()],
            Rule::Equals { value: Value::Number(number) } => vec![(number + step(*number)).into()],
            Rule::Equals { value: Value::Text(text) } => vec![format!("{text}-").as_str().into()],
            Rule::Differs { value } => vec![value.clone()],
            Rule::AtLeastVersion { .. } => vec!["0.0.1".into()],
            Rule::Contains { .. } => vec!["something else".into()],
            Rule::Shape { shape } => {
                let shaped = shape.replace('*', "a");
                ["something else".into(), format!("{shaped}/a"), shaped.to_uppercase()]
                    .map(|text| text.as_str().into())
                    .to_vec()
            }
            Rule::Recorded => Vec::new(),
        }
    }

    /// Whether a value satisfies the rule; `None` where the two cannot be compared.
    pub fn accepts(&self, value: &Value) -> Option<bool> {
        Some(match (self, value) {
            (Rule::Below { bound }, Value::Number(number)) => number < bound,
            (Rule::AtMost { bound }, Value::Number(number)) => number <= bound,
            (Rule::AtLeast { bound }, Value::Number(number)) => number >= bound,
            (Rule::Between { low, high }, Value::Number(number)) => low <= number && number <= high,
            (Rule::Equals { value: wanted }, seen) if same_kind(wanted, seen) => wanted == seen,
            (Rule::Differs { value: unwanted }, seen) if same_kind(unwanted, seen) => unwanted != seen,
            (Rule::AtLeastVersion { version: wanted }, Value::Text(seen)) => version(seen)? >= version(wanted)?,
            (Rule::Contains { text }, Value::Text(seen)) => seen.contains(text.as_str()),
            (Rule::Shape { shape }, Value::Text(seen)) => shaped(shape, seen),
            (Rule::Recorded, _) => true,
            _ => return None,
        })
    }

    /// The part of a text of several lines that says what the rule asks for, or how much there is that does not: nobody
    /// wants to read all of a log in a sentence.
    pub(super) fn excerpt(&self, value: &Value) -> Value {
        match (self, value) {
            (Rule::Contains { text }, Value::Text(seen)) if seen.contains('\n') => {
                let said = seen.lines().find(|line| line.contains(text.as_str())).map(str::to_owned);
                let last = seen.lines().next_back().unwrap_or_default();
                let silent = || format!("{last} (the last of {} lines)", seen.lines().count());
                Value::Text(said.unwrap_or_else(silent))
            }
            _ => value.clone(),
        }
    }

    /// Whether `a` is nearer to breaking the rule than `b`.
    pub(super) fn worse(&self, a: f64, b: f64) -> bool {
        match self {
            Rule::AtLeast { .. } => a < b,
            Rule::Between { low, high } => (a - (low + high) / 2.0).abs() > (b - (low + high) / 2.0).abs(),
            _ => a > b,
        }
    }
}

/// The numbers of a version, `4.9.3+ds1` being 4, 9, 3.
fn version(text: &str) -> Option<Vec<u64>> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].trim_end_matches('.').split('.').map(|part| part.parse().ok()).collect()
}

/// Whether an address has this shape.
fn shaped(shape: &str, seen: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let name = |part: &str| {
        part.starts_with(plain) && part.ends_with(plain) && part.chars().all(|c| plain(c) || "._-".contains(c))
    };
    let (wanted, parts): (Vec<&str>, Vec<&str>) = (shape.split('/').collect(), seen.split('/').collect());
    let same = |(wanted, part): (&&str, &&str)| if *wanted == "*" { name(part) } else { wanted == part };
    wanted.len() == parts.len() && wanted.iter().zip(&parts).all(same)
}

fn same_kind(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}
