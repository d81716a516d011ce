//! Whether what listens there is an SSH server.

use std::net::TcpListener;

use super::*;

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
