//! The exit statuses of all programs of the project.

use std::process::ExitCode;

/// The exit statuses, from complete success to the least informative one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitStatus {
    /// Every claim that ran holds or is a declared known deviation; the command succeeded.
    Success = 0,
    /// A claim fails, or a control is not caught; the command found a fault.
    Failed = 1,
    /// The options or the project's files are wrong.
    Usage = 2,
    /// Something could not be judged or done because the infrastructure failed.
    Inconclusive = 3,
}

impl ExitStatus {
    /// Returns the status with this number; an unknown one is inconclusive.
    pub fn from_code(code: u8) -> ExitStatus {
        match code {
            0 => ExitStatus::Success,
            1 => ExitStatus::Failed,
            2 => ExitStatus::Usage,
            _ => ExitStatus::Inconclusive,
        }
    }

    /// Returns the number used in `verdicts.json` and as the exit code.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(status.code())
    }
}

/// An error and the exit status that it leads to.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}")]
pub struct Exit {
    pub status: ExitStatus,
    pub error: anyhow::Error,
}

impl Exit {
    pub fn new<E: Into<anyhow::Error>>(status: ExitStatus, error: E) -> Exit {
        Exit { status, error: error.into() }
    }
}

/// Wraps an error that the user can correct: exit status 2.
pub fn usage<E: Into<anyhow::Error>>(error: E) -> Exit {
    Exit::new(ExitStatus::Usage, error)
}

/// Wraps an error of the environment: exit status 3.
pub fn infrastructure<E: Into<anyhow::Error>>(error: E) -> Exit {
    Exit::new(ExitStatus::Inconclusive, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_back_from_its_code_and_any_other_code_is_inconclusive() {
        let read = [0, 1, 2, 3, 101].map(|code| ExitStatus::from_code(code).code());
        assert_eq!(read, [0, 1, 2, 3, 3]);
    }
}
