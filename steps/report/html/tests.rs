use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::base::unit::Unit;
use crate::claims::plan::{Decision, FeatureFile};
use crate::evidence::Verdicts;
use crate::evidence::bundle::SandboxedDir;
use crate::report::example::small_module;
use crate::verdict::claim_verdict::{Attempt, ControlResult, Step};
use crate::verdict::{Check, Rule, Source, Verdict};

const FEATURE: &str = "Feature: A.2 Build\n  @A2-1\n  Scenario: Small\n    Given a module\n    Then it is small\n    \
    And it is new\n  @A2-1 @control\n  Scenario: Large\n    Then it is small\n    But this check fails on \"size\"\n";

/// The size of a test's run: how much of everything it has, and the text that it contains everywhere.
struct Size<'a> {
    claims: usize,
    samples: u64,
    commands: u64,
    text: &'a str,
}

fn source(subject: &str, text: &str) -> Source {
    let (since, until) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(1_000_000).unwrap());
    Source { subject: format!("{subject}{text} warm 1"), machine: "nano".into(), since, until }
}

/// Makes the samples of a claim, and those of the memory of its run.
fn samples(claim: u64, size: &Size) -> Vec<Sample> {
    let source = source(&format!("run{claim}"), size.text);
    let sample = |id: u64, n: u64, probe: &str, value: f64, unit| Sample {
        id: claim * 1_000_000 + id + 1,
        probe: probe.into(),
        subject: source.subject.clone(),
        machine: "nano".into(),
        value: value.into(),
        unit,
        at: Timestamp::from_second(n as i64).unwrap(),
        raw: size.text.into(),
    };
    let checked = (0..size.samples).map(|n| sample(n, n, "size", 3e7 + (n % 977) as f64 * 1e5, Unit::Bytes));
    let looks = (0..size.samples / 10).flat_map(|n| {
        let kinds = ["timeline.unit.anon", "timeline.unit.file", "timeline.unit.kernel"];
        kinds.into_iter().enumerate().map(move |(kind, probe)| (n, kind as u64, probe))
    });
    let looks = looks.map(|(n, kind, probe)| sample(size.samples + 3 * n + kind, n, probe, 1e6, Unit::Bytes));
    let start =
        (0..2).map(|n| sample(500_000 + n, n, ["start.create", "start.output"][n as usize], 1.0, Unit::Seconds));
    checked.chain(looks).chain(start).collect()
}

fn attempt(claim: u64, size: &Size, samples: &[Sample]) -> Attempt {
    let check = Check {
        probe: "size".into(),
        unit: Unit::Bytes,
        rule: Rule::Below { bound: 1.2e8 },
        sources: vec![source(&format!("run{claim}"), size.text)],
        samples: samples.iter().filter(|sample| sample.probe == "size").map(|sample| sample.id).collect(),
    };
    let step = |line, text: &str, checks| Step {
        line,
        keyword: "Then".into(),
        text: format!("{text}{}", size.text),
        at: Timestamp::UNIX_EPOCH,
        seconds: Some(1.0),
        checks,
    };
    let evidence = ["trials/run.journal.jsonl", "../../etc/passwd", "javascript:alert(1)", "/etc/passwd", size.text];
    Attempt {
        evidence: evidence.map(str::to_owned).to_vec(),
        steps: vec![step(4, "a module", 0), step(5, "it is small", 1)],
        commands: (0..size.commands).map(|n| claim * size.commands + n + 1).collect(),
        because: Some("size".into()),
        ..Attempt::new(vec![check.judge(samples)], None)
    }
}

/// Makes a run of that size, with a folder for it.
fn bundle(path: &Path, size: &Size) -> EvidenceBundle {
    let mut all = Vec::new();
    let mut claims = Vec::new();
    for n in 0..size.claims as u64 {
        let mine = samples(n, size);
        let attempt = attempt(n, size, &mine);
        let control = ControlResult::weigh(size.text, "features/a2.feature", 8, vec![attempt.clone()]);
        let id = format!("A{}-{}", 2 + n / 200, 1 + n % 200);
        claims.push(ClaimResult {
            claim: format!("claim {n} {}", size.text),
            scenario: size.text.into(),
            feature: "features/a2.feature".into(),
            line: 3,
            reason: size.text.into(),
            bound: size.text.into(),
            published: Some("17.8 MB".into()),
            typical: Some(size.text.into()),
            attempts: vec![attempt],
            controls: vec![control],
            ..small_module(&id, words::VERDICTS[n as usize % 5])
        });
        all.extend(mine);
    }
    let line = |n: u64| {
        let command = json!({ "n": n, "at": "2026-11-24T15:22:34Z", "machine": size.text, "argv": ["sh", "-c", size.text],
            "env": [], "clean_env": false, "stdin_bytes": 0, "status": { "code": n % 2 }, "seconds": 1.0,
            "stdout": size.text.repeat(1 + 2000 / (size.text.len() + 1)),
            "stderr": { "file": "../../etc/passwd", "bytes": 20000 } });
        format!("{command}\n")
    };
    let transcript: String = (1..=size.commands * size.claims as u64).map(line).collect();
    fs::create_dir_all(path.join("trials")).unwrap();
    fs::write(path.join("transcript.jsonl"), transcript).unwrap();
    let said = json!({ "__MONOTONIC_TIMESTAMP": "1500000", "SYSLOG_IDENTIFIER": size.text, "MESSAGE": size.text });
    fs::write(path.join("trials/run.journal.jsonl"), format!("{said}\n").repeat(500)).unwrap();
    fs::write(path.join("console.log"), [b"\xff\x00\x1b[31m".as_slice(), size.text.as_bytes()].concat()).unwrap();
    let on = "2026-11-24".parse().unwrap();
    let problems = vec![size.text.into()];
    let verdicts = Verdicts { schema: 1, run: size.text.into(), on, complete: true, exit: 1, problems, claims };
    let run = json!({ "schema": 1, "run": size.text, "host": { size.text: size.text }, size.text: [size.text] });
    let features = vec![FeatureFile::parse("features/a2.feature".into(), FEATURE).unwrap()];
    EvidenceBundle { folder: SandboxedDir::open(path).unwrap(), run, verdicts, samples: all, features }
}

fn page(size: &Size) -> String {
    let folder = tempfile::tempdir().unwrap();
    String::from_utf8(html(&bundle(folder.path(), size)).unwrap()).unwrap()
}

const PLAIN: Size = Size { claims: 3, samples: 40, commands: 3, text: "plain words" };

#[test]
fn what_a_hostile_run_says_is_shown_and_never_obeyed() {
    let text = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u{0}\u{1b}[31m\u{202e}</title></style>&amp;";
    let page = page(&Size { text, ..PLAIN });
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    for (tag, times) in [("<script", 1), ("</script", 1), ("<img", 0), ("<style", 1), ("</style", 1)] {
        assert_eq!(page.matches(tag).count(), times, "{tag}");
    }
    let strange = |letter: &char| (letter.is_control() && !matches!(letter, '\n' | '\t')) || *letter == '\u{202e}';
    assert_eq!(page.chars().find(strange), None);
    for link in page.split("href=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(link, _)| link) {
        assert!(link.starts_with('#') || link == "trials/run.journal.jsonl" || link == "console.log", "{link}");
    }
    // The page must not contain anything that fetches or runs something, except its own style and script.
    assert_eq!(page.matches(" src=").count(), page.matches("&lt;img src=").count());
    assert!(!page.contains(" style=\"") && !page.contains("url(") && !page.contains("@import"));
}

#[test]
fn the_page_stays_small_whatever_the_run() {
    let long = "a \"long\" <text> & ".repeat(400);
    for size in [
        Size { claims: 1000, samples: 20, commands: 3, text: "short" },
        Size { claims: 40, samples: 1000, commands: 80, text: "short" },
        Size { claims: 300, samples: 3, commands: 1, text: &long },
    ] {
        let page = page(&size);
        let told = format!("{} claims: {} bytes", size.claims, page.len());
        assert!(page.len() < 2_000_000, "{told}");
        assert!(page.len() > 500_000, "there was more to show: {told}");
        let shown = page.matches("<details id=\"A").count();
        assert_eq!(shown, size.claims.min(CLAIMS), "{told}");
        assert!(page.contains("Left out, so that this page stays small"), "{told}");
    }
}

#[test]
fn a_run_of_usual_size_is_shown_whole() {
    let page = page(&PLAIN);
    assert!(!page.contains("Left out"), "{page}");
    for text in
        ["bound &lt; 120 MB", "annex 17.8 MB", "podman create: 1 s", "memory of run0plain words warm 1 over 3 s"]
    {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), &PLAIN);
    assert_eq!(html(&bundle).unwrap(), html(&bundle).unwrap());
}

#[test]
fn a_measured_value_stands_beside_its_step_and_what_was_not_reached_is_said() {
    let page = page(&PLAIN);
    let claim = page.split_once("<details id=\"A2-1\"").unwrap().1;
    let place = |text: &str| claim.find(text).unwrap_or_else(|| panic!("{text} is not there"));
    let step = place("it is smallplain words");
    let value = place("size is 33.9 MB, worst of 40");
    let missed = place("it is new");
    assert!(place("a moduleplain words") < step && step < value && value < missed);
    assert!(missed < place("not reached"));
    assert!(claim.contains("passes, NOT CAUGHT: "), "its control passes too");
}

#[test]
fn only_what_is_written_here_may_run() {
    let page = page(&PLAIN);
    let between = |from: &str, to: &str| page.split_once(from).unwrap().1.split_once(to).unwrap().0.to_owned();
    let policy = between("Content-Security-Policy\" content=\"", "\"").replace("&#39;", "'");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains(&format!("script-src {};", sha256(&between("<script>", "</script>")))), "{policy}");
    assert!(policy.contains(&format!("style-src {};", sha256(&between("<style>", "</style>")))), "{policy}");
    assert!(policy.ends_with("base-uri 'none'; form-action 'none'"), "{policy}");
}

#[test]
fn a_killed_run_and_one_from_before_steps_were_kept_are_shown_as_far_as_they_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut bundle = bundle(folder.path(), &PLAIN);
    fs::remove_file(folder.path().join("transcript.jsonl")).unwrap();
    bundle.verdicts.complete = false;
    bundle.run = json!({ "schema": 1, "ended": null });
    bundle.features.clear();
    for (place, claim) in bundle.verdicts.claims.iter_mut().enumerate() {
        match place {
            0 => claim.attempts.iter_mut().for_each(|attempt| attempt.steps.clear()),
            1 => claim.attempts.clear(),
            _ => claim.decision = Decision::Skip("not asked for".into()),
        }
        claim.verdict = if place == 2 { Verdict::NotRun } else { claim.verdict };
    }
    let page = String::from_utf8(html(&bundle).unwrap()).unwrap();
    assert!(page.contains("The run did not finish."));
    assert!(page.contains("so it was never sealed: nothing vouches for its files"));
    assert!(page.contains("size is 33.9 MB, worst of 40"), "its checks are there without steps");
    assert!(page.contains("not asked for"));
    assert!(page.contains("cannot read"), "that there is no transcript is said");
}
