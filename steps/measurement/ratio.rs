//! Computes the ratio of two values of one probe.

use anyhow::{Context as _, ensure};

use crate::base::unit::Unit;
use crate::measurement::Reading;

/// Divides the first value by the second; both are in `unit`, and each is named for what it was measured of.
pub fn ratio(probe: &str, unit: Unit, one: (&str, Option<f64>), other: (&str, Option<f64>)) -> anyhow::Result<Reading> {
    let part = |(whose, value): (&str, Option<f64>)| {
        let value = value.with_context(|| format!("{probe}: that of {whose} was not measured"))?;
        ensure!(value.is_finite() && value > 0.0, "{probe}: that of {whose} is {value}, which no ratio can be made of");
        Ok((value, format!("{whose} {}", unit.format(value))))
    };
    let ((one, over), (other, under)) = (part(one)?, part(other)?);
    Ok(Reading::new(probe, one / other, Unit::Times, format!("{over} / {under}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Value;

    #[test]
    fn a_ratio_is_of_two_things_that_were_measured() {
        let made = ratio("ratio.memory.peak", Unit::Bytes, ("conventional", Some(35.2e6)), ("workload", Some(17.6e6)))
            .unwrap();
        assert_eq!((made.value, made.unit), (Value::Number(2.0), Unit::Times));
        assert_eq!(made.raw, "conventional 35.2 MB / workload 17.6 MB");
        let error = |one, other| {
            ratio("ratio.cpu.time", Unit::Seconds, ("server-a", one), ("server-b", other)).unwrap_err().to_string()
        };
        assert_eq!(error(None, Some(1.0)), "ratio.cpu.time: that of server-a was not measured");
        assert_eq!(error(Some(1.0), None), "ratio.cpu.time: that of server-b was not measured");
        for nothing in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(error(Some(1.0), Some(nothing)).contains("no ratio can be made of"));
            assert!(error(Some(nothing), Some(1.0)).contains("no ratio can be made of"));
        }
    }
}
