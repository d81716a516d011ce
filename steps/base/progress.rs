//! Prints progress for steps that take longer than two seconds.

use std::sync::Arc;
use std::time::Instant;

/// Prints lines of progress; cheap to clone and to pass on.
#[derive(Clone)]
pub struct Progress {
    started: Instant,
    sink: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Progress {
    /// Prints lines to standard error, each with the time since the start.
    pub fn to_stderr() -> Progress {
        Progress::to(|line| eprintln!("{line}"))
    }

    /// Passes lines to the caller's function.
    pub fn to(sink: impl Fn(&str) + Send + Sync + 'static) -> Progress {
        Progress { started: Instant::now(), sink: Arc::new(sink) }
    }

    /// Prints one line: what is being done now, and for which subject.
    pub fn say(&self, text: impl std::fmt::Display) {
        (self.sink)(&format!("{:>6.1} s  {text}", self.started.elapsed().as_secs_f64()));
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Progress")
    }
}
