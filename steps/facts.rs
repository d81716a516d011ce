//! facts: being written.
