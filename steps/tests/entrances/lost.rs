//! Lost connections, and ports that lead back to this host, before and after the loss.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use super::*;
use assay::exec::shell::ShellError;

use crate::sshd::fingerprint;

/// Starts a server on this host that echoes every line, and returns its port.
pub fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut line = String::new();
            BufReader::new(client.try_clone().unwrap()).read_line(&mut line).unwrap();
            let _ = write!(client, "{line}");
        }
    });
    port
}

/// Sends a line from the machine to one of its ports, and returns the answer.
pub async fn asks(shell: &Shell, port: u16) -> String {
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3; head -n 1 <&3");
    shell.run(&Command::new("bash").args(["-c", &script])).await.unwrap_or_else(|error| panic!("{error}")).text()
}

#[tokio::test]
async fn a_connection_that_is_found_lost_is_made_again_for_a_port_and_with_it() {
    let (_home, sshd, shell) = UserHome::entered("").await;
    sshd.end_sessions();
    let port = shell.forward_back(echo()).await.unwrap();
    assert_eq!(asks(&shell, port).await, "hello\n");
    for _ in 0..2 {
        sshd.end_sessions();
        assert_eq!(asks(&shell, port).await, "hello\n");
    }
}

#[tokio::test]
async fn a_command_whose_connection_is_lost_is_not_tried_again() {
    let (home, sshd, shell) = UserHome::entered("").await;
    let file = home.path("runs");
    let script = format!("echo run >> {}; exec sleep 600", file.display());
    let command = Command::new("sh").args(["-c", &script]);
    let end = async {
        while !file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        sshd.end_sessions();
    };
    let (outcome, ()) = tokio::join!(shell.run(&command), end);
    assert!(matches!(outcome, Err(ShellError::Lost { .. })), "{outcome:?}");
    assert_eq!(prints(&shell, "echo next").await, "next\n");
    assert_eq!(fs::read_to_string(file).unwrap(), "run\n");
}

#[tokio::test]
async fn a_machine_that_comes_back_with_another_key_is_not_entered_again() {
    let (home, mut sshd) = UserHome::with_server("");
    home.append("known_hosts", &sshd.known_line("ecdsa"));
    let shell = enter(&home.port(sshd.port)).await;
    let [first, second] = ["ed25519", "ecdsa"].map(|kind| fingerprint(&sshd.host_key(kind)));
    sshd.come_back_without("ed25519");
    let error = shell.run(&Command::new("true")).await.unwrap_err().to_string();
    assert_says(&error, &["it was lost, and cannot be made again", &second]);
    assert_says(&error, &[&format!("but it had ssh-ed25519 {first} when it was entered")]);
    enter(&home.port(sshd.port)).await;
}

#[tokio::test]
async fn a_machine_that_is_gone_for_good_is_reported() {
    let (_home, sshd, shell) = UserHome::entered("").await;
    drop(sshd);
    let error = shell.run(&Command::new("true")).await.unwrap_err().to_string();
    assert_says(&error, &["it was lost, and cannot be made again", "Connection refused"]);
}

#[tokio::test]
async fn a_server_that_forwards_nothing_is_reported_with_the_setting() {
    let (_home, _sshd, shell) = UserHome::entered("AllowTcpForwarding no").await;
    let error = shell.forward_back(5000).await.unwrap_err().to_string();
    assert_says(&error, &["no port there leads back to port 5000 here", "`AllowTcpForwarding yes`"]);
}

#[tokio::test]
async fn a_port_that_leads_nowhere_here_closes() {
    let (_home, _sshd, shell) = UserHome::entered("").await;
    let port = shell.forward_back(CLOSED).await.unwrap();
    assert_eq!(asks(&shell, port).await, "");
}

#[tokio::test]
async fn a_port_that_was_taken_meanwhile_is_reported() {
    let (_home, sshd, shell) = UserHome::entered("").await;
    let port = shell.forward_back(echo()).await.unwrap();
    sshd.end_sessions();
    let taken = loop {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(taken) => break taken,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    let error = shell.run(&Command::new("true")).await.unwrap_err().to_string();
    assert_says(&error, &[&format!("port {port} cannot be had again after the connection was lost")]);
    drop(taken);
    assert_eq!(asks(&shell, port).await, "hello\n");
}

#[tokio::test]
async fn commands_side_by_side_make_a_lost_connection_again_once() {
    // A server with few sessions runs them one after another.
    for lines in ["LogLevel VERBOSE", "LogLevel VERBOSE\nMaxSessions 1"] {
        let (_home, sshd, shell) = UserHome::entered(lines).await;
        sshd.end_sessions();
        let printed = tokio::join!(prints(&shell, "echo a"), prints(&shell, "echo b"), prints(&shell, "echo c"));
        assert_eq!(printed, ("a\n".into(), "b\n".into(), "c\n".into()));
        assert_eq!(sshd.log().matches("Accepted publickey").count(), 2, "{}", sshd.log());
    }
}

#[tokio::test]
async fn the_connection_ends_with_the_shell_that_used_it() {
    let (_home, sshd, shell) = UserHome::entered("").await;
    assert!(sshd.has_sessions());
    drop(shell);
    while sshd.has_sessions() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
