//! Runs of a workload on a machine, watched: each once per run of the suite, however many claims rest on it.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use assay::base::unit::Unit;
use assay::evidence::trial_file;
use assay::exec::command::{Command, Output, Status};
use assay::exec::shell::Shell;
use assay::measurement::Reading;
use assay::measurement::deployment::{self, Deployment, Watched};
use assay::measurement::trial::Until;
use assay::targets::Vm;
use assay::verdict::Source;
use assay::workloads::{Image, Recipe};
use jiff::{SignedDuration, Timestamp};

use super::kept::kept;
use super::machines::Bench;
use super::{Guest, Job, Lab, Share, Subject};

/// Under which limits a workload runs: which Quadlet it is deployed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limits {
    /// As in the annex: 64 MB and a tenth of a CPU.
    Annex,
    /// 64 MB, all of the CPU.
    Memory,
    /// None.
    None,
    /// 64 MB, all of the CPU, and three seconds of sleep before the start.
    LateStart,
}

impl Limits {
    /// The Quadlet, and the unit it becomes.
    fn quadlet(self) -> &'static str {
        match self {
            Limits::Annex => "wasm-hello",
            Limits::Memory => "no-quota",
            Limits::None => "no-limits",
            Limits::LateStart => "late-start",
        }
    }
}

/// What to run, how, how often, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialSpec {
    /// The workload.
    pub guest: Guest,
    /// Its limits.
    pub limits: Limits,
    /// When it is over.
    pub until: Until,
    /// How often.
    pub runs: u32,
    /// Whether the first run starts with nothing in the page cache.
    pub cold: bool,
}

impl TrialSpec {
    /// What it takes of this host.
    fn share(&self) -> Share {
        match (self.limits, self.until) {
            (Limits::Annex, _) => Share::Tenth,
            (Limits::LateStart, _) | (_, Until::Held(_)) => Share::Timed,
            _ => Share::Turn,
        }
    }
}

/// Its name; the alternate form says all of it: two that differ in anything differ in this.
impl fmt::Display for TrialSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.guest.name(), self.limits.quadlet())?;
        match self.until {
            Until::Ended => {}
            Until::Held(time) => write!(out, "-{}s", time.as_secs())?,
            Until::Stopped(times) => write!(out, "-{times}-stops")?,
        }
        match (out.alternate(), self.runs, self.cold) {
            (false, ..) | (true, 1, false) => Ok(()),
            (true, runs, cold) => write!(out, " ×{runs}{}", if cold { ", the first cold" } else { "" }),
        }
    }
}

/// One run of several.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// What it is a run of.
    pub series: &'a str,
    /// Which one, counted from 1.
    pub number: u32,
    /// Whether it starts with nothing in the page cache.
    pub cold: bool,
}

impl fmt::Display for Run<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.series, if self.cold { "cold" } else { "warm" }, self.number)
    }
}

/// What is done to a machine before the workload is run on it by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Nothing.
    Complete,
    /// The WasmEdge library is taken away.
    WithoutLibrary,
    /// The link from crun-wasm to crun is taken away.
    WithoutLink,
}

impl Condition {
    /// What to do, and what undoes it.
    fn change(self) -> Option<(&'static str, &'static str)> {
        match self {
            Condition::Complete => None,
            // Out of the linker's sight: in its folders it would find the library under any name.
            Condition::WithoutLibrary => Some((
                "mkdir /var/lib/away; mv /usr/lib/*/libwasmedge.so* /var/lib/away; ldconfig",
                "mv /var/lib/away/* /usr/lib/\"$(uname -m)\"-linux-gnu; rmdir /var/lib/away; ldconfig",
            )),
            Condition::WithoutLink => Some((
                "mv /usr/local/bin/crun-wasm /usr/local/bin/crun-wasm.away",
                "mv /usr/local/bin/crun-wasm.away /usr/local/bin/crun-wasm",
            )),
        }
    }
}

fn workload(limits: Limits, runs: u32, cold: bool) -> TrialSpec {
    TrialSpec { guest: Guest::Workload, limits, until: Until::Ended, runs, cold }
}

/// How long a trial may take on an emulated CPU under a tenth of it.
const LIMIT: Duration = Duration::from_secs(400);

impl Lab {
    /// The run of the workload as the annex deploys it, on the device. Cold where the CPU is native; where it is
    /// emulated, a cold start under a tenth of the CPU takes longer than systemd waits for it.
    pub async fn annex_run(&self) -> anyhow::Result<Subject> {
        let cold = self.machines.native().await? && self.machines.let_root_in() && self.machines.has_units();
        self.trial(&workload(Limits::Annex, 1, cold)).await
    }

    /// The annex's own run and its repetitions, the first of all of them cold. They run under the same limits where
    /// the CPU is native, and without the one on CPU where it is emulated and a start would take a minute.
    pub async fn repeated_run(&self) -> anyhow::Result<Subject> {
        let native = self.machines.native().await?;
        let limits = if native { Limits::Annex } else { Limits::Memory };
        let spec = workload(limits, self.orders.runs - 1, !native);
        if spec.runs == 0 {
            return self.annex_run().await;
        }
        let again = async { self.measured(&format!("again {spec:#}"), Box::pin(self.run_trial(&spec))).await };
        let (annex, again) = tokio::join!(Box::pin(self.annex_run()), Box::pin(again));
        let mut all = annex?;
        all.extend(again?);
        Ok(all)
    }

    /// The workload with a pause before its start, which its start does not have elsewhere.
    pub async fn late_run(&self) -> anyhow::Result<Subject> {
        self.trial(&workload(Limits::LateStart, 1, false)).await
    }

    /// The workload with nothing to hold it back, cold and then warm; as often as under its limits.
    pub async fn unlimited_run(&self) -> anyhow::Result<Subject> {
        self.trial(&workload(Limits::None, self.orders.runs, true)).await
    }

    /// What systemd makes of a Quadlet with a key it does not know.
    pub async fn bad_quadlet(&self) -> anyhow::Result<Subject> {
        let work = async |bench: &Bench| {
            let shell = &bench.machine.shell;
            let deployment = Deployment::install(shell, "bad-key", &self.quadlet("bad-key")?, "localhost/none").await?;
            let load = Reading::text("unit.load", &deployment.load_state().await?);
            bench.clear(&deployment).await?;
            self.subject("bad-key", &bench.machine.name, vec![load])
        };
        self.measured("bad quadlet", self.machines.work(Job::named("bad-key"), work)).await
    }

    /// What is left of the workload after the clean-up of the annex, or after one that forgets the Quadlet.
    pub async fn cleaned_up(&self, forgetful: bool) -> anyhow::Result<Subject> {
        let work = async |bench: &Bench, reference: &str| {
            let (shell, unit) = (&bench.machine.shell, "wasm-hello");
            self.progress.say(format!("{}: clean-up{}", bench.machine.name, if forgetful { ", in part" } else { "" }));
            let deployment = Deployment::install(shell, unit, &self.quadlet("no-quota")?, reference).await?;
            shell.read(&Command::new("systemctl").args(["--user", "start", unit])).await?;
            if forgetful {
                shell.read(&Command::new("systemctl").args(["--user", "stop", unit])).await?;
            } else {
                deployment.remove().await?;
            }
            deployment::remove_image(shell, reference).await?;
            bench.forget(reference);
            let left = deployment::leftovers(shell, unit, reference).await?;
            let subject = self.subject("clean-up", &bench.machine.name, left)?;
            bench.clear(&deployment).await?;
            Ok(subject)
        };
        let job = if forgetful { "clean-up in part" } else { "clean-up" };
        let made = self.with_image(Job::named(job), &Guest::Workload, work);
        self.measured(&format!("cleaned up, forgetful: {forgetful}"), made).await
    }

    /// Does a job on a machine that has a guest's image.
    pub(super) async fn with_image(
        &self,
        job: Job<'_>,
        guest: &Guest,
        work: impl AsyncFnOnce(&Bench, &str) -> anyhow::Result<Subject>,
    ) -> anyhow::Result<Subject> {
        let image = async || self.image(guest, "", &Recipe::default()).await;
        // Side by side. If there is no image, the machine is told.
        if self.comes_with_image(job, guest) {
            let provide = async |vm: &Vm, name: &str, urgency| {
                self.machine_with((vm, name, urgency), guest.name(), &*image().await?).await
            };
            let work = async |bench: &Bench| work(bench, &kept(guest.name())).await;
            let (_, done) = tokio::join!(Box::pin(image()), Box::pin(self.machines.work_on(job, provide, work)));
            return done;
        }
        let pushed = async { self.published(&*image().await?).await };
        let work = async |bench: &Bench| {
            let reference = self.on_machine(bench, &*image().await?).await?;
            work(bench, &reference).await
        };
        let (_, done) = tokio::join!(Box::pin(pushed), Box::pin(self.machines.work(job, work)));
        done
    }

    /// A trial; it is run when it is first asked for.
    pub async fn trial(&self, spec: &TrialSpec) -> anyhow::Result<Subject> {
        self.measured(&format!("{spec:#}"), Box::pin(self.run_trial(spec))).await
    }

    async fn run_trial(&self, spec: &TrialSpec) -> anyhow::Result<Subject> {
        let name = spec.to_string();
        let job = Job { share: spec.share(), first: spec.limits == Limits::Annex, ..Job::named(&name) };
        let work = async |bench: &Bench, reference: &str| {
            if !self.machines.has_units() {
                return self.by_hand(bench, &name, spec, reference).await;
            }
            let unit = spec.limits.quadlet();
            let deployment = Deployment::install(&bench.machine.shell, unit, &self.quadlet(unit)?, reference).await?;
            let mut subject = Subject::default();
            for run in 1..=spec.runs {
                let run = Run { series: &name, number: run, cold: run == 1 && spec.cold };
                subject.extend(self.watch(bench, &deployment, run, spec.until).await?);
            }
            bench.clear(&deployment).await?;
            Ok(subject)
        };
        self.with_image(job, &spec.guest, work).await
    }

    /// A run of a workload by `podman run`, where there are no units.
    async fn by_hand(&self, bench: &Bench, series: &str, spec: &TrialSpec, reference: &str) -> anyhow::Result<Subject> {
        bench.warm_up().await?;
        let (machine, unit) = (&bench.machine, spec.limits.quadlet());
        let name = self.named(&Run { series, number: 1, cold: false }.to_string());
        self.progress.say(format!("{}: {name}, by podman run", machine.name));
        let how = (machine.facts.boot.as_str(), spec.until, LIMIT);
        let ran = deployment::run_by_hand(&machine.shell, unit, &self.quadlet(unit)?, reference, how).await;
        let (ran, raw) = ran.with_context(|| format!("{name} on {}", machine.name))?;
        let mut subject = self.subject(&name, &machine.name, ran.readings(unit))?;
        subject.files.push(self.evidence.keep(&format!("by-hand/{}.txt", name.replace(' ', "-")), raw.as_bytes())?);
        Ok(subject)
    }

    /// One run of what is deployed on a machine, which is made cold or warm for it.
    pub(super) async fn watch(
        &self,
        bench: &Bench,
        deployment: &Deployment,
        run: Run<'_>,
        until: Until,
    ) -> anyhow::Result<Subject> {
        match run.cold {
            true => bench.cool_down().await?,
            false => bench.warm_up().await?,
        }
        let (name, machine) = (self.named(&run.to_string()), bench.machine.name.clone());
        self.progress.say(format!("{machine}: {name}"));
        let since = Timestamp::now();
        let watched = deployment.watch(&bench.machine.facts.boot, until, LIMIT).await;
        let watched = watched.with_context(|| format!("{name} on {machine}"))?;
        let source = Source { subject: name, machine, since, until: Timestamp::now() };
        self.keep_trial(source, deployment.unit(), &watched)
    }

    /// Keeps what a watched run printed, and its journal. Gives the files.
    pub(super) fn keep_texts(&self, name: &str, watched: &Watched) -> anyhow::Result<Vec<String>> {
        let file = trial_file(name);
        let journal = file.replace(".txt", ".journal.jsonl");
        let texts = [(file, &watched.raw), (journal, &watched.raw_journal)];
        texts.iter().map(|(file, text)| self.evidence.keep(file, text.as_bytes())).collect()
    }

    /// Makes evidence of a trial: its text, its journal, its samples with the time at which each was seen.
    fn keep_trial(&self, source: Source, unit: &str, watched: &Watched) -> anyhow::Result<Subject> {
        let (name, machine) = (source.subject.clone(), source.machine.clone());
        let files = self.keep_texts(&name, watched)?;
        anyhow::ensure!(!watched.trial.gave_up, "{name}: the unit did not end within {LIMIT:?}");
        let over = source.until;
        let whole = watched.readings(unit)?.into_iter().map(|reading| (over, reading));
        let timeline = watched.trial.timeline().map(|(at, reading)| {
            let ago = SignedDuration::try_from_secs_f64(watched.trial.over - at).unwrap_or_default();
            (over.checked_sub(ago).unwrap_or(over), reading)
        });
        let samples = self.evidence.record(&name, &machine, whole.chain(timeline))?;
        Ok(Subject { samples, sources: vec![source], files, commands: Vec::new() })
    }

    /// A Quadlet of `fixtures/quadlets`.
    pub fn quadlet(&self, name: &str) -> anyhow::Result<String> {
        let path = self.orders.settings.root.join(format!("fixtures/quadlets/{name}.container"));
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Makes sure that a machine has an image, by way of the registry. Gives the reference it has it under.
    pub async fn on_machine(&self, bench: &Bench, image: &Image) -> anyhow::Result<String> {
        let published = self.published(image).await?;
        let reference = bench.machine.as_seen_there(&published).await?;
        bench.have(&reference).await?;
        Ok(reference)
    }

    /// Runs the workload once by `podman run` on a machine that lacks something.
    pub async fn run_by_hand(&self, condition: Condition) -> anyhow::Result<Subject> {
        let name = format!("{condition:?}");
        let work = async |bench: &Bench, reference: &str| {
            self.progress.say(format!("{}: workload by hand", bench.machine.name));
            let output = changed(&bench.machine.shell, condition, reference).await?;
            self.subject(&name, &bench.machine.name, run_readings(&output))
        };
        let made = self.with_image(Job::named(&name), &Guest::Workload, work);
        self.measured(&format!("by hand {condition:?}"), made).await
    }

    /// Runs a guest once by `podman run`, for what it prints.
    pub async fn run_guest(&self, name: &str) -> anyhow::Result<Subject> {
        let work = async |bench: &Bench, reference: &str| {
            self.progress.say(format!("{}: by hand", bench.machine.name));
            let output = deployment::run_once(&bench.machine.shell, reference).await?;
            let mut readings = run_readings(&output);
            readings.extend(capabilities(&output.text()));
            self.subject(name, &bench.machine.name, readings)
        };
        let guest = Guest::Named(name.to_owned());
        self.measured(&format!("guest {name}"), self.with_image(Job::named(name), &guest, work)).await
    }
}

/// Changes the machine, runs the image, and undoes the change whatever came of it.
async fn changed(shell: &Shell, condition: Condition, reference: &str) -> anyhow::Result<Output> {
    let root = |script: &str| Command::new("sudo").args(["sh", "-c", script]);
    if let Some((change, _)) = condition.change() {
        shell.read(&root(change)).await?;
    }
    let output = deployment::run_once(shell, reference).await;
    if let Some((_, undo)) = condition.change() {
        shell.read(&root(undo)).await?;
    }
    output
}

fn run_readings(output: &Output) -> Vec<Reading> {
    let status = match output.status {
        Status::Code(code) => Reading::new("run.status", f64::from(code), Unit::Count, output.status.to_string()),
        Status::Signal(_) => Reading::text("run.signal", &output.status.to_string()),
    };
    // crun puts the library's name in quotes of changing kinds.
    let error = output.errors().trim_end().lines().next_back().unwrap_or_default().replace(['`', '\'', '"'], "");
    vec![
        status,
        Reading::new("run.error", error.as_str(), Unit::Text, output.errors()),
        Reading::text("run.stdout", output.text().trim_end()),
    ]
}

/// What the guest "capabilities" reports: `clock: moved by 50 ms (Instant)`, `threads: refused: …`.
fn capabilities(text: &str) -> Vec<Reading> {
    let mut readings = Vec::new();
    for line in text.lines() {
        let moved = line.strip_prefix("clock: moved by ").and_then(|rest| rest.split_once(" ms"));
        if let Some(milliseconds) = moved.and_then(|(number, _)| number.parse::<f64>().ok()) {
            readings.push(Reading::new("guest.clock", milliseconds / 1e3, Unit::Seconds, line));
        }
        if let Some(said) = line.strip_prefix("threads: ") {
            readings.push(Reading::text("guest.threads", said));
        }
    }
    readings
}
