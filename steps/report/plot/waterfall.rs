//! Draws the time that a start took, stage by stage.

use super::sheet::{LETTERS, Scale, Sheet, Side, WIDTH, colour, fit};
use crate::base::unit::Unit;

#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Stage {
    pub name: &'static str,
    /// When it ended, in seconds since systemd began.
    pub end: f64,
}

#[derive(Clone, Debug)]
pub(in crate::report) struct Waterfall<'a> {
    pub name: &'a str,
    pub stages: Vec<Stage>,
    /// When systemd reported the unit as active, in seconds since it began.
    pub active: Option<f64>,
}

impl Waterfall<'_> {
    /// Draws the plot; `None` if no scale can show the numbers.
    pub fn draw(&self) -> Option<String> {
        let ends = self.stages.iter().map(|stage| stage.end).chain(self.active).chain([0.0]);
        let scale = Scale::over(ends, 4.0, WIDTH - 4.0)?;
        let top = if self.active.is_some() { LETTERS * 1.6 } else { 2.0 };
        let height = 36.0;
        let bottom = top + height * self.stages.len() as f64 + 4.0;
        Some(Sheet::draw(bottom + LETTERS * 2.0, &self.words(), |sheet| {
            sheet.axis(&scale, Unit::Seconds, top, bottom);
            if let Some(active) = self.active {
                sheet.dashes((scale.at(active), 4.0), (scale.at(active), bottom), colour::PURPLE);
                let text = format!("unit active at {}", Unit::Seconds.show(active));
                sheet.beside(&text, (scale.at(active), LETTERS * 0.75 + 2.0), &[]);
            }
            let mut begin = 0.0;
            for (place, stage) in self.stages.iter().enumerate() {
                let above = top + height * place as f64;
                let text = fit(&format!("{}: {}", stage.name, Unit::Seconds.show((stage.end - begin).max(0.0))));
                sheet.text(&text, (6.0, above + 10.0), Side::Right, colour::INK);
                let (from, to) = (scale.at(begin), scale.at(stage.end).max(scale.at(begin) + 2.0));
                sheet.rectangle((from, above + 20.0), (to, above + 32.0), colour::BLUE, 1.0);
                begin = stage.end;
            }
        }))
    }

    fn words(&self) -> String {
        let mut begin = 0.0;
        let mut told = Vec::new();
        for stage in &self.stages {
            told.push(format!("{} {}", stage.name, Unit::Seconds.show((stage.end - begin).max(0.0))));
            begin = stage.end;
        }
        format!("start of {}: {}", self.name, told.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_begins_where_the_one_before_it_ended() {
        let stages = vec![Stage { name: "create", end: 1.5 }, Stage { name: "init", end: 2.0 }];
        let fall = Waterfall { name: "hello", stages, active: Some(1.9) };
        let svg = fall.draw().unwrap();
        assert!(svg.contains("start of hello: create 1.5 s, init 500 ms"), "{svg}");
        assert!(svg.contains("unit active at 1.9 s"), "{svg}");
        let bars: Vec<&str> = svg.split("<rect").skip(1).collect();
        assert_eq!(bars.len(), 2);
        let number = |bar: &str, key: &str| -> i32 {
            bar.split_once(&format!(" {key}=\"")).unwrap().1.split_once('"').unwrap().0.parse().unwrap()
        };
        assert_eq!(number(bars[0], "x") + number(bars[0], "width"), number(bars[1], "x"));
        let odd = Waterfall { name: "x", stages: vec![Stage { name: "create", end: f64::NAN }], active: None };
        assert_eq!(odd.draw(), None);
    }
}
