//! What most steps use.

pub use crate::e2e::params::{DurationWord, PercentWord, SizeWord};
pub use crate::e2e::world::ScenarioWorld;
pub use assay::base::unit::Unit;
pub use assay::measurement::Value;
pub use assay::verdict::Rule;
pub use cucumber::{given, then, when};
