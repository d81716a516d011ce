//! An HTTP server, the same as WebAssembly and natively: answers one connection after the other, each request on it with a
//! greeting. Its argument is the port, 8080 without one.

use std::env::args;
use std::io::{self, Read, Write};

/// No request's head is longer.
const LONGEST: usize = 64 << 10;

fn main() -> io::Result<()> {
    let port = args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(8080);
    let listener = net::listen(port)?;
    println!("listening on port {port}");
    loop {
        // A client that goes away ends its own connection only.
        let _ = serve(net::accept(&listener)?);
    }
}

/// Answers the requests of a connection until the client closes it or asks to.
fn serve(mut connection: impl Read + Write) -> io::Result<()> {
    let (mut asked, mut part) = (Vec::new(), [0; 4096]);
    while asked.len() <= LONGEST {
        match connection.read(&mut part)? {
            0 => break,
            read => asked.extend_from_slice(&part[..read]),
        }
        while let Some(end) = asked.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = asked.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            connection.write_all(answer(&head).as_bytes())?;
            if head.contains("\r\nconnection: close\r\n") {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn answer(head: &str) -> String {
    let mut words = head.split_ascii_whitespace();
    let (status, body) = match (words.next(), words.next()) {
        (Some("get"), Some("/")) => ("200 OK", "Hello\n"),
        (Some("get"), Some(_)) => ("404 Not Found", "there is only /\n"),
        _ => ("405 Method Not Allowed", "only GET is answered\n"),
    };
    format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[cfg(not(target_os = "wasi"))]
mod net {
    use std::io;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    pub fn listen(port: u16) -> io::Result<TcpListener> {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
    }

    pub fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
        listener.accept().map(|(connection, _)| connection)
    }
}

/// WasmEdge's own functions for sockets: with WASI's, a module can use sockets that it is given, and open none.
#[cfg(target_os = "wasi")]
mod net {
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    const INET4: u8 = 1;
    const STREAM: u8 = 2;
    /// The level and the name of `SO_REUSEADDR`, so that the port is free right after an earlier server.
    const SOCKET: u32 = 0;
    const REUSE_ADDRESS: u32 = 0;
    const BACKLOG: u32 = 128;

    #[repr(C)]
    struct Address {
        bytes: *const u8,
        size: usize,
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        fn sock_open(family: u8, kind: u8, descriptor: *mut i32) -> u32;
        fn sock_setsockopt(descriptor: i32, level: u32, name: u32, value: *const u32, size: u32) -> u32;
        fn sock_bind(descriptor: i32, address: *const Address, port: u32) -> u32;
        fn sock_listen(descriptor: i32, backlog: u32) -> u32;
        // As WasmEdge had it first: WASI's own function of that name has one parameter more.
        fn sock_accept(descriptor: i32, accepted: *mut i32) -> u32;
    }

    pub fn listen(port: u16) -> io::Result<OwnedFd> {
        let (any, on, mut descriptor) = ([0; 4], 1, 0);
        let address = Address { bytes: any.as_ptr(), size: any.len() };
        // SAFETY: all pointers are to values that outlive the calls.
        unsafe {
            done(sock_open(INET4, STREAM, &mut descriptor))?;
            done(sock_setsockopt(descriptor, SOCKET, REUSE_ADDRESS, &on, size_of_val(&on) as u32))?;
            done(sock_bind(descriptor, &address, u32::from(port)))?;
            done(sock_listen(descriptor, BACKLOG))?;
            Ok(OwnedFd::from_raw_fd(descriptor))
        }
    }

    /// A connection is read and written as a file is.
    pub fn accept(listener: &OwnedFd) -> io::Result<File> {
        let mut accepted = 0;
        // SAFETY: the pointer is to a value that outlives the call, and nothing else has the new descriptor.
        unsafe {
            done(sock_accept(listener.as_raw_fd(), &mut accepted))?;
            Ok(File::from_raw_fd(accepted))
        }
    }

    fn done(errno: u32) -> io::Result<()> {
        if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno as i32)) }
    }
}
