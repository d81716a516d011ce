//! Follows one claim through all runs: its verdicts and figures.

use std::borrow::Cow;

use super::noise::Noise;
use super::{Change, ClaimSummary, ComparedMachine, ComparedRun, Figure, Trend};
use crate::base::stats::{Interval, median};
use crate::claims::plan::NotJudgedReason;
use crate::claims::register::ClaimId;
use crate::report::sentence;
use crate::verdict::Reason;

/// What the runs report about a claim, in their order; `None` if a run does not know it.
type Story<'a> = [(&'a ComparedRun, Option<&'a ClaimSummary>)];

/// Follows a claim through the runs, which are in the order in which they began.
pub(super) fn trend<'a>(id: ClaimId, runs: &'a [ComparedRun]) -> Trend {
    let story: Vec<(&ComparedRun, Option<&ClaimSummary>)> =
        runs.iter().map(|run| (run, run.findings.get(&id))).collect();
    let measured = |(run, finding): &(&'a ComparedRun, Option<&'a ClaimSummary>)| {
        let finding = (*finding)?;
        Some(Measured { run, finding, figure: finding.figure.as_ref()? })
    };
    let all: Vec<Option<Measured>> = story.iter().map(measured).collect();
    let newest = all.iter().flatten().next_back().copied();
    let alike = |one: &Option<Measured<'a>>| one.filter(|one| newest.is_some_and(|newest| one.comparable(newest)));
    let comparable: Vec<Option<Measured>> = all.iter().map(alike).collect();
    let flips = flips(&story);
    let notes = [
        membership(&story),
        flipped(&flips),
        differences(&all, newest),
        since(&story, newest),
        changed_text(&comparable),
    ];
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    Trend {
        id,
        claim: findings(&story).next_back().map(|(_, finding)| finding.claim.clone()).unwrap_or_default(),
        verdicts: story.iter().map(|(_, finding)| finding.map(|finding| finding.verdict)).collect(),
        values: comparable.iter().map(|one| one.map(|one| one.figure.value.clone())).collect(),
        unit: newest.map(|newest| newest.figure.unit),
        probe: newest.map(|newest| newest.figure.probe.clone()),
        change: change(&comparable),
        changed_verdict: !flips.is_empty(),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

fn findings<'a>(story: &Story<'a>) -> impl DoubleEndedIterator<Item = (&'a ComparedRun, &'a ClaimSummary)> {
    story.iter().filter_map(|(run, finding)| Some((*run, (*finding)?)))
}

/// A change of verdict: a run with what it reports, and the next one that was asked for a verdict.
type Flip<'a> = [(&'a ComparedRun, &'a ClaimSummary); 2];

fn flips<'a>(story: &Story<'a>) -> Vec<Flip<'a>> {
    let asked: Vec<_> = findings(story).filter(|(_, finding)| finding.asked()).collect();
    let pairs = asked.windows(2).filter_map(|pair| Flip::try_from(pair).ok());
    pairs.filter(|[(_, before), (_, after)]| before.verdict != after.verdict).collect()
}

/// Returns which of the runs do not know the claim.
fn membership(story: &Story) -> Option<String> {
    let name = |place: usize| story.get(place).map(|(run, _)| run.about.run.as_str()).unwrap_or_default();
    let first = story.iter().position(|(_, finding)| finding.is_some())?;
    let last = story.iter().rposition(|(_, finding)| finding.is_some())?;
    let added = (first > 0).then(|| format!("added with run {}", name(first)));
    let removed = (last + 1 < story.len()).then(|| format!("removed with run {}", name(last + 1)));
    let between = (last + 1 - first) - findings(story).count();
    let runs = if between == 1 { "run" } else { "runs" };
    let between = (between > 0).then(|| format!("missing from {between} {runs} between"));
    let all: Vec<String> = [added, removed, between].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Returns which run the newest figure is from, if not from the last.
fn since(story: &Story, newest: Option<Measured>) -> Option<String> {
    let (run, finding) = story.last()?;
    let (newest, finding) = (&newest?.run.about.run, (*finding)?);
    let why = if finding.asked() { "it has none in the last run" } else { "the last run did not select it" };
    (*newest != run.about.run).then(|| format!("the newest figure is of run {newest}: {why}"))
}

impl ClaimSummary {
    /// Returns whether the run was asked for a verdict on the claim, that is, its options did not exclude it.
    fn asked(&self) -> bool {
        !matches!(self.reason, Reason::NotJudged(NotJudgedReason::NotSelected | NotJudgedReason::OtherShard { .. }))
    }
}

/// A claim's figure in a run.
#[derive(Clone, Copy)]
struct Measured<'a> {
    run: &'a ComparedRun,
    finding: &'a ClaimSummary,
    figure: &'a Figure,
}

impl Measured<'_> {
    /// Returns everything that must be the same for figures to be compared.
    fn circumstances(&self) -> [(&'static str, Cow<'_, str>); 7] {
        let Figure { unit, probe, limit, on_host, .. } = self.figure;
        let machine = |of: fn(&ComparedMachine) -> &str| match &self.run.machine {
            _ if *on_host => "the host's own",
            Some(machine) => of(machine),
            None => "not noted",
        };
        [
            ("bound", Cow::from(&self.finding.bound)),
            ("checked bound", limit.as_deref().unwrap_or("none").into()),
            ("probe", probe.into()),
            ("unit", format!("{unit:?}").to_lowercase().into()),
            ("target", if *on_host { "the host" } else { &self.run.about.target }.into()),
            ("architecture", machine(|machine| &machine.architecture).into()),
            ("CPU", machine(|machine| speed(&machine.accelerator)).into()),
        ]
    }

    fn comparable(&self, other: Measured) -> bool {
        self.circumstances() == other.circumstances()
    }
}

/// Names the kind of CPU that an accelerator provides.
fn speed(accelerator: &str) -> &str {
    match accelerator {
        "tcg" => "emulated",
        "kvm" => "native under KVM",
        "nspawn" => "native in a system container",
        "none" => "native",
        other => other,
    }
}

/// Returns how many earlier figures the newest is not comparable with, and why: the reason of the last of them.
fn differences(all: &[Option<Measured>], newest: Option<Measured>) -> Option<String> {
    let newest = newest?;
    let why = |one: &Measured| {
        let pairs = one.circumstances().into_iter().zip(newest.circumstances());
        let differing = pairs.filter(|((_, before), (_, now))| before != now);
        let all = differing.map(|((name, before), (_, now))| format!("{name} {before} before, {now} now"));
        all.collect::<Vec<_>>().join(", ")
    };
    let whys: Vec<String> = all.iter().flatten().filter(|one| !one.comparable(newest)).map(why).collect();
    let last = whys.last()?;
    let runs = if whys.len() == 1 { "run" } else { "runs" };
    let others = match whys.iter().filter(|why| *why != last).count() {
        0 => String::new(),
        others => format!("; {others} of these for other reasons"),
    };
    Some(format!("not comparable with {} earlier {runs}: {last}{others}", whys.len()))
}

/// Formats the newest change of verdict with both reasons, and how many changes there are.
fn flipped(flips: &[Flip]) -> Option<String> {
    let [(before, held), (after, fails)] = flips.last()?;
    let many = match flips.len() {
        1 => String::new(),
        many => format!("{many} changes of verdict, the last one: "),
    };
    Some(format!(
        "{many}{} in run {} ({}), {} in run {} ({})",
        held.verdict,
        before.about.run,
        sentence::reason(&held.reason),
        fails.verdict,
        after.about.run,
        sentence::reason(&fails.reason)
    ))
}

fn changed_text(comparable: &[Option<Measured>]) -> Option<String> {
    let mut texts = comparable.iter().flatten().rev().map(|one| one.figure);
    let (now, before) = (texts.next()?, texts.next()?);
    let differs = now.value.number().is_none() && now.value != before.value;
    differs.then(|| {
        format!("{} is {} now, {} before", now.probe, now.value.format(now.unit), before.value.format(now.unit))
    })
}

fn change(comparable: &[Option<Measured>]) -> Option<Change> {
    let (last, earlier) = comparable.split_last()?;
    let last = (*last)?;
    let numbers: Option<Vec<f64>> = earlier.iter().flatten().map(|one| one.figure.value.number()).collect();
    let (now, earlier_values) = (last.figure.value.number()?, numbers?);
    let before = median(&earlier_values)?;
    let intervals: Option<Vec<Interval>> = earlier.iter().flatten().map(|one| one.figure.interval).collect();
    let noise = Noise { earlier: &earlier_values, intervals: intervals.as_deref(), unit: last.figure.unit };
    let (exceeds_noise, noise) = noise.exceeded(now, last.figure.interval);
    let relative = (before != 0.0).then(|| (now - before) / before.abs());
    Some(Change { absolute: now - before, relative, exceeds_noise, noise })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{compared, figure, finding, held, nights, run};
    use super::*;
    use crate::base::unit::Unit;
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
        let on = |accelerator: Option<&str>, target: &str, mut run: ComparedRun| {
            let machine = |name: &str| ComparedMachine { accelerator: name.into(), architecture: "amd64".into() };
            (run.machine, run.about.target) = (accelerator.map(machine), target.into());
            run
        };
        let there = |day: usize| run(day, Some(value(1.0)));
        let host = |day: usize| run(day, Some(held(Figure { on_host: true, ..figure(1.0) })));
        let after = |other: Figure| nights(vec![held(other), value(1.0)]);
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
            ("another CPU", compared(vec![there(1), on(Some("kvm"), "vm:amd64", there(2))])),
            ("another target", compared(vec![on(None, "vm:arm64", there(1)), there(2)])),
            ("another target, measured on the host", compared(vec![on(None, "vm:arm64", host(1)), host(2)])),
            ("another unit", after(Figure { unit: Unit::Seconds, ..figure(1.0) })),
            ("another probe", after(Figure { probe: "x".into(), ..figure(1.0) })),
            ("another bound", after(Figure { limit: Some("< 70 MB".into()), ..figure(1.0) })),
            ("new", compared(vec![run(1, None), there(2)])),
            ("gone", compared(vec![there(1), run(2, None), run(3, None)])),
            ("gone between", compared(vec![there(1), run(2, None), there(3)])),
            ("another text", nights(["5.4.2", "5.4.2", "5.5.0"].map(version).to_vec())),
            ("the same text", nights(["5.4.2", "5.4.2"].map(version).to_vec())),
        ];
        let learnt: Vec<String> = situations.iter().map(|(name, trend)| format!("{name}: {}", learnt(trend))).collect();
        insta::assert_snapshot!("situations", learnt.join("\n"));
    }
}
