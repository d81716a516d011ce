//! Quantities with their units: "64 MB" differs from "64 MiB", and a bare number is not accepted as a size.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Bytes,
    /// Seconds; durations and points in time since boot.
    Seconds,
    /// A proportion: 0.1 is 10 %.
    Ratio,
    /// A factor between two quantities: 3.1 is 3.1×.
    Times,
    /// A count: events, restarts, files, exit codes.
    Count,
    Celsius,
    /// US dollars, as AWS bills them, before taxes.
    Dollars,
    /// No unit: the sample is a text.
    Text,
}

impl Unit {
    /// Formats a value for people: `84.8 kB`, `64 MiB`, `2.01 s`, `10.4 %`, `$0.0042`.
    pub fn format(self, value: f64) -> String {
        match self {
            Unit::Bytes if value >= 0.0 => show_bytes(value),
            Unit::Seconds if value != 0.0 && value.abs() < 1.0 => format!("{} ms", trim(value * 1e3, 1)),
            Unit::Seconds => format!("{} s", trim(value, 2)),
            Unit::Ratio => format!("{} %", trim(value * 100.0, 1)),
            Unit::Times if value >= 100.0 => format!("{}×", trim(value, 0)),
            Unit::Times => format!("{}×", trim(value, 2)),
            Unit::Celsius => format!("{} °C", trim(value, 1)),
            Unit::Dollars => show_dollars(value),
            Unit::Bytes => format!("{} bytes", trim(value, 3)),
            Unit::Count | Unit::Text => trim(value, 3),
        }
    }
}

fn show_bytes(value: f64) -> String {
    const KIB: f64 = 1024.0;
    for (size, name) in [(KIB * KIB * KIB, "GiB"), (KIB * KIB, "MiB")] {
        if value >= size && (value % size == 0.0) {
            return format!("{} {name}", trim(value / size, 0));
        }
    }
    for (size, name) in [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")] {
        if value >= size {
            return format!("{} {name}", trim(value / size, 1));
        }
    }
    format!("{} bytes", trim(value, 0))
}

/// Formats cents, and below a dollar three significant digits, so that no nonzero price is shown as $0.00.
fn show_dollars(value: f64) -> String {
    let (sign, size) = (if value < 0.0 { "-" } else { "" }, value.abs());
    if size == 0.0 || !size.is_finite() || size >= 1.0 {
        return format!("{sign}${size:.2}");
    }
    // The decimal places up to the third significant digit.
    let places = (2.0 - size.log10().floor()) as usize;
    let text = format!("{size:.places$}");
    let digits = text.trim_end_matches('0').len().max("0.00".len());
    format!("{sign}${}", &text[..digits])
}

fn trim(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{text}\" is not {kind}: write {example}")]
pub struct NotAQuantity {
    text: String,
    kind: &'static str,
    example: &'static str,
}

/// Splits `"64 MiB"` into its number and its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    Some((text[..end].replace(',', "").parse().ok()?, text[end..].trim()))
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty), $unit:expr, $kind:literal, $example:literal, { $($suffix:pat => $factor:expr),+ $(,)? }, $make:expr, $value:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
        pub struct $name(pub $inner);

        impl $name {
            /// Returns the number in the unit in which samples of this kind are stored.
            pub fn value(self) -> f64 {
                let value: fn($inner) -> f64 = $value;
                value(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&$unit.format(self.value()))
            }
        }

        impl FromStr for $name {
            type Err = NotAQuantity;

            fn from_str(text: &str) -> Result<Self, NotAQuantity> {
                let wrong = || NotAQuantity { text: text.to_owned(), kind: $kind, example: $example };
                let (number, unit) = split(text).ok_or_else(wrong)?;
                let factor: f64 = match unit { $($suffix => $factor,)+ _ => return Err(wrong()) };
                let make: fn(f64) -> $inner = $make;
                Some(number * factor).filter(|value| value.is_finite()).map(make).map($name).ok_or_else(wrong)
            }
        }
    };
}

quantity!(
    /// A size. `kB`, `MB`, `GB` are powers of 1000, `KiB`, `MiB`, `GiB`, `TiB` powers of 1024.
    Bytes(u64), Unit::Bytes, "a size", "it as 100 kB, 64 MiB or 4 GiB",
    { "B" | "byte" | "bytes" => 1.0, "kB" | "KB" => 1e3, "MB" => 1e6, "GB" => 1e9,
      "KiB" => 1024.0, "MiB" => 1_048_576.0, "GiB" => 1_073_741_824.0, "TiB" => 1_099_511_627_776.0 },
    |number| number.round() as u64, |bytes| bytes as f64
);
quantity!(
    Duration(f64), Unit::Seconds, "a duration", "it as 500 ms, 2 s or 3 min",
    { "ms" => 1e-3, "s" => 1.0, "min" => 60.0, "h" => 3600.0 },
    |number| number, |seconds| seconds
);
quantity!(
    /// A proportion; 10 % is 0.1.
    Ratio(f64), Unit::Ratio, "a ratio", "it as 10 %",
    { "%" => 0.01 },
    |number| number, |ratio| ratio
);

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Dollars(pub f64);

impl Dollars {
    pub fn value(self) -> f64 {
        self.0
    }
}

impl std::iter::Sum for Dollars {
    fn sum<I: Iterator<Item = Dollars>>(amounts: I) -> Dollars {
        Dollars(amounts.map(Dollars::value).sum())
    }
}

impl fmt::Display for Dollars {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&Unit::Dollars.format(self.0))
    }
}

impl FromStr for Dollars {
    type Err = NotAQuantity;

    /// Parses `$0.05` and `0.05`. Rejects a sign, and also a comma, because its meaning is ambiguous.
    fn from_str(text: &str) -> Result<Dollars, NotAQuantity> {
        let wrong =
            || NotAQuantity { text: text.to_owned(), kind: "an amount of dollars", example: "it as 0.05 or $0.05" };
        let digits = text.trim().strip_prefix('$').unwrap_or(text.trim());
        let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
        digits.parse().ok().filter(|amount: &f64| plain && amount.is_finite()).map(Dollars).ok_or_else(wrong)
    }
}

/// Parses a quantity of any kind, in the unit that samples have. A bare number is a count or a factor.
pub fn quantity(text: &str) -> Option<f64> {
    let size = text.parse().map(Bytes::value).ok();
    let time = || text.parse().map(Duration::value).ok();
    let ratio = || text.parse().map(Ratio::value).ok();
    let dollars = || text.parse().map(Dollars::value).ok();
    size.or_else(time).or_else(ratio).or_else(dollars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quantity_is_parsed_with_its_unit_and_refused_without_one() {
        assert_eq!("64 MB".parse(), Ok(Bytes(64_000_000)));
        assert_eq!("64 MiB".parse(), Ok(Bytes(67_108_864)));
        assert_eq!("100,000 bytes".parse(), Ok(Bytes(100_000)));
        assert_eq!("89.5 kB".parse(), Ok(Bytes(89_500)));
        let error = "64".parse::<Bytes>().unwrap_err().to_string();
        assert_eq!(error, "\"64\" is not a size: write it as 100 kB, 64 MiB or 4 GiB");
        assert!("-3 s".parse::<Duration>().is_err());
        assert!("NaN %".parse::<Ratio>().is_err());
        assert!(format!("{} h", "9".repeat(308)).parse::<Duration>().is_err(), "it is not finite");
    }

    #[test]
    fn quantities_are_shown_as_people_write_them() {
        assert_eq!(Bytes(67_108_864).to_string(), "64 MiB");
        assert_eq!(Bytes(84_800).to_string(), "84.8 kB");
        assert_eq!(Bytes(12).to_string(), "12 bytes");
        assert_eq!(Duration(2.0).to_string(), "2 s");
        assert_eq!(Duration(0.0791).to_string(), "79.1 ms");
        assert_eq!(Ratio(0.104).to_string(), "10.4 %");
        assert_eq!(Unit::Times.format(0.854), "0.85×");
        assert_eq!(Unit::Times.format(1363.4), "1363×");
        assert_eq!(Unit::Bytes.format(100_000.0), "100 kB");
        assert_eq!(Unit::Count.format(0.0), "0");
    }

    #[test]
    fn a_nonzero_amount_is_never_shown_as_zero() {
        for (amount, shown) in [
            (0.0, "$0.00"),
            (0.0042, "$0.0042"),
            (0.000_876_712, "$0.000877"),
            (0.000_000_123_4, "$0.000000123"),
            (0.010_076, "$0.0101"),
            (0.009_999_9, "$0.01"),
            (0.05, "$0.05"),
            (0.5, "$0.50"),
            (0.999_9, "$1.00"),
            (12.345, "$12.35"),
            (-0.02, "-$0.02"),
        ] {
            assert_eq!(Dollars(amount).to_string(), shown);
        }
        assert!(Unit::Dollars.format(1e-300).trim_matches(['$', '0', '.']).starts_with('1'));
        assert_eq!(format!("{:>9}", Dollars(0.0042)), "  $0.0042");
    }

    #[test]
    fn dollars_are_parsed_with_and_without_their_sign() {
        assert_eq!("0.05".parse(), Ok(Dollars(0.05)));
        assert_eq!("$0.05".parse(), Ok(Dollars(0.05)));
        for text in ["", "$", ".", "-1", "$-1", "+1", "NaN", "inf", "1e3", "0,05", "5 ct", "$$1", "1.2.3"] {
            let error = text.parse::<Dollars>().unwrap_err().to_string();
            assert_eq!(error, format!("\"{text}\" is not an amount of dollars: write it as 0.05 or $0.05"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_size_is_what_its_unit_says_and_is_shown_as_that_size(number in 0_u64..1 << 23, bytes in 0_u64..1 << 53) {
            for (unit, factor) in [("bytes", 1), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000),
                ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
            {
                prop_assert_eq!(format!("{number} {unit}").parse(), Ok(Bytes(number * factor)));
                prop_assert_eq!(format!(" {number}.0{unit} ").parse(), Ok(Bytes(number * factor)));
            }
            prop_assert!(number.to_string().parse::<Bytes>().is_err(), "a size without a unit");
            let whole = Bytes(number << 20);
            prop_assert_eq!(whole.to_string().parse(), Ok(whole));
            let shown: Bytes = Bytes(bytes).to_string().parse().unwrap();
            prop_assert!(shown.0.abs_diff(bytes) <= bytes / 20, "{shown:?}");
        }

        #[test]
        fn whatever_is_written_a_quantity_is_finite_and_shown_as_one_that_is_read(
            text in r"[0-9]{0,4}[.,]?[0-9]{0,310} ?(kB|MiB|GB|ms|s|min|h|%|\$|x)?",
        ) {
            if let Ok(Duration(seconds)) = text.parse() {
                prop_assert!(seconds.is_finite() && seconds >= 0.0);
                let Duration(shown) = Duration(seconds).to_string().parse().unwrap();
                prop_assert!((shown - seconds).abs() <= 0.05_f64.max(seconds / 20.0), "{shown}");
            }
            if let Ok(Ratio(ratio)) = text.parse() {
                prop_assert!(ratio.is_finite() && Ratio(ratio).to_string().parse::<Ratio>().is_ok());
            }
            if let Ok(Dollars(amount)) = text.parse() {
                let Dollars(shown) = Dollars(amount).to_string().parse().unwrap();
                prop_assert!((shown - amount).abs() <= amount * 0.006 && (shown > 0.0) == (amount > 0.0), "{shown}");
            }
        }
    }
}
