//! Checks a merged bundle: each part, and whether the merged files match the parts.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value as Json;

use super::{Finding, Trust, Verification, agreement, one_run, sealed};
use crate::evidence::bundle::SandboxedDir;
use crate::evidence::merge::{Merged, PARTS, is_part_name};

/// Checks each part as a run, and the merged files.
pub(super) fn merged(folder: &SandboxedDir, parts: &[String], trust: &Trust) -> anyhow::Result<Verification> {
    let mut verification = sealed(folder);
    verification.sealed = true;
    let mut signatures = BTreeSet::new();
    let names: BTreeSet<&String> = parts.iter().filter(|name| is_part_name(name)).collect();
    for name in names {
        let place = format!("{PARTS}/{name}");
        // A part is one run: a merged one could hold itself.
        match folder.folder(&place).map(|part| one_run(&part, trust)) {
            Ok(Verification { agrees, findings, sealed, signature, signed, .. }) => {
                verification.sealed &= sealed;
                verification.agrees.extend(agrees.into_iter().map(|sentence| format!("{place}: {sentence}")));
                verification.findings.extend(
                    findings.into_iter().map(|found| Finding::new(&format!("{place}/{}", found.file), found.problem)),
                );
                signatures.insert((signature, signed));
            }
            Err(error) => verification.findings.push(Finding::new(&place, format!("{error:#}"))),
        }
    }
    verification.take(strangers(folder, parts), || {
        format!("{PARTS}/ has the {} parts of run.json, and no others", parts.len())
    });
    match Merged::open(folder.path()) {
        Ok(merged) => {
            let stored = |name: &str| folder.text(name).ok().and_then(|text| serde_json::from_str::<Json>(&text).ok());
            let printed = compare("verdicts.json", stored("verdicts.json"), &merged.verdicts()?);
            let entries: usize = merged.columns.iter().map(|column| column.verdicts.claims.len()).sum();
            verification.take(printed, || format!("all {entries} entries of verdicts.json are what the parts say"));
            let facts = compare("run.json", stored("run.json"), &merged.facts());
            verification.take(facts, || "run.json is what the parts come to".to_owned());
        }
        Err(error) => {
            verification.findings.push(Finding::new("run.json", format!("its parts make no whole: {error:#}")))
        }
    }
    let all: Vec<&str> = signatures.iter().map(|(signature, _)| signature.as_str()).collect();
    (verification.signature, verification.signed) = match signatures.first() {
        Some(only) if all.len() == 1 => only.clone(),
        _ => (format!("its parts differ: {}", all.join("; ")), false),
    };
    Ok(verification)
}

/// Finds entries of the parts' folder that `run.json` does not list.
fn strangers(folder: &SandboxedDir, parts: &[String]) -> Vec<Finding> {
    let inside = fs::read_dir(folder.path().join(PARTS)).into_iter().flatten().flatten();
    let names = inside.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let strange = names.filter(|name| !parts.contains(name));
    strange.map(|name| Finding::new(&format!("{PARTS}/{name}"), "it is there, but run.json has no such part")).collect()
}

/// Compares a merged file with what its parts give; names the target of a claim that differs.
fn compare(file: &str, stored: Option<Json>, fresh: &Json) -> Vec<Finding> {
    let Some(stored) = stored else { return vec![Finding::new(file, "it is missing, or no JSON")] };
    let claims = |json: &Json| json.get("claims").and_then(Json::as_array).cloned().unwrap_or_default();
    let (old, new) = (claims(&stored), claims(fresh));
    let differs = |(old, new): (&Json, &Json)| {
        let sentence = agreement::difference(old, new)?.sentence;
        let [id, target, part] = ["id", "target", "part"].map(|name| new[name].as_str().unwrap_or_default());
        Some(Finding::new(file, format!("{id} on {target}: {sentence} by {PARTS}/{part}")))
    };
    let findings: Vec<Finding> = old.iter().zip(&new).filter_map(differs).collect();
    if !findings.is_empty() {
        return findings;
    }
    let elsewhere = agreement::difference(&stored, fresh);
    elsewhere.map(|difference| Finding::new(file, difference.sentence)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{SealedRun, claim};
    use super::super::{Trust, verify};
    use super::*;
    use crate::evidence::checksums;
    use crate::report::finalize::Rebuilt;
    use crate::report::finalize::merged::{check_space, read, rebuild, write_merged};

    /// Merges two recorded runs on two targets.
    fn merged() -> SealedRun {
        let runs = ["vm:amd64", "vm:arm64"].map(|target| {
            let run = SealedRun::sealed();
            let name = format!("run-on-{target}");
            run.change("run.json", |json| {
                json["run"] = json!(name);
                json["target"] = json!(target);
            });
            run.change("verdicts.json", |json| json["run"] = json!(name));
            run.seal(None);
            run
        });
        let parts = read(&runs.each_ref().map(|run| run.folder.clone())).unwrap();
        let whole = SealedRun::within(tempfile::tempdir().unwrap());
        check_space(&parts, whole.path()).unwrap();
        write_merged(&Merged::of("whole".to_owned(), &[], parts).unwrap(), whole.path()).unwrap();
        whole
    }

    /// Changes a file of the whole, and seals it again to hide the change.
    fn change(whole: &SealedRun, name: &str, change: impl FnOnce(&mut Json)) {
        whole.change(name, change);
        checksums::seal(&SandboxedDir::open(whole.path()).unwrap()).unwrap();
    }

    #[test]
    fn an_unchanged_bundle_agrees_and_its_reports_are_made_again_to_the_byte() {
        let whole = merged();
        let verification = verify(whole.path(), &Trust::default()).unwrap();
        assert_eq!((verification.findings, verification.verified), (vec![], true));
        assert!(
            verification.agrees.iter().any(|printed| printed.starts_with("parts/vm-arm64: every check, statistic"))
        );
        assert_eq!(rebuild(whole.path()).unwrap(), Rebuilt::Same);
        fs::remove_file(whole.path().join("junit.xml")).unwrap();
        whole.names("junit.xml", "is missing");
        assert_eq!(rebuild(whole.path()).unwrap(), Rebuilt::Closed);
        assert_eq!(whole.findings(), []);
    }

    #[test]
    fn what_was_changed_in_the_whole_is_named_with_its_target() {
        let whole = merged();
        change(&whole, "verdicts.json", |json| claim(json, "A7-1")["verdict"] = json!("holds"));
        let printed =
            "A7-1 on vm:amd64: /verdict is stored as \"holds\", and comes to \"known-deviation\" by parts/vm-amd64";
        whole.names("verdicts.json", printed);
        change(&whole, "verdicts.json", |json| json["claims"] = json!([]));
        whole.names("verdicts.json", "/claims/0 is stored as nothing");
        change(&whole, "run.json", |json| json["parts"][0]["shard"] = json!("1/2"));
        whole.names("run.json", "/parts/0/shard is stored as \"1/2\"");
        change(&whole, "run.json", |json| drop(json["parts"].as_array_mut().unwrap().remove(0)));
        whole.names("parts/vm-amd64", "it is there, but run.json has no such part");
        change(&whole, "run.json", |json| json["parts"][0]["name"] = json!("../../x"));
        whole.names("run.json", "\"../../x\" is not a name of a part");
        change(&whole, "run.json", |json| json["parts"][0]["name"] = json!("gone"));
        whole.names("parts/gone", "cannot read");
    }

    #[test]
    fn a_part_that_is_there_twice_or_is_the_whole_again_is_refused() {
        let whole = merged();
        change(&whole, "run.json", |json| json["parts"][0] = json["parts"][1].clone());
        whole.names("run.json", "\"vm-arm64\" is not a name of a part");
        let part = whole.path().join("parts/vm-arm64");
        fs::copy(whole.path().join("run.json"), part.join("run.json")).unwrap();
        whole.names("parts/vm-arm64/verdicts.json", "is merged of several runs");
        fs::remove_dir_all(&part).unwrap();
        std::os::unix::fs::symlink(whole.path(), &part).unwrap();
        whole.names("parts/vm-arm64", "is a symbolic link");
    }

    #[test]
    fn a_verdict_that_was_changed_in_a_part_is_found_there_and_in_the_whole() {
        let whole = merged();
        change(&whole, "parts/vm-arm64/verdicts.json", |json| claim(json, "A2-2")["verdict"] = json!("fails"));
        whole.names("parts/vm-arm64/verdicts.json", "changed since it was sealed");
        whole.names("parts/vm-arm64/verdicts.json", "A2-2: stored as \"fails\", but");
        whole.names("verdicts.json", "A2-2 on vm:arm64: /verdict is stored as \"holds\", and comes to \"fails\"");
        let part = whole.path().join("parts/vm-arm64");
        let error = read(std::slice::from_ref(&part)).unwrap_err().to_string();
        assert!(error.contains("is not what was sealed: verdicts.json"), "{error}");
        fs::write(part.join("more"), "").unwrap();
        let error = rebuild(whole.path()).unwrap_err().to_string();
        assert!(error.contains("so nothing is written there: parts/vm-arm64/more"), "{error}");
    }
}
