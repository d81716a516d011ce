//! Passes a command through the login shell of a remote machine: any shell, whatever its start-up files print. Also
//! tells for certain how the command ended, which `ssh` does not: its exit status 255 may be the command's own.

use std::fmt::Write as _;

use super::super::Printed;
use crate::base::digest::hex;
use crate::base::procfs;
use crate::exec::command::{Command, Status, quote, tail};

/// The text that surrounds a command's own output. The command line contains it in two halves, so a shell that echoes
/// its commands does not print it.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    left: String,
    right: String,
}

/// What a command itself printed, and how it ended, if it did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub status: Option<Status>,
}

impl Mark {
    pub(super) fn new() -> anyhow::Result<Mark> {
        Ok(Mark { left: hex(&procfs::random::<8>()?), right: hex(&procfs::random::<8>()?) })
    }

    /// Returns the line for the login shell: it starts `sh`, which marks the beginning of both streams with its process
    /// group, runs the program, and marks the end of the standard error with the exit code. As in any shell, that is
    /// 128 and the signal's number if a signal ended the program.
    pub(super) fn line(&self, command: &Command) -> String {
        let Mark { left, right } = self;
        let environment = if command.clean_env { "env -i PATH=\"$PATH\"" } else { "env" };
        // The shell's own notice of a program that was killed must not look like the program's: it goes to /dev/null.
        let script = format!(
            "read -r _ _ _ _ assay_group _ </proc/$$/stat; echo {left}\"\"{right} $assay_group; \
             echo {left}\"\"{right} $assay_group >&2; exec 3>&2 2>/dev/null; \
             {environment} \"$@\" 2>&3 3>&-; echo {left}\"\"{right} $? >&3"
        );
        let mut line = format!("exec sh -c {} sh", quote(&script));
        let variables = command.env.iter().map(|(name, value)| format!("{name}={value}"));
        for word in variables.chain(command.argv.iter().cloned()) {
            let _ = write!(line, " {}", quote(&word));
        }
        anywhere(&line)
    }

    /// Returns what the command itself printed, if it began.
    pub(super) fn own(&self, printed: &Printed) -> Option<Own> {
        let (_, stdout) = self.begin(&printed.stdout)?;
        let (_, stderr) = self.begin(&printed.stderr)?;
        let end = stderr.windows(self.text().len()).rposition(|window| window == self.text().as_bytes());
        let code = end.and_then(|at| self.begin(&stderr[at..])).and_then(|(code, _)| number(code));
        let stderr = stderr[..end.unwrap_or(stderr.len())].to_vec();
        Some(Own { stdout: stdout.to_vec(), stderr, status: code.map(Status::Code) })
    }

    /// Returns the line that kills the command, from its output so far: sshd does not signal root's or forced commands.
    pub(super) fn kill(&self, stdout: &[u8]) -> Option<String> {
        let (group, _) = self.begin(stdout)?;
        let group: i32 = number(group)?;
        Some(anywhere(&format!("kill -s KILL -- -{group}")))
    }

    /// Returns a command that only says, on the standard error, that the command before it was not sent. It keeps its
    /// standard output open until then, because `ssh` kills a ProxyCommand that closes it.
    pub(super) fn not_sent(&self) -> String {
        format!("sh -c 'echo {} >&2'", self.unsent())
    }

    pub(super) fn was_not_sent(&self, printed: &Printed) -> bool {
        self.begin(&printed.stdout).is_none() && String::from_utf8_lossy(&printed.stderr).contains(&self.unsent())
    }

    fn unsent(&self) -> String {
        format!("{}-unsent", self.text())
    }

    fn text(&self) -> String {
        format!("{}{}", self.left, self.right)
    }

    /// Returns the number after the first mark, and what follows its line.
    fn begin<'a>(&self, stream: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let mark = self.text() + " ";
        let at = stream.windows(mark.len()).position(|window| window == mark.as_bytes())?;
        let rest = &stream[at + mark.len()..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        Some((&rest[..end], &rest[end + 1..]))
    }
}

fn number(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

pub(super) fn instead(printed: &Printed, status: Status) -> String {
    let [stdout, stderr] = [&printed.stdout, &printed.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    match tail(&format!("{stdout}\n{stderr}"), 6) {
        text if text.is_empty() => format!("nothing, and ended with {status}"),
        text => format!("{text:?}, and ended with {status}"),
    }
}

/// Returns the line with which any login shell runs a line of `sh`. Shells differ in how they read quotes and blanks, `!`
/// and line feeds within them (tcsh) and backslashes (fish), so all but letters, digits and the like go in octal.
fn anywhere(line: &str) -> String {
    let mut coded = String::new();
    for byte in line.bytes() {
        let _ = match byte {
            b' ' | b'_' | b'-' | b'.' | b'/' | b':' | b',' => write!(coded, "{}", char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => write!(coded, "{}", char::from(byte)),
            _ => write!(coded, "\\0{byte:03o}"),
        };
    }
    format!("exec sh -c 'eval \"$(printf %b \"$1\")\"' sh '{coded}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: fn() -> Mark = || Mark { left: "le".into(), right: "ri".into() };

    fn printed(stdout: &str, stderr: &str) -> Printed {
        Printed { stdout: stdout.into(), stderr: stderr.into() }
    }

    /// What becomes of a line is tested with real shells (`tests/entrances/shells.rs`).
    #[test]
    fn a_line_has_nothing_that_any_shell_could_change_and_never_the_whole_mark() {
        let line = MARK().line(&Command::new("printf").args(["it's", "bang!now !!", "two\nlines\n", "^x^y", "\u{e4}"]));
        let (head, coded) = line.split_once(" sh '").unwrap();
        assert_eq!(head, r#"exec sh -c 'eval "$(printf %b "$1")"'"#);
        let plain = |c: char| c.is_ascii_alphanumeric() || " _-./:,\\".contains(c);
        assert!(coded.strip_suffix('\'').unwrap().chars().all(plain) && !coded.contains("leri"), "{coded}");
    }

    #[test]
    fn only_what_is_between_the_marks_is_the_commands() {
        let own =
            MARK().own(&printed("Welcome! leri 12\nuid=0\nleri 12\n", "\nleri 12\nno: leri\nleri 3\nbye")).unwrap();
        let (stdout, stderr) = (b"uid=0\nleri 12\n".to_vec(), b"no: leri\n".to_vec());
        assert_eq!(own, Own { stdout, stderr, status: Some(Status::Code(3)) });
        let lost = MARK().own(&printed("leri 12\nuid", "leri 12\nConnection closed")).unwrap();
        assert_eq!((lost.stderr.as_slice(), lost.status), (b"Connection closed".as_slice(), None));
        assert_eq!(MARK().own(&printed("leri 12\n", "")), None);
    }
}
