//! The cloud, against a stand-in that fails on demand.

mod aws {
    pub mod gc;
    pub mod stand_in;
    pub mod teardown;
}
