//! Measures what a system container costs: its start until a command has run over a connection of its own, and the CPU of
//! this host that it takes for that. Nothing of it may be left.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::restore::{Held, KIND};
use super::{BenchResult, format, on_machines, summary};
use assay::base::poll::{self, Look};
use assay::base::progress::Progress;
use assay::exec::command::Command;
use assay::targets::{Context, Definition, Nspawn};

/// The kernel removes network interfaces and loop devices a moment after the last process that used them has ended.
const A_MOMENT: Duration = Duration::from_secs(5);

/// Starts this many machines, one after the other.
pub async fn measure(starts: usize, progress: &Progress) -> anyhow::Result<BenchResult> {
    let before = around()?;
    let cost = on_machines(progress, async |context| rounds(starts, context).await).await?;
    poll::until("the end of what machines were made of", A_MOMENT, A_MOMENT / 50, async || {
        let left: Vec<String> = around()?.difference(&before).cloned().collect();
        Ok::<_, anyhow::Error>(if left.is_empty() { Look::Done(()) } else { Look::Waiting(left.join(", ")) })
    })
    .await?;
    Ok(cost)
}

async fn rounds(starts: usize, context: &Context) -> anyhow::Result<BenchResult> {
    let definition = Definition::named(&context.settings, KIND)?;
    let nspawn = Nspawn::of(&definition, context).await?;
    let (mut seconds, mut used, mut before) = (Vec::new(), Vec::new(), None);
    for start in 1..=starts {
        let machine = nspawn.machine(&format!("native-{start}")).await?;
        seconds.push(machine.boot.as_secs_f64());
        let account = machine.shell.read(&Command::new("cat").arg("/sys/fs/cgroup/cpu.stat")).await?;
        let usage = account.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<f64>().ok());
        used.push(usage.with_context(|| format!("its control group says \"{account}\""))? / 1e6);
        machine.shut_down().await;
        drop(machine);
        before.get_or_insert(Held::now()?);
    }
    before.as_ref().map_or(Ok(()), Held::has_not_grown)?;
    let (start, cpu) = (summary(&seconds)?, summary(&used)?);
    Ok(BenchResult {
        line: format!(
            "native: the first command on a system container takes {}, and {} of CPU time; of {starts} such \
             machines nothing is left",
            format(&start),
            format(&cpu)
        ),
        numbers: json!({ "native_s": start.median, "native_cpu_s": cpu.median, "natives": starts }),
    })
}

/// Lists what machines are made of on this host: network interfaces, control groups, loop devices in use, mounts.
fn around() -> anyhow::Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let folders = [
        "/sys/class/net",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup/systemd",
        "/sys/fs/cgroup/system.slice",
    ];
    for folder in folders.into_iter().chain(["/sys/block"]) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let ours = entry.file_name().to_string_lossy().starts_with("assay-") || path.join("loop").is_dir();
            all.extend(ours.then(|| path.display().to_string()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo cannot be read")?;
    all.extend(mounts.lines().filter_map(|line| Some(format!("mount {}", line.split(' ').nth(4)?))));
    Ok(all)
}
