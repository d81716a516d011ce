//! Control of A2-2 and A3-4: prints what `hello` prints, byte for byte, from a module that is too large.
//!
//! The padding is noise, so that compression does not help and the compressed image is too large as well.

use std::hint::black_box;
use std::thread::sleep;

static PADDING: [u64; 9 * 1024] = noise();

/// Generates noise by xorshift: no compressor can reduce it, and every build makes the same bytes.
const fn noise() -> [u64; 9 * 1024] {
    let mut words = [0; 9 * 1024];
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut at = 0;
    while at < words.len() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words[at] = state;
        at += 1;
    }
    words
}

fn main() {
    black_box(&PADDING);
    hello::greet();
    for reading in 1..=hello::READINGS {
        hello::read(reading);
        sleep(hello::PAUSE);
    }
    hello::complete();
}
