//! Computes SHA-256 and writes hexadecimal.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns the SHA-256 of everything a reader yields, in hexadecimal.
pub fn sha256_of(mut reader: impl Read) -> io::Result<String> {
    let (mut buffer, mut digest) = (vec![0; 1 << 16], Sha256::new());
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hex(&digest.finalize())),
            Ok(count) => digest.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_known_by_their_sha256() {
        assert!(sha256(b"hello world").starts_with("b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee"));
        assert_eq!(sha256_of(&b"hello world"[..]).unwrap(), sha256(b"hello world"));
    }
}
