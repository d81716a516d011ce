//! Runs several targets: this program once for each, one after the other, and merges their bundles into one.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::base::exit_status::{Exit, ExitStatus, infrastructure, usage};
use crate::base::platform::TargetSpec;
use crate::base::programs;
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::evidence::merge::{PARTS, Part, part_name};
use crate::evidence::{new_or_empty, new_run_id, point_latest};
use crate::report;
use crate::report::finalize::merged;
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::e2e::options::Options;
use crate::e2e::run::{Run, Signals};
use crate::e2e::run_scenarios::say;

/// How long to wait for the last output of a run that is over: something that it started may still hold the pipe.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Options that each run gets its own value of; all of them take a value.
const OWN: [&str; 2] = ["--target", "--evidence"];

/// Options that only apply to targets of one kind.
struct Special {
    is: fn(&TargetSpec) -> bool,
    /// Those that take a value.
    valued: &'static [&'static str],
    flag: &'static str,
    /// Returns the same options without them.
    without: fn(Options) -> Options,
}

const SPECIAL: [Special; 2] = [
    // EC2, which is billed.
    Special {
        is: |target| *target == TargetSpec::Ec2,
        valued: &["--max-cost", "--time-limit", "--subnet"],
        flag: "--spot",
        without: |options| Options { max_cost: None, time_limit: None, spot: false, subnet: None, ..options },
    },
    // A remote machine.
    Special {
        is: |target| matches!(target, TargetSpec::Ssh { .. }),
        valued: &["--host-key"],
        flag: "--provision",
        without: |options| Options { host_key: None, provision: false, ..options },
    },
];

/// Tests the claims on each of the targets. Returns the worst of their exit statuses.
pub fn prove(options: &Options) -> Result<ExitStatus, Exit> {
    let settings = Settings::read().map_err(usage)?;
    let targets = targets(options, &settings).map_err(usage)?;
    // A mistake about the last target is reported before the first one runs.
    for (place, target) in targets.iter().enumerate() {
        if options.plan && place > 0 {
            say("");
        }
        Run::prepare(of_target(options, target, &targets))?;
    }
    if options.plan {
        return Ok(ExitStatus::Success);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(infrastructure)?;
    runtime.block_on(in_turn(options, &settings, &targets))
}

/// Returns the targets that were named, each of which may be named once.
fn targets(options: &Options, settings: &Settings) -> anyhow::Result<Vec<TargetSpec>> {
    let mut targets: Vec<TargetSpec> = Vec::new();
    for name in &options.target {
        let target = TargetSpec::choose(Some(name), settings)?;
        anyhow::ensure!(!targets.contains(&target), "target {target} is named twice: name each once");
        targets.push(target);
    }
    Ok(targets)
}

/// Returns the options of the run on one of the targets.
fn of_target(options: &Options, target: &TargetSpec, all: &[TargetSpec]) -> Options {
    let own = Options { target: vec![target.to_string()], ..options.clone() };
    not_for(target, all).into_iter().fold(own, |own, special| (special.without)(own))
}

/// Returns the options that apply only to others of the targets. Options that apply to none of the targets are given to
/// each, which reports them as misplaced.
fn not_for(target: &TargetSpec, all: &[TargetSpec]) -> Vec<&'static Special> {
    SPECIAL.iter().filter(|special| !(special.is)(target) && all.iter().any(special.is)).collect()
}

/// Returns the arguments that are passed on to the run on one target.
fn handed_on(arguments: impl Iterator<Item = String>, not_for: &[&Special]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let (name, joined) = argument.split_once('=').map_or((argument.as_str(), false), |(name, _)| (name, true));
        let valued = OWN.contains(&name) || not_for.iter().any(|special| special.valued.contains(&name));
        match valued || not_for.iter().any(|special| special.flag == name) {
            true if valued && !joined => drop(arguments.next()),
            true => {}
            false => kept.push(argument),
        }
    }
    kept
}

async fn in_turn(options: &Options, settings: &Settings, targets: &[TargetSpec]) -> Result<ExitStatus, Exit> {
    let progress = Progress::to_stderr();
    let mut signals = Signals::listen().map_err(infrastructure)?;
    let (id, runs) = (new_run_id(), &settings.runs);
    let named = options.evidence.clone().unwrap_or_else(|| runs.join(&id));
    let folder = new_or_empty(&named).map_err(usage)?;
    let (mut statuses, mut parts) = (BTreeSet::new(), Vec::new());
    for (place, target) in targets.iter().enumerate() {
        progress.say(format!("{target}: target {} of {}", place + 1, targets.len()));
        let name = part_name(&target.to_string(), options.shard);
        let evidence = folder.join(PARTS).join(&name);
        let child = start(target, &evidence, &not_for(target, targets)).map_err(infrastructure)?;
        let (status, interrupted) = watch(child, target, &mut signals).await.map_err(infrastructure)?;
        statuses.insert(status);
        if interrupted {
            statuses.insert(ExitStatus::Inconclusive);
        }
        match Part::open(&evidence) {
            Ok(_) => parts.push(name),
            Err(error) => progress.say(format!("{target}: left nothing to be judged by: {error:#}")),
        }
        if interrupted || status == ExitStatus::Usage {
            let left: Vec<String> = targets.iter().skip(place + 1).map(TargetSpec::to_string).collect();
            if !left.is_empty() {
                progress.say(format!("stopped before {}", left.join(", ")));
            }
            break;
        }
    }
    if parts.is_empty() {
        // There is no evidence of anything. What a killed run may have left all the same stays.
        let _ = std::fs::remove_dir(folder.join(PARTS)).and_then(|()| std::fs::remove_dir(&folder));
        return Ok(worst(&statuses));
    }
    let asked: Vec<String> = targets.iter().map(TargetSpec::to_string).collect();
    let whole = merged::close(&folder, &id, &asked, &parts).map_err(infrastructure)?;
    point_latest(runs, &folder, &id).map_err(infrastructure)?;
    say(&format!("\n{}\n\n{}", report::merged_table(&whole), report::merged_summary(&whole, &folder)));
    statuses.insert(ExitStatus::from_code(Some(whole.exit.into())));
    Ok(worst(&statuses))
}

/// Returns the worst of several exit statuses: a claim fails, then a mistake, then something could not be judged.
fn worst(statuses: &BTreeSet<ExitStatus>) -> ExitStatus {
    let order = [ExitStatus::Failed, ExitStatus::Usage, ExitStatus::Inconclusive];
    order.into_iter().find(|status| statuses.contains(status)).unwrap_or(ExitStatus::Success)
}

/// Starts the run on a target. It leads its own process group, so that Ctrl-C reaches it once, through us; it gets
/// SIGTERM if we are killed.
fn start(target: &TargetSpec, evidence: &Path, not_for: &[&Special]) -> anyhow::Result<Child> {
    let own = std::env::current_exe().context("this program cannot find itself")?;
    let mut command = match programs::find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM", "--"]).arg(&own);
            command
        }
        None => Command::new(&own),
    };
    command.arg("run").args(handed_on(std::env::args().skip(2), not_for));
    command.arg("--target").arg(target.to_string()).arg("--evidence").arg(evidence);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().with_context(|| format!("the run on {target} cannot be started"))
}

/// Waits for the end of a run, relays what it prints, and passes on every signal. Returns its exit status, and whether
/// there was a signal.
async fn watch(mut child: Child, target: &TargetSpec, signals: &mut Signals) -> anyhow::Result<(ExitStatus, bool)> {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let shown = [
        child.stdout.take().map(|out| tokio::spawn(relay(out, target.clone(), |line| say(&line)))),
        child.stderr.take().map(|err| tokio::spawn(relay(err, target.clone(), note))),
    ];
    let mut interrupted = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            () = signals.any() => {
                interrupted = true;
                // A run that has ended meanwhile needs no signal.
                let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
            }
        }
    };
    for lines in shown.into_iter().flatten() {
        let _ = tokio::time::timeout(LAST_WORDS, lines).await;
    }
    Ok((ExitStatus::from_code(status.code()), interrupted))
}

/// Relays each line, with the target before it.
async fn relay(from: impl AsyncRead + Unpin, target: TargetSpec, show: fn(String)) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        show(format!("[{target}] {line}").trim_end().to_owned());
    }
}

/// Prints a line on standard error, even if nothing reads it.
fn note(line: String) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
