//! artifact: being written.
