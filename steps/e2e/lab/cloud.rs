//! The device's place in the cloud: what it was started from, what is left of it when it is gone, how long it all took.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use assay::base::settings::StandIn;
use assay::base::unit::Unit;
use assay::measurement::estimate::Quote;
use assay::measurement::pricing::{self, Bill};
use assay::measurement::{Reading, Value};
use assay::targets::ec2::Cloud;
use assay::targets::instance_spec::{Ami, CANONICAL, Used};
use jiff::Timestamp;

use super::{Lab, Subject};

/// How much of the budget is kept for the time that removing things takes.
const FAREWELL: Duration = Duration::from_secs(120);

/// The cloud, and what it may cost.
#[derive(Clone, Debug)]
pub struct Rented {
    /// What the run has there.
    pub cloud: Arc<Cloud>,
    /// What was ordered, at the prices of its region.
    pub quote: Quote,
}

impl Rented {
    /// What is billed until now, or until the end of what is over.
    fn bill(&self) -> Bill {
        let now = Timestamp::now();
        let there = |used: &Used| used.until.unwrap_or(now).duration_since(used.since).unsigned_abs();
        Bill::of(&self.quote.items, self.cloud.used().iter().map(there).sum())
    }

    /// Whether the budget has room for more than the time in which everything is removed.
    pub fn may_go_on(&self) -> bool {
        self.cloud.used().is_empty() || self.quote.budget.left(&self.bill()).is_some_and(|left| left > FAREWELL)
    }

    /// What `run.json` says of it.
    pub fn facts(&self, stand_in: &StandIn) -> serde_json::Value {
        serde_json::json!({ "cloud": {
            "region": self.cloud.region(),
            "instance_type": self.quote.order.instance_type,
            "image": self.cloud.images().first().map(|ami| &ami.id),
            "prices_of": self.quote.date.to_string(),
            "max_cost": self.quote.budget.0.value(),
            "stand_in": stand_in.any().then(|| serde_json::json!({
                "endpoint": stand_in.endpoint,
                "ssh": stand_in.ssh,
                "registry": stand_in.registry,
            })),
        }})
    }
}

impl Lab {
    /// The cloud, and what it may cost.
    pub(super) fn rented(&self) -> anyhow::Result<&Rented> {
        self.orders.rented.as_ref().context("this run has no AWS account: --target ec2 has one")
    }

    fn cloud(&self) -> anyhow::Result<&Cloud> {
        Ok(&self.rented()?.cloud)
    }

    /// The newest image of an owner, and what the device was started from.
    pub async fn newest_image(&self, owner: &str) -> anyhow::Result<Subject> {
        anyhow::ensure!(owner == CANONICAL, "owner {owner} is not Canonical: that is {CANONICAL}");
        let make = async {
            self.machines.facts().await?;
            let cloud = self.cloud()?;
            let newest = cloud.images().first().context("there is no image")?;
            let readings = self.image_of_the_device(newest)?;
            self.subject("image of the device", "nano", readings)
        };
        self.once("newest image", make).await
    }

    /// What the device was started from, as if somebody else had made it since under the same name.
    pub async fn lookalike_image(&self, owner: &str) -> anyhow::Result<Subject> {
        let make = async {
            self.machines.facts().await?;
            let newest = self.cloud()?.images().first().context("there is no image")?;
            let lookalike = Ami { owner: owner.to_owned(), created: Timestamp::now().to_string(), ..newest.clone() };
            self.subject("image of somebody else", "nano", self.image_of_the_device(&lookalike)?)
        };
        self.once(&format!("image of {owner}"), make).await
    }

    fn image_of_the_device(&self, image: &Ami) -> anyhow::Result<Vec<Reading>> {
        let cloud = self.cloud()?;
        let newer = cloud.images().iter().filter(|other| other.created > image.created).count();
        let used = cloud.used();
        let started_from = &used.last().context("no instance was started")?.image;
        Ok(vec![
            Reading::text("ami.id", &image.id),
            Reading::text("ami.name", &image.name),
            Reading::text("ami.owner", &image.owner),
            Reading::text("ami.created", &image.created),
            Reading::new("ami.newer", newer as f64, Unit::Count, format!("of {} images", cloud.images().len())),
            Reading::text("machine.ami", started_from),
        ])
    }

    /// Ends the device, once: what it had to say is kept, and nothing of it is left that the run knows of. Gives the time
    /// for which its CPUs were busy, which is billed too.
    async fn wind_up(&self) -> anyhow::Result<Subject> {
        let end = async {
            // Without one there would be nothing to be gone.
            self.machines.facts().await?;
            let busy = self.machines.busy().await;
            self.machines.close().await;
            self.cloud()?.end().await?;
            // A machine that is lost has used what nobody can say.
            let readings = busy.map_or_else(|_| Vec::new(), |busy| vec![busy]);
            self.subject("the device at its end", "nano", readings)
        };
        self.once("wind up", end).await
    }

    /// What a listing finds of the run after its end, or after one at which a key pair was forgotten.
    pub async fn left_in_the_cloud(&self, forgetful: bool) -> anyhow::Result<Subject> {
        let make = async {
            self.wind_up().await?;
            let cloud = self.cloud()?;
            let left = match forgetful {
                true => cloud.left_by_the_forgetful().await?,
                false => cloud.left().await?,
            };
            let text = if left.is_empty() { "nothing".to_owned() } else { left.join(", ") };
            self.subject("what is left", "host", vec![Reading::text("left.cloud", &text)])
        };
        self.once(&format!("left in the cloud, forgetful: {forgetful}"), make).await
    }

    /// What the run's instances have cost, from the order of each to its end.
    pub async fn billed_subject(&self) -> anyhow::Result<Subject> {
        let make = async {
            let end = self.wind_up().await?;
            let rented = self.rented()?;
            let busy = end.samples.iter().find(|sample| sample.probe == "cost.cpu");
            let Some(Value::Number(busy)) = busy.map(|sample| &sample.value) else {
                anyhow::bail!("nobody knows for how long the device's CPUs were busy, and that is billed too")
            };
            let bill = rented.bill().with_busy(*busy, rented.quote.surplus);
            self.subject("the bill", "host", pricing::readings(&bill))
        };
        self.once("the bill", make).await
    }

    /// How long the whole run has taken, from its first moment to the end of its device.
    pub async fn whole_run(&self) -> anyhow::Result<Subject> {
        let make = async {
            self.wind_up().await?;
            let took = Timestamp::now().duration_since(self.opened).as_secs_f64();
            let raw = format!("since {}", self.opened);
            self.subject("the whole run", "host", vec![Reading::new("run.time", took, Unit::Seconds, raw)])
        };
        self.once("the whole run", make).await
    }
}
