//! Estimates what a run in the cloud costs, before anything is created there and without an account.

use std::path::Path;

use anyhow::Context as _;
use jiff::civil::Date;

use crate::base::instance_spec::InstanceSpec;
use crate::measurement::pricing::{Bill, Budget, DEFAULT_REGION, FILE, Item, Prices, Surplus};

/// An order whose price is within its budget.
#[derive(Clone, Debug)]
pub struct Estimate {
    pub order: InstanceSpec,
    /// The region, if it is known without asking the SDK.
    pub region: Option<String>,
    pub items: Vec<Item>,
    pub budget: Budget,
    /// The cost if it runs until its time limit.
    pub at_most: Bill,
    /// The charge for CPU time beyond the instance's baseline, which no total here includes.
    pub surplus: Surplus,
    pub date: Date,
}

impl Estimate {
    /// Prices an order by the project's price file. If no region is named, [`DEFAULT_REGION`] is priced, and the order
    /// must be priced again once the SDK knows the region.
    pub fn make(root: &Path, region: Option<&str>, order: InstanceSpec, budget: Budget) -> anyhow::Result<Estimate> {
        let prices = read(root)?;
        let items = prices.of(region.unwrap_or(DEFAULT_REGION), &order)?;
        let at_most = budget.covers(&items, order.time_limit)?;
        let (region, surplus, date) = (region.map(str::to_owned), prices.surplus(&order.instance_type)?, prices.date);
        Ok(Estimate { order, region, items, budget, at_most, surplus, date })
    }
}

pub fn read(root: &Path) -> anyhow::Result<Prices> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Prices::parse(&text).context(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_priced_by_the_projects_file_and_an_unusable_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        let quote =
            |region: Option<&str>| Estimate::make(root.path(), region, InstanceSpec::default(), Budget::default());
        let path = root.path().join(FILE);
        assert_eq!(quote(None).unwrap_err().to_string(), format!("cannot read {}", path.display()));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = include_str!("../../fixtures/prices/aws.toml");
        std::fs::write(&path, text).unwrap();
        assert_eq!(quote(None).unwrap().items, quote(Some("us-east-1")).unwrap().items);
        let there = quote(Some("eu-central-1")).unwrap();
        assert_eq!((there.region.as_deref(), there.at_most.seconds), (Some("eu-central-1"), 3600));
        std::fs::write(&path, text.replace("0.0042", "420.0")).unwrap();
        assert!(quote(None).unwrap_err().to_string().contains("cost up to $420.01, and the budget is $0.05"));
        std::fs::write(&path, "date").unwrap();
        assert!(format!("{:#}", quote(None).unwrap_err()).starts_with("fixtures/prices/aws.toml: "));
    }
}
