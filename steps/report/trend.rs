//! Formats a comparison of runs for the console; `trend/page.rs` makes its page.

mod page;

use comfy_table::{ColumnConstraint, Table};

use super::console::{cut, frame, mark, one_line};
use crate::base::unit::Unit;
use crate::measurement::Value;
use crate::report::comparison::{Comparison, FigureChange, Trend};

pub use page::trend_html;

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
    let mut table = frame(WIDTH);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::tests::run;
    use crate::report::comparison::{About, SCHEMA};
    use crate::verdict::Verdict;

    pub(super) fn change(absolute: f64, exceeds_noise: Option<bool>) -> Option<FigureChange> {
        Some(FigureChange { absolute, relative: Some(absolute / 10.0), exceeds_noise, noise: "so it was found".into() })
    }

    pub(super) fn trend(id: &str, verdicts: &[Verdict], values: &[f64]) -> Trend {
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

    pub(super) fn compared(claims: Vec<Trend>) -> Comparison {
        let about = |name: &str| About { run: name.into(), ..run(24, None).about };
        Comparison { schema: SCHEMA, runs: vec![about("one"), about("two")], claims }
    }

    /// Makes a claim of each kind: its figure moved beyond the noise, within it or by an unknown amount, or its verdict
    /// got worse or better.
    pub(super) fn one_of_each() -> Comparison {
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
}
