//! A shell with prepared answers, so that code can be tested without a machine.

#![cfg(test)]

use std::time::Duration;

use super::ShellError;
use crate::exec::command::{Command, Output, Status};

/// Answers commands by the beginning of their line; a command without an answer exits with code 127.
#[derive(Debug, Default)]
pub struct Fake {
    answers: Vec<(String, i32, String)>,
}

impl Fake {
    pub fn answer(mut self, line: &str, code: i32, stdout: &str) -> Self {
        self.answers.push((line.to_owned(), code, stdout.to_owned()));
        self
    }

    pub(super) fn run(&self, command: &Command) -> Result<Output, ShellError> {
        let line = command.line();
        let known = self.answers.iter().find(|(start, ..)| line.starts_with(start.as_str()));
        let (code, stdout, stderr) = match known {
            Some((_, code, stdout)) => (*code, stdout.clone(), String::new()),
            None => (127, String::new(), format!("no reply is set for {line}")),
        };
        Ok(Output {
            line,
            status: Status::Code(code),
            stdout: stdout.into_bytes(),
            stderr: stderr.into_bytes(),
            wall: Duration::from_millis(1),
        })
    }
}
