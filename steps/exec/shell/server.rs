//! An SSH server on loopback for tests, which replays a machine's recorded answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg};
use tokio::net::{TcpListener, TcpStream};

use super::ssh::{Login, new_key};

const WAVE: &[u8] = &[b'~'; 32 * 1024];

/// The reply to a command, sent once all of the command's input has arrived.
#[derive(Clone, Debug)]
pub enum Reply {
    Ends(u8, Vec<u8>),
    Hangs,
    Floods,
}

pub type Answer = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// A server that runs nothing and stops when dropped. Sessions that are open then last until their clients leave.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    host_key: PublicKey,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens on a free port with a new host key, and accepts any user name with the user's key.
    pub async fn start(user_key: &PrivateKey, answer: Answer) -> anyhow::Result<Server> {
        let (host, _) = new_key("host")?;
        Server::listen(0, host, user_key.public_key().clone(), answer).await
    }

    /// Listens on a given port with a given host key, and accepts a given user's key; both in OpenSSH's format.
    pub async fn start_as(port: u16, host_key: &str, user_key: &str, answer: Answer) -> anyhow::Result<Server> {
        let host = PrivateKey::from_openssh(host_key).context("the host key is none")?;
        let user = PublicKey::from_openssh(user_key).context("the user's key is none")?;
        Server::listen(port, host, user, answer).await
    }

    async fn listen(port: u16, host: PrivateKey, allowed: PublicKey, answer: Answer) -> anyhow::Result<Server> {
        let host_key = host.public_key().clone();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.context("no port is free for an SSH server")?;
        let address = listener.local_addr()?;
        let config = server::Config {
            keys: vec![host],
            nodelay: true,
            // No delay: no attacker guesses passwords here, and clients that ask for the methods should not wait.
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        };
        let accepting = tokio::spawn(accept(listener, Arc::new(config), ClientHandler { allowed, answer }));
        Ok(Server { address, host_key, accepting })
    }

    pub fn login(&self, machine: &str, user_key: &PrivateKey) -> Login {
        Login {
            machine: machine.to_owned(),
            address: self.address.to_string(),
            user: "assay".to_owned(),
            key: user_key.clone(),
            host_key: self.host_key.clone(),
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns its host key as a line of OpenSSH's `known_hosts`.
    pub fn known_host(&self) -> anyhow::Result<String> {
        Ok(format!("[{}]:{} {}\n", self.address.ip(), self.port(), self.host_key.to_openssh()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, config: Arc<server::Config>, handler: ClientHandler) {
    // Accepting fails when file descriptors run out. The server then stops, and clients get no answer.
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(attend(stream, config.clone(), handler.clone()));
    }
}

async fn attend(stream: TcpStream, config: Arc<server::Config>, handler: ClientHandler) {
    // A client that disconnects ends its session with an error, which does not matter here.
    let _ = stream.set_nodelay(true);
    if let Ok(session) = server::run_stream(config, stream, handler).await {
        let _ = session.await;
    }
}

#[derive(Clone)]
struct ClientHandler {
    allowed: PublicKey,
    answer: Answer,
}

impl server::Handler for ClientHandler {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(match key.public_key.key_data() == self.allowed.key_data() {
            true => Auth::Accept,
            false => Auth::reject(),
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        tokio::spawn(serve(channel, self.answer.clone()));
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, _: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        session.channel_success(id)
    }
}

/// Reads one command and its input, then answers.
async fn serve(mut channel: Channel<Msg>, answer: Answer) -> Result<(), russh::Error> {
    let mut line = String::new();
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Exec { command, .. }) => line = String::from_utf8_lossy(&command).into_owned(),
            Some(ChannelMsg::Eof) => break,
            Some(_) => {}
            None => return Ok(()),
        }
    }
    match answer(&line) {
        Reply::Ends(code, stdout) => {
            channel.data_bytes(stdout).await?;
            channel.exit_status(code.into()).await?;
            channel.eof().await?;
            channel.close().await
        }
        Reply::Hangs => {
            while channel.wait().await.is_some() {}
            Ok(())
        }
        Reply::Floods => loop {
            // Waits while the client does not read, and fails once the client is gone.
            channel.data_bytes(WAVE).await?;
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::command::{Command, Status};
    use crate::exec::shell::{NoopObserver, Shell, Ssh};

    async fn server() -> (Server, PrivateKey) {
        let answer: Answer = Arc::new(|line| match line {
            "echo hello" => Reply::Ends(0, b"hello\n".to_vec()),
            "yes" => Reply::Floods,
            "sleep 1d" => Reply::Hangs,
            _ => Reply::Ends(127, Vec::new()),
        });
        let (user, _) = new_key("user").unwrap();
        (Server::start(&user, answer).await.unwrap(), user)
    }

    async fn connect((server, user): &(Server, PrivateKey)) -> Ssh {
        Ssh::connect(&server.login("far", user)).await.unwrap()
    }

    #[tokio::test]
    async fn a_command_is_answered_over_a_real_connection() {
        let server = server().await;
        let shell = Shell::ssh(connect(&server).await, Arc::new(NoopObserver));
        assert_eq!(shell.read(&Command::new("echo").arg("hello")).await.unwrap(), "hello\n");
        let unknown = shell.run(&Command::script("id", &[])).await.unwrap();
        assert_eq!(unknown.status, Status::Code(127));
    }

    #[tokio::test]
    async fn another_host_key_and_another_users_key_are_refused() {
        let (server, user) = server().await;
        let message = async |login: Login| Ssh::connect(&login).await.map(|_| ()).unwrap_err().to_string();
        let (stranger, _) = new_key("stranger").unwrap();
        let forged = Login { host_key: stranger.public_key().clone(), ..server.login("far", &user) };
        assert!(message(forged).await.contains("shows another host key (SHA256:"));
        let refused = message(Login { key: stranger, ..server.login("far", &user) }).await;
        assert!(refused.contains("refuses our key for user assay"), "{refused}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_or_prints_without_end_is_given_up_and_the_next_one_is_answered() {
        let server = server().await;
        let shell = Shell::ssh(connect(&server).await, Arc::new(NoopObserver));
        let sleep = Command::new("sleep").arg("1d").time_limit(Duration::from_millis(50));
        for (command, expected) in [
            (sleep, "far: `sleep 1d` did not end within 50ms"),
            (Command::new("yes"), "far: `yes` printed more than 64 MiB, and was cut off: have it print less"),
        ] {
            assert_eq!(shell.run(&command).await.unwrap_err().to_string(), expected);
            assert_eq!(shell.read(&Command::new("echo").arg("hello")).await.unwrap(), "hello\n");
        }
    }
}
