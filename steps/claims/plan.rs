//! Decides which scenarios run on a target and which do not, with the reason, before anything is started.

mod decision;

use std::collections::BTreeSet;

use gherkin::{Feature, Scenario};
use serde::{Deserialize, Serialize};

pub use decision::{Capabilities, Decision, NotJudgedReason, lacks};

use crate::base::platform::MachineKind;
pub use crate::claims::expand::REFUSAL;
use crate::claims::expand::{ExpandedScenario, expand};
pub use crate::claims::feature_file::FeatureFile;
use crate::claims::register::{Claim, ClaimId, Register, Requirement};
use decision::{Placement, place};

/// The tag of scenarios that run after all others.
const LAST: &str = "last";
/// The tag of scenarios that share their measurements and the machine that they inspect.
const SHARED: &str = "shared";

/// A scenario's name and place. A row of an outline is a scenario of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScenarioRef {
    /// The feature file that contains it, relative to the project.
    pub file: String,
    /// Its line number in that file; for a row of an outline, the row's.
    pub line: usize,
    pub name: String,
}

impl ScenarioRef {
    /// Returns its short location: `a6_service:77`.
    pub fn short(&self) -> String {
        let name = self.file.rsplit('/').next().unwrap_or(&self.file);
        format!("{}:{}", name.strip_suffix(".feature").unwrap_or(name), self.line)
    }
}

impl std::fmt::Display for ScenarioRef {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

/// A scenario and what the plan decides for it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The claim that it tests.
    pub claim: ClaimId,
    /// Which scenario it is.
    pub at: ScenarioRef,
    /// Whether it is a control of its claim: the same check on a wrong subject, which must fail.
    pub control: bool,
    /// Whether it runs after all others, because it ends the machine.
    pub last: bool,
    /// Whether it uses measurements shared with other such scenarios instead of measuring on fresh machines itself.
    pub shared: bool,
    /// Whether it is measured while the rest of the host is at rest: on a kind of machine beside emulated ones.
    pub at_rest: bool,
    /// The kind of machine that it runs on, the same as its controls.
    pub on: MachineKind,
    /// The first cheaper kind that this host has, and what the claim needs and that kind lacks.
    pub passed: Option<(MachineKind, Requirement)>,
    /// Whether it runs, is only measured, or is skipped.
    pub decision: Decision,
}

impl Planned {
    /// Returns whether it runs, judged or not.
    pub fn runs(&self) -> bool {
        !matches!(self.decision, Decision::Skip(_))
    }
}

/// All scenarios, in the order of their claims, each claim's own scenarios before its controls.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub scenarios: Vec<Planned>,
}

/// All errors in the features, each with its location.
#[derive(Debug, thiserror::Error)]
#[error("the features cannot be run:\n{}", .0.join("\n"))]
pub struct FeatureErrors(pub Vec<String>);

/// A part of the scenarios, so that several machines can share a run: the first of three is `1/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

    /// Returns it and all others of the same run.
    pub fn all(self) -> Vec<Shard> {
        (1..=self.of).map(|part| Shard { part, ..self }).collect()
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.part, self.of)
    }
}

impl FeatureFile {
    /// Returns its scenarios as they run: every row of an outline, every scenario of a rule.
    pub fn scenarios(&self) -> Vec<ExpandedScenario<'_>> {
        expand(&self.feature, &self.text)
    }
}

impl Plan {
    /// Decides for each scenario whether it runs on a target with exactly the capabilities `met`, and on which kind of
    /// machine.
    pub fn make(
        features: &[FeatureFile],
        register: &Register,
        met: &Capabilities,
        wanted: impl Fn(&Scenario) -> bool,
        shard: Option<Shard>,
    ) -> Result<Plan, FeatureErrors> {
        let mut mistakes = Vec::new();
        let mut scenarios = Vec::new();
        for file in features {
            let mut wrong = |line: usize, mistake: String| mistakes.push(located(&file.path, line, &mistake));
            let all = file.scenarios();
            let of_one_table = |a: &ExpandedScenario, b: &ExpandedScenario| {
                std::ptr::eq(a.written, b.written) && a.scenario.tags == b.scenario.tags
            };
            for rows in all.chunk_by(of_one_table) {
                // Rows of one table have the same tags and steps, and so the same mistakes.
                let Some(ExpandedScenario { scenario: first, .. }) = rows.first() else { continue };
                let claim = match the_claim(first, register) {
                    Ok(claim) => claim,
                    Err(mistake) => {
                        wrong(first.position.line, mistake);
                        continue;
                    }
                };
                let tagged = |tag: &str| first.tags.iter().any(|own| own == tag);
                let control = tagged("control");
                let Placement { on, passed, decision: placed } = place(claim, met);
                if let Some(mistake) = misuse(first, claim, control) {
                    wrong(first.position.line, mistake);
                }
                for ExpandedScenario { scenario, mistake, .. } in rows {
                    let line = scenario.position.line;
                    mistake.iter().for_each(|mistake| wrong(line, mistake.clone()));
                    let decision = match wanted(scenario) {
                        true => placed.clone(),
                        false => Decision::Skip(NotJudgedReason::NotSelected),
                    };
                    scenarios.push(Planned {
                        claim: claim.id,
                        at: ScenarioRef { file: file.path.clone(), line, name: scenario.name.clone() },
                        control,
                        last: tagged(LAST),
                        shared: tagged(SHARED),
                        at_rest: on == MachineKind::Nspawn && claim.measured_at_rest(tagged(SHARED)),
                        on,
                        passed,
                        decision,
                    });
                }
            }
            for line in empty_examples(&file.feature) {
                wrong(line, "these examples have no row, so nothing runs: add a row, or remove them".to_owned());
            }
        }
        mistakes.extend(register.iter().filter_map(|claim| uncovered(claim, &scenarios)));
        if !mistakes.is_empty() {
            return Err(FeatureErrors(mistakes));
        }
        scenarios.sort_by_key(|planned| (planned.claim, planned.control));
        if let Some(shard) = shard {
            share_out(&mut scenarios, shard);
        }
        Ok(Plan { scenarios })
    }

    /// Returns the kinds of machines that its scenarios run on, from the cheapest to the dearest.
    pub fn kinds(&self) -> Vec<MachineKind> {
        let mine = self.scenarios.iter().filter(|planned| planned.runs() && planned.on != MachineKind::Host);
        let kinds: BTreeSet<MachineKind> = mine.map(|planned| planned.on).collect();
        kinds.into_iter().collect()
    }

    /// Returns the part of it that runs on this host and on one kind of machine.
    pub fn part(&self, kind: MachineKind) -> Plan {
        let mine = self.scenarios.iter().filter(|planned| [MachineKind::Host, kind].contains(&planned.on));
        Plan { scenarios: mine.cloned().collect() }
    }

    pub fn at(&self, file: &str, line: usize) -> Option<&Planned> {
        self.scenarios.iter().find(|planned| planned.at.file == file && planned.at.line == line)
    }
}

/// Skips the scenarios of other shards. A claim and its controls share a shard, because neither means anything alone.
fn share_out(scenarios: &mut [Planned], shard: Shard) {
    let claims: BTreeSet<ClaimId> = scenarios.iter().map(|planned| planned.claim).collect();
    let mine: BTreeSet<ClaimId> = claims.into_iter().skip(shard.part - 1).step_by(shard.of).collect();
    for planned in scenarios.iter_mut().filter(|planned| !mine.contains(&planned.claim)) {
        planned.decision = Decision::Skip(NotJudgedReason::OtherShard { shard });
    }
}

fn empty_examples(feature: &Feature) -> impl Iterator<Item = usize> {
    let scenarios = feature.scenarios.iter().chain(feature.rules.iter().flat_map(|rule| &rule.scenarios));
    let examples = scenarios.flat_map(|scenario| &scenario.examples);
    let empty = examples.filter(|examples| examples.table.as_ref().is_none_or(|table| table.rows.len() < 2));
    empty.map(|examples| examples.position.line)
}

fn located(file: &str, line: usize, mistake: &str) -> String {
    format!("  {file}:{line}: {mistake}")
}

/// Returns the probe that a control's check must fail on, from the last step of its scenario.
pub fn fails_on(scenario: &Scenario) -> Option<&str> {
    Some(scenario.steps.last()?.value.strip_prefix(REFUSAL)?.trim_matches('"'))
}

/// Returns what is wrong with a scenario, given whether it is a control.
fn misuse(scenario: &Scenario, claim: &Claim, control: bool) -> Option<String> {
    let (name, id) = (&scenario.name, claim.id);
    let refusals = scenario.steps.iter().filter(|step| step.value.starts_with(REFUSAL)).count();
    let closed = scenario.steps.last().is_some_and(|step| step.value.starts_with(REFUSAL));
    if scenario.steps.is_empty() {
        return Some(format!("\"{name}\" has no step, so it shows nothing: write one, such as Then …"));
    }
    match (control, &claim.control) {
        (true, None) => Some(format!(
            "\"{name}\" is a control that claim {id} does not declare: say in features/claims.toml what it is, \
             as control = \"…\""
        )),
        (true, Some(_)) if !closed || refusals > 1 => Some(format!(
            "\"{name}\" could never be caught: end it with one step that names the probe: But {REFUSAL}\"…\""
        )),
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
            Some(located(&own.at.file, own.at.line, &mistake))
        }
        _ => None,
    }
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
        _ => Err(format!(
            "\"{name}\" carries more than one claim, with the tags of what it stands in: a scenario tests one"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLAIMS: &str = "[[claim]]\nid = \"A2-1\"\nclaim = \"x\"\nbound = \"y\"\ncontrol = \"z\"\n\
        [[claim]]\nid = \"A7-7\"\nclaim = \"x\"\nbound = \"y\"\nneeds = [\"native-cpu\"]\n\
        [[claim]]\nid = \"A8-5\"\nclaim = \"x\"\nbound = \"y\"\nneeds = [\"aws\"]\n";

    fn plan(text: &str, shard: Option<Shard>) -> Result<Plan, FeatureErrors> {
        let files = [FeatureFile::parse("features/x.feature".to_owned(), text).unwrap()];
        Plan::make(&files, &Register::parse(CLAIMS).unwrap(), &Capabilities::default(), |_| true, shard)
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
        let outline = |tags: &str, step: &str, rows: &str| {
            let head = "  @fast\n  Scenario Outline: o\n    Then";
            format!("{sound}{head} {step}\n    {tags}\n    Examples:\n      | {rows} |\n")
        };
        let texts = [
            sound.replace(&scenario("@A2-1 @control"), ""),
            with("@A7-7 @control"),
            with("@control"),
            with("@slow"),
            with("@A2-1 @A7-7"),
            with("@A2-9"),
            // A control that could never be caught.
            sound.replace(refusal, ""),
            sound.replace(&last, &format!("{last}    Then y\n")),
            sound.replace(refusal, &refusal.repeat(2)),
            sound.replacen("Given x\n", &last, 1),
            format!("{sound}  @A7-7\n  Scenario: empty\n"),
            outline("@A7-7", "<x>", "x"),
            outline("@A7-7", "<y>", "x |\n | 1"),
            outline("@slow", "<x>", "x |\n | 1 |\n | 2"),
            outline("@control", "<x>", "x |\n | 1"),
            // The tags of what a scenario stands in count.
            sound.replacen("Feature: f", "@A7-7\nFeature: f", 1),
            format!("Feature: f\n{}{}", scenario("@A2-9"), scenario("@slow")),
        ];
        insta::assert_snapshot!("mistakes", texts.map(|text| plan(&text, None).unwrap_err().to_string()).join("\n\n"));
    }

    #[test]
    fn every_scenario_row_and_inherited_tag_of_a_claim_counts() {
        let refusal = "    But this check fails on \"x\"\n";
        let more = format!(
            "  @A2-1\n  Scenario: second\n    Given x\n  @shared\n  Rule: r\n    @A2-1\n    Scenario Outline: <n>\n\
             \x20     Given <n>\n    Examples:\n      | n |\n      | 1 |\n    @control\n    Examples:\n\
             \x20     | n | this check fails on |\n      | 2 | x |\n  @A2-1\n  Rule: s\n    Example: third\n      Given x\n\
             \x20   @control\n    Example: caught\n      Given x\n{refusal}"
        );
        let plan = plan(&sound(&more), Some("1/2".parse().unwrap())).unwrap();
        let of_claim = plan.scenarios.iter().filter(|planned| planned.claim.to_string() == "A2-1");
        let shown: Vec<String> = of_claim
            .map(|Planned { at, control, shared, .. }| format!("{} {} {control} {shared}", at.line, at.name))
            .collect();
        let expected = [
            "3 @A2-1 false false",
            "16 second false false",
            "25 1 false true",
            "32 third false false",
            "6 @A2-1 @control true false",
            "29 2 true true",
            "35 caught true false",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn shards_part_the_claims_without_rest_and_keep_controls_with_their_claim() {
        let mut runs = Vec::new();
        for shard in ["1/2", "2/2"] {
            let plan = plan(&sound(""), Some(shard.parse().unwrap())).unwrap();
            let mine =
                |planned: &&Planned| !matches!(&planned.decision, Decision::Skip(NotJudgedReason::OtherShard { .. }));
            runs.push(plan.scenarios.iter().filter(mine).map(|planned| planned.claim.to_string()).collect::<Vec<_>>());
        }
        assert_eq!(runs, [vec!["A2-1", "A2-1", "A8-5"], vec!["A7-7"]]);
        assert!("0/2".parse::<Shard>().is_err() && "3/2".parse::<Shard>().is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_scenario_runs_in_exactly_one_shard_and_its_decision_depends_on_its_claim_only(
            own in prop::collection::vec(0_usize..3, 0..6),
            of in 1_usize..5,
        ) {
            let tags = ["@A2-1", "@A7-7", "@A8-5"];
            let more: String = own.iter().map(|claim| scenario(tags[*claim])).collect();
            let files = [sound(""), format!("Feature: g\n{more}")].map(|text| ("features/x.feature", text));
            let parse = |(path, text): &(&str, String), number: usize| {
                FeatureFile::parse(format!("{path}{number}"), text).unwrap()
            };
            let mut files: Vec<FeatureFile> = files.iter().zip(0..).map(|(file, number)| parse(file, number)).collect();
            let met = Capabilities::by(&"vm:amd64".parse().unwrap(), &Default::default(), &crate::base::host_offers::HostOffers::all_but(&[]), None);
            let register = Register::parse(CLAIMS).unwrap();
            let plan = |files: &[FeatureFile], shard| Plan::make(files, &register, &met, |_| true, shard).unwrap().scenarios;
            let whole = plan(&files, None);
            prop_assert_eq!(whole.len(), 4 + own.len());
            for one in &whole {
                let first = whole.iter().find(|other| other.claim == one.claim).unwrap();
                prop_assert_eq!(&one.decision, &first.decision);
            }
            let mut parts: Vec<Planned> = Vec::new();
            for part in 1..=of {
                let other = |one: &Planned| matches!(one.decision, Decision::Skip(NotJudgedReason::OtherShard { .. }));
                parts.extend(plan(&files, Some(Shard { part, of })).into_iter().filter(|one| !other(one)));
            }
            files.reverse();
            for mut planned in [parts, plan(&files, None)] {
                planned.sort_by(|a, b| (a.claim, a.control, &a.at).cmp(&(b.claim, b.control, &b.at)));
                prop_assert_eq!(format!("{planned:?}"), format!("{whole:?}"));
            }
        }
    }
}
