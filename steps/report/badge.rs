//! Writes `badge.svg`: a run in a few words, for the page of a project. It is green only if every claim was judged and holds.

use maud::html;

use super::console::tally;
use crate::evidence::bundle::EvidenceBundle;
use crate::evidence::merge::Merged;
use crate::verdict::Verdict;

const LABEL: &str = "claims";
const GREEN: &str = "#00724f";
const RED: &str = "#b3261e";
const AMBER: &str = "#8a5a00";
const GREY: &str = "#4b5157";

const HEIGHT: usize = 20;
/// The width of a letter, to which texts are fitted whatever the font, and the space beside a text.
const LETTER: usize = 7;
const SPACE: usize = 6;

pub fn badge(bundle: &EvidenceBundle) -> anyhow::Result<Vec<u8>> {
    let verdicts = &bundle.verdicts;
    let claims: Vec<Verdict> = verdicts.claims.iter().map(|claim| claim.verdict).collect();
    Ok(drawn(&claims, verdicts.complete, verdicts.exit))
}

/// Makes the badge of several runs, in which each claim counts once for each target.
pub fn merged_badge(merged: &Merged) -> Vec<u8> {
    let claims = merged.columns.iter().flat_map(|column| &column.verdicts.claims);
    drawn(&claims.map(|claim| claim.verdict).collect::<Vec<_>>(), merged.complete(), merged.exit)
}

/// Returns the words and the colour.
fn said(claims: &[Verdict], complete: bool, exit: u8) -> (String, &'static str) {
    let any = |wanted: Verdict| claims.contains(&wanted);
    let judged = any(Verdict::Holds) || any(Verdict::KnownDeviation);
    let colour = match () {
        () if exit == 1 || any(Verdict::Fails) => RED,
        () if exit != 0 || !complete || !judged || any(Verdict::Inconclusive) => AMBER,
        () if any(Verdict::KnownDeviation) || any(Verdict::NotRun) => GREY,
        () => GREEN,
    };
    let words = match (complete, tally(claims, false)) {
        (false, _) => "not finished".to_owned(),
        (true, _) if !judged && exit == 0 => "nothing judged".to_owned(),
        (true, counted) => counted,
    };
    (words, colour)
}

fn drawn(claims: &[Verdict], complete: bool, exit: u8) -> Vec<u8> {
    let (words, colour) = said(claims, complete, exit);
    let width = |text: &str| LETTER * text.chars().count();
    let (label, value) = (width(LABEL) + 2 * SPACE, width(&words) + 2 * SPACE);
    let name = format!("{LABEL}: {words}");
    let text = |x: usize, text: &str| {
        html! { text x=(x + SPACE) y="14" textLength=(width(text)) lengthAdjust="spacingAndGlyphs" { (text) } }
    };
    let svg = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(label + value) height=(HEIGHT) role="img" aria-label=(name) {
            title { (name) }
            rect width=(label) height=(HEIGHT) fill="#333333" {}
            rect x=(label) width=(value) height=(HEIGHT) fill=(colour) {}
            g fill="#ffffff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" { (text(0, LABEL)) (text(label, &words)) }
        }
    };
    (svg.into_string() + "\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn the_badge_is_green_only_if_every_claim_was_judged_and_holds() {
        use Verdict::{Fails, Holds, Inconclusive, KnownDeviation, NotRun};
        for (claims, complete, exit, words, colour) in [
            (&[Holds, Holds][..], true, 0, "2 hold", GREEN),
            (&[Holds, NotRun], true, 0, "1 hold, 1 not run", GREY),
            (&[Holds, KnownDeviation], true, 0, "1 hold, 1 known deviations", GREY),
            (&[Holds, Inconclusive], true, 3, "1 hold, 1 inconclusive", AMBER),
            (&[Holds, Fails, Inconclusive], true, 1, "1 hold, 1 fail, 1 inconclusive", RED),
            (&[], true, 0, "nothing judged", AMBER),
            (&[NotRun, NotRun], true, 0, "nothing judged", AMBER),
            (&[Holds], false, 3, "not finished", AMBER),
            // What the exit status does not say, the claims do, and the other way round: a declaration has expired.
            (&[Holds, Inconclusive], true, 0, "1 hold, 1 inconclusive", AMBER),
            (&[Fails, Holds], true, 0, "1 hold, 1 fail", RED),
            (&[Holds], false, 0, "not finished", AMBER),
            (&[Holds], true, 1, "1 hold", RED),
        ] {
            assert_eq!(said(claims, complete, exit), (words.to_owned(), colour), "{claims:?} {complete} {exit}");
        }
        for every in [Fails, Inconclusive, NotRun, KnownDeviation] {
            let green = [0, 1, 2, 3].map(|exit| said(&[Holds, every], true, exit).1 == GREEN);
            assert_eq!(green, [false; 4], "{every}");
        }
    }

    #[test]
    fn the_badge_is_an_image_with_words_for_readers_who_cannot_see_it() {
        insta::assert_snapshot!("badge", String::from_utf8(badge(&example::bundle()).unwrap()).unwrap());
    }
}
