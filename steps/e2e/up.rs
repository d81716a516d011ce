//! Steps about a workload of your own that is up and answers (`--suite DIR`), deployed with all of its Quadlets.

use crate::e2e::prelude::*;
use assay::claims::workload::change::QuadletChange;
use cucumber::gherkin::Step;

/// Deploys all Quadlets of the folder with their files and secrets, waits until the workload is active, and asks it
/// what the steps below ask: what changes nothing first.
#[when("the workload is up")]
async fn up(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about_up(QuadletChange::Nothing).await
}

/// The same with that as its memory limit, for a control.
#[when(expr = "the workload is up with a limit of {size} of memory")]
async fn up_within_memory(world: &mut ScenarioWorld, size: SizeWord) -> anyhow::Result<()> {
    world.about_up(QuadletChange::Memory(size.0)).await
}

/// The same without `Volume=` of that name, for a control.
#[when(expr = "the workload is up without its volume {string}")]
async fn up_without_volume(world: &mut ScenarioWorld, name: String) -> anyhow::Result<()> {
    world.about_up(QuadletChange::Volume(name)).await
}

/// The same as the system's unit, whose user and whose container's user are root, for a control. On machines of this host only.
#[when("the workload is up as root")]
async fn up_as_root(world: &mut ScenarioWorld) -> anyhow::Result<()> {
    world.about_up(QuadletChange::Root).await
}

/// From `systemctl start` until its unit is active and, if it has a health check, this succeeds. Above the bound on an
/// emulated CPU, it is not judged.
#[then(expr = "it is ready within {duration}")]
async fn ready(world: &mut ScenarioWorld, #[step] step: &Step, bound: DurationWord) -> anyhow::Result<()> {
    world.check_answered_time(&step.value, "ready.time", bound.0.value()).await
}

/// Over TCP, from the machine's own loopback. A connection that is closed at once does not count: a proxy takes it before the
/// workload listens. Tried for up to 10 s after the start.
#[then(expr = "a client connects to port {int}")]
fn connects(world: &mut ScenarioWorld, #[step] step: &Step, _port: u16) -> anyhow::Result<()> {
    world.check_answer(&step.value, "net.connect", Unit::Text, Rule::Equals { value: "connected".into() })
}

/// Asked from the machine itself, for up to 10 s after the start. The certificate of `https://` is not verified.
#[then(expr = "GET {word} answers {int}")]
fn answers(world: &mut ScenarioWorld, #[step] step: &Step, _url: String, status: String) -> anyhow::Result<()> {
    world.check_answer(&step.value, "http.status", Unit::Text, Rule::Equals { value: status.as_str().into() })
}

/// The same, and the answer's body contains the text.
#[then(expr = "GET {word} answers {int} with {string}")]
fn answers_with(
    world: &mut ScenarioWorld,
    #[step] step: &Step,
    _url: String,
    status: String,
    text: String,
) -> anyhow::Result<()> {
    world.check_answer(&step.value, "http.status", Unit::Text, Rule::Equals { value: status.as_str().into() })?;
    world.check_answer(&step.value, "http.body", Unit::Text, Rule::Contains { text })
}

/// Runs its words with `podman exec`, without a shell, and looks for the text in what it prints to standard output. Tried
/// for up to 10 s after the start until its exit code is 0.
#[then(expr = "the command {string} in its container prints {string}")]
fn prints(world: &mut ScenarioWorld, #[step] step: &Step, _command: String, text: String) -> anyhow::Result<()> {
    world.check_answer(&step.value, "exec.output", Unit::Text, Rule::Contains { text })
}

/// From `systemctl stop` until its unit has ended.
#[then(expr = "it stops within {duration} when asked")]
async fn stops(world: &mut ScenarioWorld, #[step] step: &Step, bound: DurationWord) -> anyhow::Result<()> {
    world.check_answered_time(&step.value, "stop.time", bound.0.value()).await
}

/// From the end of its container's first process by SIGKILL until its unit is active with a new one.
#[then(expr = "after SIGKILL it is back within {duration}")]
async fn back(world: &mut ScenarioWorld, #[step] step: &Step, bound: DurationWord) -> anyhow::Result<()> {
    world.check_answered_time(&step.value, "restart.time", bound.0.value()).await
}

/// Writes a file into its first volume that has a name, restarts the unit, and looks for the file.
#[then("what was in its volume is there after a restart")]
fn kept(world: &mut ScenarioWorld, #[step] step: &Step) -> anyhow::Result<()> {
    is_kept(world, step)
}

/// The same for the volume that its container has at this path.
#[then(expr = "what was in its volume at {string} is there after a restart")]
fn kept_at(world: &mut ScenarioWorld, #[step] step: &Step, _path: String) -> anyhow::Result<()> {
    is_kept(world, step)
}

fn is_kept(world: &mut ScenarioWorld, step: &Step) -> anyhow::Result<()> {
    world.check_answer(&step.value, "volume.kept", Unit::Text, Rule::Equals { value: "there".into() })
}

/// No process of its container has the machine's user 0.
#[then("it runs without root")]
fn without_root(world: &mut ScenarioWorld, #[step] step: &Step) -> anyhow::Result<()> {
    world.check_answer(&step.value, "container.uid", Unit::Count, Rule::Differs { value: 0.0.into() })
}

/// No process of its container has another one, be it effective or permitted. Several are separated by blanks.
#[then(expr = "it runs with no capability but {string}")]
fn capabilities(world: &mut ScenarioWorld, #[step] step: &Step, _names: String) -> anyhow::Result<()> {
    world.check_answer(&step.value, "container.capabilities", Unit::Text, Rule::Equals { value: "no other".into() })
}

/// Its unit's memory, looked at ten times a second, while a client on the machine makes so many requests for 10 s. Not
/// judged if fewer than 90 % of them were answered.
#[then(expr = "it keeps within {size} while {int} requests a second are made to {word}")]
fn under_load(
    world: &mut ScenarioWorld,
    #[step] step: &Step,
    size: SizeWord,
    _rate: u32,
    _url: String,
) -> anyhow::Result<()> {
    world.check_answer(&step.value, "memory.load", Unit::Bytes, Rule::AtMost { bound: size.0.value() })
}
