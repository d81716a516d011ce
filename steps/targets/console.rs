//! Reads boot progress and errors from a machine's console.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

/// The stages of a boot, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// QEMU runs; the guest has printed nothing.
    Started,
    /// Firmware or the kernel's decompressor has printed something.
    Firmware,
    Kernel,
    /// The initramfs looks for the disk.
    Initramfs,
    Systemd,
    Ssh,
    Login,
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["qemu started", "firmware", "kernel", "initramfs", "systemd", "ssh server", "login"];
        out.write_str(names[*self as usize])
    }
}

pub fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

/// Returns the last stage that a console shows; it cannot show a login.
pub fn stage(console: &str) -> Stage {
    let signs = [
        (Stage::Ssh, "Started ssh.service"),
        (Stage::Systemd, "systemd[1]: "),
        (Stage::Initramfs, "Run /init as init process"),
        (Stage::Kernel, "Linux version "),
        (Stage::Kernel, "Booting Linux on physical CPU"),
    ];
    let console = plain(console);
    let seen = signs.iter().find(|(_, sign)| console.contains(sign)).map(|(stage, _)| *stage);
    seen.unwrap_or(if console.trim().is_empty() { Stage::Started } else { Stage::Firmware })
}

/// Returns the line after which no boot recovers, if there is one.
pub fn dead_end(console: &str) -> Option<String> {
    let signs = [
        "Kernel panic - not syncing",
        "You are in emergency mode",
        "Gave up waiting for root file system device",
        "-- System halted",
        // Firmware and boot loaders, which found nothing to start.
        "No bootable device",
        "BdsDxe: No bootable option or device was found",
        "UEFI Interactive Shell",
        "grub rescue>",
    ];
    let line = console.lines().find(|line| signs.iter().any(|sign| line.contains(sign)))?;
    Some(plain(line).trim_end().to_owned())
}

/// Whether a user could type a name to log in: what the system starts has been started, or nearly so.
pub fn asks_for_a_login(console: &str) -> bool {
    plain(console).lines().any(|line| line.trim_end().ends_with(" login:"))
}

/// Explains why a cloud image that is up does not accept the login that its seed set up; `answers` is whether it has an SSH
/// server.
pub fn seed_lost(console: &str, answers: bool) -> &'static str {
    match (console.contains("Cloud-init v."), answers) {
        (true, false) => "cloud-init has run, but the machine has no network, or no SSH server",
        (true, true) => "its cloud-init did not read the seed: does its datasource_list have NoCloud?",
        (false, _) => "nothing read the seed: the image has no cloud-init, or one that is disabled",
    }
}

/// Returns which processes ran out of memory, according to the kernel: those it killed, and those it refused an
/// allocation. `None` if there are none. Processes killed because of a control group's limit do not count.
pub fn shortage(console: &str) -> Option<String> {
    let console = plain(console);
    let (mut killed, mut refused) = (Vec::new(), Vec::new());
    for line in console.lines() {
        if let Some((_, victim)) = line.split_once("] Out of memory: Killed process ") {
            killed.extend(between(victim, "(", ")"));
        } else if line.contains("not enough memory for the allocation") {
            refused.extend(between(line, "comm: ", " not enough"));
        }
    }
    // A process in the middle of an exec is named after a file's number.
    killed.retain(|name| name.chars().any(|c| !c.is_ascii_digit()));
    let parts = [("killed", killed), ("refused", refused)].into_iter().filter_map(|(what, mut whom)| {
        let mut seen = BTreeSet::new();
        whom.retain(|name| seen.insert(*name));
        (!whom.is_empty()).then(|| format!("the kernel {what} {}", whom.join(", ")))
    });
    parts.reduce(|first, second| format!("{first}; {second}"))
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(start)?.1.split_once(end)?.0)
}

/// Returns the last lines, without colours and carriage returns.
pub fn last_lines(console: &str, lines: usize) -> String {
    crate::exec::command::tail(&plain(console), lines)
}

/// Removes escape sequences from a text, and control characters other than line ends.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\u{1b}' => match characters.next() {
                // CSI: parameters up to a letter or one of `@~`. OSC: up to BEL or the next escape.
                Some('[') => {
                    while characters.next().is_some_and(|c| !c.is_ascii_alphabetic() && c != '~' && c != '@') {}
                }
                Some(']') => while characters.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
                _ => {}
            },
            c if c.is_control() && c != '\n' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD64: &str = include_str!("../../fixtures/facts/console-amd64.txt");
    const ARM64: &str = include_str!("../../fixtures/facts/console-arm64.txt");
    const TINY: &str = include_str!("../../fixtures/facts/console-tiny.txt");

    #[test]
    fn a_boot_goes_through_its_stages_in_order() {
        for console in [AMD64, ARM64] {
            let mut seen = vec![stage("")];
            let ends = console.match_indices('\n').map(|(end, _)| end);
            for now in ends.map(|end| stage(&console[..end])) {
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
            }
            assert_eq!(seen, [Stage::Started, Stage::Kernel, Stage::Initramfs, Stage::Systemd, Stage::Ssh]);
            assert_eq!(dead_end(console), None);
        }
        assert_eq!(stage("SeaBIOS (version 1.16)\nBooting from ROM..\n"), Stage::Firmware);
    }

    #[test]
    fn a_dead_end_is_recognised() {
        let panic = "[    1.2] Run /init as init process\r\n\
                     [    5.0] Kernel panic - not syncing: System is deadlocked on memory\r\n";
        assert_eq!(
            dead_end(panic).as_deref(),
            Some("[    5.0] Kernel panic - not syncing: System is deadlocked on memory")
        );
        assert_eq!(stage(panic), Stage::Initramfs);
    }

    #[test]
    fn a_disk_that_starts_nothing_is_a_dead_end_and_a_lost_seed_is_explained() {
        let shell = "BdsDxe: failed to load Boot0001\r\nBdsDxe: No bootable option or device was found.\r\n";
        assert_eq!(dead_end(shell).as_deref(), Some("BdsDxe: No bootable option or device was found."));
        assert_eq!(
            dead_end("Booting from Hard Disk...\nNo bootable device.\n").as_deref(),
            Some("No bootable device.")
        );
        assert!(asks_for_a_login("Debian GNU/Linux 13 localhost ttyS0\r\n\r\nlocalhost login: "));
        assert!(!asks_for_a_login("[ OK ] Started user login management\n"));
        assert!(seed_lost("localhost login: ", false).contains("no cloud-init"));
        let ran = "[   60.1] cloud-init[400]: Cloud-init v. 25.1.4 running 'init'\nlocalhost login: ";
        assert!(seed_lost(ran, false).contains("no network"));
        assert!(seed_lost(ran, true).contains("NoCloud"));
    }

    #[test]
    fn a_shortage_of_memory_is_described_in_the_kernels_words() {
        assert_eq!(shortage(TINY).as_deref(), Some("the kernel killed systemd, podman, sshd-session"));
        let refused = "[   39.150862] __vm_enough_memory: pid: 574, comm: pasta, bytes: 205885440 not enough memory for \
                       the allocation\r\n";
        assert_eq!(shortage(refused).as_deref(), Some("the kernel refused pasta, bytes: 205885440"));
        let limit = "[   61.2] Memory cgroup out of memory: Killed process 812 (hog) total-vm:1kB\r\n";
        assert_eq!((shortage(limit), shortage(AMD64)), (None, None), "a limit that is kept is not shortage");
    }

    #[test]
    fn the_end_of_a_console_reads_as_plain_text() {
        let end = last_lines(AMD64, 3);
        assert!(!end.contains(['\u{1b}', '\r', '\u{7}']), "{end:?}");
        assert_eq!(
            last_lines("[\u{1b}[0;32m  OK  \u{1b}[0m] Started \u{1b}[0;1;39mx\u{1b}[0m.\r\n\r\n", 2),
            "[  OK  ] Started x."
        );
    }
}
