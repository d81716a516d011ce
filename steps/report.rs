//! Reports: they read evidence and nothing else; and what a plan looks like before there is any.

mod console;
mod html;
mod plan;
mod plot;
mod workload;

pub use console::{line, summary, table};
pub use html::html;
pub use plan::{PlanRow, plan, planned_claims};
pub use workload::{disturbance, memory};
