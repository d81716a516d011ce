//! How machines take turns with each other, and with all else that this host's CPUs do.

use std::time::Duration;

use super::vm::Urgency;

/// For how long an emulated machine keeps a CPU once it has it. The kernel's own one to three milliseconds suit what
/// answers to people; an emulator has to fetch its code and its machine's memory into the CPU's caches again after each
/// turn of another one.
const TURN: Duration = Duration::from_millis(100);

/// By how much machines give way to those that come first, which are as nice as we are: what is measured there is not to
/// wait for what happens elsewhere.
const NICER: i32 = 10;
/// As nice as anybody can be.
const NICEST: i32 = 19;

/// Says to the kernel how a machine's process is to take its turns; threads that it starts later do as it does. A kernel
/// before 6.12 has one length of turns for all, and one that refuses all of it leaves the process as it was: it is a
/// matter of speed alone.
pub(super) fn take(pid: i32, urgency: Urgency, emulated: bool) {
    let ours = rustix::process::getpriority_process(None).unwrap_or_default();
    let nice = match urgency {
        Urgency::First => ours,
        Urgency::Usual => (ours + NICER).min(NICEST),
    };
    let (policy, turn) = if emulated { (libc::SCHED_BATCH, TURN) } else { (libc::SCHED_OTHER, Duration::ZERO) };
    schedule(pid, policy, nice, turn);
}

/// The system call; a turn of no length is one of the kernel's own measure.
fn schedule(pid: i32, policy: i32, nice: i32, turn: Duration) {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: policy.cast_unsigned(),
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    #[expect(unsafe_code, reason = "no library has this system call")]
    // SAFETY: the kernel reads as many bytes as `size` says, which are there for as long as the call, and writes none.
    unsafe {
        libc::syscall(libc::SYS_sched_setattr, pid, &raw const attributes, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The niceness and the policy of a process: the 19th and the 41st word of its account.
    fn seen(pid: u32) -> (i32, i32) {
        let account = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let words: Vec<&str> = account.rsplit_once(") ").unwrap().1.split(' ').collect();
        (words[16].parse().unwrap(), words[38].parse().unwrap())
    }

    #[test]
    fn machines_give_way_and_emulated_ones_take_long_turns() {
        let mut asleep = Command::new("sleep").arg("60").spawn().unwrap();
        let taken = |urgency, emulated| {
            take(asleep.id().cast_signed(), urgency, emulated);
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
