//! Provides the sheet that plots are drawn on: 400 units wide, with letters that stay readable on a phone's width.

use maud::{PreEscaped, Render as _, html};
use plotters::coord::Shift;
use plotters::prelude::*;
pub(super) use plotters::style::text_anchor::HPos;
use plotters::style::text_anchor::{Pos, VPos};

use crate::base::unit::Unit;

/// The width of every sheet, in its own units.
pub(in crate::report) const WIDTH: f64 = 400.0;
/// How much finer than its units a sheet is drawn: the crate only knows whole numbers.
const FINE: f64 = 2.0;
/// The height of letters, in units.
pub(super) const LETTERS: f64 = 14.0;
/// The number that the crate divides a font's size by.
const FONT: f64 = 1.24;
/// The width of a letter relative to its height, estimated generously.
const LETTER: f64 = 0.58;

/// Colours that colour-blind readers can distinguish (Okabe and Ito). The page's style names the same ones.
pub(in crate::report) mod colour {
    use plotters::style::RGBColor;

    pub const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
    pub const FAINT: RGBColor = RGBColor(0xD8, 0xD8, 0xD4);
    pub const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
    pub const ORANGE: RGBColor = RGBColor(0xE6, 0x9F, 0x00);
    pub const GREEN: RGBColor = RGBColor(0x00, 0x9E, 0x73);
    pub const VERMILLION: RGBColor = RGBColor(0xD5, 0x5E, 0x00);
    pub const PURPLE: RGBColor = RGBColor(0xAA, 0x4A, 0x88);
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Makes a scale that shows all of these values between two places; it begins at zero if that costs little. Returns
    /// `None` if there are no values, or if they cannot be drawn.
    pub fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Scale> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            // A value this large cannot be distinguished from its neighbours.
            if value.is_nan() || value.abs() >= 1e30 {
                return None;
            }
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            return None;
        }
        if low > 0.0 && low < 0.5 * high {
            low = 0.0;
        }
        let margin = ((high - low) * 0.06).max(high.abs().max(low.abs()) * 1e-6).max(1e-9);
        let low = if low == 0.0 { 0.0 } else { low - margin };
        Some(Scale { low, high: high + margin, from, to })
    }

    pub fn at(&self, value: f64) -> f64 {
        self.from + (value.clamp(self.low, self.high) - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    pub(super) fn ends(&self) -> (f64, f64) {
        (self.from, self.to)
    }

    /// Returns about four round values.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let raw = (self.high - self.low) / 4.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|part| part * power).find(|step| *step >= raw);
        let step = step.unwrap_or(raw);
        let first = (self.low / step).ceil();
        let ticks = (0..12).map(|place| (first + f64::from(place)) * step);
        ticks.take_while(|tick| *tick <= self.high).collect()
    }
}

/// A sheet. What cannot be drawn on it is left out: drawing into memory does not fail.
pub(in crate::report) struct Sheet<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

fn fine(units: f64) -> i32 {
    (units * FINE).round() as i32
}

fn place((x, y): (f64, f64)) -> (i32, i32) {
    (fine(x), fine(y))
}

impl Sheet<'_> {
    /// Draws the SVG of a sheet of this height, with a description in words.
    pub fn draw(height: f64, description: &str, draw: impl FnOnce(&Sheet)) -> String {
        let mut text = String::new();
        let size = (fine(WIDTH) as u32, fine(height) as u32);
        let sheet = Sheet { area: SVGBackend::with_string(&mut text, size).into_drawing_area() };
        draw(&sheet);
        let _ = sheet.area.present();
        drop(sheet);
        // The page sets the size and describes the plot in words.
        let drawn = text.split_once('>').map_or("", |(_, drawn)| drawn);
        let drawn = drawn.trim_end().trim_end_matches("</svg>").replace(">\n", ">");
        let view = format!("0 0 {} {}", size.0, size.1);
        html! { svg role="img" viewBox=(view) { title { (description) } (PreEscaped(drawn)) } }.render().into_string()
    }

    pub(super) fn line(&self, from: (f64, f64), to: (f64, f64), colour: RGBColor, width: f64) {
        self.path([from, to].into_iter(), colour, width);
    }

    pub fn path(&self, points: impl Iterator<Item = (f64, f64)>, colour: RGBColor, width: f64) {
        let style = colour.stroke_width(fine(width) as u32);
        let _ = self.area.draw(&PathElement::new(points.map(place).collect::<Vec<_>>(), style));
    }

    /// Draws a dashed line along one direction of the sheet.
    pub(super) fn dashes(&self, from: (f64, f64), to: (f64, f64), colour: RGBColor) {
        let length = (to.0 - from.0).abs().max((to.1 - from.1).abs());
        let at = |share: f64| (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
        let count = (length / 8.0).ceil().clamp(1.0, 100.0);
        for dash in 0..count as usize {
            let start = dash as f64 / count;
            self.line(at(start), at((start + 0.6 / count).min(1.0)), colour, 2.0);
        }
    }

    pub fn dot(&self, at: (f64, f64), radius: f64, colour: RGBColor) {
        let _ = self.area.draw(&Circle::new(place(at), fine(radius), colour.filled()));
    }

    pub(super) fn ring(&self, at: (f64, f64), colour: RGBColor) {
        let _ = self.area.draw(&Circle::new(place(at), fine(7.0), colour.stroke_width(fine(1.0) as u32)));
    }

    pub(super) fn cross(&self, (x, y): (f64, f64), colour: RGBColor) {
        self.line((x - 4.0, y - 4.0), (x + 4.0, y + 4.0), colour, 2.0);
        self.line((x - 4.0, y + 4.0), (x + 4.0, y - 4.0), colour, 2.0);
    }

    pub fn rectangle(&self, from: (f64, f64), to: (f64, f64), colour: RGBColor, strength: f64) {
        let _ = self.area.draw(&Rectangle::new([place(from), place(to)], colour.mix(strength).filled()));
    }

    pub fn polygon(&self, corners: impl Iterator<Item = (f64, f64)>, colour: RGBColor) {
        let _ = self.area.draw(&Polygon::new(corners.map(place).collect::<Vec<_>>(), colour.filled()));
    }

    /// Draws a text with this end at a point, and its middle at the point's height.
    pub(super) fn text(&self, text: &str, at: (f64, f64), end: HPos) {
        let font = ("sans-serif", LETTERS * FINE * FONT).into_font();
        let style = font.color(&colour::INK).pos(Pos::new(end, VPos::Center));
        let _ = self.area.draw_text(text, &style, place(at));
    }

    /// Labels a line at `x`: draws the line's beginning at the height `y`, and the text on the side that has room.
    pub(super) fn beside(&self, text: &str, (x, y): (f64, f64), colour: RGBColor) {
        let wide = wide(text) + 5.0;
        match (x - wide > 0.0, x + wide < WIDTH) {
            (false, false) => return self.text(&fit(text), (0.0, y), HPos::Left),
            (true, right) if !right || x >= WIDTH / 2.0 => self.text(text, (x - 5.0, y), HPos::Right),
            _ => self.text(text, (x + 5.0, y), HPos::Left),
        }
        self.line((x, y - 6.0), (x, y + 6.0), colour, 2.0);
    }

    /// Draws the axis of a scale along the bottom: its values, and faint lines above them in these stretches of height,
    /// which leave room for labels.
    pub(super) fn axis(&self, scale: &Scale, unit: Unit, stretches: &[(f64, f64)], bottom: f64) {
        let mut taken = f64::NEG_INFINITY;
        for tick in scale.ticks() {
            let x = scale.at(tick);
            for (top, end) in stretches {
                self.line((x, *top), (x, *end), colour::FAINT, 1.0);
            }
            let text = unit.format(tick);
            // Digits and signs are wider than letters are on average.
            let half = wide(&text) / 2.0 + 4.0;
            let middle = x.clamp(half, (WIDTH - half).max(half));
            if middle - half >= taken {
                self.text(&text, (middle, bottom + LETTERS), HPos::Center);
                taken = middle + half + LETTERS / 2.0;
            }
        }
        let (from, to) = scale.ends();
        self.line((from, bottom), (to, bottom), colour::INK, 1.0);
    }
}

/// Returns the maximum width of a text, in units.
pub(super) fn wide(text: &str) -> f64 {
    text.chars().count() as f64 * LETTERS * LETTER
}

pub(super) fn fit(text: &str) -> String {
    let most = (WIDTH / LETTERS / LETTER) as usize;
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_all_values_and_begins_at_zero_where_that_costs_little() {
        let scale = Scale::over([20.0, 100.0].into_iter(), 10.0, 390.0).unwrap();
        assert_eq!(scale.at(0.0), 10.0);
        assert!(scale.at(100.0) < 390.0 && scale.at(100.0) > 350.0);
        let far = Scale::over([98.0, 100.0].into_iter(), 0.0, 400.0).unwrap();
        assert!(far.at(98.0) > 0.0 && far.at(98.0) < 40.0, "two that are near are told apart");
    }

    #[test]
    fn nothing_is_too_odd_for_a_scale() {
        assert_eq!(Scale::over([].into_iter(), 0.0, 1.0), None);
        assert_eq!(Scale::over([f64::NAN].into_iter(), 0.0, 1.0), None);
        assert_eq!(Scale::over([1.0, f64::INFINITY].into_iter(), 0.0, 1.0), None);
        for values in [vec![0.0], vec![-3.0, -3.0], vec![1e-300], vec![1e29, -1e29], vec![1e29, 1e29], vec![5.0]] {
            let scale = Scale::over(values.iter().copied(), 0.0, 400.0).unwrap();
            assert!(scale.ticks().len() <= 12, "{values:?}");
            assert!(values.iter().all(|value| (0.0..=400.0).contains(&scale.at(*value))), "{values:?}");
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        let scale = Scale::over([0.0, 67_108_864.0].into_iter(), 0.0, 400.0).unwrap();
        assert_eq!(scale.ticks(), [0.0, 2e7, 4e7, 6e7]);
    }

    #[test]
    fn what_a_sheet_says_is_escaped_and_its_size_is_left_to_the_page() {
        let svg = Sheet::draw(50.0, "<b> & c", |sheet| sheet.text("<i>", (1.0, 2.0), HPos::Left));
        assert!(svg.starts_with("<svg role=\"img\" viewBox=\"0 0 800 100\"><title>&lt;b&gt; &amp; c</title>"), "{svg}");
        assert!(svg.contains("&lt;i&gt;") && svg.ends_with("</svg>") && !svg.contains("<i>"), "{svg}");
        assert_eq!(svg.matches("</svg>").count(), 1);
    }
}
