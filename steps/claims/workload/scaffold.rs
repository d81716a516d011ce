//! Writes the workload folder of `assay init`, whose claims can be tested without editing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use super::{FILE, check_name, quadlet_path};
use crate::base::unit::{Bytes, Duration, Ratio};

/// Whether a workload ends without intervention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It runs to completion.
    Job,
    /// It keeps running.
    Service,
}

/// What the user states about a workload before anything is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaffold {
    /// Its name: lower-case letters and digits, with dashes between them.
    pub name: String,
    /// Its image, in the format of `--image`.
    pub image: String,
    pub wasm: bool,
    pub kind: Kind,
    pub memory: Bytes,
    /// Its CPU limit, as a share of one CPU.
    pub cpu: Ratio,
    /// A text that one line of its log contains.
    pub output: Option<String>,
    /// How long a job runs from its first line to its last, or how long a service is watched.
    pub duration: Duration,
}

/// A claim with its scenario and its control.
struct Claim {
    id: &'static str,
    claim: String,
    bound: String,
    control: &'static str,
    /// The step that precedes the checks.
    subject: String,
    /// The same step for the wrong subject.
    wrong: String,
    checks: Vec<String>,
    /// The index of the check that must reject the wrong subject, and the probe that it fails on.
    refused: (usize, &'static str),
}

const NO_PROGRAM: &str = "the same image with an entrypoint that does not exist";
const LITTLE_MEMORY: &str = "the same workload with a sixteenth of the memory";

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
        ensure!(
            self.memory.0 >= 1 << 20,
            "a limit of {} on memory lets no container start: write 1 MiB or more",
            self.memory
        );
        ensure!(self.cpu.0 >= 0.01, "a limit of {} on CPU lets nothing start: write 1 % or more", self.cpu);
        ensure!(self.duration.0 >= 2.0, "a workload is looked at each second: write a duration of 2 s or more");
        let said = self.output.as_deref().is_none_or(|text| !text.trim().is_empty() && !text.contains(['"', '\n']));
        ensure!(said, "the output is a part of one line, without quotes");
        let image = toml::Value::from(self.image.as_str());
        let workload = format!("name = \"{}\"\nimage = {image}\n", self.name);
        let about = "# The workload under test; its Quadlet lies in quadlets/. e2e takes another image by --image.\n";
        Ok(vec![
            (FILE.to_owned(), format!("{about}{workload}")),
            (quadlet_path(&self.name), self.quadlet()),
            ("features/claims.toml".to_owned(), self.register()?),
            ("features/a6_service.feature".to_owned(), self.feature(6, "is deployed as a service", &self.service())),
            ("features/a7_resources.feature".to_owned(), self.feature(7, "keeps its limits", &self.resources())),
        ])
    }

    fn quadlet(&self) -> String {
        let annotation = if self.wasm { "Annotation=module.wasm.image/variant=compat\n" } else { "" };
        format!(
            "# How {name} is deployed. @IMAGE@ stands for the image under test.\n[Unit]\nDescription={name}, under test\n\n\
             [Container]\nImage=@IMAGE@\n{annotation}\n[Service]\nRestart=on-failure\nMemoryMax={memory}\nCPUQuota={cpu}\n\n\
             [Install]\nWantedBy=default.target\n",
            name = self.name,
            memory = systemd(self.memory),
            cpu = self.cpu.to_string().replace(' ', ""),
        )
    }

    fn register(&self) -> anyhow::Result<String> {
        let mut out = "# What is claimed, and what each claim is judged by. One scenario carries the tag of each; \"control\" names the \
             wrong subject\n# that the same check must reject. Add published = \"…\" where a figure has been published.\n"
            .to_owned();
        for Claim { id, claim, bound, control, .. } in self.service().iter().chain(&self.resources()) {
            let row = [("id", *id), ("claim", claim), ("bound", bound), ("control", control)];
            let row = row.map(|(key, text)| format!("{key} = {}\n", toml::Value::from(text))).concat();
            write!(out, "\n[[claim]]\n{row}")?;
        }
        Ok(out)
    }

    fn feature(&self, section: u8, what: &str, claims: &[Claim]) -> String {
        let mut out = format!("@shared\nFeature: A.{section} {} {what}\n", self.name);
        for Claim { id, claim, control, subject, wrong, checks, refused, .. } in claims {
            let sentence = |text: &str| {
                let mut letters = text.chars();
                letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
            };
            let (check, because) = *refused;
            let then = |(n, check): (usize, &String)| format!("    {} {check}\n", if n == 0 { "Then" } else { "And" });
            let own: String = checks.iter().enumerate().map(then).collect();
            out += &format!("\n  @{id}\n  Scenario: {}\n    When {subject}\n{own}", sentence(claim));
            out += &format!("\n  @{id} @control\n  Scenario: {} is rejected\n    When {wrong}\n", sentence(control));
            out += &format!("    Then {}\n    But this check fails on \"{because}\"\n", checks[check]);
        }
        out
    }

    /// Returns the step that runs the unchanged workload.
    fn run(&self) -> String {
        match self.kind {
            Kind::Job => "the workload has run as its Quadlet specifies".to_owned(),
            Kind::Service => self.held("as its Quadlet specifies"),
        }
    }

    fn held(&self, how: &str) -> String {
        format!("the workload has run for {} {how}", self.duration)
    }

    fn service(&self) -> Vec<Claim> {
        let empty = "the workload has been started with an entrypoint that does not exist".to_owned();
        let mut claims = vec![Claim {
            id: "A6-1",
            claim: "its Quadlet becomes a user service, no root needed".to_owned(),
            bound: "generated, uid ≠ 0".to_owned(),
            control: "a Quadlet with an unknown key",
            subject: self.run(),
            wrong: "a Quadlet with an unknown key is installed".to_owned(),
            checks: vec!["systemd reports its unit as \"loaded\"".to_owned(), "its user is not root".to_owned()],
            refused: (0, "unit.load"),
        }];
        if let Some(output) = &self.output {
            claims.push(Claim {
                id: "A6-2",
                claim: format!("its log contains \"{output}\""),
                bound: "a line contains this text".to_owned(),
                control: NO_PROGRAM,
                subject: self.run(),
                wrong: empty.clone(),
                checks: vec![format!("its log contains \"{output}\"")],
                refused: (0, "log.text"),
            });
        }
        let took = Duration((self.duration.0 / 4.0).max(1.0));
        match self.kind {
            Kind::Service => claims.push(Claim {
                id: "A6-3",
                claim: format!("it stays up for {}", self.duration),
                bound: "active, 0 restarts".to_owned(),
                control: NO_PROGRAM,
                subject: self.run(),
                wrong: empty,
                checks: vec!["it is still running".to_owned(), "it was restarted 0 times".to_owned()],
                refused: (0, "unit.state"),
            }),
            Kind::Job => claims.extend([
                Claim {
                    id: "A6-3",
                    claim: "it ends successfully".to_owned(),
                    bound: "result success, exit code 0".to_owned(),
                    control: NO_PROGRAM,
                    subject: self.run(),
                    wrong: empty,
                    checks: vec!["its result is \"success\"".to_owned(), "its exit code is 0".to_owned()],
                    refused: (0, "unit.result"),
                },
                Claim {
                    id: "A6-4",
                    claim: format!("it takes about {}", self.duration),
                    bound: format!("{} ± {took} from first to last line", self.duration),
                    control: "the same workload stopped half-way",
                    subject: self.run(),
                    wrong: format!(
                        "the workload has run for {} as its Quadlet specifies",
                        Duration(self.duration.0 / 2.0)
                    ),
                    checks: vec![format!(
                        "the time from its first log line to its last is {0} to {0}, give or take {took}",
                        self.duration
                    )],
                    refused: (0, "log.duration"),
                },
            ]),
        }
        claims
    }

    fn resources(&self) -> Vec<Claim> {
        let (memory, cpu) = (self.memory, self.cpu);
        let little = self.held(&format!("with a limit of {} of memory", sixteenth(memory)));
        let wide = Ratio(if cpu.0 < 1.0 { 1.0 } else { cpu.0 * 2.0 });
        vec![
            Claim {
                id: "A7-1",
                claim: format!("its peak memory is under {memory}, and it never reaches the limit"),
                bound: format!("memory.peak < {memory}, and the limit was never reached"),
                control: LITTLE_MEMORY,
                subject: self.run(),
                wrong: little.clone(),
                checks: vec![
                    format!("its peak memory is below {memory}"),
                    "it never reached its memory limit".to_owned(),
                ],
                refused: (1, "memory.events.max"),
            },
            Claim {
                id: "A7-2",
                claim: format!("it is limited to {memory} of memory"),
                bound: "equal".to_owned(),
                control: LITTLE_MEMORY,
                subject: self.run(),
                wrong: little,
                checks: vec![format!("systemd limits it to {memory} of memory")],
                refused: (0, "limit.memory"),
            },
            Claim {
                id: "A7-3",
                claim: format!("it is limited to {cpu} of a CPU, and it uses no more"),
                bound: format!("{cpu}, give or take a tenth of that"),
                control: "the same workload with a higher CPU limit",
                subject: self.run(),
                wrong: self.held(&format!("with a limit of {wide} of a CPU")),
                checks: vec![
                    format!("systemd limits it to {cpu} of a CPU"),
                    format!("its share of a CPU is 0 % to {}", Ratio(cpu.0 * 1.1)),
                ],
                refused: (0, "limit.cpu"),
            },
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
    use crate::claims::plan::Capabilities;
    use crate::claims::suite::ClaimSuite;
    use crate::claims::workload::Workload;
    use crate::claims::workload::change::Change;

    fn web() -> Scaffold {
        Scaffold {
            name: "web".into(),
            image: "localhost/web:latest".into(),
            wasm: false,
            kind: Kind::Service,
            memory: Bytes(32 << 20),
            cpu: Ratio(0.25),
            output: Some("listening on 80".into()),
            duration: Duration(10.0),
        }
    }

    #[test]
    fn what_is_written_is_a_workload_whose_every_claim_has_a_control() {
        let job = Scaffold { kind: Kind::Job, output: None, wasm: true, memory: Bytes(9_000_000), ..web() };
        for (scaffold, claims) in [(web(), 6), (job, 6)] {
            let folder = tempfile::tempdir().unwrap();
            let files = scaffold.write(folder.path()).unwrap();
            assert!(files.iter().all(|file| folder.path().join(file).is_file()), "{files:?}");
            let workload = Workload::read(folder.path()).unwrap();
            assert_eq!((workload.name, workload.image), (scaffold.name, scaffold.image));
            let annex = ClaimSuite::read(folder.path()).unwrap();
            let plan = annex.plan(&Capabilities::default(), |_, _| true, None).unwrap();
            assert_eq!(annex.register.iter().filter(|claim| claim.control.is_some()).count(), claims);
            assert_eq!(plan.scenarios.iter().filter(|planned| planned.runs()).count(), 2 * claims);
        }
    }

    #[test]
    fn limits_and_the_kind_of_image_are_in_the_quadlet() {
        let quadlet = |scaffold: Scaffold| scaffold.quadlet();
        assert!(quadlet(web()).contains("\nMemoryMax=32M\nCPUQuota=25%\n"), "{}", quadlet(web()));
        assert!(!quadlet(web()).contains("Annotation="));
        let odd = quadlet(Scaffold { memory: Bytes(9_000_000), wasm: true, ..web() });
        assert!(
            odd.contains("\nMemoryMax=9000000\n") && odd.contains("\nAnnotation=module.wasm.image/variant=compat\n")
        );
        assert_eq!([sixteenth(Bytes(64 << 20)), sixteenth(Bytes(2 << 20))], [Bytes(4 << 20), Bytes(128 << 10)]);
        let same = Workload { name: "web".into(), image: String::new(), quadlet: quadlet(web()) };
        let cpu = same.changed(Change::Cpu(Ratio(1.0)));
        assert_eq!(cpu.lines().filter(|line| !quadlet(web()).contains(line)).collect::<Vec<_>>(), ["CPUQuota=100%"]);
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "mine").unwrap();
        let error = web().write(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("is not empty, and nothing there is written over: name a new folder"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_no_container_could_be_is_refused_before_anything_is_written() {
        for (wrong, said) in [
            (Scaffold { name: "Web".into(), ..web() }, "is not a name for a workload"),
            (Scaffold { memory: Bytes(1000), ..web() }, "write 1 MiB or more"),
            (Scaffold { cpu: Ratio(0.0), ..web() }, "write 1 % or more"),
            (Scaffold { duration: Duration(0.5), ..web() }, "write a duration of 2 s or more"),
            (Scaffold { output: Some("a \"quote\"".into()), ..web() }, "without quotes"),
            (Scaffold { output: Some(" ".into()), ..web() }, "a part of one line"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let error = wrong.write(&folder.path().join("new")).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(!folder.path().join("new").exists());
        }
    }
}
