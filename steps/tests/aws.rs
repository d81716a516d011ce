//! The cloud, against a stand-in that fails on demand.
