//! Formats a comparison of runs for the console, and as a page that loads nothing from the network.

use comfy_table::{ColumnConstraint, Table};
use maud::{Markup, html};

use super::console::{self, cut, mark, one_line};
use super::html::{self as page, frame};
use crate::base::unit::Unit;
use crate::measurement::Value;
use crate::report::comparison::{About, Comparison, FigureChange, Trend};
use crate::report::plot::{self, Scale, circle, line, polygon, rectangle, svg};
use crate::verdict::Verdict;

/// The number of runs that are drawn, the newest; `--json` has them all.
const DRAWN: usize = 20;

/// The width of the table if the console's width is unknown.
const WIDTH: u16 = 120;

/// How much of a text a cell shows, in characters.
const CELL: usize = 30;

/// The sign for a run that has no verdict, or no figure that can be drawn next to the others.
const NOTHING: &str = "·";

/// Formats the runs, the table of all claims, the claims to point out, and a last line.
pub fn comparison(compared: &Comparison) -> String {
    let pointed_out: Vec<String> = compared.claims.iter().filter_map(point_out).collect();
    let drawn = if compared.runs.len() > DRAWN { format!("; the last {DRAWN} are drawn") } else { String::new() };
    format!("{}{drawn}\n{}\n\n{}{}", runs(compared), table(compared), pointed_out.concat(), summary(compared))
}

fn runs(compared: &Comparison) -> String {
    let (Some(first), Some(last)) = (compared.runs.first(), compared.runs.last()) else { return String::new() };
    let [first, last] = [first, last].map(|run| format!("{} ({})", one_line(&run.run), run.started.strftime("%F %R")));
    format!("{} runs, from {first} to {last}", compared.runs.len())
}

fn table(compared: &Comparison) -> Table {
    let mut table = console::frame(WIDTH);
    table.set_header(["id", "claim", "runs", "first → last", "change from\nmedian before", "noise"]);
    for trend in &compared.claims {
        let change = trend.moved();
        table.add_row([
            trend.id.to_string(),
            one_line(&trend.claim),
            format!("{}\n{}", marks(trend), sparkline(trend)).trim_end().to_owned(),
            ends(trend),
            change.map(|change| size(change, trend.unit)).unwrap_or_default(),
            change.map(|change| word(change).to_owned()).unwrap_or_default(),
        ]);
    }
    // These columns are only readable on one line.
    for column in [0, 2, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

fn newest<T>(all: &[T]) -> &[T] {
    all.get(all.len().saturating_sub(DRAWN)..).unwrap_or(all)
}

fn marks(trend: &Trend) -> String {
    newest(&trend.verdicts).iter().map(|verdict| verdict.map_or(NOTHING, mark)).collect()
}

/// Draws the figures as bars between the smallest and the largest of them; nothing if they do not differ.
fn sparkline(trend: &Trend) -> String {
    const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    let drawn: Vec<Option<f64>> = newest(&trend.values).iter().map(|value| value.as_ref()?.number()).collect();
    let numbers = || drawn.iter().flatten().copied();
    let (low, high) = (numbers().fold(f64::INFINITY, f64::min), numbers().fold(f64::NEG_INFINITY, f64::max));
    if low >= high {
        return String::new();
    }
    let bar = |value: f64| BARS.get(((value - low) / (high - low) * 7.0).round() as usize).copied().unwrap_or(NOTHING);
    drawn.iter().map(|value| value.map_or(NOTHING, bar)).collect()
}

/// Formats the probe, and the first and the last of its comparable figures.
fn ends(trend: &Trend) -> String {
    let probe = trend.probe.as_deref().map(one_line).unwrap_or_default();
    let unit = trend.unit.unwrap_or(Unit::Text);
    let show = |value: &Value| match value {
        Value::Number(number) => unit.format(*number),
        Value::Text(text) => cut(&one_line(text), CELL),
    };
    let mut figures = trend.figures().map(|(_, value)| show(value));
    match (figures.next(), figures.next_back()) {
        (Some(first), Some(last)) if first != last => format!("{probe}\n{first} → {last}"),
        (Some(only), _) => format!("{probe}\n{only}"),
        _ => String::new(),
    }
}

/// Formats a change with its sign, in the claim's unit and in per cent.
fn size(change: &FigureChange, unit: Option<Unit>) -> String {
    let sign = if change.absolute < 0.0 { "−" } else { "+" };
    let absolute = match unit.unwrap_or(Unit::Count) {
        // "Per cent" of a ratio would be ambiguous.
        Unit::Ratio => format!("{} points", Unit::Count.format(change.absolute.abs() * 100.0)),
        unit => unit.format(change.absolute.abs()),
    };
    let relative = change.relative.map(|relative| format!(" ({sign}{})", Unit::Ratio.format(relative.abs())));
    format!("{sign}{absolute}{}", relative.unwrap_or_default())
}

fn word(change: &FigureChange) -> &'static str {
    match change.exceeds_noise {
        Some(true) => "BEYOND",
        Some(false) => "within",
        None => "unknown",
    }
}

/// Why a claim is pointed out, the most important reason first.
const MATTERS: [&str; 4] = ["✘ worse", "≠ verdict", "≠ figure", "· note"];

/// Returns the index in [`MATTERS`] of why a claim is pointed out, if it is.
fn matter(trend: &Trend) -> Option<usize> {
    let exceeds = trend.moved().map(|change| change.exceeds_noise);
    let noted = exceeds == Some(None) || trend.note.is_some();
    let reasons = [trend.worse(), trend.changed_verdict, exceeds == Some(Some(true)), noted];
    reasons.iter().position(|reason| *reason)
}

/// Formats the line about a claim below the table, if there is one.
fn point_out(trend: &Trend) -> Option<String> {
    Some(format!("{:<9} {:<5} {}\n", MATTERS[matter(trend)?], trend.id, remarks(trend).join("; ")))
}

/// Returns the change of a claim's figure, unless it is noise, and further remarks.
fn remarks(trend: &Trend) -> Vec<String> {
    let changed = trend.moved().filter(|change| change.exceeds_noise != Some(false)).map(|change| {
        let probe = trend.probe.as_deref().unwrap_or("its figure");
        format!("{}: {}; noise: {}", one_line(probe), size(change, trend.unit), change.noise)
    });
    changed.into_iter().chain(trend.note.as_deref().map(one_line)).collect()
}

fn summary(compared: &Comparison) -> String {
    let count = |is: fn(&Trend) -> bool| compared.claims.iter().filter(|trend| is(trend)).count();
    let moved = |beyond: Option<bool>| {
        compared.claims.iter().filter_map(Trend::moved).filter(|change| change.exceeds_noise == beyond).count()
    };
    format!(
        "{} claims: {} got worse, {} changed their verdict; figures: {} changed beyond the noise, {} within it, \
         {} where it is unknown, {} stayed the same, {} have no two numbers to compare",
        compared.claims.len(),
        count(Trend::worse),
        count(|trend| trend.changed_verdict),
        moved(Some(true)),
        moved(Some(false)),
        moved(None),
        count(|trend| trend.change.as_ref().is_some_and(|change| change.absolute == 0.0)),
        count(|trend| trend.change.is_none()),
    )
}

const STYLE: &str = include_str!("trend/page.css");

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
        p.quiet { (runs(compared)) }
        p { (summary(compared)) }
        h2 { "What stands out" }
        @if matters.is_empty() { p { "Nothing: every verdict is as it was, and every change is within the noise." } }
        @for (matter, trend) in &matters { (article(*matter, trend, &compared.runs)) }
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
        (every_run(&compared.runs))
    };
    frame(title, STYLE, "", &content).into_string()
}

fn article(matter: usize, trend: &Trend, runs: &[About]) -> Markup {
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
    let across = Scale::over([0.0, (trend.values.len() - 1) as f64].into_iter(), MARGIN, plot::WIDTH - MARGIN)?;
    let up = Scale::over(seen.iter().map(|(_, value)| *value), HEIGHT - MARGIN, MARGIN)?;
    let at = |(run, value): &(usize, f64)| (across.at(*run as f64), up.at(*value));
    let bad = |run: usize| matches!(trend.verdicts.get(run), Some(Some(Verdict::Fails | Verdict::Inconclusive)));
    let heights = || earlier.iter().map(|one| at(one).1);
    let (top, bottom) = (heights().reduce(f64::min)? - 0.5, heights().reduce(f64::max)? + 0.5);
    let drawn = html! {
        (rectangle("faint", (0.0, top), (plot::WIDTH, bottom)))
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
        (page::table("Every claim", "claims", &heads, &rows))
        p.quiet { "✔ holds, ✘ fails, ≈ known deviation, ? inconclusive, – not run, · not in that run's register. The newest " (DRAWN) " runs at most, the last of them at the end." }
    }
}

fn every_run(runs: &[About]) -> Markup {
    let rows = html! { @for run in runs { tr {
        th scope="row" { (run.run) }
        td { (run.started.strftime("%F %T")) }
        td { (run.target) }
        td { (run.commit.as_deref().unwrap_or("not noted")) }
        td { (run.exit) }
    } } };
    page::table("The runs", "runs", &["run", "started", "target", "commit", "exit status"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::SCHEMA;
    use crate::report::comparison::tests::run;
    use crate::report::html::tests::words;

    fn change(absolute: f64, exceeds_noise: Option<bool>) -> Option<FigureChange> {
        Some(FigureChange { absolute, relative: Some(absolute / 10.0), exceeds_noise, noise: "so it was found".into() })
    }

    fn trend(id: &str, verdicts: &[Verdict], values: &[f64]) -> Trend {
        Trend {
            id: id.parse().unwrap(),
            claim: "it takes about 10 s".into(),
            verdicts: verdicts.iter().copied().map(Some).collect(),
            values: values.iter().map(|value| Some(Value::Number(*value))).collect(),
            unit: Some(Unit::Seconds),
            probe: Some("log.duration".into()),
            change: None,
            changed_verdict: false,
            note: None,
        }
    }

    fn compared(claims: Vec<Trend>) -> Comparison {
        let about = |name: &str| About { run: name.into(), ..run(24, None).about };
        Comparison { schema: SCHEMA, runs: vec![about("one"), about("two")], claims }
    }

    /// Makes a claim of each kind: its figure moved beyond the noise, within it or by an unknown amount, or its verdict
    /// got worse or better.
    fn one_of_each() -> Comparison {
        use Verdict::{Fails, Holds};
        let (moved, within, unknown) = (change(3.0, Some(true)), change(-0.5, Some(false)), change(1.0, None));
        let (worse, better) = ("holds in run one: x; fails in run two: y", "fails in run one: y");
        let flipped = |note: &str, trend| Trend { changed_verdict: true, note: Some(note.into()), ..trend };
        compared(vec![
            flipped(worse, trend("A2-2", &[Holds, Fails], &[])),
            flipped(better, trend("A2-3", &[Fails, Holds], &[])),
            Trend { change: moved, ..trend("A6-3", &[Holds; 2], &[10.0, 13.0]) },
            trend("A6-4", &[Holds; 2], &[1.0, 1.0]),
            Trend { change: within, ..trend("A6-7", &[Holds; 2], &[10.0, 9.5]) },
            Trend { change: unknown, ..trend("A7-6", &[Holds; 2], &[10.0, 11.0]) },
        ])
    }

    #[test]
    fn what_got_worse_or_moved_beyond_the_noise_is_pointed_out_with_its_size() {
        insta::assert_snapshot!("comparison", comparison(&one_of_each()));
    }

    #[test]
    fn the_newest_of_many_runs_are_drawn() {
        let values: Vec<f64> = (0..30).map(f64::from).collect();
        let many = trend("A6-3", &[Verdict::Holds; 30], &values);
        assert_eq!(marks(&many), "✔".repeat(20));
        assert!(sparkline(&many).starts_with("▁▁▂") && sparkline(&many).ends_with("▇██"), "{}", sparkline(&many));
        assert_eq!(sparkline(&trend("A6-3", &[], &[1.0, 1.0])), "", "what never changed draws no eye");
        let gaps = Trend { values: vec![Some(1.0.into()), None, Some(2.0.into())], ..many };
        assert_eq!(sparkline(&gaps), "▁·█");
    }

    #[test]
    fn what_a_run_says_moves_no_cursor() {
        let hostile = Trend { note: Some("\u{1b}[2Jgone\nA1-1 holds".into()), ..trend("A2-2", &[], &[]) };
        let text = comparison(&compared(vec![Trend { claim: "\u{1b}]0;title\u{7}x".into(), ..hostile }]));
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}') && text.contains("[2Jgone A1-1 holds"), "{text}");
    }

    #[test]
    fn a_proportion_changes_by_points() {
        let seen = FigureChange { absolute: -0.013, relative: Some(-0.125), exceeds_noise: None, noise: String::new() };
        assert_eq!(size(&seen, Some(Unit::Ratio)), "−1.3 points (−12.5 %)");
        assert_eq!(size(&FigureChange { relative: None, ..seen }, Some(Unit::Ratio)), "−1.3 points");
    }

    #[test]
    fn the_page_points_out_what_changed_and_shows_every_claim() {
        let compared = one_of_each();
        let page = trend_html(&compared);
        assert!(page.contains("<article id=\"A6-3\">") && !page.contains("<article id=\"A6-4\">"), "{page}");
        insta::assert_snapshot!("page", words(&page));
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
