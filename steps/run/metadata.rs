//! Describes a run from its beginning: its command line, its code and this host.

use super::RunSpec;
use crate::base::platform::TargetSpec;
use crate::targets::Platform;

/// Returns what `run.json` says about the run from its beginning: its command line, its code, and this host.
pub(super) fn metadata(spec: &RunSpec) -> serde_json::Value {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).current_dir(&spec.settings.root).output();
        let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
        text.map(|text| String::from_utf8_lossy(&text).trim().to_owned())
    };
    let mut metadata = serde_json::json!({
        "command_line": std::env::args().collect::<Vec<_>>(),
        "target": spec.target.to_string(),
        "stand_in": spec.target == TargetSpec::Ec2 && spec.settings.fake_aws.any(),
        "git": match &spec.settings.embedded {
            // No commit is known, even if the cache lies in a repository.
            Some(digest) => serde_json::json!({ "commit": null, "changed": null, "embedded_files": digest }),
            None => serde_json::json!({
                "commit": git(&["rev-parse", "HEAD"]),
                "changed": git(&["status", "--porcelain"]).map(|s| !s.is_empty()),
            }),
        },
        "host": {
            "architecture": std::env::consts::ARCH,
            "distribution": first_line("/etc/os-release", "PRETTY_NAME=").map(|name| name.trim_matches('"').to_owned()),
            "kernel": first_line("/proc/sys/kernel/osrelease", ""),
            "cpu": first_line("/proc/cpuinfo", "model name"),
            "memory": first_line("/proc/meminfo", "MemTotal"),
            "offers": spec.host,
            "cpus": std::thread::available_parallelism().ok().map(usize::from),
        },
        "assay": env!("CARGO_PKG_VERSION"),
    });
    if let Some(platform) = Platform::name_if_set(&spec.settings) {
        metadata["platform"] = platform.into();
    }
    if let Some(annex) = &spec.annex {
        metadata["annex"] = serde_json::json!({ "file": annex.path, "sha256": annex.sha256 });
    }
    if let Some(disk) = &spec.settings.disk {
        let packages = disk.packages.iter().map(|(file, sha256)| (file.display().to_string(), sha256.as_str().into()));
        let packages: serde_json::Map<_, _> = packages.collect();
        metadata["disk"] = serde_json::json!({ "source": disk.source, "sha256": disk.sha256, "packages": packages });
    }
    metadata
}

/// Finds the first line that begins with `beginning`, and returns the rest of it.
fn first_line(path: &str, beginning: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim_end().to_owned())
}
