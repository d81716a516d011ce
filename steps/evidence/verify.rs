//! Checks a run's folder without trusting its verdicts: it uses only the folder's contents and needs no machine.

mod agreement;
mod merged;
mod origin;
mod planned;
mod reread;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value as Json;

use crate::base::platform::MachineKind;
use crate::evidence::ClaimResult;
use crate::evidence::attestation;
use crate::evidence::bundle::{self, EvidenceBundle, SandboxedDir};
use crate::evidence::checksums::{self, Finding, SIGNATURE, STATEMENT, SUMS};
use crate::evidence::replication::{self, REPLICATION};
use crate::evidence::sealed_plan::PLAN;

pub use planned::findings_of as differences_from_plan;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Verification {
    pub schema: u32,
    pub verified: bool,
    /// A sentence for each thing that agrees.
    pub agrees: Vec<String>,
    /// A finding for each thing that does not.
    pub findings: Vec<Finding>,
    /// Whether it was sealed before it was measured: it has a plan.
    pub sealed: bool,
    /// Who signed the statement, or why that is not known.
    pub signature: String,
    /// Whether its signature counts.
    pub signed: bool,
}

impl Verification {
    /// Adds findings, or this sentence if there are none.
    fn take(&mut self, findings: Vec<Finding>, sentence: impl FnOnce() -> String) {
        match findings.is_empty() {
            true => self.agrees.push(sentence()),
            false => self.findings.extend(findings),
        }
    }

    pub fn render(&self, path: &Path) -> String {
        let mut text: String = self.agrees.iter().map(|sentence| format!("✔ {sentence}\n")).collect();
        for Finding { file, problem } in &self.findings {
            text += &format!("✘ {file}: {problem}\n");
        }
        if !self.sealed {
            text += &format!("– not sealed before it was measured: it has no {PLAN}\n");
        }
        text += &format!("{} {}\n", if self.signed { "✔" } else { "–" }, self.signature);
        text + &match self.findings.len() {
            0 => format!("{}: everything agrees", path.display()),
            1 => format!("{}: 1 check failed", path.display()),
            n => format!("{}: {n} checks failed", path.display()),
        }
    }
}

/// What a verification relies on besides the folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trust<'a> {
    /// The file of allowed signers.
    pub allowed: Option<&'a Path>,
    /// The certificates of the time-stamp server's authority.
    pub authority: Option<&'a Path>,
    /// Whether the runs before it in the same folder must be there.
    pub history: bool,
}

/// Checks a run's folder: its checksums; that its verdicts follow from its samples and match its claims, scenarios and
/// declarations; that it was judged as planned before; its statement; and its signature, by the allowed signers if given.
/// In a merged bundle, checks each part the same way, and that the merged verdicts are those of the parts.
pub fn verify(path: &Path, trust: &Trust) -> anyhow::Result<Verification> {
    let folder = SandboxedDir::open(path)?;
    let mut verification = match bundle::parts(&folder) {
        Some(parts) => merged::merged(&folder, &parts, trust)?,
        None => one_run(&folder, trust),
    };
    verification.verified = verification.findings.is_empty();
    Ok(verification)
}

/// Describes what is wrong with a claim's record: what does not follow from the samples of a bundle, or does not match its
/// features.
pub fn findings_of(bundle: &EvidenceBundle, record: &ClaimResult) -> Vec<String> {
    let findings = origin::findings_of(bundle, record).into_iter().map(|problem| format!("{}: {problem}", record.id));
    agreement::difference_of(bundle, record).into_iter().chain(findings).collect()
}

fn one_run(folder: &SandboxedDir, trust: &Trust) -> Verification {
    let mut verification = sealed(folder);
    match EvidenceBundle::open(folder.path()) {
        Ok(bundle) => {
            let (samples, claims) = (bundle.samples.len(), bundle.verdicts.claims.len());
            verification.take(agreement::findings(&bundle), || {
                format!(
                    "every check, statistic, control and verdict of {claims} claims follows from the {samples} samples, as \
                     verdicts.json has it"
                )
            });
            let (reread, strange) = reread::findings(&bundle);
            verification
                .take(strange, || format!("{reread} samples of watched runs are what the texts in trials/ say"));
            let (right, wrong) = reread::differences(&bundle);
            if right + wrong.len() > 0 {
                verification.take(wrong, || format!("{right} differences in quadlets/ are those between the Quadlets"));
            }
            verification.take(origin::findings(&bundle), || {
                let kinds = kinds(&bundle);
                format!("the claims, scenarios, controls and declarations are those in features/{kinds}")
            });
            verification.sealed = folder.file(PLAN).is_ok();
            match planned::check(&bundle, trust) {
                Ok(sentence) => verification.agrees.extend(sentence),
                Err(findings) => verification.findings.extend(findings),
            }
            if trust.history {
                match planned::history(&bundle, folder.path()) {
                    Ok(sentence) => verification.agrees.push(sentence),
                    Err(error) => verification.findings.push(Finding::new(PLAN, format!("{error:#}"))),
                }
            }
            match replication::check(&bundle) {
                Some(Ok(sentence)) => verification.agrees.push(sentence),
                Some(Err(error)) => verification.findings.push(Finding::new(REPLICATION, format!("{error:#}"))),
                None => {}
            }
            let stated = statement(&bundle);
            verification.take(stated, || format!("{STATEMENT} is about these checksums, this image and this commit"));
        }
        Err(error) => {
            verification.findings.push(Finding::new("verdicts.json", format!("nothing can be judged again: {error:#}")))
        }
    }
    match (folder.file(SIGNATURE).is_ok(), trust.allowed) {
        (false, None) => verification.signature = "not signed: the bundle's origin cannot be verified".to_owned(),
        (false, Some(_)) => {
            verification.signature = "not signed".to_owned();
            verification.findings.push(Finding::new(SIGNATURE, "there is none, and allowed signers are named"));
        }
        (true, allowed) => match attestation::signer(folder, STATEMENT, allowed) {
            Ok(signer) => (verification.signature, verification.signed) = (signer, true),
            Err(error) => {
                verification.signature = "the signature does not count".to_owned();
                verification.findings.push(Finding::new(SIGNATURE, format!("{error:#}")));
            }
        },
    }
    verification
}

/// Says how many claims were run on which kind of machine.
fn kinds(bundle: &EvidenceBundle) -> String {
    let mut counts = BTreeMap::<MachineKind, usize>::new();
    for kind in bundle.verdicts.claims.iter().filter_map(ClaimResult::kind) {
        *counts.entry(kind).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(kind, count)| format!("{count} on {kind}")).collect();
    if counts.is_empty() { String::new() } else { format!(", run where planned: {}", counts.join(", ")) }
}

/// Checks a folder's checksums, and begins with them.
fn sealed(folder: &SandboxedDir) -> Verification {
    let mut verification = Verification { schema: 1, ..Verification::default() };
    match checksums::check(folder) {
        Ok((files, broken)) => {
            verification.take(broken, || format!("all {files} files are as {SUMS} has them, and there are no others"));
        }
        Err(error) if folder.file(SUMS).is_err() => verification.findings.push(Finding::new(
            SUMS,
            format!("missing: the run was killed before it was sealed, or the file was removed ({error:#})"),
        )),
        Err(error) => verification.findings.push(Finding::new(SUMS, format!("{error:#}"))),
    }
    verification
}

fn statement(bundle: &EvidenceBundle) -> Vec<Finding> {
    let text = bundle.folder.text(STATEMENT);
    let stored = text.and_then(|text| serde_json::from_str(&text).context(format!("{STATEMENT} is not JSON")));
    let stored: Json = match stored {
        Ok(stored) => stored,
        Err(error) => return vec![Finding::new(STATEMENT, format!("{error:#}"))],
    };
    // A missing file is already reported with the checksums.
    let Ok(fresh) = attestation::statement(bundle) else { return Vec::new() };
    let Some(difference) = agreement::difference(&stored, &fresh) else {
        let same = bundle.folder.text(STATEMENT).ok() == attestation::text(&fresh).ok();
        let unlike = Finding::new(STATEMENT, "it says what it should, but not to the byte: it was changed");
        return if same { Vec::new() } else { vec![unlike] };
    };
    let subject = difference.path.strip_prefix("/subject/").and_then(|rest| rest.split('/').next());
    let name = subject.and_then(|place| fresh.pointer(&format!("/subject/{place}/name"))).and_then(Json::as_str);
    let Some(name) = name else { return vec![Finding::new(STATEMENT, difference.sentence)] };
    let problem = format!("its subject {name} is another: {}", difference.sentence);
    let mut findings = vec![Finding::new(STATEMENT, problem)];
    if name == SUMS {
        findings.push(Finding::new(SUMS, format!("it is not the one that {STATEMENT} is about")));
    }
    findings
}

#[cfg(test)]
pub(super) mod tests;
