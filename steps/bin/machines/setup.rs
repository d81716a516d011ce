//! The command `setup`: makes the images of machines, and installs packages.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::bin::print;
use assay::base::exit_status::{Exit, infrastructure, usage};
use assay::base::platform::{Arch, TargetSpec};
use assay::base::progress::Progress;
use assay::base::settings::Settings;
use assay::run::{Interrupted, with_temporary_context};
use assay::targets::{Context, Definition, DiskImage, Platform};

/// Makes the image of the target's machines, or of one definition only, whose parts are then printed as JSON.
pub fn setup(target: Option<&str>, file: Option<&Path>, settings: &Settings) -> Result<(), Exit> {
    let target = TargetSpec::choose(target, settings).map_err(usage)?;
    let arch = target.on_this_host().map_err(usage)?;
    let definitions = match file {
        Some(file) if !file.exists() => {
            let known = settings.root.join("fixtures/machines").display().to_string();
            return Err(usage(anyhow::anyhow!(
                "{} is not there: name a definition, as {known} has them",
                file.display()
            )));
        }
        Some(file) => vec![Definition::load(file, Platform::chosen(settings).map_err(usage)?).map_err(usage)?],
        None => Definition::all(settings).map_err(usage)?,
    };
    // Machines with the same software share one image.
    let mut by_image = BTreeMap::new();
    for definition in definitions {
        by_image.insert(DiskImage::key(&definition, arch).map_err(usage)?, definition);
    }
    let runtime = tokio::runtime::Runtime::new().map_err(infrastructure)?;
    for definition in by_image.values() {
        let image = runtime.block_on(provide(definition, arch, settings)).map_err(|error| unmade(&target, error))?;
        let made = &image.manifest;
        let [kernel, initrd] = image.kernel().map_or([None; 2], |files| files.map(Some));
        let parts = serde_json::json!({
            "disk": image.disk,
            "kernel": kernel,
            "initrd": initrd,
            "cpus": definition.cpus,
            "memory": definition.guest_memory(arch),
            "mirror": made.mirror,
        });
        let folder = image.disk.parent().unwrap_or(&image.disk).display();
        let (distribution, packages, size) = (&made.distribution, made.packages.len(), image.disk_usage());
        print(file.is_some(), &parts, || {
            let built = &made.built;
            format!("{target}: {distribution} with {packages} packages, made {built}, is in {folder} and takes {size}")
        })?;
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

/// Provides the image of a definition, made as in a run.
async fn provide(definition: &Definition, arch: Arch, settings: &Settings) -> anyhow::Result<DiskImage> {
    if let Some(image) = DiskImage::kept(definition, arch, &settings.cache)? {
        return Ok(image);
    }
    let work = async |context: &Context| DiskImage::provide(definition, arch, context).await;
    with_temporary_context(settings, &Progress::to_stderr(), work).await
}

/// Explains why a target has no image for its machines.
fn unmade(target: &TargetSpec, error: anyhow::Error) -> Exit {
    infrastructure(if error.is::<Interrupted>() { error } else { target.unusable(error) })
}
