//! Makes a run for the tests of the reports: a claim of each kind, with controls of each kind.

use jiff::Timestamp;
use serde_json::json;

use super::messages::documents::Document;
use crate::base::platform::MachineKind;
use crate::base::unit::Unit;
use crate::claims::deviation::{Deviation, Relation};
use crate::claims::plan::{Decision, FeatureFile, NotJudgedReason, ScenarioRef};
use crate::claims::register::Requirement;
use crate::evidence::bundle::{EvidenceBundle, SandboxedDir};
use crate::evidence::{ClaimResult, SCHEMA, Verdicts};
use crate::measurement::Value;
use crate::verdict::claim_verdict::{Attempt, ControlResult, ScenarioResult, Step};
use crate::verdict::declared::{Problem, ProblemKind};
use crate::verdict::{Bound, Check, Judged, Outcome, Reason, Rule, Source, Verdict};

/// A reason that contains hostile output.
pub const HOSTILE: &str = "<script>alert(1)</script> | `x` @everyone \u{1b}[31m\u{0}\u{8}\u{fffe}\n]]> & \"q\"";

const PATH: &str = "features/a2_example.feature";
/// The scenarios of the example; the last step of a control expects its failure.
const FEATURE: &str = include_str!("example.feature");

/// Returns a check that saw this value of the probe "size".
pub fn seen(verdict: Verdict, value: impl Into<Value>) -> Judged {
    let source =
        Source { subject: "it".to_owned(), machine: "nano".to_owned(), kind: None, since: at(0), until: at(60) };
    let (probe, rule, value) = ("size".to_owned(), Rule::Below { bound: 10.0 }, value.into());
    let bound = Bound {
        probe: probe.clone(),
        rule: rule.clone(),
        value: value.clone(),
        unit: Unit::Bytes,
        subject: "it".to_owned(),
        raw: None,
        lines: None,
        all: None,
    };
    let outcome = Outcome { verdict, reason: Reason::Bound(Box::new(bound)), value: Some(value) };
    let check = Check { probe, unit: Unit::Bytes, rule, sources: vec![source], samples: vec![1, 2] };
    Judged { check, outcome, statistics: None }
}

fn holds() -> Judged {
    seen(Verdict::Holds, 7.0)
}

fn fails() -> Judged {
    seen(Verdict::Fails, 12.0)
}

/// Returns the time this many seconds into the run.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

pub fn feature() -> FeatureFile {
    FeatureFile::parse(PATH.to_owned(), FEATURE).unwrap()
}

/// Returns the line of a scenario, and the line, keyword and text of each of its steps.
fn scenario(name: &str) -> (usize, Vec<(usize, &'static str, &'static str)>) {
    let feature = feature();
    let pickle = Document(&feature).pickles().into_iter().find(|pickle| pickle.message["name"] == name).unwrap();
    let step = |line: usize| {
        let (keyword, text) = FEATURE.lines().nth(line - 1).unwrap().trim().split_once(' ').unwrap();
        (line, keyword, text)
    };
    (pickle.line, pickle.steps.into_iter().map(step).collect())
}

fn stands(name: &str) -> ScenarioRef {
    ScenarioRef { file: PATH.to_owned(), line: scenario(name).0, name: name.to_owned() }
}

fn own(at: &ScenarioRef, decision: Decision, attempts: Vec<Attempt>) -> Vec<ScenarioResult> {
    vec![ScenarioResult { machine_kind: Some(MachineKind::Vm), ..ScenarioResult::new(at, decision, attempts) }]
}

/// Makes an attempt at a scenario whose checks are all made by the step "it is small"; if there is an error, the last
/// step did not finish.
pub fn attempt(name: &str, checks: &[Judged], error: Option<&str>) -> Attempt {
    let steps = scenario(name).1;
    let step = |(place, (line, keyword, text)): (usize, &(usize, &str, &str))| Step {
        line: *line,
        keyword: (*keyword).to_owned(),
        text: (*text).to_owned(),
        at: at(place as i64),
        seconds: (error.is_none() || place + 1 < steps.len()).then_some(0.5),
        checks: if text.starts_with("it is small") { checks.len() } else { 0 },
    };
    Attempt {
        steps: steps.iter().enumerate().map(step).collect(),
        evidence: vec!["samples.jsonl".to_owned()],
        seconds: 1.5,
        fails_on: steps.last().filter(|(_, keyword, _)| *keyword == "But").map(|_| "size".to_owned()),
        ..Attempt::new(checks.to_vec(), error.map(Reason::step))
    }
}

fn attempts(name: &str, checks: &[Judged]) -> Vec<Attempt> {
    checks.iter().map(|check| attempt(name, std::slice::from_ref(check), None)).collect()
}

fn control(name: &str, checks: &[Judged]) -> ControlResult {
    ControlResult::judge(&stands(name), None, attempts(name, checks))
}

/// Makes a claim of its own that nothing was measured for.
pub fn small_module(id: &str, verdict: Verdict) -> ClaimResult {
    let at = ScenarioRef { file: "features/a2_build.feature".into(), line: 2, name: "The module is small".into() };
    ClaimResult {
        id: id.parse().unwrap(),
        claim: "the module is small".into(),
        verdict,
        reason: Reason::NothingChecked,
        bound: "< 100 kB".into(),
        needs: Vec::new(),
        published: Some("85 KB".into()),
        typical: None,
        value: None,
        unit: None,
        samples: 0,
        scenarios: own(&at, Decision::Run, Vec::new()),
        controls: Vec::new(),
        deviations: Vec::new(),
    }
}

fn claim(id: &str, name: &str, checks: &[Judged], controls: Vec<ControlResult>) -> ClaimResult {
    ClaimResult {
        claim: "it is small".to_owned(),
        bound: "< 10 bytes".to_owned(),
        published: Some("9 bytes".to_owned()),
        scenarios: own(&stands(name), Decision::Run, attempts(name, checks)),
        controls,
        ..small_module(id, Verdict::Inconclusive)
    }
}

/// Declares that this control is not caught, or else that the check fails.
fn declared(id: &str, control: Option<&str>) -> Vec<Deviation> {
    vec![Deviation {
        claim: id.parse().unwrap(),
        when: Default::default(),
        probe: control.is_none().then(|| "size".to_owned()),
        relation: control.is_none().then_some(Relation::Below),
        control: control.map(str::to_owned),
        reason: "its size is another's business".to_owned(),
        link: None,
        declared_by: "us".to_owned(),
        expires: "2030-01-01".parse().unwrap(),
    }]
}

/// Makes the claims, in order: every verdict, and every way to reach it, occurs.
fn claims() -> Vec<ClaimResult> {
    let hostile = seen(Verdict::Fails, HOSTILE);
    let mut unmeasured = seen(Verdict::Inconclusive, 0.0);
    unmeasured.outcome.reason = Reason::MissingSamples { probe: "size".to_owned(), found: 0, wanted: 0 };
    let aws = NotJudgedReason::Needs { what: Requirement::Aws };
    let native = NotJudgedReason::Needs { what: Requirement::NativeCpu };
    vec![
        claim("A2-1", "It holds", &[holds()], vec![control("A large one", &[fails()])]),
        claim("A2-2", "It fails", &[hostile], Vec::new()),
        ClaimResult {
            scenarios: own(
                &stands("It cannot be judged"),
                Decision::Run,
                vec![attempt("It cannot be judged", &[], Some("no route to host"))],
            ),
            ..claim("A2-3", "It cannot be judged", &[], vec![control("Not selected", &[])])
        },
        ClaimResult {
            scenarios: own(&stands("It is not run"), Decision::Skip(aws), Vec::new()),
            ..claim("A2-4", "It is not run", &[], Vec::new())
        },
        ClaimResult {
            scenarios: own(
                &stands("It is recorded"),
                Decision::MeasureOnly(native),
                attempts("It is recorded", &[fails()]),
            ),
            ..claim("A2-5", "It is recorded", &[fails()], Vec::new())
        },
        ClaimResult {
            deviations: declared("A2-6", Some("A wrong one passes")),
            ..claim(
                "A2-6",
                "It is known to pass what is wrong",
                &[holds()],
                vec![control("A wrong one passes", &[holds()])],
            )
        },
        ClaimResult {
            deviations: declared("A2-7", None),
            ..claim("A2-7", "It is known to fail", &[fails()], Vec::new())
        },
        claim("A2-8", "It is flaky", &[unmeasured, holds()], Vec::new()),
    ]
}

/// Makes the example run. It finished, and failed.
pub fn bundle() -> EvidenceBundle {
    let on = "2026-11-24".parse().unwrap();
    let mut deviation = declared("A9-9", None).remove(0);
    deviation.expires = "2026-01-01".parse().unwrap();
    let verdicts = Verdicts {
        schema: SCHEMA,
        run: "r1".to_owned(),
        on,
        complete: true,
        exit: 1,
        problems: vec![Problem { kind: ProblemKind::Expired, deviation, target: None }],
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
    bundle.run["ended"] = serde_json::Value::Null;
    for claim in bundle.verdicts.claims.iter_mut().skip(1) {
        claim.scenarios.iter_mut().for_each(|scenario| scenario.attempts.clear());
        *claim = claim.clone().concluded(on);
    }
    bundle
}
