//! What most steps use.

pub use crate::base::unit::Unit;
pub use crate::e2e::params::{DurationWord, PercentWord, SizeWord};
pub use crate::e2e::world::ScenarioWorld;
pub use crate::measurement::Value;
pub use crate::verdict::Rule;
pub use cucumber::{given, then, when};
