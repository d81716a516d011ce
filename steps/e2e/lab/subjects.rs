//! Subjects that need no machine: builds, modules, images; and the machine's own facts.

use std::collections::BTreeSet;

use assay::base::unit::Unit;
use assay::exec::command::Status;
use assay::measurement::Reading;
use assay::targets::machine_info::Facts;
use assay::workloads::{Image, Module, Recipe, build};

use super::machines::Bench;
use super::{Guest, Job, Lab, Subject};

impl Lab {
    /// A guest built from a clean tree, twice: how its compiler ended, and what came out.
    pub async fn build_subject(&self, guest: &str) -> anyhow::Result<Subject> {
        let make = async {
            let built = build(&self.workshop, &self.orders.settings.root, guest).await?;
            let again = build(&self.workshop, &self.orders.settings.root, guest).await?;
            let code = match built.status {
                Status::Code(code) => code,
                Status::Signal(signal) => anyhow::bail!("the compiler was ended by signal {signal}"),
            };
            let mut readings = vec![
                Reading::new("build.status", f64::from(code), Unit::Count, built.status.to_string()),
                Reading::new("build.modules", built.modules.len() as f64, Unit::Count, "files *.wasm in release/"),
                Reading::text("build.compiler", &built.rustc),
            ];
            let modules = built.modules.iter().chain(&again.modules);
            readings.extend(modules.map(|module| Reading::text("build.sha256", &module.sha256)));
            self.subject(&format!("build of {guest}"), "host", readings)
        };
        self.once(&format!("build {guest}"), make).await
    }

    /// A guest's module: its size, what it imports and exports.
    pub async fn module_subject(&self, guest: &Guest) -> anyhow::Result<Subject> {
        let make = async {
            let module = self.module(guest).await?;
            self.subject(&format!("module of {}", guest.name()), "host", module_readings(&module)?)
        };
        self.once(&format!("module {}", guest.name()), make).await
    }

    /// A guest's image, by a recipe that has a name: what its manifest says and what podman counts.
    pub async fn image_subject(&self, guest: &Guest, variant: &str, recipe: &Recipe) -> anyhow::Result<Subject> {
        let make = async {
            let image = self.image(guest, variant, recipe).await?;
            let counted = image.counted(&self.workshop).await?;
            let mut readings = image_readings(&image);
            let shown = format!("podman images: {}; podman image inspect: {}", counted.shown, counted.bytes.0);
            readings.push(Reading::new("image.size", counted.bytes.value(), Unit::Bytes, shown));
            self.subject(&format!("image of {}{variant}", guest.name()), "host", readings)
        };
        self.once(&format!("image {}{variant}", guest.name()), make).await
    }

    /// The device's facts, as it says them now.
    pub async fn device_subject(&self) -> anyhow::Result<Subject> {
        let look = async |bench: &Bench| Facts::gather(&bench.machine.shell, bench.machine.facts.accelerator).await;
        let make = async {
            let facts = match self.is_shared() {
                true => self.machines.look(look).await?,
                false => self.machines.work(Job::named("a device"), look).await?,
            };
            let mut readings = machine_readings(&facts);
            readings.extend(self.machines.set_up().iter().map(|step| {
                Reading::new(&format!("setup.{}", step.name), step.wall.as_secs_f64(), Unit::Seconds, step.line.clone())
            }));
            self.subject("device", "nano", readings)
        };
        self.measured("device", make).await
    }

    /// Samples of the annex's arithmetic: one per figure, 1 where it is right.
    pub fn arithmetic_subject(&self, readings: Vec<Reading>) -> anyhow::Result<Subject> {
        self.subject("the annex's figures", "host", readings)
    }
}

fn module_readings(module: &Module) -> anyhow::Result<Vec<Reading>> {
    let (imports, exports) = (module.imports()?, module.exports()?);
    let namespaces: BTreeSet<&str> = imports.iter().map(|import| import.namespace.as_str()).collect();
    let mut readings = vec![
        Reading::new("module.size", module.size().value(), Unit::Bytes, format!("sha256 {}", module.sha256)),
        Reading::text("module.sha256", &module.sha256),
    ];
    readings.extend(namespaces.into_iter().map(|namespace| Reading::text("module.imports", namespace)));
    for wanted in ["_start", "memory"] {
        let kind = exports.iter().find(|export| export.name == wanted).map_or("none", |export| export.kind);
        readings.push(Reading::text(&format!("module.export.{wanted}"), kind));
    }
    Ok(readings)
}

fn image_readings(image: &Image) -> Vec<Reading> {
    let layout = &image.layout;
    let variant = "module.wasm.image/variant";
    let count = |probe: &str, number: usize, raw: String| Reading::new(probe, number as f64, Unit::Count, raw);
    let files: Vec<&str> = layout.files().map(|file| file.path.as_str()).collect();
    let mut readings = vec![
        Reading::text("image.platform", &format!("{}/{}", layout.os, layout.architecture)),
        Reading::text(
            &format!("image.annotation.{variant}"),
            layout.annotations.get(variant).map_or("none", String::as_str),
        ),
        count("image.layers", layout.layers.len(), layout.digest.clone()),
        count("image.files", files.len(), files.join(" ")),
        Reading::text("image.digest", &layout.digest),
        Reading::text("image.base", layout.base().unwrap_or("none")),
        Reading::text("image.entrypoint", &layout.entrypoint.join(" ")),
        Reading::new("image.transfer", layout.transfer.value(), Unit::Bytes, layout.digest.clone()),
    ];
    readings.extend(files.iter().map(|file| Reading::text("image.file", file)));
    readings
}

pub(super) fn machine_readings(facts: &Facts) -> Vec<Reading> {
    let cpus = facts.cpus as f64;
    let memory = facts.memory as f64;
    vec![
        Reading::new("machine.cpus", cpus, Unit::Count, format!("nproc {cpus}")),
        Reading::new("machine.memory", memory, Unit::Bytes, format!("MemTotal {memory}")),
        Reading::text("machine.architecture", facts.architecture.uname()),
        Reading::text("machine.accelerator", &facts.accelerator.to_string()),
        Reading::text("podman.version", facts.podman.as_deref().unwrap_or("none")),
        Reading::text("crun.version", facts.crun.as_deref().unwrap_or("none")),
        features_reading(&facts.crun_features),
    ]
}

/// What a container runtime was built with.
pub(super) fn features_reading(features: &[String]) -> Reading {
    match features {
        [] => Reading::text("crun.features", "none"),
        features => Reading::text("crun.features", &features.join(" ")),
    }
}
