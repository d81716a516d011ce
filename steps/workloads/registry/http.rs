//! Sends single HTTP requests to a registry on this host, each over its own connection.

use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TIME_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct HttpAnswer {
    pub(super) status: u16,
    head: String,
    /// The body, including any chunk marks.
    pub(super) body: String,
}

impl HttpAnswer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn parse(text: &str) -> anyhow::Result<HttpAnswer> {
        let (head, body) = text.split_once("\r\n\r\n").context("the answer is cut off")?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.filter(|_| head.starts_with("HTTP/1.")).context("the answer is not HTTP")?;
        Ok(HttpAnswer { status, head: head.to_owned(), body: body.to_owned() })
    }
}

/// Sends a request to `host` (with its port); `headers` are whole lines.
pub(super) async fn ask(host: &str, request: &str, headers: &[String], body: &str) -> anyhow::Result<HttpAnswer> {
    let mut lines = vec![format!("{request} HTTP/1.1"), format!("Host: {host}"), "Connection: close".to_owned()];
    lines.push(format!("Content-Length: {}", body.len()));
    lines.extend_from_slice(headers);
    let text = format!("{}\r\n\r\n{body}", lines.join("\r\n"));
    let exchange = async {
        let mut stream = TcpStream::connect(host).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(TIME_LIMIT, exchange).await;
    let answer =
        answer.with_context(|| format!("{host} does not answer"))?.with_context(|| format!("no answer from {host}"))?;
    HttpAnswer::parse(&String::from_utf8_lossy(&answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_its_headers_and_the_rest() {
        let answer = HttpAnswer::parse("HTTP/1.1 401 Unauthorized\r\nX-Assay-Run:  r1\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.header("x-assay-run"), answer.body.as_str()), (401, Some("r1"), "{}"));
        assert!(HttpAnswer::parse("SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(HttpAnswer::parse("HTTP/1.1 200 OK\r\n").is_err());
    }
}
