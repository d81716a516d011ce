//! Checks the pinned compiler, and the target that guests are built for.

use std::fs;
use std::sync::Arc;

use super::host::Host;
use super::programs::{by_version, version};
use super::{CheckResult, Try};
use crate::exec::command::Command;

const WASM: &str = "wasm32-wasip1";

pub fn tries(host: &Arc<Host>) -> Vec<Try> {
    let channel = channel(&fs::read_to_string(host.settings.root.join("rust-toolchain.toml")).unwrap_or_default());
    let toolchain = match &channel {
        Some(channel) => format!("rustup toolchain install {channel} --profile minimal --target {WASM}"),
        None => "rustup toolchain install stable".to_owned(),
    };
    let target = match &channel {
        Some(channel) => format!("rustup target add {WASM} --toolchain {channel}"),
        None => format!("rustup target add {WASM}"),
    };
    let linker = host.distribution.install(&["gcc", "libc6-dev"]);
    let pinned = channel.clone();
    vec![
        Try::needed("Rust", &toolchain, compiler(host.clone(), channel.clone())),
        Try::needed("cargo", &toolchain, {
            let (host, channel) = (host.clone(), channel.clone());
            async move {
                let said = host.ask("rustup", with("cargo", channel.as_deref()).arg("--version")).await;
                by_version(said.map_err(without))
            }
        }),
        Try::needed(format!("Rust for {WASM}"), target, compiles(host.clone(), channel, Some(WASM))),
        Try::needed("C linker", linker, compiles(host.clone(), pinned, None)),
    ]
}

/// Returns the toolchain that `rust-toolchain.toml` names.
fn channel(text: &str) -> Option<String> {
    let table: toml::Table = toml::from_str(text).ok()?;
    Some(table.get("toolchain")?.get("channel")?.as_str()?.to_owned())
}

/// Makes the command for a program of the pinned toolchain; a missing toolchain must not be downloaded now.
fn with(program: &str, channel: Option<&str>) -> Command {
    let command = Command::new(program).env("RUSTUP_AUTO_INSTALL", "0");
    match channel {
        Some(channel) => command.env("RUSTUP_TOOLCHAIN", channel),
        None => command,
    }
}

/// Explains why a program of Rust did not start; a missing rustup comes first.
fn without(finding: CheckResult) -> CheckResult {
    match finding.found == "not installed" {
        true => CheckResult::fails("Rust is not installed")
            .remedy("install rustup as https://rustup.rs says; the toolchain follows by itself"),
        // rustup's message is about toolchains, not about packages.
        false => CheckResult { remedy: None, ..finding },
    }
}

async fn compiler(host: Arc<Host>, channel: Option<String>) -> CheckResult {
    let said = match host.ask("rustup", with("rustc", channel.as_deref()).arg("--version")).await {
        Ok(said) => said,
        Err(finding) => return without(finding),
    };
    match (version(&said), channel) {
        (None, _) => CheckResult::fails(format!("rustc says no version: {}", said.trim())),
        (Some(found), Some(channel)) if !channel.starts_with(|c: char| c.is_ascii_digit()) || found == channel => {
            CheckResult::works(format!("{found} (rust-toolchain.toml: {channel})"))
        }
        (Some(found), Some(channel)) => {
            CheckResult::fails(format!("rustc is {found}, and the claims are pinned to {channel}"))
        }
        (Some(found), None) => CheckResult::works(found),
    }
}

async fn compiles(host: Arc<Host>, channel: Option<String>, target: Option<&str>) -> CheckResult {
    let to = host.folder().join(target.unwrap_or("native"));
    let mut command = with("rustc", channel.as_deref()).args(["--edition", "2024", "--crate-name", "empty"]);
    if let Some(target) = target {
        command = command.args(["--target", target]);
    }
    let command = command.args(["-o", &to.display().to_string(), "-"]).stdin("fn main() {}\n");
    let output = match host.start("rustup", command).await {
        Ok(output) => output,
        Err(finding) => return without(finding),
    };
    match output.succeeded() && to.is_file() {
        true => CheckResult::works("compiles an empty program"),
        false => {
            let errors = output.errors();
            let said = errors.lines().find(|line| line.starts_with("error")).or(errors.lines().next());
            CheckResult::fails(format!("does not compile an empty program: {}", said.unwrap_or("and says nothing")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_toolchain_is_that_of_the_project() {
        assert_eq!(channel(include_str!("../../rust-toolchain.toml")).as_deref(), Some("1.95.0"));
        assert_eq!(channel(""), None);
        assert_eq!(channel("[toolchain]\npath = \"/opt/rust\"\n"), None);
    }

    #[test]
    fn a_toolchain_that_is_not_there_is_not_fetched() {
        let line = with("rustc", Some("1.95.0")).arg("--version").line();
        assert_eq!(line, "RUSTUP_AUTO_INSTALL=0 RUSTUP_TOOLCHAIN=1.95.0 rustc --version");
    }
}
