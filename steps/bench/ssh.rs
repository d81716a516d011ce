//! Measures what a command costs over SSH: on an open connection, as on machines of our own, and by OpenSSH's `ssh`,
//! started for each command, with its own connection or with the one that another `ssh` holds (`ControlMaster`), as on
//! remote machines.
//!
//! All three talk to the same server, on loopback and in this process, which runs nothing: only the round trip is
//! measured. This favours a fresh connection, because a real `sshd` starts processes and a session for each.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
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
    let config = configure(folder.path(), &text, &server)?;
    let master = ssh(&config, &["-o", "ControlMaster=yes", "-N"], &[]).time_limit(Duration::from_secs(600));
    // The shared connection is closed when the future that waits for it is dropped.
    tokio::select! {
        ended = host.run(&master) => bail!("the ssh that shares its connection ended: {}", ended?.errors().trim()),
        cost = rounds_of(rounds, &host, &held, &config) => cost,
    }
}

async fn rounds_of(rounds: usize, host: &Shell, held: &Shell, config: &str) -> anyhow::Result<BenchResult> {
    let check = ssh(config, &["-O", "check"], &[]);
    let ready = async || {
        let output = host.run(&check).await?;
        Ok::<_, anyhow::Error>(match output.succeeded() {
            true => Look::Done(()),
            false => Look::Waiting(output.errors().trim().to_owned()),
        })
    };
    poll::until("a connection to share", Duration::from_secs(60), Duration::from_millis(50), ready).await?;
    let direct = Command::new("echo").arg("hello");
    let fresh = ssh(config, &["-o", "ControlPath=none"], &["echo", "hello"]);
    let shared = ssh(config, &[], &["echo", "hello"]);
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

/// Writes the configuration that alone sets the user, the key, and the host key that `ssh` accepts.
fn configure(folder: &Path, key: &str, server: &Server) -> anyhow::Result<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let [identity, known, control, config] = ["key", "known_hosts", "control", "config"].map(path);
    fs::write(&identity, key)?;
    // ssh rejects a key that others may read.
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o600))?;
    fs::write(&known, server.known_host()?)?;
    let settings = format!(
        "User assay\nPort {}\nIdentityFile {identity}\nUserKnownHostsFile {known}\nControlPath {control}\n\
         IdentitiesOnly yes\nStrictHostKeyChecking yes\nBatchMode yes\n",
        server.port()
    );
    fs::write(&config, settings)?;
    Ok(config)
}

fn ssh(config: &str, options: &[&str], remote: &[&str]) -> Command {
    Command::new("ssh").args(["-F", config]).args(options.iter().copied()).arg("127.0.0.1").args(remote.iter().copied())
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
