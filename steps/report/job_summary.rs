//! Writes `summary.md`: a run on one page of Markdown, for the page that a CI job shows.

use serde_json::Value as Json;

use super::console::{self, controls, counts, falls_short, grouped, ids, mark, measured, published};
use super::sentence;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::{ClaimResult, Verdicts};
use crate::verdict::declared::Problem;
use crate::verdict::{Reason, Verdict};

/// The maximum size of a page, in bytes: GitHub shows nothing of a page that is larger than 1 MiB.
const LARGEST: usize = (1 << 20) - 1024;
/// How much of a value is shown, in characters; all of it is in the evidence.
const LONGEST: usize = 1000;
/// The facts about host and machine that are shown, with their pointers into `run.json`.
const FACTS: [(&str, &str); 16] = [
    ("run", "/run"),
    ("started", "/started"),
    ("ended", "/ended"),
    ("target", "/target"),
    ("platform", "/platform"),
    ("image", "/image/name"),
    ("image's digest", "/image/digest"),
    ("machine", "/machine/distribution"),
    ("machine's kernel", "/machine/kernel"),
    ("accelerator", "/machine/accelerator"),
    ("podman", "/machine/podman"),
    ("crun", "/machine/crun"),
    ("WasmEdge", "/machine/wasmedge"),
    ("systemd", "/machine/systemd"),
    ("host", "/host/distribution"),
    ("commit", "/git/commit"),
];

pub fn job_summary(bundle: &EvidenceBundle) -> anyhow::Result<Vec<u8>> {
    let verdicts = &bundle.verdicts;
    let parts = [
        head(verdicts),
        table(&verdicts.claims),
        open(verdicts),
        not_run(&verdicts.claims),
        facts(&bundle.run),
        HOW.to_owned(),
    ];
    Ok(cut(parts.concat()).into_bytes())
}

const HOW: &str = "\n### Independent verification\n\n\
    In the folder of the run, `sha256sum -c SHA256SUMS` checks its files, and `assay verify` judges every claim again \
    on the raw samples.\n";

fn head(verdicts: &Verdicts) -> String {
    let heading = match (verdicts.complete, verdicts.exit) {
        (false, _) => "? The run did not finish",
        (true, 0) => "✔ Every claim that was judged holds, or is a declared deviation",
        (true, 1) => "✘ The claims do not all hold",
        (true, _) => "? Not every claim could be judged",
    };
    format!("## {heading}\n\n{}; exit status {}\n\n", counts(verdicts), verdicts.exit)
}

fn table(claims: &[ClaimResult]) -> String {
    let row = |claim: &ClaimResult| {
        let cells = [
            format!("{} {}", mark(claim.verdict), claim.id),
            plain(&claim.claim),
            plain(&claim.bound),
            plain(&published(claim)),
            plain(&measured(claim)),
            claim.verdict.to_string(),
            controls(claim),
        ];
        format!("| {} |\n", cells.join(" | "))
    };
    let head = "| id | claim | bound | published | measured | verdict | control |\n|---|---|---|---|---|---|---|\n";
    format!("{head}{}", claims.iter().filter(|claim| claim.selected()).map(row).collect::<String>())
}

/// Lists each claim that was run and does not simply hold, and the problems beyond the claims.
fn open(verdicts: &Verdicts) -> String {
    let line = |claim: &ClaimResult| {
        format!("- {} **{}** {}: {}\n", mark(claim.verdict), claim.id, claim.verdict, plain(&sentence::claim(claim)))
    };
    let wrong = |problem: &Problem| format!("- ✘ features/deviations.toml: {}\n", plain(&sentence::problem(problem)));
    let claims = verdicts.claims.iter().filter(falls_short).map(line);
    section(
        "Claims that fail, deviate or are inconclusive",
        claims.chain(verdicts.problems.iter().map(wrong)).collect(),
    )
}

fn not_run(claims: &[ClaimResult]) -> String {
    let not_run = claims.iter().filter(|claim| claim.verdict == Verdict::NotRun).map(|claim| (&claim.reason, claim));
    let line = |(reason, claims): (&Reason, Vec<&ClaimResult>)| {
        format!("- {}: {}\n", ids(&claims), plain(&sentence::reason(reason)))
    };
    section("Claims that were not judged", grouped(not_run).into_iter().map(line).collect())
}

fn facts(run: &Json) -> String {
    let fact = |(name, pointer): (&str, &str)| {
        let value = run.pointer(pointer).and_then(Json::as_str)?;
        Some(format!("- {name}: {}\n", plain(value)))
    };
    let changed = run.pointer("/git/changed").and_then(Json::as_bool) == Some(true);
    let changed = changed.then(|| "- with changes that are not committed\n".to_owned());
    section("Environment", FACTS.into_iter().filter_map(fact).chain(changed).collect())
}

fn section(heading: &str, list: String) -> String {
    if list.is_empty() { list } else { format!("\n### {heading}\n\n{list}") }
}

/// Escapes a value so that Markdown shows it literally: on one line, without anything that would become a table's bar,
/// code, HTML, a link or a user's mention.
fn plain(text: &str) -> String {
    let text = console::cut(&console::one_line(text), LONGEST);
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // Shown as it is and followed by an invisible character, it is not a mention.
            '@' => plain += "&#64;&#8203;",
            // Left as it is before a space or at the end; elsewhere it could follow a protocol or begin an emoji's
            // name.
            ':' if chars.peek().is_none_or(|next| *next == ' ') => plain.push(c),
            ':' | '&' | '<' | '>' | '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '#' | '$' | '!' => {
                plain += &format!("&#{};", u32::from(c));
            }
            c => plain.push(c),
        }
    }
    plain
}

fn cut(mut page: String) -> String {
    const REST: &str = "\n\nThis page is cut here: verdicts.json has all of it.\n";
    if page.len() > LARGEST {
        let most = page.floor_char_boundary(LARGEST - REST.len());
        let whole_lines = page.get(..most).and_then(|page| page.rfind('\n')).unwrap_or(0);
        page.truncate(whole_lines);
        page += REST;
    }
    page
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::claims::plan::NotJudgedReason;

    fn page(bundle: &EvidenceBundle) -> String {
        String::from_utf8(job_summary(bundle).unwrap()).unwrap()
    }

    #[test]
    fn the_page_shows_the_verdict_of_each_claim_and_why() {
        let mut bundle = example::bundle();
        let claims = &mut bundle.verdicts.claims;
        claims[1].claim = example::HOSTILE.to_owned();
        claims[1].bound = "a | b\n| c".to_owned();
        let unselected = ClaimResult { reason: Reason::NotJudged(NotJudgedReason::NotSelected), ..claims[3].clone() };
        claims.push(unselected);
        insta::assert_snapshot!("summary", page(&bundle));
    }

    #[test]
    fn output_of_a_workload_is_shown_to_the_letter_and_does_nothing() {
        let expected = "&#60;script&#62;alert(1)&#60;/script&#62; &#124; &#96;x&#96; &#64;&#8203;everyone &#91;31m \
                        \u{fffe} &#93;&#93;&#62; &#38; \"q\"";
        assert_eq!(plain(example::HOSTILE), expected);
        assert_eq!(plain("![x](https://x)"), "&#33;&#91;x&#93;(https&#58;//x)");
        assert_eq!(plain(&"x".repeat(2000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn a_page_is_never_larger_than_github_shows() {
        let mut bundle = example::bundle();
        let one = bundle.verdicts.claims[1].clone();
        bundle.verdicts.claims = vec![one; 10_000];
        let page = page(&bundle);
        assert!(page.len() <= LARGEST && page.len() > LARGEST - 1024, "{}", page.len());
        assert!(page.ends_with("\n\nThis page is cut here: verdicts.json has all of it.\n"));
    }

    #[test]
    fn a_killed_run_is_not_shown_as_one_that_holds() {
        let mut killed = example::killed();
        killed.verdicts.claims.truncate(1);
        killed.verdicts.exit = 0;
        assert!(page(&killed).starts_with("## ? The run did not finish\n"));
        let mut held = example::bundle();
        held.verdicts.exit = 0;
        assert!(page(&held).starts_with("## ✔ Every claim that was judged holds, or is a declared deviation\n"));
    }
}
