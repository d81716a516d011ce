//! Whether anything listens there, and whether it is the right machine.

use std::net::TcpListener;
use std::process::Command;

use super::*;
use crate::sshd::{fingerprint, output_of};

/// The kinds of host keys that OpenSSH makes.
const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

#[tokio::test]
async fn a_port_that_nothing_listens_on_is_reported_with_what_to_look_at() {
    let home = UserHome::new();
    let error = refusal(&home.port(CLOSED)).await;
    let start = format!("{}@127.0.0.1:{CLOSED}: no SSH connection to 127.0.0.1:{CLOSED}: ", me());
    assert_says(&error, &[&start, "Connection refused", "is sshd running there, and is that its port?"]);
}

#[tokio::test]
async fn a_port_that_takes_connections_and_says_nothing_is_given_up() {
    let home = UserHome::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    home.append("config", "Host *\n  ConnectTimeout 1\n");
    let error = refusal(&home.port(listener.local_addr().unwrap().port())).await;
    assert_says(&error, &["timed out during banner exchange", "but says nothing that an SSH server would"]);
}

#[tokio::test]
async fn a_server_of_something_else_or_that_hangs_up_is_reported() {
    for (sent, words) in [
        ("HTTP/1.0 400 Bad Request\r\n\r\n", "what answers there is not an SSH server: is it the right port?"),
        ("", "it hung up before its key was seen: does it turn this host away (MaxStartups, "),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            use std::io::Write as _;
            let _ = listener.accept().unwrap().0.write_all(sent.as_bytes());
        });
        assert_says(&refusal(&UserHome::new().port(port)).await, &[words]);
        server.join().unwrap();
    }
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_with_both_ways_to_accept_it() {
    let home = UserHome::new();
    let sshd = Sshd::start(&[home.key("id_ed25519")], "LogLevel VERBOSE");
    // What the user accepts by hand does not count.
    home.append("config", "Host *\n  StrictHostKeyChecking no\n");
    let shown = fingerprint(&sshd.host_key("ed25519"));
    let error = refusal(&home.port(sshd.port)).await;
    let key = format!("127.0.0.1:{} shows the key ssh-ed25519 {shown}, which no known_hosts file has", sshd.port);
    let by_hand = format!("`ssh -p {} {}@127.0.0.1 true`, once", sshd.port, me());
    assert_says(&error, &[&key, "nothing was sent to it", &format!("with `--host-key {shown}` or by {by_hand}")]);
    assert!(!sshd.log().contains("publickey"), "a key was shown: {}", sshd.log());
    assert!(!home.path("known_hosts").exists());
    home.knows(&sshd);
    let shell = enter(&home.port(sshd.port)).await;
    assert_eq!(shell.machine(), format!("{}@127.0.0.1:{}", me(), sshd.port));
}

#[tokio::test]
async fn a_fingerprint_that_was_given_is_found_among_the_keys_of_the_host() {
    let home = UserHome::new();
    let sshd = Sshd::with_keys(&KINDS, &[home.key("id_ed25519")], "");
    for kind in KINDS {
        let host_key = Some(fingerprint(&sshd.host_key(kind)));
        let shell = enter(&SshDestination { host_key, ..home.port(sshd.port) }).await;
        assert_eq!(prints(&shell, "echo in").await, "in\n");
    }
}

#[tokio::test]
async fn a_fingerprint_that_no_key_has_is_refused_with_those_that_were_shown() {
    let home = UserHome::new();
    let sshd = Sshd::with_keys(&KINDS, &[home.key("id_ed25519")], "LogLevel VERBOSE");
    // Neither what is known nor what the user passes over counts.
    home.knows(&sshd);
    home.append("config", "Host *\n  NoHostAuthenticationForLocalhost yes\n");
    let given = fingerprint(&home.path("id_ed25519"));
    let error = refusal(&SshDestination { host_key: Some(given.clone()), ..home.port(sshd.port) }).await;
    let [one, two, three] = KINDS.map(|kind| fingerprint(&sshd.host_key(kind)));
    assert_says(&error, &[&one, &two, &three, &format!("but --host-key names {given}"), "nothing was sent to it"]);
    assert!(!sshd.log().contains("publickey"), "a key was shown: {}", sshd.log());
}

#[tokio::test]
async fn a_changed_host_key_is_refused_with_the_line_that_has_the_old_one() {
    let home = UserHome::new();
    let sshd = Sshd::start(&[home.key("id_ed25519")], "");
    let other = home.key("other");
    home.append("known_hosts", &format!("# mine\n[127.0.0.1]:{} {other}\n", sshd.port));
    let error = refusal(&home.port(sshd.port)).await;
    let file = home.path("known_hosts").display().to_string();
    assert_says(&error, &[&format!("{file}, line 2, has another key for it"), "nothing was sent to it"]);
    let forget = format!("ssh-keygen -R '[127.0.0.1]:{}' -f {file}", sshd.port);
    assert_says(&error, &[&forget, &fingerprint(&sshd.host_key("ed25519"))]);
    let given = Some(fingerprint(&sshd.host_key("ed25519")));
    enter(&SshDestination { host_key: given, ..home.port(sshd.port) }).await;
    output_of(Command::new("sh").args(["-c", &forget]));
    assert_says(&refusal(&home.port(sshd.port)).await, &["which no known_hosts file has"]);
}

#[tokio::test]
async fn a_revoked_host_key_is_refused_even_if_it_was_given() {
    let (home, sshd) = UserHome::with_server("");
    home.append("known_hosts", &format!("@revoked {}", sshd.known_line("ed25519")));
    let host_key = Some(fingerprint(&sshd.host_key("ed25519")));
    for destination in [home.port(sshd.port), SshDestination { host_key, ..home.port(sshd.port) }] {
        assert_says(&refusal(&destination).await, &["which is revoked", "nothing was sent to it"]);
    }
}
