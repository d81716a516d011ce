use std::path::Path;

use super::*;
use crate::verdict::Judged;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/selfcheck");

fn recorded() -> EvidenceBundle {
    EvidenceBundle::open(Path::new(RECORDED)).unwrap()
}

/// Changes the values of a probe in a run, judges it again, and returns the claims that do not agree with the first run.
fn others(margins: &[(&str, Margin)], change: impl Fn(&mut Sample)) -> Vec<String> {
    let first = recorded();
    let mut second = recorded();
    second.samples.iter_mut().for_each(change);
    let on = second.verdicts.on;
    let claims = second.verdicts.claims.iter().map(|claim| claim.again(&second.samples, on)).collect();
    second.verdicts.claims = claims;
    let mut register: Vec<Claim> = register().iter().cloned().collect();
    for claim in &mut register {
        claim.margin = margins.iter().find(|(id, _)| *id == claim.id.to_string()).map(|(_, margin)| *margin);
    }
    let shown = |claim: &ClaimResult| {
        let (before, row) = (first.verdicts.claims.iter(), register.iter().find(|row| row.id == claim.id)?);
        let before = before.into_iter().find(|before| before.id == claim.id)?;
        let (agreement, because) = compare(row, (before, &first.samples), (claim, &second.samples));
        let judged = before.verdict != Verdict::NotRun && agreement != Agreement::Agrees;
        judged.then(|| format!("{} {agreement:?}: {because}", claim.id))
    };
    second.verdicts.claims.iter().filter_map(shown).collect()
}

fn register() -> Register {
    Register::parse(&recorded().folder.text("features/claims.toml").unwrap()).unwrap()
}

fn times(factor: f64, probe: &'static str) -> impl Fn(&mut Sample) {
    move |sample| {
        if let (true, Value::Number(number)) = (sample.probe == probe, &mut sample.value) {
            // Bytes are whole.
            *number = (*number * factor).round();
        }
    }
}

#[test]
fn the_same_figures_agree_and_a_changed_one_disagrees_alone() {
    let size = [("A2-2", Margin::Share(0.05))];
    assert_eq!(others(&size, |_| ()), Vec::<String>::new());
    assert_eq!(others(&size, times(1.04, "module.size")), Vec::<String>::new());
    let larger = "A2-2 Disagrees: module.size is 87.1 kB and was 81.4 kB; the margin is 4.1 kB";
    assert_eq!(others(&size, times(1.07, "module.size")), [larger]);
    // Outside its bound, too.
    assert_eq!(others(&size, times(2.0, "module.size")), ["A2-2 Disagrees: the verdicts differ"]);
}

#[test]
fn another_image_disagrees_where_its_digest_is_checked() {
    let other = others(&[], |sample| {
        if let (true, Value::Text(text)) = (sample.probe.ends_with(".digest"), &mut sample.value) {
            *text = text.replace("sha256:45", "sha256:54");
        }
    });
    assert!(other.iter().all(|one| one.starts_with("A4-3 ")) && other.len() == 1, "{other:?}");
}

#[test]
fn what_varies_more_than_the_margin_cannot_be_told_from_another_figure() {
    let margin = |share| [("A7-4", Margin::Share(share))];
    let wide = others(&margin(0.5), times(1.01, "memory.guest"));
    assert_eq!(wide, Vec::<String>::new());
    let narrow = others(&margin(0.0001), times(1.001, "memory.guest"));
    assert!(narrow.len() == 1 && narrow[0].starts_with("A7-4 CannotSay: memory.guest is"), "{narrow:?}");
    let far = others(&margin(0.01), times(1.1, "memory.guest"));
    assert!(far.len() == 1 && far[0].starts_with("A7-4 Disagrees: memory.guest is"), "{far:?}");
}

#[test]
fn what_was_judged_in_one_run_only_or_by_another_bound_cannot_be_compared() {
    let (first, mut second) = (recorded(), recorded());
    for claim in &mut second.verdicts.claims {
        match claim.id.to_string().as_str() {
            "A2-1" => claim.verdict = Verdict::Inconclusive,
            "A2-2" => claim.bound = "< 80 KB".to_owned(),
            "A3-1" => claim.scenarios.clear(),
            "A3-3" => {
                let attempts = claim.scenarios.iter_mut().flat_map(|scenario| &mut scenario.attempts);
                let check = |Judged { check, .. }: &mut Judged| check.rule = Rule::AtLeast { bound: 1.0 };
                attempts.flat_map(|attempt| &mut attempt.checks).take(1).for_each(check);
            }
            _ => {}
        }
    }
    second.verdicts.claims.retain(|claim| claim.id.to_string() != "A3-2");
    let replication = Replication::of(&first, &second).unwrap();
    let open = replication.claims.iter().filter(|claim| claim.agreement != Agreement::Agrees);
    let open: Vec<_> = open.map(|claim| (claim.id.to_string(), claim.agreement, claim.because.as_str())).collect();
    let expected = [
        ("A2-1", "it was not judged in both"),
        ("A2-2", "it was judged by another bound"),
        ("A3-1", "image.platform was not checked again"),
        ("A3-2", "the second run has no such claim"),
        ("A3-3", "it was judged by another bound"),
    ];
    assert_eq!(open, expected.map(|(id, because)| (id.to_owned(), Agreement::CannotSay, because)));
    assert!(!replication.disagrees() && !replication.says_nothing());
}

#[test]
fn it_is_reproduced_on_the_same_platform_and_replicated_on_another() {
    let (first, mut second) = (recorded(), recorded());
    let of = |second: &EvidenceBundle| Replication::of(&first, second).unwrap();
    assert!(of(&second).same_platform && of(&second).differences.is_empty());
    assert!(of(&second).render().contains("reproduced on the same platform by run"));
    second.run["image"]["digest"] = "sha256:0".into();
    assert!(of(&second).same_platform && of(&second).differences[0].starts_with("the image differs: sha256:"));
    second.run["host"]["cpu"] = "another".into();
    assert!(!of(&second).same_platform && of(&second).render().contains("replicated on another platform"));
}

#[test]
fn the_statement_is_about_the_first_run_and_fits_the_second() {
    use crate::evidence::verify::tests::SealedRun;
    let (one, two) = (SealedRun::sealed(), SealedRun::sealed());
    let open = |run: &SealedRun| EvidenceBundle::open(run.path()).unwrap();
    let (first, second) = (open(&one), open(&two));
    let replication = Replication::of(&first, &second).unwrap();
    leave(&replication, &first, &second, None).unwrap();
    assert_eq!(two.findings(), []);
    let statement: Json = serde_json::from_str(&second.folder.text(REPLICATION).unwrap()).unwrap();
    let sums = sha256_of(first.folder.reader(SUMS).unwrap()).unwrap();
    assert_eq!(statement["subject"][0]["digest"]["sha256"], sums.as_str());
    assert_eq!(statement["predicate"]["result"], "PASSED");
    two.change(REPLICATION, |statement| statement["predicate"]["result"] = "WARNED".into());
    two.seal(None);
    two.names(REPLICATION, "it is not the statement that follows from this run");
}
