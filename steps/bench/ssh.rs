//! Measures what a command costs over SSH: on an open connection, as on machines of our own, and by OpenSSH's `ssh`,
//! started for each command, with its own connection or with the one that another `ssh` holds (`ControlMaster`), as on
//! remote machines.
//!
//! All three talk to the same server, on loopback and in this process, which runs nothing: only the round trip is
//! measured. This favours a fresh connection, because a real `sshd` starts processes and a session for each.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use super::{BenchResult, format, summary};
use assay::base::poll::{self, Look};
use assay::base::progress::Progress;
use assay::base::unit::Unit;
use assay::base::{commands, programs};
use assay::exec::command::{Command, Output};
use assay::exec::shell::{NoopObserver, Reply, Server, Shell, Ssh, new_key};

const HELLO: &str = "echo hello";

pub async fn measure(rounds: usize, progress: &Progress) -> anyhow::Result<BenchResult> {
    let host = Shell::local(Arc::new(NoopObserver));
    programs::need("ssh", &commands::setup("ssh://user@host"))?;
    progress.note(format!("ssh: {rounds} commands in each of three ways"));
    let (key, text) = new_key("bench")?;
    let answer = |line: &str| match line {
        HELLO => Reply::Ends(0, b"hello\n".to_vec()),
        _ => Reply::Ends(127, Vec::new()),
    };
    let server = Server::start(&key, Arc::new(answer)).await?;
    let held = Shell::ssh(Ssh::connect(&server.login("loopback", &key)).await?, Arc::new(NoopObserver));
    let folder = tempfile::tempdir().context("no folder can be made for a key")?;
    let client = Client::new(folder.path(), &text, &server)?;
    let master = client.command(&["-o", "ControlMaster=yes", "-N"], &[]).time_limit(Duration::from_secs(600));
    // The shared connection is closed when the future that waits for it is dropped.
    tokio::select! {
        ended = host.run(&master) => bail!("the ssh that shares its connection ended: {}", ended?.errors().trim()),
        cost = rounds_of(rounds, &host, &held, &client) => cost,
    }
}

async fn rounds_of(rounds: usize, host: &Shell, held: &Shell, client: &Client) -> anyhow::Result<BenchResult> {
    let check = client.command(&["-O", "check"], &[]);
    let ready = async || {
        let output = host.run(&check).await?;
        Ok::<_, anyhow::Error>(match output.succeeded() {
            true => Look::Done(()),
            false => Look::Waiting(output.errors().trim().to_owned()),
        })
    };
    poll::until("a connection to share", Duration::from_secs(60), Duration::from_millis(50), ready).await?;
    let direct = Command::new("echo").arg("hello");
    let fresh = client.command(&["-o", "ControlPath=none"], &["echo", "hello"]);
    let shared = client.command(&[], &["echo", "hello"]);
    let mut seconds = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        for (way, (shell, command)) in [(held, &direct), (host, &fresh), (host, &shared)].into_iter().enumerate() {
            seconds[way].push(answered(shell.run(command).await?)?);
        }
    }
    let [held, spawned, shared] = &seconds;
    let (held, spawned, shared) = (summary(held)?, summary(spawned)?, summary(shared)?);
    let [times_spawned, times_shared] = [&spawned, &shared].map(|way| Unit::Times.format(way.median / held.median));
    let [took, took_spawned, took_shared] = [&held, &spawned, &shared].map(format);
    Ok(BenchResult {
        line: format!(
            "ssh: a command over the held connection takes {took}; by a fresh ssh {took_spawned}, {times_spawned} of that; by \
             ssh with ControlMaster {took_shared}, {times_shared}"
        ),
        numbers: json!({
            "ssh_held_ms": held.median * 1e3, "ssh_spawn_ms": spawned.median * 1e3, "ssh_control_ms": shared.median * 1e3,
        }),
    })
}

/// Returns how long it took, if the answer is right.
fn answered(output: Output) -> anyhow::Result<f64> {
    let seconds = output.wall.as_secs_f64();
    let text = output.success()?.text();
    ensure!(text == "hello\n", "{HELLO} was answered by {text:?}");
    Ok(seconds)
}

/// OpenSSH's `ssh`; its command line alone sets the destination, the user, and the host key to accept.
struct Client {
    options: Vec<String>,
}

impl Client {
    fn new(folder: &Path, key: &str, server: &Server) -> anyhow::Result<Client> {
        let (identity, known) = (folder.join("key"), folder.join("known_hosts"));
        // ssh rejects a key that others may read.
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&identity)?;
        file.write_all(key.as_bytes())?;
        fs::write(&known, server.known_host()?)?;
        let settings = [
            format!("IdentityFile={}", identity.display()),
            format!("UserKnownHostsFile={}", known.display()),
            format!("ControlPath={}", folder.join("control").display()),
            format!("Port={}", server.port()),
        ];
        let fixed =
            ["IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "BatchMode=yes", "User=assay"].map(str::to_owned);
        let options = settings.into_iter().chain(fixed).flat_map(|setting| ["-o".to_owned(), setting]);
        Ok(Client { options: ["-F".to_owned(), "none".to_owned()].into_iter().chain(options).collect() })
    }

    /// If an option is given twice, ssh uses the first.
    fn command(&self, options: &[&str], remote: &[&str]) -> Command {
        let command = Command::new("ssh").args(options.iter().copied()).args(self.options.iter().cloned());
        command.arg("127.0.0.1").args(remote.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn all_three_ways_are_answered() {
        let BenchResult { line, numbers } = measure(2, &Progress::to(|_| ())).await.unwrap();
        let milliseconds = ["ssh_held_ms", "ssh_spawn_ms", "ssh_control_ms"].map(|name| numbers[name].as_f64());
        assert!(milliseconds.into_iter().all(|time| time.unwrap() > 0.0), "{line}");
    }

    #[test]
    fn a_wrong_answer_is_no_measurement() {
        let output = |stdout: &str| Output {
            line: HELLO.into(),
            status: assay::exec::command::Status::Code(0),
            stdout: stdout.into(),
            stderr: Vec::new(),
            wall: Duration::from_millis(250),
        };
        assert_eq!(answered(output("hello\n")).unwrap(), 0.25);
        assert_eq!(answered(output("")).unwrap_err().to_string(), "echo hello was answered by \"\"");
    }
}
