//! Draws the memory of one run over time: the kinds of memory stacked, with the cap.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{Markup, html};

use super::{LETTERS, Scale, WIDTH, axis, line, polygon, svg, text, wide};
use crate::base::unit::Unit;
use crate::measurement::Sample;

const MOST: usize = 160;
/// The unit's own memory, its page cache, and the kernel's: the probes, and the classes of their colours.
const KINDS: [(&str, &str); 3] =
    [("timeline.unit.anon", "blue"), ("timeline.unit.file", "orange"), ("timeline.unit.kernel", "green")];

/// The memory in use at one moment: the seconds since the first look, and the bytes of each kind.
type Moment = (f64, [f64; 3]);

fn sum((_, kinds): &Moment) -> f64 {
    kinds.iter().sum()
}

/// Draws the plot, and says in short how much memory was in use; `None` if the run is too short, or if no scale can show
/// the numbers.
pub(in crate::report) fn timeline(name: &str, samples: &[&Sample]) -> Option<(String, Markup)> {
    let (all, cap) = moments(samples);
    let moments = thinned(&all);
    let (left, right, top, bottom) = (64.0, WIDTH - 10.0, LETTERS * 1.4, 170.0);
    let time = Scale::over(moments.iter().map(|(at, _)| *at), left, right)?;
    let memory = Scale::over(moments.iter().map(sum).chain([0.0]).chain(cap), bottom, top)?;
    if moments.len() < 2 || moments.iter().flat_map(|(_, kinds)| kinds).any(|bytes| *bytes < 0.0) {
        return None;
    }
    // The upper edge of the kinds up to one.
    let edge =
        |kinds: usize| moments.iter().map(move |(at, bytes)| (time.at(*at), memory.at(bytes.iter().take(kinds).sum())));
    let drawn = html! {
        @for tick in memory.ticks() {
            (line("faint", [(left, memory.at(tick)), (right, memory.at(tick))]))
            (text(&Unit::Bytes.format(tick), (left - 6.0, memory.at(tick)), "end"))
        }
        @for (place, (_, class)) in KINDS.iter().enumerate() {
            (polygon(class, edge(place + 1).chain(edge(place).rev())))
        }
        (axis(&time, Unit::Seconds, &[], bottom))
        @if let Some(cap) = cap {
            @let (y, words) = (memory.at(cap), format!("cap {}", Unit::Bytes.format(cap)));
            (line("vermillion dashed", [(left, y), (right, y)]))
            (text(&words, (right.max(left + wide(&words)), (y - LETTERS * 0.75).max(LETTERS * 0.6)), "end"))
        }
    };
    let most = Unit::Bytes.format(all.iter().map(sum).fold(0.0, f64::max));
    let seconds = Unit::Seconds.format(all.last().map_or(0.0, |(at, _)| *at));
    let cap = cap.map(|cap| Unit::Bytes.format(cap));
    let against = cap.as_ref().map_or("without a cap".to_owned(), |cap| format!("against a cap of {cap}"));
    let words = format!("memory of {name} over {seconds}: at most {most}, {against}");
    let caption = format!("at most {most} at a look, {}", cap.map_or("no cap".to_owned(), |cap| format!("cap {cap}")));
    Some((caption, svg(bottom + LETTERS * 2.0, &words, &drawn)))
}

/// Returns the moments of which all three kinds of memory are known, and the memory limit.
fn moments(samples: &[&Sample]) -> (Vec<Moment>, Option<f64>) {
    let mut looks = BTreeMap::<Timestamp, [Option<f64>; 3]>::new();
    for sample in samples {
        if let Some(place) = KINDS.iter().position(|(kind, _)| *kind == sample.probe) {
            looks.entry(sample.at).or_default()[place] = sample.value.number();
        }
    }
    let begin = looks.keys().next().copied().unwrap_or_default();
    let moment = |(at, kinds): (&Timestamp, &[Option<f64>; 3])| {
        let [Some(anon), Some(file), Some(kernel)] = *kinds else { return None };
        Some((at.duration_since(begin).as_secs_f64(), [anon, file, kernel]))
    };
    let cap = samples.iter().rev().find(|sample| sample.probe == "timeline.unit.max");
    (looks.iter().filter_map(moment).collect(), cap.and_then(|cap| cap.value.number()))
}

/// Of many moments, keeps the one with the most memory in use in each stretch of time.
fn thinned(moments: &[Moment]) -> Vec<Moment> {
    let stretch = moments.len().div_ceil(MOST).max(1);
    let most = |moments: &[Moment]| moments.iter().max_by(|a, b| sum(a).total_cmp(&sum(b))).copied();
    moments.chunks(stretch).filter_map(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(count: i64, cap: Option<f64>) -> Vec<Sample> {
        let sample = |second: i64, probe: &str, bytes: f64| Sample {
            at: Timestamp::from_second(second).unwrap(),
            ..Sample::of("hello warm 1", probe, bytes, Unit::Bytes)
        };
        let kinds = |second: i64| {
            let bytes = [1e6, if second == 77_777 { 9e7 } else { 2e6 + second as f64 }, 5e5];
            KINDS.iter().zip(bytes).map(move |((kind, _), bytes)| sample(second, kind, bytes))
        };
        // A look that did not see all kinds does not count.
        let cut = sample(count, "timeline.unit.anon", 1.0);
        let cap = cap.map(|cap| sample(0, "timeline.unit.max", cap));
        (0..count).flat_map(kinds).chain([cut]).chain(cap).collect()
    }

    fn draw(samples: &[Sample]) -> Option<(String, String)> {
        let (caption, svg) = timeline("hello & co", &samples.iter().collect::<Vec<_>>())?;
        Some((caption, svg.into_string()))
    }

    #[test]
    fn kind_lies_upon_kind_below_the_cap() {
        let (caption, svg) = draw(&run(10, Some(67_108_864.0))).unwrap();
        assert_eq!((caption.as_str(), svg.matches("<polygon").count()), ("at most 3.5 MB at a look, cap 64 MiB", 3));
        let words = "memory of hello &amp; co over 9 s: at most 3.5 MB, against a cap of 64 MiB<";
        assert!(svg.contains(words) && svg.contains(">cap 64 MiB<"), "{svg}");
        assert!(draw(&run(10, None)).unwrap().1.contains("without a cap"));
    }

    #[test]
    fn many_looks_become_few_and_the_highest_stays() {
        let (caption, svg) = draw(&run(100_000, None)).unwrap();
        assert!(svg.len() < 20_000 && caption.starts_with("at most 91.5 MB"), "{caption}, {} bytes", svg.len());
        let long = run(100_000, None);
        assert!(thinned(&moments(&long.iter().collect::<Vec<_>>()).0).iter().any(|(_, kinds)| kinds[1] == 9e7));
    }

    #[test]
    fn what_is_no_timeline_is_not_drawn() {
        for samples in [run(1, None), run(0, None), run(5, Some(f64::NAN))] {
            assert_eq!(draw(&samples), None);
        }
    }
}
