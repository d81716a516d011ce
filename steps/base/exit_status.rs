//! How every program of the project ends.

use std::process::ExitCode;

/// The exit statuses, from the one that lets a caller go on to the one that says least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitStatus {
    /// Every claim that ran holds or is a declared known deviation; the command did what it was asked for.
    Success = 0,
    /// A claim fails, or a control is not caught; the command found something wrong.
    Failed = 1,
    /// The options or the project's files are wrong.
    Usage = 2,
    /// Something could not be judged or done: the infrastructure failed.
    Inconclusive = 3,
}

impl ExitStatus {
    /// The status that a program with this exit code reports; one that was killed, or has another code, is inconclusive.
    pub fn from_code(code: Option<i32>) -> ExitStatus {
        match code {
            Some(0) => ExitStatus::Success,
            Some(1) => ExitStatus::Failed,
            Some(2) => ExitStatus::Usage,
            _ => ExitStatus::Inconclusive,
        }
    }

    /// The number that `verdicts.json` and the shell know it by.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(status.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_back_from_its_code_and_any_other_code_is_inconclusive() {
        for status in [ExitStatus::Success, ExitStatus::Failed, ExitStatus::Usage, ExitStatus::Inconclusive] {
            assert_eq!(ExitStatus::from_code(Some(i32::from(status.code()))), status);
        }
        assert_eq!([None, Some(101), Some(-1)].map(ExitStatus::from_code), [ExitStatus::Inconclusive; 3]);
    }
}
