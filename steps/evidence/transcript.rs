//! Defines `transcript.jsonl`: commands with their output; long output is in separate files.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::exec::command::{Command, Status};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// Its number, counted from 1 in the order in which commands ended.
    pub n: u64,
    /// When it ended.
    pub at: Timestamp,
    /// The machine it ran on; `host` is the one that assay runs on.
    pub machine: String,
    pub argv: Vec<String>,
    /// Variables that were set for it, as `NAME=value`.
    pub env: Vec<String>,
    /// Whether it had no other variables except `PATH`.
    pub clean_env: bool,
    /// The size of its standard input, in bytes.
    pub stdin_bytes: usize,
    /// How it ended, or `None` if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Stream>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Stream>,
    /// Why it could not be run to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stream {
    Inline(String),
    Beside {
        /// The file, relative to the folder of the run.
        file: String,
        bytes: usize,
    },
    Lost {
        lost: String,
        bytes: usize,
    },
}

impl Ran {
    /// Formats the command as a user would type it.
    pub fn line(&self) -> String {
        let pairs = self.env.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let env = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Command { argv: self.argv.clone(), env, clean_env: self.clean_env, ..Command::new("") }.line()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_it_was_written() {
        let line = r#"{"n":1,"at":"2026-11-24T15:09:15Z","machine":"host","argv":["podman","pull","it's"],"env":["HOME=/x"],
            "clean_env":true,"stdin_bytes":0,"status":{"code":125},"seconds":0.5,"stdout":"","stderr":{"file":"streams/1","bytes":20000}}"#;
        let ran: Ran = serde_json::from_str(line).unwrap();
        assert_eq!(ran.line(), "env -i PATH=\"$PATH\" HOME=/x podman pull 'it'\\''s'");
        assert_eq!(ran.status, Some(Status::Code(125)));
        assert_eq!(ran.stderr, Some(Stream::Beside { file: "streams/1".into(), bytes: 20000 }));
        assert_eq!(ran.stdout, Some(Stream::Inline(String::new())));
    }
}
