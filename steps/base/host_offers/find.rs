//! Finds out what this host offers, each thing by using it. It takes some milliseconds: no guest is started.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use super::{Feature, Finding, HostOffers, Lack};
use crate::base::programs;

/// The controllers, each with its name in cgroup v2 and in `/proc/cgroups`.
const CONTROLLERS: [(Feature, &str, &str); 4] = [
    (Feature::Cpu, "cpu", "cpu"),
    (Feature::Memory, "memory", "memory"),
    (Feature::Pids, "pids", "pids"),
    (Feature::Io, "io", "blkio"),
];

impl HostOffers {
    /// Tries everything. Whether a guest starts on KVM is what an earlier run has found since this host was booted, and
    /// has kept in the cache.
    pub fn find(cache: &Path) -> HostOffers {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mountinfo = read("/proc/self/mountinfo");
        let listed = |mount: &Path| fs::read_to_string(mount.join("cgroup.controllers")).ok();
        let mut all = controllers(&read("/proc/cgroups"), &mountinfo, listed);
        if let Some(mount) = cgroup2(&mountinfo).filter(|_| rustix::process::geteuid().is_root()) {
            try_controllers(&mount, &mut all);
        }
        let kept = fs::read_to_string(cache.join("kvm.json")).unwrap_or_default();
        let kvm = kvm(opens("/dev/kvm"), Path::new("/sys/module/kvm_pvm").exists(), &kept, &boot_id());
        let userns = &["unshare", "--user", "--map-root-user", "unshare", "--user", "--map-root-user", "true"];
        all.extend([
            (Feature::NativeCpu, native_cpu()),
            (Feature::Kvm, kvm),
            (Feature::UserNamespaces, runs(userns)),
            (Feature::Fuse, opens("/dev/fuse")),
            (Feature::Tun, opens("/dev/net/tun")),
            (Feature::Nspawn, HostOffers::nspawn()),
        ]);
        HostOffers(all)
    }

    /// Returns where cgroup v2 is mounted.
    pub fn control_groups() -> Option<PathBuf> {
        cgroup2(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Returns whether system containers start here: whether there is what they need, and a network can be made, for a moment.
    pub fn nspawn() -> Finding {
        let needed = ["systemd-nspawn", "unshare", "mount", "ip"];
        if let Some(program) = needed.into_iter().find(|program| programs::find(program).is_none()) {
            return Err(Lack::NotInstalled { program });
        }
        let devices = ["/dev/fuse", "/dev/net/tun", "/dev/loop-control"];
        if let Some(device) = devices.into_iter().find(|device| !Path::new(device).exists()) {
            return Err(Lack::Fails { message: format!("there is no {device}") });
        }
        if HostOffers::control_groups().is_none() {
            return Err(Lack::NoCgroup2);
        }
        let sudo: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["sudo", "-n"] };
        if runs(&[sudo, &["true"]].concat()).is_err() {
            return Err(Lack::NeedsRoot);
        }
        let network = ["unshare", "--net", "ip", "link", "add", "assay0", "type", "veth", "peer", "name", "assay1"];
        runs(&[sudo, &network].concat())
    }
}

/// Returns where cgroup v2 is mounted, from a text like `/proc/self/mountinfo`.
fn cgroup2(mountinfo: &str) -> Option<PathBuf> {
    let line = mountinfo.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

/// Returns which controllers cgroup v2 has; `listed` reads the `cgroup.controllers` where it is mounted.
fn controllers(cgroups: &str, mountinfo: &str, listed: impl Fn(&Path) -> Option<String>) -> BTreeMap<Feature, Finding> {
    let mount = cgroup2(mountinfo);
    let listed = mount.as_deref().and_then(listed).unwrap_or_default();
    let found = |name: &str, old: &str| {
        // The name in version 1, the hierarchy that has it (0 is version 2), a count, and whether it is enabled.
        let row = cgroups.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = row.into_iter().find(|row| row.first() == Some(&old));
        match row.as_deref() {
            _ if listed.split_whitespace().any(|word| word == name) => Ok(()),
            Some([_, hierarchy, ..]) if *hierarchy != "0" => Err(Lack::BoundToV1),
            _ if mount.is_none() => Err(Lack::NoCgroup2),
            Some([.., "1"]) => Err(Lack::NotDelegated),
            _ => Err(Lack::NotInKernel),
        }
    };
    CONTROLLERS.map(|(feature, name, old)| (feature, found(name, old))).into()
}

/// Tries each controller in a group of its own, which is removed again, as is what had to be enabled for it.
fn try_controllers(mount: &Path, findings: &mut BTreeMap<Feature, Finding>) {
    let group = mount.join(format!("assay-try-{}", std::process::id()));
    let control = mount.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control).unwrap_or_default();
    let made = fs::create_dir(&group);
    for (feature, name, _) in CONTROLLERS {
        let Some(finding) = findings.get_mut(&feature).filter(|finding| finding.is_ok()) else { continue };
        let own = enabled.split_whitespace().any(|word| word == name);
        let tried = made.is_ok() && (own || fs::write(&control, format!("+{name}")).is_ok());
        let has = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
        if !tried || !has.split_whitespace().any(|word| word == name) {
            *finding = Err(Lack::NotDelegated);
        }
        if tried && !own {
            let _ = fs::write(&control, format!("-{name}"));
        }
    }
    let _ = made.and_then(|()| fs::remove_dir(&group));
}

/// Returns whether a guest starts on KVM, from whether its device opens and from what an earlier run has kept.
fn kvm(device: Finding, pvm: bool, kept: &str, boot: &str) -> Finding {
    device?;
    let kept: Json = serde_json::from_str(kept).unwrap_or_default();
    let text = |key: &str| kept.get(key).and_then(Json::as_str);
    match text("fault") {
        _ if boot.is_empty() || text("boot") != Some(boot) => Err(if pvm { Lack::Pvm } else { Lack::NotTried }),
        None => Ok(()),
        Some(_) if pvm => Err(Lack::Pvm),
        Some(fault) => Err(Lack::GuestDoesNotStart { message: fault.to_owned() }),
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn opens(device: &str) -> Finding {
    match OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Lack::NoPermission),
        Err(_) => Err(Lack::NoDevice),
    }
}

/// Returns whether this host's CPU is native: QEMU without an accelerator identifies itself.
fn native_cpu() -> Finding {
    let seen = Command::new("systemd-detect-virt").arg("--vm").output();
    let emulated = match seen {
        Ok(output) => output.stdout.trim_ascii() == b"qemu",
        Err(_) => fs::read_to_string("/proc/cpuinfo").unwrap_or_default().contains("QEMU TCG"),
    };
    if emulated { Err(Lack::Emulated) } else { Ok(()) }
}

fn runs(command: &[&str]) -> Finding {
    let [program, arguments @ ..] = command else { return Ok(()) };
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(Lack::Fails { message: errors.lines().next().unwrap_or("it says nothing").to_owned() })
        }
        Err(error) => Err(Lack::Fails { message: format!("{program}: {error}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the controllers of a recorded host.
    fn of(host: &str) -> Vec<Finding> {
        let part = |name: &str| {
            let parts = host.split("== ").filter_map(|part| part.split_once('\n'));
            parts.into_iter().find(|(title, _)| *title == name).map_or(String::new(), |(_, text)| text.to_owned())
        };
        let listed = |_: &Path| Some(part("cgroup.controllers"));
        controllers(&part("cgroups"), &part("mountinfo"), listed).into_values().collect()
    }

    #[test]
    fn a_controller_is_there_bound_to_v1_or_not_delegated() {
        let ordinary = include_str!("../../../fixtures/hosts/debian-13.txt");
        let hybrid = include_str!("../../../fixtures/hosts/hybrid.txt");
        // Cpu, memory, pids, io.
        let all = |lack: &Lack| vec![Err(lack.clone()); 4];
        assert_eq!(of(ordinary), vec![Ok(()); 4]);
        assert_eq!(of(hybrid), all(&Lack::BoundToV1));
        let within = ordinary.replace("\ncpuset cpu io memory hugetlb pids rdma", "\nmemory pids");
        let missing = Err(Lack::NotDelegated);
        assert_eq!(of(&within), [missing.clone(), Ok(()), Ok(()), missing], "a container of another");
        assert_eq!(
            of(&ordinary.replace("cgroup2", "tmpfs").replace("cpuset cpu io memory", "")),
            all(&Lack::NoCgroup2)
        );
        let without = ordinary.replace("memory\t0\t74\t1", "memory\t0\t74\t0").replace(" io memory", " io");
        assert_eq!(of(&without)[1], Err(Lack::NotInKernel), "cgroup_disable=memory");
        assert_eq!(cgroup2(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2(ordinary), Some("/sys/fs/cgroup".into()));
    }

    #[test]
    fn what_is_lacking_for_one_reason_is_said_once() {
        let v1 = |feature| (feature, Lack::BoundToV1);
        let lacks = [(Feature::Kvm, Lack::Pvm), v1(Feature::Cpu), v1(Feature::Memory)];
        let expected = "no KVM (it is PVM, on which only kernels built for it start); no cgroup cpu, cgroup memory (bound \
                        to cgroup v1)";
        assert_eq!(HostOffers::all_but(&lacks).summary(), expected);
        assert_eq!(HostOffers::all_but(&[]).summary(), "nothing is lacking");
        let stored = serde_json::to_value(HostOffers::all_but(&lacks)).unwrap();
        assert_eq!(stored["cpu"], serde_json::json!({ "kind": "bound-to-v1" }));
        assert_eq!(stored["native-cpu"], true);
    }

    #[test]
    fn kvm_works_if_a_guest_has_started_on_it_since_this_boot() {
        let [works, fails] =
            [r#"{"boot":"b","qemu":"10","fault":null}"#, r#"{"boot":"b","qemu":"10","fault":"silent"}"#];
        let silent = Err(Lack::GuestDoesNotStart { message: "silent".into() });
        for (device, pvm, kept, boot, expected) in [
            (Ok(()), false, works, "b", Ok(())),
            (Ok(()), false, works, "another", Err(Lack::NotTried)),
            (Ok(()), false, "", "", Err(Lack::NotTried)),
            (Ok(()), false, fails, "b", silent),
            (Ok(()), true, fails, "b", Err(Lack::Pvm)),
            (Ok(()), true, works, "b", Ok(())),
            (Err(Lack::NoPermission), false, works, "b", Err(Lack::NoPermission)),
        ] {
            assert_eq!(kvm(device, pvm, kept, boot), expected, "{pvm} {kept} {boot}");
        }
    }

    #[test]
    fn everything_is_tried_on_this_host_and_nothing_is_left_of_it() {
        let cache = tempfile::tempdir().unwrap();
        let found = HostOffers::find(cache.path());
        assert_eq!(found.iter().count(), HostOffers::all_but(&[]).iter().count());
        let left = cgroup2(&fs::read_to_string("/proc/self/mountinfo").unwrap());
        let left = left.map(|mount| mount.join(format!("assay-try-{}", std::process::id())));
        assert!(left.is_none_or(|group| !group.exists()));
    }
}
