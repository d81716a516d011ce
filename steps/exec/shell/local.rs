//! Runs commands on this host, as child processes that end with the run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use tokio::io::AsyncWriteExt;

use super::ShellError;
use crate::base::commands;
use crate::exec::command::{Command, Output, Status};

#[derive(Clone, Debug, Default)]
pub struct Local {
    /// The folder in which commands run, by default the current one.
    pub folder: Option<PathBuf>,
}

impl Local {
    pub(super) async fn run(&self, command: &Command) -> Result<Output, ShellError> {
        let started = Instant::now();
        let program = command.argv[0].clone();
        let cannot = |source: std::io::Error| ShellError::Start {
            machine: "host".to_owned(),
            remedy: remedy(&program, &source),
            program: program.clone(),
            source,
        };
        let mut child = spawn(command, self.folder.as_deref()).map_err(cannot)?;
        let mut group = Group(child.id());
        let mut stdin = child.stdin.take();
        let input = command.stdin.clone();
        let feed = async move {
            if let Some(pipe) = stdin.as_mut() {
                // Ignore the error: a program need not read all of its input, and its status shows failures.
                let _ = pipe.write_all(&input).await;
            }
            drop(stdin);
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(command.time_limit, both).await.map_err(|_| ShellError::TimedOut {
            machine: "host".to_owned(),
            line: command.line(),
            limit: command.time_limit,
        })?;
        let output = output.map_err(cannot)?;
        group.0 = None;
        Ok(Output {
            line: command.line(),
            status: status(output.status),
            stdout: output.stdout,
            stderr: output.stderr,
            wall: started.elapsed(),
        })
    }
}

/// A process group that is killed, with all its processes, when its command is abandoned.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(leader) = leader {
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

fn spawn(command: &Command, folder: Option<&Path>) -> std::io::Result<tokio::process::Child> {
    let mut process = tokio::process::Command::new(&command.argv[0]);
    if let Some(folder) = folder {
        process.current_dir(folder);
    }
    process.args(&command.argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // In its own group, the child does not get Ctrl-C from the terminal: the run decides when to end it.
    process.process_group(0);
    if command.clean_env {
        process.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    }
    process.envs(command.env.iter().map(|(name, value)| (name, value)));
    process.spawn()
}

fn status(status: std::process::ExitStatus) -> Status {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(signal) => Status::Signal(signal),
        None => Status::Code(status.code().unwrap_or(-1)),
    }
}

fn remedy(program: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("install {program}: {} does", commands::setup("")),
        _ => "see the error above".to_owned(),
    }
}
