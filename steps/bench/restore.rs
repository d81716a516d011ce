//! Measures what a machine costs: booted, and restored from its snapshot.
//!
//! Both end when a command has run on the machine over its own connection. The snapshot is made and its checksums are
//! verified before anything is measured: a run of the suite does that once.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{BenchResult, format, on_machines, summary};
use assay::base::platform::Arch;
use assay::base::procfs;
use assay::base::progress::Progress;
use assay::base::unit::Unit;
use assay::exec::command::Command;
use assay::targets::{Context, Definition, Urgency, Vm};

pub(super) const KIND: &str = "nano";
/// The growth in this process's memory that is accepted at the end, in MiB: allocators do not give everything back.
const GROWTH: u64 = 64;

/// What this process holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// Its open files, sockets and pipes.
    descriptors: usize,
    memory: u64,
}

impl Held {
    pub(super) fn now() -> anyhow::Result<Held> {
        let descriptors = fs::read_dir("/proc/self/fd").context("/proc/self/fd cannot be read")?.count();
        let status = fs::read_to_string("/proc/self/status").context("/proc/self/status cannot be read")?;
        let memory = procfs::size(&status, "VmRSS").context("/proc/self/status has no VmRSS")?;
        Ok(Held { descriptors, memory: memory.0 >> 20 })
    }

    pub(super) fn has_not_grown(&self) -> anyhow::Result<()> {
        grown(self, &Held::now()?)
    }
}

/// Boots and restores this many machines, one after the other, and checks that nothing of them is left.
pub async fn measure(boots: usize, restores: usize, progress: &Progress) -> anyhow::Result<BenchResult> {
    on_machines(progress, async |context| rounds(boots, restores, context).await).await
}

async fn rounds(boots: usize, restores: usize, context: &Context) -> anyhow::Result<BenchResult> {
    let arch = Arch::host().context("this host is of no architecture that machines are made of")?;
    let definition = Definition::named(&context.settings, KIND)?;
    let vm = Vm::of(&definition, arch, context).await?;
    let accelerator = vm.facts().await?.accelerator.to_string();
    let mut seconds = [const { Vec::new() }; 2];
    let mut numbers = BTreeSet::new();
    for boot in 1..=boots {
        context.progress.note(format!("restore: boot {boot} of {boots}"));
        let machine = Box::pin(vm.boot(&format!("boot-{boot}"))).await?;
        seconds[0].push(machine.boot.as_secs_f64());
        machine.shut_down().await;
    }
    // The first machine opens what stays open for good: a thread, and a connection that belongs to no machine.
    let mut before = None;
    for restore in 1..=restores {
        let machine = Box::pin(vm.machine(&format!("restore-{restore}"), Urgency::First)).await?;
        seconds[1].push(machine.boot.as_secs_f64());
        // The kernel of no other machine gives the same.
        numbers.insert(machine.shell.read(&Command::new("cat").arg("/proc/sys/kernel/random/uuid")).await?);
        machine.shut_down().await;
        drop(machine);
        before.get_or_insert(Held::now()?);
    }
    ensure!(numbers.len() == restores, "of {restores} machines only {} had random numbers of their own", numbers.len());
    before.as_ref().map_or(Ok(()), Held::has_not_grown)?;
    let (boot, restore) = (summary(&seconds[0])?, summary(&seconds[1])?);
    let ratio = boot.median / restore.median;
    Ok(BenchResult {
        line: format!(
            "restore: the first command on a machine ({accelerator}) takes {} from the snapshot, and {} by a boot, {} of \
             that; of {restores} restored machines nothing is left",
            format(&restore),
            format(&boot),
            Unit::Times.format(ratio)
        ),
        numbers: json!({
            "boot_s": boot.median, "restore_s": restore.median, "restore_ratio": ratio, "restores": restores,
        }),
    })
}

fn grown(before: &Held, after: &Held) -> anyhow::Result<()> {
    // Other threads close connections and children: a few may still be open.
    let (descriptors, more) = (after.descriptors.saturating_sub(before.descriptors), 8);
    ensure!(descriptors <= more, "{descriptors} more files, sockets or pipes are open than after the first machine");
    let memory = after.memory.saturating_sub(before.memory);
    ensure!(memory <= GROWTH, "this process takes {memory} MiB more than after the first machine");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_machines_are_found() {
        let before = Held::now().unwrap();
        assert!(before.descriptors > 2 && before.memory > 0, "{before:?}");
        grown(&before, &before).unwrap();
        let open = Held { descriptors: before.descriptors + 200, ..before.clone() };
        assert!(grown(&before, &open).unwrap_err().to_string().starts_with("200 more files, sockets or pipes"));
        let large = Held { memory: before.memory + 300, ..before.clone() };
        assert!(grown(&before, &large).unwrap_err().to_string().starts_with("this process takes 300 MiB more"));
    }
}
