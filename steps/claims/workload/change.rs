//! Changes the Quadlet of your own workload for a control.

use super::Workload;
use crate::base::diff::unified;
use crate::base::unit::{Bytes, Ratio, Unit};
use crate::base::unit_file::UnitFile;

impl Workload {
    /// Returns its Quadlet with one change.
    pub fn changed(&self, change: &QuadletChange) -> String {
        let file = UnitFile::parse(&self.quadlet);
        match change {
            QuadletChange::Nothing => self.quadlet.clone(),
            QuadletChange::Memory(size) => file.with("Service", "MemoryMax", &size.0.to_string()),
            QuadletChange::Cpu(share) => {
                file.with("Service", "CPUQuota", &Unit::Ratio.format(share.0).replace(' ', ""))
            }
            QuadletChange::Volume(name) => file.without("Container", "Volume", |value| volume(value).0 == name),
            QuadletChange::Root => {
                let as_root = file.with("Container", "User", "0");
                UnitFile::parse(&as_root).without("Container", "UserNS", |_| true)
            }
            QuadletChange::Program => file.with_line("Container", "PodmanArgs", &format!("--entrypoint={NO_PROGRAM}")),
        }
    }

    /// Returns what a change changes, as a unified diff between two files of these names.
    pub fn diff(&self, change: &QuadletChange, names: [&str; 2]) -> String {
        unified([&self.quadlet, &self.changed(change)], names)
    }
}

/// The path of a program that no image contains.
pub const NO_PROGRAM: &str = "/there/is/no/such/program";

/// Returns the name of a volume in `Volume=`, without the ending of its Quadlet, and the path where the container has it.
fn volume(value: &str) -> (&str, Option<&str>) {
    let mut parts = value.split(':');
    let first = parts.next().unwrap_or_default();
    (first.strip_suffix(".volume").unwrap_or(first), parts.next())
}

impl Workload {
    /// Returns the path in the container of its first volume that has a name.
    pub fn volume_path(&self) -> Option<String> {
        let volumes = UnitFile::parse(&self.quadlet).words("Container", "Volume");
        let named =
            volumes.iter().map(|value| volume(value)).filter(|(name, _)| !name.starts_with(['/', '.', '%', '~']));
        named.filter_map(|(_, path)| path.map(str::to_owned)).next()
    }
}

/// What a control changes in a workload, so that the control's check must fail.
#[derive(Clone, Debug, PartialEq)]
pub enum QuadletChange {
    Nothing,
    Memory(Bytes),
    /// Its CPU limit, as a share of one CPU.
    Cpu(Ratio),
    /// Its volume of this name: it has none.
    Volume(String),
    /// Its user: its unit and its container run as the system's root.
    Root,
    /// Its program: the entrypoint does not exist.
    Program,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::workload::tests::{QUADLET, workload};

    #[test]
    fn the_first_volume_with_a_name_is_the_one_that_is_kept() {
        let path = |volumes: &str| workload(&format!("[Container]\n{volumes}")).volume_path();
        assert_eq!(path("Volume=%h/x:/x\nVolume=data.volume:/d:Z\nVolume=e:/e\n").as_deref(), Some("/d"));
        assert_eq!(path("Volume=/srv/x:/x\nVolume=/anonymous\n"), None);
    }

    #[test]
    fn a_change_is_of_one_thing() {
        assert_eq!(workload(QUADLET).changed(&QuadletChange::Nothing), QUADLET);
        let diffs = [
            (QUADLET, QuadletChange::Memory(Bytes(4 << 20))),
            (QUADLET, QuadletChange::Cpu(Ratio(1.0))),
            (
                "[Container]\nImage = @IMAGE@\nPodmanArgs=--a=1\nPodmanArgs=--b \\\n  --c\n# end\n",
                QuadletChange::Program,
            ),
            ("[Container]\nImage=@IMAGE@\n", QuadletChange::Memory(Bytes(1))),
            ("[Service]\r\nMemoryMax=1G\r\n[Container]", QuadletChange::Program),
            (
                "[Container]\nVolume=%h/x:/x\nVolume=data.volume:/d:Z\nImage=x\n",
                QuadletChange::Volume("data".to_owned()),
            ),
            ("[Container]\nUserNS=keep-id\nImage=x\n", QuadletChange::Root),
        ]
        .map(|(text, change)| workload(text).diff(&change, ["a", "b"]));
        insta::assert_snapshot!("diffs", diffs.join("\n").replace('\r', "\\r"));
    }
}
