//! Draws the time that a start took, stage by stage.

use maud::{Markup, html};

use super::{LETTERS, Scale, WIDTH, across, axis, beside, fit, rectangle, svg, text};
use crate::base::unit::Unit;
use crate::measurement::Sample;

/// The stages that the events of a start end, in order.
const STAGES: [(&str, &str); 4] = [
    ("start.create", "systemd, then podman create"),
    ("start.init", "podman init"),
    ("start.start", "podman start"),
    ("start.output", "until the first line of output"),
];
const HEIGHT: f64 = 36.0;

/// Draws the stages of a start, and when systemd reported the unit as active, in seconds since it began; `None` if there
/// are no stages, or if no scale can show the numbers.
pub(in crate::report) fn waterfall(name: &str, samples: &[&Sample]) -> Option<Markup> {
    let of = |probe: &str| samples.iter().find(|sample| sample.probe == probe)?.value.number();
    let mut begin = 0.0;
    // Each stage begins where the one before it ended.
    let stage = |(probe, name)| {
        let (from, to) = (begin, of(probe)?);
        begin = to;
        Some((format!("{name}: {}", Unit::Seconds.format((to - from).max(0.0))), from, to))
    };
    let stages: Vec<(String, f64, f64)> = STAGES.into_iter().filter_map(stage).collect();
    let active = of("start.time");
    let ends = stages.iter().map(|(_, _, end)| *end).chain(active).chain([0.0]);
    let scale = Scale::over(ends, 4.0, WIDTH - 4.0).filter(|_| !stages.is_empty())?;
    let top = if active.is_some() { LETTERS * 1.6 } else { 2.0 };
    let bottom = top + HEIGHT * stages.len() as f64 + 4.0;
    let labels: Vec<&str> = stages.iter().map(|(label, ..)| label.as_str()).collect();
    let bars: Vec<f64> = (0..stages.len()).map(|place| top + HEIGHT * place as f64 + 20.0).collect();
    let stretches: Vec<(f64, f64)> = bars.iter().map(|bar| (bar - 2.0, bar + 14.0)).collect();
    let drawn = html! {
        (axis(&scale, Unit::Seconds, &stretches, bottom))
        @for ((label, begin, end), bar) in stages.iter().zip(&bars) {
            (text(&fit(label), (6.0, bar - 10.0), "start"))
            (rectangle("blue", (scale.at(*begin), *bar), (scale.at(*end).max(scale.at(*begin) + 2.0), bar + 12.0)))
        }
        @if let Some(active) = active {
            (across("purple dashed", scale.at(active), &stretches))
            (beside("purple", &format!("unit active at {}", Unit::Seconds.format(active)), (scale.at(active), LETTERS * 0.75 + 2.0)))
        }
    };
    Some(svg(bottom + LETTERS * 2.0, &format!("start of {name}: {}", labels.join(", ")), &drawn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_begins_where_the_one_before_it_ended() {
        let sample = |probe: &str, end: f64| Sample::of("hello", probe, end, Unit::Seconds);
        let drawn = |samples: &[Sample]| Some(waterfall("hello", &samples.iter().collect::<Vec<_>>())?.into_string());
        let samples = [sample("start.create", 1.5), sample("start.init", 2.0), sample("start.time", 1.9)];
        let svg = drawn(&samples).unwrap();
        assert!(svg.contains("start of hello: systemd, then podman create: 1.5 s, podman init: 500 ms"), "{svg}");
        assert!(svg.contains("unit active at 1.9 s"), "{svg}");
        let bars: Vec<&str> = svg.split("<polygon class=\"blue\" points=\"").skip(1).collect();
        let corner = |bar: &str, place: usize| bar.split(['"', ' ', ',']).nth(place).unwrap().to_owned();
        assert_eq!(bars.len(), 2);
        assert_eq!(corner(bars[0], 2), corner(bars[1], 0));
        assert_eq!(drawn(&samples[2..]), None, "no stages");
        assert_eq!(drawn(&[sample("start.create", f64::NAN)]), None);
    }
}
