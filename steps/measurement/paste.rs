//! Pastes a block of the annex's commands on a machine, and reads its result.

use std::time::Duration;

use super::{Reading, Unreadable, shape};
use crate::base::unit::Unit;
use crate::claims::annex_text::Block;
use crate::exec::command::{Command, tail};

const SCRIPT: &str = include_str!("paste.sh");
/// For how many seconds a log must be silent until its reader leaves it: five times as long as the annex's workload is.
const SILENCE: u32 = 10;
/// After how many seconds the reader leaves it in any case.
const MOST: u32 = 120;
const LIMIT: Duration = Duration::from_secs(240);

/// What begins the lines in which systemd shows a unit's memory.
const MEMORY: &str = "Memory";

/// What a machine of a run cannot be asked for, by what asks for it, and why.
const OUT_OF_REACH: [(&str, &str); 4] = [
    ("apt install", "a machine that lacks the packages and reaches their archive"),
    ("podman push ", "a public registry that the run may write to"),
    ("podman pull ", "the public registry of the annex"),
    ("podman login ", "an account at the public registry"),
];

/// What a block has printed, and which of its commands failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pasted {
    pub printed: String,
    pub outcome: Outcome,
    /// The folder that it ended in.
    pub folder: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    /// The first command that did not end with 0, and its status.
    Failed {
        status: u8,
        command: String,
    },
    /// The machine does not have this program; no command before it failed.
    Lacks {
        program: String,
    },
}

/// Returns what a block needs that no machine of a run has.
pub fn out_of_reach(block: &Block) -> Option<String> {
    if let Some(word) = block.placeholder() {
        return Some(format!("block {} needs a value for {word}, which this run does not have", block.name));
    }
    let asks = |(words, _): &&(&str, &str)| block.commands().any(|line| line.contains(words));
    let (_, what) = OUT_OF_REACH.iter().find(asks)?;
    Some(format!("block {} needs {what}", block.name))
}

/// Returns the command that pastes a block in a folder. Its output repeats `token`, which must be different each time.
pub fn command(block: &Block, folder: &str, token: &str) -> Command {
    let arguments = ["-c", SCRIPT, "paste", &block.text, folder, token, &SILENCE.to_string(), &MOST.to_string()];
    Command::new("bash").args(arguments).time_limit(LIMIT)
}

pub fn parse(text: &str, token: &str) -> Result<Pasted, Unreadable> {
    let wrong = |seen: &str| Unreadable::new("paste", "the result of the block, below its output", seen);
    let (printed, rest) = text.split_once(&format!("\n{token}\n")).ok_or_else(|| wrong(&tail(text, 2)))?;
    let mut pasted = Pasted { printed: printed.to_owned(), outcome: Outcome::Succeeded, folder: String::new() };
    for line in rest.lines() {
        let outcome = match line.split_once(' ').ok_or_else(|| wrong(line))? {
            ("lacks", program) => Outcome::Lacks { program: program.to_owned() },
            ("failed", rest) => {
                let (status, command) = rest.split_once(' ').ok_or_else(|| wrong(line))?;
                Outcome::Failed { status: status.parse().map_err(|_| wrong(line))?, command: command.to_owned() }
            }
            ("folder", folder) => {
                pasted.folder = folder.to_owned();
                continue;
            }
            _ => return Err(wrong(line)),
        };
        if pasted.outcome == Outcome::Succeeded {
            pasted.outcome = outcome;
        }
    }
    if pasted.folder.is_empty() { Err(wrong(&tail(text, 2))) } else { Ok(pasted) }
}

/// Returns the probe that says why a check of a block cannot be made.
pub fn unrun(what: &str, block: &str) -> String {
    format!("paste.unrun.{what}.{block}")
}

/// Returns the readings of a block that was not run, or not to its end, for this reason.
pub fn not_judged(block: &Block, why: &str) -> Vec<Reading> {
    ["status", "lacks"].map(|what| Reading::text(&unrun(what, &block.name), why)).to_vec()
}

impl Pasted {
    /// Returns how the block ended, and the first line that the annex shows and it did not print, on a machine whose user
    /// has these cgroup controllers.
    pub fn readings(&self, block: &Block, controllers: &[String]) -> Vec<Reading> {
        let name = &block.name;
        let (status, raw) = match &self.outcome {
            Outcome::Lacks { program } => {
                return not_judged(block, &format!("block {name} needs {program}, which the machine does not have"));
            }
            Outcome::Failed { status, command } => {
                (*status, format!("`{command}` ended with {status}: {}", tail(&self.printed, 2)))
            }
            Outcome::Succeeded => (0, "each command ended with 0".to_owned()),
        };
        let status = Reading::new(&format!("paste.status.{name}"), f64::from(status), Unit::Count, raw);
        let counted = block.shown.iter().any(|line| line.starts_with(MEMORY));
        if counted && !controllers.iter().any(|controller| controller == "memory") {
            let why =
                format!("block {name} shows what the cgroup controller memory counts, which the machine does not have");
            return vec![status, Reading::text(&unrun("lacks", name), &why)];
        }
        let lacks = shape::lacks(&block.shown, &self.printed).unwrap_or("nothing");
        let raw = format!("{} lines are shown; printed: {}", block.shown.len(), tail(&self.printed, 3));
        vec![status, Reading::new(&format!("paste.lacks.{name}"), lacks, Unit::Text, raw)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;

    fn block(text: &str) -> Block {
        Block { name: "6.3".to_owned(), line: 1, text: text.to_owned(), shown: vec!["size 12K".to_owned()] }
    }

    /// Pastes a block on this host, in a folder of its own.
    fn paste(text: &str) -> Pasted {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(&block(text), &folder.path().display().to_string(), "token");
        // A second of silence is enough here.
        let silence = command.argv.len() - 2;
        command.argv[silence] = "1".to_owned();
        let output = process::Command::new(&command.argv[0]).args(&command.argv[1..]).output().unwrap();
        let pasted = parse(&String::from_utf8(output.stdout).unwrap(), "token").unwrap();
        let own = folder.path().canonicalize().unwrap().display().to_string();
        Pasted { folder: pasted.folder.replace(&own, "."), ..pasted }
    }

    #[test]
    fn a_block_is_pasted_command_by_command() {
        let pasted = paste(
            "# Here\nmkdir -p a/b && \\\n  cd a\ncat <<'END' > b/file\n# kept $HOME\nEND\ncat b/file\nfor i in 1 2; do\n  echo $i\ndone\nread -r x || echo no input\n",
        );
        assert_eq!((pasted.printed.as_str(), &pasted.outcome), ("# kept $HOME\n1\n2\nno input\n", &Outcome::Succeeded));
        assert_eq!(pasted.folder, "./a");
    }

    #[test]
    fn a_log_that_is_followed_is_left_when_it_is_silent() {
        let with = |program: &str| {
            let log = "PATH=$PWD:$PATH\nprintf '#!/bin/sh\\n%s\\n' 'PROGRAM' > journalctl\nchmod +x journalctl\n";
            paste(&(log.replace("PROGRAM", program) + "journalctl -u mill -f\njournalctl\n"))
        };
        let followed = with("echo $# beans; [ $# = 0 ] || exec sleep 100");
        assert_eq!((followed.printed.as_str(), followed.outcome), ("3 beans\n0 beans\n", Outcome::Succeeded));
        let command = "journalctl -u mill -f".to_owned();
        assert_eq!(with("echo no >&2; exit 1").outcome, Outcome::Failed { status: 1, command });
    }

    #[test]
    fn the_first_command_that_fails_counts_and_the_rest_still_runs() {
        let failed = |status: u8, command: &str| Outcome::Failed { status, command: command.to_owned() };
        let cd = "cd nowhere/at/all";
        let pasted = paste(&format!("{cd}\nno-such-program\n(exit 3)\necho last\n"));
        assert_eq!(pasted.outcome, failed(1, cd));
        assert!(pasted.printed.ends_with("last\n"), "{pasted:?}");
        assert_eq!(paste("false && true\ntrue\n").outcome, failed(1, "false && true"));
        assert_eq!(paste("echo \"open\n").outcome, failed(2, "echo \"open"));
        assert_eq!(paste("false | true\nfalse || true\n").outcome, Outcome::Succeeded);
    }

    #[test]
    fn a_program_that_the_machine_lacks_is_not_the_blocks_fault() {
        let lacks = Outcome::Lacks { program: "no-such-program".to_owned() };
        for text in ["no-such-program | cat\nfalse\n", "A=$(no-such-program x)\n", "true && no-such-program\n"] {
            let pasted = paste(text);
            assert_eq!(pasted.outcome, lacks, "{text}");
            let readings = pasted.readings(&block(text), &[]);
            let why = "block 6.3 needs no-such-program, which the machine does not have";
            assert_eq!(readings, ["status", "lacks"].map(|what| Reading::text(&unrun(what, "6.3"), why)));
        }
    }

    #[test]
    fn status_and_shape_are_read() {
        let read = |text: &str, shown: &str, controllers: &[String]| {
            let block = Block { shown: vec![shown.to_owned()], ..block(text) };
            let readings = paste(text).readings(&block, controllers).into_iter();
            readings.map(|reading| (reading.probe, reading.value)).collect::<Vec<_>>()
        };
        let [status, lacks] = ["paste.status.6.3", "paste.lacks.6.3"].map(str::to_owned);
        let both = |code: f64, line: &str| [(status.clone(), code.into()), (lacks.clone(), line.into())];
        assert_eq!(read("echo size 13M\n", "size 12K", &[]), both(0.0, "nothing"));
        assert_eq!(read("echo 13M; (exit 7)\n", "size 12K", &[]), both(7.0, "size 12K"));
        let (text, shown) = ("echo 'MemoryPeak=[not set]'\n", "MemoryPeak=18685952");
        assert_eq!(read(text, shown, &["memory".to_owned()]), both(0.0, shown));
        let unknown = read(text, shown, &["cpu".to_owned()]);
        assert_eq!((unknown[0].clone(), unknown[1].0.as_str()), (both(0.0, "")[0].clone(), "paste.unrun.lacks.6.3"));
        assert!(parse("size 13M\n", "token").is_err(), "a block that was not over");
        assert!(parse("\ntoken\nfolder /\n", "another").is_err());
    }

    #[test]
    fn what_only_others_can_give_is_not_run() {
        let why = |text: &str| out_of_reach(&block(text));
        assert_eq!(
            why("aws x --key YOUR_KEY\n").unwrap(),
            "block 6.3 needs a value for YOUR_KEY, which this run does not have"
        );
        assert!(why("sudo apt update && sudo apt install -y podman\n").unwrap().contains("lacks the packages"));
        assert!(why("podman push x\n").unwrap().contains("may write to"));
        assert_eq!(why("# podman push x\npodman images\n"), None);
    }
}
