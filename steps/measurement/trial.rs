//! Watches one run of a unit from inside the machine: memory, CPU and how it ended.
//!
//! The unit runs in its own slice, which outlives it, so that no data is lost when the unit ends. `ExecStopPost=` saves
//! its exit status, because systemd reports "success, status 0" for a unit that it has unloaded. The output names the
//! request it answers and the machine's boot, so that it cannot be mistaken for another trial's. The watching also
//! measures its own cost.

mod readings;
pub mod watch;

use std::collections::BTreeMap;

use super::Unreadable;

const PROBE: &str = "trial";

/// Looks are a second apart, or a few seconds on a busy emulated CPU. After this many seconds without one, the machine
/// stood still or its clock jumped.
pub const STANDSTILL: f64 = 60.0;

/// One observation of the unit's control group while it ran.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitLook {
    /// Seconds since the machine's boot.
    pub at: f64,
    /// The values: `unit.current`, `payload.anon`, `available` … in bytes; `*.usage_usec` in microseconds. Empty if the
    /// unit was down.
    pub values: BTreeMap<String, f64>,
}

/// How one activation of the unit ended, as systemd reported it to `ExecStopPost=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// systemd's result: `success`, `exit-code`, `oom-kill` …
    pub result: String,
    /// `exited`, `killed` or `dumped`; `none` if its main process was never started.
    pub code: String,
    /// The exit status, the signal's name, or `none`.
    pub status: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub token: String,
    /// The id of the boot on which it ran.
    pub boot: String,
    /// When it began by the machine's calendar clock, in whole Unix seconds.
    pub since: u64,
    /// When the start was requested, in seconds since boot.
    pub begin: f64,
    /// When the watching ended, in seconds since boot.
    pub over: f64,
    /// When everything had been cleaned up, in seconds since boot.
    pub end: f64,
    pub gave_up: bool,
    pub looks: Vec<UnitLook>,
    pub stops: Vec<Stop>,
    /// What belongs to no look, as printed: `show.*`, `slice.*`, `sampler.*`, `session.*`, `start-status` and others.
    pub last: BTreeMap<String, String>,
}

pub fn parse(text: &str) -> Result<Trial, Unreadable> {
    let (rest, last_line) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
    let Some(("end", end)) = last_line.split_once(' ') else {
        return Err(wrong("output that closes with \"end\"", last_line));
    };
    let (mut looks, mut stops, mut last) = (Vec::<UnitLook>::new(), Vec::new(), BTreeMap::new());
    for line in rest.lines() {
        let (key, value) = line.split_once(' ').ok_or_else(|| wrong("\"key value\"", line))?;
        match key {
            "look" => looks.push(UnitLook { at: number(line, value)?, values: BTreeMap::new() }),
            "stop" => stops.push(parse_stop(value).ok_or_else(|| wrong("\"stop RESULT CODE STATUS\"", line))?),
            _ if is_of(&LAST, key) => {
                last.insert(key.to_owned(), value.to_owned());
            }
            _ if is_of(&SEEN, key) => {
                let look = looks.last_mut().ok_or_else(|| wrong("a look before its values", line))?;
                look.values.insert(key.to_owned(), number(line, value)?);
            }
            _ => return Err(wrong("something that a trial says, once", line)),
        }
    }
    let line = |key: &str| last.get(key).cloned().ok_or_else(|| wrong(&format!("a line \"{key}\""), ""));
    let time = |key: &str| line(key).and_then(|value| number(&value, &value));
    let since = line("since")?;
    let trial = Trial {
        token: line("token")?,
        boot: line("boot")?,
        since: since.parse().map_err(|_| wrong("whole Unix seconds", &since))?,
        begin: time("begin")?,
        over: time("over")?,
        end: number(last_line, end)?,
        gave_up: last.contains_key("gave-up"),
        looks,
        stops,
        last,
    };
    trial.went_forward()?;
    Ok(trial)
}

/// Keys that do not belong to a look; with a dot or dash at the end, the beginnings of such keys.
const LAST: [&str; 13] = [
    "token",
    "boot",
    "since",
    "controllers",
    "begin",
    "over",
    "gave-up",
    "killed-after",
    "show.",
    "slice.",
    "sampler.",
    "session.",
    "start-",
];
/// Keys that belong to the look before them.
const SEEN: [&str; 4] = ["unit.", "runtime.", "payload.", "available"];

fn is_of(known: &[&str], key: &str) -> bool {
    known.iter().any(|known| *known == key || (known.ends_with(['.', '-']) && key.starts_with(known)))
}

fn wrong(expected: &str, seen: &str) -> Unreadable {
    Unreadable::new(PROBE, expected, seen)
}

fn number(line: &str, value: &str) -> Result<f64, Unreadable> {
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(wrong("a number that is not negative", line)),
    }
}

fn stood_still(seen: &str) -> Unreadable {
    wrong("a look about every second, not a machine that stood still or whose clock jumped", seen)
}

fn parse_stop(text: &str) -> Option<Stop> {
    let mut words = text.split(' ').map(str::to_owned);
    let stop = Stop { result: words.next()?, code: words.next()?, status: words.next()? };
    (words.next().is_none() && !stop.status.is_empty()).then_some(stop)
}

impl UnitLook {
    pub fn is_up(&self) -> bool {
        self.values.keys().any(|key| key.starts_with("payload."))
    }
}

impl Trial {
    /// Checks that the trial answers the request with this token, on this boot of the machine.
    pub fn belongs(&self, token: &str, boot: &str) -> Result<(), Unreadable> {
        if self.token != token {
            let expected = format!("the output of this trial ({token}), not stale output of an earlier one");
            return Err(wrong(&expected, &format!("token {}", self.token)));
        }
        if self.boot != boot {
            let expected =
                format!("the output of the machine that was asked ({boot}), not of another or after a reboot");
            return Err(wrong(&expected, &format!("boot {}", self.boot)));
        }
        Ok(())
    }

    /// Checks that times never decrease from beginning to end, and that consecutive ones are close together.
    fn went_forward(&self) -> Result<(), Unreadable> {
        let looks = self.looks.iter().map(|look| look.at);
        let moments: Vec<f64> = [self.begin].into_iter().chain(looks).chain([self.over]).collect();
        let jump = moments.windows(2).find(|pair| !(0.0..=STANDSTILL).contains(&(pair[1] - pair[0])));
        match jump {
            Some(pair) => Err(stood_still(&format!("{:.2} s followed by {:.2} s", pair[0], pair[1]))),
            None if self.end < self.over => Err(stood_still("an end before the last look")),
            None => Ok(()),
        }
    }

    /// Returns the unit's share of one CPU between the first and last look at its running workload. Returns `None` for
    /// a unit that was restarted, because its counter began again.
    fn cpu_share(&self) -> Option<f64> {
        let counter = |look: &UnitLook| Some((look.at, *look.values.get("unit.cpu.usage_usec")?));
        let counted: Vec<(f64, f64)> = self.looks.iter().filter(|look| look.is_up()).filter_map(counter).collect();
        let ((begin, before), (end, after)) = (*counted.first()?, *counted.last()?);
        let went_up = counted.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        (went_up && end > begin).then(|| (after - before) / 1e6 / (end - begin))
    }

    /// Returns the seconds from systemd's start of the unit until Podman reported the container as running.
    fn start_time(&self) -> Option<f64> {
        let at = |key: &str| self.shown(key)?.parse::<f64>().ok().filter(|at| *at > 0.0);
        let took = at("ActiveEnterTimestampMonotonic")? - at("InactiveExitTimestampMonotonic")?;
        (took >= 0.0).then_some(took / 1e6)
    }

    /// Returns systemd's last value for a property of the unit: `show.KEY`.
    pub fn shown(&self, key: &str) -> Option<&str> {
        self.last.get(&format!("show.{key}")).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Reading;

    const RECORDED: &str = include_str!("../../fixtures/probes/trial-hello.txt");

    /// Returns the output of a trial that has only these lines.
    fn output(seen: &str) -> String {
        format!("token t\nboot b\nsince 1795394930\nbegin 1\n{seen}over 9\nend 9.5\n")
    }

    pub fn trial(seen: &str) -> Trial {
        parse(&output(seen)).unwrap()
    }

    /// Returns a line for each reading: its probe, its value, and what it was read from.
    fn listed(trial: &Trial) -> String {
        let line = |Reading { probe, value, unit, raw }: Reading| format!("  {probe} {value:?} {unit:?}: {raw}\n");
        match trial.readings() {
            Ok(readings) => readings.into_iter().map(line).collect(),
            Err(error) => format!("  {error}\n"),
        }
    }

    #[test]
    fn a_recorded_trial_yields_its_end_its_memory_and_its_cost() {
        let trial = parse(RECORDED).unwrap();
        insta::assert_snapshot!("recorded", listed(&trial));
        let up = trial.looks.iter().filter(|look| look.is_up()).count();
        assert!(up >= 5, "a workload of ten seconds is looked at each second");
        assert!(trial.timeline().any(|(_, reading)| reading.probe == "timeline.payload.anon"));
    }

    #[test]
    fn output_that_is_cut_off_garbled_or_absurd_is_refused() {
        let without = |key: &str| output("").split_inclusive('\n').filter(|line| !line.starts_with(key)).collect();
        for (text, expected) in [
            (String::new(), "closes with"),
            ("end\n".to_owned(), "closes with"),
            (RECORDED[..RECORDED.len() / 2].to_owned(), "closes with"),
            (RECORDED.repeat(2), "once"),
            (without("token"), "a line \"token\""),
            (without("boot"), "a line \"boot\""),
            (without("since"), "a line \"since\""),
            (without("begin"), "a line \"begin\""),
            (without("over"), "a line \"over\""),
            (output("look 2\nunit.current -5\n"), "not negative"),
            (output("look 2\nunit.current NaN\n"), "not negative"),
            (output("look 2\nsh: out of memory\n"), "something that a trial says"),
            (output("unit.current 5\n"), "a look before its values"),
            (output("stop success\n"), "RESULT CODE STATUS"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_machine_that_stood_still_or_whose_clock_jumped_is_refused() {
        assert_eq!(trial("look 2\nlook 2\nlook 3\n").looks.len(), 3);
        let looks = |times: &str| parse(&format!("token t\nboot b\nsince 1\nbegin 100\n{times}over 200\nend 201\n"));
        assert!(looks("look 130\nlook 190\n").is_ok());
        for (what, times) in [
            ("a gap", "look 101\nlook 162\nlook 199\n"),
            ("a gap before the first look", "look 161\nlook 199\n"),
            ("a gap after the last look", "look 130\nlook 139\n"),
            ("back", "look 130\nlook 129\nlook 180\n"),
            ("before the beginning", "look 99\nlook 130\nlook 180\n"),
            ("after the end", "look 130\nlook 180\nlook 200.1\n"),
            ("no look at all", ""),
        ] {
            let error = looks(times).unwrap_err().to_string();
            assert!(error.contains("a machine that stood still or whose clock jumped"), "{what}: {error}");
        }
        let early = "token t\nboot b\nsince 1\nbegin 1\nover 3\nend 2\n";
        assert!(parse(early).unwrap_err().to_string().contains("an end before the last look"));
    }

    #[test]
    fn readings_follow_from_what_was_printed_and_a_limit_counts_only_where_it_is_enforced() {
        let used = |used: [u32; 3]| {
            let look = |(at, used)| format!("look {at}\nunit.cpu.usage_usec {used}\npayload.current 1\n");
            (2..).zip(used).map(look).collect::<String>()
        };
        let (steady, restarted) = (used([500_000, 600_000, 700_000]), used([500_000, 10_000, 700_000]));
        let quota = "look 2\nunit.quota_usec 20000\nunit.period_usec 100000\npayload.anon 1\n";
        let printed = [
            "",
            "show.MemoryMax 33554432\n",
            "show.MemoryMax infinity\nshow.CPUQuotaPerSecUSec infinity\n",
            "show.CPUQuotaPerSecUSec 100ms\n",
            "show.CPUQuotaPerSecUSec 1s 500ms\n",
            "controllers cpu memory\nshow.MemoryMax 4097\nlook 2\nunit.max 4096\npayload.anon 1\n",
            "controllers memory\nshow.MemoryMax 4096\nlook 2\npayload.anon 1\n",
            "controllers none\nshow.MemoryMax 4096\n",
            "controllers cpu pids\n",
            "controllers cpu\nshow.CPUQuotaPerSecUSec 100ms\n",
            "controllers none\nshow.CPUQuotaPerSecUSec 100ms\n",
            &format!("controllers memory cpu\nshow.CPUQuotaPerSecUSec 100ms\n{quota}"),
            // Of a unit that never stopped, systemd shows a status, too.
            "show.ExecMainStatus 0\nshow.Result success\n",
            "show.ActiveState active\nshow.SubState running\n",
            "show.ActiveState active\nshow.SubState exited\n",
            // The limit is printed once, for all looks.
            "look 2\nunit.current 100\nunit.max 500\nlook 3\nunit.current 200\npayload.current 50\n",
            &steady,
            &restarted,
            "slice.io.none rbytes=0 wbytes=0\n",
            "slice.io.254:0 rbytes=4096 wbytes=8192 rios=1\nslice.io.8:0 rbytes=4096 wbytes=0\n",
            "sampler.usage_usec 80000\n",
            "show.MemoryMax much\n",
            "show.CPUQuotaPerSecUSec 100\n",
            "slice.peak inf\n",
            "slice.io.254:0 rbytes=4096\n",
            "stop success exited inf\n",
            // How it ends when its time is over is not its own doing.
            "stop success exited 0\nstop exit-code exited 137\n",
            "killed-after 1\nstop success exited 0\nstop exit-code exited 137\n",
            "killed-after 0\nstop exit-code exited 137\n",
            "killed-after x\n",
        ];
        let seen = printed.map(|printed| format!("{printed}{}", listed(&trial(printed))));
        insta::assert_snapshot!("readings", seen.concat());
    }
}
