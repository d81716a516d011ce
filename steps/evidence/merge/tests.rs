use std::path::Path;

use serde_json::json;

use super::*;
use crate::verdict::declared::ProblemKind;
use crate::verdict::{Reason, Verdict};

/// Returns the recorded run, renamed to this run and target.
fn recorded(run: &str, target: &str) -> EvidenceBundle {
    let mut bundle = EvidenceBundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/selfcheck")).unwrap();
    bundle.run["run"] = json!(run);
    bundle.run["target"] = json!(target);
    bundle.verdicts.run = run.to_owned();
    bundle
}

fn whole(run: &str, target: &str) -> Part {
    Part::of(recorded(run, target)).unwrap()
}

/// Returns the recorded run as if it had been this shard.
fn shard(part: usize, of: usize) -> Part {
    let mut bundle = recorded(&format!("run-{part}-{of}"), "ec2");
    let on = bundle.verdicts.on;
    let others = bundle.verdicts.claims.iter_mut().enumerate().filter(|(place, _)| place % of != part - 1);
    for (_, claim) in others {
        for scenario in &mut claim.scenarios {
            scenario.decision =
                Decision::Skip(NotJudgedReason::OtherShard { shard: format!("{part}/{of}").parse().unwrap() });
            scenario.attempts.clear();
        }
        claim.controls.clear();
        *claim = claim.clone().concluded(on);
    }
    Part::of(bundle).unwrap()
}

fn merged(parts: Vec<Part>) -> Merged {
    Merged::of("whole".to_owned(), &[], parts).unwrap()
}

fn refused(parts: Vec<Part>) -> String {
    let refused = Merged::of("whole".to_owned(), &[], parts).map(|merged| merged.run);
    format!("{:#}", refused.unwrap_err())
}

fn of(verdicts: &mut Verdicts, verdict: Verdict) -> &mut ClaimResult {
    verdicts.claims.iter_mut().find(|claim| claim.verdict == verdict).unwrap()
}

#[test]
fn a_target_has_a_column_for_each_platform() {
    let on = |run: &str, platform: &str| {
        let mut bundle = recorded(run, "local");
        bundle.run["platform"] = json!(platform);
        Part::of(bundle).unwrap()
    };
    let merged = merged(vec![on("a", "debian-13"), on("b", "debian-14"), whole("c", "local")]);
    let columns: Vec<&str> = merged.columns.iter().map(|column| column.target.as_str()).collect();
    assert_eq!(columns, ["local debian-13", "local debian-14", "local"]);
    let names: Vec<&str> = merged.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["local-debian-13", "local-debian-14", "local"]);
    assert!(refused(vec![on("a", "debian-14"), on("b", "debian-14")]).contains("local debian-14"));
}

#[test]
fn the_shards_of_a_target_say_together_what_the_whole_run_said() {
    let merged = merged(vec![shard(2, 3), shard(1, 3), shard(3, 3)]);
    let [column] = &merged.columns[..] else { panic!("one target, and {} columns", merged.columns.len()) };
    let alone = recorded("r", "ec2").verdicts;
    let printed = |claims: &[ClaimResult]| -> Vec<_> {
        claims.iter().map(|claim| (claim.id, claim.verdict, claim.reason.clone(), claim.value.clone())).collect()
    };
    assert_eq!(printed(&column.verdicts.claims), printed(&alone.claims));
    assert_eq!((merged.exit, merged.complete(), merged.missing.len()), (alone.exit, true, 0));
    assert_eq!(column.from[..4], [1, 0, 2, 1], "each claim is of the part that judged it");
    let names: Vec<&str> = merged.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["ec2-shard-2-of-3", "ec2-shard-1-of-3", "ec2-shard-3-of-3"]);
}

#[test]
fn a_shard_that_is_missing_is_named_and_what_it_had_to_judge_was_not_run() {
    let merged = merged(vec![shard(1, 3), shard(3, 3)]);
    let missing = |shards: &[&str]| {
        let shards = shards.iter().map(|shard| shard.parse().unwrap()).collect();
        [Missing { target: "ec2".to_owned(), shards }]
    };
    assert_eq!(merged.missing, missing(&["2/3"]));
    assert_eq!((merged.exit, merged.complete()), (3, false), "what was not judged is not passed over");
    let claims = &merged.columns[0].verdicts.claims;
    let second = &claims[1];
    assert_eq!(second.verdict, Verdict::NotRun);
    let shards = vec!["2/3".parse().unwrap()];
    assert_eq!(second.reason, Reason::NotJudged(NotJudgedReason::MissingShards { shards }));
    assert_eq!(claims.iter().filter(|claim| claim.reason == second.reason).count(), claims.len() / 3);
    let both = refused(vec![shard(1, 3), shard(1, 4)]);
    assert!(both.contains("one is shard 1/3 of ec2, the other shard 1/4"), "{both}");
    assert_eq!(self::merged(vec![shard(4, 5)]).missing, missing(&["1/5", "2/5", "3/5", "5/5"]));
}

#[test]
fn every_claim_is_told_once_for_each_target_with_the_part_that_says_it() {
    let merged = merged(vec![whole("a", "vm:amd64"), whole("b", "vm:arm64")]);
    let json = merged.verdicts().unwrap();
    let claims = json["claims"].as_array().unwrap();
    let alone = recorded("r", "ec2").verdicts.claims;
    assert_eq!(claims.len(), 2 * alone.len());
    let head = |claim: &Json| ["id", "target", "part"].map(|name| claim[name].as_str().unwrap().to_owned());
    assert_eq!(head(&claims[0]), ["A2-1", "vm:amd64", "vm-amd64"]);
    assert_eq!(head(&claims[1]), ["A2-1", "vm:arm64", "vm-arm64"]);
    let files = |claim: &Json| claim["evidence"].as_array().unwrap().clone();
    assert_eq!(files(&claims[1]["scenarios"][0])[0], "parts/vm-arm64/samples.jsonl");
    assert_eq!(files(&claims[1]["scenarios"][0]["attempts"][0])[0], "parts/vm-arm64/samples.jsonl");
    assert_eq!(files(&claims[1]["controls"][0]["attempts"][0])[0], "parts/vm-arm64/samples.jsonl");
    // Merged verdicts have the same format as a run's.
    let read: Verdicts = serde_json::from_value(json).unwrap();
    assert_eq!((read.claims[1].verdict, &read.claims[1].reason), (alone[0].verdict, &alone[0].reason));
}

#[test]
fn the_exit_status_is_the_worst_of_all() {
    let with = |verdict: Verdict| {
        let mut bundle = recorded("b", "vm:arm64");
        of(&mut bundle.verdicts, Verdict::Holds).verdict = verdict;
        Part::of(bundle).unwrap()
    };
    let exit = |part: Part| merged(vec![whole("a", "vm:amd64"), part]).exit;
    assert_eq!(exit(with(Verdict::Holds)), 0);
    assert_eq!(exit(with(Verdict::Inconclusive)), 3);
    assert_eq!(exit(with(Verdict::Fails)), 1);
    let mut worst = with(Verdict::Fails);
    of(&mut worst.bundle.verdicts, Verdict::Holds).verdict = Verdict::Inconclusive;
    assert_eq!(exit(worst), 1);
    let mut wrong = with(Verdict::Holds);
    let deviation = wrong.bundle.verdicts.claims.iter().find_map(|claim| claim.deviations.first()).unwrap().clone();
    let problem = Problem { kind: ProblemKind::Expired, deviation, target: None };
    wrong.bundle.verdicts.problems.push(problem.clone());
    let merged = merged(vec![whole("a", "vm:amd64"), wrong]);
    assert_eq!((merged.exit, merged.problems()), (1, vec![Problem { target: Some("vm:arm64".into()), ..problem }]));
    let mut killed = with(Verdict::Holds);
    killed.bundle.verdicts.complete = false;
    assert_eq!(exit(killed), 3);
    let asked = ["vm:amd64", "vm:arm64"].map(str::to_owned);
    let merged = Merged::of("whole".to_owned(), &asked, vec![whole("a", "vm:amd64")]).unwrap();
    assert_eq!(
        (&merged.missing[..], merged.exit),
        (&[Missing { target: "vm:arm64".into(), shards: Vec::new() }][..], 3)
    );
}

#[test]
fn runs_of_other_claims_are_refused_and_the_file_that_differs_is_named() {
    let mut twin = whole("b", "vm:arm64");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("features")).unwrap();
    for entry in std::fs::read_dir(twin.bundle.folder.path().join("features")).unwrap().flatten() {
        std::fs::copy(entry.path(), folder.path().join("features").join(entry.file_name())).unwrap();
    }
    twin.bundle.folder = SandboxedDir::open(folder.path()).unwrap();
    assert_eq!(merged(vec![whole("a", "vm:amd64"), twin.clone()]).exit, 0);
    std::fs::write(folder.path().join("features/a8_findings.feature"), "Feature: another").unwrap();
    let printed = refused(vec![whole("a", "vm:amd64"), twin.clone()]);
    let file = "their features/a8_findings.feature is not the same";
    assert!(printed.contains(file) && printed.contains(&twin.path()), "{printed}");
    assert!(refused(vec![whole("a", "ec2"), whole("b", "ec2")]).contains("have both judged A2-1 and 37 more on ec2"));
    assert!(refused(vec![]).starts_with("no run is named"));
}

#[test]
fn runs_that_were_not_started_alike_are_refused() {
    let with = |target: &str, pointer: &str, value: Json| {
        let mut bundle = recorded("b", target);
        bundle.run["stand_in"] = json!(false);
        *bundle.run.pointer_mut(pointer).unwrap() = value;
        Part::of(bundle).unwrap()
    };
    let seen = [
        ("vm:arm64", "/git/commit", json!("0000")),
        ("vm:arm64", "/git/changed", json!(true)),
        ("vm:arm64", "/assay", json!("0.0.1")),
        ("vm:arm64", "/image/name", json!("mine")),
        ("ec2", "/stand_in", json!(true)),
    ]
    .map(|(target, pointer, value)| {
        let mut first = whole("a", "ec2");
        first.bundle.run["stand_in"] = json!(false);
        let folder = first.path();
        refused(vec![first, with(target, pointer, value)]).replace(&folder, "RUN")
    });
    insta::assert_snapshot!("refused", seen.join("\n"));
    // Each run builds this workload with a new digest; a named image keeps its digest.
    let first = |name: &str| with("ec2", "/image/name", json!(name));
    let mut other = with("vm:arm64", "/image/digest", json!("sha256:00"));
    other.bundle.verdicts.run = "c".to_owned();
    assert_eq!(merged(vec![first("guest/hello"), other.clone()]).parts.len(), 2);
    other.bundle.run["image"]["name"] = json!("mine");
    assert!(refused(vec![first("mine"), other]).contains("the workload's digest is sha256:45a4"));
}

#[test]
fn a_part_is_named_for_its_target_and_told_apart_from_others() {
    assert_eq!(part_name("vm:amd64", None), "vm-amd64");
    assert_eq!(part_name("ssh://me@host:22", "2/4".parse().ok()), "ssh---me-host-22-shard-2-of-4");
    assert_eq!(part_name("../x", None), "-x");
    let mut parts = vec![whole("a", "ec2"), whole("b", "ec2"), whole("c", "vm:amd64")];
    rename(&mut parts);
    assert_eq!(parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(), ["ec2-a", "ec2-b", "vm-amd64"]);
    let mut torn = recorded("a", "ec2");
    for (claim, shard) in torn.verdicts.claims.iter_mut().zip(["1/2", "2/2"]) {
        claim.scenarios[0].decision = Decision::Skip(NotJudgedReason::OtherShard { shard: shard.parse().unwrap() });
    }
    assert!(Part::of(torn).unwrap_err().to_string().contains("is of more than one shard"));
}
