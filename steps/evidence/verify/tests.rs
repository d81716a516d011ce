use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A sealed copy of a recorded run, or several of them merged. Evidence files that were not recorded exist and are empty.
pub(in crate::evidence) struct SealedRun {
    pub folder: PathBuf,
    _all: TempDir,
}

impl SealedRun {
    pub(in crate::evidence) fn sealed() -> SealedRun {
        let run = SealedRun::within(tempfile::tempdir().unwrap());
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/selfcheck"), run.path());
        for claim in EvidenceBundle::open(run.path()).unwrap().verdicts.claims {
            for file in claim.all_attempts().flat_map(|attempt| &attempt.evidence) {
                let path = run.path().join(file);
                if !path.exists() {
                    fs::write(path, "").unwrap();
                }
            }
        }
        run.seal(None);
        run
    }

    /// Returns the run that is the folder "out" of a temporary one.
    pub(in crate::evidence) fn within(all: TempDir) -> SealedRun {
        SealedRun { folder: all.path().join("out"), _all: all }
    }

    pub(in crate::evidence) fn path(&self) -> &Path {
        &self.folder
    }

    /// Seals it (again), as an attacker would to hide a change.
    pub(in crate::evidence) fn seal(&self, key: Option<&Path>) {
        checksums::seal(&SandboxedDir::open(self.path()).unwrap()).unwrap();
        if let Ok(bundle) = EvidenceBundle::open(self.path()) {
            attestation::attest(&bundle, key).unwrap();
        }
    }

    fn json(&self, name: &str) -> Json {
        serde_json::from_str(&fs::read_to_string(self.path().join(name)).unwrap()).unwrap()
    }

    pub(in crate::evidence) fn change(&self, name: &str, change: impl FnOnce(&mut Json)) {
        let mut json = self.json(name);
        let before = json.clone();
        change(&mut json);
        assert_ne!(json, before, "nothing was changed");
        fs::write(self.path().join(name), json.to_string()).unwrap();
    }

    /// Changes what stands at a JSON pointer, in one claim if it is named; without a value, the last of a list goes.
    fn forge(&self, (file, id, pointer, value): &(String, String, String, Json)) {
        self.change(file, |json| {
            let within = if id.is_empty() { json } else { claim(json, id) };
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = within.pointer_mut(parent).unwrap();
            let place = match key.parse::<usize>() {
                Ok(place) => &mut parent[place],
                Err(_) => &mut parent[key],
            };
            match value {
                Json::Null => drop(place.as_array_mut().unwrap().pop()),
                value => *place = value.clone(),
            }
        });
    }

    pub(in crate::evidence) fn findings(&self) -> Vec<Finding> {
        verify(self.path(), &Trust::default()).unwrap().findings
    }

    /// Asserts that there is a finding in this file with this text.
    pub(in crate::evidence) fn names(&self, file: &str, problem: &str) {
        let findings = self.findings();
        let found = findings.iter().any(|finding| finding.file == file && finding.problem.contains(problem));
        assert!(found, "nothing in {file} says {problem:?}: {findings:#?}");
    }
}

pub(super) fn claim<'a>(verdicts: &'a mut Json, id: &str) -> &'a mut Json {
    verdicts["claims"].as_array_mut().unwrap().iter_mut().find(|claim| claim["id"] == id).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn a_changed_byte_in_any_file_is_found_and_named() {
    let run = SealedRun::sealed();
    let names = SandboxedDir::open(run.path()).unwrap().names().unwrap();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let path = run.path().join(&name);
        let before = fs::read(&path).unwrap();
        let mut after = before.clone();
        match after.last_mut() {
            Some(last) => *last ^= 1,
            None => after.push(b'x'),
        }
        fs::write(&path, after).unwrap();
        let findings = run.findings();
        assert!(findings.iter().any(|finding| finding.file == name), "{name}: {findings:?}");
        fs::write(&path, before).unwrap();
    }
    assert_eq!(run.findings(), []);
}

#[test]
fn a_difference_between_quadlets_is_made_again() {
    let run = SealedRun::sealed();
    let write = |name: &str, text: &str| fs::write(run.path().join("quadlets").join(name), text).unwrap();
    fs::create_dir_all(run.path().join("quadlets")).unwrap();
    write("w.container", "[Service]\nMemoryMax=64M\n");
    write("x.container", "[Service]\nMemoryMax=4M\n");
    let head = "--- quadlets/w.container\n+++ quadlets/x.container\n@@ -1,2 +1,2 @@\n";
    let diff = format!("{head} [Service]\n-MemoryMax=64M\n+MemoryMax=4M\n");
    write("x.diff", &diff);
    run.seal(None);
    assert_eq!(run.findings(), []);
    write("x.container", "[Service]\nMemoryMax=4M\nCPUQuota=1%\n");
    run.seal(None);
    run.names("quadlets/x.diff", "it is not the difference between the two files that it names");
}

/// Checksums can be recomputed after a change, but the change must still be found.
#[test]
fn what_was_changed_and_sealed_again_is_found_by_the_samples() {
    let sample = SealedRun::sealed();
    let path = sample.path().join("samples.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let line =
        text.lines().find(|line| line.contains("\"module.size\"") && line.contains("module of workload")).unwrap();
    let number = serde_json::from_str::<Json>(line).unwrap()["value"].as_f64().unwrap();
    let forged = line.replace(&format!("\"value\":{number:.1}"), "\"value\":80000.0");
    assert_ne!(forged, line);
    fs::write(&path, text.replace(line, &forged)).unwrap();
    sample.seal(None);
    sample.names("verdicts.json", "A2-2: /reason/value is stored as 81401.0, and comes to 80000.0");
}

/// Invented samples with recomputed verdicts still contradict the printed text.
#[test]
fn a_sample_that_its_own_text_does_not_bear_out_is_found() {
    let run = SealedRun::sealed();
    let path = run.path().join("samples.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mine = |line: &&str| line.contains("\"memory.peak\"") && line.contains("workload-no-limits warm 3");
    let line = text.lines().find(mine).unwrap();
    let mut sample: Json = serde_json::from_str(line).unwrap();
    // Too little to show in any sentence.
    sample["value"] = (sample["value"].as_f64().unwrap() + 4096.0).into();
    fs::write(&path, text.replace(line, &sample.to_string())).unwrap();
    run.seal(None);
    run.names("trials/workload-no-limits-warm-3.txt", "says that memory.peak is 3");
    let torn = SealedRun::sealed();
    fs::write(torn.path().join("trials/workload-no-limits-warm-3.txt"), "look 1\n").unwrap();
    torn.seal(None);
    torn.names("trials/workload-no-limits-warm-3.txt", "trial cannot be read: expected output that closes with");
}

#[test]
fn numbers_that_differ_in_their_last_digit_are_the_same_and_no_others() {
    let differ = |a: f64, b: f64| agreement::difference(&json!({ "x": a }), &json!({ "x": b })).is_some();
    assert!(!differ(0.961_522_691_715_799_6, 0.961_522_691_715_799_7) && !differ(0.0, 0.0));
    assert!(differ(0.961_522_691_7, 0.961_522_692) && differ(0.0, 1e-300) && differ(1.0, -1.0));
    // Writing a number and reading it again loses nothing.
    for number in [0.961_522_691_715_799_6, 1.0 / 3.0, 6.02e23, 5e-324] {
        assert_eq!(serde_json::from_str::<f64>(&serde_json::to_string(&number).unwrap()).unwrap(), number);
    }
}

/// Each line of `forgeries.jsonl` is changed in a run of its own, which is sealed again: verdicts that do not follow from
/// the samples, those that are about something else than the features, and a stand-in for AWS that excuses too much.
#[test]
fn what_was_forged_and_sealed_again_is_found() {
    let found = include_str!("forgeries.jsonl").lines().map(|line| {
        let run = SealedRun::sealed();
        let changes: Vec<(String, String, String, Json)> = serde_json::from_str(line).unwrap();
        changes.iter().for_each(|change| run.forge(change));
        // Sealing makes the statement again.
        if changes[0].0 != STATEMENT {
            run.seal(None);
        }
        let problems = run.findings().into_iter().map(|Finding { file, problem }| format!("  {file}: {problem}\n"));
        format!("{line}\n{}", problems.collect::<String>())
    });
    insta::assert_snapshot!("forgeries", found.collect::<String>());
}

#[test]
fn a_claim_that_was_added_taken_away_or_doubled_is_found() {
    let claims = |change: fn(&mut Vec<Json>)| {
        let run = SealedRun::sealed();
        run.change("verdicts.json", |verdicts| change(verdicts["claims"].as_array_mut().unwrap()));
        run.seal(None);
        run
    };
    let added = claims(|claims| {
        let mut more = claims[1].clone();
        more["id"] = "A9-9".into();
        claims.push(more);
    });
    added.names("verdicts.json", "A9-9: features/claims.toml has no such claim: it was added");
    claims(|claims| drop(claims.remove(1))).names("verdicts.json", "A2-2: is not there, though");
    claims(|claims| claims.push(claims[1].clone())).names("verdicts.json", "A2-2: is there twice");
}

#[test]
fn what_is_missing_cut_off_foreign_or_newer_is_told_and_nothing_panics() {
    let message = |name: &str, text: &[u8], file: &str, problem: &str| {
        let run = SealedRun::sealed();
        fs::write(run.path().join(name), text).unwrap();
        run.names(file, problem);
    };
    let whole = fs::read(SealedRun::sealed().path().join("verdicts.json")).unwrap();
    let half = &whole[..whole.len() / 2];
    message("verdicts.json", half, "verdicts.json", "nothing can be judged again: ");
    message("verdicts.json", half, "verdicts.json", "verdicts.json is not JSON");
    message("verdicts.json", b"{\"schema\":1}", "verdicts.json", "has layout 1, and this version reads 2");
    message("verdicts.json", b"[]", "verdicts.json", "has layout 0");
    message("run.json", b"{}", "verdicts.json", "run.json has layout 0, and this version reads 2");
    message("run.json", b"\xff", "verdicts.json", "run.json is not UTF-8 text: byte 0 is none");
    message("samples.jsonl", b"{\"id\":1}\n", "verdicts.json", "samples.jsonl:1: no sample: missing field");
    message("features/claims.toml", b"x", "features/claims.toml", "TOML parse error");
    message("features/a2_build.feature", b"x", "verdicts.json", "a2_build.feature is not a feature");
    message("features/deviations.toml", b"[[deviation]]", "features/deviations.toml", "missing field");
    message(STATEMENT, b"{", STATEMENT, "is not JSON");
    for name in ["verdicts.json", "run.json", "samples.jsonl", SUMS, STATEMENT, "features/claims.toml"] {
        let run = SealedRun::sealed();
        fs::remove_file(run.path().join(name)).unwrap();
        assert!(run.findings().iter().any(|finding| finding.file == name), "{name}: {:?}", run.findings());
    }
    let nowhere = verify(Path::new("/nowhere"), &Trust::default()).unwrap_err().to_string();
    assert!(nowhere.starts_with("cannot read /nowhere: name the folder of a run"), "{nowhere}");
}

/// Makes a key for a test, and a file that allows it.
fn key(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (key, allowed) = (folder.join(name), folder.join(format!("{name}.allowed")));
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    fs::write(&allowed, format!("{name}@example.org namespaces=\"{}\" {public}", attestation::NAMESPACE)).unwrap();
    (key, allowed)
}

#[test]
fn a_signature_counts_by_the_allowed_signers_and_for_this_statement_only() {
    let keys = tempfile::tempdir().unwrap();
    let (alice, allows_alice) = key(keys.path(), "alice");
    let run = SealedRun::sealed();
    let signature = |allowed: Option<&Path>| {
        let Verification { signature, findings, .. } =
            verify(run.path(), &Trust { allowed, ..Trust::default() }).unwrap();
        (signature, findings.into_iter().map(|finding| finding.problem).collect::<String>())
    };
    assert!(signature(Some(&allows_alice)).1.contains("there is none, and allowed signers are named"));
    run.seal(Some(&alice));
    assert!(signature(Some(Path::new("/nowhere"))).1.contains("cannot read the allowed signers in /nowhere"));
    // A correct statement, but not the signed one.
    run.change(STATEMENT, |statement| statement["predicate"]["url"] = "x".into());
    for allowed in [Some(allows_alice.as_path()), None] {
        let (_, wrong) = signature(allowed);
        assert!(wrong.contains("attestation.json.sig does not fit attestation.json"), "{wrong}");
    }
    let bundle = EvidenceBundle::open(run.path()).unwrap();
    let error = attestation::attest(&bundle, Some(&run.path().join("run.json"))).unwrap_err().to_string();
    assert!(error.contains("run.json does not sign: "), "{error}");
}
