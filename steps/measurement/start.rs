//! Decides whether a unit's workload was started, and if not, what Podman, its Quadlet generator or systemd said.

use super::journal::{self, Line};
use super::trial::Trial;
use super::{Reading, Unit};

/// The probe of a start that was refused. Its value is the refusal, with what to do.
pub const REFUSED: &str = "unit.refused";

/// What a start needs that it did not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused it, and their own sentence.
    pub message: String,
    remedy: &'static str,
}

impl Refusal {
    fn new(who: &str, sentence: &str, remedy: &'static str) -> Refusal {
        Refusal { message: format!("{who}: {}", sentence.trim_end_matches('.')), remedy }
    }

    pub fn reading(&self) -> Reading {
        let text = format!("the workload never started: {}; {}", self.message, self.remedy);
        Reading::new(REFUSED, text.as_str(), Unit::Text, self.message.clone())
    }
}

const QUADLET: &str = "correct the Quadlet, or run on a machine with a Podman that takes it";
const NEEDS: &str = "make it with ExecStartPre=, run on a machine that has it (--target ssh://HOST), or take it out of the \
                     Quadlet";
const PROGRAM: &str = "correct Entrypoint=, Exec=, User= or WorkingDir= in the Quadlet, or the image";
const TIME: &str = "raise TimeoutStartSec= in the Quadlet, or run on a faster machine";

/// What systemd logs about a start that it does not make, or that ended before the workload was up, and the remedy.
const SYSTEMD: [(&str, &str); 8] = [
    ("unmet condition check", NEEDS),
    ("being skipped", NEEDS),
    ("Assertion failed", NEEDS),
    ("Dependency failed", NEEDS),
    ("Control process exited", "correct ExecStartPre= in the Quadlet"),
    ("Main process exited", NEEDS),
    ("repeated too quickly", NEEDS),
    ("Failed to", NEEDS),
];

/// Returns the refusal of a start; `None` if the workload ran, or was killed because memory ran out. `generator` is what
/// the Quadlet generator says about the unit's Quadlet.
pub fn refusal(trial: &Trial, lines: &[Line], unit: &str, generator: &str) -> Option<Refusal> {
    let job = trial.last.get("start-error").map(String::as_str);
    if trial.shown("LoadState").is_some_and(|state| state != "loaded") {
        return Some(match generator_error(generator, unit) {
            Some(error) => Refusal::new("the Quadlet generator", &error, QUADLET),
            None => Refusal::new("systemd", job.unwrap_or("the unit is not loaded"), QUADLET),
        });
    }
    if was_active(trial) || ran_out_of_memory(trial) {
        return None;
    }
    let systemd = |words: &str| lines.iter().find(|line| line.who == "systemd" && line.text.contains(words));
    if trial.stops.iter().any(|stop| stop.result == "timeout") {
        let sentence = systemd("start operation timed out").map_or("Result=timeout", |line| &line.text);
        return Some(Refusal::new("systemd", sentence, TIME));
    }
    if was_started(trial, lines) {
        return None;
    }
    // The workload printed nothing, so this is Podman's.
    if let Some(error) = lines.iter().find_map(|line| line.text.strip_prefix("Error: ")) {
        let program = trial.stops.first().is_some_and(|stop| ["126", "127"].contains(&stop.status.as_str()));
        return Some(Refusal::new("Podman", error, if program { PROGRAM } else { NEEDS }));
    }
    let message = SYSTEMD.iter().find_map(|(words, remedy)| Some((systemd(words)?.text.as_str(), *remedy)));
    match (message, job) {
        (Some((sentence, remedy)), _) => Some(Refusal::new("systemd", sentence, remedy)),
        (None, Some(job)) => Some(Refusal::new("systemd", job, NEEDS)),
        // It is still starting, which is not refused.
        (None, None) => None,
    }
}

/// Returns the seconds from the start of the unit until systemd gave up waiting for it to become active.
pub fn waited(lines: &[Line]) -> Option<Reading> {
    let at = |words: &str| lines.iter().find(|line| line.who == "systemd" && line.text.contains(words));
    let (begin, over) = (at("Starting ")?, at("start operation timed out")?);
    Some(Reading::new("start.time", over.at - begin.at, Unit::Seconds, format!("{}, at least", over.text)))
}

/// Returns whether systemd saw the unit active during the trial.
fn was_active(trial: &Trial) -> bool {
    let entered = trial.shown("ActiveEnterTimestampMonotonic").and_then(|at| at.parse::<f64>().ok());
    entered.is_some_and(|at| at / 1e6 >= trial.begin)
}

fn ran_out_of_memory(trial: &Trial) -> bool {
    let killed = trial.last.get("slice.events.oom_kill").is_some_and(|count| count != "0");
    killed || trial.stops.iter().any(|stop| stop.result == "oom-kill")
}

/// Returns whether a container ran: Podman logged its start, it printed something, or the unit's main process ended with
/// a status that Podman does not use for itself.
fn was_started(trial: &Trial, lines: &[Line]) -> bool {
    let own = |status: &str| status.parse::<u8>().is_ok_and(|status| !(125..=127).contains(&status));
    lines.iter().any(|line| line.who == "podman" && line.text.contains(" container start "))
        || !journal::workload(lines).is_empty()
        || trial.stops.iter().any(|stop| stop.code == "exited" && own(&stop.status))
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

    fn judge(kind: &str, (trial, lines): &(Trial, Vec<Line>)) -> Option<Refusal> {
        refusal(trial, lines, kind, recorded("generator"))
    }

    #[test]
    fn what_podman_the_generator_or_systemd_refused_is_named_in_their_words() {
        for (kind, message, remedy) in [
            (
                "secret",
                "Podman: running container create option: no secret with name or id \"db_password\": no such",
                NEEDS,
            ),
            ("envfile", "Podman: parsing file \"/nowhere/env\": open /nowhere/env: no such file or directory", NEEDS),
            ("bind", "Podman: statfs /nowhere/data: no such file or directory", NEEDS),
            ("netname", "Podman: unable to find network with name or ID absentnet: network not found", NEEDS),
            ("noimage", "Podman: localhost/nowhere:1: image not known", NEEDS),
            ("noprog", "Podman: crun: executable file `/there/is/no/such/program` not found", PROGRAM),
            ("network", "requested Quadlet unit absent.network was not found", QUADLET),
            ("badkey", "unsupported key 'MemoryCeiling' in group 'Container'", QUADLET),
            ("service", "service has a bad unit file setting", QUADLET),
            ("condition", "condition skipped, unmet condition check ConditionPathExists=/nowhere/flag", NEEDS),
            ("assertion", "Assertion failed for ", NEEDS),
            ("pre", "Control process exited, code=exited, status=1/FAILURE", SYSTEMD[4].1),
            ("requires", "Unit absent.service not found", NEEDS),
            ("bindsto", "Dependency failed for ", NEEDS),
            ("limit", "Podman: running container create option: no secret with name or id", NEEDS),
            ("timeout", "start operation timed out", TIME),
        ] {
            let seen = judge(kind, &started(kind)).expect(kind);
            assert!(seen.message.contains(message), "{kind}: {seen:?}");
            assert_eq!(seen.remedy, remedy, "{kind}");
        }
    }

    #[test]
    fn what_a_workload_did_after_its_start_is_no_refusal() {
        for kind in ["exit1", "exit127", "oneshot", "healthy"] {
            assert_eq!(judge(kind, &started(kind)), None, "{kind}");
        }
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
        let at = |at: f64| killed("show.ActiveEnterTimestampMonotonic", &format!("{:.0}", at * 1e6));
        assert!(!refused(&at(trial.begin + 1.0), &silent));
        assert!(refused(&at(trial.begin - 1.0), &silent), "it was active in an earlier trial");
        trial.stops[0].status = "3".into();
        assert!(!refused(&trial, &silent), "Podman does not use this status");
    }

    #[test]
    fn a_start_that_systemd_gave_up_took_at_least_that_long() {
        let waited = |kind: &str| waited(&started(kind).1).and_then(|reading| reading.value.number());
        assert!(waited("timeout").is_some_and(|time| (8.0..8.1).contains(&time)), "{:?}", waited("timeout"));
        assert_eq!((waited("healthy"), waited("secret")), (None, None));
    }

    #[test]
    fn a_unit_is_held_from_when_it_is_active() {
        let (trial, _) = started("healthy");
        let active: f64 = trial.shown("ActiveEnterTimestampMonotonic").unwrap().parse().unwrap();
        assert!(trial.over - active / 1e6 >= 3.0, "it was held for 4 s, counted in whole seconds");
    }
}
