//! `transcript.jsonl`, read a line at a time: nobody knows how long it is.

use std::io::{BufRead, BufReader, Read as _};

use super::{EvidenceBundle, Strange};
use crate::evidence::Ran;

/// How long a line may be, in bytes, to be taken for a command: output that is longer is never inlined.
const LINE: u64 = 1 << 20;

impl EvidenceBundle {
    /// Goes through the transcript, a command at a time, however long it is. Lines that are no commands are counted.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
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
