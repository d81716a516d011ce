//! Holds the state of one scenario: its samples, the checks it made, and their results.

use std::sync::LazyLock;
use std::time::Instant;

use anyhow::Context as _;
use assay::base::stats::LOOKS;
use assay::base::unit::Unit;
use assay::claims::workload::change::QuadletChange;
use assay::claims::workload::question::Question;
use assay::evidence::sealed_plan::{MEASURED, PlannedCheck};
use assay::measurement::Value;
use assay::measurement::paste::unrun;
use assay::measurement::start::REFUSED;
use assay::measurement::up::UNASKED;
use assay::run::ScenarioChecks;
use assay::verdict::claim_verdict::{Attempt, Step};
use assay::verdict::{Phase, Reason, Rule, Verdict};
use cucumber::World;

use crate::e2e::fixtures::{Beside, Compared, Condition, FIXTURES, Fixtures, Pairs, SampleSet, SideBySide, answer};

/// One scenario that is running.
#[derive(World)]
#[world(init = Self::new)]
pub struct ScenarioWorld {
    pub fixtures: Fixtures,
    pub started: Instant,
    /// How the machine must be changed before the workload runs on it, if at all.
    pub condition: Option<Condition>,
    /// How pairs are made, of which a ratio may need more.
    pairs: Option<Pairs>,
    /// What the scenario asks a workload that is up, with the scenarios that it shares its answers with.
    pub questions: Vec<Question>,
    /// What the workload that is up answered.
    up: Option<SampleSet>,
    /// The samples that the current step is about.
    subject: SampleSet,
    pub checks: ScenarioChecks,
    /// For a control: the probe that its check must fail on.
    pub fails_on: Option<String>,
    pub steps: Vec<Step>,
    /// The checks that steps have asked for, if the scenario only notes them for the plan.
    pub rehearsed: Option<Vec<PlannedCheck>>,
}

impl std::fmt::Debug for ScenarioWorld {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.checks.fmt(out)
    }
}

impl ScenarioWorld {
    async fn new() -> anyhow::Result<ScenarioWorld> {
        Ok(ScenarioWorld {
            fixtures: FIXTURES.try_with(Fixtures::clone)?,
            started: Instant::now(),
            condition: None,
            pairs: None,
            questions: Vec::new(),
            up: None,
            subject: SampleSet::default(),
            checks: ScenarioChecks::default(),
            fails_on: None,
            steps: Vec::new(),
            rehearsed: None,
        })
    }

    /// Makes a world in which nothing is measured: each check is only noted, and each value stands for what will be.
    pub async fn rehearsing() -> anyhow::Result<ScenarioWorld> {
        Ok(ScenarioWorld { rehearsed: Some(Vec::new()), ..ScenarioWorld::new().await? })
    }

    /// Makes this sample set the one that the following steps are about.
    pub fn about(&mut self, subject: anyhow::Result<SampleSet>) -> anyhow::Result<()> {
        self.subject = subject?;
        self.checks.about(&self.subject);
        Ok(())
    }

    /// Returns the one value of a probe in the current sample set.
    pub fn value(&self, probe: &str) -> Option<&Value> {
        static LATER: LazyLock<Value> = LazyLock::new(|| MEASURED.into());
        if self.rehearsed.is_some() {
            return Some(&LATER);
        }
        self.subject.samples.iter().find(|sample| sample.probe == probe).map(|sample| &sample.value)
    }

    /// Checks every sample of a probe in the current sample set against a rule, as [`ScenarioChecks::check`] does.
    /// Samples of a workload that never started are not judged.
    pub fn check(&mut self, probe: &str, unit: Unit, rule: Rule) -> anyhow::Result<()> {
        if let Some(planned) = &mut self.rehearsed {
            planned.push(PlannedCheck { probe: probe.to_owned(), unit, rule });
            return Ok(());
        }
        if let Some(Value::Text(refusal)) = self.value(REFUSED).cloned() {
            return Err(self.checks.block(Reason::Infrastructure { during: Phase::Start, message: refusal }));
        }
        self.has_whole_log(probe, &rule)?;
        self.checks.check(&self.subject, probe, unit, rule)
    }

    /// Checks that a start took at most `bound` seconds. One that systemd gave up after a longer time breaks the rule;
    /// one that it gave up earlier is not judged.
    pub fn check_start(&mut self, probe: &str, bound: f64) -> anyhow::Result<()> {
        let rule = Rule::AtMost { bound };
        match self.value(probe).and_then(Value::number) {
            Some(time) if time > bound => self.checks.check(&self.subject, probe, Unit::Seconds, rule),
            _ => self.check(probe, Unit::Seconds, rule),
        }
    }

    /// Returns an error if the probe is one of a log of which a part may be missing that the rule depends on, or if it rests
    /// on a limit that was not enforced.
    pub fn has_whole_log(&mut self, probe: &str, rule: &Rule) -> anyhow::Result<()> {
        let limit = self.subject.missing_limit(probe).map(|message| (Phase::Limit, message));
        let missing = limit.or_else(|| self.subject.missing_log(probe, rule).map(|message| (Phase::Log, message)));
        match missing.map(|(during, message)| (during, message.to_owned())) {
            Some((during, message)) => Err(self.checks.block(Reason::Infrastructure { during, message })),
            None => Ok(()),
        }
    }

    /// Checks that every sample of a time is between `low` and `high`, in seconds.
    ///
    /// On an emulated CPU, a workload can be late because the host is busy. There, a sample above `high` is an error of the
    /// step, which makes the scenario inconclusive. A sample below `low` breaks the rule on every CPU.
    pub async fn check_time(&mut self, probe: &str, low: f64, high: f64) -> anyhow::Result<()> {
        let times = self.subject.samples.iter().filter(|sample| sample.probe == probe);
        let times: Vec<f64> = times.filter_map(|sample| sample.value.number()).collect();
        let late = times.iter().any(|time| *time > high) && times.iter().all(|time| *time >= low);
        if late && !self.fixtures.machines().native().await? {
            let (probe, value) = (probe.to_owned(), times.into_iter().fold(high, f64::max));
            return Err(self.checks.block(Reason::Late { probe, value, high }));
        }
        self.check(probe, Unit::Seconds, Rule::Between { low, high })
    }

    /// Makes the workload that is up the one that the following steps are about.
    pub async fn about_up(&mut self, change: QuadletChange) -> anyhow::Result<()> {
        let up = self.fixtures.own_up(&change, &self.questions).await?;
        self.up = Some(up.clone());
        self.about(Ok(up))
    }

    /// Returns the answer to the question that a step asks.
    fn answer_to(&self, step: &str) -> anyhow::Result<SampleSet> {
        let up = self.up.as_ref().context("nothing is up: write \"When the workload is up\" above it")?;
        let place = Question::of(step).and_then(|asked| self.questions.iter().position(|question| *question == asked));
        Ok(answer(up, place.with_context(|| format!("\"{step}\" was not asked"))?))
    }

    /// Checks the answer to the question that a step asks.
    pub fn check_answer(&mut self, step: &str, probe: &str, unit: Unit, rule: Rule) -> anyhow::Result<()> {
        if self.rehearsed.is_some() {
            return self.check(probe, unit, rule);
        }
        let answer = self.answer_to(step)?;
        let text = |set: Option<&SampleSet>, probe: &str| {
            let found = set?.samples.iter().find(|sample| sample.probe == probe);
            found.and_then(|sample| if let Value::Text(text) = &sample.value { Some(text.clone()) } else { None })
        };
        if let Some(message) = text(self.up.as_ref(), REFUSED) {
            return Err(self.checks.block(Reason::Infrastructure { during: Phase::Start, message }));
        }
        if let Some(message) = text(Some(&answer), UNASKED) {
            return Err(self.checks.block(Reason::Infrastructure { during: Phase::Step, message }));
        }
        let whole = std::mem::replace(&mut self.subject, answer);
        let checked = self.check(probe, unit, rule);
        self.subject = whole;
        checked
    }

    /// Checks the time that an answer took. Above the bound on an emulated CPU, it is not judged.
    pub async fn check_answered_time(&mut self, step: &str, probe: &str, bound: f64) -> anyhow::Result<()> {
        let rule = Rule::AtMost { bound };
        if self.rehearsed.is_some() {
            return self.check(probe, Unit::Seconds, rule);
        }
        let native = self.fixtures.machines().native().await?;
        let times = self.answer_to(step)?.samples;
        let late = times.iter().filter(|sample| sample.probe == probe).find_map(|sample| sample.value.number());
        if let Some(value) = late.filter(|value| !native && *value > bound) {
            return Err(self.checks.block(Reason::Late { probe: probe.to_owned(), value, high: bound }));
        }
        self.check_answer(step, probe, Unit::Seconds, rule)
    }

    /// Checks the result of a block of the annex's commands; one that could not be run to its end is not judged.
    pub fn check_pasted(&mut self, block: &str, what: &str, unit: Unit, value: Value) -> anyhow::Result<()> {
        if let (None, Some(Value::Text(why))) = (&self.rehearsed, self.value(&unrun(what, block)).cloned()) {
            return Err(self.checks.block(Reason::Infrastructure { during: Phase::Paste, message: why }));
        }
        self.check(&format!("paste.{what}.{block}"), unit, Rule::Equals { value })
    }

    /// Ends the attempt, by an error if there was one.
    pub fn attempt(&mut self, error: Option<String>) -> Attempt {
        let mut steps = std::mem::take(&mut self.steps);
        let ended: usize = steps.iter().map(|step| step.checks).sum();
        if let Some(last) = steps.last_mut().filter(|last| last.seconds.is_none()) {
            // The checks that a step made before it failed belong to it too.
            last.checks = self.checks.count() - ended;
        }
        let fails_on = self.fails_on.take();
        Attempt { fails_on, steps, ..std::mem::take(&mut self.checks).attempt(self.started, error) }
    }

    /// Makes the pairs of the first look the ones that the following steps are about.
    pub async fn first_pairs(&mut self, way: SideBySide, beside: Beside) -> anyhow::Result<()> {
        self.about_pairs(Pairs::Annex(way, beside)).await
    }

    async fn about_pairs(&mut self, pairs: Pairs) -> anyhow::Result<()> {
        let first = self.fixtures.pairs(&pairs, 0).await;
        self.pairs = Some(pairs);
        self.about(first)
    }

    /// Checks that the first of two units is better than the second by a factor of `bound` at least.
    pub async fn check_pair(&mut self, units: [String; 2], compared: Compared, bound: f64) -> anyhow::Result<()> {
        if self.rehearsed.is_none() {
            self.about_pairs(Pairs::Own(units, compared)).await?;
        }
        self.check_ratio(compared.probe(), bound).await
    }

    /// Checks that the median of a ratio is at least `bound`, with as many pairs as it takes to decide, up to the last look.
    pub async fn check_ratio(&mut self, probe: &str, bound: f64) -> anyhow::Result<()> {
        let rule = Rule::MedianAtLeast { bound };
        if self.rehearsed.is_some() {
            return self.check(probe, Unit::Times, rule);
        }
        let pairs = self.pairs.clone().context("no pairs were measured")?;
        for look in 1..LOOKS.len() {
            let decided = self.subject.check(probe, Unit::Times, rule.clone()).outcome.verdict != Verdict::Inconclusive;
            if decided || self.value(REFUSED).is_some() || !self.fixtures.machines().native().await? {
                break;
            }
            let more = self.fixtures.pairs(&pairs, look).await?;
            let mut all = std::mem::take(&mut self.subject);
            all.extend(more);
            self.about(Ok(all))?;
        }
        self.check(probe, Unit::Times, rule)
    }

    /// Checks what was read from disks and written to them.
    pub fn disk_use(&mut self, rule: Rule) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.value("io.read").is_some(),
            "the machine does not count how much its user's units read and write: as root, add \"[Service]\" and \
             \"Delegate=cpu memory pids io\" with systemctl edit user@.service, and restart the machine"
        );
        self.check("io.read", Unit::Bytes, rule.clone())?;
        self.check("io.written", Unit::Bytes, rule)
    }

    pub fn check_number(&mut self, probe: &str, unit: Unit, number: f64) -> anyhow::Result<()> {
        self.check(probe, unit, Rule::Equals { value: number.into() })
    }

    pub fn check_text(&mut self, probe: &str, text: &str) -> anyhow::Result<()> {
        self.check(probe, Unit::Text, Rule::Equals { value: text.into() })
    }
}
