//! Parses the journal of a user unit, and checks that it belongs to the trial.

mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use entry::Entry;
pub use entry::visible;

use super::catalogue::CUT;
use super::trial::{STANDSTILL, Trial};
use super::{Reading, Unreadable};
use crate::base::unit::Unit;
use crate::exec::command::Command;

const PROBE: &str = "journal";
/// How far, in seconds, calendar time may drift against time since boot. Only a clock that is set exceeds this.
pub const STEP: f64 = 2.0;
const SCRIPT: &str = include_str!("journal.sh");
/// What the script prints if it reads the user's own journal only.
const UNSEEN: &str = "-- The system journal cannot be read --";
/// What it prints if there is more than [`MOST`].
const UNPRINTED: &str = "-- The rest of the log is not printed --";
/// How many bytes of the unit's lines it prints, in journald's JSON.
const MOST: usize = 32 << 20;
/// The id of journald's message about lines that it dropped.
const DROPPED: &str = "a596d6fe7bfa4994828e72309e95d61e";
/// journald takes at least so many lines in its interval, unless it is set to fewer.
const BURST: usize = 10_000;
/// With so many lines in its last second, a log may be behind its workload.
const BUSY: usize = 100;
const GONE: &str = "the journal does not have the unit's start, so lines of its log may be gone, too: give the journal more \
                    room (SystemMaxUse= and RuntimeMaxUse= in the machine's /etc/systemd/journald.conf), and see that \
                    Storage= there is not none";
const RATE: &str = "raise RateLimitBurst= in the machine's /etc/systemd/journald.conf, or have the workload log less";

/// Returns the command that prints what a user unit has logged since `since` (Unix seconds). `mark` names a unit that it
/// starts to find out whether journald takes lines; it must be different each time.
pub fn command(unit: &str, since: u64, mark: &str) -> Command {
    Command::script(SCRIPT, &[&since.to_string(), unit, &MOST.to_string(), mark]).time_limit(Duration::from_secs(60))
}

#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    pub lines: Vec<Line>,
    /// Why part of it may be missing, and what to do.
    pub lost: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When it was received, in seconds since the machine's boot.
    pub at: f64,
    /// The syslog identifier of its sender.
    pub who: String,
    /// Its text, with control characters made [`visible`].
    pub text: String,
    /// Whether the workload wrote it, and not systemd or Podman.
    pub workload: bool,
}

/// Parses the output of [`command`] from a machine with this boot id. Lines must be in the order in which they were
/// received: journald timestamps each on receipt, and journalctl merges its files in that order. Joins the pieces of
/// lines that Podman or journald has cut.
pub fn parse(text: &str, boot: &str, mark: &str) -> Result<Journal, Unreadable> {
    let (boot, mark) = (boot.replace('-', ""), format!("{mark}.service"));
    let (mut entries, mut calendar, mut cut) = (Vec::<Entry>::new(), None, BTreeMap::<String, usize>::new());
    let (mut marks, mut dropped) = (BTreeSet::new(), 0_u64);
    for raw in text.lines().filter(|line| !line.trim().is_empty() && ![UNSEEN, UNPRINTED].contains(line)) {
        let (entry, offset) = Entry::parse(raw, &boot)?;
        if entry.of("MESSAGE_ID") == DROPPED {
            dropped = dropped.saturating_add(entry.of("N_DROPPED").parse().unwrap_or(1));
            continue;
        }
        if entry.of("_SYSTEMD_USER_UNIT") == mark {
            marks.insert(entry.of("PRIORITY").to_owned());
            continue;
        }
        if entries.last().is_some_and(|before| entry.at < before.at) {
            return Err(Unreadable::new(PROBE, "lines in the order in which they arrived", raw));
        }
        if (offset - *calendar.get_or_insert(offset)).abs() > STEP {
            return Err(Unreadable::new(PROBE, "a clock that nobody sets during a trial", raw));
        }
        let stream = entry.stream();
        let begun = cut.remove(&stream);
        let place = begun.unwrap_or(entries.len());
        if entry.is_cut() {
            cut.insert(stream, place);
        }
        match begun {
            Some(place) => entries[place].message.extend(entry.message),
            None => entries.push(entry),
        }
    }
    let lines: Vec<Line> = entries.iter().map(Entry::line).collect();
    let said = |what: &str| text.lines().any(|line| line == what);
    let lost = match (dropped, lines.len()) {
        (1.., _) => Some(format!("journald dropped {dropped} lines of the units of the workload's user")),
        _ if marks.len() < 2 => Some("journald drops lines of the units of the workload's user".to_owned()),
        (_, BURST..) if said(UNSEEN) => Some(format!(
            "it logged {} lines, and whether journald dropped any only the system journal says, which this user cannot \
             read (sudo usermod -aG systemd-journal USER)",
            lines.len()
        )),
        _ => None,
    };
    let lost = lost.map(|lost| format!("part of its log may be missing: {lost}; {RATE}"));
    let long = || format!("only the first {} MiB of its journal are read: have the workload log less", MOST >> 20);
    Ok(Journal { lines, lost: lost.or_else(|| said(UNPRINTED).then(long)) })
}

/// Returns why a workload's log does not come to the journal that was printed as `raw`, if it does not. `shown` is what
/// systemd shows of the unit; `default` is Podman's log driver if the unit names none.
pub fn elsewhere(raw: &str, shown: &str, default: &str) -> Option<String> {
    let property = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let remedy = "set LogDriver=journald in the Quadlet to judge claims about its log";
    match driver(shown).unwrap_or(default) {
        "journald" => None,
        "passthrough" | "passthrough-tty" => {
            let away = ["StandardOutput=", "StandardError="].into_iter().find(|name| {
                let to = property(name);
                !(to.is_empty() || to == "inherit" || to.starts_with("journal"))
            });
            let away = away.map(|away| {
                format!("its log does not go to the journal, but as {away}{} says; {remedy}", property(away))
            });
            away.or_else(|| {
                raw.lines().any(|line| line == UNSEEN).then(|| {
                    format!(
                        "what users other than root print in its container goes to journals that this user cannot read \
                         (sudo usermod -aG systemd-journal USER), because Podman's log driver is passthrough; or {remedy}"
                    )
                })
            })
        }
        other => Some(format!("its log does not go to the journal, because Podman's log driver is {other}; {remedy}")),
    }
}

/// Returns the log driver that a unit's command names; the last one counts.
pub fn driver(shown: &str) -> Option<&str> {
    let command = shown.lines().find_map(|line| line.strip_prefix("ExecStart="))?;
    let words: Vec<&str> = command.split_whitespace().collect();
    let mut named = words.iter().enumerate().filter_map(|(place, word)| match word.strip_prefix("--log-driver")? {
        "" => words.get(place + 1).copied(),
        value => value.strip_prefix('='),
    });
    named.next_back()
}

impl Journal {
    /// Selects the lines of a trial. `--since` has whole seconds, so lines from just before the start are dropped.
    pub fn of_trial(mut self, trial: &Trial) -> Result<Journal, Unreadable> {
        let window = trial.begin - STANDSTILL..=trial.end + STANDSTILL;
        if let Some(line) = self.lines.iter().find(|line| !window.contains(&line.at)) {
            let expected =
                format!("lines from the trial's time, {:.0} s to {:.0} s since boot", trial.begin, trial.end);
            return Err(Unreadable::new(PROBE, &expected, &format!("{:.3} s: {}", line.at, line.text)));
        }
        self.lines.retain(|line| line.at >= trial.begin);
        if self.lost.is_none()
            && trial.looks.iter().any(|look| !look.values.is_empty())
            && !self.lines.iter().any(|line| is_start(line) || is_event(line, "create"))
        {
            self.lost = Some(GONE.to_owned());
        }
        // What a workload has written waits in a pipe for Podman, and is lost when the trial ends both.
        let late = self.lines.iter().filter(|line| line.workload && line.at >= trial.over - 1.0).count();
        if self.lost.is_none() && trial.shown("ActiveState") == Some("active") && late >= BUSY {
            self.lost = Some(format!(
                "its last lines may be missing: it was still logging {late} lines in a second when its time was over; let \
                 it run for longer, or have it log less"
            ));
        }
        Ok(self)
    }
}

/// Returns whether systemd says in this line that it starts the unit.
fn is_start(line: &Line) -> bool {
    line.who == "systemd" && !line.workload && line.text.starts_with("Starting ")
}

/// Returns whether Podman reports this event of a container in this line.
pub fn is_event(line: &Line, event: &str) -> bool {
    line.who == "podman" && line.text.contains(&format!(" container {event} "))
}

pub fn workload(lines: &[Line]) -> Vec<Line> {
    lines.iter().filter(|line| line.workload && !line.text.trim().is_empty()).cloned().collect()
}

/// The most bytes of a log that a probe's value holds.
const LOG: usize = 256 << 10;

pub const SILENT: &str = "(nothing)";

/// Returns the workload's log as one text, or [`SILENT`] if it is empty; and, if it is too long, that the rest is missing.
pub fn text(log: &[Line]) -> Vec<Reading> {
    let lines: Vec<&str> = log.iter().map(|line| line.text.as_str()).collect();
    let (text, raw) = (lines.join("\n"), format!("{} lines", lines.len()));
    let kept = text.floor_char_boundary(LOG);
    let cut = (kept < text.len()).then(|| {
        let reason = format!("only the first {} KiB of its log are searched: have the workload log less", LOG >> 10);
        Reading::new(CUT, reason.as_str(), Unit::Text, format!("{} bytes", text.len()))
    });
    let text = if text.is_empty() { SILENT } else { &text[..kept] };
    [Reading::new("log.text", text, Unit::Text, raw)].into_iter().chain(cut).collect()
}

/// Reads the workload's log: greeting, temperatures, spacing of the readings, completion, and duration.
pub fn readings(log: &[Line]) -> Vec<Reading> {
    let mut found = Vec::new();
    let sensor: Vec<(&Line, f64)> = log.iter().filter_map(|line| Some((line, temperature(&line.text)?))).collect();
    if let Some(greeting) = log.iter().find(|line| line.text.to_lowercase().contains("hello")) {
        found.push(Reading::text("log.greeting", &greeting.text));
    }
    found.push(Reading::new("log.readings", sensor.len() as f64, Unit::Count, "lines with a temperature"));
    let temperatures: Vec<String> = sensor.iter().map(|(_, celsius)| format!("{celsius}")).collect();
    found.push(Reading::text("log.temperatures", &temperatures.join(" ")));
    for pair in sensor.windows(2) {
        let raw = format!("{:.6} s to {:.6} s", pair[0].0.at, pair[1].0.at);
        found.push(Reading::new("log.spacing", pair[1].0.at - pair[0].0.at, Unit::Seconds, raw));
    }
    if let Some(last) = log.last().filter(|line| line.text.contains("completed")) {
        found.push(Reading::text("log.completion", &last.text));
    }
    if let (Some(first), Some(last)) = (log.first(), log.last()) {
        let raw = format!("{:.6} s to {:.6} s", first.at, last.at);
        found.push(Reading::new("log.duration", last.at - first.at, Unit::Seconds, raw));
    }
    found
}

/// Splits the time of a start: seconds from systemd's "Starting" to Podman's create, init and start, and to the
/// workload's first line.
pub fn startup(lines: &[Line]) -> Vec<Reading> {
    let Some(begin) = lines.iter().find(|line| is_start(line)) else {
        return Vec::new();
    };
    let podman = |event| lines.iter().find(|line| is_event(line, event)).map(|line| (event, line.at));
    let output = workload(lines).first().map(|line| ("output", line.at));
    let steps = ["create", "init", "start"].into_iter().filter_map(podman).chain(output);
    let reading = |(step, at): (&str, f64)| {
        let raw = format!("{:.6} s to {at:.6} s", begin.at);
        Reading::new(&format!("start.{step}"), at - begin.at, Unit::Seconds, raw)
    };
    steps.map(reading).collect()
}

/// Parses the temperature in a line such as `reading 1/5: temperature=23°C timestamp=1770656082`.
fn temperature(text: &str) -> Option<f64> {
    let (number, rest) = text.split_once("temperature=")?.1.split_once("°C")?;
    rest.split_once("timestamp=")?.1.trim().parse::<u64>().ok()?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::{Value, trial};

    const RECORDED: &str = include_str!("../../fixtures/probes/journal-hello.jsonl");
    const TRIAL: &str = include_str!("../../fixtures/probes/trial-hello.txt");

    /// The boot of the machine on which the logs of one script were recorded.
    const BOOT: &str = "7b599bcc-7a73-4e28-9c8c-d444ff3a2a18";

    fn recorded() -> Journal {
        parse(RECORDED, &trial::parse(TRIAL).unwrap().boot, "assay-mark").unwrap()
    }

    fn written(recorded: &str) -> Vec<Line> {
        workload(&parse(recorded, BOOT, "assay-mark").unwrap().lines)
    }

    /// Returns an entry of the boot "b".
    fn entry(monotonic: u64, realtime: u64) -> String {
        format!(
            r#"{{"_BOOT_ID":"b","__MONOTONIC_TIMESTAMP":"{monotonic}","__REALTIME_TIMESTAMP":"{realtime}","MESSAGE":"x"}}"#
        )
    }

    #[test]
    fn a_recorded_journal_yields_the_readings_and_the_steps_of_the_start() {
        let lines = recorded().lines;
        assert!(["podman", "systemd"].iter().all(|who| lines.iter().any(|line| line.who == *who)));
        let log = workload(&lines);
        assert!(log.iter().all(|line| line.who == "systemd-no-quota"));
        let found = readings(&log);
        let of = |probe: &str| found.iter().filter(|r| r.probe == probe).map(|r| r.value.clone()).collect::<Vec<_>>();
        assert_eq!(of("log.temperatures"), [Value::from("23 26 29 32 35")]);
        assert_eq!(of("log.readings"), [Value::Number(5.0)]);
        assert_eq!(of("log.spacing").len(), 4);
        assert_eq!(of("log.completion"), [Value::from("completed: 5 readings")]);
        assert!(matches!(of("log.duration")[0], Value::Number(seconds) if (9.9..12.1).contains(&seconds)));
        let start: Vec<String> = startup(&lines).into_iter().map(|reading| reading.probe).collect();
        assert_eq!(start, ["start.create", "start.init", "start.start", "start.output"]);
        assert!(startup(&[]).is_empty());
        let silent = readings(&[]);
        assert!(silent.iter().all(|r| r.probe == "log.readings" || r.probe == "log.temperatures"));
    }

    #[test]
    fn a_log_is_kept_as_it_is_up_to_a_length() {
        let line = |text: &str| Line { at: 1.0, who: "w".into(), text: text.into(), workload: true };
        assert_eq!(text(&[line("one"), line("two")]), [Reading::new("log.text", "one\ntwo", Unit::Text, "2 lines")]);
        assert_eq!(text(&[])[0].value, Value::from("(nothing)"));
        let [long, cut] = &text(&[line(&"é".repeat(LOG))])[..] else { panic!("it says that it is cut") };
        assert!(matches!(&long.value, Value::Text(text) if text.len() == LOG));
        assert_eq!(cut.probe, CUT);
    }

    /// One script ran under `ContainerName=broker`, and under `LogDriver=passthrough`.
    #[test]
    fn a_log_is_found_whatever_its_container_is_called_and_each_line_is_whole() {
        for (recorded, who) in [
            (include_str!("../../fixtures/probes/journal-named.jsonl"), "broker"),
            (include_str!("../../fixtures/probes/journal-passthrough.jsonl"), "pass"),
        ] {
            let log = written(recorded);
            assert_eq!(parse(recorded, BOOT, "assay-mark").unwrap().lost, None);
            assert!(log.iter().all(|line| line.who == who), "{log:?}");
            // The order of lines is certain within a stream only.
            let mut starts: Vec<&str> = log.iter().map(|line| line.text.get(..9).unwrap_or(&line.text)).collect();
            starts.sort_unstable();
            let all = ["BEFORE-40", "BEFORE-5k", "ERR-BEFOR", "bad \u{fffd} b", "no newlin", "plain lin", "to stderr"];
            assert_eq!(starts, all);
            for (start, size, words) in [
                ("BEFORE-5k", 5_019, &["AFTER-5k"][..]),
                ("BEFORE-40", 39_705, &["-EIGHT-KIB-CUT-ONE c", "ACROSS-SIXTEEN-KIB", "ACROSS-THIRTYTWO", "AFTER-40k"]),
                ("bad", 53, &["bad \u{fffd} byte and ␛[31mred␛[0m and ␂ and tab\tend"]),
                ("ERR", 9_021, &["ERR-AFTER"]),
            ] {
                let line = log.iter().find(|line| line.text.starts_with(start)).unwrap();
                assert!(words.iter().all(|word| line.text.contains(word)), "{}", line.text);
                assert_eq!(line.text.len(), size);
            }
        }
    }

    #[test]
    fn pieces_are_joined_by_their_stream_even_within_a_character() {
        let piece = |message: &str, more: &str| {
            entry(1, 1).replace("\"x\"", message).replace('}', &format!(",\"CONTAINER_ID_FULL\":\"c\"{more}}}"))
        };
        let partial = ",\"PRIORITY\":\"6\",\"CONTAINER_PARTIAL_MESSAGE\":\"true\"";
        let text = [
            piece("[97,195]", partial),
            piece("\"error\"", ",\"PRIORITY\":\"3\""),
            piece("[169,10]", ",\"PRIORITY\":\"6\""),
            piece("\"next\"", ",\"PRIORITY\":\"6\""),
            piece("[\"one\",[50]]", ""),
            piece("null", ""),
        ];
        let lines = parse(&text.join("\n"), "b", "m").unwrap().lines;
        assert_eq!(
            lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(),
            ["aé", "error", "next", "one\n2", ""]
        );
    }

    /// Recorded with RateLimitBurst=5 in journald.conf: at once, and when the units could log again.
    #[test]
    fn lines_that_journald_dropped_are_noticed() {
        let (flood, late) = (
            include_str!("../../fixtures/probes/journal-flood.jsonl"),
            include_str!("../../fixtures/probes/journal-flood-late.jsonl"),
        );
        let lost = |text: &str| parse(text, BOOT, "assay-mark").unwrap().lost.unwrap_or_default();
        assert!(lost(flood).starts_with("part of its log may be missing: journald drops lines"), "{}", lost(flood));
        assert!(lost(late).contains("journald dropped 34 lines of the units"), "{}", lost(late));
        assert!(lost(late).contains("raise RateLimitBurst="), "{}", lost(late));
        let more = format!(",\"MESSAGE_ID\":\"{DROPPED}\",\"N_DROPPED\":\"{}\"}}", u64::MAX);
        let many = parse(&[entry(1, 1), entry(1, 1)].join("\n").replace('}', &more), "b", "m").unwrap().lost;
        assert!(many.unwrap().contains("journald dropped 18446744073709551615 lines"), "two such counts are not few");
        let taken: Vec<&str> = late.lines().filter(|line| !line.contains("N_DROPPED")).collect();
        assert_eq!(lost(&taken.join("\n")), "");
        let unseen =
            |lines: usize| format!("{}\n{}\n{UNSEEN}\n", [taken[0]].repeat(lines).join("\n"), taken[16..].join("\n"));
        assert_eq!(lost(&unseen(BURST - 1)), "");
        assert!(lost(&unseen(BURST)).contains("which this user cannot read"));
        let long = format!("{}\n{UNPRINTED}\n{}", taken[0], taken[16..].join("\n"));
        assert!(lost(&long).starts_with("only the first 32 MiB of its journal are read"), "{}", lost(&long));
    }

    #[test]
    fn a_log_that_goes_elsewhere_is_known_by_the_units_command() {
        let k8s = include_str!("../../fixtures/probes/show-k8s-file.txt");
        assert!(written(include_str!("../../fixtures/probes/journal-k8s-file.jsonl")).is_empty());
        assert_eq!(driver(k8s), Some("k8s-file"));
        let with = |flags: &str, output: &str| {
            let shown = k8s.replace("--log-driver k8s-file", flags);
            shown.replace("StandardError=inherit", &format!("StandardError={output}"))
        };
        let shown = [
            (with("--log-driver k8s-file", "inherit"), "journald"),
            (with("--log-driver=none", "inherit"), "journald"),
            (with("--log-driver journald --log-driver=json-file", "inherit"), "journald"),
            (with("", "inherit"), "k8s-file"),
            (with("", "file:/x"), "passthrough"),
            (with("--log-driver passthrough", "null"), "journald"),
            (with("--log-driver passthrough", "inherit"), "none"),
            (with("--log-opt tag=x", "null"), "journald"),
            (String::new(), "journald"),
        ];
        let seen =
            shown.map(|(shown, default)| elsewhere("", &shown, default).unwrap_or("it goes to the journal".into()));
        insta::assert_snapshot!("elsewhere", seen.join("\n"));
        for (flags, blind) in [("--log-driver passthrough", true), ("", false)] {
            let seen = elsewhere(&format!("{UNSEEN}\n"), &with(flags, "inherit"), "journald").unwrap_or_default();
            assert_eq!(seen.contains("usermod -aG systemd-journal USER"), blind, "{flags}: {seen}");
        }
    }

    #[test]
    fn a_journal_that_is_broken_of_another_boot_or_of_another_time_is_refused() {
        let two = |times: [u64; 2], calendar: [u64; 2]| {
            let entries = [0, 1].map(|n| entry(times[n] * 1_000_000, calendar[n] * 1_000_000));
            entries.join("\n")
        };
        assert!(parse(&two([1, 2], [51, 52]), "b", "m").is_ok());
        assert!(parse(&two([1, 1], [51, 51]), "-b-", "m").is_ok(), "the kernel writes dashes, journald none");
        for (text, expected) in [
            ("not json".to_owned(), "a journal entry in JSON"),
            ("{\"MESSAGE\":\"x\"}".to_owned(), "a journal entry in JSON"),
            (entry(1, 1).replace("_BOOT_ID", "BOOT"), "a journal entry in JSON"),
            (RECORDED.to_owned(), "lines of the machine that was asked (b)"),
            (two([2, 1], [52, 51]), "in the order in which they arrived"),
            (two([1, 2], [51, 22]), "a clock that nobody sets"),
        ] {
            let error = parse(&text, "b", "m").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn lines_from_outside_of_the_trial_are_left_out_or_refused() {
        let trial = trial::parse(TRIAL).unwrap();
        let journal = recorded().of_trial(&trial).unwrap();
        assert_eq!(journal, recorded());
        let first = journal.lines[0].clone();
        let at = |at: f64| Journal { lines: vec![Line { at, ..first.clone() }, first.clone()], lost: None };
        assert_eq!(
            at(trial.begin - 0.5).of_trial(&trial).unwrap().lines,
            std::slice::from_ref(&first),
            "of the second it began in"
        );
        for stray in [trial.begin - 100.0, trial.end + 100.0] {
            let error = at(stray).of_trial(&trial).unwrap_err().to_string();
            assert!(error.contains("lines from the trial's time"), "{error}");
        }
        let rest = |from: usize| Journal { lines: journal.lines[from..].to_vec(), lost: None };
        let created = journal.lines.iter().position(|line| is_event(line, "create")).unwrap();
        for (from, lost) in [(1, None), (created, None), (created + 1, Some(GONE)), (journal.lines.len(), Some(GONE))] {
            assert_eq!(rest(from).of_trial(&trial).unwrap().lost.as_deref(), lost, "the start is gone");
        }
        assert_eq!(rest(0).of_trial(&trial).unwrap().lost, None);
        let last = Line { at: trial.over - 0.5, workload: true, ..first.clone() };
        for (lines, state, lost) in [(BUSY, "active", true), (BUSY - 1, "active", false), (BUSY, "inactive", false)] {
            let mut ended = trial.clone();
            ended.last.insert("show.ActiveState".into(), state.into());
            let lines = [vec![first.clone()], vec![last.clone(); lines]].concat();
            let seen = Journal { lines, lost: None }.of_trial(&ended).unwrap().lost;
            assert_eq!(seen.is_some_and(|reason| reason.contains("it was still logging 100 lines")), lost, "{state}");
        }
        let down = trial::Trial { looks: Vec::new(), ..trial };
        assert_eq!(rest(journal.lines.len()).of_trial(&down).unwrap().lost, None);
    }
}
