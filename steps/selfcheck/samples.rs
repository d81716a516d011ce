//! Falsifies samples: each sample that a check rests on, in each way.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::civil::Date;

use super::Mutant;
use assay::base::platform::MachineKind;
use assay::base::unit::Unit;
use assay::evidence::ClaimResult;
use assay::measurement::{Sample, Value};
use assay::verdict::{Check, Rule, Verdict};

/// How a sample was falsified, and the sample that replaces it; `None` if it is dropped.
type Falsified = (&'static str, Option<Sample>);

/// Falsifies every sample of every check that holds.
pub fn mutants(claim: &ClaimResult, samples: &[Sample], on: Date) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let checks = claim.attempts().flat_map(|attempt| &attempt.checks);
    for judged in checks.filter(|judged| judged.outcome.verdict == Verdict::Holds) {
        let check = &judged.check;
        let mine = samples.iter().filter(|sample| check.samples.contains(&sample.id));
        for (place, sample) in mine.enumerate() {
            let others: Vec<Sample> = samples.iter().filter(|other| other.id != sample.id).cloned().collect();
            let mutant = |how: &'static str, check: Check, seen: &[Sample], held: bool| {
                let what = format!("{} {}", check.probe, check.rule.format(check.unit));
                let which = format!("sample {} of {}", sample.id, sample.subject);
                let verdict = check.judge(seen).outcome.verdict;
                let survived = verdict == Verdict::Holds || held;
                Mutant { claim: claim.id, what, how, which, verdict: Some(verdict), survived }
            };
            for (how, falsified) in falsified(check, sample) {
                let seen: Vec<Sample> = others.iter().cloned().chain(falsified).collect();
                // The claim's verdict depends on the check's verdict, not on the sample: falsifying it once per check
                // is enough.
                let once = place == 0 && claim.verdict == Verdict::Holds;
                let held = once && claim.again(&seen, on).verdict == Verdict::Holds;
                mutants.push(mutant(how, check.clone(), &seen, held));
            }
            if alone(check, sample, samples) {
                // As if the probe had never taken it: the check's list does not have it either.
                let list = check.samples.iter().copied().filter(|id| *id != sample.id).collect();
                mutants.push(mutant("never taken", Check { samples: list, ..check.clone() }, &others, false));
            }
        }
    }
    mutants
}

/// Moves all that was measured on a machine to one of another kind, in the samples and in the checks alike. Only the kind
/// that the claim was planned for can show that.
pub fn moved(claim: &ClaimResult, samples: &[Sample], on: Date) -> Vec<Mutant> {
    let sources = claim.attempts().flat_map(|attempt| &attempt.checks).flat_map(|judged| &judged.check.sources);
    let on_machines = sources.filter_map(|source| Some((source.machine.clone(), source.kind?)));
    let machines: BTreeMap<String, MachineKind> = on_machines.filter(|(_, kind)| *kind != MachineKind::Host).collect();
    let move_one = |(machine, kind): (String, MachineKind)| {
        let other = if kind == MachineKind::Vm { MachineKind::Nspawn } else { MachineKind::Vm };
        let (mut changed, mut seen) = (claim.clone(), samples.to_vec());
        let attempts = changed.scenarios.iter_mut().flat_map(|scenario| &mut scenario.attempts);
        let sources = attempts.flat_map(|attempt| &mut attempt.checks).flat_map(|judged| &mut judged.check.sources);
        for source in sources.filter(|source| source.machine == machine) {
            (source.machine, source.kind) = ("elsewhere".to_owned(), Some(other));
        }
        seen.iter_mut().filter(|sample| sample.machine == machine).for_each(|sample| {
            sample.machine = "elsewhere".to_owned();
        });
        let verdict = changed.again(&seen, on).verdict;
        let (what, how) = (format!("machine {machine}"), "on a machine of another kind");
        let (which, survived) = (format!("{kind}, not {other}"), verdict == Verdict::Holds);
        Mutant { claim: claim.id, what, how, which, verdict: Some(verdict), survived }
    };
    let holds = claim.verdict == Verdict::Holds;
    machines.into_iter().filter(|_| holds).map(move_one).collect()
}

/// Returns whether a sample is the only one of its subject in a check.
fn alone(check: &Check, sample: &Sample, samples: &[Sample]) -> bool {
    let mine = samples.iter().filter(|other| other.subject == sample.subject && check.samples.contains(&other.id));
    mine.count() == 1
}

fn falsified(check: &Check, sample: &Sample) -> Vec<Falsified> {
    let other = if sample.unit == Unit::Bytes { Unit::Count } else { Unit::Bytes };
    let with = |value: Value| Some(Sample { value, ..sample.clone() });
    let mut all: Vec<Falsified> = vec![
        ("dropped", None),
        ("stale", Some(Sample { at: sample.at - SignedDuration::from_hours(24), ..sample.clone() })),
        ("from the future", Some(Sample { at: sample.at + SignedDuration::from_hours(24), ..sample.clone() })),
        ("from another machine", Some(Sample { machine: format!("{}-2", sample.machine), ..sample.clone() })),
        ("of another subject", Some(Sample { subject: format!("{}-2", sample.subject), ..sample.clone() })),
        ("of another probe", Some(Sample { probe: format!("{}-2", sample.probe), ..sample.clone() })),
        ("in another unit", Some(Sample { unit: other, ..sample.clone() })),
    ];
    all.extend(check.rule.broken_by(check.unit).into_iter().map(|value| ("over its bound", with(value))));
    match &sample.value {
        Value::Text(text) => {
            all.push(("empty", with("".into())));
            all.push(("garbled", with("?".repeat(text.chars().count()).as_str().into())));
            all.push(("a number", with(1.0.into())));
        }
        Value::Number(number) => {
            all.push(("garbled", with("?".into())));
            all.push(("negative", with((-number.abs() - 1.0).into())));
            all.push(("not a number", with(f64::NAN.into())));
            all.push(("infinite", with(f64::INFINITY.into())));
            // A value without a bound may be anything plausible.
            let scaled =
                matches!(sample.unit, Unit::Bytes | Unit::Seconds | Unit::Dollars) && check.rule != Rule::Recorded;
            if scaled && *number != 0.0 {
                for factor in [1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9] {
                    all.push(("off by a power of 1000", with((number * factor).into())));
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay::base::unit::Dollars;
    use assay::verdict::Source;

    #[test]
    fn every_way_to_falsify_an_amount_of_dollars_is_caught() {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let (subject, machine) = ("run".to_owned(), "ec2".to_owned());
        let sample = Sample {
            id: 1,
            probe: "cost.total".to_owned(),
            subject: subject.clone(),
            machine: machine.clone(),
            value: Value::Number(Dollars(0.0042).value()),
            unit: Unit::Dollars,
            at,
            raw: "$0.0042".to_owned(),
        };
        let sources = vec![Source { subject, machine, kind: None, since: at, until: at }];
        let rule = Rule::Below { bound: 0.01 };
        let check = Check { probe: "cost.total".to_owned(), unit: Unit::Dollars, rule, sources, samples: vec![1] };
        let verdict = |sample: Option<Sample>| check.clone().judge(&Vec::from_iter(sample)).outcome.verdict;
        assert_eq!(verdict(Some(sample.clone())), Verdict::Holds);
        let falsified = falsified(&check, &sample);
        let scaled = falsified.iter().filter(|(how, _)| *how == "off by a power of 1000").count();
        assert_eq!(scaled, 6);
        for (how, falsified) in falsified {
            assert_ne!(verdict(falsified), Verdict::Holds, "{how}");
        }
    }
}
