//! Runs what needs root: as it is for root, else by sudo.

use std::io::IsTerminal as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::base::progress::Progress;
use crate::exec::command::tail;

/// How often sudo is asked to remember the password: it forgets it after five minutes on some systems.
const REMEMBER: Duration = Duration::from_secs(60);

/// Returns the words of a command that runs as root. For sudo not to ask for a password, [`obtain`] comes first.
pub fn words(argv: &[&str]) -> Vec<String> {
    let sudo: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["sudo", "-n"] };
    sudo.iter().chain(argv).map(|word| (*word).to_owned()).collect()
}

pub fn command(argv: &[&str]) -> Command {
    let words = words(argv);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

/// Makes sure that commands can run as root from now on; sudo may ask for a password on a terminal, and says `why`.
pub fn obtain(why: &str, progress: &Progress) -> anyhow::Result<()> {
    let remedy = "use --target vm, run as root, or let sudo run without a password";
    let tried = command(&["true"]).output();
    let tried = tried.map_err(|error| anyhow::anyhow!("{why} sudo cannot be run: {error}; {remedy}"))?;
    if tried.status.success() {
        return Ok(());
    }
    let refused = tail(&String::from_utf8_lossy(&tried.stderr), 1);
    if std::io::stdin().is_terminal() {
        progress.note(why);
        let asked = Command::new("sudo").arg("--validate").status().context("sudo cannot be run")?;
        ensure!(asked.success(), "{why} sudo refuses: {remedy}");
        std::thread::spawn(|| {
            while Command::new("sudo").args(["-n", "--validate"]).stdin(Stdio::null()).output().is_ok() {
                std::thread::sleep(REMEMBER);
            }
        });
        return Ok(());
    }
    anyhow::bail!("{why} This user is not root, and sudo refuses: {refused}; {remedy}")
}
