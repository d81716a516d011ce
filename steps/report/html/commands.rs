//! Shows the commands that ran for a claim, with the beginning and the end of their output, and where all of it is.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::Run;
use super::files::{self, file};
use super::size_limit::ByteBudget;
use super::words::{count, plain, took};
use crate::evidence::bundle::{EvidenceBundle, SandboxedDir};
use crate::evidence::{ClaimResult, Ran, Stream};
use crate::exec::command::Status;
use crate::verdict::claim_verdict::Attempt;

/// The maximum number of commands that are shown for a claim.
const MOST: usize = 60;
/// How much of a command is shown, in characters.
const LINE: usize = 900;
/// How much of the beginning and of the end of a command's output is shown, in characters.
const PART: usize = 500;

/// The part of the transcript that is shown.
pub(super) struct Commands {
    ran: BTreeMap<u64, Ran>,
    /// Why there are no commands.
    missing: Option<String>,
}

impl Commands {
    pub(super) fn of(bundle: &EvidenceBundle, claims: &[&ClaimResult]) -> Commands {
        let wanted: BTreeSet<u64> = claims.iter().flat_map(|claim| numbers(claim.all_attempts()).0).collect();
        let mut ran = BTreeMap::new();
        let read = bundle.commands(|command| {
            if wanted.contains(&command.n) {
                let (stdout, stderr) = (brief(command.stdout), brief(command.stderr));
                ran.insert(command.n, Ran { stdout, stderr, ..command });
            }
        });
        let missing = match read {
            Err(error) => Some(error.to_string()),
            Ok(0) => None,
            Ok(broken) => Some(format!("{} of transcript.jsonl cannot be read", count(broken, "line", "lines"))),
        };
        Commands { ran, missing }
    }
}

/// Returns the numbers of the attempts' commands that are shown, each once, and how many there are in all.
fn numbers<'a>(attempts: impl Iterator<Item = &'a Attempt>) -> (Vec<u64>, usize) {
    let mut seen = BTreeSet::new();
    let mut numbers: Vec<u64> = attempts.flat_map(|attempt| attempt.commands.iter().copied()).collect();
    numbers.retain(|number| seen.insert(*number));
    let all = numbers.len();
    numbers.truncate(MOST);
    (numbers, all)
}

/// Shortens what a command printed; nothing if that was only blanks.
fn brief(stream: Option<Stream>) -> Option<Stream> {
    match stream? {
        Stream::Inline(text) if text.trim().is_empty() => None,
        Stream::Inline(text) => Some(Stream::Inline(ends(&text))),
        beside => Some(beside),
    }
}

fn ends(text: &str) -> String {
    let count = text.chars().count();
    if count <= 2 * PART {
        return plain(text, count);
    }
    let tail: String = text.chars().skip(count - PART).collect();
    let left = count - 2 * PART;
    let head: String = text.chars().take(PART).collect();
    format!("{}\n… {left} characters …\n{}", plain(&head, PART), plain(&tail, PART))
}

pub(super) fn section<'a>(run: &Run, attempts: impl Iterator<Item = &'a Attempt>, budget: &mut ByteBudget) -> Markup {
    let (numbers, all) = numbers(attempts);
    if all == 0 {
        return html! {};
    }
    let shown: Vec<&Ran> = numbers.iter().filter_map(|number| run.commands.ran.get(number)).collect();
    let head = html! {
        h4 { "What ran" }
        p.quiet {
            (count(all, "command", "commands")) ", numbered as in " code { "transcript.jsonl" }
            @if shown.len() < all { "; " (count(shown.len(), "is", "are")) " shown here" }
            "."
            @if let Some(missing) = &run.commands.missing { " " (missing) "." }
        }
    };
    html! {
        div.part {
            (budget.admit("the commands", head))
            @for ran in shown { (budget.admit("commands", command(&run.bundle.folder, ran))) }
        }
    }
}

fn command(folder: &SandboxedDir, ran: &Ran) -> Markup {
    let line = plain(&ran.line(), LINE);
    let brief = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let ended = match (&ran.status, &ran.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => plain(error, LINE),
        (None, None) => "how it ended is not known".to_owned(),
    };
    let well = ran.status == Some(Status::Code(0));
    html! {
        details.command {
            summary {
                span.number { (ran.n) } " " span.machine { (plain(&ran.machine, 40)) } " " code { (plain(&brief, 110)) } " "
                span class=(if well { "quiet" } else { "ended" }) {
                    (plain(&ended, 60)) @if let Some(seconds) = ran.seconds { ", " (took(seconds)) }
                }
            }
            @if brief.chars().count() > 110 { pre { (line) } }
            @if ended.chars().count() > 60 { pre { (ended) } }
            @if let Some(stream) = &ran.stdout { (printed(folder, "output", stream)) }
            @if let Some(stream) = &ran.stderr { (printed(folder, "errors", stream)) }
            @if (&ran.stdout, &ran.stderr) == (&None, &None) { p.quiet { "It printed nothing." } }
        }
    }
}

fn printed(folder: &SandboxedDir, name: &str, stream: &Stream) -> Markup {
    html! {
        @match stream {
            Stream::Inline(text) => { p.stream { (name) } pre { (text) } }
            Stream::Beside { file: place, bytes } => {
                p.stream { (name) ", " (bytes) " bytes: " (file(folder, place)) }
                @if let Ok(excerpt) = folder.excerpt(place, PART as u64) { (files::ends(&excerpt, PART)) }
            }
            Stream::Lost { lost, bytes } => p.stream { (name) ", " (bytes) " bytes, could not be kept: " (plain(lost, 240)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_output_both_ends_are_shown() {
        assert_eq!(ends("short\u{1b}[0m"), "short");
        let long = format!("first{}last", "x".repeat(10_000));
        let shown = ends(&long);
        assert!(
            shown.starts_with("first") && shown.ends_with("last") && shown.contains("… 9009 characters …"),
            "{shown}"
        );
    }

    #[test]
    fn a_command_of_two_attempts_is_shown_once() {
        let attempt = |commands: &[u64]| Attempt { commands: commands.to_vec(), ..Attempt::new(Vec::new(), None) };
        let all = [attempt(&[1, 2]), attempt(&[2, 3])];
        assert_eq!(numbers(all.iter()), (vec![1, 2, 3], 3));
        let many = [attempt(&(1..=200).collect::<Vec<_>>())];
        assert_eq!((numbers(many.iter()).0.len(), numbers(many.iter()).1), (MOST, 200));
    }
}
