//! Talks to QEMU over its machine protocol: one JSON value per line over a socket.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::base::poll::{self, Look};

/// Time limit for an answer: QEMU answers at once, unless its main loop is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Qmp {
    pub async fn connect(socket: &Path) -> anyhow::Result<Qmp> {
        let greet = async {
            let (reader, writer) = UnixStream::connect(socket).await?.into_split();
            let mut qmp = Qmp { reader: BufReader::new(reader), writer };
            let greeting = qmp.line().await?;
            anyhow::ensure!(greeting.get("QMP").is_some(), "no greeting but {greeting}");
            qmp.execute("qmp_capabilities", json!({})).await?;
            Ok(qmp)
        };
        let greeted = tokio::time::timeout(PATIENCE, greet).await.unwrap_or_else(|_| Err(silent()));
        greeted.with_context(|| format!("{}: qemu does not answer", socket.display()))
    }

    /// Executes one command and returns its result; events in between are ignored.
    pub async fn execute(&mut self, command: &str, arguments: Value) -> anyhow::Result<Value> {
        let talk = async {
            let line = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
            self.writer.write_all(line.as_bytes()).await?;
            loop {
                let mut answer = self.line().await?;
                if let Some(error) = answer.get("error") {
                    anyhow::bail!("{}", error["desc"].as_str().unwrap_or("refused without a word"));
                }
                if let Some(value) = answer.get_mut("return") {
                    return Ok(value.take());
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, talk).await.unwrap_or_else(|_| Err(silent()));
        answer.with_context(|| format!("qemu's {command} failed"))
    }

    /// Makes the next migration, out or in, leave out memory that is in a shared file.
    pub async fn leave_memory_in_its_file(&mut self) -> anyhow::Result<()> {
        let capability = json!({ "capability": "x-ignore-shared", "state": true });
        self.execute("migrate-set-capabilities", json!({ "capabilities": [capability] })).await.map(drop)
    }

    /// Waits until the migration, out or in, is over, and checks every `pause`.
    pub async fn migrated(&mut self, limit: Duration, pause: Duration) -> anyhow::Result<()> {
        poll::until("a migration's end", limit, pause, async || {
            let answer = self.execute("query-migrate", json!({})).await?;
            match answer["status"].as_str() {
                Some("completed") => Ok(Look::Done(())),
                Some("failed" | "cancelled") => {
                    anyhow::bail!("the migration failed: {}", answer["error-desc"].as_str().unwrap_or("without a word"))
                }
                other => Ok(Look::Waiting(format!("{other:?}"))),
            }
        })
        .await
    }

    async fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        anyhow::ensure!(self.reader.read_line(&mut line).await? > 0, "qemu hung up");
        serde_json::from_str(&line)
            .with_context(|| format!("qemu answered something that is not JSON: {}", line.trim()))
    }
}

fn silent() -> anyhow::Error {
    anyhow::anyhow!("no answer within {PATIENCE:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// Imitates QEMU: greets, then sends one prepared text per line it receives.
    async fn play(listener: UnixListener, answers: Vec<&'static str>) {
        let (reader, mut writer) = listener.accept().await.unwrap().0.into_split();
        let mut lines = BufReader::new(reader).lines();
        writer.write_all(b"{\"QMP\":{\"version\":{},\"capabilities\":[]}}\n").await.unwrap();
        for answer in answers {
            lines.next_line().await.unwrap();
            writer.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn events_are_ignored_and_a_refusal_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        let player = tokio::spawn(play(
            listener,
            vec![
                "{\"return\":{}}\n",
                "{\"event\":\"RESUME\",\"timestamp\":{}}\n{\"return\":{\"status\":\"running\"}}\n",
                "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"The command x has not been found\"}}\n",
            ],
        ));
        let mut qmp = Qmp::connect(&socket).await.unwrap();
        assert_eq!(qmp.execute("query-status", json!({})).await.unwrap()["status"], "running");
        let error = format!("{:#}", qmp.execute("x", json!({})).await.unwrap_err());
        assert_eq!(error, "qemu's x failed: The command x has not been found");
        player.await.unwrap();
        let error = format!("{:#}", qmp.execute("query-status", json!({})).await.unwrap_err());
        assert!(error.starts_with("qemu's query-status failed"), "{error}");
    }

    #[tokio::test]
    async fn a_socket_without_qemu_says_so() {
        let error = Qmp::connect(Path::new("/nowhere/qmp")).await.unwrap_err().to_string();
        assert_eq!(error, "/nowhere/qmp: qemu does not answer");
    }
}
