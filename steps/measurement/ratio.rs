//! Computes the ratio of a baseline to the workload.

use anyhow::{Context as _, ensure};

use crate::base::unit::Unit;
use crate::measurement::Reading;

/// Divides a conventional container's value by the workload's; both are in `unit`.
pub fn ratio(probe: &str, unit: Unit, conventional: Option<f64>, workload: Option<f64>) -> anyhow::Result<Reading> {
    let part = |whose: &str, value: Option<f64>| {
        let value = value.with_context(|| format!("{probe}: that of {whose} was not measured"))?;
        ensure!(value.is_finite() && value > 0.0, "{probe}: that of {whose} is {value}, which no ratio can be made of");
        Ok(value)
    };
    let (conventional, workload) = (part("the conventional container", conventional)?, part("the workload", workload)?);
    let raw = format!("conventional {} / workload {}", unit.format(conventional), unit.format(workload));
    Ok(Reading::new(probe, conventional / workload, Unit::Times, raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Value;

    #[test]
    fn a_ratio_is_of_two_things_that_were_measured() {
        let made = ratio("ratio.memory.peak", Unit::Bytes, Some(35.2e6), Some(17.6e6)).unwrap();
        assert_eq!((made.value, made.unit), (Value::Number(2.0), Unit::Times));
        assert_eq!(made.raw, "conventional 35.2 MB / workload 17.6 MB");
        let error = |conventional, workload| {
            ratio("ratio.cpu.time", Unit::Seconds, conventional, workload).unwrap_err().to_string()
        };
        assert_eq!(error(None, Some(1.0)), "ratio.cpu.time: that of the conventional container was not measured");
        assert_eq!(error(Some(1.0), None), "ratio.cpu.time: that of the workload was not measured");
        for nothing in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(error(Some(1.0), Some(nothing)).contains("no ratio can be made of"));
            assert!(error(Some(nothing), Some(1.0)).contains("no ratio can be made of"));
        }
    }
}
