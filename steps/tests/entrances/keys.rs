//! Which keys a machine accepts, and what is reported if it accepts none.

use std::fs;
use std::process::Command;

use super::*;
use crate::sshd::{Daemon, fingerprint, output_of};

#[tokio::test]
async fn a_key_that_is_refused_is_named_with_the_command_that_installs_it() {
    let home = UserHome::new();
    home.key("id_ed25519");
    let sshd = Sshd::start(&[home.key("other")], "");
    home.knows(&sshd);
    let error = refusal(&home.port(sshd.port)).await;
    let (file, fingerprint) = (home.path("id_ed25519").display().to_string(), fingerprint(&home.path("id_ed25519")));
    assert_says(&error, &[&format!("does not let user {} in: it refuses {file} ED25519 {fingerprint}", me())]);
    assert_says(&error, &[&format!("`ssh-copy-id -i {file} -p {} {}@127.0.0.1`", sshd.port, me())]);
}

#[tokio::test]
async fn a_user_or_a_server_that_accepts_no_key_is_reported() {
    for (user, lines, words) in [
        ("nobody-of-that-name", "", ["does not let user nobody-of-that-name in", "is it the right user?"]),
        (
            &me(),
            "PubkeyAuthentication no\nPasswordAuthentication yes",
            ["Permission denied (password)", "it takes no keys: set `PubkeyAuthentication yes`"],
        ),
        (
            &me(),
            "PasswordAuthentication yes\nAuthenticationMethods publickey,password",
            ["it accepts the key, and then wants more than a program can give", "(password)"],
        ),
    ] {
        let (home, sshd) = UserHome::with_server(lines);
        assert_says(&refusal(&SshDestination { user: user.into(), ..home.port(sshd.port) }).await, &words);
    }
}

#[tokio::test]
async fn a_key_with_a_passphrase_wants_the_agent_and_opens_with_it() {
    let home = UserHome::new();
    let file = home.path("id_ed25519");
    let sshd = Sshd::start(&[new_key(&file, "ed25519", "open sesame")], "");
    home.knows(&sshd);
    let error = refusal(&home.port(sshd.port)).await;
    let add =
        format!("it accepts {0}: if that has a passphrase, add it to the agent with `ssh-add {0}`", file.display());
    assert_says(&error, &[&add]);
    assert!(!error.contains("ssh-copy-id"), "it may be installed already: {error}");

    let (agent, _running) = agent(&home);
    output_of(Command::new("ssh-keygen").args(["-q", "-p", "-P", "open sesame", "-N", "", "-f"]).arg(&file));
    output_of(Command::new("ssh-add").arg(&file).env("SSH_AUTH_SOCK", &agent));
    fs::remove_file(&file).unwrap();
    let by_agent = SshDestination { agent: Some(agent), ..home.port(sshd.port) };
    enter(&by_agent).await;
}

#[tokio::test]
async fn a_user_without_any_key_learns_how_to_make_one_and_of_an_agent_that_is_dead() {
    let home = UserHome::new();
    let sshd = Sshd::start(&[], "");
    home.knows(&sshd);
    let error = refusal(&home.port(sshd.port)).await;
    assert_says(&error, &["there is no key to offer; `ssh-keygen -t ed25519` makes a key", "`ssh-copy-id "]);
    let error = refusal(&SshDestination { agent: Some(home.path("gone")), ..home.port(sshd.port) }).await;
    assert_says(&error, &["the agent does not answer: start it anew"]);
}

#[tokio::test]
async fn a_server_that_hangs_up_after_too_many_keys_is_reported_with_how_to_choose_one() {
    let home = UserHome::new();
    for key in 0..3 {
        home.key(&format!("key{key}"));
        home.append("config", &format!("IdentityFile {}\n", home.path(&format!("key{key}")).display()));
    }
    let sshd = Sshd::start(&[], "MaxAuthTries 2");
    home.knows(&sshd);
    let error = refusal(&home.port(sshd.port)).await;
    assert_says(
        &error,
        &["it hung up at key 2 (MaxAuthTries)", "IdentitiesOnly yes", "Too many authentication failures"],
    );
}

/// Starts an agent for one test; returns its socket and the program.
fn agent(home: &UserHome) -> (PathBuf, Daemon) {
    let socket = home.path("agent");
    let daemon =
        Daemon::start(Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(std::process::Stdio::null()));
    while !socket.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    (socket, daemon)
}
