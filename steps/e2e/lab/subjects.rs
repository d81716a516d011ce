//! Subjects that need no machine: builds, modules, images, what a registry says to whom; and the machine's own facts.

use std::collections::BTreeSet;
use std::sync::Arc;

use assay::artifact::{Image, Module, Recipe, build};
use assay::command::Status;
use assay::facts::Facts;
use assay::probe::Reading;
use assay::registry::{self, Pull, Pushed, Refusal};
use assay::unit::Unit;

use super::{Guest, Lab, Subject};

/// Which of the registry's doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Serves pulls to anybody.
    Open,
    /// Demands a login for everything.
    Closed,
}

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

    async fn workload_image(&self) -> anyhow::Result<Arc<Image>> {
        self.image(&Guest::Workload, "", &Recipe::default()).await
    }

    async fn push(&self, image: &Image) -> anyhow::Result<Pushed> {
        let door = self.registry().await?;
        let reference = format!("{}/{}", door.closed, image.repository());
        Ok(registry::push(&self.workshop, image, &door.login, &reference).await?)
    }

    /// Where machines pull an image from; it is pushed when the first of them asks.
    pub(super) async fn published(&self, image: &Image) -> anyhow::Result<Arc<str>> {
        let make = async {
            self.push(image).await?;
            let port = self.registry().await?.open.rsplit(':').next().unwrap_or_default().to_owned();
            // A machine reaches the host's loopback at this address of its user-mode network.
            Ok(Arc::from(format!("10.0.2.2:{port}/{}", image.repository())))
        };
        self.published.get(&image.reference, make).await
    }

    /// What the registry says to a push of the workload's image, with the login or without.
    pub async fn push_subject(&self, with_login: bool) -> anyhow::Result<Subject> {
        let make = async {
            let image = self.workload_image().await?;
            let door = self.registry().await?;
            let reference = format!("{}/{}", door.closed, image.repository());
            let answer = match with_login {
                true => registry::push(&self.workshop, &image, &door.login, &reference).await,
                false => registry::push_anonymously(&self.workshop, &image, &reference).await,
            };
            let (result, raw) = told(answer.as_ref().map(|pushed| pushed.digest.clone()))?;
            self.subject("push", "host", vec![Reading::new("push.result", result.as_str(), Unit::Text, raw)])
        };
        self.once(&format!("push with login: {with_login}"), make).await
    }

    /// The workload's image in the registry: under which digest.
    pub async fn pushed_subject(&self) -> anyhow::Result<Subject> {
        let make = async {
            let image = self.workload_image().await?;
            let pushed = self.push(&image).await?;
            self.subject("push", "host", vec![Reading::text("push.digest", &pushed.digest)])
        };
        self.once("pushed", make).await
    }

    /// What the registry says to a pull by somebody who has no credentials anywhere.
    pub async fn pull_subject(&self, door: Door) -> anyhow::Result<Subject> {
        let make = async {
            let image = self.workload_image().await?;
            let pushed = self.push(&image).await?;
            let registry = self.registry().await?;
            let host = if door == Door::Open { &registry.open } else { &registry.closed };
            let reference = format!("{host}/{}", image.repository());
            let answer = registry::pull_anonymously(&self.workshop, &reference).await;
            self.subject("anonymous pull", "host", pull_readings(&answer, &pushed)?)
        };
        self.once(&format!("pull {door:?}"), make).await
    }

    /// What the registry says to something that is no OCI image.
    pub async fn payload_subject(&self) -> anyhow::Result<Subject> {
        let make = async {
            let registry = self.registry().await?;
            let answer = registry.put_text("assay/payload", "1", "this is no OCI manifest").await;
            // Here a refusal for what it is, not for who brings it, is an answer too.
            let answer = answer.map_err(|refusal| match refusal {
                Refusal::Other(text) if text.starts_with("status 4") => Refusal::Unauthorized(text),
                other => other,
            });
            let (result, raw) = told(answer.as_ref().map(|()| "taken".to_owned()))?;
            self.subject("payload", "host", vec![Reading::new("push.result", result.as_str(), Unit::Text, raw)])
        };
        self.once("payload", make).await
    }

    /// The device's facts.
    pub async fn device_subject(&self) -> anyhow::Result<Subject> {
        let make = async {
            let mut readings = machine_readings(&self.machines.facts().await?);
            readings.extend(self.machines.set_up().iter().map(|step| {
                Reading::new(&format!("setup.{}", step.name), step.wall.as_secs_f64(), Unit::Seconds, step.line.clone())
            }));
            self.subject("device", "nano", readings)
        };
        self.once("device", make).await
    }

    /// Samples of the annex's arithmetic: one per figure, 1 where it is right.
    pub fn arithmetic_subject(&self, readings: Vec<Reading>) -> anyhow::Result<Subject> {
        self.subject("the annex's figures", "host", readings)
    }
}

/// A registry's answer as a text: `accepted`, or `refused: …`; anything else is trouble and no answer.
fn told(answer: Result<String, &Refusal>) -> anyhow::Result<(String, String)> {
    match answer {
        Ok(raw) => Ok(("accepted".to_owned(), raw)),
        Err(Refusal::Unauthorized(text)) => {
            // The last words say why; the whole of it is kept as the raw text.
            let why: Vec<&str> = text.trim().rsplitn(3, ": ").take(2).collect();
            Ok((format!("refused: {}", why.into_iter().rev().collect::<Vec<_>>().join(": ")), text.clone()))
        }
        Err(Refusal::Other(text)) => anyhow::bail!("the registry: {text}"),
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

fn pull_readings(answer: &Result<Pull, Refusal>, pushed: &Pushed) -> anyhow::Result<Vec<Reading>> {
    let (result, raw) = told(answer.as_ref().map(|pull| pull.digest.clone()))?;
    let mut readings = vec![
        Reading::new("pull.result", result.as_str(), Unit::Text, raw),
        Reading::text("push.digest", &pushed.digest),
    ];
    if let Ok(pull) = answer {
        let names: BTreeSet<&str> = pull.environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(" ");
        readings.push(Reading::text("pull.digest", &pull.digest));
        readings.push(Reading::new("pull.environment", names.as_str(), Unit::Text, pull.environment.clone()));
        readings.push(Reading::text("pull.auth-file", pull.auth_file.trim()));
        readings.push(Reading::text("pull.inspected", &pull.config_digest));
        readings.push(Reading::new("pull.time", pull.wall.as_secs_f64(), Unit::Seconds, "wall time"));
    }
    Ok(readings)
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
