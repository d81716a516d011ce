//! Prints what a run does, above the live status.

use std::io::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use crate::base::status;

/// Standard error exists once in a process, and so does the time since the start.
static STDERR: LazyLock<Progress> = LazyLock::new(|| {
    Progress::to(|line| {
        status::above(|| {
            let _ = writeln!(std::io::stderr(), "{line}");
        });
    })
});

/// Prints lines of progress; cheap to clone and to pass on.
#[derive(Clone)]
pub struct Progress {
    started: Instant,
    sink: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Progress {
    /// Prints lines to standard error, each with the time since the first use.
    pub fn to_stderr() -> Progress {
        STDERR.clone()
    }

    /// Passes lines to the caller's function.
    pub fn to(sink: impl Fn(&str) + Send + Sync + 'static) -> Progress {
        Progress { started: Instant::now(), sink: Arc::new(sink) }
    }

    /// Prints one line that every user needs: what takes long, and what went wrong. What only explains how a run works
    /// inside is an event of `tracing`.
    pub fn say(&self, text: impl std::fmt::Display) {
        (self.sink)(&format!("{:>6.1} s  {text}", self.started.elapsed().as_secs_f64()));
    }
}

/// Prints a line to standard output, even if nothing reads it, as in `ci/e2e | head`.
pub fn print(line: &str) {
    status::above(|| {
        let _ = writeln!(std::io::stdout(), "{line}");
    });
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Progress")
    }
}
