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
        let diffs = [
            (QUADLET, QuadletChange::Memory(Bytes(4 << 20))),
            (QUADLET, QuadletChange::Cpu(Ratio(1.0))),
            (
                "[Container]\nImage = @IMAGE@\nPodmanArgs=--a=1\nPodmanArgs=--b \\\n  --c\n# end\n",
                QuadletChange::Program,
            ),
            ("[Container]\nImage=@IMAGE@\n", QuadletChange::Memory(Bytes(1))),
            ("[Service]\r\nMemoryMax=1G\r\n[Container]", QuadletChange::Program),
        ]
        .map(|(text, change)| workload(text).diff(change, ["a", "b"]));
        insta::assert_snapshot!("diffs", diffs.join("\n").replace('\r', "\\r"));
    }
}
