//! Reports: they read evidence and nothing else; and what a plan looks like before there is any.

mod console;
mod coverage;
mod plan;
mod trend;
mod workload;

pub use console::{line, summary, table};
pub use coverage::Coverage;
pub use plan::{PlanRow, plan};
pub use trend::{comparison, trend_html};
pub use workload::{disturbance, memory};
