//! Checks a run against its plan: nothing was measured before it, nothing was judged by another rule, and everything
//! planned is there.

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value as Json;

use super::{Finding, Trust};
use crate::base::digest::sha256_of;
use crate::evidence::attestation;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::history::{self, Ending, History};
use crate::evidence::sealed_plan::{Link, PLAN, PlannedScenario, SIGNATURE, SealedPlan, TIME, feature_digests};
use crate::evidence::timestamp;
use crate::verdict::claim_verdict::Attempt;

/// Checks a run against its plan, if it has one. Returns a sentence about it.
pub(super) fn check(bundle: &EvidenceBundle, trust: &Trust) -> Result<Option<String>, Vec<Finding>> {
    let named = bundle.run.pointer("/plan/sha256").and_then(Json::as_str);
    let has = |name: &str| bundle.folder.path().join(name).symlink_metadata().is_ok();
    if named.is_none() && !has(PLAN) {
        return Ok(None);
    }
    let read = || -> anyhow::Result<SealedPlan> {
        let digest = sha256_of(bundle.folder.reader(PLAN)?)?;
        let named = named.unwrap_or("none");
        anyhow::ensure!(
            named == digest,
            "it is not the plan that was sealed: its SHA-256 is {digest}, in run.json {named}"
        );
        serde_json::from_str(&bundle.folder.text(PLAN)?).context("it is not a plan of this version")
    };
    let plan = match read() {
        Ok(plan) => plan,
        Err(error) => return Err(vec![Finding::new(PLAN, format!("{error:#}"))]),
    };
    let mut findings: Vec<Finding> =
        findings_of(&plan, bundle).into_iter().map(|problem| Finding::new(PLAN, problem)).collect();
    let mut sealed = |file: &str, result: anyhow::Result<String>| {
        result.unwrap_or_else(|error| {
            findings.push(Finding::new(file, format!("{error:#}")));
            String::new()
        })
    };
    let signed = sealed(SIGNATURE, signed(bundle, trust));
    let stamped = sealed(TIME, stamped(bundle, trust));
    if !findings.is_empty() {
        return Err(findings);
    }
    let checks = plan.claims.iter().flat_map(|claim| &claim.scenarios).flat_map(|scenario| &scenario.steps);
    let checks = checks.filter_map(|step| Some(step.checks.as_ref()?.len())).sum::<usize>();
    let at = plan.at.strftime("%Y-%m-%d %H:%M:%S UTC");
    Ok(Some(format!(
        "every sample is later than {PLAN} of {at}, and all was judged as planned there, {checks} checks by their rules; \
         the plan was {signed} and {stamped}"
    )))
}

/// Says who signed the plan. A run may be signed later than its plan, and by another signer.
fn signed(bundle: &EvidenceBundle, trust: &Trust) -> anyhow::Result<String> {
    if bundle.folder.path().join(SIGNATURE).symlink_metadata().is_err() {
        return Ok("not signed".to_owned());
    }
    let unknown = attestation::signer(&bundle.folder, PLAN, None)?;
    let known = trust.allowed.and_then(|allowed| attestation::signer(&bundle.folder, PLAN, Some(allowed)).ok());
    Ok(match (known, trust.allowed) {
        (Some(by), _) => by,
        (None, Some(_)) => "signed by no allowed signer".to_owned(),
        (None, None) => unknown,
    })
}

/// Says when the plan was time-stamped.
fn stamped(bundle: &EvidenceBundle, trust: &Trust) -> anyhow::Result<String> {
    if bundle.folder.path().join(TIME).symlink_metadata().is_err() {
        anyhow::ensure!(trust.authority.is_none(), "there is none, and a time authority is named");
        return Ok("not time-stamped".to_owned());
    }
    let time = timestamp::read(&bundle.folder.file(PLAN)?, &bundle.folder.file(TIME)?, trust.authority)?;
    let early = bundle.samples.iter().find(|sample| sample.at < time);
    anyhow::ensure!(early.is_none(), "the first sample was taken before the plan was time-stamped, at {time}");
    let by = if trust.authority.is_some() { "by this authority" } else { "by a server that is not checked" };
    Ok(format!("time-stamped at {time} {by}"))
}

/// Describes everything in a run that is not as its plan has it.
pub fn findings_of(plan: &SealedPlan, bundle: &EvidenceBundle) -> Vec<String> {
    let verdicts = &bundle.verdicts;
    let mut problems = Vec::new();
    if plan.run != verdicts.run {
        problems.push(format!("it is the plan of another run, {}", plan.run));
    }
    let early: Vec<_> = bundle.samples.iter().filter(|sample| sample.at < plan.at).collect();
    if let Some(sample) = early.first() {
        problems.push(format!(
            "it was written after the first sample: at {}, and sample {} was taken at {} ({} of {} samples are earlier)",
            plan.at,
            sample.id,
            sample.at,
            early.len(),
            bundle.samples.len()
        ));
    }
    match feature_digests(&bundle.folder) {
        Ok(now) => {
            let names = plan.features.keys().chain(now.keys().filter(|name| !plan.features.contains_key(*name)));
            let other = names.filter(|name| plan.features.get(*name) != now.get(*name));
            problems.extend(other.map(|name| format!("{name} is not the file that was planned with")));
        }
        Err(error) => problems.push(format!("{error:#}")),
    }
    for planned in &plan.claims {
        let mut tell = |problem: String| problems.push(format!("{}: {problem}", planned.id));
        let Some(claim) = verdicts.claims.iter().find(|claim| claim.id == planned.id) else {
            tell("it was planned, and is not in verdicts.json".to_owned());
            continue;
        };
        if claim.bound != planned.bound {
            tell(format!("its bound was planned as \"{}\", and is \"{}\"", planned.bound, claim.bound));
        }
        for scenario in planned.scenarios.iter().filter(|scenario| !scenario.control || scenario.runs()) {
            let own = claim.scenarios.iter().find(|own| own.at == scenario.at && !scenario.control);
            let own = own.map(|own| (own.runs(), own.machine_kind, &own.attempts));
            let control = || claim.controls.iter().find(|own| own.at == scenario.at && scenario.control);
            let found = own.or_else(|| control().map(|own| (true, own.machine_kind, &own.attempts)));
            let Some((runs, kind, attempts)) = found else {
                tell(format!("its scenario at {} was planned, and is not in verdicts.json", scenario.at));
                continue;
            };
            let kept = plan.limits.get("keep").and_then(Json::as_bool) == Some(true);
            let lost = verdicts.complete && !kept && scenario.runs() && attempts.is_empty();
            if runs != scenario.runs() || lost {
                tell(format!("its scenario at {} did not run as planned", scenario.at));
            }
            if runs && kind.is_some_and(|kind| kind != scenario.on) {
                tell(format!("its scenario at {} was planned on {}", scenario.at, scenario.on));
            }
            if plan.limits.get("retries").and_then(Json::as_u64).is_some_and(|most| attempts.len() as u64 > most + 1) {
                tell(format!("its scenario at {} was tried {} times", scenario.at, attempts.len()));
            }
            attempts.iter().filter_map(|attempt| other_rule(attempt, scenario)).for_each(&mut tell);
        }
    }
    let added = verdicts.claims.iter().filter(|claim| plan.claims.iter().all(|planned| planned.id != claim.id));
    problems.extend(added.map(|claim| format!("{}: it was not planned", claim.id)));
    problems
}

/// Finds a check that was made by another rule than planned, or was not made.
fn other_rule(attempt: &Attempt, scenario: &PlannedScenario) -> Option<String> {
    let mut rest = &attempt.checks[..];
    let known = scenario.steps.iter().any(|step| step.checks.is_some());
    if known && attempt.steps.is_empty() && !rest.is_empty() {
        return Some(format!("{}: its checks belong to no step", scenario.at));
    }
    for step in &attempt.steps {
        let (made, later) = rest.split_at_checked(step.checks)?;
        rest = later;
        let planned = scenario.steps.iter().find(|planned| planned.line == step.line);
        let Some(planned) = planned.and_then(|planned| planned.checks.as_ref()) else { continue };
        let other = planned.iter().zip(made).find(|(planned, made)| !planned.is(made));
        if let Some((planned, made)) = other {
            let rule = made.check.rule.format(made.check.unit);
            let (planned, probe) = (planned.format(), &made.check.probe);
            return Some(format!("{}: planned was {planned}, and judged {probe} {rule}", scenario.at));
        }
        if made.len() > planned.len() || (step.seconds.is_some() && made.len() < planned.len()) {
            let (made, planned) = (made.len(), planned.len());
            return Some(format!("{}: \"{}\" made {made} checks of {planned} planned", scenario.at, step.text));
        }
    }
    None
}

/// Follows the chain of runs back from this one.
pub(super) fn history(bundle: &EvidenceBundle, folder: &Path) -> anyhow::Result<String> {
    let run = &bundle.verdicts.run;
    let plan = sha256_of(bundle.folder.reader(PLAN).context("it was not sealed, so it names no run before it")?)?;
    let history = History::read(&history::folder_of(folder))?;
    let earlier = history.back_from(&Link { run: run.clone(), sha256: plan }).map_err(anyhow::Error::msg)?;
    let Some(first) = earlier.last() else { return Ok("it is the first run in its folder".to_owned()) };
    let lost = earlier.iter().filter(|run| run.ending != Ending::Complete).count();
    Ok(format!(
        "every run before it in its folder is there: {}, back to {}, of which {lost} did not finish",
        earlier.len(),
        first.link.run
    ))
}

#[cfg(test)]
mod tests;
