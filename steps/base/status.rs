//! Shows on a terminal what a run is doing: how many scenarios have ended, which work is under way, and the time left.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::base::settings;
use crate::base::work_log::{Piece, WorkLog};
use crate::base::work_summary::WorkSummary;

/// How often the status is drawn anew.
const BEAT: Duration = Duration::from_millis(500);
/// How many pieces of work have a line of their own.
const ROWS: usize = 8;
/// How many things that work waits for are named.
const AWAITED: usize = 3;

/// What is drawn at the bottom of the terminal: nothing, except during [`show`].
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints something above the status, so that neither tears the other.
pub fn above<T>(print: impl FnOnce() -> T) -> T {
    BARS.suspend(print)
}

/// How many scenarios have ended, and the claims' verdicts in words.
#[derive(Debug, Default)]
pub struct Tally {
    pub ended: usize,
    /// The scenarios that run.
    pub of: usize,
    /// The verdicts that are final, e.g. `12 hold, 1 fail`.
    pub verdicts: String,
}

#[derive(Debug)]
pub struct LiveStatus {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

/// Draws the status of a run if standard error is a terminal. Only then, `before` finds how an earlier run of the same
/// kind went.
pub fn show(
    work: Arc<WorkLog>,
    tally: impl Fn() -> Tally + Send + 'static,
    before: impl FnOnce() -> Option<WorkSummary>,
) -> LiveStatus {
    if !std::io::stderr().is_terminal() || settings::plain_terminal() {
        return LiveStatus { thread: None };
    }
    let ((end, ended), before) = (channel(), before());
    let draw = move || {
        let style = ProgressStyle::with_template("{bar:20} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = BARS.add(ProgressBar::new(tally().of.try_into().unwrap_or(u64::MAX)).with_style(style));
        while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            let tally = tally();
            let first = headline(&tally, work.elapsed(), before.as_ref().map(|before| work.left(before)));
            bar.set_position(tally.ended.try_into().unwrap_or(u64::MAX));
            // One message of several lines is drawn at once.
            bar.set_message([vec![first], lines(&work.under_way())].concat().join("\n  "));
        }
        bar.finish_and_clear();
        BARS.remove(&bar);
    };
    LiveStatus { thread: Some((end, std::thread::spawn(draw))) }
}

impl Drop for LiveStatus {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

fn headline(tally: &Tally, elapsed: f64, left: Option<f64>) -> String {
    let verdicts = if tally.verdicts.is_empty() { String::new() } else { format!(", {}", tally.verdicts) };
    let left = match left {
        Some(left) if left >= 1.0 => format!(", about {} left by the last run", span((left / 10.0).ceil() * 10.0)),
        _ => String::new(),
    };
    format!("{} of {} scenarios{verdicts}; {}{left}", tally.ended, tally.of, span(elapsed))
}

/// Returns a line for each piece of work that is being done, and one for what the others wait for.
fn lines(work: &[Piece]) -> Vec<String> {
    let (waiting, active): (Vec<_>, Vec<_>) = work.iter().partition(|piece| !piece.waits_for.is_empty());
    let mut lines: Vec<String> = active.iter().take(ROWS).map(|piece| line(piece)).collect();
    if active.len() > ROWS {
        lines.push(format!("and {} more", active.len() - ROWS));
    }
    let mut awaited: BTreeMap<&str, usize> = BTreeMap::new();
    for what in waiting.iter().flat_map(|piece| &piece.waits_for) {
        *awaited.entry(what).or_default() += 1;
    }
    let mut awaited: Vec<(&str, usize)> = awaited.into_iter().collect();
    awaited.sort_by_key(|(_, many)| std::cmp::Reverse(*many));
    let named: Vec<String> = awaited.iter().take(AWAITED).map(|(what, many)| format!("{what} ({many})")).collect();
    if !named.is_empty() {
        let rest = if awaited.len() > AWAITED { ", …" } else { "" };
        lines.push(format!("waited for: {}{rest}", named.join(", ")));
    }
    lines
}

fn line(piece: &Piece) -> String {
    let doing = piece.doing.as_ref().map(|doing| format!(": {doing}")).unwrap_or_default();
    format!("{} ({}){doing}", piece.name, span(piece.seconds))
}

fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole} s"),
        _ => format!("{} min {} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(name: &str, seconds: f64, doing: Option<&str>, waits_for: &[&str]) -> Piece {
        let waits_for = waits_for.iter().map(|what| (*what).to_owned()).collect();
        Piece { name: name.to_owned(), seconds, doing: doing.map(str::to_owned), waits_for }
    }

    #[test]
    fn the_headline_counts_and_estimates() {
        let tally = Tally { ended: 31, of: 75, verdicts: "12 hold, 1 fail".to_owned() };
        assert_eq!(
            headline(&tally, 200.4, Some(412.0)),
            "31 of 75 scenarios, 12 hold, 1 fail; 3 min 20 s, about 7 min 0 s left by the last run"
        );
        assert_eq!(headline(&Tally { of: 2, ..Tally::default() }, 9.0, None), "0 of 2 scenarios; 9 s");
        assert_eq!(headline(&tally, 9.0, Some(0.0)), "31 of 75 scenarios, 12 hold, 1 fail; 9 s");
    }

    #[test]
    fn active_work_has_lines_and_what_others_wait_for_has_one() {
        let work = [
            piece("kind of machine nano amd64", 43.0, Some("nano-boot: systemd"), &[]),
            piece("measuring a", 43.2, None, &["kind of machine nano amd64"]),
            piece("measuring b", 3.0, None, &["kind of machine nano amd64", "a place"]),
            piece("module hello", 61.0, None, &[]),
        ];
        let expected = [
            "kind of machine nano amd64 (43 s): nano-boot: systemd",
            "module hello (1 min 1 s)",
            "waited for: kind of machine nano amd64 (2), a place (1)",
        ];
        assert_eq!(lines(&work), expected);
    }

    #[test]
    fn the_status_stays_small() {
        let many: Vec<Piece> = (0..30).map(|n| piece(&format!("module {n}"), 1.0, None, &[])).collect();
        let lines = lines(&many);
        assert_eq!((lines.len(), lines[ROWS].as_str()), (9, "and 22 more"));
        let waiting: Vec<Piece> = (0..9).map(|n| piece("measuring", 1.0, None, &[&format!("module {n}")])).collect();
        assert_eq!(super::lines(&waiting), ["waited for: module 0 (1), module 1 (1), module 2 (1), …"]);
    }
}
