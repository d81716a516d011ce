//! Runs a guest that looks for what is the host's, and reads what it found.

use std::time::Duration;

use super::{Reading, Unreadable};
use crate::base::unit::Unit;
use crate::exec::command::Command;

const SCRIPT: &str = include_str!("sandbox.sh");

/// What the guest looks for, and may be given for a control.
pub const KINDS: [&str; 4] = ["file", "directory", "socket", "environment"];

/// Returns the command that runs the guest; `given` is one of [`KINDS`], or anything else for none of them.
pub fn command(image: &str, given: &str) -> Command {
    Command::script(SCRIPT, &[image, given]).time_limit(Duration::from_secs(180))
}

/// Parses what the guest prints: `sandbox.file: refused: No such file or directory`, and a line for each other kind.
pub fn parse(text: &str) -> Result<Vec<Reading>, Unreadable> {
    let reading = |kind: &str| {
        let probe = format!("sandbox.{kind}");
        let line = text.lines().find_map(|line| line.strip_prefix(&probe)?.strip_prefix(": "));
        let answer =
            line.and_then(|line| Some((line, ["refused", "reached"].into_iter().find(|a| line.starts_with(a))?)));
        let (line, answer) = answer.ok_or_else(|| Unreadable::new(&probe, "refused or reached", text))?;
        Ok(Reading::new(&probe, answer, Unit::Text, line))
    };
    KINDS.into_iter().map(reading).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "sandbox.file: refused: No such file or directory (os error 44)\n\
        sandbox.directory: reached: 1 entries\nsandbox.socket: refused: WASI errors 0 and 14\n\
        sandbox.environment: refused: environment variable not found\n";

    #[test]
    fn each_kind_is_refused_or_reached_and_one_that_is_missing_is_neither() {
        let answers: Vec<_> = parse(PRINTED).unwrap().into_iter().map(|reading| reading.value).collect();
        assert_eq!(answers, ["refused", "reached", "refused", "refused"].map(Into::into));
        for broken in [PRINTED.replace("sandbox.socket: ", ""), PRINTED.replace("reached", "perhaps"), String::new()] {
            assert!(parse(&broken).is_err(), "{broken}");
        }
    }
}
