//! Commands, the shells that run them, and the cleanup journal of what must not outlive a run.

pub mod cleanup;
pub mod command;
pub mod shell;
