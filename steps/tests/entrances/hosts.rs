//! Whether anything listens there, and whether it is the right machine.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use super::*;
use crate::sshd::{fingerprint, said};

/// The kinds of host keys that OpenSSH makes.
const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

#[tokio::test]
async fn a_port_that_nothing_listens_on_is_told_with_what_to_look_at() {
    let home = Home::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refusal(&home.port(port)).await;
    let start =
        format!("{}@127.0.0.1:{port}: no SSH connection to 127.0.0.1:{port}: nothing listens on port {port}", me());
    assert_says(&error, &[&start, "is sshd running there, and is that its port?"]);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_told_with_where_to_put_it() {
    let error = refusal(&Home::new().alias("nowhere.invalid")).await;
    assert_says(&error, &["nowhere.invalid:22", "the name is not known here", "HostName in ~/.ssh/config"]);
}

#[tokio::test]
async fn a_port_that_takes_connections_and_says_nothing_is_given_up() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    home.append("config", "Host *\n  ConnectTimeout 1\n");
    let error = refusal(&home.port(listener.local_addr().unwrap().port())).await;
    assert_says(&error, &["it takes connections, but says nothing that an SSH server would within 1s"]);
}

#[tokio::test]
async fn what_is_no_ssh_server_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let web = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut client, _) = listener.accept().unwrap();
        let _ = client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n".repeat(400).as_slice());
    });
    let error = refusal(&Home::new().port(port)).await;
    web.join().unwrap();
    assert_says(&error, &["what answers there is no SSH server: is it the right port?"]);
}

#[tokio::test]
async fn a_machine_is_entered_with_what_the_users_folder_has() {
    let (home, sshd) = Home::with_server("");
    let shell = enter(&home.port(sshd.port)).await;
    assert_eq!(shell.machine(), format!("{}@127.0.0.1:{}", me(), sshd.port));
    assert_eq!(prints(&shell, "id -un").await.trim(), me());
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_with_both_ways_to_accept_it() {
    let home = Home::new();
    let sshd = Sshd::start(&[home.key("id_ed25519")], "LogLevel VERBOSE");
    let shown = fingerprint(&sshd.host_key("ed25519"));
    let error = refusal(&home.port(sshd.port)).await;
    let key = format!("the key ssh-ed25519 {shown}, which nothing here vouches for: nothing was sent to it");
    let scan = format!("`ssh-keyscan -p {} 127.0.0.1 >> ~/.ssh/known_hosts`", sshd.port);
    assert_says(&error, &[&key, &format!("with `--host-key {shown}` or with {scan}")]);
    assert!(!sshd.log().contains("publickey"), "a key was shown: {}", sshd.log());
    fs::write(
        home.path("known_hosts"),
        said(Command::new("ssh-keyscan").args(["-p", &sshd.port.to_string(), "127.0.0.1"])),
    )
    .unwrap();
    enter(&home.port(sshd.port)).await;
}

#[tokio::test]
async fn a_fingerprint_that_was_given_is_found_among_the_keys_of_the_host() {
    let home = Home::new();
    let sshd = Sshd::with_keys(&KINDS, &[home.key("id_ed25519")], "");
    for kind in KINDS {
        let host_key = Some(fingerprint(&sshd.host_key(kind)));
        let shell = enter(&SshDestination { host_key, ..home.port(sshd.port) }).await;
        assert_eq!(prints(&shell, "echo in").await, "in\n");
    }
}

#[tokio::test]
async fn a_fingerprint_that_no_key_has_is_refused_with_those_that_were_shown() {
    let home = Home::new();
    let sshd = Sshd::with_keys(&KINDS, &[home.key("id_ed25519")], "");
    let given = fingerprint(&home.path("id_ed25519"));
    let error = refusal(&SshDestination { host_key: Some(given.clone()), ..home.port(sshd.port) }).await;
    let [one, two, three] = KINDS.map(|kind| fingerprint(&sshd.host_key(kind)));
    assert_says(&error, &[&one, &two, &three, &format!("but --host-key names {given}"), "nothing was sent to it"]);
}

#[tokio::test]
async fn a_malformed_fingerprint_is_a_mistake_of_usage() {
    let error = refusal(&SshDestination { host_key: Some("SHA256:abc".into()), ..Home::new().port(1) }).await;
    assert_says(&error, &["--host-key SHA256:abc is not a fingerprint: give SHA256: and 43 characters", "for example"]);
}

#[tokio::test]
async fn a_changed_host_key_is_refused_with_the_line_that_has_the_old_one() {
    let home = Home::new();
    let sshd = Sshd::start(&[home.key("id_ed25519")], "");
    let other = home.key("other");
    home.append("known_hosts", &format!("# mine\n[127.0.0.1]:{} {other}\n", sshd.port));
    let error = refusal(&home.port(sshd.port)).await;
    let file = home.path("known_hosts").display().to_string();
    assert_says(&error, &[&format!("{file}, line 2, has another key for it"), "nothing was sent to it"]);
    let forget = format!("ssh-keygen -R '[127.0.0.1]:{}' -f {file}", sshd.port);
    assert_says(&error, &[&forget, &fingerprint(&sshd.host_key("ed25519"))]);
    said(Command::new("sh").args(["-c", &forget]));
    assert_says(&refusal(&home.port(sshd.port)).await, &["nothing here vouches for"]);
}

#[tokio::test]
async fn a_host_is_asked_for_the_kind_of_key_that_is_known() {
    let home = Home::new();
    let sshd = Sshd::with_keys(&KINDS, &[home.key("id_ed25519")], "");
    for kind in ["ecdsa", "rsa"] {
        fs::write(home.path("known_hosts"), sshd.known_line(kind)).unwrap();
        enter(&home.port(sshd.port)).await;
    }
}

#[tokio::test]
async fn hashed_names_are_known_and_revoked_keys_are_not() {
    let (home, sshd) = Home::with_server("");
    said(Command::new("ssh-keygen").arg("-Hf").arg(home.path("known_hosts")));
    assert!(fs::read_to_string(home.path("known_hosts")).unwrap().starts_with("|1|"));
    enter(&home.port(sshd.port)).await;
    home.append("known_hosts", &format!("@revoked {}", sshd.known_line("ed25519")));
    let error = refusal(&home.port(sshd.port)).await;
    assert_says(&error, &["line 2, revokes it", "nothing was sent to it"]);
}

#[tokio::test]
async fn a_certificate_authority_in_known_hosts_is_said_to_count_for_nothing() {
    let home = Home::new();
    let sshd = Sshd::start(&[home.key("id_ed25519")], "");
    home.append("known_hosts", &format!("@cert-authority * {}\n", home.key("authority")));
    let error = refusal(&home.port(sshd.port)).await;
    assert_says(&error, &["line 1, trusts a certificate authority with it, which assay does not go by"]);
}

#[tokio::test]
async fn where_no_known_hosts_are_kept_the_option_is_what_is_left() {
    let (home, sshd) = Home::with_server("");
    home.append("config", "Host *\n  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n");
    let error = refusal(&home.port(sshd.port)).await;
    let option = format!("then accept it with `--host-key {}`", fingerprint(&sshd.host_key("ed25519")));
    assert!(error.ends_with(&option), "{error}");
}
