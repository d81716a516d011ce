//! Passes a command through the login shell of a remote machine: any shell, whatever its start-up files print.

use std::fmt::Write as _;

use crate::base::procfs;
use crate::exec::command::{Command, Output, tail};

/// The text that precedes a command's own output. The command line contains it in two halves, so a shell that echoes
/// its commands does not print it.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    left: String,
    right: String,
}

impl Mark {
    pub(super) fn new() -> anyhow::Result<Mark> {
        let random: [u8; 32] = procfs::random()?;
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Ok(Mark { left: hex(&random[..8]), right: hex(&random[8..16]) })
    }

    /// Returns the line for the login shell: it starts `sh`, which marks both streams and executes the program.
    pub(super) fn line(&self, command: &Command) -> String {
        let Mark { left, right } = self;
        let environment = match (command.clean_env, command.env.is_empty()) {
            (true, _) => "env -i PATH=\"$PATH\" ",
            (false, false) => "env ",
            (false, true) => "",
        };
        let script = format!("echo {left}\"\"{right} $$; echo {left}\"\"{right} $$ >&2; exec {environment}\"$@\"");
        let mut line = format!("exec sh -c {} sh", anywhere(&script));
        let variables = command.env.iter().map(|(name, value)| format!("{name}={value}"));
        for word in variables.chain(command.argv.iter().cloned()) {
            let _ = write!(line, " {}", anywhere(&word));
        }
        line
    }

    /// Returns the output of the command itself.
    pub(super) fn own(&self, output: Output) -> Result<Output, String> {
        let said = || match tail(&format!("{}\n{}", output.text(), output.errors()), 6) {
            said if said.is_empty() => format!("nothing, and ended with {}", output.status),
            said => format!("{said:?}, and ended with {}", output.status),
        };
        let stdout = self.after(&output.stdout).ok_or_else(said)?.to_vec();
        let stderr = self.after(&output.stderr).ok_or_else(said)?.to_vec();
        Ok(Output { stdout, stderr, ..output })
    }

    /// Returns the line that kills the command, from its output so far: sshd does not signal root's or forced commands.
    pub(super) fn end(&self, stdout: &[u8]) -> Option<String> {
        let (pid, _) = self.split(stdout)?;
        let pid: u32 = std::str::from_utf8(pid).ok()?.parse().ok()?;
        Some(format!("exec sh -c {}", anywhere(&format!("kill -s KILL -- -{pid} || kill -s KILL {pid}"))))
    }

    fn after<'a>(&self, stream: &'a [u8]) -> Option<&'a [u8]> {
        Some(self.split(stream)?.1)
    }

    /// Returns the process id after the mark, and what follows it.
    fn split<'a>(&self, stream: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let mark = format!("{}{} ", self.left, self.right);
        let at = stream.windows(mark.len()).position(|window| window == mark.as_bytes())?;
        let rest = &stream[at + mark.len()..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        Some((&rest[..end], &rest[end + 1..]))
    }
}

/// Quotes a word so that bash, dash, zsh and fish read it alike: fish knows escapes between single quotes, and zsh
/// expands a word that begins with `=`.
fn anywhere(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("'");
    for c in word.chars() {
        match c {
            '\'' => quoted.push_str("'\"'\"'"),
            '\\' => quoted.push_str("'\"\\\\\"'"),
            c => quoted.push(c),
        }
    }
    quoted + "'"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::exec::command::Status;

    const MARK: fn() -> Mark = || Mark { left: "le".into(), right: "ri".into() };

    fn output(stdout: &str, stderr: &str) -> Output {
        let (stdout, stderr) = (stdout.into(), stderr.into());
        Output { line: "id".into(), status: Status::Code(1), stdout, stderr, wall: Duration::ZERO }
    }

    #[test]
    fn a_line_hands_over_and_never_holds_the_whole_mark() {
        let line = MARK().line(&Command::new("printf").args(["it's", r"a\b", "", "=x"]).env("A", "b c"));
        let words = r#"sh 'A=b c' printf 'it'"'"'s' 'a'"\\"'b' '' '=x'"#;
        assert_eq!(line, format!(r#"exec sh -c 'echo le""ri $$; echo le""ri $$ >&2; exec env "$@"' {words}"#));
        let clean = MARK().line(&Command::new("id").isolated());
        assert_eq!(clean, r#"exec sh -c 'echo le""ri $$; echo le""ri $$ >&2; exec env -i PATH="$PATH" "$@"' sh id"#);
    }

    #[test]
    fn what_was_printed_before_the_mark_is_not_the_commands() {
        let own = MARK().own(output("Welcome! leri 12\nuid=0\nleri 12\n", "\nleri 12\n")).unwrap();
        assert_eq!((own.text().as_str(), own.errors().as_str()), ("uid=0\nleri 12\n", ""));
    }

    #[test]
    fn a_command_is_ended_by_the_process_that_its_mark_names() {
        let line = MARK().end(b"Welcome! leri 12\nuid=0\n");
        assert_eq!(line.as_deref(), Some("exec sh -c 'kill -s KILL -- -12 || kill -s KILL 12'"));
        assert_eq!(MARK().end(b"Welcome! leri 1"), None);
    }

    #[test]
    fn a_command_that_never_ran_is_told_with_what_was_printed_instead() {
        let said = MARK().own(output("This account is currently not available.\n", "")).unwrap_err();
        assert_eq!(said, "\"This account is currently not available.\", and ended with exit code 1");
        assert_eq!(MARK().own(output("", "")).unwrap_err(), "nothing, and ended with exit code 1");
    }
}
