//! Prints what a run does, above the live status.

use std::io::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use crate::base::status;

/// Standard error exists once in a process, and so does the time since the start.
static STDERR: LazyLock<Progress> = LazyLock::new(|| {
    // A closed pipe, as in `assay plan | head`, is ignored.
    let results: Sink = Arc::new(|line| drop(status::above(|| writeln!(std::io::stdout(), "{line}"))));
    Progress { results, ..Progress::to(|line| drop(status::above(|| writeln!(std::io::stderr(), "{line}")))) }
});

/// Prints lines of progress; cheap to clone and to pass on.
#[derive(Clone)]
pub struct Progress {
    started: Instant,
    /// What each line begins with: empty, or the target in brackets if there are several.
    prefix: Arc<str>,
    progress: Sink,
    results: Sink,
}

type Sink = Arc<dyn Fn(&str) + Send + Sync>;

impl Progress {
    /// Prints progress to standard error, each line with the time since the start, and results to standard output.
    pub fn to_stderr() -> Progress {
        STDERR.clone()
    }

    /// Passes lines to the caller's function.
    pub fn to(sink: impl Fn(&str) + Send + Sync + 'static) -> Progress {
        let sink: Sink = Arc::new(sink);
        Progress { started: Instant::now(), prefix: "".into(), progress: sink.clone(), results: sink }
    }

    /// Returns the same progress with the place that it is about at the beginning of each line.
    pub fn at_place(&self, place: impl std::fmt::Display) -> Progress {
        Progress { prefix: format!("[{place}] ").into(), ..self.clone() }
    }

    /// Prints a result, which may have several lines.
    pub fn print(&self, text: impl std::fmt::Display) {
        text.to_string().lines().for_each(|line| (self.results)(format!("{}{line}", self.prefix).trim_end()));
    }

    /// Prints an error, without the time.
    pub fn error(&self, text: impl std::fmt::Display) {
        (self.progress)(&format!("{}{text}", self.prefix));
    }

    /// Prints one line that every user needs: what takes long, and what went wrong. What only explains how a run works
    /// inside is an event of `tracing`.
    pub fn note(&self, text: impl std::fmt::Display) {
        (self.progress)(&format!("{}{:>6.1} s  {text}", self.prefix, self.started.elapsed().as_secs_f64()));
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Progress")
    }
}
