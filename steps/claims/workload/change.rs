//! Changes the Quadlet of your own workload for a control.

use super::Workload;
use crate::base::diff::unified;
use crate::base::unit::{Bytes, Ratio, Unit};
use crate::base::unit_file::UnitFile;

impl Workload {
    /// Returns its Quadlet with one change.
    pub fn changed(&self, change: QuadletChange) -> String {
        let file = UnitFile::parse(&self.quadlet);
        match change {
            QuadletChange::Nothing => self.quadlet.clone(),
            QuadletChange::Memory(size) => file.with("Service", "MemoryMax", &size.0.to_string()),
            QuadletChange::Cpu(share) => {
                file.with("Service", "CPUQuota", &Unit::Ratio.format(share.0).replace(' ', ""))
            }
            QuadletChange::Program => file.with_line("Container", "PodmanArgs", &format!("--entrypoint={NO_PROGRAM}")),
        }
    }

    /// Returns what a change changes, as a unified diff between two files of these names.
    pub fn diff(&self, change: QuadletChange, names: [&str; 2]) -> String {
        unified([&self.quadlet, &self.changed(change)], names)
    }
}

/// The path of a program that no image contains.
pub const NO_PROGRAM: &str = "/there/is/no/such/program";

/// What a control changes in a workload, so that the control's check must fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QuadletChange {
    Nothing,
    Memory(Bytes),
    /// Its CPU limit, as a share of one CPU.
    Cpu(Ratio),
    /// Its program: the entrypoint does not exist.
    Program,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::workload::tests::{QUADLET, workload};

    #[test]
    fn a_change_is_of_one_thing() {
        assert_eq!(workload(QUADLET).changed(QuadletChange::Nothing), QUADLET);
        for (text, change, expected) in [
            (
                QUADLET,
                QuadletChange::Memory(Bytes(4 << 20)),
                "@@ -4,4 +4,4 @@\n [Service]\n MemoryMax=64M\n CPUQuota=10%\n-MemoryMax=1G\n+MemoryMax=4194304\n",
            ),
            (
                QUADLET,
                QuadletChange::Cpu(Ratio(1.0)),
                "@@ -3,5 +3,5 @@\n \n [Service]\n MemoryMax=64M\n-CPUQuota=10%\n+CPUQuota=100%\n MemoryMax=1G\n",
            ),
            (
                "[Container]\nImage = @IMAGE@\nPodmanArgs=--a=1\nPodmanArgs=--b \\\n  --c\n# end\n",
                QuadletChange::Program,
                "@@ -3,4 +3,5 @@\n PodmanArgs=--a=1\n PodmanArgs=--b \\\n   --c\n+PodmanArgs=--entrypoint=/there/is/no/such/program\n # end\n",
            ),
            (
                "[Container]\nImage=@IMAGE@\n",
                QuadletChange::Memory(Bytes(1)),
                "@@ -1,2 +1,5 @@\n [Container]\n Image=@IMAGE@\n+\n+[Service]\n+MemoryMax=1\n",
            ),
            (
                "[Service]\r\nMemoryMax=1G\r\n[Container]",
                QuadletChange::Program,
                "@@ -1,3 +1,4 @@\n [Service]\r\n MemoryMax=1G\r\n-[Container]\n\\ No newline at end of file\n+[Container]\n\
                 +PodmanArgs=--entrypoint=/there/is/no/such/program\n",
            ),
        ] {
            let workload = workload(text);
            assert_eq!(workload.diff(change, ["a", "b"]), format!("--- a\n+++ b\n{expected}"));
            assert_ne!(workload.changed(change), text);
        }
    }
}
