//! The subject of A8-8: looks for a file, a folder, a port and a variable of the host. It reports, and judges nothing.
//! Its arguments are the folder, which holds the file `secret`, and the port.

use std::env::{args, var};
use std::fs::{read_dir, read_to_string};

/// The ways by which a path might lead out of the sandbox.
const WAYS: [&str; 5] = ["", "/../../../..", "../../../../..", "/proc/1/root", "/proc/self/root"];

fn main() {
    let mut given = args().skip(1);
    let (folder, port) = (given.next().unwrap_or_default(), given.next().unwrap_or_default());
    report("file", WAYS.map(|way| read_to_string(format!("{way}{folder}/secret")).map_err(|error| error.to_string())));
    let list = |way| match read_dir(format!("{way}{folder}")) {
        Ok(entries) => Ok(format!("{} entries", entries.count())),
        Err(error) => Err(error.to_string()),
    };
    report("directory", WAYS.map(list));
    report("socket", [port.parse().map_err(|_| "no port".to_owned()).and_then(socket::connect)]);
    report("environment", [var("ASSAY_HOST").map_err(|error| error.to_string())]);
}

/// Prints the first way in, or why the last one failed.
fn report<const N: usize>(what: &str, tries: [Result<String, String>; N]) {
    let refused = tries.last().and_then(|last| last.as_ref().err()).cloned().unwrap_or_default();
    match tries.into_iter().find_map(Result::ok) {
        Some(seen) => println!("sandbox.{what}: reached: {}", seen.trim()),
        None => println!("sandbox.{what}: refused: {refused}"),
    }
}

/// WasmEdge's own functions for sockets, which WASI itself has none of.
mod socket {
    const INET4: u8 = 1;
    const STREAM: u8 = 2;

    #[repr(C)]
    struct Address {
        bytes: *const u8,
        size: usize,
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        fn sock_open(family: u8, kind: u8, descriptor: *mut u32) -> u32;
        fn sock_connect(descriptor: u32, address: *const Address, port: u32) -> u32;
    }

    /// Connects to a port of the loopback.
    pub fn connect(port: u32) -> Result<String, String> {
        let (loopback, mut descriptor) = ([127, 0, 0, 1], 0);
        let address = Address { bytes: loopback.as_ptr(), size: loopback.len() };
        // SAFETY: both pointers are to values that outlive the calls.
        let errors = unsafe {
            match sock_open(INET4, STREAM, &mut descriptor) {
                0 => [0, sock_connect(descriptor, &address, port)],
                error => [error, 0],
            }
        };
        match errors {
            [0, 0] => Ok("connected".to_owned()),
            [open, connect] => Err(format!("WASI errors {open} and {connect}")),
        }
    }
}
