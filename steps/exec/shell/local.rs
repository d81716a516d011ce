//! Runs commands on this host, as child processes that end with the run.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::{OUTPUT_LIMIT, Printed, ShellError};
use crate::base::commands;
use crate::exec::command::{Command, Output, Status};

const HOST: &str = "host";

#[derive(Clone, Debug, Default)]
pub struct Local {
    /// The folder in which commands run, by default the current one.
    pub folder: Option<PathBuf>,
}

impl Local {
    pub(super) async fn run(&self, command: &Command) -> Result<Output, ShellError> {
        let started = Instant::now();
        let line = command.line();
        let mut printed = Printed::default();
        let status = self.follow(command, HOST, &line, &mut printed).await?;
        Ok(printed.output(line, status, started))
    }

    /// Runs a command to its end. Errors name this machine and this line. What was printed until then is in `printed`,
    /// also after an error.
    pub(super) async fn follow(
        &self,
        command: &Command,
        machine: &str,
        line: &str,
        printed: &mut Printed,
    ) -> Result<Status, ShellError> {
        let program = &command.argv[0];
        let cannot = |source: io::Error| ShellError::Start {
            machine: HOST.to_owned(),
            remedy: remedy(program, &source),
            program: program.clone(),
            source,
        };
        let (machine, line) = (machine.to_owned(), line.to_owned());
        let mut child = spawn(command, self.folder.as_deref()).map_err(cannot)?;
        let mut group = Group(child.id());
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut pipe) = stdin {
                // Ignore the error: a program need not read all of its input, and its status shows failures.
                let _ = pipe.write_all(&command.stdin).await;
            }
            Ok::<_, io::Error>(())
        };
        let (out, err) = (&mut printed.stdout, &mut printed.stderr);
        let ended = async { tokio::try_join!(feed, collect(stdout, out), collect(stderr, err), child.wait()) };
        let (.., status) = match tokio::time::timeout(command.time_limit, ended).await {
            Err(_) => return Err(ShellError::TimedOut { machine, line, limit: command.time_limit }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(ShellError::TooMuch { machine, line });
            }
            Ok(ended) => ended.map_err(cannot)?,
        };
        group.0 = None;
        Ok(status.into())
    }
}

/// Reads all that a program prints, at most one byte more than the limit.
async fn collect(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> io::Result<()> {
    if let Some(pipe) = pipe {
        pipe.take(OUTPUT_LIMIT as u64 + 1).read_to_end(into).await?;
    }
    match into.len() > OUTPUT_LIMIT {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(()),
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

fn spawn(command: &Command, folder: Option<&Path>) -> io::Result<tokio::process::Child> {
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

fn remedy(program: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("install {program}: {} does", commands::setup("")),
        _ => "see the error above".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn output_without_end_is_cut_off_and_its_program_ended() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local { folder: Some(folder.path().to_owned()) };
        let flood = Command::new("sh").args(["-c", "echo $$ >pid; trap '' PIPE; exec yes"]);
        let error = local.run(&flood).await.unwrap_err().to_string();
        assert!(error.contains("printed more than 64 MiB, and was cut off: have it print less"), "{error}");
        let gone = Command::new("sh").args(["-c", "while kill -0 $(cat pid) 2>/dev/null; do sleep 0.05; done"]);
        assert!(local.run(&gone.time_limit(Duration::from_secs(20))).await.unwrap().succeeded());
    }
}
