//! Reports: they read evidence and nothing else; and what a plan looks like before there is any.

mod console;
#[cfg(test)]
mod example;
mod job_summary;
mod junit;
mod messages;
mod oscal;
mod plan;
mod times;
mod workload;

pub use console::{line, summary, table};
pub use job_summary::{job_summary, publish};
pub use junit::junit;
pub use messages::messages;
pub use oscal::oscal;
pub use plan::{PlanRow, plan, planned_claims};
pub use workload::{disturbance, memory};
