//! The command `setup`: makes the images of machines, and installs packages.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::base::exit_status::{Exit, infrastructure, usage};
use crate::base::platform::{Arch, TargetSpec};
use crate::base::progress::Progress;
use crate::base::settings::Settings;
use crate::bin::say;
use crate::run::{Interrupted, with_temporary_context};
use crate::targets::{Context, Definition, Image};

/// Parses a target whose machines run on this host.
fn choose(target: Option<&str>, settings: &Settings) -> Result<(TargetSpec, Arch), Exit> {
    let target = TargetSpec::choose(target, settings).map_err(usage)?;
    let arch = target.on_this_host().map_err(usage)?;
    Ok((target, arch))
}

/// Makes the image of each definition.
pub fn setup(target: Option<&str>, settings: Settings) -> Result<(), Exit> {
    let (target, arch) = choose(target, &settings)?;
    // Machines with the same software share one image.
    let mut definitions = BTreeMap::new();
    for definition in Definition::all(&settings.root).map_err(usage)? {
        definitions.insert(Image::key(&definition, arch).map_err(usage)?, definition);
    }
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    for definition in definitions.values() {
        let image = runtime.block_on(provide(definition, arch, &settings));
        let image = image.map_err(|error| unmade(&target, error))?;
        let folder = image.disk.parent().unwrap_or(&image.disk).display();
        let made = &image.manifest;
        say(&format!(
            "{target}: {} with {} packages, made {}, is in {folder} and takes {}",
            made.distribution,
            made.packages.len(),
            made.built,
            image.disk_usage()
        ));
    }
    Ok(())
}

/// Becomes the script that installs packages; it has the same exit statuses as this program.
pub fn install_packages(target: Option<&str>, settings: &Settings) -> Result<(), Exit> {
    let target = TargetSpec::choose(target, settings).map_err(usage)?;
    let script = settings.root.join("ci/setup");
    let error = std::process::Command::new("bash").arg(&script).arg(target.to_string()).exec();
    Err(infrastructure(anyhow::Error::new(error).context(format!("cannot run bash {}", script.display()))))
}

/// Makes the image of one definition and prints where its parts are.
pub fn setup_of(file: &Path, target: Option<&str>, settings: &Settings) -> Result<(), Exit> {
    let (target, arch) = choose(target, settings)?;
    let definition = Definition::load(file).map_err(usage)?;
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    let image = runtime.block_on(provide(&definition, arch, settings)).map_err(|error| unmade(&target, error))?;
    let parts = serde_json::json!({
        "disk": image.disk,
        "kernel": image.kernel,
        "initrd": image.initrd,
        "cpus": definition.cpus,
        "memory": definition.guest_memory(arch),
        "mirror": image.manifest.mirror,
    });
    say(&parts.to_string());
    Ok(())
}

/// Provides the image of a definition, made as in a run.
async fn provide(definition: &Definition, arch: Arch, settings: &Settings) -> anyhow::Result<Image> {
    if let Some(image) = Image::kept(definition, arch, &settings.cache)? {
        return Ok(image);
    }
    let work = async |context: &Context| Image::provide(definition, arch, context).await;
    with_temporary_context(settings, &Progress::to_stderr(), work).await
}

/// Explains why a target has no image for its machines.
fn unmade(target: &TargetSpec, error: anyhow::Error) -> Exit {
    infrastructure(if error.is::<Interrupted>() { error } else { target.unusable(error) })
}
