//! Control of A6-7 and A7-6: burns all the CPU it gets for a minute of wall time.

use std::hint::black_box;
use std::time::{Duration, Instant};

const WALL: Duration = Duration::from_secs(60);

/// Few enough iterations that the clock is read in time even with only a tenth of an emulated CPU.
const BETWEEN_LOOKS: u64 = 10_000;

fn main() {
    println!("spinning");
    let start = Instant::now();
    let mut iterations: u64 = 0;
    while start.elapsed() < WALL {
        for _ in 0..BETWEEN_LOOKS {
            iterations = black_box(iterations + 1);
        }
    }
    println!("spun {iterations} iterations");
}
