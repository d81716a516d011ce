//! Changes the Quadlet of your own workload for a control.

use super::Workload;
use crate::base::unit::{Bytes, Ratio, Unit};

impl Workload {
    /// Returns its Quadlet with one change.
    pub fn changed(&self, change: Change) -> String {
        match change {
            Change::Nothing => self.quadlet.clone(),
            Change::Memory(size) => set(&self.quadlet, "Service", "MemoryMax", &size.0.to_string()),
            Change::Cpu(share) => {
                set(&self.quadlet, "Service", "CPUQuota", &Unit::Ratio.format(share.0).replace(' ', ""))
            }
            Change::Program => set(&self.quadlet, "Container", "PodmanArgs", &format!("--entrypoint={NO_PROGRAM}")),
        }
    }
}

/// The path of a program that no image contains.
pub const NO_PROGRAM: &str = "/there/is/no/such/program";

/// What a control changes in a workload, so that the control's check must fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    Nothing,
    Memory(Bytes),
    /// Its CPU limit, as a share of one CPU.
    Cpu(Ratio),
    /// Its program: the entrypoint does not exist.
    Program,
}

/// Sets a key in a section of a Quadlet and removes the key's earlier values in that section.
fn set(quadlet: &str, section: &str, key: &str, value: &str) -> String {
    let (heading, line) = (format!("[{section}]"), format!("{key}={value}\n"));
    let (mut out, mut inside, mut written) = (String::new(), false, false);
    for old in quadlet.lines() {
        if old.trim().starts_with('[') {
            inside = old.trim() == heading;
        }
        let same = old.split_once('=').is_some_and(|(known, _)| known.trim() == key);
        if !(inside && same) {
            out += &format!("{old}\n");
        }
        if old.trim() == heading && !written {
            out += &line;
            written = true;
        }
    }
    match written {
        true => out,
        false => format!("{out}\n{heading}\n{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::workload::tests::{QUADLET, workload};

    #[test]
    fn a_change_is_of_one_thing() {
        let of = |change| workload(QUADLET).changed(change);
        assert_eq!(of(Change::Nothing), QUADLET);
        assert_eq!(
            of(Change::Memory(Bytes(4 << 20))),
            "[Container]\nImage=@IMAGE@\n\n[Service]\nMemoryMax=4194304\nCPUQuota=10%\n"
        );
        assert_eq!(
            of(Change::Cpu(Ratio(1.0))),
            "[Container]\nImage=@IMAGE@\n\n[Service]\nCPUQuota=100%\nMemoryMax=64M\nMemoryMax=1G\n"
        );
        let none = of(Change::Program);
        assert!(none.starts_with("[Container]\nPodmanArgs=--entrypoint=/there/is/no/such/program\nImage=@"), "{none}");
        let bare = workload("[Container]\nImage=@IMAGE@\n").changed(Change::Memory(Bytes(1)));
        assert_eq!(bare, "[Container]\nImage=@IMAGE@\n\n[Service]\nMemoryMax=1\n");
    }
}
