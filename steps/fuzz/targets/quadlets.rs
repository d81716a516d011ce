//! Quadlets: read, changed for controls, and read back.
#![no_main]

use assay::base::unit::{Bytes, Ratio};
use assay::base::unit_file::{UnitFile, specified};
use assay::claims::workload::Workload;
use assay::claims::workload::change::QuadletChange;
use libfuzzer_sys::fuzz_target;

/// Settings that no control changes.
const OTHERS: [(&str, &str); 4] =
    [("Container", "Image"), ("Container", "Exec"), ("Service", "TimeoutStartSec"), ("Unit", "Description")];

const SEEDS: [&str; 2] = ["fixtures/quadlets", "fixtures/own/mosquitto/quadlets"];

fuzz_target!(init: assay_fuzz::seed(&SEEDS, "container"), |text: &str| {
    let workload = Workload { name: "w".to_owned(), image: None, quadlet: text.to_owned(), ..Workload::default() };
    let before = UnitFile::parse(text);
    for change in [QuadletChange::Memory(Bytes(4 << 20)), QuadletChange::Cpu(Ratio(0.5)), QuadletChange::Program] {
        let changed = workload.changed(&change);
        let after = UnitFile::parse(&changed);
        match change {
            QuadletChange::Memory(_) => assert_eq!(after.last("Service", "MemoryMax"), Some("4194304")),
            QuadletChange::Cpu(_) => assert_eq!(after.last("Service", "CPUQuota"), Some("50%")),
            _ => assert!(after.words("Container", "PodmanArgs").iter().any(|word| word.starts_with("--entrypoint="))),
        }
        for (section, key) in OTHERS {
            assert_eq!(before.words(section, key), after.words(section, key), "{changed:?}");
        }
        assert_eq!(before.mistakes.len(), after.mistakes.len(), "{changed:?}");
        workload.diff(&change, ["a", "b"]);
    }
    let _ = before.last("Container", "ContainerName").map(|name| specified(name, "w"));
});
