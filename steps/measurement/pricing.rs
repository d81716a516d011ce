//! Computes what AWS bills for a run, before and after it, and whether the run may go on: prices, bills and budgets as
//! plain values.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use jiff::civil::Date;
use serde::Deserialize;

use crate::base::instance_spec::{InstanceSpec, MINUTES};
use crate::base::unit::{Dollars, Unit};
use crate::measurement::Reading;

pub const FILE: &str = "fixtures/prices/aws.toml";

/// The region that is priced if none is named.
pub const DEFAULT_REGION: &str = "us-east-1";

/// AWS's hours in a month, by which monthly prices are divided.
const HOURS_OF_A_MONTH: f64 = 730.0;

const HOUR: f64 = 3600.0;

/// The shortest time that is billed, in seconds.
const MINIMUM: u64 = 60;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub date: Date,
    /// The price of a vCPU-hour beyond an instance's baseline, if its credits are unlimited.
    surplus_vcpu: f64,
    /// The CPU credits that an instance earns per hour, by type, in vCPU-minutes.
    credits: BTreeMap<String, f64>,
    region: BTreeMap<String, Region>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Region {
    /// The price of an hour, by type.
    instance: BTreeMap<String, f64>,
    /// The price of an hour of a public IPv4 address.
    address: f64,
    /// The price of a GB-month of a gp3 disk.
    gp3: f64,
}

/// A type of resource that is billed for as long as it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Billed {
    Instance(String),
    Address,
    /// A gp3 disk of this size in GiB.
    Disk(u32),
}

impl Billed {
    /// Returns the probe for the cost of this resource.
    fn probe(&self) -> &'static str {
        match self {
            Billed::Instance(_) => "cost.instance",
            Billed::Address => "cost.address",
            Billed::Disk(_) => "cost.disk",
        }
    }
}

impl std::fmt::Display for Billed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Billed::Instance(kind) => write!(out, "instance {kind}"),
            Billed::Address => out.write_str("public IPv4 address"),
            Billed::Disk(size) => write!(out, "gp3 disk of {size} GiB"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub billed: Billed,
    pub per_hour: Dollars,
    /// The basis of the price, in words.
    pub basis: String,
}

/// Returns an entry of the price file, or names those that it has.
fn priced<'a, T>(entries: &'a BTreeMap<String, T>, key: &str, what: &str) -> anyhow::Result<&'a T> {
    entries.get(key).with_context(|| {
        let known = entries.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("{FILE} has no price of {what}: it has {known}; add it, with its source")
    })
}

impl Prices {
    /// Reads the project's price file.
    pub fn read(root: &Path) -> anyhow::Result<Prices> {
        let path = root.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Prices::parse(&text).context(FILE)
    }

    pub fn parse(text: &str) -> anyhow::Result<Prices> {
        let prices: Prices = toml::from_str(text)?;
        anyhow::ensure!(!prices.region.is_empty(), "there is no region in it");
        let of_regions = prices.region.iter().flat_map(|(name, region)| {
            let instances = region.instance.iter().map(|(kind, price)| (kind.as_str(), *price));
            let all = instances.chain([("address", region.address), ("gp3", region.gp3)]);
            all.map(move |(what, price)| (format!("{what} in {name}"), price))
        });
        for (what, price) in of_regions.chain([("surplus_vcpu".to_owned(), prices.surplus_vcpu)]) {
            anyhow::ensure!(
                price.is_finite() && price > 0.0,
                "{price} is not a price of {what}: write dollars, as 0.0042"
            );
        }
        Ok(prices)
    }

    pub fn hourly(&self, region: &str, billed: &Billed) -> anyhow::Result<Dollars> {
        let prices = self.region(region)?;
        Ok(Dollars(match billed {
            Billed::Instance(kind) => *priced(&prices.instance, kind, &format!("instance {kind} in {region}"))?,
            Billed::Address => prices.address,
            // AWS uses GB for GiB here.
            Billed::Disk(size) => f64::from(*size) * prices.gp3 / HOURS_OF_A_MONTH,
        }))
    }

    /// Lists everything that is billed for an order in a region. A Spot instance has the on-demand price, which it
    /// never exceeds.
    pub fn of(&self, region: &str, order: &InstanceSpec) -> anyhow::Result<Vec<Item>> {
        let (kind, size) = (&order.instance_type, order.disk_gib);
        let instance = match order.spot {
            true => format!("at most: Spot never costs more than on demand in {region}"),
            false => format!("on demand in {region}"),
        };
        let month = self.region(region)?.gp3;
        let disk = format!("{} a GB-month of {HOURS_OF_A_MONTH} h", Dollars(month));
        let billed = [
            (Billed::Instance(kind.clone()), instance),
            (Billed::Address, "billed since February 2024".to_owned()),
            (Billed::Disk(size), disk),
        ];
        let item = |(billed, basis)| Ok(Item { per_hour: self.hourly(region, &billed)?, billed, basis });
        billed.into_iter().map(item).collect()
    }

    /// Returns AWS's charge for CPU time beyond the baseline of an instance of this type. CPU credits are unlimited by
    /// default.
    pub fn surplus(&self, kind: &str) -> anyhow::Result<Surplus> {
        let credits = *priced(&self.credits, kind, &format!("CPU credits of {kind}"))?;
        Ok(Surplus { per_hour: Dollars(self.surplus_vcpu), earned: credits * 60.0 / HOUR })
    }

    fn region(&self, region: &str) -> anyhow::Result<&Region> {
        priced(&self.region, region, &format!("anything in {region}"))
    }
}

/// The charge for CPU time that is not covered by credits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surplus {
    /// The price of a vCPU-hour.
    pub per_hour: Dollars,
    /// The vCPU time that an instance earns per unit of its running time: 0.1 is a tenth of one vCPU.
    pub earned: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Bill {
    pub items: Vec<Item>,
    /// The billed seconds: each second that was begun, and at least a minute.
    pub seconds: u64,
    /// The charge for surplus CPU time and its calculation in words; `None` unless CPU time was measured.
    pub surplus: Option<(Dollars, String)>,
}

impl Bill {
    pub fn of(items: &[Item], there: Duration) -> Bill {
        let begun = there.as_secs() + u64::from(there.subsec_nanos() > 0);
        Bill { items: items.to_vec(), seconds: begun.max(MINIMUM), surplus: None }
    }

    pub fn cost(&self, item: &Item) -> Dollars {
        Dollars(item.per_hour.value() * self.seconds as f64 / HOUR)
    }

    /// Adds the charge for an instance whose vCPUs were busy for this many seconds in total.
    pub fn with_busy(self, busy: f64, surplus: Surplus) -> Bill {
        let beyond = (busy - surplus.earned * self.seconds as f64).max(0.0);
        let dollars = Dollars(beyond / HOUR * surplus.per_hour.value());
        let words = format!(
            "{busy:.1} s of vCPU time in {} s, of which {} s a second are earned: {beyond:.1} s at {} an hour",
            self.seconds, surplus.earned, surplus.per_hour
        );
        Bill { surplus: Some((dollars, words)), ..self }
    }

    pub fn total(&self) -> Dollars {
        self.items.iter().map(|item| self.cost(item)).chain(self.surplus.iter().map(|(dollars, _)| *dollars)).sum()
    }
}

/// Turns a bill into readings: each item, the total, and the billed seconds.
pub fn readings(bill: &Bill) -> Vec<Reading> {
    let seconds = bill.seconds;
    let of_item = |item: &Item| {
        let Item { billed, per_hour, basis } = item;
        let raw = format!("{billed}: {seconds} s at {per_hour} an hour ({basis})");
        Reading::new(billed.probe(), bill.cost(item).value(), Unit::Dollars, raw)
    };
    let mut readings: Vec<Reading> = bill.items.iter().map(of_item).collect();
    let mut sum: Vec<String> = bill.items.iter().map(|item| bill.cost(item).to_string()).collect();
    if let Some((dollars, words)) = &bill.surplus {
        readings.push(Reading::new("cost.surplus", dollars.value(), Unit::Dollars, words.clone()));
        sum.push(dollars.to_string());
    }
    let raw = format!("{} for {seconds} s", sum.join(" + "));
    readings.push(Reading::new("cost.total", bill.total().value(), Unit::Dollars, raw));
    let raw = format!("{seconds} s, each second that was begun, and {MINIMUM} at least");
    readings.push(Reading::new("cost.billed", seconds as f64, Unit::Seconds, raw));
    readings
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget(pub Dollars);

impl Default for Budget {
    /// Five cents, which covers the annex's machine for more than an hour.
    fn default() -> Budget {
        Budget(Dollars(0.05))
    }
}

impl Budget {
    /// Bills items for the whole time limit, if the budget covers it.
    pub fn covers(&self, items: &[Item], time_limit: Duration) -> anyhow::Result<Bill> {
        let bill = Bill::of(items, time_limit);
        let minutes = self.seconds(items) / 60;
        let shorter = match minutes >= *MINUTES.start() {
            true => format!(", or stay below it with --time-limit {minutes}"),
            false => String::new(),
        };
        anyhow::ensure!(
            bill.total() <= self.0,
            "{} minutes cost up to {}, and the budget is {}: allow it with --max-cost {}{shorter}",
            time_limit.as_secs().div_ceil(60),
            bill.total(),
            self.0,
            (bill.total().value() * 1e4).ceil() / 1e4,
        );
        Ok(bill)
    }

    /// Returns how much longer the billed resources may exist within the budget, or `None` if it is already exceeded.
    pub fn left(&self, spent: &Bill) -> Option<Duration> {
        self.seconds(&spent.items).checked_sub(spent.seconds).map(Duration::from_secs)
    }

    /// Returns for how many whole seconds the budget covers these items.
    fn seconds(&self, items: &[Item]) -> u64 {
        let per_hour: Dollars = items.iter().map(|item| item.per_hour).sum();
        (self.0.value() / per_hour.value() * HOUR) as u64
    }
}

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
        let prices = Prices::read(root)?;
        let items = prices.of(region.unwrap_or(DEFAULT_REGION), &order)?;
        let at_most = budget.covers(&items, order.time_limit)?;
        let (region, surplus, date) = (region.map(str::to_owned), prices.surplus(&order.instance_type)?, prices.date);
        Ok(Estimate { order, region, items, budget, at_most, surplus, date })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Value;

    fn prices() -> Prices {
        Prices::parse(include_str!("../../fixtures/prices/aws.toml")).unwrap()
    }

    fn items() -> Vec<Item> {
        prices().of("us-east-1", &InstanceSpec::default()).unwrap()
    }

    fn near(seen: Dollars, expected: f64) {
        assert!((seen.value() - expected).abs() < 1e-9, "{seen} is not {expected}");
    }

    #[test]
    fn every_region_has_a_price_of_everything_that_is_ordered() {
        let prices = prices();
        for region in [DEFAULT_REGION, "us-east-2", "us-west-2", "eu-central-1", "eu-west-1"] {
            for kind in ["t4g.nano", "t4g.micro"] {
                let order = InstanceSpec { instance_type: kind.to_owned(), ..InstanceSpec::default() };
                let items = prices.of(region, &order).unwrap();
                let billed: Vec<String> = items.iter().map(|item| item.billed.to_string()).collect();
                assert_eq!(billed, [&format!("instance {kind}"), "public IPv4 address", "gp3 disk of 8 GiB"]);
            }
        }
        assert!(prices.surplus("t4g.nano").unwrap().per_hour.value() > 0.0);
    }

    #[test]
    fn a_bill_is_all_that_is_billed_by_the_second() {
        // 20 minutes of $0.0042, $0.005 and 8 GiB at $0.08 a month.
        let bill = Bill::of(&items(), Duration::from_secs(1200));
        for (item, expected) in bill.items.iter().zip([0.0014, 0.001_666_666_7, 0.000_292_237_4]) {
            near(bill.cost(item), expected);
        }
        near(bill.total(), 0.003_358_904_1);
        assert_eq!(
            Bill::of(&items(), Duration::from_millis(1_200_001)).seconds,
            1201,
            "a second that was begun counts"
        );
        assert_eq!(Bill::of(&items(), Duration::from_secs(5)).seconds, 60, "a minute is the least");
    }

    #[test]
    fn a_missing_price_is_reported_with_those_that_there_are() {
        let prices = prices();
        let huge = InstanceSpec { instance_type: "p5.48xlarge".to_owned(), ..InstanceSpec::default() };
        for (error, what) in [
            (prices.of("eu-west-1", &huge).unwrap_err(), "instance p5.48xlarge in eu-west-1"),
            (prices.surplus("t4g.huge").unwrap_err(), "CPU credits of t4g.huge"),
        ] {
            let known = "it has t4g.micro, t4g.nano; add it, with its source";
            assert_eq!(error.to_string(), format!("fixtures/prices/aws.toml has no price of {what}: {known}"));
        }
    }

    #[test]
    fn an_invalid_price_is_refused() {
        let text = include_str!("../../fixtures/prices/aws.toml");
        for (from, to, expected) in [
            ("\"t4g.nano\" = 0.0048", "\"t4g.nano\" = -1.0", "-1 is not a price of t4g.nano in eu-central-1"),
            ("gp3 = 0.0952", "gp3 = 0.0", "0 is not a price of gp3 in eu-central-1"),
            ("surplus_vcpu = 0.04", "surplus_vcpu = nan", "NaN is not a price of surplus_vcpu"),
            ("gp3 = 0.0952", "gp2 = 0.0952", "unknown field `gp2`"),
            ("date = \"2026", "date = \"26", "date"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = Prices::parse(&text.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Prices::parse("date = \"2026-11-24\"\nsurplus_vcpu = 0.04\n[credits]\n[region]\n").is_err());
    }

    #[test]
    fn spot_is_priced_as_on_demand_and_says_so() {
        let spot = prices().of("us-east-1", &InstanceSpec { spot: true, ..InstanceSpec::default() }).unwrap();
        assert_eq!(spot[0].per_hour, items()[0].per_hour);
        assert_eq!(spot[0].basis, "at most: Spot never costs more than on demand in us-east-1");
    }

    #[test]
    fn a_bill_is_read_as_plausible_samples_that_add_up() {
        for seconds in [60, 1200, 6 * 3600] {
            let readings = readings(&Bill::of(&items(), Duration::from_secs(seconds)));
            let probes: Vec<&str> = readings.iter().map(|reading| reading.probe.as_str()).collect();
            assert_eq!(probes, ["cost.instance", "cost.address", "cost.disk", "cost.total", "cost.billed"]);
            for reading in &readings {
                let Reading { probe, value, unit, .. } = reading;
                assert_eq!(crate::measurement::catalogue::plausible(probe, *unit, value), Ok(()));
            }
            let numbers: Vec<f64> = readings.iter().filter_map(|reading| reading.value.number()).collect();
            near(Dollars(numbers[..3].iter().sum()), numbers[3]);
            assert_eq!(readings[4].value, Value::Number(seconds as f64));
        }
        let raw = &readings(&Bill::of(&items(), Duration::from_secs(1200)))[0].raw;
        assert_eq!(raw, "instance t4g.nano: 1200 s at $0.0042 an hour (on demand in us-east-1)");
    }

    #[test]
    fn cpu_time_beyond_what_is_earned_is_billed_and_less_is_not() {
        let surplus = Surplus { per_hour: Dollars(0.04), earned: 0.1 };
        let hour = Bill::of(&[], Duration::from_secs(3600));
        let busy = |seconds: f64| hour.clone().with_busy(seconds, surplus);
        assert_eq!(busy(360.0).total(), Dollars(0.0));
        assert!((busy(360.0 + 1800.0).total().value() - 0.02).abs() < 1e-12);
        let readings = readings(&busy(2160.0));
        let mine = readings.iter().find(|reading| reading.probe == "cost.surplus").expect("a reading");
        assert_eq!(
            mine.raw,
            "2160.0 s of vCPU time in 3600 s, of which 0.1 s a second are earned: 1800.0 s at $0.04 an hour"
        );
    }

    #[test]
    fn what_is_left_of_a_budget_is_time() {
        let budget = Budget(Dollars(0.01));
        let left = |seconds: u64| budget.left(&Bill::of(&items(), Duration::from_secs(seconds)));
        // All three together cost $0.010076712 an hour.
        assert_eq!(left(60), Some(Duration::from_secs(3572 - 60)));
        assert_eq!(left(1), left(60), "a minute is billed");
        assert_eq!(left(3572), Some(Duration::ZERO));
        assert_eq!(left(3573), None);
        assert!(Bill::of(&items(), Duration::from_secs(3572)).total() <= budget.0);
        assert!(Bill::of(&items(), Duration::from_secs(3573)).total() > budget.0);
    }

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
