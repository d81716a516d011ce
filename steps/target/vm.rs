//! Virtual machines of ours: from a definition to a machine on which a command has run.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::sync::Mutex;

use super::child::Child;
use super::console::{self, Stage};
use super::definition::Definition;
use super::image::Image;
use super::machine::{Body, Emulated, MAIN, Machine, Work, evidence_file};
use super::qemu::{Board, Devices, Qemu, port_was_taken};
use super::{Context, Qmp, accelerator, keys, remedy};
use crate::command::{Command, Status};
use crate::facts::{Accelerator, Arch, Facts};
use crate::shell::{Login, Shell, Ssh};
use crate::tool;
use crate::wait::{self, Look, TooLate};

/// An emulated CPU on a busy host takes a minute.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// After this somebody may knock even though the console shows no SSH server.
const KNOCK: Duration = Duration::from_secs(90);
/// How often the console is looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// A clock that is off by more than this gets set; one that was read from a battery-backed clock is off by up to 1 s.
const SKEW: f64 = 1.5;
/// QEMU's emulation of several CPUs now and then loses a race while the guest moves its PCI windows, and aborts
/// (`iotlb_to_section: Assertion`); a machine is given this many starts.
const CRASHES: u32 = 3;
/// How much of the console an error shows.
const LINES: usize = 10;

/// Provisions virtual machines.
#[derive(Clone, Copy, Debug)]
pub struct Vm;

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// It was started and did not come up.
    #[error(transparent)]
    Boot(Box<BootFailed>),
    /// It could not be started at all.
    #[error(transparent)]
    Setup(#[from] anyhow::Error),
}

/// A machine that was started and did not come up.
#[derive(Debug, thiserror::Error)]
#[error(
    "machine {machine} did not come up: it was at the stage \"{stage}\" after {:.0} s: {detail}\nthe end of its console ({}):\n{tail}",
    after.as_secs_f64(), console.display()
)]
pub struct BootFailed {
    /// Its name.
    pub machine: String,
    /// How far it came.
    pub stage: Stage,
    /// How long after its start this was noticed.
    pub after: Duration,
    /// Whether QEMU itself crashed.
    pub crashed: bool,
    /// What was seen.
    pub detail: String,
    /// The last lines of its console.
    pub tail: String,
    /// All of its console.
    pub console: PathBuf,
}

/// What ends the wait for a boot.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Trouble(String);

impl From<TooLate> for Trouble {
    fn from(late: TooLate) -> Trouble {
        Trouble(late.to_string())
    }
}

impl Vm {
    /// Makes a machine: its image if there is none yet, its keys, its disk; starts it and waits until a command has
    /// run on it. What a call that is given up has made goes with it.
    ///
    /// # Errors
    /// Something is missing on this host (the error names the remedy), or the machine does not come up.
    pub async fn provision(definition: &Definition, arch: Arch, context: &Context) -> Result<Machine, ProvisionError> {
        for crash in 1..CRASHES {
            match Vm::attempt(definition, arch, context).await {
                Err(ProvisionError::Boot(failed)) if failed.crashed => {
                    context.progress.say(format!("{}: {}: starting it again", failed.machine, failed.detail));
                    // Its console is evidence, and the next one would write over it.
                    let kept = failed.console.with_extension(format!("crash-{crash}.log"));
                    fs::rename(&failed.console, kept).context("a console cannot be kept")?;
                }
                other => return other,
            }
        }
        Vm::attempt(definition, arch, context).await
    }

    async fn attempt(definition: &Definition, arch: Arch, context: &Context) -> Result<Machine, ProvisionError> {
        let host = Shell::local(context.witness.clone());
        let qemu = Qemu::installed(&host, arch).await?;
        let image = Image::provide(definition, arch, context).await?;
        let work = Work::make(context, &definition.name)?;
        let accelerator = accelerator::choose(context, &qemu, &image, arch, &work.folder).await;
        qemu.fit(accelerator)?;
        let root = overlay(&host, &image, arch, &work.folder).await?;
        let login = keys::make(&work.name, &work.folder)?;
        let board = Board {
            arch,
            accelerator,
            cpus: definition.cpus,
            memory: definition.guest_memory(arch),
            kernel: image.kernel.clone(),
            initrd: image.initrd.clone(),
            console: evidence_file(&context.evidence, &work.name, "console.log"),
            devices: None,
        };
        let started = Instant::now();
        let (child, qmp, port) = start(&qemu, &board, root, &work, context).await?;
        let login = Login { address: format!("127.0.0.1:{port}"), ..login };
        let boot = Boot { context, work: &work, login, console: board.console, accelerator, started };
        let (shell, mut facts) = boot.watch(&child).await?;
        facts.qemu = Some(qemu.version);
        facts.image = Some(image.manifest.key);
        let boot_time = started.elapsed();
        context.progress.say(format!("{}: up after {:.1} s", work.name, boot_time.as_secs_f64()));
        Ok(Machine {
            name: work.name.clone(),
            arch,
            shell,
            facts,
            boot: boot_time,
            console: boot.console,
            setup: Vec::new(),
            evidence: context.evidence.clone(),
            body: Body::Qemu(Box::new(Emulated { port, qmp: Mutex::new(qmp), child, work })),
        })
    }
}

/// A copy-on-write disk over the image's.
async fn overlay(host: &Shell, image: &Image, arch: Arch, folder: &Path) -> anyhow::Result<PathBuf> {
    let root = folder.join("root.qcow2");
    let create = Command::new(tool::need("qemu-img", &remedy(arch))?)
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .args([image.disk.display().to_string(), root.display().to_string()]);
    host.read(&create).await?;
    Ok(root)
}

/// All machines but the main one give way to it: what is measured there is not to wait for what happens elsewhere.
fn after_main(name: &str, argv: Vec<String>) -> Vec<String> {
    match name == MAIN {
        true => argv,
        false => ["nice", "-n", "10"].into_iter().map(str::to_owned).chain(argv).collect(),
    }
}

/// Starts QEMU on a free port and says hello to it.
async fn start(
    qemu: &Qemu,
    board: &Board,
    root: PathBuf,
    work: &Work,
    context: &Context,
) -> anyhow::Result<(Child, Qmp, u16)> {
    let socket = work.folder.join("qmp");
    let mut devices = Devices { root, keys: work.folder.join(keys::DISK), port: 0, qmp: socket.clone() };
    for _ in 0..5 {
        devices.port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).map(|at| at.port())?;
        let board = Board { devices: Some(devices.clone()), ..board.clone() };
        let child = Child::start(&after_main(&work.name, qemu.argv(&board)), &work.log(), &context.ledger)?;
        let hello =
            wait::until("qemu's greeting", Duration::from_secs(20), Duration::from_millis(20), async || {
                match (child.ended(), Qmp::connect(&socket).await) {
                    (Some(status), _) => Err(Trouble(format!("qemu ended with {status}: {}", work.qemu_said()))),
                    (None, Ok(qmp)) => Ok(Look::Done(qmp)),
                    (None, Err(error)) => Ok(Look::Waiting(format!("{error:#}"))),
                }
            });
        match hello.await {
            Ok(qmp) => return Ok((child, qmp, devices.port)),
            // Somebody was faster; the next port will do.
            Err(Trouble(said)) if port_was_taken(&said) => {}
            Err(trouble) => return Err(trouble).with_context(|| format!("machine {} cannot be started", work.name)),
        }
    }
    anyhow::bail!("machine {} cannot be started: other programs take every port that is free", work.name)
}

/// The way from QEMU's start to a system that is up.
struct Boot<'a> {
    context: &'a Context,
    work: &'a Work,
    login: Login,
    console: PathBuf,
    accelerator: Accelerator,
    started: Instant,
}

impl Boot<'_> {
    /// Follows the boot to its end, whichever that is.
    async fn watch(&self, child: &Child) -> Result<(Shell, Facts), ProvisionError> {
        let mut at_login = false;
        let outcome = tokio::select! {
            outcome = self.follow(&mut at_login) => outcome,
            status = child.wait() => Err(Trouble(format!("qemu ended with {status}: {}", self.work.qemu_said()))),
        };
        outcome.map_err(|Trouble(detail)| {
            let text = self.console_text();
            ProvisionError::Boot(Box::new(BootFailed {
                machine: self.work.name.clone(),
                stage: if at_login { Stage::Login } else { console::stage(&text) },
                after: self.started.elapsed(),
                crashed: matches!(child.ended(), Some(Status::Signal(_))),
                detail,
                tail: console::last_lines(&text, LINES),
                console: self.console.clone(),
            }))
        })
    }

    async fn follow(&self, at_login: &mut bool) -> Result<(Shell, Facts), Trouble> {
        let shell = self.knock().await?;
        *at_login = true;
        self.say(Stage::Login);
        let failed = |error: anyhow::Error| Trouble(format!("{error:#}"));
        self.settle(&shell).await.map_err(failed)?;
        self.set_clock(&shell).await.map_err(failed)?;
        let facts = Facts::gather(&shell, self.accelerator).await.map_err(failed)?;
        Ok((shell, facts))
    }

    /// Watches the console until there is somebody to log in to, and logs in.
    async fn knock(&self) -> Result<Shell, Trouble> {
        let mut last = Stage::Started;
        wait::until("a login", BOOT_LIMIT, PAUSE, async || {
            let text = self.console_text();
            if let Some(line) = console::dead_end(&text) {
                return Err(Trouble(line));
            }
            let now = console::stage(&text);
            if now != std::mem::replace(&mut last, now) {
                self.say(now);
            }
            if now < Stage::Ssh && self.started.elapsed() < KNOCK {
                return Ok(Look::Waiting(format!("the console is at the stage \"{now}\"")));
            }
            Ok(match Ssh::connect(&self.login).await {
                Ok(ssh) => Look::Done(Shell::ssh(ssh, self.context.witness.clone())),
                Err(error) => Look::Waiting(error.to_string()),
            })
        })
        .await
    }

    /// Waits until systemd has started everything, and everything well.
    async fn settle(&self, shell: &Shell) -> anyhow::Result<()> {
        let left = BOOT_LIMIT.saturating_sub(self.started.elapsed()).max(Duration::from_secs(30));
        let wait = Command::new("systemctl").args(["is-system-running", "--wait"]).time_limit(left);
        let state = shell.run(&wait).await?.text();
        if state.trim() == "running" {
            return Ok(());
        }
        let failed = shell.run(&Command::new("systemctl").args(["--failed", "--plain", "--no-legend"])).await?.text();
        let units: Vec<&str> = failed.lines().filter_map(|line| line.split_whitespace().next()).collect();
        anyhow::bail!("systemd says \"{}\"; failed units: {}", state.trim(), units.join(", "))
    }

    /// Sets the guest's clock where it is not the host's: evidence is ordered by it.
    async fn set_clock(&self, shell: &Shell) -> anyhow::Result<()> {
        for attempt in 0..2 {
            let before = now();
            let said = shell.read(&Command::new("date").arg("+%s.%N")).await?;
            let theirs: f64 = said.trim().parse().with_context(|| format!("the clock says \"{}\"", said.trim()))?;
            // It was read at some moment in between.
            let after = now();
            let off = (before - theirs).max(theirs - after).max(0.0);
            if off <= SKEW {
                return Ok(());
            }
            anyhow::ensure!(attempt == 0, "its clock is {off:.1} s off and does not let itself be set");
            self.context.progress.say(format!("{}: its clock is {off:.1} s off, setting it", self.work.name));
            shell.read(&Command::new("sudo").args(["date", "--set", &format!("@{:.3}", now())])).await?;
        }
        Ok(())
    }

    fn say(&self, stage: Stage) {
        self.context.progress.say(format!("{}: {stage}", self.work.name));
    }

    fn console_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
