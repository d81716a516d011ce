//! Shows the events of `tracing`: as lines, if the user asks for them, and beside the work under way in the live status.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::base::progress::Progress;
use crate::base::work_log;

/// Shows events from here on: warnings, with `verbosity` 1 also what machines and images do, with 2 also each command.
pub fn start(verbosity: u8) {
    // Fails only if events are shown already.
    let _ = tracing::subscriber::set_global_default(subscriber(Progress::to_stderr(), verbosity));
}

fn subscriber(progress: Progress, verbosity: u8) -> impl Subscriber + Send + Sync {
    let printed = match verbosity {
        0 => Level::WARN,
        1 => Level::INFO,
        _ => Level::DEBUG,
    };
    tracing_subscriber::registry().with(Events { progress, printed })
}

struct Events {
    progress: Progress,
    printed: Level,
}

impl<S: Subscriber> Layer<S> for Events {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Other crates' events may contain secrets.
        metadata.target().starts_with("assay") && *metadata.level() <= self.printed.max(Level::INFO)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        if *event.metadata().level() <= self.printed {
            self.progress.note(&text.0);
        }
        if *event.metadata().level() <= Level::INFO {
            work_log::note(text.0);
        }
    }
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn printed(verbosity: u8) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = lines.clone();
        let progress = Progress::to(move |line| heard.lock().unwrap().push(line.trim_start().to_owned()));
        tracing::subscriber::with_default(subscriber(progress.clone(), verbosity), || {
            progress.note("run r on vm:amd64");
            tracing::warn!("nano: its journal is lost");
            tracing::info!("{}: up after {:.1} s", "nano", 4.21);
            tracing::debug!("nano: podman ps");
            tracing::info!(target: "hyper", "connected");
        });
        lines.lock().unwrap().clone()
    }

    #[test]
    fn each_v_prints_more_and_never_other_crates_events() {
        let lines = [
            "0.0 s  run r on vm:amd64",
            "0.0 s  nano: its journal is lost",
            "0.0 s  nano: up after 4.2 s",
            "0.0 s  nano: podman ps",
        ];
        assert_eq!(printed(0), lines[..2]);
        assert_eq!(printed(1), lines[..3]);
        assert_eq!(printed(2), lines);
        assert_eq!(printed(3), lines);
    }
}
