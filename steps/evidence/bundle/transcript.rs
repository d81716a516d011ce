//! Reads `transcript.jsonl` line by line, because it can have any length.

use std::io::{BufRead, BufReader, Read as _};

use anyhow::Context as _;

use super::EvidenceBundle;
use crate::evidence::Ran;

/// The longest line, in bytes, that is parsed as a command: longer output is never inlined.
const LINE: u64 = 1 << 20;

impl EvidenceBundle {
    /// Passes each command of the transcript to `each`, however long the transcript is. Returns how many lines are not
    /// commands.
    pub fn commands(&self, mut each: impl FnMut(Ran)) -> anyhow::Result<usize> {
        let mut lines = BufReader::new(self.folder.reader("transcript.jsonl")?);
        let mut unreadable = 0;
        loop {
            let mut line = Vec::new();
            let read = (&mut lines).take(LINE).read_until(b'\n', &mut line).context("cannot read the transcript")?;
            if read == 0 {
                return Ok(unreadable);
            }
            if !line.ends_with(b"\n") && line.len() as u64 == LINE {
                lines.skip_until(b'\n').context("cannot read the transcript")?;
            }
            match serde_json::from_slice(&line) {
                Ok(ran) => each(ran),
                Err(_) => unreadable += 1,
            }
        }
    }
}
