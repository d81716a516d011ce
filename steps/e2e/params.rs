//! Defines the types of words that steps take from a feature's text.

use std::str::FromStr;

use assay::base::unit::{Bytes, Dollars, Duration, NotAQuantity, Ratio};
use assay::measurement::trial::watch::Until;
use cucumber::Parameter;
use serde::Serialize;

/// A type of words, as `assay steps` and the settings of editors describe it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ParameterKind {
    /// Its name in expressions, as in `{size}`.
    pub name: &'static str,
    pub regexp: &'static str,
    pub takes: &'static str,
}

/// Defines a type for each kind, and [`KINDS`], which collects their comments.
macro_rules! kinds {
    ($(#[doc = $takes:literal] $type:ident($inner:ty), $name:literal, $regexp:literal;)+) => {
        $(
            #[doc = $takes]
            #[derive(Clone, Copy, Debug, Parameter)]
            #[param(name = $name, regex = $regexp)]
            pub struct $type(pub $inner);

            impl FromStr for $type {
                type Err = NotAQuantity;

                fn from_str(text: &str) -> Result<Self, NotAQuantity> {
                    text.parse().map($type)
                }
            }
        )+

        /// The types that this suite defines.
        pub const KINDS: &[ParameterKind] = &[$(ParameterKind { name: $name, regexp: $regexp, takes: $takes.trim_ascii_start() }),+];
    };
}

kinds! {
    /// a size with its unit, such as 100 kB or 64 MiB
    SizeWord(Bytes), "size", r"[\d.,]+ (?:bytes|B|kB|KB|MB|GB|KiB|MiB|GiB)";
    /// a time with its unit, such as 500 ms or 2 s
    DurationWord(Duration), "duration", r"[\d.]+ (?:ms|s|min|h)";
    /// a share in per cent, such as 11 %
    PercentWord(Ratio), "percent", r"[\d.]+ %";
    /// an amount of US dollars, such as $0.01
    DollarsWord(Dollars), "dollars", r"\$[\d.]+";
}

impl DurationWord {
    pub fn held(self) -> Until {
        Until::Held(std::time::Duration::from_secs_f64(self.0.value()))
    }
}

/// What cucumber's built-in types take, by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("string", "text in quotes, such as \"hello\""),
    ("int", "a whole number, such as 3"),
    ("float", "a number with a decimal point, such as 0.5"),
    ("word", "one word"),
];
