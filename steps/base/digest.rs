//! Computes SHA-256 and writes hexadecimal.

use std::io::{self, BufReader, Read};

use sha2::{Digest, Sha256};

#[cfg(feature = "run")]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns the SHA-256 of everything a reader yields, in hexadecimal.
pub fn sha256_of(reader: impl Read) -> io::Result<String> {
    let (mut reader, mut digest) = (BufReader::with_capacity(1 << 20, reader), Sha256::new());
    io::copy(&mut reader, &mut Updates(&mut digest))?;
    Ok(hex(&digest.finalize()))
}

struct Updates<'a>(&'a mut Sha256);

impl io::Write for Updates<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    }
}
