//! What stands in for the device, or for a part of it, in controls.

use std::time::Duration;

use anyhow::Context as _;
use assay::base::programs;
use assay::base::unit::Unit;
use assay::exec::command::Command;
use assay::exec::shell::Shell;
use assay::measurement::deployment::Deployment;
use assay::measurement::trial::Until;
use assay::measurement::{Reading, Value, journal};
use assay::targets::machine_info::{Facts, runtime_features};
use assay::workloads::Recipe;

use super::machines::{Bench, Kind};
use super::subjects::{features_reading, machine_readings};
use super::{Guest, Job, Lab, Subject};

/// How long a machine that may have too little memory gets to deploy and run the workload.
const ATTEMPT: Duration = Duration::from_secs(90);

impl Lab {
    /// The facts of a machine that is not of the device's kind.
    pub async fn machine_subject(&self, kind: Kind<'_>) -> anyhow::Result<Subject> {
        let make = async {
            let name = match kind {
                Kind::Device => "a device".to_owned(),
                Kind::Defined(name) => name.to_owned(),
                Kind::Foreign(arch) => arch.to_string(),
            };
            let look = async |bench: &Bench| {
                let facts = Facts::gather(&bench.machine.shell, bench.machine.facts.accelerator).await?;
                self.subject(&name, &bench.machine.name, machine_readings(&facts))
            };
            self.machines.work(Job { kind, ..Job::named(&name) }, look).await
        };
        self.measured(&format!("machine {kind:?}"), make).await
    }

    /// This host's runc, looked at as if it were the device's crun.
    pub async fn runc_subject(&self) -> anyhow::Result<Subject> {
        let make = async {
            let runc = programs::need("runc", "ci/setup")?;
            let host = Shell::local(self.evidence.clone());
            let said = host.read(&Command::new(runc).arg("--version")).await?;
            let version = said.lines().next().unwrap_or_default().replace(" version", "");
            let seen = Reading { raw: said.clone(), ..features_reading(&runtime_features(&said)) };
            self.subject(&version, "host", vec![seen])
        };
        self.once("runc", make).await
    }

    /// A machine of another kind on which the workload is deployed, but for the limit on CPU, which on an emulated one
    /// would only make it a minute longer: its facts, how the workload ended there, and what it said.
    pub async fn deployed_on(&self, kind: &str) -> anyhow::Result<Subject> {
        let work = async |bench: &Bench| {
            let machine = &bench.machine;
            self.progress.say(format!("{}: workload without a limit on CPU", machine.name));
            let attempt = tokio::time::timeout(ATTEMPT, self.deploy(bench)).await;
            let attempt = attempt.unwrap_or_else(|_| Err(anyhow::anyhow!("it did not end within {ATTEMPT:?}")));
            let mut readings = machine_readings(&machine.facts);
            readings.extend(came_of(attempt, machine.shortage())?);
            let mut subject = self.subject(kind, &machine.name, readings)?;
            subject.files.push(format!("{}.console.log", machine.name));
            Ok(subject)
        };
        let job = Job { kind: Kind::Defined(kind), ..Job::named(kind) };
        self.measured(&format!("deployed on {kind}"), self.machines.work(job, work)).await
    }

    async fn deploy(&self, bench: &Bench) -> anyhow::Result<Vec<Reading>> {
        let shell = &bench.machine.shell;
        let image = self.image(&Guest::Workload, "", &Recipe::default()).await?;
        let reference = self.on_machine(bench, &image).await?;
        let unit = "no-quota";
        let deployment = Deployment::install(shell, unit, &self.quadlet(unit)?, &reference).await?;
        let watched = deployment.watch(&bench.machine.facts.boot, Until::Ended, ATTEMPT).await?;
        // Named for the run, not for the machine: what the machine's samples say came of it, its console says too.
        self.keep_texts(&format!("workload on {}", bench.machine.name), &watched)?;
        anyhow::ensure!(!watched.trial.gave_up, "the unit did not end within {ATTEMPT:?}");
        Ok(watched.readings(unit)?)
    }
}

/// What came of a deployment: its readings; where the kernel was short of memory, that as its result. An attempt that
/// failed although there was memory enough is no answer.
fn came_of(attempt: anyhow::Result<Vec<Reading>>, shortage: Option<String>) -> anyhow::Result<Vec<Reading>> {
    let Some(shortage) = shortage else { return attempt.context("the workload was not deployed") };
    let raw = |what: &str| format!("{what}; on its console: {shortage}");
    Ok(match attempt {
        Ok(mut readings) => {
            // Its first end: if systemd starts it again, what is watching ends that.
            if let Some(end) = readings.iter_mut().find(|seen| seen.probe == "unit.result")
                && let Value::Text(word) = &end.value
                && word != "success"
            {
                *end = result(word, &shortage, raw(&end.raw));
            }
            readings
        }
        Err(error) => {
            let mut readings = journal::readings(&[]);
            readings.push(result("none", &shortage, raw(&format!("{error:#}"))));
            readings
        }
    })
}

fn result(word: &str, shortage: &str, raw: String) -> Reading {
    let text = format!("{word}, for want of memory: {shortage}");
    Reading::new("unit.result", text.as_str(), Unit::Text, raw)
}
