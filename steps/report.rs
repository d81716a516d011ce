//! Reports: they read evidence and nothing else.

mod console;

pub use console::{line, summary, table};
