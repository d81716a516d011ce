//! A command works the same with any login shell of the user.

use super::*;
use assay::exec::command::Status;

use crate::sshd::script;

/// Words that shells read in different ways.
const WORDS: [&str; 12] = [
    "it's",
    r"a\b\\",
    r"\'",
    "$HOME `id` $(id)",
    "",
    "=ls",
    "%self",
    "!!",
    "~",
    "{a,b}*?[x]",
    "\"two\nlines\"",
    "(;&|#<>)^",
];

/// Returns a home folder, and a server whose user has this login shell.
fn with_shell(text: &str) -> (UserHome, Sshd) {
    let home = UserHome::new();
    let shell = home.path("shell");
    script(&shell, text);
    let sshd = Sshd::start(&[home.key("id_ed25519")], &format!("ForceCommand {}", shell.display()));
    home.knows(&sshd);
    (home, sshd)
}

/// Asserts that arguments, variables, input, output and exit codes arrive unchanged.
async fn same_in(login_shell: &str) {
    let (home, sshd) = with_shell(login_shell);
    let shell = enter(&home.port(sshd.port)).await;
    let count = shell.read(&Command::new("printf").arg("<%s>\\n").args(WORDS)).await.unwrap();
    assert_eq!(count, WORDS.map(|word| format!("<{word}>\n")).concat(), "{login_shell}");

    let command = Command::new("sh").args(["-c", "printf %s \"$A\"; cat; echo \"on errors\" >&2; exit 7"]);
    let output = shell.run(&command.env("A", "it's \\ $x").stdin("read\n")).await.unwrap();
    assert_eq!(
        (output.text().as_str(), output.errors().as_str()),
        ("it's \\ $xread\n", "on errors\n"),
        "{login_shell}"
    );
    assert_eq!(output.status, Status::Code(7));

    // As any shell reports a signal; 255 is also what `ssh` itself exits with.
    for (program, code) in [("kill -9 $$", 137), ("exit 255", 255), ("no-such-program", 127)] {
        let output = shell.run(&Command::new("sh").args(["-c", program])).await.unwrap();
        assert_eq!(output.status, Status::Code(code), "{login_shell}");
    }
    let output = shell.run(&Command::new("no-such-program")).await.unwrap();
    assert_eq!(output.status, Status::Code(127), "{login_shell}");
    let output = shell.read(&Command::new("env").isolated().env("B", "2")).await.unwrap();
    assert!(output.starts_with("PATH=") && output.ends_with("\nB=2\n"), "{output}");
}

#[tokio::test]
async fn commands_are_the_same_through_every_shell() {
    for shell in ["bash", "dash", "zsh", "fish"] {
        same_in(&format!("#!/bin/sh\nexec {shell} -c \"$SSH_ORIGINAL_COMMAND\"\n")).await;
    }
}

#[tokio::test]
async fn what_start_up_files_print_is_not_the_commands() {
    let greeting = "printf 'Welcome to the farm'; echo 'it is noon' >&2";
    for options in ["-c", "-vxc"] {
        same_in(&format!("#!/bin/bash\n{greeting}\nexec bash {options} \"$SSH_ORIGINAL_COMMAND\"\n")).await;
    }
}

#[tokio::test]
async fn a_file_is_put_and_got_whatever_is_printed_before() {
    let (home, sshd) = with_shell("#!/bin/sh\necho hello\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n");
    let shell = enter(&home.port(sshd.port)).await;
    let path = home.path("it's here/file").display().to_string();
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    shell.put(&path, bytes.clone()).await.unwrap();
    assert!(shell.get(&path).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_command_that_is_given_up_or_cut_off_runs_no_more() {
    let limit = std::time::Duration::from_secs(1);
    for (login_shell, script, limit, words) in [
        ("", "exec sleep 600", limit, "did not end within 1s"),
        (
            "ForceCommand bash -c \"$SSH_ORIGINAL_COMMAND\"",
            "trap '' PIPE; yes; sleep 600",
            60 * limit,
            "printed more than",
        ),
    ] {
        let (home, _sshd, shell) = UserHome::entered(login_shell).await;
        let file = home.path("pid").display().to_string();
        let command = Command::new("sh").args(["-c", &format!("echo $$ > {file}; {script}")]);
        let error = shell.run(&command.time_limit(limit)).await.unwrap_err();
        assert_says(&error.to_string(), &[words]);
        prints(&shell, &format!("while kill -0 $(cat {file}) 2>/dev/null; do sleep 0.1; done")).await;
    }
}
