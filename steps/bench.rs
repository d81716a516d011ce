//! What assay itself costs, measured on this host at its own speed: the device of a run is often an emulated one.

pub mod sampler;
