//! Draws the time that a start took, stage by stage.

use super::sheet::{HPos, LETTERS, Scale, Sheet, WIDTH, colour, fit};
use crate::base::unit::Unit;

#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Stage {
    pub name: &'static str,
    /// When it ended, in seconds since systemd began.
    pub end: f64,
}

/// Draws the stages of a start, and when systemd reported the unit as active, in seconds since it began; `None` if no
/// scale can show the numbers.
pub(in crate::report) fn waterfall(name: &str, stages: &[Stage], active: Option<f64>) -> Option<String> {
    let ends = || stages.iter().map(|stage| stage.end);
    let scale = Scale::over(ends().chain(active).chain([0.0]), 4.0, WIDTH - 4.0)?;
    // Each stage begins where the one before it ended.
    let begins = || [0.0].into_iter().chain(ends());
    let label = |(stage, begin): (&Stage, f64)| {
        format!("{}: {}", stage.name, Unit::Seconds.format((stage.end - begin).max(0.0)))
    };
    let labels: Vec<String> = stages.iter().zip(begins()).map(label).collect();
    let top = if active.is_some() { LETTERS * 1.6 } else { 2.0 };
    let height = 36.0;
    let bottom = top + height * stages.len() as f64 + 4.0;
    let words = format!("start of {name}: {}", labels.join(", "));
    let bars: Vec<f64> = (0..stages.len()).map(|place| top + height * place as f64 + 20.0).collect();
    let stretches: Vec<(f64, f64)> = bars.iter().map(|bar| (bar - 2.0, bar + 14.0)).collect();
    Some(Sheet::draw(bottom + LETTERS * 2.0, &words, |sheet| {
        sheet.axis(&scale, Unit::Seconds, &stretches, bottom);
        for ((label, bar), (begin, end)) in labels.iter().zip(&bars).zip(begins().zip(ends())) {
            sheet.text(&fit(label), (6.0, bar - 10.0), HPos::Left);
            let (from, to) = (scale.at(begin), scale.at(end).max(scale.at(begin) + 2.0));
            sheet.rectangle((from, *bar), (to, bar + 12.0), colour::BLUE, 1.0);
        }
        if let Some(active) = active {
            let x = scale.at(active);
            stretches.iter().for_each(|(top, end)| sheet.dashes((x, *top), (x, *end), colour::PURPLE));
            let text = format!("unit active at {}", Unit::Seconds.format(active));
            sheet.beside(&text, (x, LETTERS * 0.75 + 2.0), colour::PURPLE);
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_begins_where_the_one_before_it_ended() {
        let stages = vec![Stage { name: "create", end: 1.5 }, Stage { name: "init", end: 2.0 }];
        let svg = waterfall("hello", &stages, Some(1.9)).unwrap();
        assert!(svg.contains("start of hello: create: 1.5 s, init: 500 ms"), "{svg}");
        assert!(svg.contains("unit active at 1.9 s"), "{svg}");
        let bars: Vec<&str> = svg.split("<rect").skip(1).collect();
        assert_eq!(bars.len(), 2);
        let number = |bar: &str, key: &str| -> i32 {
            bar.split_once(&format!(" {key}=\"")).unwrap().1.split_once('"').unwrap().0.parse().unwrap()
        };
        assert_eq!(number(bars[0], "x") + number(bars[0], "width"), number(bars[1], "x"));
        assert_eq!(waterfall("x", &[Stage { name: "create", end: f64::NAN }], None), None);
    }
}
