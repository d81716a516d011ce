//! Reads an entry that journalctl prints as JSON.

use serde_json::Value as Json;

use super::{Line, PROBE};
use crate::measurement::Unreadable;

/// One entry of the journal.
pub struct Entry {
    pub at: f64,
    pub message: Vec<u8>,
    fields: Json,
}

impl Entry {
    /// Parses an entry, and returns by how many seconds its calendar time is ahead of its time since boot.
    pub fn parse(raw: &str, boot: &str) -> Result<(Entry, f64), Unreadable> {
        let wrong = || Unreadable::new(PROBE, "a journal entry in JSON with boot, time and message", raw);
        let fields: Json = serde_json::from_str(raw).map_err(|_| wrong())?;
        let seconds = |key: &str| Some(fields[key].as_str()?.parse::<u64>().ok()? as f64 / 1e6);
        let at = seconds("__MONOTONIC_TIMESTAMP").ok_or_else(wrong)?;
        let calendar = seconds("__REALTIME_TIMESTAMP").ok_or_else(wrong)?;
        let seen = fields["_BOOT_ID"].as_str().ok_or_else(wrong)?;
        if seen != boot {
            let expected = format!("lines of the machine that was asked ({boot}), not of another or before a reboot");
            return Err(Unreadable::new(PROBE, &expected, &format!("boot {seen}")));
        }
        let message = bytes(&fields["MESSAGE"]).ok_or_else(wrong)?;
        Ok((Entry { at, message, fields }, calendar - at))
    }

    pub fn of(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    /// Returns whether the workload wrote it: Podman passes its lines to journald with the container's id, or gives the
    /// container the unit's own output (`LogDriver=passthrough`).
    fn is_workloads(&self) -> bool {
        let group = self.of("_SYSTEMD_CGROUP");
        let container = group.contains("/libpod-payload-") || (group.contains("/libpod-") && group.contains(".scope"));
        !self.of("CONTAINER_ID_FULL").is_empty() || (self.of("_TRANSPORT") == "stdout" && container)
    }

    /// Returns what the pieces of a line have in common. Podman logs standard output and error by priority.
    pub fn stream(&self) -> String {
        ["CONTAINER_ID_FULL", "_STREAM_ID", "PRIORITY"].map(|field| self.of(field)).join(" ")
    }

    /// Returns whether the line goes on in the stream's next entry.
    pub fn is_cut(&self) -> bool {
        self.of("CONTAINER_PARTIAL_MESSAGE") == "true" || self.of("_LINE_BREAK") == "line-max"
    }

    pub fn line(&self) -> Line {
        let text = visible(&String::from_utf8_lossy(&self.message));
        let who = self.of("SYSLOG_IDENTIFIER").to_owned();
        Line { at: self.at, who, text: text.trim_end().to_owned(), workload: self.is_workloads() }
    }
}

/// Returns the bytes of a message. journalctl prints text with control characters or invalid UTF-8 as an array of bytes,
/// and several messages of an entry as an array of them.
fn bytes(message: &Json) -> Option<Vec<u8>> {
    match message {
        Json::String(text) => Some(text.clone().into_bytes()),
        Json::Array(parts) if parts.iter().all(Json::is_u64) => {
            parts.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect()
        }
        Json::Array(messages) => Some(messages.iter().map(bytes).collect::<Option<Vec<_>>>()?.join(&b'\n')),
        Json::Null => Some(Vec::new()),
        _ => None,
    }
}

/// Replaces control characters, such as those of colours on terminals, by Unicode's pictures of them.
pub fn visible(text: &str) -> String {
    let picture = |c: char| match c {
        '\n' | '\t' => c,
        '\0'..' ' => char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '␡',
        _ if c.is_control() => char::REPLACEMENT_CHARACTER,
        _ => c,
    };
    // Terminals end lines with "\r\n".
    text.trim_end().chars().map(picture).collect()
}
