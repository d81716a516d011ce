//! Commands, the shells that run them, and the cleanup journal of what must not outlive a run.

#[cfg(feature = "run")]
pub mod cleanup;
pub mod command;
#[cfg(feature = "run")]
pub mod root;
#[cfg(feature = "run")]
pub mod shell;
