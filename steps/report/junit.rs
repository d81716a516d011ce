//! Writes `junit.xml` for CI systems: a test case per scenario of a claim, and one for each problem beyond the claims.
//!
//! A failed scenario is a failure, an inconclusive one an error. One that was not run is skipped, and so is a known
//! deviation, because it must not be shown as passed. Controls have no test cases; each is reported with its claim.
//!
//! There is no standard, so the file has only the elements and attributes that the schema of Jenkins' xUnit plug-in
//! allows. Other readers take these, too; `ci/report` checks both.

use std::collections::BTreeSet;

use anyhow::Context as _;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite, XmlString};

use super::console::{grouped, word};
use super::{sentence, times};
use crate::base::unit::Unit;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::merge::Merged;
use crate::evidence::{ClaimResult, Verdicts};
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::ScenarioResult;

/// Makes the report as XML: a test suite per feature file, in the order of the claims.
pub fn junit(bundle: &EvidenceBundle) -> anyhow::Result<Vec<u8>> {
    written(&bundle.verdicts.run, suites(&bundle.verdicts, None), [bundle].into_iter())
}

/// Makes the report of several runs as XML: a test suite per target and feature file.
pub fn merged_junit(merged: &Merged) -> anyhow::Result<Vec<u8>> {
    let columns = merged.columns.iter();
    let mut all: Vec<TestSuite> = columns.flat_map(|column| suites(&column.verdicts, Some(&column.target))).collect();
    if !merged.missing.is_empty() {
        all.push(problems(None, "the runs", NonSuccessKind::Error, merged.missing.iter().map(sentence::missing)));
    }
    written(&merged.run, all, merged.parts.iter().map(|part| &part.bundle))
}

fn written<'a>(
    run: &str,
    suites: Vec<TestSuite>,
    bundles: impl Iterator<Item = &'a EvidenceBundle> + Clone,
) -> anyhow::Result<Vec<u8>> {
    let mut report = Report::new(text(&format!("assay {run}")));
    report.add_test_suites(suites);
    let (started, ended) = (bundles.clone().map(times::started).min(), bundles.map(times::ended).max());
    report.time = started.zip(ended).and_then(|(started, ended)| ended.duration_since(started).try_into().ok());
    number_same_names(&mut report);
    let xml = report.to_string().context("the run cannot be written as JUnit XML")?;
    // The schema allows this attribute in a suite, not in the root element.
    Ok(xml.replacen(&format!(" skipped=\"{}\"", report.skipped), "", 1).into_bytes())
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
/// declarations, and a run that did not finish. With several targets, each name contains the target's.
fn suites(verdicts: &Verdicts, target: Option<&str>) -> Vec<TestSuite> {
    let suite = |(feature, cases): (&String, Vec<(&ClaimResult, &ScenarioResult)>)| {
        let mut suite = TestSuite::new(on(target, feature));
        let attempts = cases.iter().flat_map(|(_, scenario)| &scenario.attempts);
        suite.timestamp = times::first(attempts).and_then(|at| at.to_string().parse().ok());
        suite.time = Some(cases.iter().map(|(_, scenario)| times::length(scenario.seconds)).sum());
        suite.add_test_cases(cases.iter().map(|(claim, scenario)| case(claim, scenario, target)));
        suite
    };
    let claims = verdicts.claims.iter();
    let cases = claims.flat_map(|claim| claim.scenarios.iter().map(move |own| (&own.at.file, (claim, own))));
    let mut suites: Vec<TestSuite> = grouped(cases).into_iter().map(suite).collect();
    if !verdicts.problems.is_empty() {
        suites.push(problems(
            target,
            "features/deviations.toml",
            NonSuccessKind::Failure,
            verdicts.problems.iter().map(sentence::problem),
        ));
    }
    if !verdicts.complete {
        let killed = "the run did not finish: claims that it had not judged by then are open";
        suites.push(problems(target, "the run", NonSuccessKind::Error, [killed.to_owned()].into_iter()));
    }
    suites
}

fn problems(
    target: Option<&str>,
    name: &str,
    kind: NonSuccessKind,
    reasons: impl Iterator<Item = String>,
) -> TestSuite {
    let mut suite = TestSuite::new(on(target, name));
    suite.add_test_cases(reasons.map(|reason| {
        let mut case = TestCase::new(text(&reason), failed(kind, &reason, &reason));
        case.set_classname(class(target, name));
        case
    }));
    suite
}

fn on(target: Option<&str>, name: &str) -> XmlString {
    text(&target.map_or_else(|| name.to_owned(), |target| format!("{target} {name}")))
}

/// Makes a class name from a file's name, with the target as its package. Readers split it at its dots, so it has no
/// other ones.
fn class(target: Option<&str>, file: &str) -> XmlString {
    let name = file.trim_start_matches("features/").trim_end_matches(".feature").replace('.', "_");
    text(&target.map_or_else(|| name.clone(), |target| format!("{}.{name}", target.replace('.', "_"))))
}

/// Makes text safe for XML, which cannot represent some characters. Most of them are dropped when the text becomes part
/// of the report; these two are not.
fn text(text: &str) -> XmlString {
    XmlString::new(text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"))
}

fn case(claim: &ClaimResult, scenario: &ScenarioResult, target: Option<&str>) -> TestCase {
    let name = format!("{} {}", claim.id, scenario.at.name);
    let mut case = TestCase::new(on(target, &name), status(claim, scenario));
    case.set_classname(class(target, &scenario.at.file));
    case.set_time(times::length(scenario.seconds));
    let known = properties(claim, scenario).into_iter().map(|(name, value)| format!("{name}: {value}\n"));
    case.set_system_out(text(&known.collect::<String>()));
    case
}

fn status(claim: &ClaimResult, scenario: &ScenarioResult) -> TestCaseStatus {
    let (verdict, message) = sentence::shown(claim, scenario);
    let message = message.as_str();
    let reason = format!("{message}\n  at {}:{}", scenario.at.file, scenario.at.line);
    match verdict {
        Verdict::Holds => TestCaseStatus::success(),
        Verdict::Fails => failed(NonSuccessKind::Failure, message, &reason),
        Verdict::Inconclusive => failed(NonSuccessKind::Error, message, &reason),
        Verdict::NotRun => skipped(&reason),
        Verdict::KnownDeviation => skipped(&format!("known deviation: {reason}")),
    }
}

/// States the reason twice: GitLab shows the text and not the message. Readers on GitHub look in it for a file and line.
fn failed(kind: NonSuccessKind, message: &str, details: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(if kind == NonSuccessKind::Failure { "fails" } else { "inconclusive" });
    status.set_message(text(message)).set_description(text(details));
    status
}

/// States the reason in the text alone: of two schemas of Jenkins, one allows no attribute here.
fn skipped(reason: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_description(text(reason));
    status
}

/// Returns what else is known of a scenario and its claim, by name.
fn properties(claim: &ClaimResult, scenario: &ScenarioResult) -> Vec<(&'static str, String)> {
    let (verdict, reason) = sentence::shown(claim, scenario);
    let mut properties = vec![
        ("claim", claim.claim.clone()),
        ("verdict", verdict.to_string()),
        ("reason", reason),
        ("bound", claim.bound.clone()),
    ];
    properties.extend(claim.published.clone().map(|published| ("published", published)));
    let unit = scenario.unit.unwrap_or(Unit::Text);
    properties.extend(scenario.value.as_ref().map(|value| ("value", value.format(unit))));
    properties.push(("samples", scenario.samples.to_string()));
    let attempts = scenario.attempts.iter().map(|attempt| &attempt.outcome);
    properties.extend(
        attempts.map(|outcome| ("attempt", format!("{}: {}", outcome.verdict, sentence::reason(&outcome.reason)))),
    );
    let controls = claim.controls.iter();
    properties.extend(
        controls
            .map(|each| ("control", format!("{}: {}: {}", each.at.name, word(each), sentence::reason(&each.reason)))),
    );
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
        assert_eq!((report.failures, report.errors, report.test_suites[0].skipped), (0, 7, 1), "{xml}");
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

    #[test]
    fn a_dot_of_a_class_name_divides_the_target_from_the_file_and_nothing_else() {
        for (target, file, name) in [
            (None, "features/a2_example.feature", "a2_example"),
            (None, "features/deviations.toml", "deviations_toml"),
            (Some("vm:arm64"), "features/a2.1/build.feature", "vm:arm64.a2_1/build"),
            (Some("ssh://admin@10.0.0.7"), "the run", "ssh://admin@10_0_0_7.the run"),
        ] {
            assert_eq!(class(target, file).as_str(), name);
        }
    }
}
