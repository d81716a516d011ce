//! Draws every sample of a check as a dot, with the bound and the annex's figure.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{LETTERS, Scale, WIDTH, across, axis, beside, circle, fit, line, rectangle, svg, text};
use crate::base::unit::Unit;
use crate::verdict::Rule;

const MOST: usize = 240;
/// The maximum number of rows with their own line; if there are more, they become one.
const ROWS: usize = 10;
/// The maximum number of outliers that are always drawn.
const FAR: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Dot {
    pub value: f64,
    /// Whether it is outside the bound.
    pub broken: bool,
    pub outlier: bool,
}

/// The samples of one subject.
#[derive(Clone, Debug)]
pub(in crate::report) struct SubjectDots {
    pub name: String,
    /// Its samples, in the order in which they were taken.
    pub dots: Vec<Dot>,
}

/// Samples with their bound.
#[derive(Clone, Debug)]
pub(in crate::report) struct Dots<'a> {
    /// What is shown, for readers who cannot see it.
    pub name: &'a str,
    pub unit: Unit,
    pub rows: Vec<SubjectDots>,
    pub rule: &'a Rule,
    /// The annex's figure.
    pub published: Option<f64>,
}

impl Dots<'_> {
    fn all(&self) -> impl Iterator<Item = &Dot> + Clone {
        self.rows.iter().flat_map(|row| &row.dots)
    }

    /// Draws the plot, and counts the samples that are in it; `None` if no scale can show the numbers.
    pub fn draw(&self) -> Option<(Markup, usize)> {
        let bounds = bounds(self.rule);
        let lines = bounds.iter().copied().chain(self.published);
        let scale = Scale::over(self.all().map(|dot| dot.value).chain(lines), 12.0, WIDTH - 12.0)?;
        let rows = self.thinned();
        // The bound and the annex's figure have each a label on a line of its own, above the strips of dots.
        let labels = usize::from(!bounds.is_empty()) + usize::from(self.published.is_some());
        let label = |place: usize| LETTERS * (0.75 + 1.5 * place as f64) + 2.0;
        let top = LETTERS * 1.5 * labels as f64 + 4.0;
        let mut bottom = top;
        let mut strip = |row: &SubjectDots| {
            let top = bottom + 17.0;
            bottom += if row.dots.len() > 12 { 62.0 } else { 40.0 };
            (top, bottom)
        };
        let strips: Vec<(f64, f64)> = rows.iter().map(&mut strip).collect();
        let bottom = bottom + 4.0;
        let drawn = html! {
            @for (from, to) in self.forbidden(&scale) { (rectangle("vermillion forbidden", (from, top), (to, bottom))) }
            (axis(&scale, self.unit, &strips, bottom))
            @for bound in &bounds { (across("vermillion", scale.at(*bound), &strips)) }
            @if let Some(first) = bounds.first() {
                (beside("vermillion", &format!("bound {}", self.rule.format(self.unit)), (scale.at(*first), label(0))))
            }
            @if let Some(published) = self.published {
                (across("purple dashed", scale.at(published), &strips))
                (beside("purple", &format!("annex {}", self.unit.format(published)), (scale.at(published), label(labels - 1))))
            }
            @for (row, strip) in rows.iter().zip(&strips) {
                (text(&fit(&row.name), (12.0, strip.0 - 8.0), "start"))
                (dots(&scale, &row.dots, *strip))
            }
        };
        let count = rows.iter().map(|row| row.dots.len()).sum();
        Some((svg(bottom + LETTERS * 2.0, &self.words(), &drawn), count))
    }

    fn words(&self) -> String {
        let (of, values) = (self.all().count(), self.all().map(|dot| dot.value));
        let (low, high) = (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
        let broken = self.all().filter(|dot| dot.broken).count();
        let [low, high] = [low, high].map(|value| self.unit.format(value));
        let published = self.published.map(|value| format!("; the annex: {}", self.unit.format(value)));
        let bound = match self.rule {
            Rule::Recorded => "; no bound".to_owned(),
            rule => format!("; bound {}, broken by {broken}", rule.format(self.unit)),
        };
        let samples = if of == 1 { format!("1 sample, {low}") } else { format!("{of} samples from {low} to {high}") };
        format!("{}: {samples}{bound}{}", self.name, published.unwrap_or_default())
    }

    /// Returns the same rows with fewer dots if there are many: the extremes and the outliers always stay.
    fn thinned(&self) -> Vec<SubjectDots> {
        let one_of_all =
            || SubjectDots { name: format!("{} subjects", self.rows.len()), dots: self.all().copied().collect() };
        let rows = if self.rows.len() > ROWS { vec![one_of_all()] } else { self.rows.clone() };
        let most = MOST / rows.len().max(1);
        rows.into_iter().map(|row| SubjectDots { dots: thin(&row.dots, most), ..row }).collect()
    }

    /// Returns the areas outside the bound.
    fn forbidden(&self, scale: &Scale) -> Vec<(f64, f64)> {
        let (left, right) = scale.ends;
        match self.rule {
            Rule::AtLeast { bound: low } | Rule::MedianAtLeast { bound: low } => vec![(left, scale.at(*low))],
            Rule::Below { bound: high } | Rule::AtMost { bound: high } => vec![(scale.at(*high), right)],
            Rule::Between { low, high } => vec![(left, scale.at(*low)), (scale.at(*high), right)],
            _ => Vec::new(),
        }
    }
}

fn bounds(rule: &Rule) -> Vec<f64> {
    match rule {
        Rule::Below { bound } | Rule::AtMost { bound } | Rule::AtLeast { bound } | Rule::MedianAtLeast { bound } => {
            vec![*bound]
        }
        Rule::Between { low, high } => vec![*low, *high],
        Rule::Equals { value } | Rule::Differs { value } => value.number().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Draws dots in a strip; dots at the same place are put next to each other.
fn dots(scale: &Scale, dots: &[Dot], (top, bottom): (f64, f64)) -> Markup {
    let centre = (top + bottom) / 2.0;
    let levels = (((bottom - top) / 2.0 - 4.0) / 5.0).floor().max(0.0) as usize;
    let mut taken = BTreeMap::<i64, usize>::new();
    let mut place = |dot: &Dot| {
        let x = scale.at(dot.value);
        let count = taken.entry((x / 8.0) as i64).or_default();
        let level = *count % (2 * levels + 1);
        *count += 1;
        let away = level.div_ceil(2) as f64 * 5.0;
        (x, if level % 2 == 1 { centre - away } else { centre + away })
    };
    html! {
        @for dot in dots {
            @let (x, y) = place(dot);
            @if dot.broken {
                (line("vermillion", [(x - 4.0, y - 4.0), (x + 4.0, y + 4.0)]))
                (line("vermillion", [(x - 4.0, y + 4.0), (x + 4.0, y - 4.0)]))
            } @else { (circle("blue", (x, y), 4.0)) }
            @if dot.outlier { (circle("ring", (x, y), 7.0)) }
        }
    }
}

/// Keeps at most about this many dots: the smallest, the largest and the outliers, and evenly chosen others.
fn thin(dots: &[Dot], most: usize) -> Vec<Dot> {
    if dots.len() <= most {
        return dots.to_vec();
    }
    let by_value = |a: &(usize, &Dot), b: &(usize, &Dot)| a.1.value.total_cmp(&b.1.value);
    let ends = [dots.iter().enumerate().min_by(by_value), dots.iter().enumerate().max_by(by_value)];
    let far = dots.iter().enumerate().filter(|(_, dot)| dot.outlier).take(FAR);
    let mut kept: Vec<usize> = ends.into_iter().flatten().chain(far).map(|(place, _)| place).collect();
    let rest = most.saturating_sub(kept.len()).max(1);
    kept.extend((0..rest).map(|part| part * dots.len() / rest));
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().filter_map(|place| dots.get(place).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(value: f64) -> Dot {
        Dot { value, broken: value >= 64.0, outlier: false }
    }

    fn draw(rows: Vec<SubjectDots>, rule: &Rule, published: Option<f64>) -> Option<(String, usize)> {
        let (svg, drawn) = Dots { name: "start.time", unit: Unit::Seconds, rows, rule, published }.draw()?;
        Some((svg.into_string(), drawn))
    }

    fn row(values: impl Iterator<Item = f64>) -> SubjectDots {
        SubjectDots { name: "hello <1>".into(), dots: values.map(dot).collect() }
    }

    #[test]
    fn every_sample_is_drawn_with_its_bound_and_the_annexs_figure() {
        let rule = Rule::Below { bound: 64.0 };
        let (svg, drawn) = draw(vec![row([20.0, 30.0, 70.0].into_iter())], &rule, Some(17.8)).unwrap();
        assert_eq!(drawn, 3);
        assert_eq!(svg.matches("<circle").count(), 2, "one breaks the bound, and is a cross");
        let words = "start.time: 3 samples from 20 s to 70 s; bound &lt; 64 s, broken by 1; the annex: 17.8 s";
        for text in [">bound &lt; 64 s", "annex 17.8 s", "hello &lt;1&gt;", words] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }

    #[test]
    fn of_very_many_the_ends_and_the_far_ones_stay() {
        let mut many: Vec<Dot> = (0..100_000).map(|n| dot(30.0 + f64::from(n % 7))).collect();
        many[5000].value = 1.0;
        many[70_001].value = 99.0;
        many[33_333] = Dot { value: 60.0, outlier: true, broken: false };
        let thinned = thin(&many, 200);
        assert!(thinned.len() <= 200, "{}", thinned.len());
        for value in [1.0, 99.0, 60.0] {
            assert!(thinned.iter().any(|dot| dot.value == value), "{value}");
        }
        let rows = vec![SubjectDots { name: "x".into(), dots: many }];
        let (svg, drawn) = draw(rows, &Rule::Recorded, None).unwrap();
        assert!(drawn <= MOST && svg.len() < 40_000, "{drawn} dots, {} bytes", svg.len());
    }

    #[test]
    fn what_no_scale_can_show_is_not_drawn() {
        assert!(draw(vec![row([1.0, f64::INFINITY].into_iter())], &Rule::Recorded, None).is_none());
        assert!(draw(Vec::new(), &Rule::Recorded, None).is_none());
        let many = (0..30).map(|n| row(std::iter::once(f64::from(n)))).collect();
        assert!(draw(many, &Rule::Recorded, None).unwrap().0.contains("30 subjects"));
    }
}
