//! The cloud, against a stand-in that fails on demand.

mod aws {
    pub mod policy;
}
