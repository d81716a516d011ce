//! Builds QEMU's command line; no other module does. Pure, except for reading QEMU's version.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::base::platform::Arch;
use crate::base::programs;
use crate::exec::command::Command;
use crate::exec::shell::Shell;
use crate::targets::machine_info::Accelerator;

/// Before this version the translator makes current kernels panic.
const LEAST_FOR_TCG: (u32, u32) = (8, 2);

#[derive(Clone, Debug)]
pub struct Qemu {
    pub program: String,
    /// Its version: `10.0.2`.
    pub version: String,
    /// Its full version text, including its package's: one build may not be able to restore what another froze.
    pub build: String,
}

#[derive(Clone, Debug)]
pub struct Board {
    pub arch: Arch,
    pub accelerator: Accelerator,
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u64,
    pub start: Start,
    pub console: PathBuf,
    /// The devices of a complete machine; a probe of the accelerator has none.
    pub devices: Option<Devices>,
}

/// What a machine starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A kernel with its initramfs and options, `root=…` among them.
    Kernel { kernel: PathBuf, initrd: PathBuf, options: String },
    /// The boot loader on its disk, from UEFI firmware (its code, and a copy of its variables), else from BIOS.
    Loader(Option<[PathBuf; 2]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// In QEMU's own anonymous memory.
    Anonymous,
    /// In a file, which keeps it when QEMU ends.
    Kept(PathBuf),
    /// In a frozen file, which is not written to: the machine is restored with the state that belongs to it.
    Frozen(PathBuf),
    /// In the machine's own copy of a frozen file, to be frozen once more.
    Thawed(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Devices {
    pub ram: Memory,
    pub root: PathBuf,
    pub keys: PathBuf,
    /// The host's port that leads to the guest's SSH server.
    pub port: u16,
    /// The folder of the sockets [`QMP`] and [`ARRIVAL`].
    pub sockets: PathBuf,
}

pub const QMP: &str = "qmp";
/// The name of the socket through which a restored machine gets its own time and random seed.
pub const ARRIVAL: &str = "arrival";

pub fn program(arch: Arch) -> String {
    format!("qemu-system-{}", arch.uname())
}

impl Memory {
    /// Returns QEMU's option for this memory in MiB. A frozen file is mapped privately: changes stay a machine's own.
    fn object(&self, size: u64) -> Option<String> {
        let (file, sharing) = match self {
            Memory::Anonymous => return None,
            Memory::Kept(file) | Memory::Thawed(file) => (file, "share=on"),
            Memory::Frozen(file) => (file, "share=off,readonly=on,rom=off"),
        };
        let file = comma(&file.display().to_string());
        Some(format!("memory-backend-file,id=ram,size={size}M,mem-path={file},{sharing}"))
    }
}

impl Qemu {
    pub async fn installed(shell: &Shell, arch: Arch) -> anyhow::Result<Qemu> {
        let program = programs::need(&program(arch), &super::remedy(arch))?;
        let printed = shell.read(&Command::new(program.as_str()).arg("--version")).await?;
        let version =
            version(&printed).with_context(|| format!("{program} --version says no version: {}", printed.trim()))?;
        let build = printed.lines().next().unwrap_or_default().trim().to_owned();
        Ok(Qemu { program, version, build })
    }

    /// Checks that this QEMU is fit for an accelerator.
    pub fn fit(&self, accelerator: Accelerator) -> anyhow::Result<()> {
        let (least, least_minor) = LEAST_FOR_TCG;
        anyhow::ensure!(
            accelerator != Accelerator::Tcg || numbers(&self.version) >= LEAST_FOR_TCG,
            "qemu {} crashes guests where it has to emulate the cpu: install {least}.{least_minor} or newer \
             ({} takes it from bookworm-backports on Debian 12)",
            self.version,
            super::remedy(Arch::host().unwrap_or(Arch::Amd64))
        );
        Ok(())
    }

    /// Returns a command that starts a machine with our network card, and ends before its first instruction.
    pub fn bare(&self, arch: Arch) -> Command {
        let machine = match arch {
            Arch::Amd64 => "q35",
            Arch::Arm64 => "virt",
        };
        Command::new(self.program.as_str())
            .args(["-machine", machine, "-accel", "tcg", "-m", "64", "-S"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "stdio"])
            .args(["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"])
            .stdin("quit\n")
    }

    pub fn argv(&self, board: &Board) -> Vec<String> {
        let (machine, cpu, tty, options) = match (board.arch, board.accelerator) {
            // A kernel leaves its HPET ticking, unused, 250 times a second: an idle machine took 25 ms of a host's CPU
            // per second, and takes 6 ms without it. A CPU with few features is emulated faster than one with all of
            // them: a boot and some starts of Podman took 38 s and 39 s of a host's CPU instead of 42 s. It has what
            // unpacking and checking images needs. A timer on a busy host may be late, and the kernel would give up
            // ("IO-APIC + timer doesn't work"), or distrust the TSC. And an emulated CPU does not speculate, so it
            // needs no mitigations.
            (Arch::Amd64, Accelerator::Tcg) => (
                "q35,hpet=off",
                "Nehalem-v1,+aes,+pclmulqdq,+sha-ni,+rdrand,+rdseed",
                "ttyS0",
                " no_timer_check tsc=reliable mitigations=off",
            ),
            (Arch::Amd64, _) => ("q35", "host", "ttyS0", ""),
            // Signing pointers in software costs more than anything else a guest does.
            (Arch::Arm64, Accelerator::Tcg) => ("virt", "max,pauth=off", "ttyAMA0", " mitigations=off"),
            (Arch::Arm64, _) => ("virt,gic-version=max", "host", "ttyAMA0", ""),
        };
        let accelerator = match board.accelerator {
            // One thread runs the guest's CPUs in turn. With a thread for each, they wake each other through the host's
            // kernel and work on memory atomically: of two to four machines at once, each took 9 % to 20 % more of a
            // host's two CPUs.
            Accelerator::Tcg => "tcg,thread=single",
            _ => "kvm",
        };
        let (cpus, memory) = (board.cpus.to_string(), board.memory.to_string());
        let ram = board.devices.as_ref().and_then(|devices| devices.ram.object(board.memory));
        let loader = matches!(board.start, Start::Loader(_));
        // Without a screen, a PC's BIOS prints on the console.
        let bios = if board.start == Start::Loader(None) { ",graphics=off" } else { "" };
        let machine = format!("{machine}{bios}{}", if ram.is_some() { ",memory-backend=ram" } else { "" });
        let mut argv: Vec<String> = vec![self.program.clone()];
        let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["-machine", &machine, "-cpu", cpu, "-accel", accelerator, "-smp", &cpus, "-m", &memory]);
        add(&["-nodefaults", "-no-user-config", "-display", "none"]);
        match &board.start {
            Start::Kernel { kernel, initrd, options: own } => {
                add(&["-kernel", &kernel.display().to_string(), "-initrd", &initrd.display().to_string()]);
                // The kernel passes options that it does not know to init as environment variables, such as TERM here:
                // the console is a file, not a terminal.
                add(&["-append", &format!("{own} console={tty} TERM=dumb SYSTEMD_COLORS=0{options}")]);
            }
            Start::Loader(Some([code, variables])) => {
                for (file, options) in [(code, ",unit=0,readonly=on"), (variables, ",unit=1")] {
                    let file = comma(&file.display().to_string());
                    add(&["-drive", &format!("if=pflash,format=raw,file={file}{options}")]);
                }
            }
            Start::Loader(None) => {}
        }
        let console = comma(&board.console.display().to_string());
        add(&["-chardev", &format!("file,id=console,path={console},append=on"), "-serial", "chardev:console"]);
        if let Some(ram) = &ram {
            add(&["-object", ram]);
        }
        if let Some(devices) = &board.devices {
            if matches!(devices.ram, Memory::Frozen(_) | Memory::Thawed(_)) {
                add(&["-incoming", "defer"]);
            }
            // The overlay is removed with the run: nothing in it needs to survive a crash of the host.
            add(&["-drive", &drive("root", &devices.root, "format=qcow2,cache=unsafe,discard=unmap")]);
            // Firmware that may start from nothing else does not try the network.
            add(&[
                "-device",
                if loader { "virtio-blk-pci,drive=root,bootindex=1" } else { "virtio-blk-pci,drive=root" },
            ]);
            add(&["-drive", &drive("keys", &devices.keys, "format=raw,readonly=on")]);
            add(&["-device", "virtio-blk-pci,drive=keys,serial=assay-keys"]);
            add(&["-netdev", &format!("user,id=net,hostfwd=tcp:127.0.0.1:{}-:22", devices.port)]);
            add(&["-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"]);
            let [qmp, arrival] = [QMP, ARRIVAL].map(|name| comma(&devices.sockets.join(name).display().to_string()));
            add(&["-qmp", &format!("unix:{qmp},server=on,wait=off")]);
            add(&["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=arrival,name=assay.arrival"]);
            add(&["-chardev", &format!("socket,id=arrival,path={arrival},server=on,wait=off")]);
        }
        argv
    }
}

/// Whether QEMU ended because another program took the port after it was found free.
pub fn port_was_taken(printed: &str) -> bool {
    printed.contains("Could not set up host forwarding rule")
}

fn drive(id: &str, file: &std::path::Path, options: &str) -> String {
    format!("if=none,id={id},file={},{options}", comma(&file.display().to_string()))
}

/// Doubles commas, as QEMU's options require inside a value.
fn comma(value: &str) -> String {
    value.replace(',', ",,")
}

fn version(printed: &str) -> Option<String> {
    let rest = printed.split_once("version ")?.1;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    Some(rest[..end].to_owned()).filter(|version| version.contains('.'))
}

fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qemu(version: &str) -> Qemu {
        Qemu { program: "qemu".into(), version: version.into(), build: version.into() }
    }

    #[tokio::test]
    async fn the_version_is_read_and_an_old_translator_refused() {
        let printed = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright (c) 2003-2025\n";
        assert_eq!(version(printed).as_deref(), Some("10.0.2"));
        assert_eq!(version("QEMU emulator version 8.2\n").as_deref(), Some("8.2"));
        assert_eq!(version("no such thing"), None);
        assert!(qemu("10.0.2").fit(Accelerator::Tcg).is_ok());
        assert!(qemu("8.2.0").fit(Accelerator::Tcg).is_ok());
        assert!(qemu("7.2.17").fit(Accelerator::Kvm).is_ok());
        let error = qemu("7.2.17").fit(Accelerator::Tcg).unwrap_err().to_string();
        assert!(error.starts_with("qemu 7.2.17 crashes guests") && error.contains("bookworm-backports"), "{error}");
    }

    #[test]
    fn a_board_is_spelt_out() {
        let (root, keys) = ("/w,1/root.qcow2".into(), "/w/keys.tar".into());
        let whole = Devices { ram: Memory::Anonymous, root, keys, port: 4022, sockets: "/w".into() };
        let with = |ram| (Arch::Arm64, Accelerator::Tcg, Some(Devices { ram, ..whole.clone() }));
        let kernel = || Start::Kernel {
            kernel: "/i/vmlinuz".into(),
            initrd: "/i/initrd".into(),
            options: "root=/dev/vda rw".into(),
        };
        let firmware = Start::Loader(Some(["/f/code.fd".into(), "/w,1/variables.fd".into()]));
        let (arm64, _, devices) = with(Memory::Anonymous);
        let boards = [
            with(Memory::Anonymous),
            with(Memory::Kept("/s/r,am".into())),
            with(Memory::Frozen("/s/ram".into())),
            with(Memory::Thawed("/s/ram".into())),
            (Arch::Amd64, Accelerator::Kvm, None),
            (Arch::Amd64, Accelerator::Tcg, None),
        ];
        let boards = boards.map(|board| (board, kernel()));
        let loaders = [(arm64, devices.clone(), firmware), (Arch::Amd64, devices, Start::Loader(None))];
        let loaders = loaders.map(|(arch, devices, start)| ((arch, Accelerator::Tcg, devices), start));
        let lines = boards.into_iter().chain(loaders).map(|((arch, accelerator, devices), start)| {
            let console = "/e/console.log".into();
            let board = Board { arch, accelerator, cpus: 2, memory: 452, start, console, devices };
            qemu("10.0.2").argv(&board).join(" ").replace(" -", "\n  -")
        });
        let lines: Vec<String> = lines.collect();
        insta::assert_snapshot!("boards", lines.join("\n"));
        assert!(port_was_taken("qemu: -netdev user: Could not set up host forwarding rule 'tcp:127.0.0.1:1-:22'"));
    }
}
