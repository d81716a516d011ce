//! Installs a workload's Quadlet for an unprivileged user, runs and watches its unit, and removes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::base::unit::Unit;
use crate::base::unit_file::UnitFile;
use crate::claims::workload::{Workload, quadlet_file};
use crate::exec::command::{Command, Output, quote};
use crate::exec::shell::Shell;
use crate::measurement::catalogue::LOST;
use crate::measurement::journal::{self, Journal};
use crate::measurement::podman_run::{self, PodmanRun};
use crate::measurement::start::{self, StartRefusal};
use crate::measurement::trial::watch::{self, Until};
use crate::measurement::trial::{self, Trial};
use crate::measurement::up::Asked;
use crate::measurement::{Reading, Unreadable};
use crate::workloads::registry::{is_momentary, patiently};

/// Makes the service observable without changing the Quadlet under test: it runs in its own slice, which outlives it,
/// systemd saves how each activation ended, and the start may take as long as an emulated CPU needs, unless the Quadlet
/// sets a limit. On a remote machine, the environment makes it use the run's own images.
const DROP_IN: &str = "\
[Service]
@ENVIRONMENT@Slice=@SLICE@
IOAccounting=yes
@TIMEOUT@=600
ExecStopPost=/bin/sh -c 'echo \"$SERVICE_RESULT $${EXIT_CODE:-none} $${EXIT_STATUS:-none}\" >>%t/@UNIT@.stops'
";

/// Prints what the Quadlet generator says about the user's Quadlets, without the units that it makes.
const GENERATOR: &str = "/usr/lib/systemd/user-generators/podman-user-generator --user --dryrun 2>&1 >/dev/null";

/// Returns the names of a run's units: its Quadlets and those of the user's own workload.
pub fn units(root: &Path, own: Option<&Workload>) -> anyhow::Result<Vec<String>> {
    let folder = root.join("fixtures/quadlets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let units = names.filter_map(|name| name.strip_suffix(".container").map(str::to_owned));
    let units: BTreeSet<String> = units.chain(own.into_iter().flat_map(Workload::services)).collect();
    Ok(units.into_iter().collect())
}

#[derive(Clone, Debug)]
pub struct Deployment {
    shell: Shell,
    pub unit: String,
}

/// A trial's output and the unit's journal, raw and parsed.
#[derive(Clone, Debug)]
pub struct Watched {
    pub raw: String,
    pub trial: Trial,
    pub raw_journal: String,
    pub journal: Journal,
    pub refusal: Option<StartRefusal>,
}

/// What a workload that was asked printed, and what was read from it.
#[derive(Clone, Debug)]
pub struct Answered {
    pub raw: String,
    pub raw_journal: String,
    pub set: Vec<Reading>,
    /// The answers to each question.
    pub answers: Vec<Vec<Reading>>,
}

impl Watched {
    pub fn readings(&self) -> Result<Vec<Reading>, Unreadable> {
        let mut readings = self.trial.readings()?;
        let log = journal::workload(&self.journal.lines);
        readings.extend(journal::text(&log));
        readings.extend(journal::readings(&log));
        match &self.journal.lost {
            Some(reason) => readings.push(Reading::new(LOST, reason.as_str(), Unit::Text, "")),
            None => readings.extend(journal::startup(&self.journal.lines)),
        }
        if let Some(refusal) = &self.refusal {
            readings.push(refusal.reading());
            readings.extend(start::waited(&self.journal.lines));
        }
        Ok(readings)
    }
}

impl Deployment {
    /// Installs a Quadlet (with `@IMAGE@` replaced by `image`) on the machine as `unit` and reloads systemd.
    pub async fn install(shell: &Shell, unit: &str, quadlet: &str, image: &str) -> anyhow::Result<Deployment> {
        let deployment = Deployment { shell: shell.clone(), unit: unit.to_owned() };
        shell.put(&deployment.quadlet_path(), quadlet.replace("@IMAGE@", image)).await?;
        let drop_in = DROP_IN.replace("@SLICE@", &deployment.slice()).replace("@UNIT@", unit);
        let drop_in = drop_in.replace("@TIMEOUT@", if limits_start(quadlet) { "TimeoutStopSec" } else { "TimeoutSec" });
        let environment = shell.variables().iter().map(|(name, value)| format!("Environment=\"{name}={value}\"\n"));
        let drop_in = drop_in.replace("@ENVIRONMENT@", &environment.collect::<String>());
        shell.put(&format!("{}/10-assay.conf", deployment.drop_in_folder()), drop_in).await?;
        deployment.reload().await?;
        Ok(deployment)
    }

    /// Returns the path relative to the user's home.
    fn quadlet_path(&self) -> String {
        format!(".config/containers/systemd/{}", quadlet_file(&self.unit))
    }

    fn slice(&self) -> String {
        // A dash would nest the slice.
        format!("assay_{}.slice", self.unit.replace(['-', '@'], "_"))
    }

    fn drop_in_folder(&self) -> String {
        format!(".config/systemd/user/{}.service.d", self.unit)
    }

    async fn reload(&self) -> anyhow::Result<()> {
        self.shell.read(&systemctl(["daemon-reload"])).await.context("systemd cannot load the Quadlet")?;
        Ok(())
    }

    /// Returns systemd's load state of the unit: `loaded`, or `not-found` if the generator rejected the Quadlet.
    pub async fn load_state(&self) -> anyhow::Result<String> {
        let show = systemctl(["show", "--property=LoadState", "--value", &self.unit]);
        Ok(self.shell.read(&show).await?.trim().to_owned())
    }

    /// Starts the unit, watches it until it ends and reads its journal, all on this `boot` of the machine.
    pub async fn watch(&self, boot: &str, until: Until, limit: Duration) -> anyhow::Result<Watched> {
        self.watch_as(&token()?, boot, until, limit).await
    }

    async fn watch_as(&self, token: &str, boot: &str, until: Until, limit: Duration) -> anyhow::Result<Watched> {
        let watch = watch::command(&self.unit, &self.slice(), until, limit, token);
        let output = self.shell.run(&watch).await?.success()?;
        let raw = output.text();
        let trial = trial::parse(&raw)?;
        trial.belongs(token, boot)?;
        trial.kept_pace(output.wall)?;
        let mark = format!("assay-mark-{token}");
        let raw_journal = self.shell.read(&journal::command(&self.unit, trial.since, &mark)).await?;
        let mut journal = journal::parse(&raw_journal, boot, &mark)?.of_trial(&trial)?;
        // Where the log goes says more than how much of it came.
        journal.lost = self.log_elsewhere(&raw_journal, &journal).await?.or(journal.lost);
        let generator = match trial.shown("LoadState") {
            Some("not-found") => self.shell.run(&Command::new("sh").args(["-c", GENERATOR])).await?.text(),
            _ => String::new(),
        };
        let refusal = start::refusal(&trial, &journal.lines, &self.unit, &generator);
        Ok(Watched { raw, trial, raw_journal, journal, refusal })
    }

    /// Starts the unit, waits until it is ready and asks it, all on this `boot` of the machine.
    pub async fn ask(shell: &Shell, asked: Asked<'_>, boot: &str, limit: Duration) -> anyhow::Result<Answered> {
        let token = token()?;
        let output = shell.run(&asked.command(limit, &token)).await?.success()?;
        let raw = output.text();
        let mut answers = asked.parse(&raw).with_context(|| output.errors())?;
        let trial = &answers.trial;
        trial.belongs(&token, boot)?;
        let mut answered = Answered { raw, raw_journal: String::new(), set: Vec::new(), answers: Vec::new() };
        if trial.shown("ActiveState") != Some("active")
            && trial.last.get("start-status").is_none_or(|status| status != "0")
        {
            let mut lines = Vec::new();
            if !asked.root {
                let mark = format!("assay-mark-{token}");
                answered.raw_journal = shell.read(&journal::command(asked.unit, trial.since, &mark)).await?;
                lines = journal::parse(&answered.raw_journal, boot, &mark)?.of_trial(trial)?.lines;
            }
            let generator = match trial.shown("LoadState") {
                Some("not-found") => shell.run(&Command::new("sh").args(["-c", GENERATOR])).await?.text(),
                _ => String::new(),
            };
            let refusal = start::refusal(trial, &lines, asked.unit, &generator);
            answers.readings.extend(refusal.map(|refusal| refusal.reading()));
        }
        (answered.set, answered.answers) = (answers.readings, answers.answers);
        Ok(answered)
    }

    /// Returns why the workload's log does not come to the journal, if it does not.
    async fn log_elsewhere(&self, raw: &str, journal: &Journal) -> anyhow::Result<Option<String>> {
        let properties = "--property=ExecStart,StandardOutput,StandardError";
        let shown = self.shell.read(&systemctl(["show", properties, &self.unit])).await?;
        // Podman takes a second to say its default, which does not matter if the log came.
        if journal::driver(&shown).is_some() {
            return Ok(journal::elsewhere(raw, &shown, ""));
        }
        if !journal::workload(&journal.lines).is_empty() {
            return Ok(None);
        }
        let info = Command::new("podman").args(["info", "--format", "{{.Host.LogDriver}}"]);
        Ok(journal::elsewhere(raw, &shown, self.shell.read(&info).await?.trim()))
    }

    /// Removes the unit as the annex does: stop, remove the Quadlet, reload.
    pub async fn remove(&self) -> anyhow::Result<()> {
        // Stopping fails if the unit has already ended, which does not matter.
        self.shell.run(&systemctl(["stop", &self.unit])).await?;
        let (quadlet, drop_in) = (self.quadlet_path(), self.drop_in_folder());
        self.shell.read(&Command::new("rm").args(["-rf", &quadlet, &drop_in])).await?;
        self.shell.run(&systemctl(["reset-failed", &self.unit])).await?;
        self.reload().await
    }
}

/// Returns whether a Quadlet says how long its start may take.
pub fn limits_start(quadlet: &str) -> bool {
    let file = UnitFile::parse(quadlet);
    ["TimeoutSec", "TimeoutStartSec"].iter().any(|key| file.last("Service", key).is_some())
}

pub fn token() -> anyhow::Result<String> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("the host gives no random numbers")?;
    Ok(uuid.trim().to_owned())
}

/// Runs an image with `podman run` as `unit`, under the limits of a Quadlet, if there are no units, on this `boot` of
/// the machine. Returns the raw output, too.
pub async fn podman_run(
    shell: &Shell,
    unit: &str,
    quadlet: &str,
    image: &str,
    (boot, until, limit): (&str, Until, Duration),
) -> anyhow::Result<(PodmanRun, String)> {
    let token = token()?;
    let raw = shell.read(&podman_run::command(unit, quadlet, image, until, limit, &token)?).await?;
    Ok((podman_run::parse(&raw, unit, &token, boot)?, raw))
}

fn systemctl<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    Command::new("systemctl").arg("--user").args(arguments)
}

/// Drops the machine's page cache, so that the next run starts cold.
pub async fn drop_caches(shell: &Shell) -> anyhow::Result<()> {
    shell.read(&Command::new("sudo").args(["sh", "-c", "sync; echo 3 >/proc/sys/vm/drop_caches"])).await?;
    Ok(())
}

/// Reads the container runtime's files once, so that the next run finds them in the page cache.
pub async fn fill_caches(shell: &Shell) -> anyhow::Result<()> {
    let script = "cd /usr/bin; cat podman crun conmon $(ls -d pasta* slirp4netns 2>/dev/null) \
         $(ldd /usr/lib/*/libwasmedge.so.0 | grep -o '/[^ ]*') >/dev/null";
    // Missing files are ignored.
    shell.run(&Command::new("sh").args(["-c", script])).await?;
    Ok(())
}

/// Pulls an image onto the machine: over plain HTTP from the host's loopback, otherwise over TLS. Returns how long it took.
pub async fn pull(shell: &Shell, reference: &str) -> anyhow::Result<Duration> {
    pull_by(shell, reference, |pull| pull).await
}

/// Pulls an image as [`pull`] does, by a command that starts Podman in another way.
pub async fn pull_by(shell: &Shell, reference: &str, by: impl FnOnce(Command) -> Command) -> anyhow::Result<Duration> {
    // A virtual machine's address of its host's loopback, and the address of ports forwarded over SSH.
    let near = ["10.0.2.2:", "127.0.0.1:"].iter().any(|near| reference.starts_with(near));
    let tls = if near { "--tls-verify=false" } else { "--tls-verify=true" };
    let pull = Command::new("podman").args(["pull", "--quiet", tls, reference]);
    let pull = by(pull).time_limit(Duration::from_secs(180));
    let momentary = |error: &anyhow::Error| is_momentary(&error.to_string());
    patiently(momentary, async || Ok(shell.run(&pull).await?.success()?.wall)).await
}

/// Pulls an image onto the machine and keeps it under another name only.
pub async fn pull_as(shell: &Shell, reference: &str, name: &str) -> anyhow::Result<()> {
    pull(shell, reference).await?;
    shell.read(&Command::new("podman").args(["tag", reference, name])).await?;
    shell.read(&Command::new("podman").args(["untag", reference, reference])).await?;
    Ok(())
}

/// Runs an image once with `podman run`, without a unit.
pub async fn run_once(shell: &Shell, reference: &str) -> anyhow::Result<Output> {
    let run = Command::new("podman").args(["run", "--rm", "--pull=never", reference]);
    Ok(shell.run(&run.time_limit(Duration::from_secs(180))).await?)
}

pub async fn remove_image(shell: &Shell, reference: &str) -> anyhow::Result<()> {
    shell.read(&Command::new("podman").args(["rmi", "--force", reference])).await?;
    Ok(())
}

/// Lists a workload's remaining units, Quadlets and images on the machine: one text each, or `none`.
pub async fn leftovers(shell: &Shell, unit: &str, reference: &str) -> anyhow::Result<Vec<Reading>> {
    let images = "podman images --noheading --format '{{.Repository}}:{{.Tag}}'";
    let questions = [
        ("left.units", format!("systemctl --user list-units --all --plain --no-legend {unit}.service")),
        ("left.quadlets", format!("find .config/containers/systemd -name '{unit}.container'")),
        ("left.images", format!("{images} | grep -Fx {} || :", quote(reference))),
    ];
    let mut readings = Vec::new();
    for (probe, question) in questions {
        let seen = shell.read(&Command::new("sh").args(["-c", &question])).await?;
        let seen = if seen.trim().is_empty() { "none" } else { seen.trim() };
        readings.push(Reading::text(probe, seen));
    }
    Ok(readings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::shell::Fake;
    use crate::measurement::Sample;
    use crate::measurement::Value;
    use crate::verdict::Rule;
    use crate::verdict::sample_set::SampleSet;

    #[tokio::test]
    async fn a_quadlet_is_installed_watched_from_a_slice_of_its_own_and_removed() {
        let fake =
            Fake::default().answer("sh -c", 0, "").answer("systemctl --user", 0, "loaded\n").answer("rm -rf", 0, "");
        let shell = Shell::fake(fake);
        let deployment = Deployment::install(&shell, "wasm-hello", "Image=@IMAGE@\n", "x/y:1").await.unwrap();
        assert_eq!(deployment.slice(), "assay_wasm_hello.slice");
        assert_eq!(deployment.load_state().await.unwrap(), "loaded");
        deployment.remove().await.unwrap();
    }

    const TRIAL: &str = include_str!("../../fixtures/probes/trial-hello.txt");
    const JOURNAL: &str = include_str!("../../fixtures/probes/journal-hello.jsonl");

    const SHOWN: &str =
        "ExecStart={ argv[]=/usr/bin/podman run -d x }\nStandardOutput=journal\nStandardError=inherit\n";

    /// Returns a deployment whose machine replays the recorded trial, with this log.
    fn replayed(journal: &str, shown: &str, default: &str) -> (Deployment, Trial) {
        let trial = trial::parse(TRIAL).unwrap();
        let fake = Fake::default()
            .answer("sh -s -- no-quota ", 0, TRIAL)
            .answer(&format!("sh -s -- {} no-quota 33554432 assay-mark-{}", trial.since, trial.token), 0, journal)
            .answer("systemctl --user show --property=ExecStart,StandardOutput,StandardError no-quota", 0, shown)
            .answer("podman info", 0, default);
        (Deployment { shell: Shell::fake(fake), unit: "no-quota".to_owned() }, trial)
    }

    fn recorded() -> (Deployment, Trial) {
        replayed(JOURNAL, SHOWN, "journald\n")
    }

    async fn watched((deployment, trial): (Deployment, Trial)) -> Watched {
        deployment.watch_as(&trial.token, &trial.boot, Until::Ended, Duration::from_secs(9)).await.unwrap()
    }

    /// Returns the lines of the unit with which the trial's script finds out whether journald takes lines.
    fn marks(trial: &Trial) -> String {
        let mark = |priority: u8| {
            format!(
                r#"{{"_BOOT_ID":"{}","__MONOTONIC_TIMESTAMP":"1","__REALTIME_TIMESTAMP":"1","MESSAGE":"mark",
                "PRIORITY":"{priority}","_SYSTEMD_USER_UNIT":"assay-mark-{}.service"}}"#,
                trial.boot.replace('-', ""),
                trial.token
            )
        };
        [3, 6].map(mark).map(|mark| mark.replace('\n', "") + "\n").concat()
    }

    #[tokio::test]
    async fn a_claim_about_a_log_is_judged_only_if_the_whole_log_came() {
        let (_, trial) = recorded();
        let silent: String = JOURNAL.split_inclusive('\n').filter(|line| !line.contains("CONTAINER_ID_FULL")).collect();
        let (whole, silent) = (format!("{JOURNAL}{}", marks(&trial)), format!("{silent}{}", marks(&trial)));
        let none = SHOWN.replace("run -d", "run --log-driver none -d");
        for (journal, shown, default, missing) in [
            (whole.as_str(), SHOWN, "none", ""),
            (JOURNAL, SHOWN, "journald", "journald drops lines"),
            (&silent, &none, "journald", "log driver is none"),
            (&silent, SHOWN, "k8s-file\n", "log driver is k8s-file"),
            (&silent, SHOWN, "journald\n", ""),
        ] {
            let readings = watched(replayed(journal, shown, default)).await.readings().unwrap();
            let sample = |reading: Reading| Sample::of("run", &reading.probe, reading.value, reading.unit);
            let set = SampleSet { samples: readings.into_iter().map(sample).collect(), ..SampleSet::default() };
            let contains = |text: &str| Rule::Contains { text: text.to_owned() };
            let reason = |probe: &str, rule: &Rule| set.missing_log(probe, rule).unwrap_or_default().to_owned();
            for (probe, rule) in [("log.text", contains("never said")), ("log.readings", Rule::AtMost { bound: 9.0 })] {
                let reason = reason(probe, &rule);
                assert!(reason.contains(missing) && reason.is_empty() == missing.is_empty(), "{missing}: {reason}");
            }
            let found = reason("log.text", &contains("temperature=23"));
            assert_eq!(found.is_empty(), missing.is_empty() || journal == JOURNAL, "what was found is there: {found}");
            assert_eq!(reason("unit.result", &contains("never said")), "", "this does not depend on the log");
        }
    }

    #[test]
    fn a_limit_on_the_start_in_a_quadlet_counts() {
        for (line, limits) in [("TimeoutStartSec=20", true), ("TimeoutSec = 1min", true), ("TimeoutStopSec=5", false)] {
            assert_eq!(limits_start(&format!("[Container]\nImage=x\n[Service]\n{line}\n")), limits, "{line}");
        }
        assert!(!limits_start("[Service]\n#TimeoutStartSec=20\n"));
    }

    #[tokio::test]
    async fn a_trial_of_this_request_on_this_machine_is_taken() {
        let watched = watched(recorded()).await;
        assert_eq!((watched.raw.as_str(), watched.journal.lines.len()), (TRIAL, JOURNAL.lines().count()));
        assert!(watched.readings().unwrap().iter().any(|reading| reading.probe == "log.duration"));
    }

    #[tokio::test]
    async fn a_quadlet_that_the_generator_refuses_is_reported_in_its_words() {
        let absent = TRIAL.replace("show.LoadState loaded", "show.LoadState not-found");
        let message = "quadlet-generator[7]: converting \"no-quota.container\": unsupported key 'Memory'";
        let fake = Fake::default().answer("sh -s -- no-quota ", 0, &absent).answer("sh -s -- ", 0, JOURNAL);
        let fake = fake.answer("systemctl ", 0, SHOWN).answer("sh -c ", 1, message);
        let (recorded, trial) = recorded();
        let readings = watched((Deployment { shell: Shell::fake(fake), ..recorded }, trial)).await.readings().unwrap();
        let refused = readings.iter().find(|reading| reading.probe == start::REFUSED).unwrap();
        let words = "the workload never started: the Quadlet generator: converting \"no-quota.container\": unsupported";
        assert!(matches!(&refused.value, Value::Text(text) if text.starts_with(words)), "{refused:?}");
    }

    #[tokio::test]
    async fn stale_output_and_another_machines_are_not_taken() {
        let (deployment, trial) = recorded();
        let limit = Duration::from_secs(9);
        let stale = async || deployment.watch(&trial.boot, Until::Ended, limit).await.unwrap_err().to_string();
        let errors = [stale().await, stale().await];
        assert!(errors[0].contains("not stale output of an earlier one"), "{errors:?}");
        assert_ne!(errors[0], errors[1], "each names the token that it asked for");
        let other = deployment.watch_as(&trial.token, "0a9f", Until::Ended, limit).await.unwrap_err().to_string();
        assert!(other.contains("(0a9f), not of another or after a reboot"), "{other}");
    }

    #[tokio::test]
    async fn a_failed_reload_is_reported() {
        let shell = Shell::fake(Fake::default().answer("sh -c", 0, "").answer("systemctl --user", 1, "no bus"));
        let error = Deployment::install(&shell, "wasm-hello", "", "x").await.unwrap_err();
        assert!(format!("{error:#}").contains("systemd cannot load the Quadlet"), "{error:#}");
    }
}
