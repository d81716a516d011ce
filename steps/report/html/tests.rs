use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::base::unit::Unit;
use crate::claims::plan::{Decision, NotJudgedReason};
use crate::evidence::bundle::SandboxedDir;
use crate::report::example;
use crate::verdict::claim_verdict::Attempt;
use crate::verdict::{Check, Reason, Rule, Source};

/// The size of a test's run: how much of everything it has, and the text that it contains everywhere.
struct Size<'a> {
    claims: usize,
    samples: u64,
    commands: u64,
    text: &'a str,
}

fn command(n: u64, text: &str, printed: &str) -> String {
    let command = json!({ "n": n, "at": "2026-11-24T15:22:34Z", "machine": text, "argv": ["sh", "-c", text], "env": [],
        "clean_env": false, "stdin_bytes": 0, "status": { "code": n % 2 }, "seconds": 1.0, "stdout": printed,
        "stderr": { "file": "../../etc/passwd", "bytes": 20000 } });
    format!("{command}\n")
}

/// Makes a run of that size: the claims of the example over and over, with the text in place of theirs.
fn bundle(path: &Path, size: &Size) -> EvidenceBundle {
    let text = || size.text.to_owned();
    let mut bundle = example(path);
    let until = Timestamp::from_second(1_000_000).unwrap();
    let source = Source {
        subject: format!("{} warm 1", size.text),
        machine: "nano".into(),
        since: Timestamp::UNIX_EPOCH,
        until,
    };
    let sample = |(place, (probe, value, second)): (usize, (&str, f64, u64))| Sample {
        id: place as u64 + 1,
        at: Timestamp::from_second(second as i64).unwrap(),
        raw: text(),
        ..Sample::of(&source.subject, probe, value, Unit::Bytes)
    };
    let checked = (0..size.samples).map(|n| ("size", 3e7 + (n % 977) as f64 * 1e5, n));
    let kinds = ["timeline.unit.anon", "timeline.unit.file", "timeline.unit.kernel"];
    let looks = (0..size.samples / 10).flat_map(|n| kinds.map(|kind| (kind, 1e6, n)));
    let start = [("start.create", 1.0, 0), ("start.output", 2.0, 0)];
    bundle.samples = checked.chain(looks).chain(start).enumerate().map(sample).collect();
    let check = Check {
        probe: "size".into(),
        unit: Unit::Bytes,
        rule: Rule::Below { bound: 1.2e8 },
        sources: vec![source],
        samples: (1..=size.samples).collect(),
    };
    let judged = check.judge(&bundle.samples);
    let files = ["trials/run.journal.jsonl", "../../etc/passwd", "javascript:alert(1)", "/etc/passwd", size.text];
    let fill = |attempt: &mut Attempt| {
        attempt.checks.iter_mut().for_each(|check| *check = judged.clone());
        attempt.steps.iter_mut().for_each(|step| step.text = text());
        attempt.evidence = files.map(str::to_owned).to_vec();
        attempt.commands = (1..=size.commands).collect();
    };
    let claims = bundle.verdicts.claims.iter().cycle().take(size.claims).cloned().enumerate();
    let claims = claims.map(|(n, mut claim)| {
        claim.id = format!("A{}-{}", 2 + n / 200, 1 + n % 200).parse().unwrap();
        for scenario in &mut claim.scenarios {
            scenario.attempts.iter_mut().for_each(fill);
            (scenario.at.name, scenario.reason) = (text(), Reason::step(text()));
        }
        for control in &mut claim.controls {
            (control.at.name, control.reason) = (text(), Reason::step(text()));
            control.attempts.iter_mut().for_each(fill);
        }
        let (published, typical) = (Some(text()), Some(text()));
        ClaimResult { claim: text(), reason: Reason::step(text()), bound: text(), published, typical, ..claim }
    });
    bundle.verdicts.claims = claims.collect();
    bundle.verdicts.problems.iter_mut().for_each(|problem| problem.target = Some(text()));
    bundle.verdicts.run = text();
    bundle.run = json!({ "schema": 2, "run": size.text, "host": { size.text: size.text }, size.text: [size.text] });
    let printed = size.text.repeat(1 + 2000 / (size.text.len() + 1));
    let transcript: String = (1..=size.commands).map(|n| command(n, size.text, &printed)).collect();
    fs::write(path.join("transcript.jsonl"), transcript).unwrap();
    let entry = json!({ "__MONOTONIC_TIMESTAMP": "1500000", "SYSLOG_IDENTIFIER": size.text, "MESSAGE": size.text });
    fs::create_dir(path.join("trials")).unwrap();
    fs::write(path.join("trials/run.journal.jsonl"), format!("{entry}\n").repeat(500)).unwrap();
    fs::write(path.join("console.log"), [b"\xff\x00\x1b[31m".as_slice(), size.text.as_bytes()].concat()).unwrap();
    bundle
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
        let size_of_page = format!("{} claims: {} bytes", size.claims, page.len());
        assert!(page.len() < 2_000_000, "{size_of_page}");
        assert!(page.len() > 500_000, "there was more to show: {size_of_page}");
        let shown = page.matches("<details id=\"A").count();
        assert_eq!(shown, size.claims.min(CLAIMS), "{size_of_page}");
        assert!(page.contains("Left out, so that this page stays small"), "{size_of_page}");
    }
}

/// Returns what a reader sees of a page, line by line, with links that lead elsewhere; of plots, their description.
pub(in crate::report) fn words(page: &str) -> String {
    const LINES: [&str; 17] = [
        "p", "h1", "h2", "h3", "h4", "h5", "ul", "ol", "li", "dl", "dt", "tr", "div", "section", "summary", "pre",
        "title",
    ];
    let mut shown = String::new();
    for (tag, text) in page.split('<').skip(1).filter_map(|piece| piece.split_once('>')) {
        let name = tag.split(' ').next().unwrap_or_default();
        let link = tag.strip_prefix("a href=\"").filter(|link| !link.starts_with('#'));
        match name {
            "style" | "script" | "text" => continue,
            "/td" | "/th" => shown += " | ",
            "/dt" => shown += ": ",
            "br" => shown += " ",
            name if LINES.contains(&name.trim_start_matches('/')) => shown += "\n",
            _ => shown += &link.map(|link| format!("[{}] ", link.trim_end_matches('"'))).unwrap_or_default(),
        }
        shown += text;
    }
    let plain = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    plain.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

/// Puts the example run into a folder, with samples, a command and a log.
fn example(path: &Path) -> EvidenceBundle {
    let mut bundle = example::bundle();
    fs::write(path.join("console.log"), "Linux\nlogin:\n").unwrap();
    fs::write(path.join("transcript.jsonl"), command(1, "podman start it", "it\n")).unwrap();
    let sample = |(id, second, probe, value, unit): (u64, i64, &str, f64, Unit)| Sample {
        id,
        at: example::at(second),
        ..Sample::of("it warm 1", probe, value, unit)
    };
    let all = [
        (1, 1, "size", 7.0, Unit::Bytes),
        (2, 2, "size", 12.0, Unit::Bytes),
        (3, 1, "timeline.unit.anon", 1e6, Unit::Bytes),
        (4, 1, "timeline.unit.file", 2e6, Unit::Bytes),
        (5, 1, "timeline.unit.kernel", 3e6, Unit::Bytes),
        (6, 1, "timeline.unit.max", 64e6, Unit::Bytes),
        (7, 9, "timeline.unit.anon", 1e6, Unit::Bytes),
        (8, 9, "timeline.unit.file", 2e6, Unit::Bytes),
        (9, 9, "timeline.unit.kernel", 5e6, Unit::Bytes),
        (10, 1, "start.create", 1.0, Unit::Seconds),
        (11, 1, "start.output", 3.0, Unit::Seconds),
        (12, 1, "start.time", 2.5, Unit::Seconds),
    ];
    bundle.samples = all.map(sample).to_vec();
    let attempt = &mut bundle.verdicts.claims[0].scenarios[0].attempts[0];
    attempt.commands = vec![1];
    attempt.evidence.push(trial_file("it warm 1"));
    bundle.folder = SandboxedDir::open(path).unwrap();
    bundle
}

#[test]
fn an_auditor_reads_the_verdicts_why_to_trust_them_and_each_scenario_with_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = example(folder.path());
    let page = html(&bundle).unwrap();
    assert_eq!(page, html(&bundle).unwrap(), "the same run gives the same bytes");
    insta::assert_snapshot!("run", words(&String::from_utf8(page).unwrap()));
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
    let mut bundle = example::killed();
    bundle.folder = SandboxedDir::open(folder.path()).unwrap();
    bundle.run = json!({ "schema": 2, "ended": null });
    bundle.features.clear();
    let claims = &mut bundle.verdicts.claims;
    claims[0].scenarios[0].attempts[0].steps.clear();
    claims[0].scenarios[0].attempts[0].commands = vec![1];
    claims[2].scenarios[0].decision = Decision::Skip(NotJudgedReason::NotSelected);
    claims[2] = claims[2].clone().concluded(bundle.verdicts.on);
    let page = words(&String::from_utf8(html(&bundle).unwrap()).unwrap());
    let without_steps = "features/a2_example.feature:9\n✔ size is 7 bytes; the bound is 10 bytes";
    for text in [
        "The run did not finish.",
        "was never sealed",
        "cannot read",
        "not selected by the options of this run (1 claim)",
        without_steps,
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}
