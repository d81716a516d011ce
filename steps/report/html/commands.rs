//! Shows the commands that ran for a claim, with the beginning and the end of their output, and excerpts of the logs of
//! machines and runs; with links to the complete files.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use serde_json::Value as Json;

use super::parts::{ByteBudget, ends, file, is_harmless};
use super::words::{count, plain, took};
use super::{Run, section};
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
        Stream::Inline(text) => Some(Stream::Inline(both_ends(&text))),
        beside => Some(beside),
    }
}

fn both_ends(text: &str) -> String {
    let count = text.chars().count();
    if count <= 2 * PART {
        return plain(text, count);
    }
    let tail: String = text.chars().skip(count - PART).collect();
    let left = count - 2 * PART;
    let head: String = text.chars().take(PART).collect();
    format!("{}\n… {left} characters …\n{}", plain(&head, PART), plain(&tail, PART))
}

pub(super) fn commands<'a>(run: &Run, attempts: impl Iterator<Item = &'a Attempt>, budget: &mut ByteBudget) -> Markup {
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
            @for ran in shown { (budget.admit("commands", one_command(&run.bundle.folder, ran))) }
        }
    }
}

fn one_command(folder: &SandboxedDir, ran: &Ran) -> Markup {
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
                @if let Ok(excerpt) = folder.excerpt(place, PART as u64) { (ends(&excerpt, PART)) }
            }
            Stream::Lost { lost, bytes } => p.stream { (name) ", " (bytes) " bytes, could not be kept: " (plain(lost, 240)) },
        }
    }
}

/// How much of the beginning and of the end of a machine's log is shown, in bytes.
const LOG: u64 = 2500;
/// The maximum number of machine logs that are shown.
const LOGS: usize = 20;
/// How much of a run's journal is read, in bytes.
const JOURNAL: u64 = 96 * 1024;
/// How many of its lines are shown.
const ENTRIES: usize = 30;
/// The number of runs of a claim whose journal is shown.
const RUNS: usize = 2;

pub(super) fn logs(run: &Run, budget: &mut ByteBudget) -> Markup {
    if run.logs.is_empty() {
        return html! {};
    }
    let content = html! {
        p { "The beginning and the end of each log; its name links to the whole file." }
        @for name in run.logs.iter().take(LOGS) { (budget.admit("logs of machines", log(run, name))) }
        @if run.logs.len() > LOGS { p.omitted { (run.logs.len() - LOGS) " more logs are in the folder." } }
        (budget.omissions())
    };
    section("logs", "What the machines logged", &content)
}

/// Picks the logs among file names, the device's first: their names do not begin with a machine's name.
pub(super) fn in_order(names: Vec<String>) -> Vec<String> {
    let mut logs: Vec<String> = names.into_iter().filter(|name| is_log(name)).collect();
    logs.sort_by_key(|name| (name.matches('.').count(), name.clone()));
    logs
}

fn is_log(name: &str) -> bool {
    !name.contains('/') && name.ends_with(".log") && (name.contains("console.") || name.contains("journal."))
}

fn log(run: &Run, name: &str) -> Markup {
    let excerpt = run.bundle.folder.excerpt(name, LOG);
    html! {
        details.log id=[anchor(name)] {
            summary { h3 { (plain(name, 80)) } }
            p { (file(&run.bundle.folder, name)) @if let Ok(excerpt) = &excerpt { ", " (excerpt.bytes) " bytes" } }
            @match &excerpt {
                Ok(excerpt) => (ends(excerpt, LOG as usize)),
                Err(error) => p { (plain(&error.to_string(), 240)) },
            }
        }
    }
}

/// Returns the anchor of a log on the page; `None` if its name would have to be rewritten for it.
fn anchor(name: &str) -> Option<String> {
    (name.len() < 80 && is_harmless(name)).then(|| format!("log-{name}"))
}

/// Returns the machine that a log is from; the device's logs do not begin with its name.
fn machine(log: &str) -> &str {
    log.split_once(".console.").or(log.split_once(".journal.")).map_or("nano", |(machine, _)| machine)
}

/// Links to the logs of the machines that the attempts' samples were taken on.
pub(super) fn links<'a>(run: &Run, attempts: impl Iterator<Item = &'a Attempt>) -> Markup {
    let sources = attempts.flat_map(|attempt| &attempt.checks).flat_map(|judged| &judged.check.sources);
    let machines: BTreeSet<&str> = sources.map(|source| source.machine.as_str()).collect();
    let mine = run.logs.iter().enumerate().filter(|(_, log)| machines.contains(machine(log)));
    let logs: Vec<(usize, &String)> = mine.filter(|(_, log)| anchor(log).is_some()).take(12).collect();
    html! {
        @if !logs.is_empty() {
            p.links {
                "The machines' own logs: "
                @for (place, name) in logs {
                    @if place < LOGS { a href={ "#log-" (name) } { (name) } } @else { (file(&run.bundle.folder, name)) }
                    " "
                }
            }
        }
    }
}

/// Shows the logs of runs that were watched for a claim: the first run's journal of each attempt.
pub(super) fn of_runs<'a>(run: &Run, attempts: impl Iterator<Item = &'a Attempt>, budget: &mut ByteBudget) -> Markup {
    let journal = |attempt: &'a Attempt| attempt.evidence.iter().find(|name| name.ends_with(".journal.jsonl"));
    let mut names: Vec<&String> = attempts.filter_map(journal).collect();
    names.dedup();
    let shown: Vec<Markup> = names
        .into_iter()
        .take(RUNS)
        .filter_map(|name| journal_of(run, name))
        .map(|journal| budget.admit("journals of runs", journal))
        .collect();
    html! { @if !shown.is_empty() { div.part { h4 { "What was logged in the run" } @for journal in shown { (journal) } } } }
}

fn journal_of(run: &Run, name: &str) -> Option<Markup> {
    let excerpt = run.bundle.folder.excerpt(name, JOURNAL).ok()?;
    let lines: Vec<(f64, String)> = excerpt.head.lines().filter_map(journal_line).collect();
    let begin = lines.first()?.0;
    let text = lines.iter().take(ENTRIES).map(|(at, text)| format!("{:8.3} s  {text}", at - begin));
    Some(html! {
        details.command {
            summary { "the journal of " (plain(name.trim_start_matches("trials/").trim_end_matches(".journal.jsonl"), 80)) }
            pre {
                (text.collect::<Vec<_>>().join("\n"))
                @if lines.len() > ENTRIES || excerpt.tail.is_some() { "\n…" }
            }
            p { (file(&run.bundle.folder, name)) ", " (excerpt.bytes) " bytes" }
        }
    })
}

/// Parses a line of a journal: when it was received, in seconds since boot, and who wrote what.
fn journal_line(line: &str) -> Option<(f64, String)> {
    let entry: Json = serde_json::from_str(line).ok()?;
    let text = |key: &str| entry.get(key).and_then(Json::as_str);
    let at = text("__MONOTONIC_TIMESTAMP")?.parse::<u64>().ok()? as f64 / 1e6;
    // journalctl shows a message that is not text as its bytes.
    let bytes = |message: &Json| message.as_array()?.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
    let bytes = entry.get("MESSAGE").and_then(bytes).map(|bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned());
    let message = bytes.or(text("MESSAGE").map(str::to_owned)).unwrap_or_else(|| "(no text)".to_owned());
    let who = text("SYSLOG_IDENTIFIER").unwrap_or("?");
    Some((at, format!("{}: {}", plain(who, 40), plain(message.trim_end(), 200))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_output_both_ends_are_shown() {
        assert_eq!(both_ends("short\u{1b}[0m"), "short");
        let long = format!("first{}last", "x".repeat(10_000));
        let shown = both_ends(&long);
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

    #[test]
    fn logs_are_known_by_their_names() {
        for (name, log) in [
            ("console.log", true),
            ("spare-1.journal.log", true),
            ("spare-1.console.crash-1.log", true),
            ("trials/console.log", false),
            ("run.json", false),
            ("notes.log", false),
        ] {
            assert_eq!(is_log(name), log, "{name}");
        }
        let logs = ["console.log", "spare-1.journal.log", "spare-1.console.crash-1.log"];
        assert_eq!(logs.map(machine), ["nano", "spare-1", "spare-1"]);
        assert_eq!(anchor("spare-1.console.log").as_deref(), Some("log-spare-1.console.log"));
        assert_eq!(anchor("a\"b.console.log"), None);
    }

    #[test]
    fn a_line_of_a_journal_tells_when_who_and_what() {
        let line = r#"{"__MONOTONIC_TIMESTAMP":"1500000","SYSLOG_IDENTIFIER":"podman","MESSAGE":"\u001b[1mx"}"#;
        assert_eq!(journal_line(line), Some((1.5, "podman: x".to_owned())));
        let bytes =
            r#"{"__MONOTONIC_TIMESTAMP":"1500000","SYSLOG_IDENTIFIER":"podman","MESSAGE":[27,91,49,109,120,255]}"#;
        assert_eq!(journal_line(bytes), Some((1.5, "podman: x\u{fffd}".to_owned())));
        assert_eq!(journal_line("no json"), None);
        assert_eq!(journal_line("{}"), None);
    }
}
