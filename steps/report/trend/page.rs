//! Makes the page of a comparison, which loads nothing from the network: plots of what changed, every claim, every run.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::prelude::*;

use super::{DRAWN, Matter, ends, marks, said, size, summary};
use crate::base::unit::Unit;
use crate::report::comparison::{About, Comparison, Trend};
use crate::verdict::Verdict;

const STYLE: &str = include_str!("page.css");

/// The size of a plot, in its own units.
const SIZE: (u32, u32) = (1400, 260);
/// The distance of the drawing from the plot's border.
const MARGIN: f64 = 24.0;
/// The maximum number of figures that all get a dot; of more, only the last run and runs that do not hold get one.
const DOTS: usize = 90;

// Colours that colour-blind readers can distinguish (Okabe and Ito); the page's style names the same ones.
const FAINT: RGBColor = RGBColor(0xD8, 0xD8, 0xD4);
const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
const VERMILLION: RGBColor = RGBColor(0xD5, 0x5E, 0x00);

/// Makes the page of a comparison: one file without scripts or external parts. The same comparison gives the same
/// bytes.
pub fn trend_html(compared: &Comparison) -> String {
    let mut matters: Vec<(Matter, &Trend)> =
        compared.claims.iter().filter_map(|trend| Some((Matter::of(trend)?, trend))).collect();
    matters.sort_by_key(|(matter, trend)| (*matter, trend.id));
    let title = "What became of the claims";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { (title) }
                p.quiet { (super::runs(compared)) }
                p { (summary(compared)) }
                h2 { "What is to be pointed out" }
                @if matters.is_empty() { p { "Nothing: every verdict is as it was, and every change is within the noise." } }
                @for (matter, trend) in &matters { (pointed_out(*matter, trend, &compared.runs)) }
                h2 { "Every claim" }
                (claims(&compared.claims))
                h2 { "How noise is told from change" }
                (noise())
                h2 { "The runs" }
                (runs(&compared.runs))
            } }
        }
    };
    page.into_string()
}

fn pointed_out(matter: Matter, trend: &Trend, runs: &[About]) -> Markup {
    html! {
        article id=(trend.id) {
            h3 { (trend.id) " " (trend.claim) }
            p.quiet.worse[matter == Matter::Worse] { (matter.words()) }
            @for sentence in said(trend) { p { (sentence) } }
            @if let Some(svg) = plot(trend) {
                figure {
                    (PreEscaped(svg))
                    figcaption { (caption(trend, runs)) }
                }
            }
        }
    }
}

fn caption(trend: &Trend, runs: &[About]) -> String {
    let unit = trend.unit.unwrap_or(Unit::Count);
    let numbers = || trend.figures().filter_map(|(_, value)| value.number());
    let (low, high) = (numbers().fold(f64::INFINITY, f64::min), numbers().fold(f64::NEG_INFINITY, f64::max));
    let name = |at: Option<usize>| at.and_then(|at| runs.get(at)).map(|run| run.run.as_str()).unwrap_or_default();
    let mut places = trend.figures().map(|(place, _)| place);
    let (first, last) = (places.next(), places.next_back());
    format!(
        "{} in {} runs, {} to {}, between {} and {}; the band is what the runs before the last gave; \
         an orange triangle is a run in which the claim fails or is inconclusive",
        trend.probe.as_deref().unwrap_or_default(),
        numbers().count(),
        name(first),
        name(last),
        unit.show(low),
        unit.show(high),
    )
}

/// Plots the figures of a claim over the runs; nothing if there are no two numbers that differ.
fn plot(trend: &Trend) -> Option<String> {
    let seen: Vec<(usize, f64)> = trend.figures().filter_map(|(place, value)| Some((place, value.number()?))).collect();
    let (low, high) = ends_of(&seen)?;
    let across = (f64::from(SIZE.0) - 2.0 * MARGIN) / trend.values.len().saturating_sub(1).max(1) as f64;
    let up = (f64::from(SIZE.1) - 2.0 * MARGIN) / (high - low);
    let height = |value: f64| (f64::from(SIZE.1) - MARGIN - (value - low) * up).round() as i32;
    let point = |(run, value): (usize, f64)| ((MARGIN + run as f64 * across).round() as i32, height(value));
    let bad = |run: usize| matches!(trend.verdicts.get(run), Some(Some(Verdict::Fails | Verdict::Inconclusive)));
    let (last, earlier) = seen.split_last()?;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        // Drawing into memory does not fail.
        if let Some((low, high)) = band(earlier) {
            let corners = [(0, height(high) - 1), (SIZE.0 as i32, height(low) + 1)];
            let _ = area.draw(&Rectangle::new(corners, FAINT.filled()));
        }
        let line: Vec<(i32, i32)> = seen.iter().copied().map(point).collect();
        let _ = area.draw(&PathElement::new(line, BLUE.stroke_width(3)));
        for one in seen.iter().copied().filter(|one| seen.len() <= DOTS || one == last || bad(one.0)) {
            let _ = match bad(one.0) {
                true => area.draw(&TriangleMarker::new(point(one), 15, VERMILLION.filled())),
                false => area.draw(&Circle::new(point(one), 8, BLUE.filled())),
            };
        }
        let _ = area.present();
    }
    // The page sets the size and describes the plot in words.
    let drawn = text.split_once('>').map_or("", |(_, drawn)| drawn);
    let (wide, high) = SIZE;
    let says = format!("{} over the runs", trend.id);
    Some(format!(
        "<svg viewBox=\"0 0 {wide} {high}\" role=\"img\" aria-label=\"{says}\" xmlns=\"http://www.w3.org/2000/svg\">{drawn}"
    ))
}

/// Returns the smallest and the largest value, if they differ and can be drawn.
fn ends_of(seen: &[(usize, f64)]) -> Option<(f64, f64)> {
    let (low, high) = band(seen)?;
    (low < high && high - low < 1e30).then_some((low, high))
}

fn band(seen: &[(usize, f64)]) -> Option<(f64, f64)> {
    let numbers = || seen.iter().map(|(_, value)| *value);
    Some((numbers().reduce(f64::min)?, numbers().reduce(f64::max)?))
}

fn claims(trends: &[Trend]) -> Markup {
    let heads = ["id", "claim", "verdicts", "first → last", "change from the median before", "noise"];
    html! {
        div.wide tabindex="0" role="region" aria-label="Every claim" { table {
            thead { tr { @for head in heads { th scope="col" { (head) } } } }
            tbody { @for trend in trends {
                @let change = trend.change.as_ref().filter(|change| change.absolute != 0.0);
                tr {
                    th scope="row" {
                        @if Matter::of(trend).is_some() { a href={ "#" (trend.id) } { (trend.id) } } @else { (trend.id) }
                    }
                    td.text { (trend.claim) }
                    td.marks { (marks(trend)) }
                    td { @for line in ends(trend).lines() { div { (line) } } }
                    td { @if let Some(change) = change { (size(change, trend.unit)) } }
                    td.text { @if let Some(change) = change { (change.noise) } }
                }
            } }
        } }
        p.quiet { "✔ holds, ✘ fails, ≈ known deviation, ? inconclusive, – not run, · not in that run's register. The newest " (DRAWN) " runs at most, the last of them at the end." }
    }
}

fn noise() -> Markup {
    html! {
        p {
            "A figure is the median of the samples of the check that decided the claim, or the only sample. It is "
            "held against the median of the earlier runs whose figures are of the same probe, unit, bound, target, "
            "architecture and kind of CPU. No distribution is assumed."
        }
        p {
            "With five earlier runs or more, a change exceeds the noise where the figure lies outside of all that "
            "they gave and beyond their fences (Tukey's: one and a half times the distance between the hinges). With "
            "fewer, where the interval of its median lies apart from those of all earlier runs, each of at least "
            "90 % confidence, for which it takes five samples. Otherwise the noise is unknown."
        }
    }
}

fn runs(runs: &[About]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="The runs" { table {
            thead { tr { @for head in ["run", "started", "target", "commit", "exit status"] { th scope="col" { (head) } } } }
            tbody { @for run in runs { tr {
                th scope="row" { (run.run) }
                td { (run.started.strftime("%F %T")) }
                td { (run.target) }
                td { (run.commit.as_deref().unwrap_or("not noted")) }
                td { (run.exit) }
            } } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{change, compared, trend};
    use super::*;
    use crate::measurement::Value;

    #[test]
    fn the_page_points_out_what_changed_and_shows_every_claim() {
        let moved = Trend { change: change(3.0, Some(true)), ..trend("A6-3", &[Verdict::Holds; 2], &[10.0, 13.0]) };
        let same = trend("A6-4", &[Verdict::Holds; 2], &[1.0, 1.0]);
        let page = trend_html(&compared(vec![same.clone(), moved.clone()]));
        assert!(page.contains("<article id=\"A6-3\">") && !page.contains("<article id=\"A6-4\">"), "{page}");
        assert!(page.contains("log.duration: +3 s (+30 %); noise: so it was found"), "{page}");
        assert!(page.contains("log.duration in 2 runs, one to two, between 10 s and 13 s;"), "{page}");
        assert!(page.contains("<svg viewBox=") && page.contains("<th scope=\"row\">A6-4</th>"), "{page}");
        let quiet = trend_html(&compared(vec![same]));
        assert!(quiet.contains("Nothing: every verdict is as it was") && !quiet.contains("<svg"), "{quiet}");
        assert_eq!(page, trend_html(&compared(vec![trend("A6-4", &[Verdict::Holds; 2], &[1.0, 1.0]), moved])));
    }

    #[test]
    fn what_a_run_says_is_never_markup() {
        let script = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>";
        let hostile = Trend {
            claim: script.into(),
            note: Some(script.into()),
            probe: Some(script.into()),
            ..trend("A6-3", &[Verdict::Holds; 2], &[10.0, 13.0])
        };
        let page = trend_html(&compared(vec![hostile]));
        assert!(!page.contains("<script") && !page.contains("<img") && page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "nothing is from elsewhere");
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out_and_many_runs_stay_small() {
        let plot_of = |values: &[f64]| plot(&trend("A6-3", &vec![Verdict::Holds; values.len()], values));
        assert_eq!((plot_of(&[]), plot_of(&[1.0]), plot_of(&[2.0, 2.0])), (None, None, None));
        assert_eq!(plot_of(&[-1e308, 1e308]), None);
        let many: Vec<f64> = (0..365).map(|run| f64::from(run % 7)).collect();
        assert!(plot_of(&many).unwrap().len() < 10_000);
        let failed = plot(&trend("A6-3", &[Verdict::Holds, Verdict::Fails], &[1.0, 2.0])).unwrap();
        assert!(failed.contains("<polygon") && failed.contains("#D55E00"), "{failed}");
        let text = Trend { values: vec![Some(Value::Text("a".into())); 2], ..trend("A6-3", &[Verdict::Holds; 2], &[]) };
        assert_eq!(plot(&text), None);
    }
}
