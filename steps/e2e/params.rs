//! The kinds of words that steps take from a feature's text.

use std::str::FromStr;

use assay::unit::{Bytes, Duration, NotAQuantity, Ratio};
use cucumber::Parameter;

macro_rules! parameter {
    ($(#[$doc:meta])* $name:ident($inner:ty), $word:literal, $regex:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Parameter)]
        #[param(name = $word, regex = $regex)]
        pub struct $name(pub $inner);

        impl FromStr for $name {
            type Err = NotAQuantity;

            fn from_str(text: &str) -> Result<Self, NotAQuantity> {
                text.parse().map($name)
            }
        }
    };
}

parameter!(
    /// `{size}`: 100 kB, 64 MiB.
    SizeWord(Bytes), "size", r"[\d.,]+ (?:bytes|B|kB|KB|MB|GB|KiB|MiB|GiB)"
);
parameter!(
    /// `{duration}`: 500 ms, 2 s.
    DurationWord(Duration), "duration", r"[\d.]+ (?:ms|s|min|h)"
);
parameter!(
    /// `{percent}`: 11 %.
    PercentWord(Ratio), "percent", r"[\d.]+ %"
);
