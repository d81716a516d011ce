//! Runs of a workload of one's own: on the device as its Quadlet says, and where something was changed.

use anyhow::Context as _;
use assay::base::unit::Unit;
use assay::claims::workload::Change;
use assay::measurement::deployment::Deployment;
use assay::measurement::trial::Until;
use assay::workloads::baseline::{self, Program};

use super::machines::Bench;
use super::trials::Run;
use super::{Guest, Job, Lab, Subject};

impl Lab {
    /// A run of the workload by its own Quadlet, or by that with one thing changed; watched once, warm, however many
    /// claims rest on it.
    pub async fn own_run(&self, change: Change, until: Until) -> anyhow::Result<Subject> {
        self.measured(&format!("own {change:?} {until:?}"), Box::pin(self.run_own(change, until))).await
    }

    async fn run_own(&self, change: Change, until: Until) -> anyhow::Result<Subject> {
        let workload = self.orders.own.as_ref();
        let workload =
            workload.context("this step is about a workload of your own: name its folder with --features")?;
        let series = series(&workload.name, change, until);
        let work = async |bench: &Bench, reference: &str| {
            let quadlet = workload.changed(change);
            let kept = self.evidence.keep(&format!("quadlets/{series}.container"), quadlet.as_bytes())?;
            let deployment = Deployment::install(&bench.machine.shell, &workload.name, &quadlet, reference).await?;
            let run = Run { series: &series, number: 1, cold: false };
            let mut subject = self.watch(bench, &deployment, run, until).await?;
            subject.files.push(kept);
            bench.clear(&deployment).await?;
            Ok(subject)
        };
        let job = Job { first: change == Change::Nothing, ..Job::named(&series) };
        self.with_image(job, &Guest::Workload, work).await
    }

    /// A program of which we make the image ourselves, by the name that `--image` gives it.
    pub(super) async fn conventional_image(&self, program: Program) -> anyhow::Result<assay::workloads::Image> {
        let (settings, arch) = (&self.orders.settings, self.orders.arch);
        baseline::image(&self.workshop, settings, arch, program, &self.progress).await
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
