//! Which keys a machine accepts, and what is reported if it accepts none.

use std::fs;
use std::process::Command;

use super::*;
use crate::sshd::{Daemon, fingerprint, said};

#[tokio::test]
async fn keys_of_every_usual_kind_open() {
    for (name, kind) in [("id_ed25519", "ed25519"), ("id_ecdsa", "ecdsa"), ("id_rsa", "rsa")] {
        let home = Home::new();
        let sshd = Sshd::start(&[new_key(&home.path(name), kind, "")], "");
        home.knows(&sshd);
        enter(&home.port(sshd.port)).await;
    }
}

#[tokio::test]
async fn a_key_that_is_refused_is_named_with_the_command_that_installs_it() {
    let home = Home::new();
    home.key("id_ed25519");
    let sshd = Sshd::start(&[home.key("other")], "");
    home.knows(&sshd);
    let error = refusal(&home.port(sshd.port)).await;
    let file = home.path("id_ed25519").display().to_string();
    assert_says(&error, &[&format!("does not let user {} in: it refuses ssh-ed25519", me())]);
    assert_says(&error, &[&format!("{} ({file})", fingerprint(&home.path("id_ed25519")))]);
    assert_says(&error, &[&format!("`ssh-copy-id -i {file}.pub -p {} {}@127.0.0.1`", sshd.port, me())]);
}

#[tokio::test]
async fn a_user_that_is_not_there_is_named() {
    let (home, sshd) = Home::with_server("");
    let error = refusal(&SshDestination { user: "nobody-of-that-name".into(), ..home.port(sshd.port) }).await;
    assert_says(&error, &["does not let user nobody-of-that-name in", "is it the right user?"]);
}

#[tokio::test]
async fn a_user_without_any_key_is_told_where_one_was_looked_for() {
    let home = Home::new();
    let sshd = Sshd::start(&[], "");
    home.knows(&sshd);
    let error = refusal(&home.port(sshd.port)).await;
    let looked = home.path("id_ed25519").display().to_string();
    assert_says(&error, &["there is no agent", &looked, "`ssh-keygen -t ed25519` makes a key"]);
}

#[tokio::test]
async fn a_key_with_a_passphrase_wants_the_agent_and_opens_with_it() {
    let home = Home::new();
    let file = home.path("id_ed25519");
    let sshd = Sshd::start(&[new_key(&file, "ed25519", "open sesame")], "");
    home.knows(&sshd);
    let error = refusal(&home.port(sshd.port)).await;
    let add = format!("{0} has a passphrase: add it to the agent with `ssh-add {0}`", file.display());
    assert_says(&error, &[&add]);
    assert!(!error.contains("ssh-copy-id"), "it may be installed already: {error}");

    let (agent, _running) = agent(&home);
    said(Command::new("ssh-keygen").args(["-q", "-p", "-P", "open sesame", "-N", "", "-f"]).arg(&file));
    said(Command::new("ssh-add").arg(&file).env("SSH_AUTH_SOCK", &agent));
    fs::remove_file(&file).unwrap();
    let by_agent = SshDestination { agent: Some(agent), ..home.port(sshd.port) };
    enter(&by_agent).await;
}

#[tokio::test]
async fn with_identities_only_the_agents_other_keys_are_left_alone() {
    let home = Home::new();
    let sshd = Sshd::start(&[home.key("other")], "");
    home.knows(&sshd);
    let (agent, _running) = agent(&home);
    said(Command::new("ssh-add").arg(home.path("other")).env("SSH_AUTH_SOCK", &agent));
    let entrance = SshDestination { agent: Some(agent), ..home.port(sshd.port) };
    enter(&entrance).await;
    home.key("mine");
    home.append("config", &format!("Host *\n  IdentitiesOnly yes\n  IdentityFile {}\n", home.path("mine").display()));
    let error = refusal(&entrance).await;
    assert!(!error.contains(&fingerprint(&home.path("other"))), "{error}");
    assert_says(&error, &[&fingerprint(&home.path("mine"))]);
}

#[tokio::test]
async fn an_agent_that_is_gone_is_told() {
    let home = Home::new();
    let sshd = Sshd::start(&[], "");
    home.knows(&sshd);
    let agent = home.path("gone");
    let error = refusal(&SshDestination { agent: Some(agent.clone()), ..home.port(sshd.port) }).await;
    assert_says(&error, &[&format!("the agent at {} does not answer", agent.display()), "start it anew"]);
}

#[tokio::test]
async fn a_server_that_hangs_up_after_too_many_keys_is_told_with_how_to_choose_one() {
    let (home, sshd) = many_keys(3, "MaxAuthTries 2");
    let error = refusal(&home.port(sshd.port)).await;
    assert_says(
        &error,
        &["it hung up (\"Too many authentication failures\") at key 2 of 3", "MaxAuthTries", "IdentitiesOnly yes"],
    );
}

#[tokio::test]
async fn no_more_keys_are_tried_than_servers_usually_allow() {
    let (home, sshd) = many_keys(8, "MaxAuthTries 20");
    let error = refusal(&home.port(sshd.port)).await;
    assert_says(
        &error,
        &["2 more keys were not tried, because servers hang up after 6 (MaxAuthTries)", "IdentitiesOnly"],
    );
}

#[tokio::test]
async fn a_server_that_takes_no_keys_is_told() {
    let (home, sshd) = Home::with_server("PubkeyAuthentication no\nPasswordAuthentication yes");
    let error = refusal(&home.port(sshd.port)).await;
    assert_says(&error, &["it takes password only", "PubkeyAuthentication yes"]);
}

#[tokio::test]
async fn a_server_that_wants_more_than_a_key_is_told() {
    let (home, sshd) = Home::with_server("PasswordAuthentication yes\nAuthenticationMethods publickey,password");
    let error = refusal(&home.port(sshd.port)).await;
    assert_says(&error, &["it accepts the key ssh-ed25519", "and then wants password, which a program cannot give"]);
}

#[tokio::test]
async fn a_certificate_in_the_agent_opens() {
    let home = Home::new();
    let authority = home.key("authority");
    home.key("certified");
    let sign =
        ["-q", "-s", &home.path("authority").display().to_string(), "-I", "test", "-n", &me()].map(str::to_owned);
    said(Command::new("ssh-keygen").args(sign).arg(home.path("certified.pub")));
    home.append("authorities", &authority);
    let sshd = Sshd::start(&[], &format!("TrustedUserCAKeys {}", home.path("authorities").display()));
    home.knows(&sshd);
    let (agent, _running) = agent(&home);
    said(Command::new("ssh-add").arg(home.path("certified")).env("SSH_AUTH_SOCK", &agent));
    enter(&SshDestination { agent: Some(agent), ..home.port(sshd.port) }).await;
}

/// Returns a home with this many keys that a server does not accept.
fn many_keys(number: usize, lines: &str) -> (Home, Sshd) {
    let home = Home::new();
    for key in 0..number {
        home.key(&format!("key{key}"));
        home.append("config", &format!("IdentityFile {}\n", home.path(&format!("key{key}")).display()));
    }
    let sshd = Sshd::start(&[], lines);
    home.knows(&sshd);
    (home, sshd)
}

/// Starts an agent for one test; returns its socket and the program.
fn agent(home: &Home) -> (PathBuf, Daemon) {
    let socket = home.path("agent");
    let daemon =
        Daemon::start(Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(std::process::Stdio::null()));
    while !socket.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    (socket, daemon)
}
