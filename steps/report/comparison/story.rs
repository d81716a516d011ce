//! Follows one claim through all runs: its verdicts and figures; and decides how far a figure may be from earlier ones
//! without meaning anything, assuming no distribution:
//!
//! - With [`MANY`] earlier runs or more, these show how much a figure varies. A figure exceeds the noise if it lies
//!   outside all of them *and* beyond Tukey's fences (one and a half times the distance between the hinges, which are
//!   the medians of the lower and the upper half). If nothing had changed, and all nights were alike, the newest of
//!   n + 1 figures would be the smallest or the largest of all with a probability of at most 2 in n + 1; the result
//!   states this probability of a false alarm.
//!   A step that several of the earlier runs already show counts as variation: it was reported in the run in which it
//!   occurred, and the figures over all runs still show it.
//! - With fewer, the samples within each run decide. A figure exceeds the noise if the interval of its median lies
//!   wholly above or wholly below the intervals of all earlier runs. Intervals with a confidence below [`CONFIDENCE`]
//!   do not count; fewer than five samples cannot reach it.
//! - Otherwise the noise is unknown, and nothing is stated about whether the change exceeds it.

use super::{ClaimSummary, ComparedRun, Figure, FigureChange, Trend};
use crate::base::stats::{Interval, median};
use crate::base::unit::Unit;
use crate::claims::plan::NotJudgedReason;
use crate::claims::register::ClaimId;
use crate::report::html::count;
use crate::report::sentence;
use crate::verdict::Reason;

/// What the runs report about a claim, in their order; `None` if a run does not know it.
type Story<'a> = [(&'a str, Option<&'a ClaimSummary>)];

/// Follows a claim through the runs, which are in the order in which they began.
pub(super) fn trend(id: ClaimId, runs: &[ComparedRun]) -> Trend {
    let story: Vec<_> = runs.iter().map(|run| (run.about.run.as_str(), run.findings.get(&id))).collect();
    let all: Vec<Option<&Figure>> = story.iter().map(|(_, finding)| finding.as_ref()?.figure.as_ref()).collect();
    let newest = all.iter().rposition(Option::is_some);
    let figure = newest.and_then(|place| all[place]);
    let comparable: Vec<Option<&Figure>> =
        all.iter().map(|one| one.filter(|one| figure.is_some_and(|newest| one.comparable(newest)))).collect();
    let flips = flips(&story);
    let notes = [
        membership(&story),
        flipped(&flips),
        figure.and_then(|newest| differences(&all, newest)),
        since(&story, newest),
        changed_text(&comparable),
    ];
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    Trend {
        id,
        claim: findings(&story).last().map(|(_, finding)| finding.claim.clone()).unwrap_or_default(),
        verdicts: story.iter().map(|(_, finding)| finding.map(|finding| finding.verdict)).collect(),
        values: comparable.iter().map(|one| one.map(|one| one.value.clone())).collect(),
        unit: figure.map(|newest| newest.unit),
        probe: figure.map(|newest| newest.probe.clone()),
        change: change(&comparable),
        changed_verdict: !flips.is_empty(),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

fn findings<'a>(story: &Story<'a>) -> impl Iterator<Item = (&'a str, &'a ClaimSummary)> {
    story.iter().filter_map(|(run, finding)| Some((*run, (*finding)?)))
}

/// A change of verdict: a run with what it reports, and the next one that was asked for a verdict.
type Flip<'a> = [(&'a str, &'a ClaimSummary); 2];

fn flips<'a>(story: &Story<'a>) -> Vec<Flip<'a>> {
    let asked: Vec<_> = findings(story).filter(|(_, finding)| finding.asked()).collect();
    let pairs = asked.windows(2).filter_map(|pair| Flip::try_from(pair).ok());
    pairs.filter(|[(_, before), (_, after)]| before.verdict != after.verdict).collect()
}

/// Returns which of the runs do not know the claim.
fn membership(story: &Story) -> Option<String> {
    let first = story.iter().position(|(_, finding)| finding.is_some())?;
    let last = story.iter().rposition(|(_, finding)| finding.is_some())?;
    let between = (last + 1 - first) - findings(story).count();
    let added = (first > 0).then(|| format!("added with run {}", story[first].0));
    let removed = story.get(last + 1).map(|(run, _)| format!("removed with run {run}"));
    let between = (between > 0).then(|| format!("missing from {} between", count(between, "run", "runs")));
    let all: Vec<String> = [added, removed, between].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Returns which run the newest figure is from, if not from the last.
fn since(story: &Story, newest: Option<usize>) -> Option<String> {
    let (run, finding) = (story[newest?].0, story.last()?.1?);
    let why = if finding.asked() { "it has none in the last run" } else { "the last run did not select it" };
    (newest? + 1 < story.len()).then(|| format!("the newest figure is of run {run}: {why}"))
}

impl ClaimSummary {
    /// Returns whether the run was asked for a verdict on the claim, that is, its options did not exclude it.
    fn asked(&self) -> bool {
        !matches!(self.reason, Reason::NotJudged(NotJudgedReason::NotSelected | NotJudgedReason::OtherShard { .. }))
    }
}

impl Figure {
    fn comparable(&self, other: &Figure) -> bool {
        self.circumstances == other.circumstances
    }
}

/// Returns how many earlier figures the newest is not comparable with, and why: the reason of the last of them.
fn differences(all: &[Option<&Figure>], newest: &Figure) -> Option<String> {
    let why = |one: &&Figure| {
        let pairs = one.circumstances.iter().zip(&newest.circumstances);
        let differing = pairs.filter(|((_, before), (_, now))| before != now);
        let all = differing.map(|((name, before), (_, now))| format!("{name} {before} before, {now} now"));
        all.collect::<Vec<_>>().join(", ")
    };
    let whys: Vec<String> = all.iter().flatten().filter(|one| !one.comparable(newest)).map(why).collect();
    let last = whys.last()?;
    let others = match whys.iter().filter(|why| *why != last).count() {
        0 => String::new(),
        others => format!("; {others} of these for other reasons"),
    };
    Some(format!("not comparable with {}: {last}{others}", count(whys.len(), "earlier run", "earlier runs")))
}

/// Formats the newest change of verdict with both reasons, and how many changes there are.
fn flipped(flips: &[Flip]) -> Option<String> {
    let many = match flips.len() {
        1 => String::new(),
        many => format!("{many} changes of verdict, the last one: "),
    };
    let [before, after] = flips
        .last()?
        .map(|(run, finding)| format!("{} in run {run} ({})", finding.verdict, sentence::reason(&finding.reason)));
    Some(format!("{many}{before}, {after}"))
}

fn changed_text(comparable: &[Option<&Figure>]) -> Option<String> {
    let mut texts = comparable.iter().flatten().rev();
    let (now, before) = (texts.next()?, texts.next()?);
    let differs = now.value.number().is_none() && now.value != before.value;
    differs.then(|| {
        format!("{} is {} now, {} before", now.probe, now.value.format(now.unit), before.value.format(now.unit))
    })
}

fn change(comparable: &[Option<&Figure>]) -> Option<FigureChange> {
    let (last, earlier) = comparable.split_last()?;
    let (last, earlier) = ((*last)?, earlier.iter().flatten());
    let numbers: Option<Vec<f64>> = earlier.clone().map(|one| one.value.number()).collect();
    let (now, numbers) = (last.value.number()?, numbers?);
    let before = median(&numbers)?;
    let intervals: Option<Vec<Interval>> = earlier.map(|one| one.interval).collect();
    let noise = Noise { earlier: &numbers, intervals: intervals.as_deref(), unit: last.unit };
    let (exceeds_noise, noise) = noise.exceeded(now, last.interval);
    let relative = (before != 0.0).then(|| (now - before) / before.abs());
    Some(FigureChange { absolute: now - before, relative, exceeds_noise, noise })
}

/// This many earlier runs show how much a figure varies.
const MANY: usize = 5;

/// The confidence that an interval must have to count.
const CONFIDENCE: f64 = 0.9;

/// The known variation of a figure.
struct Noise<'a> {
    /// The figures of the earlier runs, at least one.
    earlier: &'a [f64],
    /// The intervals of these runs' medians, if known for each.
    intervals: Option<&'a [Interval]>,
    unit: Unit,
}

impl Noise<'_> {
    /// Returns whether a figure with this interval is further from the earlier ones than noise explains, and the
    /// reason.
    fn exceeded(&self, now: f64, interval: Option<Interval>) -> (Option<bool>, String) {
        if self.earlier.iter().all(|earlier| *earlier == now) {
            return (Some(false), format!("the same as in {}", runs(self.earlier.len())));
        }
        if self.earlier.len() >= MANY {
            return self.beyond_the_usual(now);
        }
        let sure = |interval: &Interval| interval.confidence >= CONFIDENCE;
        match (interval.filter(sure), self.intervals) {
            (Some(now), Some(earlier)) if earlier.iter().all(sure) => self.apart(now, earlier),
            _ => (None, format!("unknown: fewer than {MANY} earlier runs, and fewer than 5 samples in a run")),
        }
    }

    fn range(&self, low: f64, high: f64) -> String {
        match low == high {
            true => self.unit.format(low),
            false => format!("{} to {}", self.unit.format(low), self.unit.format(high)),
        }
    }

    fn beyond_the_usual(&self, now: f64) -> (Option<bool>, String) {
        let many = runs(self.earlier.len());
        let (low, high) = ends(self.earlier.iter().copied());
        let usual = self.range(low, high);
        if (low..=high).contains(&now) {
            return (Some(false), format!("within what {many} gave: {usual}"));
        }
        let (fence_low, fence_high) = fences(self.earlier);
        if (fence_low..=fence_high).contains(&now) {
            let fences = self.range(fence_low, fence_high);
            return (Some(false), format!("outside of what {many} gave ({usual}), within their fences ({fences})"));
        }
        let chance = Unit::Ratio.format(2.0 / (self.earlier.len() + 1) as f64);
        let reason =
            format!("beyond what {many} gave ({usual}) and their fences; by chance in at most {chance} of cases");
        (Some(true), reason)
    }

    fn apart(&self, now: Interval, earlier: &[Interval]) -> (Option<bool>, String) {
        let (low, _) = ends(earlier.iter().map(|interval| interval.low));
        let (_, high) = ends(earlier.iter().map(|interval| interval.high));
        let apart = now.low > high || now.high < low;
        let (least, _) = ends(earlier.iter().chain([&now]).map(|interval| interval.confidence));
        let word = if apart { "apart from" } else { "overlapping" };
        let reason = format!(
            "its median lies in {}, {word} that of {}, {} (confidence {} each)",
            self.range(now.low, now.high),
            runs(earlier.len()),
            self.range(low, high),
            Unit::Ratio.format(least)
        );
        (Some(apart), reason)
    }
}

fn runs(count: usize) -> String {
    match count {
        1 => "the run before".to_owned(),
        many => format!("{many} earlier runs"),
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

fn fences(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len().div_ceil(2);
    let hinge = |part: &[f64]| median(part).unwrap_or_default();
    let (low, high) = (hinge(&sorted[..half]), hinge(&sorted[sorted.len() - half..]));
    let reach = 1.5 * (high - low);
    (low - reach, high + reach)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compared, figure, finding, held, nights, run};
    use super::*;
    use crate::verdict::Verdict;

    /// Shows what a reader learns about a claim.
    fn learnt(trend: &Trend) -> String {
        let change = trend.change.as_ref().map(|change| match change.relative {
            Some(relative) => format!("changed by {} ({relative:+.3})", change.absolute),
            None => format!("changed by {}", change.absolute),
        });
        let flipped = trend.changed_verdict.then(|| "another verdict".to_owned());
        let worse = trend.worse().then(|| "worse".to_owned());
        let figures = Some(format!("figures: {}", trend.figures().count()));
        [figures, change, flipped, worse, trend.note.clone()].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_reader_learns_what_changed_and_what_cannot_be_compared() {
        let value = |value: f64| held(figure(value));
        let failed = || finding(Verdict::Fails, Reason::step("it was 65 MB"), Some(figure(65e6)));
        let open = || finding(Verdict::Inconclusive, Reason::step("no machine"), None);
        let left_out = || finding(Verdict::NotRun, Reason::NotJudged(NotJudgedReason::NotSelected), None);
        let known = || finding(Verdict::KnownDeviation, Reason::step("declared"), None);
        let version = |text: &str| held(Figure { unit: Unit::Text, probe: "podman.version".into(), ..figure(text) });
        let there = |day: usize| run(day, Some(value(1.0)));
        let other = |circumstances: &[(&'static str, &str)]| {
            let circumstances = circumstances.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            nights(vec![held(Figure { circumstances, ..figure(1.0) }), value(1.0)])
        };
        let situations = [
            ("other than the median before", nights([40e6, 44e6, 90e6, 33e6].map(value).to_vec())),
            ("nothing before", nights(vec![value(0.0), value(5.0)])),
            ("fails now", nights(vec![value(63e6), failed()])),
            ("fails again", nights(vec![value(63e6), failed(), failed()])),
            ("always failed", nights(vec![failed(), failed()])),
            ("holds now", nights(vec![failed(), value(63e6)])),
            ("to and fro", nights(vec![value(1.0), failed(), value(1.0), failed()])),
            ("inconclusive now", nights(vec![known(), open()])),
            ("not selected between", nights(vec![value(40.0), left_out(), value(40.0)])),
            ("not selected last", nights(vec![value(40.0), value(41.0), left_out()])),
            ("another target and CPU", other(&[("bound", "< 64 MB"), ("target", "vm:arm64"), ("CPU", "native")])),
            ("another bound", other(&[("bound", "< 70 MB"), ("target", "vm:amd64"), ("CPU", "emulated")])),
            ("new", compared(vec![run(1, None), there(2)])),
            ("gone", compared(vec![there(1), run(2, None), run(3, None)])),
            ("gone between", compared(vec![there(1), run(2, None), there(3)])),
            ("another text", nights(["5.4.2", "5.4.2", "5.5.0"].map(version).to_vec())),
            ("the same text", nights(["5.4.2", "5.4.2"].map(version).to_vec())),
        ];
        let learnt: Vec<String> = situations.iter().map(|(name, trend)| format!("{name}: {}", learnt(trend))).collect();
        insta::assert_snapshot!("situations", learnt.join("\n"));
    }

    /// Makes a figure with a confidence interval of this half-width around its median.
    fn around(value: f64, reach: f64) -> Figure {
        let interval = Interval { low: value - reach, high: value + reach, confidence: 0.9375 };
        Figure { interval: Some(interval), ..figure(value) }
    }

    #[test]
    fn a_reader_learns_whether_a_change_exceeds_noise_and_why() {
        let same = |values: &[f64]| values.iter().copied().map(figure).collect::<Vec<_>>();
        let after = |now: f64| same(&[40e6, 41e6, 42e6, 43e6, 44e6, now]);
        let mut unsure = around(80e6, 1e6);
        unsure.interval.as_mut().unwrap().confidence = 0.875;
        let situations = [
            ("intervals apart", vec![around(40e6, 1e6), around(50e6, 1e6)]),
            ("intervals overlapping", vec![around(40e6, 3e6), around(45e6, 3e6)]),
            ("earlier runs differed by as much", vec![around(40e6, 2e6), around(60e6, 2e6), around(50e6, 2e6)]),
            ("single samples", same(&[40e6, 80e6])),
            ("four samples", vec![around(40e6, 1e6), unsure]),
            ("a run before with a single sample", vec![around(40e6, 1e6), figure(41e6), around(80e6, 1e6)]),
            ("the same", same(&[40e6, 40e6])),
            ("four earlier runs", same(&[40e6, 41e6, 42e6, 43e6, 60e6])),
            ("within the range of five", after(44e6)),
            ("within the fences", after(46e6)),
            ("above the fences", after(46.1e6)),
            ("below the fences", after(37.9e6)),
            ("what never varied", same(&[40e6, 40e6, 40e6, 40e6, 40e6, 41e6])),
        ];
        let learnt = situations.map(|(name, figures)| {
            let change = nights(figures.into_iter().map(held).collect()).change.unwrap();
            format!("{name}: exceeds it: {:?}; {}", change.exceeds_noise, change.noise)
        });
        insta::assert_snapshot!("noise", learnt.join("\n"));
    }
}
