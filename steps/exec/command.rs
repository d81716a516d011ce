//! A command and its output, as plain values: nothing here runs anything.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub const TIME_LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub argv: Vec<String>,
    /// Variables set for it; see [`Command::isolated`] for those it inherits.
    pub env: Vec<(String, String)>,
    /// Whether it gets nothing of the caller's environment except `PATH`.
    pub clean_env: bool,
    pub stdin: Vec<u8>,
    pub time_limit: Duration,
}

impl Command {
    pub fn new(program: impl Into<String>) -> Self {
        let (argv, env, stdin) = (vec![program.into()], Vec::new(), Vec::new());
        Command { argv, env, clean_env: false, stdin, time_limit: TIME_LIMIT }
    }

    /// Creates a command that runs a script with `sh` and positional parameters.
    pub fn script(text: impl Into<String>, parameters: &[&str]) -> Self {
        Command::new("sh").args(["-s", "--"]).args(parameters.iter().copied()).stdin(text.into())
    }

    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.argv.push(argument.into());
        self
    }

    pub fn args<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.argv.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs it without the caller's environment, except `PATH`.
    pub fn isolated(mut self) -> Self {
        self.clean_env = true;
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Formats the command for a POSIX shell, variables first.
    pub fn line(&self) -> String {
        let variables = self.env.iter().map(|(name, value)| format!("{name}={}", quote(value)));
        let prefix = self.clean_env.then(|| "env -i PATH=\"$PATH\"".to_owned());
        let words = self.argv.iter().map(|word| quote(word));
        prefix.into_iter().chain(variables).chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// Quotes a word for a POSIX shell, if the word needs it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Code(i32),
    Signal(i32),
}

impl From<std::process::ExitStatus> for Status {
    fn from(status: std::process::ExitStatus) -> Status {
        match status.signal() {
            Some(signal) => Status::Signal(signal),
            None => Status::Code(status.code().unwrap_or(-1)),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Status::Code(code) => write!(out, "exit code {code}"),
            Status::Signal(signal) => write!(out, "signal {signal}"),
        }
    }
}

/// The output and status of a command that ended.
#[derive(Clone, Debug)]
pub struct Output {
    pub line: String,
    pub status: Status,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// How long it took, by the caller's clock.
    pub wall: Duration,
}

impl Output {
    /// Returns its standard output as text, with invalid UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns its standard error as text, with invalid UTF-8 replaced.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    pub fn succeeded(&self) -> bool {
        self.status == Status::Code(0)
    }

    /// Returns itself if it exited with code 0, and otherwise an error with its status and the end of its output.
    pub fn success(self) -> anyhow::Result<Output> {
        let printed = || if self.stderr.trim_ascii().is_empty() { self.text() } else { self.errors() };
        anyhow::ensure!(self.succeeded(), "`{}` ended with {}: {}", self.line, self.status, tail(&printed(), 6));
        Ok(self)
    }
}

/// Joins the last non-blank lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let command = Command::new("podman").args(["run", "it's here", ""]).env("HOME", "/tmp/a b");
        assert_eq!(command.line(), r"HOME='/tmp/a b' podman run 'it'\''s here' ''");
        assert_eq!(Command::new("id").isolated().line(), "env -i PATH=\"$PATH\" id");
    }

    #[test]
    fn a_failed_command_tells_its_status_and_the_end_of_what_it_said() {
        let output = Output {
            line: "podman pull x".into(),
            status: Status::Code(125),
            stdout: Vec::new(),
            stderr: b"one\n\ntwo\n".to_vec(),
            wall: Duration::ZERO,
        };
        assert_eq!(output.success().unwrap_err().to_string(), "`podman pull x` ended with exit code 125: one\ntwo");
    }
}
