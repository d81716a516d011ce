//! Writes `junit.xml` for CI systems: a test case per claim, and one for each problem beyond the claims.
//!
//! A failed claim is a failure, an inconclusive one an error. A claim that was not run is skipped, and so is a known
//! deviation, because it must not be shown as passed. Controls have no test cases; each is reported with its claim.

use std::collections::BTreeSet;

use anyhow::Context as _;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite, XmlString};

use super::console::{measured, word};
use super::times;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::merge::Merged;
use crate::evidence::{ClaimResult, Verdicts};
use crate::verdict::Verdict;

/// Makes the report as XML: a test suite per feature file, in the order of the claims.
pub fn junit(bundle: &EvidenceBundle) -> anyhow::Result<Vec<u8>> {
    let mut report = Report::new(text(&format!("assay {}", bundle.verdicts.run)));
    report.timestamp = times::started(bundle).to_string().parse().ok();
    report.time = times::ended(bundle).duration_since(times::started(bundle)).try_into().ok();
    let mut names = BTreeSet::new();
    report.add_test_suites(suites(&bundle.verdicts, "", &mut names));
    report.add_test_suites(beyond(&bundle.verdicts, "", &mut names));
    written(&report)
}

/// Makes the report of several runs as XML: a test suite per target and feature file.
pub fn merged_junit(merged: &Merged) -> anyhow::Result<Vec<u8>> {
    let mut report = Report::new(text(&format!("assay {}", merged.run)));
    let bundles = || merged.parts.iter().map(|part| &part.bundle);
    if let (Some(from), Some(to)) = (bundles().map(times::started).min(), bundles().map(times::ended).max()) {
        report.timestamp = from.to_string().parse().ok();
        report.time = to.duration_since(from).try_into().ok();
    }
    let mut names = BTreeSet::new();
    for column in &merged.columns {
        let target = format!("{} ", column.target);
        report.add_test_suites(suites(&column.verdicts, &target, &mut names));
        report.add_test_suites(beyond(&column.verdicts, &target, &mut names));
    }
    report.add_test_suites(missing(&merged.missing, &mut names));
    written(&report)
}

fn written(report: &Report) -> anyhow::Result<Vec<u8>> {
    let mut xml = Vec::new();
    report.serialize(&mut xml).context("the run cannot be told as JUnit XML")?;
    Ok(xml)
}

/// Makes a suite per feature file, in the order of the claims; `before` is a prefix that makes each name unique.
fn suites(verdicts: &Verdicts, before: &str, names: &mut BTreeSet<String>) -> Vec<TestSuite> {
    let mut features: Vec<(&str, Vec<&ClaimResult>)> = Vec::new();
    for claim in &verdicts.claims {
        match features.iter_mut().find(|(feature, _)| *feature == claim.feature) {
            Some((_, claims)) => claims.push(claim),
            None => features.push((&claim.feature, vec![claim])),
        }
    }
    let suite = |(feature, claims): (&str, Vec<&ClaimResult>)| {
        let mut suite = TestSuite::new(text(&format!("{before}{feature}")));
        suite.timestamp =
            times::first(claims.iter().flat_map(|claim| &claim.attempts)).and_then(|at| at.to_string().parse().ok());
        suite.time = Some(claims.iter().map(|claim| times::length(claim.seconds)).sum());
        suite.add_test_cases(claims.iter().map(|claim| case(claim, before, names)));
        suite
    };
    features.into_iter().map(suite).collect()
}

/// Makes text safe for XML, which cannot represent some characters. Most of them are dropped when the text becomes part
/// of the report; these two are not.
fn text(text: &str) -> XmlString {
    XmlString::new(text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"))
}

/// Makes a name unique: readers take two test cases with the same name for one that ran twice.
fn unique(name: String, names: &mut BTreeSet<String>) -> XmlString {
    let again = (2..).map(|count| format!("{name} ({count})"));
    let free = std::iter::once(name.clone()).chain(again).find(|name| !names.contains(name)).unwrap_or(name);
    names.insert(free.clone());
    text(&free)
}

fn case(claim: &ClaimResult, before: &str, names: &mut BTreeSet<String>) -> TestCase {
    let mut case = TestCase::new(unique(format!("{before}{} {}", claim.id, claim.scenario), names), status(claim));
    let class = claim.feature.trim_start_matches("features/").trim_end_matches(".feature");
    case.set_classname(text(&format!("{before}{class}")));
    case.timestamp = times::first(&claim.attempts).and_then(|at| at.to_string().parse().ok());
    case.set_time(times::length(claim.seconds));
    let told = told(claim);
    case.add_properties(told.iter().map(|(name, value)| (text(name), text(value))));
    case.set_system_out(text(&told.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>()));
    case
}

fn status(claim: &ClaimResult) -> TestCaseStatus {
    let reason = &claim.reason;
    match claim.verdict {
        Verdict::Holds => TestCaseStatus::success(),
        Verdict::Fails => failed(NonSuccessKind::Failure, "fails", reason),
        Verdict::Inconclusive => failed(NonSuccessKind::Error, "inconclusive", reason),
        Verdict::NotRun => skipped("not-run", reason),
        Verdict::KnownDeviation => skipped("known-deviation", &format!("known deviation: {reason}")),
    }
}

fn failed(kind: NonSuccessKind, class: &str, reason: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(class).set_message(text(reason));
    status
}

fn skipped(class: &str, reason: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_type(class).set_message(text(reason));
    status
}

/// Returns further properties of a claim, by name.
fn told(claim: &ClaimResult) -> Vec<(&'static str, String)> {
    let mut told = vec![
        ("claim", claim.claim.clone()),
        ("verdict", claim.verdict.to_string()),
        ("reason", claim.reason.clone()),
        ("bound", claim.bound.clone()),
    ];
    told.extend(claim.published.clone().map(|published| ("published", published)));
    told.extend(claim.value.is_some().then(|| ("value", measured(claim))));
    told.push(("samples", claim.samples.to_string()));
    let attempts = claim.attempts.iter().map(|attempt| &attempt.outcome);
    told.extend(attempts.map(|outcome| ("attempt", format!("{}: {}", outcome.verdict, outcome.reason))));
    let controls = claim.controls.iter();
    told.extend(controls.map(|each| ("control", format!("{}: {}: {}", each.scenario, word(each), each.reason))));
    told.push(("scenario", format!("{}:{}", claim.feature, claim.line)));
    told.extend(claim.evidence.iter().map(|file| ("evidence", file.clone())));
    told
}

/// Makes suites for the problems beyond the claims: wrong declarations, and a run that did not finish.
fn beyond(verdicts: &Verdicts, before: &str, names: &mut BTreeSet<String>) -> Vec<TestSuite> {
    let mut suites = Vec::new();
    if !verdicts.problems.is_empty() {
        let name = format!("{before}features/deviations.toml");
        suites.push(suite(&name, NonSuccessKind::Failure, "fails", &verdicts.problems, names));
    }
    if !verdicts.complete {
        let killed = "the run did not finish: it was killed, and says nothing of what it had not yet judged";
        let name = format!("{before}the run");
        suites.push(suite(&name, NonSuccessKind::Error, "inconclusive", &[killed.to_owned()], names));
    }
    suites
}

/// Makes a case for each requested run that is missing.
fn missing(missing: &[String], names: &mut BTreeSet<String>) -> Option<TestSuite> {
    (!missing.is_empty()).then(|| suite("the runs", NonSuccessKind::Error, "inconclusive", missing, names))
}

fn suite(name: &str, kind: NonSuccessKind, class: &str, reasons: &[String], names: &mut BTreeSet<String>) -> TestSuite {
    let mut suite = TestSuite::new(text(name));
    suite.add_test_cases(reasons.iter().map(|reason| {
        let mut case = TestCase::new(unique(reason.clone(), names), failed(kind, class, reason));
        case.set_classname(text(name));
        case
    }));
    suite
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use quick_junit::Report;

    fn read(bundle: &EvidenceBundle) -> (String, Report) {
        let xml = String::from_utf8(junit(bundle).unwrap()).unwrap();
        let report = Report::deserialize_from_str(&xml).unwrap();
        (xml, report)
    }

    fn message(report: &Report, id: &str) -> String {
        let cases = report.test_suites.iter().flat_map(|suite| &suite.test_cases);
        let status = cases.into_iter().find(|case| case.name.starts_with(id)).map(|case| &case.status).unwrap();
        match status {
            TestCaseStatus::Success { .. } => "passed".to_owned(),
            TestCaseStatus::NonSuccess { kind, message, .. } => {
                format!("{kind:?}: {}", message.as_ref().unwrap().as_str())
            }
            TestCaseStatus::Skipped { message, .. } => format!("skipped: {}", message.as_ref().unwrap().as_str()),
        }
    }

    #[test]
    fn each_claim_is_one_test_case_and_only_what_holds_has_passed() {
        let bundle = example::bundle();
        let (_, report) = read(&bundle);
        let claims = bundle.verdicts.claims.len();
        assert_eq!((report.tests, report.failures, report.errors, report.skipped), (claims + 1, 2, 2, 4));
        let said = |id| message(&report, id);
        assert_eq!(said("A2-1"), "passed");
        assert!(said("A2-2").starts_with("Failure: size is <script>"), "{}", said("A2-2"));
        assert_eq!(said("A2-3"), "Error: no route to host");
        assert_eq!(said("A2-4"), "skipped: needs an AWS account");
        assert_eq!(said("A2-5"), "skipped: needs a native CPU: size is 12 bytes");
        assert!(said("A2-6").starts_with("skipped: known deviation: size is 7 bytes, but the check does not"));
        assert!(said("A2-7").starts_with("skipped: known deviation: size is 12 bytes; declared by us"));
        assert!(said("A2-8").starts_with("Error: flaky"));
        assert!(said("the declaration for A9-9").starts_with("Failure: "));
    }

    #[test]
    fn controls_are_told_with_their_claim_and_are_no_test_cases() {
        let (xml, report) = read(&example::bundle());
        let first = &report.test_suites[0].test_cases[0];
        assert_eq!((first.name.as_str(), first.classname.as_deref()), ("A2-1 It holds", Some("a2_example")));
        let control = first.properties.iter().find(|property| property.name.as_str() == "control").unwrap();
        assert_eq!(control.value.as_str(), "A large one: caught: size is 12 bytes");
        assert!(first.system_out.as_ref().unwrap().contains("control: A large one: caught"));
        assert!(xml.contains("control: A wrong one passes: NOT CAUGHT") && xml.contains("Not selected: not run"));
        assert!(!xml.contains("name=\"A large one"), "{xml}");
        assert_eq!(first.timestamp.unwrap().timestamp(), example::at(0).as_second());
    }

    #[test]
    fn no_character_breaks_the_xml() {
        let (xml, _) = read(&example::bundle());
        let forbidden =
            |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
        assert_eq!(xml.find(forbidden), None);
        assert!(!xml.contains("<script>"), "{xml}");
    }

    #[test]
    fn two_of_the_same_name_are_told_apart() {
        let mut bundle = example::bundle();
        let again = bundle.verdicts.claims[0].clone();
        bundle.verdicts.claims.push(again);
        let (xml, report) = read(&bundle);
        assert_eq!(report.tests, 10);
        assert!(xml.contains("\"A2-1 It holds\"") && xml.contains("\"A2-1 It holds (2)\""), "{xml}");
    }

    #[test]
    fn a_killed_run_is_not_green_even_where_all_that_was_judged_holds() {
        let (xml, report) = read(&example::killed());
        assert_eq!((report.failures, report.errors, report.skipped), (0, 7, 1), "{xml}");
        let mut holding = example::killed();
        holding.verdicts.claims.truncate(1);
        let (_, report) = read(&holding);
        assert_eq!((report.tests, report.errors), (2, 1));
        assert!(message(&report, "the run did not").starts_with("Error: the run did not finish"));
    }

    #[test]
    fn several_runs_have_a_suite_for_each_target_and_what_is_missing_is_an_error() {
        let (_folder, merged) = super::super::merged::tests::side_by_side();
        let xml = String::from_utf8(merged_junit(&merged).unwrap()).unwrap();
        let report = Report::deserialize_from_str(&xml).unwrap();
        let suites: Vec<&str> = report.test_suites.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(suites.iter().filter(|name| name.starts_with("vm:arm64 features/a2")).count(), 1, "{suites:?}");
        assert!(message(&report, "vm:amd64 A2-2").starts_with("Failure: size is"));
        assert_eq!(message(&report, "vm:arm64 A2-2"), "passed");
        assert_eq!(message(&report, "ec2: no run"), "Error: ec2: no run on it is here");
    }
}
