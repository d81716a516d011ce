//! Draws the memory of one run over time: the kinds of memory stacked, with the cap.

use super::sheet::{HPos, LETTERS, Scale, Sheet, WIDTH, colour, wide};
use crate::base::unit::Unit;

const MOST: usize = 160;

/// The memory in use at one look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Look {
    /// Seconds since the first look.
    pub at: f64,
    /// The unit's own memory, its page cache, and the kernel's, in bytes.
    pub kinds: [f64; 3],
}

#[derive(Clone, Debug)]
pub(in crate::report) struct Timeline<'a> {
    pub name: &'a str,
    /// The looks, in the order in which they were taken.
    pub looks: Vec<Look>,
    /// The memory limit, in bytes.
    pub cap: Option<f64>,
}

impl Timeline<'_> {
    /// Returns the most memory it had in use, in bytes.
    pub fn most(&self) -> f64 {
        self.looks.iter().map(|look| look.kinds.iter().sum()).fold(0.0, f64::max)
    }

    /// Draws the plot; `None` if the run is too short, or if no scale can show the numbers.
    pub fn draw(&self) -> Option<String> {
        let (left, right, top, bottom) = (64.0, WIDTH - 10.0, LETTERS * 1.4, 170.0);
        let looks = self.thinned();
        let time = Scale::over(looks.iter().map(|look| look.at), left, right)?;
        let heights = looks.iter().map(|look| look.kinds.iter().sum()).chain([0.0]).chain(self.cap);
        let memory = Scale::over(heights, bottom, top)?;
        if looks.len() < 2 || looks.iter().flat_map(|look| look.kinds).any(|kind| kind < 0.0) {
            return None;
        }
        Some(Sheet::draw(bottom + LETTERS * 2.0, &self.words(), |sheet| {
            for tick in memory.ticks() {
                sheet.line((left, memory.at(tick)), (right, memory.at(tick)), colour::FAINT, 1.0);
                sheet.text(&Unit::Bytes.format(tick), (left - 6.0, memory.at(tick)), HPos::Right);
            }
            let mut below = vec![0.0; looks.len()];
            for (kind, colour) in [colour::BLUE, colour::ORANGE, colour::GREEN].into_iter().enumerate() {
                let above: Vec<f64> = looks.iter().zip(&below).map(|(look, below)| below + look.kinds[kind]).collect();
                let edge = |heights: &[f64]| -> Vec<(f64, f64)> {
                    looks.iter().zip(heights).map(|(look, height)| (time.at(look.at), memory.at(*height))).collect()
                };
                sheet.polygon(edge(&above).into_iter().chain(edge(&below).into_iter().rev()), colour);
                below = above;
            }
            sheet.axis(&time, Unit::Seconds, &[], bottom);
            if let Some(cap) = self.cap {
                let (y, text) = (memory.at(cap), format!("cap {}", Unit::Bytes.format(cap)));
                sheet.dashes((left, y), (right, y), colour::VERMILLION);
                let label = (y - LETTERS * 0.75).max(LETTERS * 0.6);
                sheet.text(&text, (right.max(left + wide(&text)), label), HPos::Right);
            }
        }))
    }

    fn words(&self) -> String {
        let seconds = self.looks.last().map_or(0.0, |look| look.at);
        let cap = match self.cap {
            Some(cap) => format!("against a cap of {}", Unit::Bytes.format(cap)),
            None => "without a cap".to_owned(),
        };
        let (most, seconds) = (Unit::Bytes.format(self.most()), Unit::Seconds.format(seconds));
        format!("memory of {} over {seconds}: at most {most}, {cap}", self.name)
    }

    /// Of many looks, keeps the one with the most memory in use in each stretch of time.
    fn thinned(&self) -> Vec<Look> {
        let stretch = self.looks.len().div_ceil(MOST).max(1);
        let sum = |look: &&Look| look.kinds.iter().sum::<f64>();
        let most = |looks: &[Look]| looks.iter().max_by(|a, b| sum(a).total_cmp(&sum(b))).copied();
        self.looks.chunks(stretch).filter_map(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(count: u32, cap: Option<f64>) -> Timeline<'static> {
        let look = |n| Look { at: f64::from(n), kinds: [1e6, 2e6 + f64::from(n), 5e5] };
        Timeline { name: "hello & co", looks: (0..count).map(look).collect(), cap }
    }

    #[test]
    fn kind_lies_upon_kind_below_the_cap() {
        let svg = run(10, Some(67_108_864.0)).draw().unwrap();
        assert_eq!(svg.matches("<polygon").count(), 3);
        let words = "memory of hello &amp; co over 9 s: at most 3.5 MB, against a cap of 64 MiB<";
        assert!(svg.contains(words) && svg.contains(">cap 64 MiB\n"), "{svg}");
        assert!(run(10, None).draw().unwrap().contains("without a cap"));
    }

    #[test]
    fn many_looks_become_few_and_the_highest_stays() {
        let mut long = run(100_000, None);
        long.looks[77_777].kinds[0] = 9e7;
        let thinned = long.thinned();
        assert!(thinned.len() <= MOST && thinned.iter().any(|look| look.kinds[0] == 9e7));
        assert!(long.draw().unwrap().len() < 20_000);
    }

    #[test]
    fn what_is_no_timeline_is_not_drawn() {
        assert_eq!(run(1, None).draw(), None);
        assert_eq!(run(0, None).draw(), None);
        assert_eq!(run(5, Some(f64::NAN)).draw(), None);
    }
}
