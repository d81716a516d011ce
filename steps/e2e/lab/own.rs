//! Runs of a workload of one's own: on the device as its Quadlet says, on a spare machine where something was changed.

use anyhow::Context as _;
use assay::artifact::Recipe;
use assay::conventional::{self, Program};
use assay::deployment::Deployment;
use assay::probe::trial::Until;
use assay::unit::Unit;
use assay::workload::Change;

use super::trials::Run;
use super::{Guest, Lab, Subject};

impl Lab {
    /// A run of the workload by its own Quadlet, or by that with one thing changed; watched once, warm, however many
    /// claims rest on it.
    pub async fn own_run(&self, change: Change, until: Until) -> anyhow::Result<Subject> {
        self.once(&format!("own {change:?} {until:?}"), self.run_own(change, until)).await
    }

    async fn run_own(&self, change: Change, until: Until) -> anyhow::Result<Subject> {
        let workload = self.orders.own.as_ref();
        let workload =
            workload.context("this step is about a workload of your own: name its folder with --features")?;
        let loan = match change {
            Change::Nothing => self.machines.device().await?,
            _ => self.machines.spare().await?,
        };
        let shell = &loan.machine.shell;
        let image = self.image(&Guest::Workload, "", &Recipe::default()).await?;
        let reference = self.on_machine(&loan, &image).await?;
        let series = series(&workload.name, change, until);
        let quadlet = workload.changed(change);
        let kept = self.evidence.keep(&format!("quadlets/{series}.container"), quadlet.as_bytes())?;
        let deployment = Deployment::install(shell, &workload.name, &quadlet, &reference).await?;
        let run = Run { series: &series, number: 1, cold: false };
        let mut subject = self.watch(&loan, &deployment, run, until).await?;
        subject.files.push(kept);
        deployment.remove().await?;
        loan.give_back();
        Ok(subject)
    }

    /// A program of which we make the image ourselves, by the name that `--image` gives it.
    pub(super) async fn conventional_image(&self, program: Program) -> anyhow::Result<assay::artifact::Image> {
        let (settings, arch) = (&self.orders.settings, self.orders.arch);
        conventional::image(&self.workshop, settings, arch, program, &self.progress).await
    }
}

/// What runs are called: `workload-web-4-MiB-10s`.
fn series(name: &str, change: Change, until: Until) -> String {
    let change = match change {
        Change::Nothing => String::new(),
        Change::Memory(size) => format!("-{size}"),
        Change::Cpu(share) => format!("-{}", Unit::Ratio.show(share.0).replace('%', "percent")),
        Change::Program => "-no-program".to_owned(),
    };
    let until = match until {
        Until::Ended => String::new(),
        Until::Held(time) => format!("-{}s", time.as_secs_f64()),
        Until::Stopped(times) => format!("-{times}-stops"),
    };
    format!("workload-{name}{change}{until}").replace(' ', "-")
}
