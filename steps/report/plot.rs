//! Makes the parts of plots as SVG: 400 units wide, with letters that stay readable on a phone's width. The colours of
//! their classes are in the page's style.

mod dots;
mod timeline;
mod waterfall;

use maud::{Markup, html};

use crate::base::unit::Unit;
pub(super) use dots::{Dot, Dots, SubjectDots};
pub(super) use timeline::timeline;
pub(super) use waterfall::waterfall;

pub(super) const WIDTH: f64 = 400.0;
/// The height of letters.
const LETTERS: f64 = 14.0;
/// The width of a letter relative to its height, estimated generously.
const LETTER: f64 = 0.58;

type Point = (f64, f64);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    ends: (f64, f64),
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
        Some(Scale { low, high: high + margin, ends: (from, to) })
    }

    pub fn at(&self, value: f64) -> f64 {
        let (from, to) = self.ends;
        from + (value.clamp(self.low, self.high) - self.low) / (self.high - self.low) * (to - from)
    }

    /// Returns about four round values.
    fn ticks(&self) -> Vec<f64> {
        let raw = (self.high - self.low) / 4.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|part| part * power).find(|step| *step >= raw);
        let step = step.unwrap_or(raw);
        let first = (self.low / step).ceil();
        let ticks = (0..12).map(|place| (first + f64::from(place)) * step);
        ticks.take_while(|tick| *tick <= self.high).collect()
    }
}

/// Makes a plot of this height, with a description in words.
pub(super) fn svg(height: f64, description: &str, drawn: &Markup) -> Markup {
    html! { svg role="img" viewBox={ "0 0 " (WIDTH) " " (height) } { title { (description) } (drawn) } }
}

/// Rounds to half a unit, so that the page stays small.
fn round(units: f64) -> f64 {
    (units * 2.0).round() / 2.0
}

fn joined(points: impl IntoIterator<Item = Point>) -> String {
    let points = points.into_iter().map(|(x, y)| format!("{},{}", round(x), round(y)));
    points.collect::<Vec<_>>().join(" ")
}

pub(super) fn line(class: &str, points: impl IntoIterator<Item = Point>) -> Markup {
    html! { polyline class=(class) points=(joined(points)) {} }
}

pub(super) fn polygon(class: &str, corners: impl IntoIterator<Item = Point>) -> Markup {
    html! { polygon class=(class) points=(joined(corners)) {} }
}

pub(super) fn rectangle(class: &str, (left, top): Point, (right, bottom): Point) -> Markup {
    polygon(class, [(left, top), (right, top), (right, bottom), (left, bottom)])
}

pub(super) fn circle(class: &str, (x, y): Point, radius: f64) -> Markup {
    html! { circle class=(class) cx=(round(x)) cy=(round(y)) r=(radius) {} }
}

/// Makes a text with this end at a point, and its middle at the point's height.
fn text(text: &str, (x, y): Point, end: &str) -> Markup {
    html! { text x=(round(x)) y=(round(y)) dy="0.5ex" text-anchor=(end) { (text) } }
}

/// Labels a line at `x`: makes the line's beginning at the height `y`, and the text on the side that has room.
fn beside(class: &str, words: &str, (x, y): Point) -> Markup {
    let wide = wide(words) + 5.0;
    let label = match (x - wide > 0.0, x + wide < WIDTH) {
        (false, false) => return text(&fit(words), (0.0, y), "start"),
        (true, right) if !right || x >= WIDTH / 2.0 => text(words, (x - 5.0, y), "end"),
        _ => text(words, (x + 5.0, y), "start"),
    };
    html! { (label) (line(class, [(x, y - 6.0), (x, y + 6.0)])) }
}

/// Makes the axis of a scale along the bottom: its values, and faint lines above them in these stretches of height,
/// which leave room for labels.
fn axis(scale: &Scale, unit: Unit, stretches: &[(f64, f64)], bottom: f64) -> Markup {
    let mut taken = f64::NEG_INFINITY;
    let mut label = |tick: f64| {
        let words = unit.format(tick);
        // Digits and signs are wider than letters are on average.
        let half = wide(&words) / 2.0 + 4.0;
        let middle = scale.at(tick).clamp(half, (WIDTH - half).max(half));
        let room = middle - half >= taken;
        taken = if room { middle + half + LETTERS / 2.0 } else { taken };
        room.then(|| text(&words, (middle, bottom + LETTERS), "middle"))
    };
    let (from, to) = scale.ends;
    html! {
        @for tick in scale.ticks() {
            (across("faint", scale.at(tick), stretches))
            @if let Some(label) = label(tick) { (label) }
        }
        (line("ink", [(from, bottom), (to, bottom)]))
    }
}

/// Makes an upright line that is interrupted between these stretches of height.
fn across(class: &str, x: f64, stretches: &[(f64, f64)]) -> Markup {
    html! { @for (top, end) in stretches { (line(class, [(x, *top), (x, *end)])) } }
}

/// Returns the maximum width of a text.
fn wide(text: &str) -> f64 {
    text.chars().count() as f64 * LETTERS * LETTER
}

fn fit(text: &str) -> String {
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
        assert!(far.at(98.0) > 0.0 && far.at(98.0) < 40.0, "two that are near have places of their own");
        let memory = Scale::over([0.0, 67_108_864.0].into_iter(), 0.0, 400.0).unwrap();
        assert_eq!(memory.ticks(), [0.0, 2e7, 4e7, 6e7]);
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
}
