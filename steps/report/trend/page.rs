//! Makes the page of a comparison, which loads nothing from the network: plots of what changed, every claim, every run.

use maud::{Markup, html};

use super::{DRAWN, MATTERS, ends, marks, matter, remarks, size, summary};
use crate::base::unit::Unit;
use crate::report::comparison::{About, Comparison, Trend};
use crate::report::html::{frame, table};
use crate::report::plot::{Scale, WIDTH, circle, line, polygon, rectangle, svg};
use crate::verdict::Verdict;

const STYLE: &str = include_str!("page.css");

/// The height of a plot, in units of its sheet.
const HEIGHT: f64 = 74.0;
/// The distance of the drawing from the plot's border.
const MARGIN: f64 = 7.0;
/// The maximum number of figures that all get a dot; of more, only the last run and runs that do not hold get one.
const DOTS: usize = 90;

/// Makes the page of a comparison: one file without scripts or external parts. The same comparison gives the same
/// bytes.
pub fn trend_html(compared: &Comparison) -> String {
    let mut matters: Vec<(usize, &Trend)> =
        compared.claims.iter().filter_map(|trend| Some((matter(trend)?, trend))).collect();
    matters.sort_by_key(|(matter, trend)| (*matter, trend.id));
    let title = "How the claims changed";
    let content = html! {
        h1 { (title) }
        p.quiet { (super::runs(compared)) }
        p { (summary(compared)) }
        h2 { "What stands out" }
        @if matters.is_empty() { p { "Nothing: every verdict is as it was, and every change is within the noise." } }
        @for (matter, trend) in &matters { (pointed_out(*matter, trend, &compared.runs)) }
        h2 { "Every claim" }
        (claims(&compared.claims))
        h2 { "How noise and change are distinguished" }
        p {
            "A figure is the median of the samples of the check that decided the claim, or the only sample. It is "
            "compared with the median of the earlier runs whose figures are of the same probe, unit, bound, target, "
            "architecture and kind of CPU. No distribution is assumed."
        }
        p {
            "With five earlier runs or more, a change exceeds the noise where the figure lies outside of all that "
            "they gave and beyond their fences (Tukey's: one and a half times the distance between the hinges). With "
            "fewer, where the interval of its median lies apart from those of all earlier runs, each of at least "
            "90 % confidence, for which it takes five samples. Otherwise the noise is unknown."
        }
        h2 { "The runs" }
        (runs(&compared.runs))
    };
    frame(title, STYLE, "", &content).into_string()
}

fn pointed_out(matter: usize, trend: &Trend, runs: &[About]) -> Markup {
    html! {
        article id=(trend.id) {
            h3 { (trend.id) " " (trend.claim) }
            p.quiet.worse[trend.worse()] { (MATTERS[matter]) }
            @for sentence in remarks(trend) { p { (sentence) } }
            @if let Some(svg) = plot(trend) {
                figure { (svg) figcaption { (caption(trend, runs)) } }
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
        "{} in {} runs, {} to {}, between {} and {}; the band spans the runs before the last; \
         an orange triangle is a run in which the claim fails or is inconclusive",
        trend.probe.as_deref().unwrap_or_default(),
        numbers().count(),
        name(first),
        name(last),
        unit.format(low),
        unit.format(high),
    )
}

/// Plots the figures of a claim over the runs; nothing if there are no two numbers that differ.
fn plot(trend: &Trend) -> Option<Markup> {
    let seen: Vec<(usize, f64)> = trend.figures().filter_map(|(place, value)| Some((place, value.number()?))).collect();
    let (last, earlier) = seen.split_last()?;
    if earlier.iter().all(|(_, value)| *value == last.1) {
        return None;
    }
    let across = Scale::over([0.0, (trend.values.len() - 1) as f64].into_iter(), MARGIN, WIDTH - MARGIN)?;
    let up = Scale::over(seen.iter().map(|(_, value)| *value), HEIGHT - MARGIN, MARGIN)?;
    let at = |(run, value): &(usize, f64)| (across.at(*run as f64), up.at(*value));
    let bad = |run: usize| matches!(trend.verdicts.get(run), Some(Some(Verdict::Fails | Verdict::Inconclusive)));
    let heights = || earlier.iter().map(|one| at(one).1);
    let (top, bottom) = (heights().reduce(f64::min)? - 0.5, heights().reduce(f64::max)? + 0.5);
    let drawn = html! {
        (rectangle("faint", (0.0, top), (WIDTH, bottom)))
        (line("blue", seen.iter().map(at)))
        @for one in seen.iter().filter(|one| seen.len() <= DOTS || *one == last || bad(one.0)) {
            @let (x, y) = at(one);
            @if bad(one.0) { (polygon("vermillion", [(x - 4.0, y + 2.5), (x + 4.0, y + 2.5), (x, y - 4.5)])) }
            @else { (circle("blue", (x, y), 2.3)) }
        }
    };
    Some(svg(HEIGHT, &format!("{} over the runs", trend.id), &drawn))
}

fn claims(trends: &[Trend]) -> Markup {
    let heads = ["id", "claim", "verdicts", "first → last", "change from the median before", "noise"];
    let rows = html! { @for trend in trends { tr {
        th scope="row" {
            @if matter(trend).is_some() { a href={ "#" (trend.id) } { (trend.id) } } @else { (trend.id) }
        }
        td.text { (trend.claim) }
        td.marks { (marks(trend)) }
        td { @for line in ends(trend).lines() { div { (line) } } }
        td { @if let Some(change) = trend.moved() { (size(change, trend.unit)) } }
        td.text { @if let Some(change) = trend.moved() { (change.noise) } }
    } } };
    html! {
        (table("Every claim", "claims", &heads, &rows))
        p.quiet { "✔ holds, ✘ fails, ≈ known deviation, ? inconclusive, – not run, · not in that run's register. The newest " (DRAWN) " runs at most, the last of them at the end." }
    }
}

fn runs(runs: &[About]) -> Markup {
    let rows = html! { @for run in runs { tr {
        th scope="row" { (run.run) }
        td { (run.started.strftime("%F %T")) }
        td { (run.target) }
        td { (run.commit.as_deref().unwrap_or("not noted")) }
        td { (run.exit) }
    } } };
    table("The runs", "runs", &["run", "started", "target", "commit", "exit status"], &rows)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compared, one_of_each, trend};
    use super::*;
    use crate::measurement::Value;
    use crate::report::html::tests::words;

    #[test]
    fn the_page_points_out_what_changed_and_shows_every_claim() {
        let compared = one_of_each();
        let page = trend_html(&compared);
        assert!(page.contains("<article id=\"A6-3\">") && !page.contains("<article id=\"A6-4\">"), "{page}");
        insta::assert_snapshot!("comparison", words(&page));
        let quiet = trend_html(&Comparison { claims: vec![compared.claims[3].clone()], ..compared });
        assert!(quiet.contains("Nothing: every verdict is as it was") && !quiet.contains("<svg"), "{quiet}");
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
        let plot_of =
            |values: &[f64]| plot(&trend("A6-3", &vec![Verdict::Holds; values.len()], values)).map(Markup::into_string);
        assert_eq!((plot_of(&[]), plot_of(&[1.0]), plot_of(&[2.0, 2.0])), (None, None, None));
        assert_eq!(plot_of(&[-1e308, 1e308]), None);
        let many: Vec<f64> = (0..365).map(|run| f64::from(run % 7)).collect();
        assert!(plot_of(&many).unwrap().len() < 10_000);
        let failed = plot(&trend("A6-3", &[Verdict::Holds, Verdict::Fails], &[1.0, 2.0])).unwrap().into_string();
        assert!(failed.contains("<polygon class=\"vermillion\""), "{failed}");
        let text = Trend { values: vec![Some(Value::Text("a".into())); 2], ..trend("A6-3", &[Verdict::Holds; 2], &[]) };
        assert!(plot(&text).is_none());
    }
}
