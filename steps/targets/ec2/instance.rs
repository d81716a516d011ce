//! Represents an instance while a run uses it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_ec2::Client;
use base64::Engine as _;

use super::resources::terminate;
use super::setup::USER;
use crate::base::progress::Progress;
use crate::targets::aws_error::explained;
use crate::targets::keys;
use crate::targets::machine::{Body, MachineDir, Pending};

/// How long EC2 may take to return the console.
const CONSOLE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) client: Client,
    pub(super) id: String,
    pub(super) address: String,
    pub(super) console: PathBuf,
    pub(super) work: MachineDir,
    pub(super) progress: Progress,
}

impl Body for Instance {
    fn command_line(&self) -> String {
        let (host, port) = self.address.rsplit_once(':').unwrap_or((&self.address, "22"));
        keys::command_line(&self.work.name, USER, host, port.parse().unwrap_or(22), &self.work.folder)
    }

    /// Saves its console in the evidence and terminates it; closing the cloud checks that it is gone.
    fn shut_down(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            if let Err(error) = save_console(&self.client, &self.id, &self.console).await {
                self.progress.note(format!("{}: its console is lost: {error:#}", self.work.name));
            }
            if let Err(error) = terminate(&self.client, &self.id).await {
                self.progress.note(format!("{}: not terminated at once, and tried again: {error}", self.work.name));
            }
        })
    }
}

/// Writes what an instance has printed so far on its serial console.
pub(super) async fn save_console(client: &Client, id: &str, file: &std::path::Path) -> anyhow::Result<()> {
    let call = explained("ec2:GetConsoleOutput", client.get_console_output().instance_id(id).latest(true).send());
    let answer = tokio::time::timeout(CONSOLE, call).await.context("EC2 does not give it in time")??;
    let engine = base64::engine::general_purpose::STANDARD;
    let text = engine.decode(answer.output().unwrap_or_default().trim()).context("it is not base64")?;
    fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
}
