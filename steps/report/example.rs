//! Makes a run for the tests of the reports: a claim of each kind, with controls of each kind.

use jiff::Timestamp;
use serde_json::json;

use crate::base::unit::Unit;
use crate::claims::deviation::Deviation;
use crate::claims::plan::{Decision, FeatureFile, NotJudgedReason};
use crate::evidence::bundle::{EvidenceBundle, SandboxedDir};
use crate::evidence::verdicts::Control;
use crate::evidence::{ClaimResult, SCHEMA, Verdicts};
use crate::verdict::claim_verdict::{Attempt, ControlResult, Step};
use crate::verdict::{Check, Judged, Outcome, Rule, Source, Verdict};

/// A reason that contains hostile output.
pub const HOSTILE: &str = "<script>alert(1)</script> | `x` @everyone \u{1b}[31m\u{0}\u{8}\u{fffe}\n]]> & \"q\"";

/// The scenarios of the example, each of three steps; the last step of a control expects its failure.
const FEATURE: &str = "\
@annex
Feature: Examples
  One of each.

  Background:
    Given a machine

  @A2-1
  Scenario: It holds
    When it runs
    Then it is small:
      | what | most |
      | it   | 10   |

  @A2-1 @control
  Scenario: A large one
    Then it is small
    But this check fails on \"size\"

  @A2-2
  Scenario: It fails
    When it runs
      \"\"\"
      as it is
      \"\"\"
    Then it is small

  @A2-3 @slow
  Scenario: It cannot be judged
    When it runs
    Then it is small

  @A2-3 @control
  Scenario: Not selected
    Then it is small
    But this check fails on \"size\"

  Rule: Elsewhere
    Background:
      Given a second machine

    @A2-4
    Scenario: It is not run
      Then it is small

    @A2-5
    Scenario: It is recorded
      When it runs
      Then it is small

    @A2-6
    Scenario: It is known to pass what is wrong
      When it runs
      Then it is small

    @A2-6 @control
    Scenario: A wrong one passes
      Then it is small
      But this check fails on \"size\"

    @A2-7
    Scenario: It is known to fail
      When it runs
      Then it is small

    @A2-8
    Scenario: It is flaky
      When it runs
      Then it is small
";

/// Returns the time this many seconds into the run.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

pub fn feature() -> FeatureFile {
    FeatureFile::parse("features/a2_example.feature".to_owned(), FEATURE).unwrap()
}

fn scenario(name: &str) -> (usize, Vec<gherkin::Step>) {
    let feature = feature().feature;
    let above = feature.background.iter().flat_map(|background| &background.steps);
    let rule = feature.rules.iter().find(|rule| rule.scenarios.iter().any(|scenario| scenario.name == name));
    let within = rule.and_then(|rule| rule.background.as_ref()).into_iter().flat_map(|background| &background.steps);
    let found = crate::claims::plan::every_scenario(&feature).find(|scenario| scenario.name == name).unwrap();
    (found.position.line, above.chain(within).chain(&found.steps).cloned().collect())
}

fn judged(verdict: Verdict, reason: &str) -> Judged {
    let source = Source { subject: "it".to_owned(), machine: "nano".to_owned(), since: at(0), until: at(60) };
    let rule = Rule::Below { bound: 10.0 };
    let check = Check { probe: "size".to_owned(), unit: Unit::Bytes, rule, sources: vec![source], samples: vec![1, 2] };
    Judged { check, outcome: Outcome { verdict, reason: reason.to_owned(), value: Some(7.0.into()) }, statistics: None }
}

/// Makes an attempt at a scenario whose checks are all made by the step "it is small"; if there is an error, the last
/// step did not finish.
pub fn attempt(name: &str, checks: &[(Verdict, &str)], error: Option<&str>) -> Attempt {
    let steps = scenario(name).1;
    let ended = |place: usize| error.is_none() || place + 1 < steps.len();
    let traced = steps.iter().enumerate().map(|(place, step)| Step {
        line: step.position.line,
        keyword: step.keyword.trim().to_owned(),
        text: step.value.clone(),
        at: at(place as i64),
        seconds: ended(place).then_some(0.5),
        checks: if step.value.starts_with("it is small") { checks.len() } else { 0 },
    });
    let made = checks.iter().map(|(verdict, reason)| judged(*verdict, reason)).collect();
    Attempt {
        steps: traced.collect(),
        evidence: vec!["samples.jsonl".to_owned()],
        seconds: 1.5,
        because: steps.last().filter(|step| step.keyword.trim() == "But").map(|_| "size".to_owned()),
        ..Attempt::new(made, error.map(str::to_owned))
    }
}

fn control(name: &str, attempts: Vec<Attempt>) -> ControlResult {
    ControlResult::weigh(name, "features/a2_example.feature", scenario(name).0, attempts)
}

/// Makes a claim of its own that nothing was measured for.
pub fn small_module(id: &str, verdict: Verdict) -> ClaimResult {
    ClaimResult {
        id: id.parse().unwrap(),
        claim: "the module is small".into(),
        scenario: "The module is small".into(),
        feature: "features/a2_build.feature".into(),
        line: 2,
        decision: Decision::Run,
        verdict,
        reason: "module.size is 81 kB".into(),
        bound: "< 100 kB".into(),
        published: Some("85 KB".into()),
        typical: None,
        value: None,
        unit: None,
        samples: 0,
        control: Control::of(&[]),
        controls: Vec::new(),
        attempts: Vec::new(),
        deviations: Vec::new(),
        evidence: Vec::new(),
        seconds: 0.0,
    }
}

fn claim(id: &str, name: &str, attempts: Vec<Attempt>, controls: Vec<ControlResult>) -> ClaimResult {
    ClaimResult {
        claim: "it is small".to_owned(),
        scenario: name.to_owned(),
        feature: "features/a2_example.feature".to_owned(),
        line: scenario(name).0,
        reason: String::new(),
        bound: "< 10 bytes".to_owned(),
        published: Some("9 bytes".to_owned()),
        unit: Some(Unit::Bytes),
        samples: 2,
        control: Control::of(&controls),
        controls,
        attempts,
        evidence: vec!["samples.jsonl".to_owned()],
        seconds: 1.5,
        ..small_module(id, Verdict::Inconclusive)
    }
}

fn declared(id: &str, because: &str) -> Vec<Deviation> {
    vec![Deviation {
        claim: id.parse().unwrap(),
        when: Default::default(),
        because: vec![because.to_owned()],
        reason: "its size is another's business".to_owned(),
        link: None,
        declared_by: "us".to_owned(),
        expires: "2030-01-01".parse().unwrap(),
    }]
}

/// Makes the claims, in order: every verdict, and every way to reach it, occurs.
fn claims() -> Vec<ClaimResult> {
    let (holds, fails) = ((Verdict::Holds, "size is 7 bytes"), (Verdict::Fails, "size is 12 bytes"));
    let own = |name: &str, check| attempt(name, &[check], None);
    let skip = Decision::Skip("needs an AWS account".to_owned());
    let record = Decision::MeasureOnly(NotJudgedReason::Other("needs a native CPU".to_owned()));
    let hostile = format!("size is {HOSTILE}");
    let error = attempt("It cannot be judged", &[], Some("no route to host"));
    let wrong = |name: &str, check| vec![control(name, vec![own(name, check)])];
    vec![
        claim("A2-1", "It holds", vec![own("It holds", holds)], wrong("A large one", fails)),
        claim("A2-2", "It fails", vec![own("It fails", (Verdict::Fails, &hostile))], Vec::new()),
        claim("A2-3", "It cannot be judged", vec![error], vec![control("Not selected", Vec::new())]),
        ClaimResult { decision: skip, ..claim("A2-4", "It is not run", Vec::new(), Vec::new()) },
        ClaimResult {
            decision: record,
            ..claim("A2-5", "It is recorded", vec![own("It is recorded", fails)], Vec::new())
        },
        ClaimResult {
            deviations: declared("A2-6", "does not discriminate"),
            ..claim(
                "A2-6",
                "It is known to pass what is wrong",
                vec![own("It is known to pass what is wrong", holds)],
                wrong("A wrong one passes", holds),
            )
        },
        ClaimResult {
            deviations: declared("A2-7", "size is 12"),
            ..claim("A2-7", "It is known to fail", vec![own("It is known to fail", fails)], Vec::new())
        },
        claim(
            "A2-8",
            "It is flaky",
            vec![
                attempt("It is flaky", &[(Verdict::Inconclusive, "size: no sample of it was taken")], None),
                own("It is flaky", holds),
            ],
            Vec::new(),
        ),
    ]
}

/// Makes the example run. It finished, and failed.
pub fn bundle() -> EvidenceBundle {
    let on = "2026-11-24".parse().unwrap();
    let verdicts = Verdicts {
        schema: SCHEMA,
        run: "r1".to_owned(),
        on,
        complete: true,
        exit: 1,
        problems: vec!["the declaration for A9-9 expired on 2026-01-01: renew or remove it".to_owned()],
        claims: claims().into_iter().map(|claim| claim.concluded(on)).collect(),
    };
    let run = json!({
        "schema": SCHEMA, "run": "r1", "assay": "0.1.0", "started": at(0), "ended": at(100), "target": "vm:amd64",
        "host": { "architecture": "x86_64", "distribution": "Debian 13" },
        "image": { "name": "guest/hello", "digest": "sha256:00" }, "git": { "commit": "abc", "changed": true },
    });
    let folder = SandboxedDir::open(std::path::Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    EvidenceBundle { folder, run, verdicts, samples: Vec::new(), features: vec![feature()] }
}

/// Makes the same run, killed before it reached A2-2 and what follows.
pub fn killed() -> EvidenceBundle {
    let mut bundle = bundle();
    let on = bundle.verdicts.on;
    bundle.verdicts.complete = false;
    bundle.verdicts.problems.clear();
    if let Some(ended) = bundle.run.get_mut("ended") {
        *ended = serde_json::Value::Null;
    }
    for claim in bundle.verdicts.claims.iter_mut().skip(1) {
        claim.attempts.clear();
        *claim = claim.clone().concluded(on);
    }
    bundle
}
