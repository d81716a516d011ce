//! Sets the CPU scheduling of machines, among each other and with other work on this host.

use super::vm::Urgency;

/// The time slice of an emulated machine, in nanoseconds. The kernel's default of one to three milliseconds suits
/// interactive programs; an emulator has to load its code and its machine's memory into the CPU's caches again after
/// each slice of another one.
const TURN: u64 = 100_000_000;

/// Nice value added to machines of lower priority, so that measurements on the others do not wait for them. Those have
/// this process's own nice value.
const NICER: i32 = 10;
const NICEST: i32 = 19;

/// Sets the scheduling of a machine's process; threads that it starts later inherit it. A kernel before 6.12 has one
/// time slice for all, and a kernel that refuses leaves the process as it was: only speed depends on it.
pub(super) fn apply(pid: i32, urgency: Urgency, emulated: bool) {
    let ours = rustix::process::getpriority_process(None).unwrap_or_default();
    let nice = match urgency {
        Urgency::First => ours,
        Urgency::Usual => (ours + NICER).min(NICEST),
    };
    // A slice of zero means the kernel's default.
    let (policy, turn) = if emulated { (libc::SCHED_BATCH, TURN) } else { (libc::SCHED_OTHER, 0) };
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: policy.cast_unsigned(),
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: turn,
        sched_deadline: 0,
        sched_period: 0,
    };
    #[expect(unsafe_code, reason = "no library has this system call")]
    // SAFETY: the kernel reads `size` bytes, which are valid for the duration of the call, and writes none.
    unsafe {
        libc::syscall(libc::SYS_sched_setattr, pid, &raw const attributes, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Reads the nice value and the scheduling policy of a process: fields 19 and 41 of its `stat`.
    fn seen(pid: u32) -> (i32, i32) {
        let account = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let words: Vec<&str> = account.rsplit_once(") ").unwrap().1.split(' ').collect();
        (words[16].parse().unwrap(), words[38].parse().unwrap())
    }

    #[test]
    fn machines_give_way_and_emulated_ones_take_long_turns() {
        let mut asleep = Command::new("sleep").arg("60").spawn().unwrap();
        let taken = |urgency, emulated| {
            apply(asleep.id().cast_signed(), urgency, emulated);
            seen(asleep.id())
        };
        let ways = [taken(Urgency::First, true), taken(Urgency::Usual, false), taken(Urgency::Usual, true)];
        asleep.kill().unwrap();
        asleep.wait().unwrap();
        let (batch, other) = (libc::SCHED_BATCH, libc::SCHED_OTHER);
        let (ours, _) = seen(std::process::id());
        let nicer = (ours + NICER).min(NICEST);
        assert_eq!(ways, [(ours, batch), (nicer, other), (nicer, batch)]);
    }
}
