//! The workload and conventional containers, side by side: their images, and their runs on one machine.

use std::sync::Arc;

use assay::base::unit::Unit;
use assay::measurement::deployment::Deployment;
use assay::measurement::ratio::ratio;
use assay::measurement::trial::Until;
use assay::measurement::{Reading, Sample};
use assay::targets::Vm;
use assay::workloads::baseline::Program;
use assay::workloads::{Image, Recipe};

use super::kept::kept;
use super::machines::Bench;
use super::trials::Run;
use super::{Guest, Job, Lab, Share, Subject};

/// What the workload is put beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Conventional containers.
    Conventional,
    /// Itself: nothing is smaller than itself.
    Itself,
}

/// How often each of the two runs: the first time cold, then warm.
const PAIRS: u32 = 2;

/// What the runs are called.
const WORKLOAD: &str = "side by side workload";
const CONVENTIONAL: &str = "side by side conventional";

/// What the two runs of a pair are compared by.
const COMPARED: [(&str, Unit); 6] = [
    ("memory.peak", Unit::Bytes),
    ("memory.anon", Unit::Bytes),
    ("memory.running", Unit::Bytes),
    ("start.time", Unit::Seconds),
    ("start.output", Unit::Seconds),
    ("cpu.time", Unit::Seconds),
];

impl Lab {
    async fn conventional(&self, program: Program) -> anyhow::Result<Arc<Image>> {
        let make = async { Ok(Arc::new(self.conventional_image(program).await?)) };
        self.images.get(&format!("conventional {}", program.name()), make).await
    }

    /// How many times larger than the workload's the images of mosquitto and of Python are, as Podman counts them.
    pub async fn images_side_by_side(&self, beside: Beside) -> anyhow::Result<Subject> {
        let make = async {
            let workload = self.image(&Guest::Workload, "", &Recipe::default()).await?;
            let own = workload.counted(&self.workshop).await?.bytes.value();
            let mut readings = Vec::new();
            for program in [Program::Mosquitto, Program::Python] {
                let size = match beside {
                    Beside::Itself => own,
                    Beside::Conventional => {
                        let image = self.conventional(program).await?;
                        let transfer = image.layout.transfer.value();
                        readings.push(Reading::new("image.transfer", transfer, Unit::Bytes, &*image.layout.digest));
                        image.counted(&self.workshop).await?.bytes.value()
                    }
                };
                let probe = format!("ratio.image.size.{}", program.name());
                readings.push(ratio(&probe, Unit::Bytes, Some(size), Some(own))?);
            }
            self.subject(&format!("image beside {}", beside.name()), "host", readings)
        };
        self.once(&format!("images side by side: {beside:?}"), make).await
    }

    /// How many times more than the workload a conventional container takes that does the same job: one after the
    /// other on the same machine, in pairs.
    pub async fn side_by_side(&self, beside: Beside) -> anyhow::Result<Subject> {
        let runs = self.measured("runs side by side", Box::pin(self.run_pairs())).await?;
        let make = async {
            let mut readings = Vec::new();
            for pair in 1..=PAIRS {
                let workload = self.named(&run(WORKLOAD, pair).to_string());
                let other = match beside {
                    Beside::Conventional => self.named(&run(CONVENTIONAL, pair).to_string()),
                    Beside::Itself => workload.clone(),
                };
                did_the_job(&runs.samples, &workload)?;
                did_the_job(&runs.samples, &other)?;
                for (probe, unit) in COMPARED {
                    let of = |name: &str| middle(&runs.samples, name, probe);
                    readings.push(ratio(&format!("ratio.{probe}"), unit, of(&other), of(&workload))?);
                }
            }
            let machine = runs.sources.first().map_or("spare", |source| &source.machine);
            let mut subject = self.subject(&format!("workload beside {}", beside.name()), machine, readings)?;
            subject.files.extend(runs.files.iter().cloned());
            Ok(subject)
        };
        self.measured(&format!("side by side: {beside:?}"), make).await
    }

    async fn run_pairs(&self) -> anyhow::Result<Subject> {
        // A machine of this host's comes with the conventional container's image: pulling it costs an emulated CPU more than
        // everything else that is done here.
        let prepared = self.machines.come_of_here();
        let work = async |bench: &Bench| {
            let (shell, machine) = (&bench.machine.shell, &bench.machine.name);
            self.progress.say(format!("{machine}: pulling what runs {WORKLOAD}"));
            let workload = self.on_machine(bench, &*self.workload_image().await?).await?;
            let python = match prepared {
                true => kept(Program::Python.name()),
                false => self.on_machine(bench, &*self.conventional(Program::Python).await?).await?,
            };
            let mut both = Vec::new();
            for (who, unit, reference) in [(WORKLOAD, "no-limits", workload), (CONVENTIONAL, "conventional", python)] {
                both.push((who, Deployment::install(shell, unit, &self.quadlet(unit)?, &reference).await?));
            }
            let mut subject = Subject::default();
            for pair in 1..=PAIRS {
                for (who, deployment) in &both {
                    subject.extend(self.watch(bench, deployment, run(who, pair), Until::Ended).await?);
                }
            }
            for (_, deployment) in &both {
                bench.clear(deployment).await?;
            }
            Ok(subject)
        };
        let provide = async |vm: &Vm, name: &str, urgency| {
            let python = self.conventional(Program::Python).await?;
            self.machine_with((vm, name, urgency), Program::Python.name(), &python).await
        };
        let job = Job { share: Share::Timed, ..Job::named("side by side") };
        let pushed = async { self.published(&*self.workload_image().await?).await };
        let (_, done) = tokio::join!(Box::pin(pushed), Box::pin(self.machines.work_on(job, provide, work)));
        done
    }
}

impl Beside {
    fn name(self) -> &'static str {
        match self {
            Beside::Conventional => "conventional containers",
            Beside::Itself => "itself",
        }
    }
}

/// A run of one of the two: the first pair is cold.
fn run(series: &str, pair: u32) -> Run<'_> {
    Run { series, number: pair, cold: pair == 1 }
}

/// The value of a probe in one run; of several that were read off it, the median.
fn middle(samples: &[Sample], run: &str, probe: &str) -> Option<f64> {
    let mine = samples.iter().filter(|sample| sample.subject == run && sample.probe == probe);
    let numbers: Vec<f64> = mine.filter_map(|sample| sample.value.number()).collect();
    assay::base::stats::median(&numbers)
}

/// One that ended early would only seem to take little.
fn did_the_job(samples: &[Sample], run: &str) -> anyhow::Result<()> {
    let text = |probe: &str| samples.iter().find(|sample| sample.subject == run && sample.probe == probe);
    let seen = |probe: &str| text(probe).map_or("nothing".to_owned(), |sample| sample.value.show(sample.unit));
    for (probe, wanted) in [("unit.result", "\"success\""), ("log.temperatures", "\"23 26 29 32 35\"")] {
        let saw = seen(probe);
        anyhow::ensure!(saw == wanted, "{run}: it did not do the workload's job: {probe} is {saw}, not {wanted}");
    }
    Ok(())
}
