//! Reports: they read evidence and nothing else; and what a plan looks like before there is any.

mod console;
mod plan;
mod trend;
mod workload;

pub use console::{line, summary, table};
pub use plan::{PlanRow, plan, planned_claims};
pub use trend::comparison;
pub use workload::{disturbance, memory};
