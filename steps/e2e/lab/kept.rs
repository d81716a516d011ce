//! Machines that come with an image: it was pulled before they were frozen, for a pull costs an emulated CPU as much as the
//! arrival.

use assay::measurement::deployment;
use assay::targets::{Machine, Preparation, Urgency, Vm};
use assay::workloads::Image;

use super::{Guest, Job, Kind, Lab};

/// What an image is called on a machine that comes with it: where it was had from is no more.
pub(super) fn kept(name: &str) -> String {
    format!("localhost/assay/{name}:kept")
}

impl Lab {
    /// Whether a job is done on a machine that comes with its image. The annex's own run pulls it, and so does whatever is
    /// done on a machine that is not this host's, or with another image. A workload of one's own has few jobs, and its image
    /// would be in the place of the annex's.
    pub(super) fn comes_with_image(&self, job: Job<'_>, guest: &Guest) -> bool {
        let device = matches!(job.kind, Kind::Device) && self.machines.come_of_here();
        device && !job.first && *guest == Guest::Workload && self.orders.own.is_none()
    }

    /// A machine of this host's that comes with the image called `name`; pulled by way of the registry, if no machine was
    /// frozen with it yet.
    pub(super) async fn machine_with(
        &self,
        (vm, machine, urgency): (&Vm, &str, Urgency),
        name: &str,
        image: &Image,
    ) -> anyhow::Result<Machine> {
        let what = format!("with the image of {name}");
        let preparation = Preparation { name: &what, rests_on: &image.layout.digest };
        let pull = async |machine: &Machine| {
            self.progress.say(format!("{}: pulling the image of {name}", machine.name));
            let reference = machine.as_seen_there(&self.published(image).await?).await?;
            deployment::pull_as(&machine.shell, &reference, &kept(name)).await
        };
        Ok(Box::pin(vm.prepared(machine, urgency, preparation, pull)).await?)
    }
}
