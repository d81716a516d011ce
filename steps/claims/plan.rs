//! Decides which scenarios run on a target and which do not, with the reason, before anything is started.

mod decision;

use std::collections::BTreeSet;

use gherkin::{Feature, Scenario};

#[cfg(feature = "run")]
pub use decision::Seen;
pub use decision::{Capabilities, Decision, NotJudgedReason};

pub use crate::claims::feature_file::FeatureFile;
use crate::claims::register::{Claim, ClaimId, Register};
use decision::decide;

/// The skip reason for a scenario that the user's options do not select.
pub const NOT_SELECTED: &str = "not selected by the options of this run";

/// The beginning of the skip reason for a scenario that belongs to another shard.
pub const NOT_IN_SHARD: &str = "not in shard ";

/// The tag of scenarios that run after all others.
const LAST: &str = "last";
/// The tag of scenarios that share their measurements and the machine that they inspect.
const SHARED: &str = "shared";

/// The beginning of the step that ends every control. Without it, the check could fail for a wrong reason unnoticed.
pub const REFUSAL: &str = "this check fails on ";

/// A scenario and what the plan decides for it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The claim that it tests.
    pub claim: ClaimId,
    /// The scenario's name.
    pub scenario: String,
    /// The feature file that contains it, relative to the project.
    pub feature: String,
    /// Its line number in that file.
    pub line: usize,
    /// Whether it is a control of its claim: the same check on a wrong subject, which must fail.
    pub control: bool,
    /// Whether it runs after all others, because it ends the machine.
    pub last: bool,
    /// Whether it uses measurements shared with other such scenarios instead of measuring on fresh machines itself.
    pub shared: bool,
    /// Whether it runs, is only measured, or is skipped.
    pub decision: Decision,
}

impl Planned {
    /// Returns its short location: `a6_service:77`.
    pub fn place(&self) -> String {
        let name = self.feature.rsplit('/').next().unwrap_or(&self.feature);
        format!("{}:{}", name.strip_suffix(".feature").unwrap_or(name), self.line)
    }

    /// Returns whether it runs, judged or not.
    pub fn runs(&self) -> bool {
        !matches!(self.decision, Decision::Skip(_))
    }
}

/// All scenarios, in the order of their claims, each claim's own scenario before its controls.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub scenarios: Vec<Planned>,
}

/// All errors in the features, each with its location.
#[derive(Debug, thiserror::Error)]
#[error("the features cannot be run:\n{}", .0.join("\n"))]
pub struct FeatureErrors(pub Vec<String>);

/// A part of the scenarios, so that several machines can share a run: the first of three is `1/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    part: usize,
    of: usize,
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((part, of)) if 1 <= part && part <= of => Ok(Shard { part, of }),
            _ => Err(format!("\"{text}\" is not a shard: write the first of three as 1/3")),
        }
    }
}

impl Shard {
    /// Returns which part it is, counted from 1, and how many parts there are.
    pub fn numbers(self) -> (usize, usize) {
        (self.part, self.of)
    }

    /// Parses the shard from the skip reason of a scenario that belongs to another shard.
    pub fn of_reason(reason: &str) -> Option<Shard> {
        reason.strip_prefix(NOT_IN_SHARD)?.parse().ok()
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.part, self.of)
    }
}

impl Plan {
    /// Decides for each scenario whether it runs on a target with exactly the capabilities `met`.
    pub fn make(
        features: &[FeatureFile],
        register: &Register,
        met: &Capabilities,
        wanted: impl Fn(&Feature, &Scenario) -> bool,
        shard: Option<Shard>,
    ) -> Result<Plan, FeatureErrors> {
        let mut mistakes = Vec::new();
        let mut scenarios = Vec::new();
        for file in features {
            for scenario in every_scenario(&file.feature) {
                let mut wrong = |mistake: String| mistakes.push(located(&file.path, scenario.position.line, &mistake));
                let claim = match the_claim(scenario, register) {
                    Ok(claim) => claim,
                    Err(mistake) => {
                        wrong(mistake);
                        continue;
                    }
                };
                let tagged = |tag: &str| scenario.tags.iter().any(|own| own == tag);
                let control = tagged("control");
                if let Some(mistake) = misuse(scenario, claim, control) {
                    wrong(mistake);
                }
                let decision = match wanted(&file.feature, scenario) {
                    true => decide(claim, met),
                    false => Decision::Skip(NOT_SELECTED.to_owned()),
                };
                scenarios.push(Planned {
                    claim: claim.id,
                    scenario: scenario.name.clone(),
                    feature: file.path.clone(),
                    line: scenario.position.line,
                    control,
                    last: tagged(LAST),
                    shared: tagged(SHARED) || file.feature.tags.iter().any(|tag| tag == SHARED),
                    decision,
                });
            }
        }
        mistakes.extend(register.iter().filter_map(|claim| uncovered(claim, &scenarios)));
        mistakes.extend(register.iter().filter_map(|claim| repeated(claim, &scenarios)));
        if !mistakes.is_empty() {
            return Err(FeatureErrors(mistakes));
        }
        scenarios.sort_by_key(|planned| (planned.claim, planned.control));
        if let Some(shard) = shard {
            share_out(&mut scenarios, shard);
        }
        Ok(Plan { scenarios })
    }

    #[cfg(feature = "run")]
    pub fn at(&self, feature: &str, line: usize) -> Option<&Planned> {
        self.scenarios.iter().find(|planned| planned.feature == feature && planned.line == line)
    }
}

/// Skips the scenarios of other shards. A claim and its controls share a shard, because neither means anything alone.
fn share_out(scenarios: &mut [Planned], shard: Shard) {
    let claims: BTreeSet<ClaimId> = scenarios.iter().map(|planned| planned.claim).collect();
    let mine: BTreeSet<ClaimId> = claims.into_iter().skip(shard.part - 1).step_by(shard.of).collect();
    for planned in scenarios.iter_mut().filter(|planned| !mine.contains(&planned.claim)) {
        planned.decision = Decision::Skip(format!("{NOT_IN_SHARD}{shard}"));
    }
}

/// Returns all scenarios of a feature, including those inside rules.
pub fn every_scenario(feature: &Feature) -> impl Iterator<Item = &Scenario> {
    feature.scenarios.iter().chain(feature.rules.iter().flat_map(|rule| &rule.scenarios))
}

fn located(file: &str, line: usize, mistake: &str) -> String {
    format!("  {file}:{line}: {mistake}")
}

/// Returns what is wrong with a scenario, given whether it is a control.
fn misuse(scenario: &Scenario, claim: &Claim, control: bool) -> Option<String> {
    let (name, id) = (&scenario.name, claim.id);
    let refusals = scenario.steps.iter().filter(|step| step.value.starts_with(REFUSAL)).count();
    let closed = scenario.steps.last().is_some_and(|step| step.value.starts_with(REFUSAL));
    if !scenario.examples.is_empty() {
        return Some(format!("\"{name}\" is an outline, which assay does not run yet: write a scenario for each row"));
    }
    match (control, &claim.control) {
        (true, None) => Some(format!(
            "\"{name}\" is a control that claim {id} does not declare: say in features/claims.toml what it is, \
             as control = \"…\""
        )),
        (true, Some(_)) if !closed || refusals > 1 => {
            Some(format!("\"{name}\" could never be caught: end it with one step: But {REFUSAL}\"…\""))
        }
        (false, _) if refusals > 0 => {
            Some(format!("\"{name}\" expects a refusal and is not a control: tag it @control, or leave out that step"))
        }
        _ => None,
    }
}

/// Returns an error if a claim lacks its scenario or its declared control.
fn uncovered(claim: &Claim, scenarios: &[Planned]) -> Option<String> {
    let mine = |control: bool| scenarios.iter().find(|planned| planned.claim == claim.id && planned.control == control);
    let id = claim.id;
    match (mine(false), &claim.control) {
        (None, _) => Some(format!("  claim {id} has no scenario: tag one with @{id}")),
        (Some(own), Some(control)) if mine(true).is_none() => {
            let mistake =
                format!("claim {id} names a control that no scenario has ({control}): tag one with @{id} @control");
            Some(located(&own.feature, own.line, &mistake))
        }
        _ => None,
    }
}

/// Returns an error if a claim has several scenarios of its own: its verdict would rest on one of them only.
fn repeated(claim: &Claim, scenarios: &[Planned]) -> Option<String> {
    let mut own = scenarios.iter().filter(|planned| planned.claim == claim.id && !planned.control);
    let (first, second) = (own.next()?, own.next()?);
    let mistake = format!(
        "claim {} has a scenario already, in {}:{}, and is judged by one: make \"{}\" part of that one, or give it a claim \
         of its own",
        claim.id, first.feature, first.line, second.scenario
    );
    Some(located(&second.feature, second.line, &mistake))
}

fn the_claim<'a>(scenario: &Scenario, register: &'a Register) -> Result<&'a Claim, String> {
    let is_id =
        |tag: &&String| tag.strip_prefix('A').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let name = &scenario.name;
    match scenario.tags.iter().filter(is_id).collect::<Vec<_>>()[..] {
        [tag] => {
            let id: ClaimId = tag.parse()?;
            register.get(id).ok_or_else(|| {
                let section = tag.split('-').next().unwrap_or(tag).to_owned() + "-";
                let near = register.iter().map(|claim| claim.id.to_string()).filter(|id| id.starts_with(&section));
                format!(
                    "there is no claim @{tag}: features/claims.toml has {}",
                    near.reduce(|a, b| a + ", " + &b).unwrap_or_else(|| "no such section".to_owned())
                )
            })
        }
        [] if scenario.tags.iter().any(|tag| tag == "control") => {
            Err(format!("\"{name}\" is a control without a claim: tag it with its claim, too, such as @A6-4 @control"))
        }
        [] => Err(format!("\"{name}\" carries no claim: tag it with one, such as @A6-4")),
        _ => Err(format!("\"{name}\" carries more than one claim: a scenario tests one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &str = "[[claim]]\nid = \"A2-1\"\nclaim = \"x\"\nbound = \"y\"\ncontrol = \"z\"\n\
        [[claim]]\nid = \"A7-7\"\nclaim = \"x\"\nbound = \"y\"\nneeds = [\"native-cpu\"]\n\
        [[claim]]\nid = \"A8-5\"\nclaim = \"x\"\nbound = \"y\"\nneeds = [\"aws\"]\n";

    const OUTLINE: &str = "Scenario Outline: @A7-7\n    Given <x>\n    Examples:\n      | x |\n      | 1 |\n";

    fn plan(text: &str, shard: Option<Shard>) -> Result<Plan, FeatureErrors> {
        let files = [FeatureFile::parse("features/x.feature".to_owned(), text).unwrap()];
        Plan::make(&files, &Register::parse(CLAIMS).unwrap(), &Capabilities::default(), |_, _| true, shard)
    }

    fn scenario(tags: &str) -> String {
        let refusal = if tags.contains("@control") { "    But this check fails on \"x\"\n" } else { "" };
        format!("  {tags}\n  Scenario: {tags}\n    Given x\n{refusal}")
    }

    /// Returns a valid feature with `more` appended.
    fn sound(more: &str) -> String {
        format!("Feature: f\n{}{more}", ["@A2-1", "@A2-1 @control", "@A7-7", "@A8-5"].map(scenario).concat())
    }

    #[test]
    fn every_mistake_is_named_with_its_place_and_its_remedy() {
        let refusal = "    But this check fails on \"x\"\n";
        let last = format!("    Given x\n{refusal}");
        let (sound, with) = (sound(""), |tags: &str| sound(&scenario(tags)));
        for (text, expected) in [
            (
                sound.replace(&scenario("@A2-1 @control"), ""),
                "3: claim A2-1 names a control that no scenario has (z): tag one with @A2-1 @control",
            ),
            (
                with("@A7-7 @control"),
                "16: \"@A7-7 @control\" is a control that claim A7-7 does not declare: say in features/claims.toml",
            ),
            (
                with("@control"),
                "16: \"@control\" is a control without a claim: tag it with its claim, too, such as @A6-4",
            ),
            (with("@slow"), "16: \"@slow\" carries no claim: tag it with one"),
            (with("@A2-1 @A7-7"), "16: \"@A2-1 @A7-7\" carries more than one claim"),
            (with("@A2-9"), "16: there is no claim @A2-9: features/claims.toml has A2-1"),
            (sound.replace(refusal, ""), "6: \"@A2-1 @control\" could never be caught: "),
            (sound.replace(&last, &format!("{last}    Then y\n")), "6: \"@A2-1 @control\" could never be caught: "),
            (sound.replace(refusal, &refusal.repeat(2)), "6: \"@A2-1 @control\" could never be caught: "),
            (sound.replacen("Given x\n", &last, 1), "3: \"@A2-1\" expects a refusal and is not a control"),
            (with("@A7-7"), "16: claim A7-7 has a scenario already, in features/x.feature:10, and is judged by one: "),
            (
                sound.replacen("Scenario: @A7-7\n    Given x\n", OUTLINE, 1),
                "10: \"@A7-7\" is an outline, which assay does not run yet: write a scenario for each row",
            ),
        ] {
            let FeatureErrors(found) = plan(&text, None).unwrap_err();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(&format!("  features/x.feature:{expected}")), "{found:?}");
        }
        let all = plan(&format!("Feature: f\n{}{}", scenario("@A2-9"), scenario("@slow")), None).unwrap_err();
        assert!(all.to_string().ends_with("\n  claim A8-5 has no scenario: tag one with @A8-5"), "{all}");
        assert_eq!(all.0.len(), 5, "{all}");
    }

    #[test]
    fn shards_part_the_claims_without_rest_and_keep_controls_with_their_claim() {
        let mut runs = Vec::new();
        for shard in ["1/2", "2/2"] {
            let plan = plan(&sound(""), Some(shard.parse().unwrap())).unwrap();
            let mine = |planned: &&Planned| !matches!(&planned.decision, Decision::Skip(why) if why.contains("shard"));
            runs.push(plan.scenarios.iter().filter(mine).map(|planned| planned.claim.to_string()).collect::<Vec<_>>());
        }
        assert_eq!(runs, [vec!["A2-1", "A2-1", "A8-5"], vec!["A7-7"]]);
        assert!("0/2".parse::<Shard>().is_err() && "3/2".parse::<Shard>().is_err());
    }
}
