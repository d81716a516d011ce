//! Ends runs, and other long work, by SIGINT and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a run: SIGINT and SIGTERM.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Whether one has arrived.
    pub received: bool,
}

impl Signals {
    /// Starts to listen; from then on, these signals no longer end the process.
    pub fn listen() -> std::io::Result<Signals> {
        let [interrupt, terminate] = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        Ok(Signals { interrupt: interrupt?, terminate: terminate?, received: false })
    }

    /// Waits for the next signal.
    pub async fn any(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {}, _ = self.terminate.recv() => {} }
        self.received = true;
    }
}

/// The error after Ctrl-C or SIGTERM.
#[derive(Debug, thiserror::Error)]
#[error("interrupted before it was done")]
pub struct Interrupted;

/// Runs a future until Ctrl-C or SIGTERM; dropping it removes what it made.
pub async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        done = work => done,
        () = signals.any() => Err(Interrupted.into()),
    }
}
