//! Provides the page's words, and makes foreign text safe: without control characters, escape sequences or great
//! length.

use maud::{Markup, html};

use crate::claims::register::ClaimId;
use crate::report::console::{mark, word};
use crate::verdict::Verdict;
use crate::verdict::claim_verdict::{ControlResult, ControlVerdict};

/// Makes foreign text safe for the page: without terminal sequences, control characters and characters that change the
/// direction of writing, and no longer than this many characters.
pub(super) fn plain(text: &str, most: usize) -> String {
    let mut plain = String::new();
    let mut letters = text.chars().peekable();
    let mut count = 0;
    while let Some(letter) = letters.next() {
        let shown = match letter {
            '\u{1b}' => {
                skip_sequence(&mut letters);
                continue;
            }
            '\u{9b}' => {
                skip_until(&mut letters, |letter| ('@'..='~').contains(&letter));
                continue;
            }
            '\r' => continue,
            '\n' | '\t' => letter,
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
            control if control.is_control() => '\u{fffd}',
            letter => letter,
        };
        if count == most {
            plain.push('…');
            break;
        }
        plain.push(shown);
        count += 1;
    }
    plain
}

/// Skips what follows an escape: `[…m` and the like, a title that ends with a bell, or a single character.
fn skip_sequence(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match letters.next() {
        Some('[') => skip_until(letters, |letter| ('@'..='~').contains(&letter)),
        Some(']' | 'P' | '_' | '^' | 'X') => skip_until(letters, |letter| matches!(letter, '\u{7}' | '\\' | '\u{9c}')),
        Some('(' | ')' | '#') => {
            letters.next();
        }
        _ => {}
    }
}

fn skip_until(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, end: impl Fn(char) -> bool) {
    // What does not end on its line is not a sequence.
    while let Some(letter) = letters.next_if(|letter| *letter != '\n') {
        if end(letter) {
            break;
        }
    }
}

/// Returns the verdict's class in the page's style.
pub(super) fn class(verdict: Verdict) -> String {
    verdict.to_string().replace(' ', "-")
}

/// All verdicts, the most important first.
pub(super) const VERDICTS: [Verdict; 5] =
    [Verdict::Fails, Verdict::Inconclusive, Verdict::KnownDeviation, Verdict::Holds, Verdict::NotRun];

pub(super) fn chip(verdict: Verdict) -> Markup {
    marked(verdict, &verdict.to_string())
}

pub(super) fn control_chip(control: &ControlResult) -> Markup {
    let like = match control.verdict {
        ControlVerdict::Caught => Verdict::Holds,
        ControlVerdict::NotCaught => Verdict::Fails,
        ControlVerdict::NotRun => Verdict::NotRun,
        ControlVerdict::Inconclusive => Verdict::Inconclusive,
    };
    marked(like, word(control))
}

/// Shows words in the colour of a verdict, with its mark.
pub(super) fn marked(verdict: Verdict, words: &str) -> Markup {
    html! { span class={ "chip " (class(verdict)) } { span aria-hidden="true" { (mark(verdict)) } " " (words) } }
}

/// Links to a claim on the same page.
pub(super) fn link(id: ClaimId) -> Markup {
    html! { a href={ "#" (id) } { (id) } }
}

/// Formats a number with its noun in the singular or plural.
pub(in crate::report) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

pub(super) fn took(seconds: f64) -> String {
    match seconds {
        seconds if (0.0005..1.0).contains(&seconds) => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 0.0005 => "< 1 ms".to_owned(),
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        seconds => format!("{} min {} s", seconds.round() as u64 / 60, seconds.round() as u64 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_gone_and_the_words_stay() {
        assert_eq!(plain("\u{1b}[1;31mred\u{1b}[0m\r\n\u{1b}]0;title\u{7}x", 99), "red\nx");
        assert_eq!(plain("a\u{0}b\u{7}c\u{85}", 99), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(plain("\u{1b}(Bok\u{9b}2Jno\u{1b}", 99), "okno");
        assert_eq!(plain("\u{1b}[never ends\nnext", 99), "ever ends\nnext");
    }

    #[test]
    fn nothing_turns_the_direction_of_writing_around() {
        assert_eq!(plain("abc\u{202e}fdp.exe", 99), "abc\u{fffd}fdp.exe");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(plain("äöüß", 2), "äö…");
        assert_eq!(plain("äö", 2), "äö");
    }
}
