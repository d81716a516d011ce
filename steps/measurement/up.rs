//! Asks a workload that is up: builds the script that starts it and asks it on its machine, and reads what it printed.

use std::time::Duration;

use super::catalogue::NO_MEMORY;
use super::start::TIME;
use super::trial::{self, Trial};
use super::{Reading, Unreadable};
use crate::base::unit::Unit;
use crate::base::unit_file;
use crate::claims::workload::question::Question;
use crate::exec::command::{Command, quote};

const SCRIPT: &str = include_str!("up.sh");
/// What the machine asks with, in Perl: each Debian has it, and no minimal one has curl.
const CLIENT: &str = include_str!("up.pl");

/// The probe of a question that was not asked. Its value says why.
pub const UNASKED: &str = "answer.lost";

/// How many seconds a start that failed or was given up is recorded with at least; more if a bound is longer.
const LONGEST: u64 = 300;
/// What `timeout` ends with.
const TIMED_OUT: &str = "124";
/// How many of the requests must have been answered for a load to be one.
const ANSWERED: f64 = 0.9;

/// What a workload answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// Its start.
    pub trial: Trial,
    pub readings: Vec<Reading>,
    /// The answers to each question; none if its unit did not become active.
    pub answers: Vec<Vec<Reading>>,
}

/// How a unit is started and asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub unit: &'a str,
    /// Whether the unit is the system's.
    pub root: bool,
    pub questions: &'a [Question],
    /// The path of its first volume.
    pub volume: Option<&'a str>,
    /// Whether it is asked although it did not become active, as a control's is.
    pub even_if_down: bool,
    /// Whether it is killed afterwards, so that another unit can take its place.
    pub then_killed: bool,
}

impl Asked<'_> {
    /// Returns the command that starts the unit and asks. Its output repeats `token`, which must be different each time.
    pub fn command(&self, limit: Duration, token: &str) -> Command {
        let wait = |bound: f64| beyond(bound).to_string();
        let line = |(place, question): (usize, &Question)| {
            let (kind, parts) = match question {
                Question::Ready(_) => return String::new(),
                Question::Connect(port) => ("connect", vec![port.to_string()]),
                Question::Get(url) => ("get", vec![url.clone()]),
                Question::Exec(command) => ("exec", unit_file::split(command)),
                Question::Users | Question::Capabilities(_) => ("processes", Vec::new()),
                Question::Load(rate, url) => ("load", vec![url.clone(), rate.to_string()]),
                Question::Kept(path) => ("kept", vec![path.as_deref().or(self.volume).unwrap_or_default().to_owned()]),
                Question::Back(bound) => ("back", vec![wait(bound.0)]),
                Question::Stops(bound) => ("stops", vec![wait(bound.0)]),
                Question::Memory(url) => ("memory", url.iter().cloned().collect()),
                Question::Rate(url) => ("rate", vec![url.clone()]),
            };
            let parts: String = parts.iter().map(|part| format!(" {}", quote(part))).collect();
            format!("ask {place} {kind}{parts}\n")
        };
        // What disturbs the workload comes last.
        let mut questions: Vec<(usize, &Question)> = self.questions.iter().enumerate().collect();
        questions.sort_by_key(|(_, question)| match question {
            Question::Load(..) => 1,
            Question::Kept(_) => 2,
            Question::Back(_) => 3,
            Question::Stops(_) => 4,
            _ => 0,
        });
        let questions: String = questions.into_iter().map(line).collect();
        let end = if self.then_killed { "kill_unit\n" } else { "" };
        let condition = if self.even_if_down { ":" } else { "[ \"$active\" = active ]" };
        // The shell has read all of it before a command could read the rest of it as its input.
        let script = format!(
            "{{\nclient={}\n{SCRIPT}\nif {condition}; then\n:\n{questions}fi\n{end}finish\n}} </dev/null\n",
            quote(CLIENT)
        );
        let scope = if self.root { "--system" } else { "--user" };
        let seconds = limit.as_secs().to_string();
        let script = Command::script(script, &[scope, self.unit, &seconds, token]);
        let limit = limit + Duration::from_secs(60 + 2 * self.longest());
        as_root(script, self.root).time_limit(limit)
    }

    /// Returns how many seconds are longer than every bound.
    fn longest(&self) -> u64 {
        let bounds = self.questions.iter().map(|question| match question {
            Question::Ready(bound) | Question::Back(bound) | Question::Stops(bound) => beyond(bound.0),
            _ => 0,
        });
        bounds.fold(LONGEST, u64::max)
    }

    /// Reads what the command printed.
    pub fn parse(&self, text: &str) -> Result<Answers, Unreadable> {
        let wrong = |expected: &str, seen: &str| Unreadable::new("answers", expected, seen);
        let (start, rest) = text.split_once("\nready ").ok_or_else(|| wrong("a line \"ready\"", text))?;
        let (ready, rest) = rest.split_once('\n').unwrap_or((rest, ""));
        let finished = rest.lines().next_back().is_some_and(|line| line.starts_with("finished "));
        if !finished {
            return Err(wrong("output that closes with \"finished\"", rest.lines().next_back().unwrap_or_default()));
        }
        let trial = trial::parse(start)?;
        let mut parts = ready.split(' ');
        let (Some(state), Some(healthy), Some(took)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("\"ready STATE HEALTH SECONDS\"", ready));
        };
        let took: f64 = took.parse().map_err(|_| wrong("a number of seconds", took))?;
        let done = trial.last.get("start-status").is_some_and(|status| status == "0");
        let waited = trial.last.get("start-status").is_some_and(|status| status == TIMED_OUT);
        // What failed or was given up is not ready within any bound.
        let is_ready = done && healthy != "no";
        let time = if is_ready { took } else { took.max(self.longest() as f64) };
        let ready = Reading::new("ready.time", time, Unit::Seconds, format!("{ready} (state, health, seconds)"));
        let mut answers = vec![Vec::new(); self.questions.len()];
        for part in format!("\n{rest}").split("\nquestion ").skip(1) {
            let (place, lines) = part.split_once('\n').ok_or_else(|| wrong("a question's number", part))?;
            let place: usize = place.parse().map_err(|_| wrong("a question's number", place))?;
            let question = self.questions.get(place).ok_or_else(|| wrong("a question that was asked", part))?;
            answers[place] = answer(question, lines)?;
        }
        for (question, answer) in self.questions.iter().zip(&mut answers) {
            if matches!(question, Question::Ready(_)) {
                answer.push(ready.clone());
            } else if waited && !self.even_if_down {
                let text = format!("its unit is \"{state}\" {took:.0} s after its start; {TIME}");
                answer.push(Reading::text(UNASKED, &text));
            }
        }
        let mut readings = vec![ready.clone(), Reading::text("unit.state", state)];
        readings.extend(trial.started());
        Ok(Answers { trial, readings, answers })
    }
}

/// Returns how many whole seconds are longer than a bound.
fn beyond(bound: f64) -> u64 {
    bound.ceil() as u64 + 1
}

/// Returns a command as root runs it.
pub fn as_root(command: Command, root: bool) -> Command {
    match root {
        true => {
            Command { argv: ["sudo", "-n"].into_iter().map(str::to_owned).chain(command.argv).collect(), ..command }
        }
        false => command,
    }
}

/// Reads the lines of an answer.
fn answer(question: &Question, text: &str) -> Result<Vec<Reading>, Unreadable> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let value = |key: &str| lines.clone().find(|(own, _)| *own == key).map(|(_, value)| value);
    let number = |key: &str| {
        let text = value(key).unwrap_or_default();
        text.split(' ').next().and_then(|word| word.parse::<f64>().ok()).filter(|number| number.is_finite())
    };
    let wrong = |expected: &str| Unreadable::new("answers", expected, text);
    let unasked = |reason: &str| Ok(vec![Reading::text(UNASKED, reason)]);
    if let Some(reason) = value("unasked") {
        return unasked(reason);
    }
    let seconds = |probe: &str, key: &str| Some(Reading::new(probe, number(key)?, Unit::Seconds, value(key)?));
    let mut readings = Vec::new();
    match question {
        Question::Ready(_) => {}
        Question::Connect(_) => {
            readings.extend(value("net.connect").map(|value| Reading::text("net.connect", value)));
        }
        Question::Get(_) => {
            readings.extend(value("http.status").map(|value| Reading::text("http.status", value)));
            let body = value("http.body").map_or("(nothing)".to_owned(), plain);
            readings.push(Reading::text("http.body", &body));
        }
        Question::Exec(_) => {
            let (output, error) =
                (plain(value("exec.output").unwrap_or_default()), plain(value("exec.error").unwrap_or_default()));
            let code = value("exec.status").ok_or_else(|| wrong("an exit code"))?;
            let raw = format!("exit code {code}: {output}{error}");
            let output = match output.trim_end() {
                "" => format!("(nothing, and exit code {code}) {}", error.trim_end()),
                output => output.to_owned(),
            };
            readings.push(Reading::new("exec.output", output.trim_end(), Unit::Text, raw));
        }
        Question::Kept(_) => readings.extend(value("volume.kept").map(|value| Reading::text("volume.kept", value))),
        Question::Users | Question::Capabilities(_) => {
            for line in text.lines().filter_map(|line| line.strip_prefix("process ")) {
                readings.push(
                    process(question, line).ok_or_else(|| wrong("\"process PID UID PERMITTED EFFECTIVE NAME\""))?,
                );
            }
        }
        Question::Load(rate, _) if value("unlimited").is_none() => {
            let all = [number("load.asked"), number("load.answered"), number("load.seconds"), number("memory.load")];
            let [Some(asked), Some(answered), Some(seconds), Some(most)] = all else {
                return Err(wrong("what was asked and answered"));
            };
            if answered < ANSWERED * f64::from(*rate) * seconds {
                return unasked(&format!("only {answered} of {asked} requests were answered in {seconds} s"));
            }
            let raw = format!("{most} bytes at most while {answered} of {asked} requests were answered in {seconds} s");
            readings.push(Reading::new("memory.load", most, Unit::Bytes, raw));
        }
        Question::Load(..) => {
            let reason = "no memory controller on the machine: what its units use is not accounted";
            readings.push(Reading::text(NO_MEMORY, reason));
        }
        Question::Back(_) => {
            readings
                .extend(seconds("restart.time", "restart.time").or_else(|| seconds("restart.time", "restart.never")));
        }
        Question::Stops(_) => readings.extend(seconds("stop.time", "stop.time")),
        Question::Memory(_) => readings.push(memory(text).ok_or_else(|| wrong("\"memory PID PSS ANONYMOUS NAME\""))?),
        Question::Rate(url) => {
            let (Some(answered), Some(seconds)) = (number("rate.answered"), number("rate.seconds")) else {
                return Err(wrong("what was answered"));
            };
            if answered == 0.0 || seconds == 0.0 {
                let error = value("rate.error").unwrap_or_default();
                return unasked(&format!("no request to {url} was answered: {error}"));
            }
            let raw = format!("{answered} requests answered in {seconds} s, one after the other");
            readings.push(Reading::new("requests.rate", (answered / seconds).round(), Unit::Count, raw));
        }
    }
    match readings.is_empty() {
        true => Err(wrong("an answer")),
        false => Ok(readings),
    }
}

/// Reads a process of a container: `PID UID PERMITTED EFFECTIVE NAME`.
fn process(question: &Question, line: &str) -> Option<Reading> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [_, uid, permitted, effective, ..] = parts[..] else { return None };
    let Question::Capabilities(allowed) = question else {
        return Some(Reading::new("container.uid", uid.parse::<f64>().ok()?, Unit::Count, line));
    };
    let held = u64::from_str_radix(permitted, 16).ok()? | u64::from_str_radix(effective, 16).ok()?;
    let name = |bit: usize| CAPABILITIES.get(bit).map_or(format!("CAP_{bit}"), |name| format!("CAP_{name}"));
    let others: Vec<String> =
        (0..64).filter(|bit| held >> bit & 1 == 1).map(name).filter(|name| !allowed.contains(name)).collect();
    let others = if others.is_empty() { "no other".to_owned() } else { others.join(" ") };
    Some(Reading::new("container.capabilities", others.as_str(), Unit::Text, line))
}

/// Adds up what the processes of a container take, in KiB: `memory PID PSS ANONYMOUS NAME`.
fn memory(text: &str) -> Option<Reading> {
    let (mut all, mut anonymous, mut names) = (0.0, 0.0, Vec::new());
    for line in text.lines().filter_map(|line| line.strip_prefix("memory ")) {
        let parts: Vec<&str> = line.split(' ').collect();
        let [_, pss, own, name, ..] = parts[..] else { return None };
        all += pss.parse::<f64>().ok()? * 1024.0;
        anonymous += own.parse::<f64>().ok()? * 1024.0;
        names.push(name);
    }
    let raw = format!("{anonymous} bytes of it belong to no file; processes: {}", names.join(" "));
    (!names.is_empty()).then(|| Reading::new("memory.pss", all, Unit::Bytes, raw))
}

/// The names of capabilities, by number.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Returns a value that was printed on one line as it was.
fn plain(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line.chars());
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('r')) => out.push('\r'),
            ('\\', Some(other)) => out.push(other),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::unit::Duration as Time;

    fn asked(questions: &[Question]) -> Asked<'_> {
        let (volume, even_if_down, then_killed) = (Some("/data"), false, false);
        Asked { unit: "web", root: false, questions, volume, even_if_down, then_killed }
    }

    fn all() -> Vec<Question> {
        vec![
            Question::Stops(Time(10.0)),
            Question::Kept(None),
            Question::Get("http://localhost:8080/it's".to_owned()),
            Question::Exec("sh -c 'echo \"$x\"'".to_owned()),
            Question::Ready(Time(5.0)),
            Question::Connect(80),
        ]
    }

    #[test]
    fn what_disturbs_the_workload_is_asked_last_and_words_are_quoted() {
        let command = asked(&all()).command(Duration::from_secs(100), "t");
        let text = String::from_utf8(command.stdin.clone()).unwrap();
        let questions: Vec<&str> = text.lines().filter(|line| line.starts_with("ask ")).collect();
        let expected = [
            r"ask 2 get 'http://localhost:8080/it'\''s'",
            r#"ask 3 exec sh -c 'echo "$x"'"#,
            "ask 5 connect 80",
            "ask 1 kept /data",
            "ask 0 stops 11",
        ];
        assert_eq!(questions, expected);
        assert!(command.argv.ends_with(&["--user", "web", "100", "t"].map(str::to_owned)));
        let killed = Asked { then_killed: true, ..asked(&all()) }.command(Duration::from_secs(100), "t");
        assert!(
            String::from_utf8(killed.stdin).unwrap().contains("\nfi\nkill_unit\nfinish\n")
                && !text.contains("\nkill_unit\n")
        );
        let root = Asked { root: true, ..asked(&all()) }.command(Duration::from_secs(100), "t");
        assert_eq!((&*root.argv[0], &*root.argv[4], root.stdin), ("sudo", "--", command.stdin));
    }

    /// Returns the output of a start, and then these lines.
    fn output(ready: &str, rest: &str) -> String {
        format!(
            "token t\nboot b\nsince 1\nbegin 1\nlook 1\nstart-status 0\nshow.ActiveState active\nover 2\nend 2\n\
             ready {ready}\n{rest}finished 3\n"
        )
    }

    /// Returns a line for each reading of the answer to one question.
    fn answered(question: Question, lines: &str) -> String {
        let questions = [question];
        match asked(&questions).parse(&output("active none 0.50", &format!("question 0\n{lines}"))) {
            Ok(answers) => {
                let line = |reading: &Reading| format!("{} {}\n", reading.probe, reading.value.format(reading.unit));
                answers.answers[0].iter().map(line).collect()
            }
            Err(error) => format!("{error}\n"),
        }
    }

    #[test]
    fn each_answer_is_read() {
        let load = || Question::Load(50, "http://h/".to_owned());
        let rate = || Question::Rate("http://h/".to_owned());
        let caps = |allowed: &[&str]| Question::Capabilities(allowed.iter().map(|name| (*name).to_owned()).collect());
        let processes = "process 7 1000 00000000a80425fb 00000000a80425fb nginx\nprocess 8 100032 0 0 nginx\n";
        let mut seen = String::new();
        for (question, lines) in [
            (Question::Connect(80), "net.connect connected\n"),
            (Question::Connect(80), "net.connect refused: closed at once\n"),
            (Question::Connect(80), "unasked the machine has no perl\n"),
            (Question::Connect(80), ""),
            (Question::Get(String::new()), "http.status 200\nhttp.body a\\\\b\\nquestion 1\\n\n"),
            (Question::Get(String::new()), "http.status none: connection refused\n"),
            (Question::Exec(String::new()), "exec.status 0\nexec.output PONG\\n\nexec.error \n"),
            (Question::Exec(String::new()), "exec.status 125\nexec.output \nexec.error Error: no such container\\n\n"),
            (Question::Kept(None), "volume.kept gone: no such file\n"),
            (Question::Users, processes),
            (caps(&["CAP_CHOWN"]), processes),
            (caps(&[]), "process 8 100032 0 0 nginx\n"),
            (caps(&[]), "process 8\n"),
            (Question::Back(Time(5.0)), "restart.time 0.61\n"),
            (Question::Back(Time(5.0)), "restart.never 6.02 the unit is \"failed\"\n"),
            (Question::Stops(Time(5.0)), "stop.time 0.20\nstop.result success\n"),
            (load(), "memory.load 5000000\nload.asked 500\nload.answered 499\nload.seconds 10.00\n"),
            (load(), "memory.load 5000000\nload.asked 500\nload.answered 20\nload.seconds 10.00\n"),
            (load(), "unlimited no memory controller\n"),
            (Question::Memory(None), "memory 7 20000 2000 crun\nmemory 8 5000 500 sh\n"),
            (Question::Memory(None), "memory 7 - - crun\n"),
            (Question::Memory(None), "unasked Podman: no container of the unit web.service\n"),
            (rate(), "rate.answered 1234\nrate.seconds 1.01\n"),
            (rate(), "rate.error connection refused\nrate.answered 0\nrate.seconds 1.00\n"),
            (rate(), "rate.answered 3\n"),
        ] {
            seen += &format!("{lines}{}\n", answered(question, lines));
        }
        insta::assert_snapshot!("answers", seen);
    }

    #[test]
    fn what_fails_or_is_given_up_is_ready_within_no_bound() {
        let questions = [Question::Ready(Time(5.0))];
        let ready = |text: &str| asked(&questions).parse(text).unwrap().answers[0][0].value.number();
        assert_eq!(ready(&output("active none 0.50", "")), Some(0.5));
        assert_eq!(ready(&output("active no 100.00", "")), Some(300.0));
        let late = output("activating none 100.05", "").replace("start-status 0", "start-status 124");
        assert_eq!(ready(&late), Some(300.0));
        let long = [Question::Ready(Time(400.0)), Question::Back(Time(2.0))];
        assert_eq!(asked(&long).parse(&late).unwrap().answers[0][0].value.number(), Some(401.0));
        let questions = [Question::Connect(80)];
        let answers = asked(&questions).parse(&late).unwrap().answers;
        let text = format!("its unit is \"activating\" 100 s after its start; {TIME}");
        assert_eq!(answers[0], [Reading::text(UNASKED, &text)]);
        let failed = output("failed none 0.30", "").replace("start-status 0", "start-status 1");
        assert_eq!(ready(&failed), Some(300.0));
        let cut = output("active none 0.50", "").replace("finished", "ask");
        assert!(asked(&questions).parse(&cut).unwrap_err().to_string().contains("closes with \"finished\""));
    }
}
