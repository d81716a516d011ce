//! What a fleet costs: a thousand machines that are not there, each an SSH server of its own on loopback that answers what
//! was recorded on a real one. On each, a Quadlet is deployed, watched, judged and removed, over the real SSH client.
//!
//! A fleet of each size has a process of its own, so that its memory is its own: servers, clients and all.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::Times;
use crate::command::Command;
use crate::deployment::Deployment;
use crate::facts::{Accelerator, Facts};
use crate::fleet::{self, Limits};
use crate::kernel;
use crate::probe::Sample;
use crate::probe::trial::{self, Until};
use crate::progress::Progress;
use crate::shell::{Answer, Login, Nobody, Reply, Server, Shell, Ssh, new_key};
use crate::unit::Unit;
use crate::verdict::{Check, Rule, Source, Verdict};

const TRIAL: &str = include_str!("../../fixtures/probes/trial-hello.txt");
const JOURNAL: &str = include_str!("../../fixtures/probes/journal-hello.jsonl");
const FACTS: &str = include_str!("../../fixtures/facts/debian-13-amd64.txt");
const QUADLET: &str = include_str!("../../fixtures/quadlets/no-quota.container");
/// As which unit the trial was recorded.
const UNIT: &str = "no-quota";
const LIMITS: Limits = Limits { at_once: 64, each: Duration::from_secs(120) };
/// A trial prints some 10 kB, its journal some 30 kB. With this, a fleet that floods us altogether takes 128 MB.
const OUTPUT: usize = 1_000_000;
/// Descriptors that this program needs beside the servers and both ends of the connections.
const OTHERS: u64 = 100;
const MIB: f64 = 1_048_576.0;

/// What fleets of two sizes cost.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// The most memory that a process held that simulates 1,000 machines and runs the fleet, in MiB: the median.
    pub fleet_1000_mib: f64,
    /// The CPU time of one machine of 1,000 over that of one of 10.
    pub fleet_cost_ratio: f64,
    #[serde(skip)]
    wall: Times,
    #[serde(skip)]
    each: [Times; 2],
}

impl std::fmt::Display for Cost {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (memory, ratio) = (self.fleet_1000_mib, Unit::Times.show(self.fleet_cost_ratio));
        let [small, large] = &self.each;
        write!(out, "fleet: 1,000 machines in {}, with at most {memory:.0} MiB; ", self.wall)?;
        write!(out, "CPU time of a machine: {large}, {ratio} of that in a fleet of 10, {small}")
    }
}

/// What one fleet cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fleet {
    /// How many machines there were.
    pub machines: usize,
    /// How long it took, in seconds.
    pub wall_s: f64,
    /// The CPU time of this process meanwhile, in seconds; the servers' is in it.
    pub cpu_s: f64,
    /// The most memory that this process has held, in MiB.
    pub peak_mib: f64,
}

impl std::fmt::Display for Fleet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fleet { machines, wall_s, cpu_s, peak_mib } = self;
        write!(out, "fleet: {machines} machines in {wall_s:.2} s, {cpu_s:.2} s of CPU time, at most {peak_mib:.0} MiB")
    }
}

/// Has `program` (this one) run fleets of 10 and of 1,000 in processes of their own.
///
/// # Errors
/// A fleet cannot be run, or a machine of it does not come to its verdict.
pub async fn measure(program: &Path, repetitions: usize, progress: &Progress) -> anyhow::Result<Cost> {
    let host = Shell::local(Arc::new(Nobody));
    let program = program.to_str().context("the path of this program is no text")?;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for round in 1..=repetitions {
        progress.say(format!("fleet: 10 machines, then 1,000; {round} of {repetitions}"));
        for (machines, fleets) in [(10, &mut small), (1_000, &mut large)] {
            let one = Command::new(program).args(["bench", "fleet", "--json", "--machines", &machines.to_string()]);
            let said = host.read(&one.time_limit(Duration::from_secs(1_800))).await?;
            fleets.push(serde_json::from_str::<Fleet>(&said).with_context(|| format!("{said:?} is no fleet's cost"))?);
        }
    }
    let each = |fleets: &[Fleet]| {
        Times::of(&fleets.iter().map(|fleet| fleet.cpu_s / fleet.machines as f64).collect::<Vec<_>>())
    };
    let memory: Vec<f64> = large.iter().map(|fleet| fleet.peak_mib).collect();
    let each = [each(&small)?, each(&large)?];
    Ok(Cost {
        fleet_1000_mib: crate::stats::median(&memory).context("no fleet was run")?,
        fleet_cost_ratio: each[1].median() / each[0].median(),
        wall: Times::of(&large.iter().map(|fleet| fleet.wall_s).collect::<Vec<_>>())?,
        each,
    })
}

/// Runs one fleet in this process.
///
/// # Errors
/// There are not descriptors enough, or a machine does not come to its verdict.
pub async fn one(machines: usize) -> anyhow::Result<Fleet> {
    let open = machines as u64 + 2 * LIMITS.at_once as u64 + OTHERS;
    may_open(open).with_context(|| format!("{machines} machines take {open} descriptors"))?;
    let (key, _) = new_key("fleet")?;
    let boot = trial::parse(TRIAL)?.boot;
    let recorded: Answer = Arc::new(move |line| answer(line, &boot));
    let mut servers = Vec::with_capacity(machines);
    for _ in 0..machines {
        servers.push(Server::start(&key, recorded.clone()).await?);
    }
    let logins = servers.iter().enumerate().map(|(number, server)| server.login(&format!("machine {number}"), &key));
    let logins: Vec<Login> = logins.collect();
    let (started, used) = (Instant::now(), cpu_time());
    let ended = fleet::run(logins, LIMITS, put_to_the_proof).await;
    let (wall_s, cpu_s) = (started.elapsed().as_secs_f64(), cpu_time() - used);
    let held = ended.into_iter().collect::<anyhow::Result<Vec<Verdict>>>()?;
    ensure!(held.iter().all(|verdict| *verdict == Verdict::Holds), "not every machine holds what was recorded");
    Ok(Fleet { machines, wall_s, cpu_s, peak_mib: peak_memory()? / MIB })
}

/// Raises this process's own limit, as far as the system lets everybody.
fn may_open(descriptors: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= descriptors) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(descriptors), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("this process may not open so many: raise ulimit -Hn")
}

/// In seconds, of all threads of this process.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The most that this process has held, in bytes.
fn peak_memory() -> anyhow::Result<f64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("the system does not say what this process holds")?;
    Ok(kernel::size(&status, "VmHWM").context("/proc/self/status has no VmHWM")?.value())
}

/// What the recorded machine said to such a command; of a trial, with the word that it was asked to say.
fn answer(line: &str, boot: &str) -> Reply {
    let said = |text: &str| Reply::Ends(0, text.as_bytes().to_vec());
    let line_of =
        |text: &'static str, start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    match line {
        "sh -s --" => {
            let facts = FACTS.split_once("== boot\n").and_then(|(head, rest)| Some((head, rest.split_once('\n')?.1)));
            let (head, rest) = facts.unwrap_or_default();
            said(&format!("{head}== boot\n{boot}\n{rest}"))
        }
        _ if line.starts_with("sh -s -- ") => {
            let token = line.rsplit(' ').next().unwrap_or_default();
            said(&TRIAL.replacen(line_of(TRIAL, "token "), &format!("token {token}"), 1))
        }
        _ if line.starts_with("journalctl --user ") => said(JOURNAL),
        _ if ["sh -c ", "systemctl --user ", "rm -rf "].iter().any(|start| line.starts_with(start)) => said(""),
        _ => Reply::Ends(127, Vec::new()),
    }
}

/// The whole of a machine's job: log in, ask what it is, deploy, watch, judge, remove.
async fn put_to_the_proof(login: Login) -> anyhow::Result<Verdict> {
    let machine = login.machine.clone();
    let ssh = Ssh::connect(&login).await?.output_limit(OUTPUT);
    let shell = Shell::ssh(ssh, Arc::new(Nobody));
    let facts = Facts::gather(&shell, Accelerator::Tcg).await?;
    let since = Timestamp::now();
    let deployment = Deployment::install(&shell, UNIT, QUADLET, "localhost/hello:1").await?;
    let watched = deployment.watch(&facts.boot, Until::Ended, Duration::from_secs(60)).await?;
    let until = Timestamp::now();
    let sample = |(place, reading): (usize, crate::probe::Reading)| Sample {
        id: place as u64 + 1,
        probe: reading.probe,
        subject: UNIT.to_owned(),
        machine: machine.clone(),
        value: reading.value,
        unit: reading.unit,
        at: until,
        raw: reading.raw,
    };
    let samples: Vec<Sample> = watched.readings(UNIT)?.into_iter().enumerate().map(sample).collect();
    let probe = "memory.peak".to_owned();
    let mine = samples.iter().filter(|sample| sample.probe == probe).map(|sample| sample.id).collect();
    let sources = vec![Source { subject: UNIT.to_owned(), machine: machine.clone(), since, until }];
    let rule = Rule::Below { bound: 64e6 };
    let judged = Check { probe, unit: Unit::Bytes, rule, sources, samples: mine }.judge(&samples);
    deployment.remove().await?;
    Ok(judged.outcome.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_machine_that_hangs_and_one_that_floods_end_for_themselves_alone() {
        let (key, _) = new_key("fleet").unwrap();
        let boot = trial::parse(TRIAL).unwrap().boot;
        let recorded: Answer = Arc::new(move |line| answer(line, &boot));
        let mut servers = Vec::new();
        for number in 0..10 {
            let odd: Answer = match number {
                3 => Arc::new(|_| Reply::Hangs),
                6 => Arc::new(|_| Reply::Floods),
                _ => recorded.clone(),
            };
            servers.push(Server::start(&key, odd).await.unwrap());
        }
        let logins =
            servers.iter().enumerate().map(|(number, server)| server.login(&format!("machine {number}"), &key));
        let limits = Limits { at_once: 4, each: Duration::from_secs(10) };
        let ended = fleet::run(logins.collect(), limits, put_to_the_proof).await;
        for (number, outcome) in ended.into_iter().enumerate() {
            match number {
                3 => assert_eq!(outcome.unwrap_err().to_string(), "it did not end within 10s"),
                6 => assert!(
                    outcome.unwrap_err().to_string().starts_with("machine 6: `sh -s --` printed more than 1 MB")
                ),
                _ => assert_eq!(outcome.unwrap(), Verdict::Holds, "machine {number}"),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_fleet_says_what_it_took() {
        let fleet = one(3).await.unwrap();
        assert_eq!(fleet.machines, 3);
        assert!(fleet.cpu_s > 0.0 && fleet.wall_s > 0.0 && fleet.peak_mib > 1.0, "{fleet}");
    }

    #[test]
    fn more_descriptors_than_the_system_has_are_refused_with_the_remedy() {
        let error = format!("{:#}", may_open(u64::MAX - 1).unwrap_err());
        assert!(error.starts_with("this process may not open so many: raise ulimit -Hn"), "{error}");
    }
}
