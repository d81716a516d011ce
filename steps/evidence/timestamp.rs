//! Asks a server for the time of a file, and reads its answer (RFC 3161), by `openssl ts`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::base::digest::sha256_of;

const PROGRAM: &str = "openssl";

fn openssl(arguments: &[&str], files: &[&Path]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(PROGRAM);
    command.arg("ts").args(arguments).args(files).stdin(Stdio::null());
    let output =
        command.output().with_context(|| format!("cannot start {PROGRAM}: install Debian's package openssl"))?;
    let printed = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{PROGRAM} ts refuses it: {}", printed.trim());
    Ok(output.stdout)
}

/// Checks that an answer is about this file, and returns the time in it. With a file of trusted certificates, also
/// checks who signed it.
pub fn read(file: &Path, answer: &Path, trusted: Option<&Path>) -> anyhow::Result<Timestamp> {
    let text = openssl(&["-reply", "-text", "-in"], &[answer])?;
    let (time, digest) = parse(&String::from_utf8_lossy(&text)).context("the answer has no time or no SHA-256")?;
    anyhow::ensure!(digest == sha256_of(std::fs::File::open(file)?)?, "it is the time of another file");
    if let Some(trusted) = trusted {
        openssl(&["-verify", "-data"], &[file, "-in".as_ref(), answer, "-CAfile".as_ref(), trusted])?;
    }
    Ok(time)
}

/// Finds the time and the digest in what `openssl ts -reply -text` prints.
fn parse(text: &str) -> Option<(Timestamp, String)> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let time = line("Time stamp: ")?.trim().strip_suffix(" GMT")?;
    let time = ["%b %d %H:%M:%S %Y", "%b %d %H:%M:%S%.f %Y"].iter().find_map(|format| {
        let civil = strtime::parse(format, time).ok()?.to_datetime().ok();
        civil.and_then(|civil: DateTime| civil.to_zoned(TimeZone::UTC).ok())
    })?;
    let dump = text.lines().skip_while(|line| *line != "Message data:").skip(1);
    let bytes =
        dump.map_while(|line| line.trim_start().split_once(" - ")).map(|(_, bytes)| bytes.get(..47).unwrap_or(bytes));
    let digest: String = bytes.flat_map(str::chars).filter(char::is_ascii_hexdigit).collect();
    (line("Hash Algorithm: ")? == "sha256" && digest.len() == 64).then(|| (time.timestamp(), digest))
}

/// Gets the time of a file from a server and writes the answer to another file. Waits until this host's clock shows that
/// time, so that all that follows is later.
#[cfg(feature = "run")]
pub fn stamp(file: &Path, answer: &Path, server: &str) -> anyhow::Result<Timestamp> {
    let question = openssl(&["-query", "-sha256", "-cert", "-data"], &[file])?;
    let bytes = http::post(server, &question).with_context(|| format!("no time stamp from {server}"))?;
    std::fs::write(answer, bytes).with_context(|| format!("cannot write {}", answer.display()))?;
    let time = read(file, answer, None).with_context(|| format!("no time stamp from {server}"))?;
    let ahead = time.duration_since(Timestamp::now());
    anyhow::ensure!(
        ahead.as_secs() < 10,
        "this host's clock is {} s behind that of {server}: set it, or samples would look older than the plan",
        ahead.as_secs()
    );
    std::thread::sleep(ahead.try_into().unwrap_or_default());
    Ok(time)
}

/// Checks before a run whether a server could be asked.
#[cfg(feature = "run")]
pub fn can_stamp(server: &str) -> anyhow::Result<()> {
    http::parts(server)?;
    Command::new(PROGRAM)
        .arg("version")
        .output()
        .map(drop)
        .context("cannot start openssl: install Debian's package openssl")
}

#[cfg(feature = "run")]
mod http {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpStream, ToSocketAddrs as _};
    use std::time::Duration;

    use anyhow::Context as _;

    const TIME_LIMIT: Duration = Duration::from_secs(30);

    /// Splits an address into host with port, and path.
    pub(super) fn parts(server: &str) -> anyhow::Result<(String, &str)> {
        let rest = server.strip_prefix("http://").filter(|rest| !rest.is_empty());
        let rest = rest.with_context(|| {
            format!("\"{server}\" is not a time-stamp server's address: write http://…, as the answer itself is signed")
        })?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let port = if host.contains(':') { "" } else { ":80" };
        Ok((format!("{host}{port}"), path))
    }

    /// Sends one request and returns the body of the answer.
    pub(super) fn post(server: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (host, path) = parts(server)?;
        let address = host.to_socket_addrs()?.next().context("its name has no address")?;
        let mut stream = TcpStream::connect_timeout(&address, TIME_LIMIT)?;
        stream.set_read_timeout(Some(TIME_LIMIT))?;
        // HTTP/1.0 has no chunks.
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/timestamp-query\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut answer = Vec::new();
        stream.take(1 << 20).read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("the answer is not HTTP")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.lines().next().unwrap_or_default();
        anyhow::ensure!(status.split(' ').nth(1) == Some("200"), "it answers {status}");
        Ok(answer.split_off(end + 4))
    }
}
