//! Recomputes the annex's own arithmetic from its published figures.

use anyhow::{Context, bail, ensure};

use crate::base::unit::{self, Unit};
use crate::measurement::Reading;

fn quantity(text: &str) -> anyhow::Result<f64> {
    unit::quantity(text)
        .with_context(|| format!("\"{text}\" is not a quantity: write it as 17.8 MB, 1.1 s, 72 % or 170"))
}

/// Returns the value of one step of a figure's last significant digit: 100 for 1400, 0.1 % for 8.3 %.
fn last_digit(text: &str) -> anyhow::Result<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let last = number.rfind(|c: char| ('1'..='9').contains(&c)).with_context(|| format!("\"{text}\" is nothing"))?;
    let digit = |(at, c): (usize, char)| match c {
        '.' => '.',
        _ if at == last => '1',
        _ => '0',
    };
    quantity(&format!("{}{unit}", number.char_indices().map(digit).collect::<String>()))
}

/// Checks a row of a table: name, `A of B`, `share | saving | remainder | times`, published figure. The reading is 1 if the
/// published figure equals the derived one, rounded or truncated at its last digit, otherwise 0.
pub fn check(row: &[String]) -> anyhow::Result<Reading> {
    let [name, from, how, published] = row else { bail!("a figure has four columns, this row has {}", row.len()) };
    let (part, whole) = from.split_once(" of ").with_context(|| format!("\"{from}\" is not \"A of B\""))?;
    let (part, whole) = (quantity(part)?, quantity(whole)?);
    ensure!(part > 0.0 && whole > 0.0, "\"{from}\" has a zero in it");
    let derived = match how.as_str() {
        "share" => part / whole,
        "saving" => 1.0 - part / whole,
        "remainder" => whole - part,
        "times" => whole / part,
        other => bail!("\"{other}\" is not a way to derive: share, saving, remainder or times"),
    };
    let right = (derived - quantity(published)?).abs() < last_digit(published)?;
    let raw = format!("{how} of {from} is {derived:.4}, published {published}");
    Ok(Reading::new(&format!("arithmetic: {name}"), f64::from(u8::from(right)), Unit::Count, raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Value;

    fn right(from: &str, how: &str, published: &str) -> bool {
        let row = ["x", from, how, published].map(str::to_owned);
        check(&row).unwrap().value == Value::Number(1.0)
    }

    #[test]
    fn a_figure_is_right_to_its_last_digit_and_not_beyond() {
        assert!(right("17.8 MB of 64 MB", "saving", "72 %") && !right("17.8 MB of 64 MB", "saving", "82 %"));
        assert!(right("17.8 MB of 215 MB", "share", "8.3 %") && !right("17.8 MB of 215 MB", "share", "8.5 %"));
        assert!(right("89.5 kB of 125 MB", "times", "1400") && !right("89.5 kB of 125 MB", "times", "1600"));
        assert!(right("18075648 B of 67108864 B", "remainder", "46.7 MiB"));
        assert!(!right("18075648 B of 67108864 B", "remainder", "46.9 MiB"));
    }

    #[test]
    fn a_row_of_another_shape_is_refused() {
        for row in [
            &["x", "1 MB of 2 MB", "share"][..],
            &["x", "1 MB", "share", "50 %"],
            &["x", "1 MB of 2 MB", "sum", "3 MB"],
            &["x", "0 MB of 2 MB", "share", "0 %"],
        ] {
            assert!(check(&row.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()).is_err(), "{row:?}");
        }
    }
}
