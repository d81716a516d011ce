//! Makes all sentences about verdicts: a reason, a check, a control, a claim, and what is wrong besides the claims. No
//! verdict depends on them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::console::{cut, one_line};
use crate::base::commands;
use crate::base::stats::Interval;
use crate::base::unit::Unit;
use crate::claims::deviation::Deviation;
use crate::claims::plan::{Decision, NotJudgedReason, Shard};
use crate::claims::register::Requirement;
use crate::evidence::ClaimResult;
use crate::evidence::merge::Missing;
use crate::measurement::{Value, catalogue};
use crate::verdict::claim_verdict::{ControlResult, ControlVerdict, ScenarioResult, combine_attempts, worst};
use crate::verdict::declared::{Problem, ProblemKind};
use crate::verdict::worth::{FalseAlarms, Seen, Worth};
use crate::verdict::{Bound, Range, Reason, Rule, Verdict};

/// How much of a text that was measured is shown, in characters.
const VALUE: usize = 120;

/// What the value of a probe means, by the probe's name or the beginning of names.
static PROBES: LazyLock<BTreeMap<String, String>> =
    LazyLock::new(|| toml::from_str(include_str!("sentence/probes.toml")).unwrap_or_default());

thread_local! {
    static REPLACED: Cell<bool> = const { Cell::new(false) };
}

/// Does work while every sentence of this thread is replaced by the same word, for tests which show that nothing depends
/// on one.
#[doc(hidden)]
pub fn replaced<T>(work: impl FnOnce() -> T) -> T {
    REPLACED.set(true);
    let done = work();
    REPLACED.set(false);
    done
}

/// Every sentence passes through here.
fn said(sentence: String) -> String {
    if REPLACED.get() { "blah".to_owned() } else { sentence }
}

/// Says in one short sentence why something has its verdict.
pub fn reason(reason: &Reason) -> String {
    said(match reason {
        Reason::Bound(bound) => with_bound(bound),
        Reason::MissingSamples { probe, wanted: 0, .. } => match absent(probe) {
            Some(why) => why.to_owned(),
            None => format!("{probe}: no sample of it was taken"),
        },
        Reason::MissingSamples { probe, found, wanted } => format!("{probe}: {found} of {wanted} samples are there"),
        Reason::NoSampleOf { probe, subject, machine } => {
            format!("{probe}: no sample of it was taken of {subject} on {machine}")
        }
        Reason::StraySample { probe, sample, subject, machine, at, expected } => match expected {
            None => format!("{probe}: sample {sample} is of {subject}, which this check is not about"),
            Some(source) if source.machine != *machine => {
                format!("{probe}: sample {sample} is from {machine}, not from {}", source.machine)
            }
            Some(source) => format!(
                "{probe}: sample {sample} is of {at}, but {subject} was watched from {} to {}: it is stale, or a clock \
                 jumped",
                source.since, source.until
            ),
        },
        Reason::OtherKind { subject, machine, machine_kind, expected } => {
            format!(
                "{subject} was measured on {machine}, of kind {machine_kind}, and not on a machine of kind {expected}"
            )
        }
        Reason::WrongUnit { probe, value, unit, expected } => {
            format!("{probe}: {} is in {unit:?}, not in {expected:?}", quoted(value, *unit))
        }
        Reason::Implausible { probe, value, unit } => match catalogue::plausible(probe, *unit, value) {
            Err(expected) => expected,
            Ok(()) => format!("{probe}: {} cannot be compared with the bound", quoted(value, *unit)),
        },
        Reason::Late { probe, value, high } => format!(
            "{}; the bound is {}, but the CPU is emulated, and its host may be the cause: run it on a quieter host, or on a \
             machine with a native CPU",
            says(probe, &quoted(&Value::Number(*value), Unit::Seconds)),
            Unit::Seconds.format(*high)
        ),
        Reason::Pairs { probe, pairs, looks } => {
            let looks: Vec<String> = looks.iter().map(usize::to_string).collect();
            format!("{probe}: {pairs} pairs were measured, and it is judged at {}", looks.join(" or "))
        }
        Reason::NothingChecked => "nothing was checked".to_owned(),
        Reason::Infrastructure { message, .. } => message.clone(),
        Reason::Flaky { attempts, first } => {
            format!("flaky: it came out as it should only at attempt {attempts}, the first: {}", self::reason(first))
        }
        Reason::NotRun { scenarios, controls } => not_run(scenarios, controls),
        Reason::ControlNotCaught { controls } => match &controls[..] {
            [only] => format!("the check does not discriminate: it accepts \"{only}\""),
            all => format!("the check does not discriminate: it accepts the subjects of {} controls", all.len()),
        },
        Reason::ControlInconclusive { control, reason } => {
            format!("its control could not be judged: {control}: {}", self::reason(reason))
        }
        Reason::OtherFailure { probe, failure } => {
            let probe = probe.as_deref().unwrap_or("the probe that the control names");
            format!("the check fails, but not on {probe}: {}", self::reason(failure))
        }
        Reason::Declared { until, failure, .. } => format!("{} (declared until {until})", self::reason(failure)),
        Reason::DeclarationExpired { on, failure } => {
            format!("{} (its declaration expired on {on})", self::reason(failure))
        }
        Reason::DeclarationNotTrue { by } => {
            format!("it holds, though {by} declared that it fails here: remove the declaration")
        }
        Reason::NoScenario => "it has no scenario".to_owned(),
        Reason::NotJudged(why) => not_judged(why),
    })
}

fn not_run(scenarios: &[String], controls: &[String]) -> String {
    let named = |names: &[String], one: &str, many: &str| match names {
        [] => None,
        [only] => Some(format!("{one} \"{only}\"")),
        all => Some(format!("{} {many}", all.len())),
    };
    let all = [named(scenarios, "its scenario", "of its scenarios"), named(controls, "its control", "of its controls")];
    format!("{} did not run", all.into_iter().flatten().collect::<Vec<_>>().join(" and "))
}

/// Says why something is not run, or not judged.
pub fn not_judged(why: &NotJudgedReason) -> String {
    said(match why {
        NotJudgedReason::Needs { what } => needs(*what),
        NotJudgedReason::StandIn => "measured on a stand-in for AWS, so it is only recorded".to_owned(),
        NotJudgedReason::NotSelected => "not selected by the options of this run".to_owned(),
        NotJudgedReason::OtherShard { shard } => format!("not in shard {shard}"),
        NotJudgedReason::MissingShards { shards } => {
            format!("in none of the shards that are here; {}", missing_shards(shards))
        }
    })
}

/// Lists what a claim needs.
pub fn names(needs: &[Requirement]) -> String {
    needs.iter().map(|need| need.name()).collect::<Vec<_>>().join(", ")
}

/// Says what a requirement that is not met takes, and how to get it.
fn needs(what: Requirement) -> String {
    match what {
        Requirement::OwnMemory => "needs memory of its own: --target vm, ssh://user@host or ec2".to_owned(),
        Requirement::OwnKernel => "needs a kernel of its own: --target vm, ssh://user@host or ec2".to_owned(),
        Requirement::ColdCache => {
            "needs a page cache that may be emptied: --target vm or ec2, or a user with root".to_owned()
        }
        Requirement::MemoryLimit => {
            "needs the cgroup controller memory for the user's units: --target vm, or a host that has it".to_owned()
        }
        Requirement::CpuLimit => {
            "needs the cgroup controller cpu for the user's units; measured and recorded, not judged".to_owned()
        }
        Requirement::Host => "needs this host".to_owned(),
        Requirement::AnnexText => "needs the annex's text: --annex FILE".to_owned(),
        Requirement::Arm64 => "needs an arm64 machine: --target vm:arm64".to_owned(),
        Requirement::NativeCpu => "needs a CPU at native speed, so it is only recorded".to_owned(),
        Requirement::Aws if commands::in_checkout() => "needs an AWS account: ci/e2e --target ec2".to_owned(),
        Requirement::Aws => "needs an AWS account: assay run --target ec2".to_owned(),
        Requirement::Device => "needs the device itself: --target vm, ssh://user@host or ec2".to_owned(),
        Requirement::OwnMachine => "takes something away from the machine for a moment, which is not done to somebody \
                                    else's: --target vm or ec2"
            .to_owned(),
        Requirement::Units => {
            "needs a systemd that makes units of Quadlets, which the user does not have there".to_owned()
        }
        Requirement::Wasm => "rests on the workload, which this machine's crun cannot run: it is built without \
                              WebAssembly; Debian 13 and Ubuntu 24.04 have one that is built with it"
            .to_owned(),
        Requirement::Root => "needs root on the machine: let its user run sudo without a password".to_owned(),
    }
}

fn missing_shards(shards: &[Shard]) -> String {
    let all: Vec<String> = shards.iter().map(Shard::to_string).collect();
    match &all[..] {
        [only] => format!("shard {only} is missing"),
        all => format!("shards {} are missing", all.join(", ")),
    }
}

/// Says which runs of a target are missing.
pub fn missing(Missing { target, shards }: &Missing) -> String {
    said(match shards.is_empty() {
        true => format!("{target}: no run on it is here"),
        false => format!("{target}: {}", missing_shards(shards)),
    })
}

/// Says what is wrong with a declaration.
pub fn problem(Problem { kind, deviation, target }: &Problem) -> String {
    let target = target.as_ref().map(|target| format!("{target}: ")).unwrap_or_default();
    let name = deviation.name();
    said(match kind {
        ProblemKind::Expired => format!("{target}{name} expired on {}: renew or remove it", deviation.expires),
        ProblemKind::Unused => format!("{target}{name} is not used, though it is about this platform: remove it"),
    })
}

/// Says in one short sentence what a scenario came to: what was measured, even if it is not judged.
pub fn scenario(scenario: &ScenarioResult) -> String {
    let seen = combine_attempts(&scenario.attempts);
    match (&scenario.decision, seen) {
        (Decision::MeasureOnly(why), Some((seen, _))) if scenario.verdict == Verdict::NotRun => {
            said(format!("{}; {}", measured(&seen.reason), not_judged(why)))
        }
        _ => match (scenario.verdict, scenario.checks.len()) {
            (Verdict::Holds, 2..) => {
                said(format!("{} (the first of {} checks)", reason(&scenario.reason), scenario.checks.len()))
            }
            _ => reason(&scenario.reason),
        },
    }
}

/// Says in one short sentence why a claim has its verdict. Of several scenarios, names those that decided.
pub fn claim(claim: &ClaimResult) -> String {
    let all = claim.scenarios.len();
    let deciding: Vec<&ScenarioResult> =
        claim.scenarios.iter().filter(|one| one.runs() && one.verdict == claim.verdict).collect();
    let own = worst(&claim.scenarios).filter(|worst| worst.reason == claim.reason);
    let (one, many) = match claim.verdict {
        Verdict::Holds => ("holds", "hold"),
        Verdict::Fails => ("fails", "fail"),
        Verdict::Inconclusive => ("is inconclusive", "are inconclusive"),
        Verdict::KnownDeviation => ("fails as declared", "fail as declared"),
        Verdict::NotRun => ("was only recorded", "were only recorded"),
    };
    match (own, deciding.len()) {
        (Some(own), _) if all == 1 => scenario(own),
        (Some(_), count) if claim.verdict == Verdict::Holds && count == all => {
            said(format!("all {all} scenarios hold"))
        }
        (Some(own), count) if count > 0 => {
            let word = if count == 1 { one } else { many };
            said(format!("{count} of {all} scenarios {word}: {}: {}", own.at.name, scenario(own)))
        }
        _ => reason(&claim.reason),
    }
}

/// Says who declared that a claim fails, until when and why.
pub fn declaration(claim: &ClaimResult) -> String {
    claim.deviations.first().map_or_else(String::new, |Deviation { declared_by, expires, reason, link, .. }| {
        let link = link.as_ref().map(|link| format!(" ({link})")).unwrap_or_default();
        said(format!("declared by {declared_by} until {expires}: {reason}{link}"))
    })
}

/// Returns the verdict that one of a claim's scenarios is shown with, and the sentence about it.
pub fn shown(claim: &ClaimResult, own: &ScenarioResult) -> (Verdict, String) {
    match claim.shown(own) {
        (verdict, seen) if std::ptr::eq(seen, &own.reason) => (verdict, scenario(own)),
        (verdict, other) => (verdict, reason(other)),
    }
}

/// Says in one short sentence what a control came to.
pub fn control(control: &ControlResult) -> String {
    match control.verdict {
        ControlVerdict::NotCaught => said(format!("the check accepts it: {}", reason(&control.reason))),
        _ => reason(&control.reason),
    }
}

/// Says what a check has seen, with the range of all samples.
pub fn check(checked: &Reason) -> String {
    let range = |bound: &Bound| bound.all.map(|all| range(&all, bound)).unwrap_or_default();
    match checked {
        Reason::Bound(bound) => said(format!("{}{}", with_bound(bound), range(bound))),
        other => reason(other),
    }
}

fn range(Range { n, min, median, max }: &Range, Bound { unit, .. }: &Bound) -> String {
    let [low, middle, high] = [min, median, max].map(|number| unit.format(*number));
    match min == max {
        true => format!(" (in all {n} samples)"),
        false => format!(" ({n} samples: {low} to {high}, median {middle})"),
    }
}

/// Says where the true median lies.
fn median(Interval { low, high, confidence }: &Interval, unit: &Unit) -> String {
    let confidence = (confidence * 1000.0).floor() / 10.0;
    format!(" (a median, {} to {} with {confidence:.1} % confidence)", unit.format(*low), unit.format(*high))
}

/// Says what a verdict is worth.
pub fn worth(worth: &Worth, unit: Unit) -> String {
    said(match worth {
        Worth::Runs { runs, share, excess } => {
            let share = (share * 100.0).floor();
            let excess = excess.map(|excess| match unit {
                Unit::Ratio => format!("{} percentage points", Unit::Count.format(excess * 100.0)),
                _ => unit.format(excess),
            });
            let seen = excess.map(|excess| {
                format!(" If all runs became worse by {excess}, {runs} runs would show it with 95 % probability.")
            });
            format!(
                "All {runs} runs are within the bound; with 95 % confidence, so are at least {share} % of all.{}",
                seen.unwrap_or_default()
            )
        }
        Worth::Pairs { equals, seen, within, outside } => {
            let [low, high, within, outside] = [equals.low, equals.high, *within, *outside].map(|one| unit.format(one));
            let seen = match seen {
                Seen::Nothing => "no false alarm",
                Seen::Difference => "a difference between equals, though not the claimed one",
                Seen::FalseAlarm => "a false alarm",
            };
            format!(
                "Its control, which compares equals, found {low} to {high}: {seen}. With pairs that scatter no more, the check \
                 says with 95 % probability that the claim holds where the true ratio is {within} or more, and that it fails \
                 where it is {outside} or less."
            )
        }
    })
}

/// Says how often comparisons of equals saw a difference.
pub fn false_alarms(FalseAlarms { verdicts, claimed, any, smallest }: &FalseAlarms) -> String {
    let seen = smallest.map(|factor| {
        format!("; 95 % of them would have seen a ratio that is {} the claimed one", Unit::Times.format(factor))
    });
    let found = match any {
        0 => "none found a difference".to_owned(),
        _ => format!("{claimed} found the claimed ratio, {any} any difference"),
    };
    let comparisons = if *verdicts == 1 { "comparison" } else { "comparisons" };
    said(format!("of {verdicts} {comparisons} of equals, {found}{}", seen.unwrap_or_default()))
}

/// Formats a value; one that is a long text is cut.
fn quoted(value: &Value, unit: Unit) -> String {
    match value {
        Value::Text(text) => format!("\"{}\"", cut(&one_line(text), VALUE)),
        number => number.format(unit),
    }
}

/// Says what was measured, without the bound.
fn measured(seen: &Reason) -> String {
    let Reason::Bound(bound) = seen else { return reason(seen) };
    let Bound { probe, rule, value, unit, subject, raw, lines, .. } = &**bound;
    let raw = raw.as_ref().map(|raw| format!(" ({raw})")).unwrap_or_default();
    let kept = rule.accepts(value) == Some(true);
    if let (Some(figure), Value::Number(right)) = (probe.strip_prefix("arithmetic: "), value) {
        return format!("the annex's figure \"{figure}\" is {}", if *right == 1.0 { "right" } else { "wrong" });
    }
    if let (Rule::Contains { text }, Some(lines), false) = (rule, lines, kept) {
        return format!("none of its {lines} lines contains \"{text}\"; the last is {}", quoted(value, *unit));
    }
    let cold = if subject.split(' ').any(|word| word == "cold") { " on a cold start" } else { "" };
    format!("{}{raw}{cold}", says(probe, &quoted(value, *unit)))
}

/// Says what was measured, and the bound unless the value repeats it.
fn with_bound(bound: &Bound) -> String {
    let Bound { rule, value, unit, lines, interval, .. } = bound;
    let seen = measured(&Reason::Bound(Box::new(bound.clone())));
    let kept = rule.accepts(value) == Some(true);
    let number = |bound: f64| unit.format(bound);
    let limit = match rule {
        Rule::Below { bound } | Rule::AtMost { bound } => format!("the bound is {}", number(*bound)),
        Rule::AtLeast { bound } => format!("the bound is at least {}", number(*bound)),
        Rule::MedianAtLeast { bound } => {
            format!(
                "the bound is at least {}{}",
                number(*bound),
                interval.map(|seen| median(&seen, unit)).unwrap_or_default()
            )
        }
        Rule::Between { low, high } => format!("the bound is {} to {}", number(*low), number(*high)),
        Rule::AtLeastVersion { version } => format!("the bound is {version} or newer"),
        _ if kept || bound.probe.starts_with("arithmetic: ") => return seen,
        Rule::Equals { value } => format!("expected {}", quoted(value, *unit)),
        Rule::Differs { .. } => "expected another value".to_owned(),
        Rule::Contains { .. } if lines.is_some() => return seen,
        Rule::Contains { text } => format!("it does not contain \"{text}\""),
        Rule::Shape { shape } => format!("expected an address like {shape}"),
        Rule::Recorded => return seen,
    };
    format!("{seen}; {limit}")
}

/// Says why a workload that ran has no value of this probe, if that is known.
fn absent(probe: &str) -> Option<&'static str> {
    Some(match probe {
        "unit.status" => "it has no exit code: it was still up when its time was over, or a signal ended it",
        "unit.result" => "it has no result: it was still up when its time was over",
        "log.greeting" | "log.completion" => "its log has no such line",
        _ => return None,
    })
}

/// Says what this value of a probe means; of one that is not listed, that the probe has it.
fn says(probe: &str, value: &str) -> String {
    let is_of =
        |(name, _): &(&String, &String)| probe == *name || (name.ends_with('.') && probe.starts_with(name.as_str()));
    match PROBES.iter().filter(is_of).max_by_key(|(name, _)| name.len()) {
        Some((_, says)) => says.replace("(s)", if value == "1" { "" } else { "s" }).replacen("{}", value, 1),
        None => format!("{probe} is {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stats::share_within;
    use crate::verdict::worth::tests::{RECORDED, control};
    use crate::verdict::worth::{of_equals, worth as worth_of};

    #[test]
    fn every_probe_that_the_catalogue_names_is_said_in_plain_words() {
        for name in catalogue::names().filter(|name| !name.ends_with(['.', ' '])) {
            assert_eq!(says(name, "V").matches('V').count(), 1, "{name}");
            assert!(!says(name, "V").contains(name), "{name} has no words");
            assert!(absent(name).is_none_or(|why| why.starts_with("it")), "{name}");
        }
        assert_eq!(says("image.annotation.variant", "\"compat\""), "the annotation is \"compat\"");
        assert_eq!(says("disk.free", "3 GB"), "disk.free is 3 GB");
        let readings = ["1", "5"].map(|number| says("log.readings", number));
        assert_eq!(readings, ["its log has 1 reading", "its log has 5 readings"]);
    }

    #[test]
    fn what_a_verdict_is_worth_is_said_in_plain_words() {
        let runs = |runs, excess| Worth::Runs { runs, share: share_within(runs), excess };
        let pairs = |factor: f64| {
            let itself = control(&RECORDED.map(|ratio| ratio * factor), 2.0);
            worth_of(&itself.attempts[0].checks[0], &[], std::slice::from_ref(&itself)).unwrap()
        };
        let alarms = |factors: &[f64]| {
            let controls: Vec<_> =
                factors.iter().map(|factor| control(&RECORDED.map(|one| one * factor), 2.0)).collect();
            false_alarms(&FalseAlarms::among(&of_equals(controls.iter())))
        };
        let said = [
            worth(&runs(20, Some(0.854)), Unit::Seconds),
            worth(&runs(5, Some(21e6)), Unit::Bytes),
            worth(&runs(3, Some(0.025)), Unit::Ratio),
            worth(&runs(2, None), Unit::Count),
            worth(&pairs(1.0), Unit::Times),
            worth(&pairs(1.5), Unit::Times),
            worth(&pairs(3.0), Unit::Times),
            alarms(&[1.0]),
            alarms(&[1.0; 3]),
            alarms(&[1.0, 1.5, 3.0]),
            alarms(&[1.0; 20]),
        ];
        insta::assert_snapshot!("worth", said.join("\n"));
    }
}
