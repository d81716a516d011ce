//! Decides whether a unit's workload was started, and if not, what Podman, its Quadlet generator or systemd said.

use super::journal::{self, Line};
use super::trial::{Trial, UnitLook};
use super::{Reading, Unit};

/// The probe of a start that was refused. Its value is the refusal, with what to do.
pub const REFUSED: &str = "unit.refused";

/// What a start needs that it did not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRefusal {
    /// Who refused it, and their own sentence.
    pub message: String,
    remedy: &'static str,
    /// Whether the container had been started by then.
    started: bool,
}

impl StartRefusal {
    fn new(who: &str, sentence: &str, remedy: &'static str) -> StartRefusal {
        StartRefusal { message: format!("{who}: {}", sentence.trim_end_matches('.')), remedy, started: false }
    }

    pub fn reading(&self) -> Reading {
        let what = if self.started { "its unit never became active" } else { "the workload never started" };
        let text = format!("{what}: {}; {}", self.message, self.remedy);
        Reading::new(REFUSED, text.as_str(), Unit::Text, self.message.clone())
    }
}

const QUADLET: &str = "correct the Quadlet, or run on a machine with a Podman that takes it";
const ALONE: &str =
    "put the Quadlet of this name into quadlets/, take the name out of the Quadlet, or run on a machine that has it";
const NEEDS: &str = "give it to the machine (by files/ or secrets.toml in the suite's folder, or by ExecStartPre=), run on one \
                     that has it (--target ssh://HOST), or take it out of the Quadlet";
const PROGRAM: &str = "correct Entrypoint=, Exec=, User= or WorkingDir= in the Quadlet, or the image";
const WASM: &str =
    "run it on a machine whose crun is built with WebAssembly, such as one with Debian 13 or Ubuntu 24.04";
pub(super) const TIME: &str = "raise TimeoutStartSec= in the Quadlet, see that what it waits for comes (with Notify=healthy, that \
                    HealthCmd= succeeds), or run on a faster machine";
const CONTROLLER: &str = "take this limit out of the Quadlet, or run on a machine whose control groups have its controller, \
                          such as --target vm";
const FILES: &str = "write EnvironmentFile=-… for a file that may be missing, or take it out of the Quadlet";
const MISSING: &str =
    "a program, or a library of the runtime, is missing there: `podman run --rm IMAGE` on that machine says which";
const HELPERS: &str = "correct ExecStartPre= or ExecStartPost= in the Quadlet";
const SERVICE: &str = "correct or leave out what the section [Service] of the Quadlet asks for: rootless Podman needs its own \
                       user, its folders, and newuidmap, which NoNewPrivileges=, ProtectSystem= and the like forbid";

/// What systemd logs about a start that it does not make, or that ended before the workload was up, and the remedy.
const SYSTEMD: [(&str, &str); 12] = [
    ("Failed to load environment files", FILES),
    ("unmet condition check", NEEDS),
    ("being skipped", NEEDS),
    ("Assertion failed", NEEDS),
    ("Dependency failed", NEEDS),
    ("Failed at step EXEC", HELPERS),
    ("Failed at step ", SERVICE),
    ("Control process exited", HELPERS),
    ("status=127", MISSING),
    ("Main process exited", NEEDS),
    ("repeated too quickly", NEEDS),
    ("Failed to", NEEDS),
];

/// What Podman says about something that is not for the machine to have, and the remedy.
const PODMAN: [(&str, &str); 10] = [
    // A crun with WebAssembly executes no such file itself.
    (".wasm` exists but it is not executable", WASM),
    ("executable", PROGRAM),
    ("passwd file", PROGRAM),
    ("workdir", PROGRAM),
    ("pasta failed", "correct PublishPort= in the Quadlet: each port once, free, and from 1024 on"),
    ("source docker://", "take Pull= out of the Quadlet: the image under test is on the machine"),
    ("newuidmap", SERVICE),
    ("invalid argument", QUADLET),
    ("` for writing", CONTROLLER),
    ("controller `", CONTROLLER),
];

/// Returns the refusal of a start; `None` if the workload ran, or was killed because memory ran out. `generator` is what
/// the Quadlet generator says about the unit's Quadlet.
pub fn refusal(trial: &Trial, lines: &[Line], unit: &str, generator: &str) -> Option<StartRefusal> {
    let job = trial.last.get("start-error").map(String::as_str);
    if trial.shown("LoadState").is_some_and(|state| state != "loaded") {
        return Some(match generator_error(generator, unit) {
            Some(error) => {
                let alone = ["requested Quadlet", "quadlet pod unit"].iter().any(|words| error.contains(words));
                let remedy = if alone { ALONE } else { QUADLET };
                StartRefusal::new("the Quadlet generator", &error, remedy)
            }
            None => StartRefusal::new("systemd", job.unwrap_or("the unit is not loaded"), QUADLET),
        });
    }
    if was_active(trial) || ran_out_of_memory(trial, lines) {
        return None;
    }
    // A process that systemd has started for the unit logs under its own name until it becomes the program.
    let find = |words: &str| {
        let of_systemd = |line: &&Line| line.who == "systemd" || (line.who.starts_with('(') && !line.workload);
        lines.iter().filter(of_systemd).find(|line| line.text.contains(words))
    };
    let started = was_started(trial, lines);
    if trial.stops.iter().any(|stop| stop.result == "timeout") {
        let sentence = find("operation timed out").map_or("Result=timeout", |line| &line.text);
        return Some(StartRefusal { started, ..StartRefusal::new("systemd", sentence, TIME) });
    }
    if started {
        // What ended the workload's start was another program of the Quadlet.
        let other = find("Control process exited")?;
        let first = find("Main process exited").is_none_or(|main| main.at > other.at);
        return first.then(|| StartRefusal { started, ..StartRefusal::new("systemd", &other.text, HELPERS) });
    }
    if let Some(error) = podmans_error(lines) {
        let remedy = PODMAN.iter().find(|(words, _)| error.contains(words)).map_or(NEEDS, |(_, remedy)| remedy);
        return Some(StartRefusal::new("Podman", &error, remedy));
    }
    let message = SYSTEMD.iter().find_map(|(words, remedy)| Some((find(words)?.text.as_str(), *remedy)));
    match (message, job) {
        (Some((sentence, remedy)), _) => Some(StartRefusal::new("systemd", sentence, remedy)),
        (None, Some(job)) => Some(StartRefusal::new("systemd", job, NEEDS)),
        // It is still starting, which is not refused.
        (None, None) => None,
    }
}

/// Finds Podman's error among lines of which the workload wrote none.
fn podmans_error(lines: &[Line]) -> Option<String> {
    let mut rest = lines.iter();
    while let Some(line) = rest.next() {
        if let Some(error) = line.text.strip_prefix("Error: ") {
            // It quotes another program on the lines that follow.
            let quoted = rest.find(|next| next.who == line.who).filter(|_| error.trim_end().ends_with(':'));
            return Some(quoted.map_or(error.to_owned(), |quoted| format!("{} {}", error.trim_end(), quoted.text)));
        }
        if let Some((_, error)) = line.text.split_once(" level=error msg=") {
            return Some(error.trim_matches('"').trim_end_matches("\\n").to_owned());
        }
    }
    None
}

/// Returns the seconds from the start of the unit until systemd gave up waiting for it to become active.
pub fn waited(lines: &[Line]) -> Option<Reading> {
    let at = |words: &str| lines.iter().find(|line| line.who == "systemd" && line.text.contains(words));
    let (begin, over) = (at("Starting ")?, at("operation timed out")?);
    Some(Reading::new("start.time", over.at - begin.at, Unit::Seconds, format!("{}, at least", over.text)))
}

/// Returns whether systemd saw the unit active during the trial.
fn was_active(trial: &Trial) -> bool {
    let entered = trial.shown("ActiveEnterTimestampMonotonic").and_then(|at| at.parse::<f64>().ok());
    entered.is_some_and(|at| at / 1e6 >= trial.begin)
}

fn ran_out_of_memory(trial: &Trial, lines: &[Line]) -> bool {
    let said = |line: &Line| line.who == "systemd" && line.text.contains("killed by the OOM killer");
    let killed = trial.last.get("slice.events.oom_kill").is_some_and(|count| count != "0");
    killed || trial.stops.iter().any(|stop| stop.result == "oom-kill") || lines.iter().any(said)
}

/// Returns whether a container ran: Podman logged its start, it printed something, or it had a control group and the
/// unit's main process ended with a status that neither Podman nor systemd uses for itself.
fn was_started(trial: &Trial, lines: &[Line]) -> bool {
    let own = |status: &str| status.parse::<u8>().is_ok_and(|status| !(125..=127).contains(&status) && status < 200);
    lines.iter().any(|line| journal::is_event(line, "start"))
        || !journal::workload(lines).is_empty()
        || (trial.looks.iter().any(UnitLook::is_up)
            && trial.stops.iter().any(|stop| stop.code == "exited" && own(&stop.status)))
}

/// Finds what the Quadlet generator says about a unit's Quadlet.
fn generator_error(text: &str, unit: &str) -> Option<String> {
    let file = format!("{unit}.container\"");
    let line = text.lines().find(|line| line.contains(&file) && !line.contains("Loading source unit file"))?;
    let message = line.strip_prefix("quadlet-generator[").and_then(|rest| rest.split_once("]: "));
    Some(message.map_or(line, |(_, message)| message).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::journal::Journal;
    use crate::measurement::trial;

    const RECORDED: &str = include_str!("../../fixtures/probes/starts.txt");

    fn recorded(kind: &str) -> &'static str {
        RECORDED.split("== ").find_map(|part| part.strip_prefix(kind)?.strip_prefix('\n')).expect(kind)
    }

    fn started(kind: &str) -> (Trial, Vec<Line>) {
        let (trial, lines): (Vec<&str>, Vec<&str>) = recorded(kind).lines().partition(|line| !line.starts_with('{'));
        let trial = trial::parse(&trial.join("\n")).unwrap();
        let lines = journal::parse(&lines.join("\n"), &trial.boot, "mark").unwrap().lines;
        (trial, lines)
    }

    fn judge(kind: &str, (trial, lines): &(Trial, Vec<Line>)) -> Option<StartRefusal> {
        refusal(trial, lines, kind, recorded("generator"))
    }

    #[test]
    fn a_refused_start_is_named_in_their_words_and_what_a_workload_did_after_its_start_is_not_one() {
        let kinds =
            RECORDED.split("== ").skip(1).filter_map(|part| part.lines().next()).filter(|kind| *kind != "generator");
        let judged = kinds.map(|kind| match judge(kind, &started(kind)) {
            Some(refusal) => format!("{kind}: {}\n", refusal.reading().value.format(Unit::Text)),
            None => format!("{kind}: not refused\n"),
        });
        insta::assert_snapshot!("starts", judged.collect::<String>());
    }

    #[test]
    fn a_quadlet_that_names_another_is_not_alone() {
        let (trial, lines) = started("network");
        let pod = refusal(&trial, &lines, "pod", recorded("generator")).unwrap();
        assert!(pod.message.ends_with("quadlet pod unit app.pod does not exist") && pod.remedy == ALONE, "{pod:?}");
    }

    #[test]
    fn each_sign_of_a_start_counts_alone() {
        let (mut trial, lines) = started("exit127");
        trial.last.remove("show.ActiveEnterTimestampMonotonic");
        trial.stops = vec![trial::Stop { result: "exit-code".into(), code: "exited".into(), status: "127".into() }];
        let without = |words: &str| lines.iter().filter(|line| !line.text.contains(words)).cloned().collect();
        let silent: Vec<Line> = without(" container start ");
        let printed = Line { at: 1.0, who: "systemd-exit127".into(), text: "hello".into(), workload: true };
        let refused = |trial: &Trial, lines: &[Line]| judge("exit127", &(trial.clone(), lines.to_vec())).is_some();
        assert!(refused(&trial, &silent));
        assert!(!refused(&trial, &lines));
        assert!(!refused(&trial, &[silent.clone(), vec![printed]].concat()));
        let killed = |key: &str, value: &str| {
            let mut trial = trial.clone();
            trial.last.insert(key.into(), value.into());
            trial
        };
        assert!(!refused(&killed("slice.events.oom_kill", "1"), &silent));
        let text = "x.service: A process of this unit has been killed by the OOM killer.".into();
        let said = Line { at: 1.0, who: "systemd".into(), text, workload: false };
        assert!(!refused(&trial, &[silent.clone(), vec![said]].concat()));
        let at = |at: f64| killed("show.ActiveEnterTimestampMonotonic", &format!("{:.0}", at * 1e6));
        assert!(!refused(&at(trial.begin + 1.0), &silent));
        assert!(refused(&at(trial.begin - 1.0), &silent), "it was active in an earlier trial");
        trial.stops[0].status = "3".into();
        trial.looks[0].values.insert("payload.current".into(), 1.0);
        assert!(!refused(&trial, &silent), "Podman does not use this status");
        trial.stops[0].status = "217".into();
        assert!(refused(&trial, &silent), "systemd uses this status");
        trial.stops[0].status = "1".into();
        trial.looks.clear();
        assert!(refused(&trial, &silent), "Podman ended before there was a container");
    }

    #[test]
    fn a_start_that_systemd_gave_up_took_at_least_that_long() {
        let waited = |kind: &str| waited(&started(kind).1).and_then(|reading| reading.value.number());
        assert!(waited("timeout").is_some_and(|time| (8.0..8.1).contains(&time)), "{:?}", waited("timeout"));
        assert_eq!((waited("healthy"), waited("secret")), (None, None));
    }

    #[test]
    fn a_log_is_whole_without_the_lines_that_a_log_level_hides() {
        let (trial, lines) = started("quiet");
        assert!(lines.iter().all(|line| line.who != "systemd"));
        assert_eq!(Journal { lines, lost: None }.of_trial(&trial).unwrap().lost, None);
    }

    #[test]
    fn a_unit_is_held_from_when_it_is_active() {
        let (trial, _) = started("healthy");
        let active: f64 = trial.shown("ActiveEnterTimestampMonotonic").unwrap().parse().unwrap();
        assert!(trial.over - active / 1e6 >= 3.0, "it was held for 4 s, counted in whole seconds");
    }
}
