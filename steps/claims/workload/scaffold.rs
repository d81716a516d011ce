//! Writes the workload folder of `assay init`, whose claims can be tested without editing.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use super::{FILE, check_name, quadlet_path};
use crate::base::unit::{Bytes, Duration, Ratio};

/// What the user states about a workload before anything is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaffold {
    /// Its name: lower-case letters and digits, with dashes between them.
    pub name: String,
    pub image: String,
    pub wasm: bool,
    /// Whether it stays up; otherwise it is a job, which ends.
    pub service: bool,
    pub memory: Bytes,
    /// Its CPU limit, as a share of one CPU.
    pub cpu: Ratio,
    /// A text that one line of its log contains.
    pub output: Option<String>,
    /// How long a job runs from its first line to its last, or how long a service is watched.
    pub duration: Duration,
}

// The claims to write: entries of the register, a line `---`, and their scenarios. The first of a file begins it.
const UNIT: &str = include_str!("scaffold/unit.txt");
const LOG: &str = include_str!("scaffold/log.txt");
const JOB: &str = include_str!("scaffold/job.txt");
const SERVICE: &str = include_str!("scaffold/service.txt");
const LIMITS: &str = include_str!("scaffold/limits.txt");

impl Scaffold {
    /// Writes the folder and returns the paths of its files, relative to it.
    pub fn write(&self, folder: &Path) -> anyhow::Result<Vec<String>> {
        let files = self.files()?;
        let cannot = || format!("cannot write to {}", folder.display());
        fs::create_dir_all(folder).with_context(cannot)?;
        let empty = fs::read_dir(folder).with_context(cannot)?.next().is_none();
        ensure!(empty, "{} is not empty, and nothing there is written over: name a new folder", folder.display());
        for (name, text) in &files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap_or(folder)).with_context(cannot)?;
            fs::write(&path, text).with_context(cannot)?;
        }
        Ok(files.into_iter().map(|(name, _)| name).collect())
    }

    fn files(&self) -> anyhow::Result<Vec<(String, String)>> {
        check_name(&self.name)?;
        let (memory, cpu) = (self.memory, self.cpu);
        ensure!(memory.0 >= 1 << 20, "a limit of {memory} on memory lets no container start: write 1 MiB or more");
        ensure!(cpu.0 >= 0.01, "a limit of {cpu} on CPU lets nothing start: write 1 % or more");
        ensure!(self.duration.0 >= 2.0, "a workload is looked at each second: write a duration of 2 s or more");
        let plain = self.output.as_deref().is_none_or(|text| !text.trim().is_empty() && !text.contains(['"', '\n']));
        ensure!(plain, "the output is a part of one line, without quotes");
        let log = self.output.as_ref().map(|_| LOG);
        let kind = if self.service { SERVICE } else { JOB };
        let service = [UNIT].into_iter().chain(log).chain([kind]);
        let parts = |text: &'static str| text.split_once("---\n").unwrap_or((text, ""));
        let (claims, scenarios): (String, String) = service.map(parts).unzip();
        let (limits, limit_scenarios) = parts(LIMITS);
        let files = [
            (FILE.to_owned(), include_str!("scaffold/workload.toml").to_owned()),
            (quadlet_path(&self.name), include_str!("scaffold/quadlet.container").to_owned()),
            ("features/claims.toml".to_owned(), claims + limits),
            ("features/a6_service.feature".to_owned(), scenarios),
            ("features/a7_resources.feature".to_owned(), limit_scenarios.to_owned()),
        ];
        let values = self.values();
        let fill = |text: String| values.iter().fold(text, |text, (name, value)| text.replace(name, value));
        Ok(files.map(|(name, text)| (name, fill(text))).into())
    }

    /// Returns what the templates' placeholders stand for.
    fn values(&self) -> [(&'static str, String); 16] {
        let (cpu, seconds) = (self.cpu.0, self.duration.0);
        let output = self.output.as_deref().unwrap_or_default();
        let annotation = if self.wasm { "Annotation=module.wasm.image/variant=compat\n" } else { "" };
        let time = if self.service { format!(" for {}", self.duration) } else { String::new() };
        [
            ("@NAME@", self.name.clone()),
            ("@IMAGE_NAME@", toml::Value::from(self.image.as_str()).to_string()),
            ("@ANNOTATION@\n", format!("{annotation}\n")),
            ("@RUN@", format!("the workload has run{time} as its Quadlet specifies")),
            ("@DURATION@", self.duration.to_string()),
            ("@HALF@", Duration(seconds / 2.0).to_string()),
            ("@TOLERANCE@", Duration((seconds / 4.0).max(1.0)).to_string()),
            ("@MEMORY@", self.memory.to_string()),
            ("@MEMORY_MAX@", systemd(self.memory)),
            ("@LITTLE_MEMORY@", sixteenth(self.memory).to_string()),
            ("@CPU@", self.cpu.to_string()),
            ("@CPU_QUOTA@", self.cpu.to_string().replace(' ', "")),
            ("@CPU_BOUND@", Ratio(cpu * 1.1).to_string()),
            ("@MORE_CPU@", Ratio(if cpu < 1.0 { 1.0 } else { cpu * 2.0 }).to_string()),
            ("@LOG_CLAIM@", toml::Value::from(format!("its log contains \"{output}\"")).to_string()),
            // The last, so that nothing is replaced in the user's own text.
            ("@OUTPUT@", output.to_owned()),
        ]
    }
}

fn systemd(size: Bytes) -> String {
    match size.0 % (1 << 20) {
        0 => format!("{}M", size.0 >> 20),
        _ => size.0.to_string(),
    }
}

/// Returns a sixteenth of a size, rounded down to whole MiB, or to whole 4 KiB below 1 MiB.
fn sixteenth(size: Bytes) -> Bytes {
    let part = size.0 / 16;
    Bytes(if part >= 1 << 20 { part & !((1 << 20) - 1) } else { part & !0xfff })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::workload::Workload;
    use crate::claims::workload::change::QuadletChange;

    fn web() -> Scaffold {
        Scaffold {
            name: "web".into(),
            image: "localhost/web:latest".into(),
            wasm: false,
            service: true,
            memory: Bytes(32 << 20),
            cpu: Ratio(0.25),
            output: Some("listening on 80".into()),
            duration: Duration(10.0),
        }
    }

    #[test]
    fn limits_and_the_kind_of_image_are_in_the_quadlet() {
        let quadlet = |scaffold: Scaffold| scaffold.files().unwrap().swap_remove(1).1;
        assert!(quadlet(web()).contains("\nMemoryMax=32M\nCPUQuota=25%\n"), "{}", quadlet(web()));
        assert!(!quadlet(web()).contains("Annotation="));
        let odd = quadlet(Scaffold { memory: Bytes(9_000_000), wasm: true, ..web() });
        assert!(
            odd.contains("\nMemoryMax=9000000\n") && odd.contains("\nAnnotation=module.wasm.image/variant=compat\n")
        );
        assert_eq!([sixteenth(Bytes(64 << 20)), sixteenth(Bytes(2 << 20))], [Bytes(4 << 20), Bytes(128 << 10)]);
        let same = Workload { name: "web".into(), quadlet: quadlet(web()), ..Workload::default() };
        let cpu = same.changed(&QuadletChange::Cpu(Ratio(1.0)));
        assert_eq!(cpu.lines().filter(|line| !quadlet(web()).contains(line)).collect::<Vec<_>>(), ["CPUQuota=100%"]);
    }

    #[test]
    fn impossible_limits_are_refused_before_anything_is_written() {
        for (wrong, expected) in [
            (Scaffold { name: "Web".into(), ..web() }, "is not a name for a workload"),
            (Scaffold { memory: Bytes(1000), ..web() }, "write 1 MiB or more"),
            (Scaffold { cpu: Ratio(0.0), ..web() }, "write 1 % or more"),
            (Scaffold { duration: Duration(0.5), ..web() }, "write a duration of 2 s or more"),
            (Scaffold { output: Some("a \"quote\"".into()), ..web() }, "without quotes"),
            (Scaffold { output: Some(" ".into()), ..web() }, "a part of one line"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let error = wrong.write(&folder.path().join("new")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!folder.path().join("new").exists());
        }
    }
}
