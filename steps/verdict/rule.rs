//! Compares values with bounds.

use serde::{Deserialize, Serialize};

use crate::base::unit::Unit;
use crate::base::version::Version;
use crate::claims::deviation::Relation;
use crate::measurement::Value;

/// A condition that every sample of a check must satisfy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "relation")]
pub enum Rule {
    /// Less than the bound.
    #[serde(rename = "<")]
    Below {
        /// The bound, in the check's unit.
        bound: f64,
    },
    /// The bound or less.
    #[serde(rename = "<=")]
    AtMost {
        /// The bound, in the check's unit.
        bound: f64,
    },
    /// The bound or more.
    #[serde(rename = ">=")]
    AtLeast {
        /// The bound, in the check's unit.
        bound: f64,
    },
    /// Samples whose median is the bound or more. It is judged by an interval of the median and not sample by sample.
    #[serde(rename = "median>=")]
    MedianAtLeast {
        /// The bound, in the check's unit.
        bound: f64,
    },
    /// From `low` to `high`, both included.
    #[serde(rename = "between")]
    Between {
        /// The lower bound, in the check's unit.
        low: f64,
        /// The upper bound, in the check's unit.
        high: f64,
    },
    /// Equal to this value.
    #[serde(rename = "=")]
    Equals {
        /// A number in the check's unit, or a text.
        #[serde(rename = "bound")]
        value: Value,
    },
    /// Different from this value.
    #[serde(rename = "!=")]
    Differs {
        /// A number in the check's unit, or a text.
        #[serde(rename = "bound")]
        value: Value,
    },
    /// A version, such as `5.4.2`, that is equal to this one or newer.
    #[serde(rename = "version>=")]
    AtLeastVersion {
        /// The version, such as `4.9`.
        #[serde(rename = "bound")]
        version: String,
    },
    /// A text that contains this one.
    #[serde(rename = "contains")]
    Contains {
        /// The text to find.
        #[serde(rename = "bound")]
        text: String,
    },
    /// An address of this shape, with the same parts between slashes; `*` stands for any name of lower-case letters,
    /// digits and, inside it, `.`, `_` and `-`.
    #[serde(rename = "shape")]
    Shape {
        /// The shape, such as `public.ecr.aws/*/*`.
        #[serde(rename = "bound")]
        shape: String,
    },
    /// No bound: the value is only reported.
    #[serde(rename = "reported")]
    Recorded,
}

impl Rule {
    pub fn relation(&self) -> Relation {
        match self {
            Rule::Below { .. } => Relation::Below,
            Rule::AtMost { .. } => Relation::AtMost,
            Rule::AtLeast { .. } => Relation::AtLeast,
            Rule::MedianAtLeast { .. } => Relation::MedianAtLeast,
            Rule::Between { .. } => Relation::Between,
            Rule::Equals { .. } => Relation::Equals,
            Rule::Differs { .. } => Relation::Differs,
            Rule::AtLeastVersion { .. } => Relation::AtLeastVersion,
            Rule::Contains { .. } => Relation::Contains,
            Rule::Shape { .. } => Relation::Shape,
            Rule::Recorded => Relation::Reported,
        }
    }

    /// Formats the bound for people.
    pub fn format(&self, unit: Unit) -> String {
        match self {
            Rule::Below { bound } => format!("< {}", unit.format(*bound)),
            Rule::AtMost { bound } => format!("≤ {}", unit.format(*bound)),
            Rule::AtLeast { bound } => format!("≥ {}", unit.format(*bound)),
            Rule::MedianAtLeast { bound } => format!("median ≥ {}", unit.format(*bound)),
            Rule::Between { low, high } => format!("{} to {}", unit.format(*low), unit.format(*high)),
            Rule::Equals { value } => format!("= {}", value.format(unit)),
            Rule::Differs { value } => format!("≠ {}", value.format(unit)),
            Rule::AtLeastVersion { version } => format!("≥ {version}"),
            Rule::Contains { text } => format!("says \"{text}\""),
            Rule::Shape { shape } => format!("as {shape}"),
            Rule::Recorded => "reported".to_owned(),
        }
    }

    /// Returns values that just break the rule, which a check must never accept. Empty if nothing can break it.
    pub fn broken_by(&self, unit: Unit) -> Vec<Value> {
        // The smallest step is one byte or one item.
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
            // One sample need not move a median over its bound.
            Rule::MedianAtLeast { .. } | Rule::Recorded => Vec::new(),
        }
    }

    /// Returns whether a value satisfies the rule, or `None` if the two cannot be compared.
    pub fn accepts(&self, value: &Value) -> Option<bool> {
        Some(match (self, value) {
            (Rule::Below { bound }, Value::Number(number)) => number < bound,
            (Rule::AtMost { bound }, Value::Number(number)) => number <= bound,
            (Rule::AtLeast { bound } | Rule::MedianAtLeast { bound }, Value::Number(number)) => number >= bound,
            (Rule::Between { low, high }, Value::Number(number)) => low <= number && number <= high,
            (Rule::Equals { value: wanted }, seen) if same_kind(wanted, seen) => wanted == seen,
            (Rule::Differs { value: unwanted }, seen) if same_kind(unwanted, seen) => unwanted != seen,
            (Rule::AtLeastVersion { version: wanted }, Value::Text(seen)) => {
                Version::parse(seen)? >= Version::parse(wanted)?
            }
            (Rule::Contains { text }, Value::Text(seen)) => seen.contains(text.as_str()),
            (Rule::Shape { shape }, Value::Text(seen)) => shaped(shape, seen),
            (Rule::Recorded, _) => true,
            _ => return None,
        })
    }

    /// Returns the line of a text that matters, and of how many: the one that contains what the rule wants, else the last.
    pub(super) fn excerpt(&self, value: &Value) -> (Value, Option<usize>) {
        match value {
            Value::Text(seen) if seen.trim_end().contains('\n') => {
                let wanted = |line: &&str| matches!(self, Rule::Contains { text } if line.contains(text.as_str()));
                let line = seen.lines().find(wanted).or(seen.trim_end().lines().next_back()).unwrap_or_default();
                (line.into(), Some(seen.lines().count()))
            }
            _ => (value.clone(), None),
        }
    }

    /// Returns whether `a` is closer to breaking the rule than `b`.
    pub(super) fn worse(&self, a: f64, b: f64) -> bool {
        match self {
            Rule::AtLeast { .. } | Rule::MedianAtLeast { .. } => a < b,
            Rule::Between { low, high } => (a - (low + high) / 2.0).abs() > (b - (low + high) / 2.0).abs(),
            _ => a > b,
        }
    }
}

/// Returns whether an address has this shape.
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
