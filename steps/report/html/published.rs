//! Reads the annex's figures, if they can be read as a quantity.

use crate::base::unit::{Bytes, Dollars, Duration, Ratio, Unit};

/// Returns the single quantity with this unit in a text of the annex; `None` if there is none, or more than one: `17.8
/// MB` and `2, 411 MiB usable` name one, `17.2 / 46.7 MB` and `30-45 min` are ambiguous.
pub(super) fn quantity(text: &str, unit: Unit) -> Option<f64> {
    if text.contains(" / ") || text.matches('/').count() > 1 {
        return None;
    }
    if let Some(alone) = text.trim().parse::<f64>().ok().filter(|_| matches!(unit, Unit::Bytes | Unit::Count)) {
        return Some(alone);
    }
    if unit == Unit::Dollars {
        // The unit stands before the number, without a blank between them.
        return text.trim().parse().ok().filter(|_| text.contains('$')).map(Dollars::value);
    }
    let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_end_matches([',', ';', ')'])).collect();
    let pairs = words.iter().zip(words.iter().skip(1));
    let mut found = pairs.filter_map(|(number, name)| read(&format!("{number} {name}"), unit));
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn read(text: &str, unit: Unit) -> Option<f64> {
    match unit {
        Unit::Bytes => text.parse::<Bytes>().ok().map(Bytes::value),
        Unit::Seconds => text.parse::<Duration>().ok().map(Duration::value),
        // Milliseconds of CPU time per second are a share of one CPU.
        Unit::Ratio => match text.strip_suffix(" ms/s") {
            Some(number) => number.parse::<f64>().ok().map(|milliseconds| milliseconds / 1e3),
            None => text.parse::<Ratio>().ok().map(Ratio::value),
        },
        Unit::Times | Unit::Count | Unit::Celsius | Unit::Dollars | Unit::Text => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_quantity_of_the_right_unit_is_read() {
        for (text, unit, value) in [
            ("17.8 MB", Unit::Bytes, Some(17.8e6)),
            ("89.5 KB", Unit::Bytes, Some(89_500.0)),
            ("2, 411 MiB usable", Unit::Bytes, Some(430_964_736.0)),
            ("215 MiB available", Unit::Bytes, Some(225_443_840.0)),
            ("67108864", Unit::Bytes, Some(67_108_864.0)),
            ("79.1 ms", Unit::Seconds, Some(0.0791)),
            ("100 ms/s", Unit::Ratio, Some(0.1)),
            ("0", Unit::Count, Some(0.0)),
            ("$0.0042", Unit::Dollars, Some(0.0042)),
            ("17.2 / 46.7 MB", Unit::Bytes, None),
            ("8-10 / 4-5 / 3-4 MB", Unit::Bytes, None),
            ("200/400/300/200 ms", Unit::Seconds, None),
            ("30-45 min", Unit::Seconds, None),
            ("17.8 MB", Unit::Times, None),
            ("0.0042", Unit::Dollars, None),
            ("$0.01 or $0.02", Unit::Dollars, None),
            ("$$1", Unit::Dollars, None),
            ("79.1 ms", Unit::Bytes, None),
            ("10 MB or 20 MB", Unit::Bytes, None),
            ("fails (4.9.3)", Unit::Count, None),
            ("", Unit::Bytes, None),
        ] {
            let read = quantity(text, unit).map(|number| (number * 1e6).round() / 1e6);
            assert_eq!(read, value, "{text}");
        }
    }
}
