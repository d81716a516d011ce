//! Writes `junit.xml` for CI systems: a test case per scenario of a claim, and one for each problem beyond the claims.
//!
//! A failed scenario is a failure, an inconclusive one an error. One that was not run is skipped, and so is a known
//! deviation, because it must not be shown as passed. Controls have no test cases; each is reported with its claim.

use std::collections::BTreeSet;

use anyhow::Context as _;
use jiff::Timestamp;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite, XmlString};

use super::console::word;
use super::times;
use crate::base::unit::Unit;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::merge::Merged;
use crate::evidence::{ClaimResult, Verdicts};
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::ScenarioResult;

/// Makes the report as XML: a test suite per feature file, in the order of the claims.
pub fn junit(bundle: &EvidenceBundle) -> anyhow::Result<Vec<u8>> {
    let mut report = Report::new(text(&format!("assay {}", bundle.verdicts.run)));
    report.add_test_suites(suites(&bundle.verdicts, ""));
    written(report, times::started(bundle), times::ended(bundle))
}

/// Makes the report of several runs as XML: a test suite per target and feature file.
pub fn merged_junit(merged: &Merged) -> anyhow::Result<Vec<u8>> {
    let mut report = Report::new(text(&format!("assay {}", merged.run)));
    for column in &merged.columns {
        report.add_test_suites(suites(&column.verdicts, &format!("{} ", column.target)));
    }
    if !merged.missing.is_empty() {
        report.add_test_suite(problems("the runs", NonSuccessKind::Error, "inconclusive", &merged.missing));
    }
    let bundles = || merged.parts.iter().map(|part| &part.bundle);
    let started = bundles().map(times::started).min().context("no run was merged")?;
    written(report, started, bundles().map(times::ended).max().unwrap_or(started))
}

fn written(mut report: Report, started: Timestamp, ended: Timestamp) -> anyhow::Result<Vec<u8>> {
    report.timestamp = started.to_string().parse().ok();
    report.time = ended.duration_since(started).try_into().ok();
    number_same_names(&mut report);
    let mut xml = Vec::new();
    report.serialize(&mut xml).context("the run cannot be written as JUnit XML")?;
    Ok(xml)
}

/// Makes each test case's name unique: readers take two with the same name for one that ran twice.
fn number_same_names(report: &mut Report) {
    let mut names = BTreeSet::new();
    for case in report.test_suites.iter_mut().flat_map(|suite| &mut suite.test_cases) {
        let name = case.name.as_str().to_owned();
        let numbered = (2..).map(|count| format!("{name} ({count})"));
        let unique = std::iter::once(name.clone()).chain(numbered).find(|name| names.insert(name.clone()));
        case.name = text(&unique.unwrap_or(name));
    }
}

/// Makes a suite per feature file, in the order of the claims, and suites for the problems beyond the claims: wrong
/// declarations, and a run that did not finish. `before` is a prefix that makes each name unique.
fn suites(verdicts: &Verdicts, before: &str) -> Vec<TestSuite> {
    let mut files: Vec<(&str, Vec<(&ClaimResult, &ScenarioResult)>)> = Vec::new();
    for claim in &verdicts.claims {
        for scenario in &claim.scenarios {
            match files.iter_mut().find(|(file, _)| *file == scenario.at.file) {
                Some((_, cases)) => cases.push((claim, scenario)),
                None => files.push((&scenario.at.file, vec![(claim, scenario)])),
            }
        }
    }
    let suite = |(feature, cases): (&str, Vec<(&ClaimResult, &ScenarioResult)>)| {
        let mut suite = TestSuite::new(text(&format!("{before}{feature}")));
        let attempts = cases.iter().flat_map(|(_, scenario)| &scenario.attempts);
        suite.timestamp = times::first(attempts).and_then(|at| at.to_string().parse().ok());
        suite.time = Some(cases.iter().map(|(_, scenario)| times::length(scenario.seconds)).sum());
        suite.add_test_cases(cases.iter().map(|(claim, scenario)| case(claim, scenario, before)));
        suite
    };
    let mut suites: Vec<TestSuite> = files.into_iter().map(suite).collect();
    if !verdicts.problems.is_empty() {
        let name = format!("{before}features/deviations.toml");
        suites.push(problems(&name, NonSuccessKind::Failure, "fails", &verdicts.problems));
    }
    if !verdicts.complete {
        let killed = "the run did not finish: claims that it had not judged by then are open";
        let name = format!("{before}the run");
        suites.push(problems(&name, NonSuccessKind::Error, "inconclusive", &[killed.to_owned()]));
    }
    suites
}

/// Makes a suite with a case for each problem.
fn problems(name: &str, kind: NonSuccessKind, class: &str, reasons: &[String]) -> TestSuite {
    let mut suite = TestSuite::new(text(name));
    suite.add_test_cases(reasons.iter().map(|reason| {
        let mut case = TestCase::new(text(reason), because(TestCaseStatus::non_success(kind), class, reason));
        case.set_classname(text(name));
        case
    }));
    suite
}

/// Makes text safe for XML, which cannot represent some characters. Most of them are dropped when the text becomes part
/// of the report; these two are not.
fn text(text: &str) -> XmlString {
    XmlString::new(text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"))
}

fn case(claim: &ClaimResult, scenario: &ScenarioResult, before: &str) -> TestCase {
    let name = format!("{before}{} {}", claim.id, scenario.at.name);
    let mut case = TestCase::new(text(&name), status(claim.shown(scenario)));
    let class = scenario.at.file.trim_start_matches("features/").trim_end_matches(".feature");
    case.set_classname(text(&format!("{before}{class}")));
    case.timestamp = times::first(&scenario.attempts).and_then(|at| at.to_string().parse().ok());
    case.set_time(times::length(scenario.seconds));
    let properties = properties(claim, scenario);
    case.add_properties(properties.iter().map(|(name, value)| (text(name), text(value))));
    case.set_system_out(text(&properties.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>()));
    case
}

fn status((verdict, reason): (Verdict, &str)) -> TestCaseStatus {
    match verdict {
        Verdict::Holds => TestCaseStatus::success(),
        Verdict::Fails => because(TestCaseStatus::non_success(NonSuccessKind::Failure), "fails", reason),
        Verdict::Inconclusive => because(TestCaseStatus::non_success(NonSuccessKind::Error), "inconclusive", reason),
        Verdict::NotRun => because(TestCaseStatus::skipped(), "not-run", reason),
        Verdict::KnownDeviation => {
            because(TestCaseStatus::skipped(), "known-deviation", &format!("known deviation: {reason}"))
        }
    }
}

fn because(mut status: TestCaseStatus, class: &str, reason: &str) -> TestCaseStatus {
    status.set_type(class).set_message(text(reason));
    status
}

/// Returns what else is known of a scenario and its claim, by name.
fn properties(claim: &ClaimResult, scenario: &ScenarioResult) -> Vec<(&'static str, String)> {
    let (verdict, reason) = claim.shown(scenario);
    let mut properties = vec![
        ("claim", claim.claim.clone()),
        ("verdict", verdict.to_string()),
        ("reason", reason.to_owned()),
        ("bound", claim.bound.clone()),
    ];
    properties.extend(claim.published.clone().map(|published| ("published", published)));
    let unit = scenario.unit.unwrap_or(Unit::Text);
    properties.extend(scenario.value.as_ref().map(|value| ("value", value.format(unit))));
    properties.push(("samples", scenario.samples.to_string()));
    let attempts = scenario.attempts.iter().map(|attempt| &attempt.outcome);
    properties.extend(attempts.map(|outcome| ("attempt", format!("{}: {}", outcome.verdict, outcome.reason))));
    let controls = claim.controls.iter();
    properties.extend(controls.map(|each| ("control", format!("{}: {}: {}", each.at.name, word(each), each.reason))));
    properties.push(("scenario", scenario.at.to_string()));
    properties.extend(scenario.evidence.iter().map(|file| ("evidence", file.clone())));
    properties
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn read(bundle: &EvidenceBundle) -> (String, Report) {
        let xml = String::from_utf8(junit(bundle).unwrap()).unwrap();
        let report = Report::deserialize_from_str(&xml).unwrap();
        (xml, report)
    }

    #[test]
    fn each_claim_is_one_test_case_only_what_holds_has_passed_and_no_character_breaks_the_xml() {
        let (xml, _) = read(&example::bundle());
        let forbidden =
            |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
        assert_eq!(xml.find(forbidden), None);
        insta::assert_snapshot!("junit", xml);
    }

    #[test]
    fn two_of_the_same_name_are_numbered() {
        let mut bundle = example::bundle();
        let again = bundle.verdicts.claims[0].clone();
        bundle.verdicts.claims.push(again);
        let (xml, report) = read(&bundle);
        assert_eq!(report.tests, 10);
        assert!(xml.contains("\"A2-1 It holds\"") && xml.contains("\"A2-1 It holds (2)\""), "{xml}");
    }

    #[test]
    fn a_killed_run_is_not_green_even_if_everything_that_was_judged_holds() {
        let (xml, report) = read(&example::killed());
        assert_eq!((report.failures, report.errors, report.skipped), (0, 7, 1), "{xml}");
        let mut holding = example::killed();
        holding.verdicts.claims.truncate(1);
        let (xml, report) = read(&holding);
        assert_eq!((report.tests, report.errors), (2, 1));
        assert!(xml.contains("<error message=\"the run did not finish"), "{xml}");
    }

    #[test]
    fn several_runs_have_a_suite_for_each_target_and_a_missing_one_is_an_error() {
        let (_folder, merged) = super::super::merged::tests::side_by_side();
        let xml = String::from_utf8(merged_junit(&merged).unwrap()).unwrap();
        assert_eq!(xml.matches("<testsuite name=\"vm:arm64 features/a2").count(), 1, "{xml}");
        let case = |name: &str| {
            let (_, case) = xml.split_once(&format!("<testcase name=\"{name}")).unwrap();
            case.split("</testcase>").next().unwrap()
        };
        assert!(case("vm:amd64 A2-2").contains("<failure message=\"size is"), "{xml}");
        assert!(!case("vm:arm64 A2-2").contains("<failure"), "{xml}");
        assert!(case("ec2: no run").contains("<error message=\"ec2: no run on it is here\""), "{xml}");
    }
}
