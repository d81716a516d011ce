//! Writes, signs and checks a statement about a run's evidence: in-toto, with SSH keys.
//!
//! The statement is in in-toto's format (<https://in-toto.io/Statement/v1>) with the predicate "test result"
//! (<https://in-toto.io/attestation/test-result/v0.1>). It is signed by OpenSSH (`ssh-keygen -Y`), so that people can
//! use the keys they have, even in an agent or on a token, and check it with the tools they have.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::{Value as Json, json};

use crate::base::digest::sha256_of;
use crate::evidence::bundle::{EvidenceBundle, SandboxedDir};
use crate::evidence::checksums::{SIGNATURE, STATEMENT, SUMS};
use crate::evidence::sealed_plan::PLAN;
use crate::verdict::Verdict;

/// The signature's namespace: signatures for other purposes are rejected.
pub const NAMESPACE: &str = "assay";
const PROGRAM: &str = "ssh-keygen";

/// Makes the statement about a sealed run. Its subjects are the checksums, the plan, the image and the commit that was run.
///
/// The result is `PASSED` only if every claim was judged and holds, `WARNED` if some were not run or are declared
/// deviations, and `FAILED` if a claim fails, could not be judged, or the run was not completed.
pub fn statement(bundle: &EvidenceBundle) -> anyhow::Result<Json> {
    let sha256 = |name: &str| -> anyhow::Result<String> {
        sha256_of(bundle.folder.reader(name)?).with_context(|| format!("cannot read {name}"))
    };
    let mut subjects = vec![json!({ "name": SUMS, "digest": { "sha256": sha256(SUMS)? } })];
    if bundle.folder.file(PLAN).is_ok() {
        subjects.push(json!({ "name": PLAN, "digest": { "sha256": sha256(PLAN)? } }));
    }
    let text = |pointer: &str| bundle.run.pointer(pointer).and_then(Json::as_str);
    if let Some(digest) = text("/image/digest").and_then(|digest| digest.strip_prefix("sha256:")) {
        let name = text("/image/name").unwrap_or("image");
        subjects.push(json!({ "name": name, "digest": { "sha256": digest } }));
    }
    if let Some(commit) = text("/git/commit") {
        let changed = bundle.run.pointer("/git/changed").and_then(Json::as_bool).unwrap_or(true);
        subjects.push(json!({
            "name": "assay", "digest": { "gitCommit": commit }, "annotations": { "uncommittedChanges": changed },
        }));
    }
    let mut configuration = Vec::new();
    for name in bundle.folder.names()?.iter().filter(|name| name.starts_with("features/")) {
        configuration.push(json!({ "name": name, "digest": { "sha256": sha256(name)? } }));
    }
    let claims = &bundle.verdicts.claims;
    let those = |wanted: &[Verdict]| -> Vec<String> {
        claims.iter().filter(|claim| wanted.contains(&claim.verdict)).map(|claim| claim.id.to_string()).collect()
    };
    let result = match (bundle.verdicts.exit, bundle.verdicts.complete) {
        (0, true) if claims.iter().all(|claim| claim.verdict == Verdict::Holds) => "PASSED",
        (0, true) => "WARNED",
        _ => "FAILED",
    };
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {
            "result": result,
            "configuration": configuration,
            "passedTests": those(&[Verdict::Holds]),
            "warnedTests": those(&[Verdict::KnownDeviation, Verdict::NotRun]),
            "failedTests": those(&[Verdict::Fails, Verdict::Inconclusive]),
        },
    }))
}

pub fn text(statement: &Json) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(statement)? + "\n")
}

/// Writes the statement, and signs it if a key is given. Removes an existing signature.
pub fn attest(bundle: &EvidenceBundle, key: Option<&Path>) -> anyhow::Result<()> {
    let text = text(&statement(bundle)?)?;
    let path = bundle.folder.path().join(STATEMENT);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let signature = bundle.folder.path().join(SIGNATURE);
    if let Err(error) = std::fs::remove_file(&signature)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot remove {}", signature.display()));
    }
    match key {
        Some(key) => sign(&path, key),
        None => Ok(()),
    }
}

/// Checks before a run whether a key could sign.
pub fn can_sign(key: &Path) -> anyhow::Result<()> {
    File::open(key)
        .with_context(|| format!("cannot read the signing key {}: name an SSH key's file", key.display()))?;
    // It has no harmless option: with this one it prints its usage and fails.
    Command::new(PROGRAM).arg("-?").output().map(drop).map_err(missing)
}

fn missing(error: std::io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot start {PROGRAM}: {error}: install OpenSSH's client (Debian: openssh-client), 8.2 or newer")
}

/// Signs a file; the signature lies beside it. It inherits the terminal, because it may ask for a passphrase.
pub fn sign(path: &Path, key: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(PROGRAM);
    command.args(["-Y", "sign", "-q", "-n", NAMESPACE, "-f"]).arg(key).arg(path);
    let output = command.stdin(Stdio::inherit()).output().map_err(missing)?;
    let printed = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{} does not sign: {}", key.display(), printed.trim());
    Ok(())
}

/// Describes who signed a file: a name from the file of allowed signers (`ssh-keygen`'s `ALLOWED SIGNERS`), or
/// an unknown key if no such file is given.
pub fn signer(folder: &SandboxedDir, file: &str, allowed: Option<&Path>) -> anyhow::Result<String> {
    let (name, file) = (format!("{file}.sig"), folder.file(file)?);
    let (signed, signature) = (file.file_name().unwrap_or_default().display().to_string(), folder.file(&name)?);
    let fits = |command: &mut Command| -> anyhow::Result<String> {
        let text = File::open(&file).with_context(|| format!("cannot read {signed}"))?;
        let answer = command.args(["-n", NAMESPACE, "-s"]).arg(&signature).stdin(text).output().map_err(missing)?;
        let printed = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).trim().to_owned();
        anyhow::ensure!(answer.status.success(), "{name} does not fit {signed}: {printed}");
        Ok(printed)
    };
    let Some(allowed) = allowed else {
        let printed = fits(Command::new(PROGRAM).args(["-Y", "check-novalidate"]))?;
        return Ok(format!("signed by a key of no allowed signer (name --allowed-signers FILE): {printed}"));
    };
    // It may be a pipe and is needed twice, so it is read once.
    let signers = std::fs::read(allowed);
    let signers = signers.with_context(|| format!("cannot read the allowed signers in {}", allowed.display()))?;
    let mut copy = tempfile::NamedTempFile::new().context("cannot copy the allowed signers")?;
    copy.write_all(&signers).context("cannot copy the allowed signers")?;
    let mut find = Command::new(PROGRAM);
    find.args(["-Y", "find-principals", "-s"]).arg(&signature).arg("-f").arg(copy.path());
    let found = find.stdin(Stdio::null()).output().map_err(missing)?;
    let names = String::from_utf8_lossy(&found.stdout).into_owned();
    let mut last = anyhow::anyhow!(
        "{name} is by no signer in {}: {}",
        allowed.display(),
        String::from_utf8_lossy(&found.stderr).trim()
    );
    for who in names.lines().filter(|_| found.status.success()) {
        match fits(Command::new(PROGRAM).args(["-Y", "verify", "-I", who, "-f"]).arg(copy.path())) {
            Ok(printed) => return Ok(format!("signed by {who}: {printed}")),
            Err(error) => last = error,
        }
    }
    Err(last)
}
