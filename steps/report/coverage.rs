//! Shows where each claim is covered, and what is not covered: register × scenarios × controls × targets.

use std::collections::BTreeMap;

use comfy_table::{ColumnConstraint, Table, Width};
use serde::Serialize;

use super::console::frame;
use super::plan::words;
use crate::base::host_offers::{Feature, HostOffers, Lack};
use crate::base::platform::{Arch, TargetSpec};
use crate::base::settings::FakeAws;
use crate::claims::plan::{Capabilities, FeatureErrors, Plan, Planned, ScenarioRef};
use crate::claims::register::{Claim, ClaimId, Requirement};
use crate::claims::suite::ClaimSuite;

/// The width of the table if the console's width is unknown.
const WIDTH: u16 = 130;

/// The least width of the column with the claims, on a narrow console, too.
const LEAST: u16 = 40;

/// The decision about every claim on every target.
#[derive(Clone, Debug)]
pub struct Coverage {
    targets: Vec<String>,
    claims: Vec<Covered>,
}

/// The decision about a claim on every target, as programs read it.
#[derive(Clone, Debug, Serialize)]
struct Covered {
    claim: ClaimId,
    text: String,
    bound: String,
    published: Option<String>,
    scenarios: Vec<ScenarioRef>,
    controls: Vec<ScenarioRef>,
    targets: BTreeMap<String, Decided>,
    /// Whether a target of this version runs it, even if it only records it.
    covered: bool,
}

/// The decision about a claim on a target: `run`, `record` or `skip`, and the reason if it is not judged.
#[derive(Clone, Debug, Serialize)]
struct Decided {
    decision: &'static str,
    reason: Option<String>,
}

/// Returns every kind of target; a remote machine is represented by an example.
fn kinds() -> Vec<TargetSpec> {
    let somebody_elses = TargetSpec::Ssh { user: Some("user".to_owned()), host: "host".to_owned(), port: None };
    let others = [TargetSpec::Nspawn, TargetSpec::Ec2, TargetSpec::Podman, somebody_elses];
    Arch::ALL.into_iter().map(TargetSpec::Vm).chain(others).collect()
}

impl Coverage {
    /// Computes the coverage of a claim suite, on one target or on all; `fake_aws` replaces AWS.
    pub fn of(annex: &ClaimSuite, only: Option<&TargetSpec>, fake_aws: &FakeAws) -> Result<Coverage, FeatureErrors> {
        let plan = |target: TargetSpec| {
            let usual = HostOffers::all_but(&[(Feature::Kvm, Lack::NotTried)]);
            // The annex's text is given to a run; no target has it or lacks it.
            let met = Capabilities::by(&target, fake_aws, &usual, None);
            let plan = annex.plan(&met.with(Requirement::AnnexText), |_| true, None)?;
            Ok((target.to_string(), plan))
        };
        let targets = only.map_or_else(kinds, |only| vec![only.clone()]);
        let plans: Vec<(String, Plan)> = targets.into_iter().map(plan).collect::<Result<_, FeatureErrors>>()?;
        let claims = annex.register.iter().filter_map(|claim| Covered::of(claim, &plans)).collect();
        Ok(Coverage { targets: plans.into_iter().map(|(target, _)| target).collect(), claims })
    }

    /// Formats it for programs: a JSON list of the claims.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.claims)
    }

    /// Formats it for people: a table, why claims are not judged, and how many claims are covered to what extent.
    pub fn render(&self) -> String {
        let reasons = self.reasons();
        let legend: String = reasons.iter().map(|(reason, sign)| format!("({sign}) {reason}\n")).collect();
        format!("{}\n{legend}\n{}", self.table(&reasons), self.totals())
    }

    fn table(&self, reasons: &[(&str, char)]) -> Table {
        let mut table = frame(WIDTH);
        let fixed = ["id", "claim and its scenarios"].map(str::to_owned);
        let short =
            |target: &String| target.split_once("://").map_or(target.clone(), |(kind, _)| format!("{kind}://…"));
        table.set_header(fixed.into_iter().chain(self.targets.iter().map(short)));
        for claim in &self.claims {
            let text = format!("{}\nbound: {}\n{}", claim.text, claim.bound, claim.places());
            let cells = [claim.claim.to_string(), text];
            let decided = self.targets.iter().map(|target| claim.on(target).map(|decided| decided.cell(reasons)));
            table.add_row(cells.into_iter().chain(decided.map(Option::unwrap_or_default)));
        }
        // The place of a scenario must stay in one piece, so that it can be opened.
        for column in table.column_iter_mut() {
            column.set_constraint(match column.index {
                1 => ColumnConstraint::LowerBoundary(Width::Fixed(LEAST)),
                _ => ColumnConstraint::ContentWidth,
            });
        }
        table
    }

    /// Returns each reason for not judging a claim on a target of this version, with its sign, in order of appearance.
    fn reasons(&self) -> Vec<(&str, char)> {
        let mut reasons: Vec<&str> = Vec::new();
        let decided = self.claims.iter().flat_map(|claim| self.targets.iter().filter_map(|target| claim.on(target)));
        for reason in decided.filter_map(|decided| decided.reason.as_deref()) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons.into_iter().zip('a'..).collect()
    }

    fn totals(&self) -> String {
        let those = |extent: &'static str| self.claims.iter().filter(move |claim| claim.extent() == extent);
        let place = match &self.targets[..] {
            [only] => only.clone(),
            _ => "at least one of these targets".to_owned(),
        };
        let [run, record, skip] = ["run", "record", "skip"].map(|extent| those(extent).count());
        let all = self.claims.len();
        let mut text = format!("{all} claims: {run} judged on {place}, {record} only recorded, {skip} NOT covered");
        for (extent, word) in [("record", "only recorded"), ("skip", "not covered")] {
            let mut why: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for claim in those(extent) {
                why.entry(claim.why(&self.targets)).or_default().push(claim.claim.to_string());
            }
            for (reason, claims) in why {
                text += &format!("\n{word}: {}\n    {reason}", claims.join(", "));
            }
        }
        text
    }
}

impl Covered {
    /// Collects what each target's plan decides; the locations of the scenarios are the same in all plans.
    fn of(claim: &Claim, plans: &[(String, Plan)]) -> Option<Covered> {
        let mine = |planned: &&Planned| planned.claim == claim.id;
        let planned = plans.first()?.1.scenarios.iter().filter(mine);
        let (controls, own): (Vec<&Planned>, Vec<&Planned>) = planned.partition(|planned| planned.control);
        let decided = |(target, plan): &(String, Plan)| {
            let own = plan.scenarios.iter().filter(mine).find(|planned| !planned.control)?;
            let (decision, reason) = words(&own.decision);
            Some((target.clone(), Decided { decision, reason }))
        };
        let targets: BTreeMap<String, Decided> = plans.iter().filter_map(decided).collect();
        let places = |of: Vec<&Planned>| of.into_iter().map(|planned| planned.at.clone()).collect();
        Some(Covered {
            claim: claim.id,
            text: claim.claim.clone(),
            bound: claim.bound.clone(),
            published: claim.published.clone(),
            scenarios: places(own),
            controls: places(controls),
            covered: targets.values().any(|on| on.decision != "skip"),
            targets,
        })
    }

    fn on(&self, target: &str) -> Option<&Decided> {
        self.targets.get(target)
    }

    /// Returns the most that a target does about it: `run`, `record` or `skip`.
    fn extent(&self) -> &'static str {
        let any = |decision: &str| self.targets.values().any(|on| on.decision == decision);
        ["run", "record"].into_iter().find(|decision| any(decision)).unwrap_or("skip")
    }

    /// Returns why it is not judged: the reason of the first target that records it, or else of the first target.
    fn why(&self, targets: &[String]) -> &str {
        let reasons = || targets.iter().filter_map(|target| self.on(target));
        let recorded = reasons().find(|on| on.decision == "record");
        recorded.or_else(|| reasons().next()).and_then(|on| on.reason.as_deref()).unwrap_or_default()
    }

    fn places(&self) -> String {
        let controls = match self.controls.len() {
            0 => "no control declared".to_owned(),
            1 => "1 control".to_owned(),
            many => format!("{many} controls"),
        };
        let own = self.scenarios.iter().map(ScenarioRef::to_string);
        let own: Vec<String> = own.map(|at| at.strip_prefix("features/").unwrap_or(&at).to_owned()).collect();
        own.join("\n") + ", " + &controls
    }
}

impl Decided {
    fn cell(&self, reasons: &[(&str, char)]) -> String {
        let word = match self.decision {
            "run" => "judged",
            "record" => "recorded",
            _ => "not run",
        };
        let sign = reasons.iter().find(|(reason, _)| self.reason.as_deref() == Some(*reason));
        sign.map_or_else(|| word.to_owned(), |(_, sign)| format!("{word} ({sign})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::deviation::Deviations;
    use crate::claims::plan::FeatureFile;
    use crate::claims::register::Register;

    const CLAIMS: &str = "[[claim]]\nid = \"A2-1\"\nclaim = \"it builds\"\nbound = \"exit 0\"\npublished = \"yes\"\n\
        control = \"a broken one\"\n\
        [[claim]]\nid = \"A5-2\"\nclaim = \"it is arm64\"\nbound = \"equal\"\nneeds = [\"arm64\"]\n\
        [[claim]]\nid = \"A7-7\"\nclaim = \"it is fast\"\nbound = \"1 s\"\nneeds = [\"native-cpu\"]\n\
        [[claim]]\nid = \"A8-5\"\nclaim = \"it is cheap\"\nbound = \"< 1 $\"\nneeds = [\"aws\"]\n";

    const FEATURE: &str = "Feature: f\n  @A2-1\n  Scenario: Builds\n    Given x\n\
          @A2-1 @control\n  Scenario: Not\n    Given x\n    But this check fails on \"x\"\n\
          @A2-1 @control\n  Scenario: Nor\n    Given x\n    But this check fails on \"x\"\n\
          @A5-2\n  Scenario: Arm\n    Given x\n  @A7-7\n  Scenario: Fast\n    Given x\n\
          @A8-5\n  Scenario: Cheap\n    Given x\n";

    fn coverage(only: Option<&str>) -> Coverage {
        let annex = ClaimSuite {
            features: vec![FeatureFile::parse("features/f.feature".to_owned(), FEATURE).unwrap()],
            register: Register::parse(CLAIMS).unwrap(),
            deviations: Deviations::default(),
        };
        Coverage::of(&annex, only.map(|only| only.parse().unwrap()).as_ref(), &FakeAws::default()).unwrap()
    }

    #[test]
    fn programs_read_names_that_stay_and_the_totals_of_one_target_name_what_it_does_not_cover() {
        insta::assert_snapshot!("coverage-of-arm64", coverage(Some("vm:arm64")).totals());
        insta::assert_snapshot!("coverage-json", coverage(None).json().unwrap());
    }
}
