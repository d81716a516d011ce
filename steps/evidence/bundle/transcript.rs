//! Reads `transcript.jsonl` line by line, because it can have any length.

use std::io::{BufRead, BufReader, Read as _};

use super::{EvidenceBundle, Strange};
use crate::evidence::Ran;

/// The longest line, in bytes, that is parsed as a command: longer output is never inlined.
const LINE: u64 = 1 << 20;

impl EvidenceBundle {
    /// Passes each command of the transcript to `each`, however long the transcript is. Returns how many lines are not
    /// commands.
    pub fn commands(&self, mut each: impl FnMut(Ran)) -> Result<usize, Strange> {
        let name = "transcript.jsonl";
        let mut lines = BufReader::new(self.folder.reader(name)?);
        let mut unreadable = 0;
        loop {
            let mut line = Vec::new();
            let read = (&mut lines).take(LINE).read_until(b'\n', &mut line);
            let read = read.map_err(|error| Strange::Unreadable { path: self.folder.path().join(name), error })?;
            if read == 0 {
                return Ok(unreadable);
            }
            if !line.ends_with(b"\n") && line.len() as u64 == LINE {
                let skipped = lines.skip_until(b'\n');
                skipped.map_err(|error| Strange::Unreadable { path: self.folder.path().join(name), error })?;
            }
            match serde_json::from_slice(&line) {
                Ok(ran) => each(ran),
                Err(_) => unreadable += 1,
            }
        }
    }
}
