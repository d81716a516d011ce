//! The command `assay init`: writes the folder of a workload of your own.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use assay::base::commands;
use assay::base::settings::{self, Settings};
use assay::base::unit::{Bytes, Duration, Ratio};
use assay::claims::workload::check_name;
use assay::claims::workload::scaffold::Scaffold;
use assay::workloads;
use clap::Args;

use crate::bin::print_line;
use assay::base::exit_status::{Exit, usage};

/// What is known of the workload; all of it can be edited in the written files.
#[derive(Debug, Args)]
pub struct Init {
    /// The folder to write; new or empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The name of the workload and its unit: lower-case letters, digits and dashes [default: the folder's name]
    #[arg(long)]
    name: Option<String>,
    /// Its image: oci:FOLDER, oci-archive:FILE or a registry's reference, or debian-package:mosquitto [default:
    /// localhost/NAME:latest]
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    /// The image holds a WebAssembly module
    #[arg(long)]
    wasm: bool,
    /// The workload stays up; otherwise it is a job, which ends
    #[arg(long)]
    service: bool,
    /// The memory limit
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    memory: Bytes,
    /// The CPU limit, as a share of one CPU
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    cpu: Ratio,
    /// Text that a line of its log contains [default: nothing is claimed about its log]
    #[arg(long, value_name = "TEXT")]
    output: Option<String>,
    /// How long a job takes from its first line to its last; how long a service is watched
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: Duration,
}

pub fn init(arguments: &Init) -> Result<(), Exit> {
    let scaffold = arguments.scaffold().map_err(usage)?;
    let folder = &arguments.folder;
    let files = scaffold.write(folder).map_err(usage)?;
    files.iter().for_each(|file| print_line(&folder.join(file).display().to_string()));
    let (run, shown) = (commands::suite(), shown(folder));
    print_line(&format!("\nwhat would run:      {run} --suite {shown} --plan"));
    print_line(&format!("run it:              {run} --suite {shown}"));
    Ok(())
}

/// Returns a folder as the command that runs its suite takes it.
pub fn shown(folder: &Path) -> String {
    let shown = match settings::checkout() {
        // ci/e2e resolves paths relative to the project's folder.
        Some(root) => {
            let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            absolute.strip_prefix(root).map(Path::to_owned).unwrap_or(absolute)
        }
        None => folder.to_owned(),
    };
    shown.display().to_string()
}

impl Init {
    fn scaffold(&self) -> anyhow::Result<Scaffold> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => of_folder(&self.folder)?,
        };
        check_name(&name).context("name it with --name")?;
        let image = self.image.clone().unwrap_or_else(|| format!("localhost/{name}:latest"));
        workloads::look_for(&Settings::read()?.root, &image)?;
        let (memory, cpu, duration) = (self.memory, self.cpu, self.duration);
        let (wasm, service, output) = (self.wasm, self.service, self.output.clone());
        Ok(Scaffold { name, image, wasm, service, memory, cpu, output, duration })
    }
}

fn of_folder(folder: &Path) -> anyhow::Result<String> {
    let whole = std::path::absolute(folder)?;
    let name = whole.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).context("the folder has no name: name the workload with --name")
}
