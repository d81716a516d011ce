//! Tests the framework itself: falsifies a run's evidence in every way that is known to happen, one change at a time,
//! and checks that nothing falsified is reported as holding.

mod conclusions;
mod outputs;
mod plans;
mod samples;
mod scenarios;

use std::collections::BTreeMap;

use serde::Serialize;

use assay::claims::register::ClaimId;
use assay::evidence::ClaimResult;
use assay::evidence::bundle::EvidenceBundle;
use assay::evidence::sealed_plan::SealedPlan;
use assay::evidence::verify;
use assay::verdict::Verdict;

/// One falsification and its result.
#[derive(Clone, Debug)]
pub struct Mutant {
    pub claim: ClaimId,
    /// What was falsified: `memory.peak < 64 MiB`, `trials/hello-1.txt`, a control's scenario.
    pub what: String,
    /// How it was falsified: `over its bound`, `dropped`, …
    pub how: &'static str,
    /// Which one of its kind.
    pub which: String,
    /// The resulting verdict; `None` if the evidence could not even be read.
    pub verdict: Option<Verdict>,
    /// Whether it was reported as holding, or excused, although it must not be.
    pub survived: bool,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Score {
    pub mutants: usize,
    pub caught: usize,
    /// Those that survived, each in a sentence.
    pub survivors: Vec<String>,
    /// All mutants, for the list: by claim and by what was falsified, how, and the number of each result.
    #[serde(skip)]
    listed: BTreeMap<(ClaimId, String), Ways>,
}

/// How something was falsified, and the number of each result.
type Ways = BTreeMap<&'static str, BTreeMap<String, usize>>;

impl Score {
    fn of(mutants: Vec<Mutant>) -> Score {
        let mut score = Score { mutants: mutants.len(), ..Score::default() };
        for mutant in mutants {
            let Mutant { claim, what, how, which, verdict, survived } = mutant;
            let became = verdict.map_or("unreadable".to_owned(), |verdict| verdict.to_string());
            if survived {
                score.survivors.push(format!("{claim} {what}: {how}: {which}: {became}"));
            } else {
                score.caught += 1;
            }
            *score.listed.entry((claim, what)).or_default().entry(how).or_default().entry(became).or_default() += 1;
        }
        score
    }

    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut last = None;
        for ((claim, what), ways) in &self.listed {
            let shown = if last == Some(claim) { String::new() } else { claim.to_string() };
            last = Some(claim);
            text += &format!("{shown:<6} {what}\n");
            for (how, became) in ways {
                let became: Vec<String> = became.iter().map(|(verdict, n)| format!("{n} {verdict}")).collect();
                text += &format!("         {how:<28} {}\n", became.join(", "));
            }
        }
        for survivor in &self.survivors {
            text += &format!("SURVIVED {survivor}\n");
        }
        let share = 100.0 * self.caught as f64 / self.mutants.max(1) as f64;
        text + &format!(
            "{} mutants, {} caught, {} survived: {share:.1} %",
            self.mutants,
            self.caught,
            self.survivors.len()
        )
    }
}

pub fn selfcheck(bundle: &EvidenceBundle) -> anyhow::Result<Score> {
    let findings: Vec<String> =
        bundle.verdicts.claims.iter().flat_map(|claim| verify::findings_of(bundle, claim)).collect();
    anyhow::ensure!(
        findings.is_empty(),
        "the samples and features in {} do not bear out the verdicts beside them:\n{}",
        bundle.folder.path().display(),
        findings.join("\n")
    );
    let plan = SealedPlan::of(bundle)?;
    let mut mutants: Vec<Mutant> =
        bundle.verdicts.claims.first().map(|claim| plans::dropped(claim, &plan)).into_iter().collect();
    for claim in &bundle.verdicts.claims {
        let ids = claim.sample_ids();
        let mine: Vec<_> = bundle.samples.iter().filter(|sample| ids.contains(&sample.id)).cloned().collect();
        mutants.extend(samples::mutants(claim, &mine, bundle.verdicts.on));
        mutants.extend(samples::moved(claim, &mine, bundle.verdicts.on));
        mutants.extend(conclusions::mutants(claim, bundle.verdicts.on));
        mutants.extend(scenarios::mutants(claim, bundle));
        mutants.extend(plans::mutants(claim, &plan, bundle));
        mutants.extend(outputs::mutants(claim, &mine, bundle)?);
    }
    Ok(Score::of(mutants))
}

/// Returns whether a claim with this verdict counts as holding or excused.
fn accepted(claim: &ClaimResult) -> bool {
    matches!(claim.verdict, Verdict::Holds | Verdict::KnownDeviation)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use assay::claims::suite::ClaimSuite;
    use assay::evidence::exit;
    use assay::evidence::merge::{Merged, Part};
    use assay::evidence::verdicts::problems;
    use assay::report::sentence;
    use assay::verdict::{Phase, Reason, Rule};

    fn recorded() -> EvidenceBundle {
        EvidenceBundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/selfcheck")).unwrap()
    }

    #[test]
    fn no_verdict_exit_status_merged_bundle_or_mutant_depends_on_a_sentence() {
        let all = || {
            let bundle = recorded();
            let claims = bundle.verdicts.claims.iter();
            let claims: Vec<ClaimResult> =
                claims.map(|claim| claim.again(&bundle.samples, bundle.verdicts.on)).collect();
            let score = selfcheck(&bundle).unwrap();
            let plan = ClaimSuite::read(bundle.folder.path()).unwrap();
            let problems = problems(&claims, &plan.deviations, "2028-01-01".parse().unwrap());
            let exit = [exit(&claims, &[]), exit(&claims, &problems)];
            let part = Part::of(bundle).unwrap();
            let merged = Merged::of("whole".to_owned(), &["ec2".to_owned()], vec![part]).unwrap();
            let sentences: Vec<String> = claims.iter().map(sentence::claim).collect();
            (
                serde_json::to_string(&claims).unwrap(),
                problems,
                exit,
                score,
                merged.verdicts().unwrap(),
                merged.exit,
                sentences,
            )
        };
        let (usual, replaced) = (all(), sentence::replaced(all));
        assert!(replaced.6.iter().all(|sentence| sentence == "blah") && !usual.6.contains(&"blah".to_owned()));
        assert_eq!(
            (usual.0, usual.1, usual.2, usual.4, usual.5),
            (replaced.0, replaced.1, replaced.2, replaced.4, replaced.5)
        );
        let results = |score: Score| (score.mutants, score.caught, score.survivors, score.listed);
        assert_eq!(results(usual.3), results(replaced.3));
    }

    /// What ended a scenario is stored with its own text.
    #[test]
    fn no_verdict_or_exit_status_depends_on_a_stored_message() {
        let with = |during: Phase, message: &str| {
            let mut bundle = recorded();
            let on = bundle.verdicts.on;
            for claim in &mut bundle.verdicts.claims {
                for attempt in claim.scenarios.iter_mut().flat_map(|scenario| &mut scenario.attempts) {
                    attempt.error = Some(Reason::Infrastructure { during, message: message.to_owned() });
                }
                *claim = claim.again(&bundle.samples, on);
            }
            let claims = &bundle.verdicts.claims;
            (claims.iter().map(|claim| (claim.id, claim.verdict)).collect::<Vec<_>>(), exit(claims, &[]))
        };
        for during in [Phase::Start, Phase::Limit, Phase::Log, Phase::Paste, Phase::Step] {
            assert_eq!(with(during, "no cpu controller on the machine"), with(during, "blah"), "{during:?}");
            assert_ne!(with(during, "blah").1, exit(&recorded().verdicts.claims, &[]), "{during:?}");
        }
    }

    #[test]
    fn a_check_that_lets_something_false_pass_has_a_survivor() {
        let mut bundle = recorded();
        let on = bundle.verdicts.on;
        let claim = bundle.verdicts.claims.iter_mut().find(|claim| claim.id.to_string() == "A7-5").unwrap();
        let attempts = claim.scenarios.iter_mut().flat_map(|scenario| &mut scenario.attempts);
        for judged in attempts.flat_map(|attempt| &mut attempt.checks) {
            judged.check.rule = Rule::AtLeast { bound: 190.0 * 1024.0 * 1024.0 };
        }
        *claim = claim.again(&bundle.samples, on);
        let score = selfcheck(&bundle).unwrap();
        assert!(score.caught < score.mutants);
        assert!(score.survivors.iter().all(|one| one.starts_with("A7-5 memory.available ≥ 190 MiB: off by")));
        assert!(score.render().contains("SURVIVED A7-5"), "{}", score.render());
    }
}
