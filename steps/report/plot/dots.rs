//! Draws every sample of a check as a dot, with the bound and the annex's figure.

use super::sheet::{HPos, LETTERS, Scale, Sheet, WIDTH, colour, fit};
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
pub(in crate::report) struct Row {
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
    pub rows: Vec<Row>,
    pub rule: &'a Rule,
    /// The annex's figure.
    pub published: Option<f64>,
}

impl Dots<'_> {
    fn all(&self) -> impl Iterator<Item = &Dot> + Clone {
        self.rows.iter().flat_map(|row| &row.dots)
    }

    /// Draws the plot, and counts the samples that are in it; `None` if no scale can show the numbers.
    pub fn draw(&self) -> Option<(String, usize)> {
        let bounds = bounds(self.rule);
        let lines = bounds.iter().copied().chain(self.published);
        let scale = Scale::over(self.all().map(|dot| dot.value).chain(lines), 12.0, WIDTH - 12.0)?;
        let rows = self.thinned();
        let drawn = rows.iter().map(|row| row.dots.len()).sum();
        let top =
            LETTERS * 1.5 * (usize::from(!bounds.is_empty()) + usize::from(self.published.is_some())) as f64 + 4.0;
        let heights: Vec<f64> = rows.iter().map(|row| if row.dots.len() > 12 { 62.0 } else { 40.0 }).collect();
        let bottom = top + heights.iter().sum::<f64>() + 4.0;
        let mut above = top;
        let strips = heights.iter().map(|height| {
            above += height;
            (above - height + 17.0, above)
        });
        let strips: Vec<(f64, f64)> = strips.collect();
        let svg = Sheet::draw(bottom + LETTERS * 2.0, &self.words(), |sheet| {
            self.forbidden(sheet, &scale, top, bottom);
            sheet.axis(&scale, self.unit, &strips, bottom);
            self.lines(sheet, &scale, &bounds, &strips);
            for (row, (top, bottom)) in rows.iter().zip(&strips) {
                sheet.text(&fit(&row.name), (12.0, top - 8.0), HPos::Left);
                strip(sheet, &scale, &row.dots, *top, *bottom);
            }
        });
        Some((svg, drawn))
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
    fn thinned(&self) -> Vec<Row> {
        let one_of_all = || Row { name: format!("{} subjects", self.rows.len()), dots: self.all().copied().collect() };
        let rows = if self.rows.len() > ROWS { vec![one_of_all()] } else { self.rows.clone() };
        let most = MOST / rows.len().max(1);
        rows.into_iter().map(|row| Row { dots: thin(&row.dots, most), ..row }).collect()
    }

    /// Shades the area outside the bound.
    fn forbidden(&self, sheet: &Sheet, scale: &Scale, top: f64, bottom: f64) {
        let (left, right) = scale.ends();
        let shade = |from: f64, to: f64| sheet.rectangle((from, top), (to, bottom), colour::VERMILLION, 0.12);
        if let Rule::AtLeast { bound: low } | Rule::MedianAtLeast { bound: low } | Rule::Between { low, .. } = self.rule
        {
            shade(left, scale.at(*low));
        }
        if let Rule::Below { bound: high } | Rule::AtMost { bound: high } | Rule::Between { high, .. } = self.rule {
            shade(scale.at(*high), right);
        }
    }

    /// Draws the bound and the annex's figure through the strips of dots, each labelled above these on a line of its own.
    fn lines(&self, sheet: &Sheet, scale: &Scale, bounds: &[f64], strips: &[(f64, f64)]) {
        let mut label = LETTERS * 0.75 + 2.0;
        for x in bounds.iter().map(|bound| scale.at(*bound)) {
            strips.iter().for_each(|(top, bottom)| sheet.line((x, *top), (x, *bottom), colour::VERMILLION, 2.0));
        }
        if let Some(first) = bounds.first() {
            let text = format!("bound {}", self.rule.format(self.unit));
            sheet.beside(&text, (scale.at(*first), label), colour::VERMILLION);
            label += LETTERS * 1.5;
        }
        if let Some(published) = self.published {
            let x = scale.at(published);
            strips.iter().for_each(|(top, bottom)| sheet.dashes((x, *top), (x, *bottom), colour::PURPLE));
            sheet.beside(&format!("annex {}", self.unit.format(published)), (x, label), colour::PURPLE);
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
fn strip(sheet: &Sheet, scale: &Scale, dots: &[Dot], top: f64, bottom: f64) {
    let centre = (top + bottom) / 2.0;
    let levels = (((bottom - top) / 2.0 - 4.0) / 5.0).floor().max(0.0) as usize;
    let mut taken = std::collections::BTreeMap::<i64, usize>::new();
    for dot in dots {
        let x = scale.at(dot.value);
        let count = taken.entry((x / 8.0) as i64).or_default();
        let level = *count % (2 * levels + 1);
        *count += 1;
        let away = level.div_ceil(2) as f64 * 5.0;
        let at = (x, if level % 2 == 1 { centre - away } else { centre + away });
        match dot.broken {
            true => sheet.cross(at, colour::VERMILLION),
            false => sheet.dot(at, 4.0, colour::BLUE),
        }
        if dot.outlier {
            sheet.ring(at, colour::INK);
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

    fn draw(rows: Vec<Row>, rule: &Rule, published: Option<f64>) -> Option<(String, usize)> {
        Dots { name: "start.time", unit: Unit::Seconds, rows, rule, published }.draw()
    }

    fn row(values: impl Iterator<Item = f64>) -> Row {
        Row { name: "hello <1>".into(), dots: values.map(dot).collect() }
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
        let rows = vec![Row { name: "x".into(), dots: many }];
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
