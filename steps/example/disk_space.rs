//! Tests another program's claim without cucumber, by its own steps and probe, on our machine, with our verdicts and
//! our evidence. `docs/library.md` walks through it.
//!
//! usage: cargo run --example disk_space

use std::path::Path;
use std::process::ExitCode;

use assay::{
    Command, Definition, Machine, Planned, Progress, Reading, Rule, Run, ScenarioChecks, Settings, Unit, Unreadable,
};

/// A probe is a command …
fn free() -> Command {
    Command::new("df").args(["--block-size=1", "--output=avail", "/"])
}

/// … and a pure function that reads what it printed, or reports what it cannot read.
fn read_free(printed: &str) -> Result<Reading, Unreadable> {
    let number = printed.lines().nth(1).and_then(|line| line.trim().parse::<u64>().ok());
    let bytes = number.ok_or_else(|| Unreadable::new("disk.free", "a heading, and a number of bytes", printed))?;
    Ok(Reading::new("disk.free", bytes as f64, Unit::Bytes, printed))
}

/// One scenario: the same check on the right subject or, for its control, on the wrong one.
async fn disk_space(
    run: &Run,
    machine: &Machine,
    planned: &Planned,
    checks: &mut ScenarioChecks,
) -> anyhow::Result<()> {
    if planned.control {
        machine.shell.read(&Command::new("fallocate").args(["--length", "2GB", "filler"])).await?;
    }
    let look = async { Ok(vec![read_free(&machine.shell.read(&free()).await?)?]) };
    let subject = run.measure(&planned.at.name, &machine.name, look).await?;
    // Only this program knows which values of its probe are possible: none is larger than the whole disk.
    checks.check(&subject, "disk.free", Unit::Bytes, Rule::Between { low: 2e9, high: 4_294_967_296.0 })
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // This folder contains features/claims.toml and features/*.feature.
    let claims = Path::new(env!("CARGO_MANIFEST_DIR")).join("steps/example");
    let settings = Settings::read()?;
    let device = Definition::named(&settings, "nano")?;
    let run = Run::begin(&claims, &"vm".parse()?, settings, Progress::to_stderr())?;
    let machine = run.machine(&device).await?;
    run.each(async |planned, checks| disk_space(&run, &machine, planned, checks).await).await?;
    machine.shut_down().await;
    let (verdicts, evidence) = run.end()?;
    println!("{}\n{}", assay::table(&verdicts), assay::summary(&verdicts, &evidence));
    Ok(ExitCode::from(verdicts.exit))
}
