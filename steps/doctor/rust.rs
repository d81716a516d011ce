//! Checks the pinned compiler, and the target that guests are built for.

use std::fs;
use std::sync::Arc;

use super::host::Host;
use super::programs::{shortened, version};
use super::{Fault, Tried, Try};
use assay::exec::command::Command;

const WASM: &str = "wasm32-wasip1";

pub fn tries(host: &Arc<Host>) -> Vec<Try> {
    let channel = channel(&fs::read_to_string(host.settings.root.join("rust-toolchain.toml")).unwrap_or_default());
    let (toolchain, target) = match &channel {
        Some(channel) => (
            format!("rustup toolchain install {channel} --profile minimal --target {WASM}"),
            format!("rustup target add {WASM} --toolchain {channel}"),
        ),
        None => ("rustup toolchain install stable".to_owned(), format!("rustup target add {WASM}")),
    };
    let linker = host.distribution.install(&["gcc", "libc6-dev"]);
    vec![
        Try::needed("Rust", &toolchain, compiler(host.clone(), channel.clone())),
        Try::needed("cargo", &toolchain, cargo(host.clone(), channel.clone())),
        Try::needed(format!("Rust for {WASM}"), target, compiles(host.clone(), channel.clone(), Some(WASM))),
        Try::needed("C linker", linker, compiles(host.clone(), channel, None)),
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
fn without(problem: Fault) -> Fault {
    match problem.found == "not installed" {
        true => Fault::missing("Rust is not installed")
            .remedy("install rustup as https://rustup.rs says; the toolchain follows by itself"),
        // rustup's message is about toolchains, not about packages.
        false => Fault { remedy: None, ..problem },
    }
}

async fn cargo(host: Arc<Host>, channel: Option<String>) -> Tried {
    let printed = host.ask("rustup", with("cargo", channel.as_deref()).arg("--version")).await;
    printed.map(shortened).map_err(without)
}

async fn compiler(host: Arc<Host>, channel: Option<String>) -> Tried {
    let printed = host.ask("rustup", with("rustc", channel.as_deref()).arg("--version")).await.map_err(without)?;
    match (version(&printed), channel) {
        (None, _) => Err(Fault::missing(format!("rustc says no version: {}", printed.trim()))),
        (Some(found), Some(channel)) if !channel.starts_with(|c: char| c.is_ascii_digit()) || found == channel => {
            Ok(format!("{found} (rust-toolchain.toml: {channel})"))
        }
        (Some(found), Some(channel)) => {
            Err(Fault::missing(format!("rustc is {found}, and the claims are pinned to {channel}")))
        }
        (Some(found), None) => Ok(found.to_owned()),
    }
}

async fn compiles(host: Arc<Host>, channel: Option<String>, target: Option<&str>) -> Tried {
    let to = host.folder().join(target.unwrap_or("native"));
    let mut command = with("rustc", channel.as_deref()).args(["--edition", "2024", "--crate-name", "empty"]);
    if let Some(target) = target {
        command = command.args(["--target", target]);
    }
    let command = command.args(["-o", &to.display().to_string(), "-"]).stdin("fn main() {}\n");
    let output = host.start("rustup", command).await.map_err(without)?;
    if output.succeeded() && to.is_file() {
        return Ok("compiles an empty program".to_owned());
    }
    let errors = output.errors();
    let printed = errors.lines().find(|line| line.starts_with("error")).or(errors.lines().next());
    Err(Fault::missing(format!("does not compile an empty program: {}", printed.unwrap_or("and says nothing"))))
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
